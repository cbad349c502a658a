"""A bad network between two real UDP sockets: a relay that loses, delays, reorders and duplicates datagrams.

Knows: one client and one server address at a time, and what befalls a datagram on its way, drawn from a seed,
each direction from its own generator. Refuses to know: what the datagrams say (see `witness`).

Each direction is a link of `rate` bytes a second with a finite queue in front, then chance, then the delay.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

__all__ = ["IP_AND_UDP_HEADER", "TO_CLIENT", "TO_SERVER", "Conditions", "Direction", "Relay", "Watcher"]

TO_SERVER: Final = "client -> server"
TO_CLIENT: Final = "server -> client"

IP_AND_UDP_HEADER: Final = 28
SOCKET_BUFFER: Final = 4 * 1024 * 1024
TIMER_GRAIN: Final = 0.0005
REORDER_DELAY: Final = (0.002, 0.010)  # seconds by which a reordered datagram comes late

# Called with the time, the direction, the datagram and what befell it: "", "lost" or "queue full".
Watcher: TypeAlias = Callable[[float, str, bytes, str], None]


@dataclass(frozen=True)
class Conditions:
    """What the relay does to each direction. Probabilities, seconds, bytes a second, bytes."""

    loss: float = 0.1
    delay: float = 0.02
    reorder: float = 0.02
    duplicate: float = 0.01
    rate: float = 2_000_000.0
    queue: int = 100_000


class Direction:
    """One way through the relay: decides when, if at all, a datagram comes out."""

    def __init__(self, conditions: Conditions, chance: random.Random) -> None:
        self._conditions = conditions
        self._chance = chance
        self._free_at = 0.0
        self.seen = self.lost = self.overflowed = self.reordered = self.duplicated = 0

    def exits(self, size: int, now: float) -> tuple[list[float], str]:
        """When copies of a datagram of `size` bytes come out, and its fate if none do."""
        conditions, chance = self._conditions, self._chance
        self.seen += 1
        waiting = max(0.0, self._free_at - now)
        if waiting * conditions.rate > conditions.queue:
            self.overflowed += 1
            return [], "queue full"
        self._free_at = now + waiting + (size + IP_AND_UDP_HEADER) / conditions.rate
        if chance.random() < conditions.loss:
            self.lost += 1
            return [], "lost"
        exit_at = self._free_at + conditions.delay
        if chance.random() < conditions.reorder:
            self.reordered += 1
            exit_at += chance.uniform(*REORDER_DELAY)
        if chance.random() < conditions.duplicate:
            self.duplicated += 1
            return [exit_at, exit_at + chance.uniform(*REORDER_DELAY)], ""
        return [exit_at], ""


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, Any], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._receive(data, addr)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error of one side: on a real path the other side would not hear of it either."""


class Relay:
    """Clients send to `address`; what comes through goes to `target`, and back."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self._loop = asyncio.get_running_loop()
        # The same chance for the same seed, under any PYTHONHASHSEED: text seeds are hashed by SHA-512.
        self.to_server = Direction(conditions, random.Random(f"{seed} to server"))
        self.to_client = Direction(conditions, random.Random(f"{seed} to client"))
        self._front: asyncio.DatagramTransport | None = None
        self._back: asyncio.DatagramTransport | None = None
        self._client: Any = None
        self._target: Any = None
        self._waiting: list[tuple[float, int, bool, bytes, Any]] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self.watcher: Watcher | None = None

    @classmethod
    async def open(cls, conditions: Conditions, seed: int) -> Relay:
        """Open both sockets on the loopback interface."""
        relay = cls(conditions, seed)
        relay._front = await relay._socket(relay._from_client)
        relay._back = await relay._socket(relay._from_server)
        return relay

    async def _socket(self, receive: Callable[[bytes, Any], None]) -> asyncio.DatagramTransport:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            sock.bind(("127.0.0.1", 0))
            transport, _ = await self._loop.create_datagram_endpoint(lambda: _Receiver(receive), sock=sock)
        except BaseException:
            sock.close()
            raise
        return transport

    @property
    def address(self) -> tuple[str, int]:
        """Where clients send."""
        assert self._front is not None
        host, port = self._front.get_extra_info("sockname")[:2]
        return host, port

    def lead_to(self, target: tuple[str, int]) -> None:
        """From now on `target` is the server. What is still under way to or from the last one is dropped."""
        self._target, self._client = target, None
        self._waiting.clear()

    def close(self) -> None:
        """Close both sockets; what is still inside is gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        for transport in (self._front, self._back):
            if transport is not None:
                transport.close()

    def _from_client(self, data: bytes, source: Any) -> None:
        self._client = source
        self._pass(data, self.to_server, TO_SERVER, self._target)

    def _from_server(self, data: bytes, source: Any) -> None:
        if source == self._target and self._client is not None:
            self._pass(data, self.to_client, TO_CLIENT, self._client)

    def _pass(self, data: bytes, direction: Direction, name: str, to: Any) -> None:
        now = self._loop.time()
        times, fate = direction.exits(len(data), now)
        if self.watcher is not None:
            self.watcher(now, name, data, fate)
        for moment in times:
            self._sequence += 1
            heapq.heappush(self._waiting, (moment, self._sequence, direction is self.to_server, data, to))
        self._arm()

    def _arm(self) -> None:
        if not self._waiting:
            return
        earliest = self._waiting[0][0]
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() <= earliest:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(earliest, self._release)

    def _release(self) -> None:
        self._timer = None
        due = self._loop.time() + TIMER_GRAIN
        waiting = self._waiting
        while waiting and waiting[0][0] <= due:
            _, _, forward, data, to = heapq.heappop(waiting)
            transport = self._back if forward else self._front
            assert transport is not None
            transport.sendto(data, to)
        self._arm()
