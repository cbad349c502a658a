"""Request and response: MESSAGE bytes each way, answered as they come, over one stream of one connection.

The client keeps so many requests under way, each written by a call of its own, and sends the next as soon as an answer
has come. The server answers each by a call of its own. Every answer is compared with its request.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import Final

from ..load import cpu_seconds
from .interface import Channel, Peer
from .work import Figures, Server, Talk, percentile

__all__ = ["MESSAGE", "RpcServer", "client", "echo"]

MESSAGE: Final = 100
# The part of the time that goes before what is counted.
WARM: Final = 0.2
FILL: Final = bytes(range(MESSAGE - 8))


def request(number: int) -> bytes:
    """Request number so and so."""
    return number.to_bytes(8, "big") + FILL


async def echo(channel: Channel) -> None:
    """Answer every MESSAGE bytes by the same, until the end."""
    rest = b""
    while data := await channel.receive():
        rest += data
        whole = len(rest) - len(rest) % MESSAGE
        for at in range(0, whole, MESSAGE):
            await channel.send(rest[at : at + MESSAGE])
        rest = rest[whole:]


class RpcServer(Server):
    """Echoes."""

    async def handle(self, channel: Channel) -> None:
        await echo(channel)


class Caller:
    """Requests and answers on one connection, numbered through."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.number = 0
        self.answered = 0

    async def exchange(self, depth: int, seconds: float) -> list[float]:
        """Keep `depth` requests under way for so long; the latency of each."""
        sent: deque[float] = deque()
        latencies: list[float] = []
        rest = b""
        clock = time.perf_counter
        send = partial(self._send, sent)
        end = clock() + seconds
        for _ in range(depth):
            await send()
        while sent:
            data = await self.channel.receive()
            if not data:
                raise ConnectionError("the connection ended while requests were under way")
            now = clock()
            rest += data
            whole = len(rest) - len(rest) % MESSAGE
            for at in range(0, whole, MESSAGE):
                if rest[at : at + MESSAGE] != request(self.answered):
                    raise RuntimeError(f"answer {self.answered} differs from its request")
                self.answered += 1
                latencies.append(now - sent.popleft())
                if now < end:
                    await send()
            rest = rest[whole:]
        return latencies

    async def _send(self, sent: deque[float]) -> None:
        sent.append(time.perf_counter())
        await self.channel.send(request(self.number))
        self.number += 1


async def client(peer: Peer, talk: Talk, *, depths: tuple[int, ...], seconds: float) -> Figures:
    """Each depth in turn."""
    channel = await peer.connect(await talk.port())
    caller = Caller(channel)
    figures: Figures = {}
    for depth in depths:
        await caller.exchange(depth, seconds * WARM)
        server = (await talk.ask())["cpu"]
        cpu, start = cpu_seconds(), time.perf_counter()
        latencies = await caller.exchange(depth, seconds)
        took = time.perf_counter() - start
        cpu = cpu_seconds() - cpu
        count = len(latencies)
        figures |= {
            f"per_second_{depth}": count / took,
            f"p50_us_{depth}": percentile(latencies, 0.50) * 1e6,
            f"p99_us_{depth}": percentile(latencies, 0.99) * 1e6,
            f"client_us_{depth}": cpu / count * 1e6,
            f"server_us_{depth}": ((await talk.ask())["cpu"] - server) / count * 1e6,
        }
    await channel.close()
    return figures
