"""What an hour of asyncio programs costs in virtual time: CPU seconds, events and turns of the loop.

Run: python -m bench.virtual_hour [--seconds 3600] [--bulk-seconds 20]

A client and a server 25 ms apart: a connection that is idle but for a keepalive every 10 s; one with a request of 7
bytes every second, 1 % of the packets lost; and one that fills a line of 10 Mbit/s.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import rudp
from rudp.sim import Delay, Loss, Machine, Network, Node, Rate, run

from .arguments import amount

PORT = 4433
LINE = 1_250_000  # bytes per second, 10 Mbit/s

Program = Callable[[rudp.Connection, float], Awaitable[None]]


async def answer(connection: rudp.Connection) -> None:
    """Send requests back; of what is longer, nothing."""
    stream = connection.main_stream
    while data := await stream.receive():
        if len(data) < 100:
            await stream.send(data)
    await stream.send_eof()


async def idle(connection: rudp.Connection, seconds: float) -> None:
    """Nothing but the keepalive."""
    del connection
    await asyncio.sleep(seconds)


async def request(connection: rudp.Connection, seconds: float) -> None:
    """One small request a second."""
    loop = asyncio.get_running_loop()
    while loop.time() < seconds:
        await connection.main_stream.send(b"request")
        await connection.main_stream.receive_exactly(7)
        await asyncio.sleep(1)


async def bulk(connection: rudp.Connection, seconds: float) -> None:
    """As much as the line takes."""
    loop = asyncio.get_running_loop()
    while loop.time() < seconds:
        await connection.main_stream.send(bytes(65536))


def measure(name: str, program: Program, seconds: float, nodes: Callable[[], Sequence[Node]]) -> None:
    """Run one program for so many seconds of virtual time, and print what it cost."""
    network = Network(1, digest=False)
    server, client = network.add_machine("server"), network.add_machine("client")
    ends: list[tuple[Machine, Machine]] = [(client, server), (server, client)]
    for source, destination in ends:
        network.add_link(source, destination, [*nodes(), Delay(0.025)])

    async def main() -> int:
        serving = await server.run(rudp.serve(answer, "0.0.0.0", PORT))
        async with serving, rudp.connect("server", PORT, config=rudp.Config(keepalive=10.0)) as connection:
            await program(connection, seconds)
            await connection.main_stream.send_eof()
            while await connection.main_stream.receive():
                pass
        turns: int = asyncio.get_running_loop().turns  # type: ignore[attr-defined]
        return turns

    started = time.process_time()
    turns = run(main(), network=network, on=client)
    cpu = time.process_time() - started
    packets = sum(host.datagrams_sent for host in network.hosts)
    print(f"{name:24}{network.now:10,.0f}{cpu:8.2f}{network.now / cpu:14,.0f}{network.events:9,}{turns:9,}{packets:9,}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What an hour in virtual time costs.")
    parser.add_argument("--seconds", type=amount(1, 1e8), default=3600.0, help="virtual time of the first two programs")
    parser.add_argument("--bulk-seconds", type=amount(1, 1e6), default=20.0, help="virtual time of the third")
    chosen = parser.parse_args(arguments)
    print(f"{'program':24}{'seconds':>10}{'CPU s':>8}{'x real time':>14}{'events':>9}{'turns':>9}{'packets':>9}")
    measure("idle, keepalive 10 s", idle, chosen.seconds, list)
    measure("a request a second", request, chosen.seconds, lambda: [Loss(0.01)])
    measure("10 Mbit/s", bulk, chosen.bulk_seconds, lambda: [Rate(LINE, 62_500)])


if __name__ == "__main__":
    main()
