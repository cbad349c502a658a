"""What a server process holds in memory over real sockets: per idle connection, behind a stopped reader, under junk.

Invariant: figures are the resident set of the server's process alone, its handler tasks included, after the loop has
come to rest; the client runs in a process of its own. `bench.memory` has the same for the core without sockets.

    python -m bench.memory_asyncio [--connections 1000] [--datagrams 1000000] [--json]

The resident set is read from /proc/self/statm; where there is none this says so and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import socket
import time
from multiprocessing.connection import Connection as Pipe
from random import Random
from typing import Any

import rudp

from .arguments import whole
from .memory import junk, resident

HOST = "127.0.0.1"
# Connections opened before counting begins, so that what is made once is not counted.
WARM = 100


async def _rest(seconds: float = 1.5) -> None:
    """Let delayed acknowledgements and first probes pass."""
    await asyncio.sleep(seconds)
    gc.collect()


async def server(pipe: Pipe) -> None:
    """A server whose handler waits for streams and reads none; answers each word from the pipe by its resident set."""

    alive: list[rudp.Connection] = []

    async def handler(connection: rudp.Connection) -> None:
        alive.append(connection)
        streams = [stream async for stream in connection.streams()]
        del streams

    listening = await rudp.serve(handler, HOST, 0, config=rudp.Config(max_opens_per_host=None))
    pipe.send(listening.local_address[1])
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, pipe.recv) == "report":
        await _rest()
        stats = listening.stats()
        unread = sum(connection.stats().stream_bytes_received for connection in alive)
        pipe.send((resident(), stats.connections, unread, stats.datagrams_received))
    listening.abort_clients()
    listening.close()
    await listening.wait_closed()


def _serve(pipe: Pipe) -> None:
    asyncio.run(server(pipe))


async def idle(pipe: Pipe, port: int, count: int) -> dict[str, Any]:
    """Bytes of the server's resident set per idle connection."""
    loop = asyncio.get_running_loop()

    async def report() -> Any:
        pipe.send("report")
        return await loop.run_in_executor(None, pipe.recv)

    async with await rudp.Endpoint.bind(HOST, 0) as endpoint:
        kept = await asyncio.gather(*(endpoint.connect(HOST, port) for _ in range(WARM)))
        before, connections, _, _ = await report()
        started = time.perf_counter()
        for _ in range(count // WARM):
            kept += await asyncio.gather(*(endpoint.connect(HOST, port) for _ in range(WARM)))
        seconds = time.perf_counter() - started
        after, total, _, _ = await report()
    opened = total - connections
    return {
        "connections": opened,
        "bytes_each": round((after - before) / opened),
        "opened_per_second": round(opened / seconds),
    }


async def stopped_reader(pipe: Pipe, port: int) -> dict[str, Any]:
    """A writer that never stops, a reader that never reads: what is sent and what either process grows by."""
    loop = asyncio.get_running_loop()
    pipe.send("report")
    before, *_ = await loop.run_in_executor(None, pipe.recv)
    mine = resident() or 0
    async with await rudp.Endpoint.bind(HOST, 0) as endpoint:
        connection = await endpoint.connect(HOST, port)
        stream = await connection.open_stream()
        written = 0

        async def write() -> None:
            nonlocal written
            while True:
                await stream.send(bytes(bytearray(65_536)))
                written += 65_536

        writing = asyncio.ensure_future(write())
        await _rest()
        first = written
        await _rest()
        pipe.send("report")
        after, _, unread, _ = await loop.run_in_executor(None, pipe.recv)
        grown = (resident() or 0) - mine
        writing.cancel()
        limited = connection.stats().limited_by
    return {
        "written": written,
        "written_in_the_second_half": written - first,
        "unread_at_server": unread,
        "server_grew": after - before,
        "client_grew": grown,
        "limited_by": limited,
    }


async def flood(pipe: Pipe, port: int, count: int) -> dict[str, Any]:
    """Junk datagrams at the server's socket: its resident set after each quarter."""
    loop = asyncio.get_running_loop()
    pool = [datagram for datagram, _ in zip(junk(Random(1)), range(20_000), strict=False)]
    sizes = []
    pipe.send("report")
    before, _, _, seen = await loop.run_in_executor(None, pipe.recv)
    started = time.perf_counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(4):
            for number in range(count // 4):
                sock.sendto(pool[number % len(pool)], (HOST, port))
                if number % 64 == 0:
                    # Some rest, or most of it dies in the server's socket buffer.
                    await asyncio.sleep(0)
            pipe.send("report")
            after, _, _, received = await loop.run_in_executor(None, pipe.recv)
            sizes.append(after - before)
    return {
        "sent": count,
        "received": received - seen,
        "server_grew_by_quarter": sizes,
        "seconds": round(time.perf_counter() - started, 1),
    }


async def measure(pipe: Pipe, connections: int, datagrams: int) -> dict[str, Any]:
    """All three, against one server."""
    port = pipe.recv()
    figures = {
        "idle": await idle(pipe, port, connections),
        "stopped reader": await stopped_reader(pipe, port),
        "junk": await flood(pipe, port, datagrams),
    }
    pipe.send("end")
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory_asyncio", description="memory of a server process")
    parser.add_argument("--connections", type=whole(1), default=1000)
    parser.add_argument("--datagrams", type=whole(1), default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if resident() is None:
        print("this system has no /proc/self/statm: nothing was measured")
        return
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    figures = asyncio.run(measure(ours, options.connections, options.datagrams))
    process.join(30)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, row in figures.items():
        print(name)
        for key, value in row.items():
            print(f"  {key.replace('_', ' '):28} {value}")


if __name__ == "__main__":
    main()
