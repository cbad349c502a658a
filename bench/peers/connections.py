"""Many connections: how fast they open and close, what idle ones cost, a thousand that talk, bulk beside idle ones.

An idle connection has carried one exchange, so that a handler's task waits on its stream, whatever the library. Its
memory is what the server's resident set grows by, its CPU time what the server's process uses while all rest. The
memory of kernel sockets is not in it: one of TCP's for each connection, one of UDP's for all.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Final

from ..load import Meter, chunks, cpu_seconds
from .interface import Channel, Peer
from .rpc import MESSAGE
from .work import Figures, Server, Talk, percentile

__all__ = ["HandshakeServer", "ManyServer", "handshakes", "held", "idle"]

# Opened before counting begins, so that what is made once is not counted, at most; and at a time.
WARM: Final = 100
AT_ONCE: Final = 50
# Seconds for delayed acknowledgements, first probes and closing periods to pass.
REST: Final = 1.0
# What each of the talkers does.
PERIOD: Final = 0.1
# Seconds between looks at whether all has arrived.
POLL: Final = 0.25
ECHO: Final = b"e" * MESSAGE
BULK_ROUNDS: Final = 5


class HandshakeServer(Server):
    """Waits for each connection's end."""

    async def handle(self, channel: Channel) -> None:
        while await channel.receive():
            pass


async def handshakes(peer: Peer, talk: Talk, *, depths: tuple[int, ...], seconds: float) -> Figures:
    """Open and close connections for so long, so many at once; `ms` is what both take together."""
    port = await talk.port()
    figures: Figures = {}
    for depth in depths:
        times: list[float] = []
        server, client = (await talk.ask())["cpu"], cpu_seconds()
        start = time.perf_counter()
        await asyncio.gather(*(_open_and_close(peer, port, start + seconds, times) for _ in range(depth)))
        took = time.perf_counter() - start
        await asyncio.sleep(min(REST, seconds))
        server, client = (await talk.ask())["cpu"] - server, cpu_seconds() - client
        figures |= {
            f"per_second_{depth}": len(times) / took,
            f"server_us_{depth}": server / len(times) * 1e6,
            f"client_us_{depth}": client / len(times) * 1e6,
            f"p50_ms_{depth}": percentile(times, 0.50) * 1e3,
            f"p99_ms_{depth}": percentile(times, 0.99) * 1e3,
        }
    return figures


async def _open_and_close(peer: Peer, port: int, end: float, times: list[float]) -> None:
    while (start := time.perf_counter()) < end:
        channel = await peer.connect(port)
        await channel.close()
        times.append(time.perf_counter() - start)


