"""One UDP port served by several processes.

Three workers share the clients' connections; each client is told which process serves it. One worker is killed: it is
reported and replaced, and nobody has to do anything about it. Run it: python docs/examples/workers.py
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
from collections import Counter

import rudp

WORKERS = 3
CLIENTS = 40


async def handle(connection: rudp.Connection) -> None:
    """Runs in one of the workers: a function of a module, so that another process finds it by its name."""
    async for stream in connection.streams():
        question = await stream.receive()
        await stream.send(f"{question.decode()} from process {os.getpid()}".encode())
        await stream.send_eof()


async def ask(port: int) -> str:
    """One exchange with whichever worker the connection comes to."""
    async with rudp.connect("127.0.0.1", port) as connection:
        stream = await connection.open_stream()
        await stream.send(b"hello")
        parts = []
        while data := await stream.receive():
            parts.append(data)
        return b"".join(parts).decode()


async def main() -> None:
    """Start the server, ask it many times, kill one of its processes, ask again."""
    logging.getLogger("rudp").addHandler(logging.StreamHandler(sys.stdout))
    # Workers come from a process that has imported this, so the next one is there in milliseconds.
    multiprocessing.set_forkserver_preload(["rudp"])
    exits: asyncio.Queue[rudp.WorkerExit] = asyncio.Queue()
    workers = rudp.Workers(WORKERS, start_method="forkserver", on_exit=exits.put_nowait)
    server = await rudp.serve(handle, "127.0.0.1", 0, workers=workers)
    port = server.local_address[1]
    print(f"datagrams are brought to their worker by: {server.steering}")

    answers = Counter(await asyncio.gather(*(ask(port) for _ in range(CLIENTS))))
    print(f"{sum(answers.values())} answers by {len(answers)} processes")

    os.kill(server.pids[2], signal.SIGKILL)
    report = await exits.get()
    print(f"worker {report.index} ended: {report.reason}, replaced: {report.replaced}")
    answers = Counter(await asyncio.gather(*(ask(port) for _ in range(CLIENTS))))
    print(f"{sum(answers.values())} answers by {len(answers)} processes")

    stats = await server.stats()
    print(f"processes started so far: {sum(worker.starts for worker in stats.workers)}")
    await server.aclose()
    print(f"processes left: {sum(pid is not None for pid in server.pids)}")


if __name__ == "__main__":
    asyncio.run(main())