class ManyServer(Server):
    """Echoes a connection's first message, notes when the later ones were sent, or receives bulk data."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.late: list[float] = []

    async def handle(self, channel: Channel) -> None:
        rest = b""
        while data := await channel.receive():
            if data[:1] == b"b" and not rest:
                return await self._bulk(channel, bytes(data[MESSAGE:]))
            rest += data
            while len(rest) >= MESSAGE:
                message, rest = rest[:MESSAGE], rest[MESSAGE:]
                if message[:1] == b"e":
                    await channel.send(message)
                else:
                    self.late.append((time.monotonic_ns() - int.from_bytes(message[1:9], "big")) / 1e9)
        return None

    async def _bulk(self, channel: Channel, first: bytes) -> None:
        meter = Meter(self.size)
        if not first or not meter.take(first):
            await channel.receive_into(meter.take)
        await channel.send(ECHO)

    def figures(self) -> Figures:
        late = self.late
        if not late:
            return {"messages": 0}
        return {"messages": len(late), "late_p50": percentile(late, 0.5), "late_p99": percentile(late, 0.99)}


async def _open(peer: Peer, port: int, count: int) -> list[Channel]:
    channels: list[Channel] = []
    while len(channels) < count:
        number = min(AT_ONCE, count - len(channels))
        channels += await asyncio.gather(*(_open_one(peer, port) for _ in range(number)))
    return channels


async def _open_one(peer: Peer, port: int) -> Channel:
    channel = await peer.connect(port)
    await channel.send(ECHO)
    answer = b""
    while len(answer) < MESSAGE:
        answer += (data := await channel.receive())
        if not data:
            raise ConnectionError("the connection ended before its first answer")
    if answer != ECHO:
        raise RuntimeError("the first answer differs from its request")
    return channel


async def idle(peer: Peer, talk: Talk, *, count: int, seconds: float, talking: bool) -> Figures:
    """Open `count` connections and let them rest; then, if they are `talking`, send on all of them."""
    port = await talk.port()
    channels = await _open(peer, port, min(WARM, count // 2))
    await asyncio.sleep(min(REST, seconds))
    before = await talk.ask("rest")
    start = time.perf_counter()
    opened = count - len(channels)
    channels += await _open(peer, port, opened)
    took = time.perf_counter() - start
    await asyncio.sleep(min(REST, seconds))
    after = await talk.ask("rest")
    await asyncio.sleep(seconds)
    rested = await talk.ask()
    figures: Figures = {
        "connections": count,
        "opened_per_second": opened / took,
        "server_bytes_each": (after["memory"] - before["memory"]) / opened if after["memory"] else None,
        "server_us_a_second_each": (rested["cpu"] - after["cpu"]) / seconds / count * 1e6,
        "peak_receiver": rested["peak"],
    }
    if talking:
        figures |= await _talk(channels, talk, seconds)
    return figures


async def _talk(channels: list[Channel], talk: Talk, seconds: float) -> Figures:
    """Each channel sends MESSAGE bytes every PERIOD, spread evenly; late is from the loop's wake-up to the handler."""
    before, client = await talk.ask(), cpu_seconds()
    start = now = time.perf_counter()
    apart = PERIOD / len(channels)
    number = 0
    while now < start + seconds:
        due = int((now - start) / apart) + 1
        stamp = b"t" + time.monotonic_ns().to_bytes(8, "big")
        message = stamp + bytes(MESSAGE - len(stamp))
        while number < due and time.perf_counter() < start + seconds:
            await channels[number % len(channels)].send(message)
            number += 1
        await asyncio.sleep(max(0.0, start + number * apart - time.perf_counter()))
        now = time.perf_counter()
    took = now - start
    client = cpu_seconds() - client
    after = await talk.ask()
    while after["messages"] < number:
        await asyncio.sleep(POLL)
        after = await talk.ask()
    return {
        "talk_per_second": number / took,
        "talk_wanted_per_second": len(channels) / PERIOD,
        "talk_server_us": (after["cpu"] - before["cpu"]) / number * 1e6,
        "talk_client_us": client / number * 1e6,
        "talk_p50_ms": after["late_p50"] * 1e3,
        "talk_p99_ms": after["late_p99"] * 1e3,
    }


async def held(peer: Peer, talk: Talk, *, count: int, size: int) -> Figures:
    """A bulk transfer alone, and beside `count` idle connections held by the same two processes."""
    port = await talk.port()
    await _bulk(peer, port, size)
    alone, alone_cpu = await _bulk_rounds(peer, port, talk, size)
    channels = await _open(peer, port, count)
    await asyncio.sleep(REST)
    beside, beside_cpu = await _bulk_rounds(peer, port, talk, size)
    return {
        "connections": len(channels),
        "alone_MB_s": alone,
        "beside_MB_s": beside,
        "ratio": beside / alone,
        "alone_s_per_GB": alone_cpu,
        "beside_s_per_GB": beside_cpu,
        "cpu_ratio": beside_cpu / alone_cpu,
    }


async def _bulk_rounds(peer: Peer, port: int, talk: Talk, size: int) -> tuple[float, float]:
    """Median MB/s and the CPU seconds per GB of both sides."""
    before = cpu_seconds() + (await talk.ask())["cpu"]
    rates = [await _bulk(peer, port, size) for _ in range(BULK_ROUNDS)]
    after = cpu_seconds() + (await talk.ask())["cpu"]
    return median(rates), (after - before) / (BULK_ROUNDS * size) * 1e9


async def _bulk(peer: Peer, port: int, size: int) -> float:
    channel = await peer.connect(port)
    start = time.perf_counter()
    await channel.send(b"b" * MESSAGE)
    for chunk in chunks(size):
        await channel.send(chunk)
    answer = await channel.receive()
    took = time.perf_counter() - start
    if answer != ECHO:
        raise RuntimeError(f"the receiver said {bytes(answer)!r}")
    await channel.close()
    return size / took / 1e6
