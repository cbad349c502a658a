"""Two endpoints joined in memory, under the test's full control.

`Pair` moves virtual time from instant to instant. Every datagram that leaves is logged and asked of `fate`
what becomes of it: a list of (delay in seconds, bytes), empty when it is lost. Datagrams that arrive at one
instant are merged into buffers as GRO would, unless `merge` is off.

What must hold of a connection at any time is in `rudp.testing.invariants`.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

from rudp import packet_number, wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.events import Connected, Event, Terminated
from rudp.testing import invariants
from rudp.train import Address

CLIENT: Address = ("10.0.0.1", 1)
SERVER: Address = ("10.0.0.2", 2)
MAX_BUFFER = 65_000
MAX_STEPS = 200_000

Fate = Callable[["Datagram"], list[tuple[float, bytes]]]


class Datagram(NamedTuple):
    """One datagram as it left: when, from whom ("client" or "server"), its bytes."""

    time: float
    sender: str
    data: bytes

    @property
    def is_data(self) -> bool:
        return self.data[0] in wire.DATA_TYPES

    @property
    def number(self) -> int:
        """The truncated packet number of a DATA packet."""
        return wire.read_headers(memoryview(self.data), len(self.data))[2][0]

    def frames(self, overhead: int = 0) -> list[Any]:
        """The frames of a DATA packet; nothing of any other."""
        kind = wire.DATA_TYPES.get(self.data[0])
        if kind is None:
            return []
        view = memoryview(self.data)
        if kind.canonical:
            return [wire.Stream(*fields) for fields in wire.read_canonical(view, len(view), overhead)]
        return list(wire.decode_frames(view[wire.DATA_HEADER_SIZE : len(view) - overhead]))


class Pair:
    """A client and a server endpoint with one connection between them."""

    def __init__(
        self,
        *,
        seed: int = 1,
        client: Config | None = None,
        server: Config | None = None,
        delay: float = 0.01,
        merge: bool = True,
        opened: bool = True,
    ) -> None:
        config = client or Config(protection="none")
        self.overhead = 4 if config.protection == "crc32" else 0
        self.now = 0.0
        self.delay = delay
        self.merge = merge
        self.fate: Fate = lambda datagram: [(self.delay, datagram.data)]
        self.log: list[Datagram] = []
        self.events: dict[str, list[Event]] = {"client": [], "server": []}
        self.endpoints = {
            "client": Endpoint(config, random=Random(f"{seed} client")),
            "server": Endpoint(server or config, random=Random(f"{seed} server"), accept=True),
        }
        self._connections: dict[str, Connection] = {}
        self._air: list[tuple[float, int, str, bytes]] = []
        self._sequence = 0
        self.buffers = {"client": 0, "server": 0}
        # Bytes that arrived.
        self.arrived = {"client": 0, "server": 0}
        self._connections["client"] = self.endpoints["client"].connect(SERVER, self.now)
        if opened:
            self.open()

    @property
    def client(self) -> Connection:
        return self._connections["client"]

    @property
    def server(self) -> Connection:
        return self._connections["server"]

    def open(self) -> None:
        """Run until both sides have said Connected, then let what is on its way arrive."""
        self.until(lambda: all(any(isinstance(e, Connected) for e in events) for events in self.events.values()))
        self.run(self.delay * 4)
        for events in self.events.values():
            events.clear()

    def other(self, side: str) -> str:
        return "server" if side == "client" else "client"

    def flush(self) -> None:
        """Do as a driver does after an input: send all trains, take all events. Then check both sides."""
        for side, endpoint in self.endpoints.items():
            for train in invariants.trains(endpoint, self.now):
                data = b"".join(train.buffers)
                assert len(data) == train.size
                for at in range(0, len(data), train.segment_size):
                    self._launch(Datagram(self.now, side, data[at : at + train.segment_size]))
            while (item := endpoint.next_event()) is not None:
                connection, event = item
                self._connections.setdefault(side, connection)
                self.events[side].append(event)

    def _launch(self, datagram: Datagram) -> None:
        self.log.append(datagram)
        for delay, data in self.fate(datagram):
            self._sequence += 1
            heappush(self._air, (self.now + delay, self._sequence, self.other(datagram.sender), data))

    def next_instant(self) -> float | None:
        """When something will happen: an arrival or a timer."""
        instants = [e.next_timeout() for e in self.endpoints.values()]
        if self._air:
            instants.append(self._air[0][0])
        due = [instant for instant in instants if instant is not None]
        return max(self.now, min(due)) if due else None

    def step(self, limit: float = float("inf")) -> bool:
        """Go to the next instant and let happen what is due; False when that lies beyond `limit`, or never comes."""
        self.flush()
        instant = self.next_instant()
        if instant is None or instant > limit:
            return False
        self.now = instant
        self._arrive()
        for endpoint in self.endpoints.values():
            due = endpoint.next_timeout()
            if due is not None and due <= self.now:
                endpoint.handle_timeout(self.now)
        self.flush()
        return True

    def deliver(self, until: float) -> None:
        """Let arrive what does by `until`, without sending anything or looking at timers."""
        while self._air and self._air[0][0] <= until:
            self.now = self._air[0][0]
            self._arrive()

    def _arrive(self) -> None:
        buffers: list[tuple[str, list[bytes]]] = []
        while self._air and self._air[0][0] <= self.now:
            _, _, side, data = heappop(self._air)
            last = buffers[-1] if buffers else None
            if (
                self.merge
                and last is not None
                and last[0] == side
                and len(last[1][-1]) == len(last[1][0]) >= len(data)
                and (len(last[1]) + 1) * len(last[1][0]) <= MAX_BUFFER
            ):
                last[1].append(data)
            else:
                buffers.append((side, [data]))
        for side, parts in buffers:
            self.buffers[side] += 1
            self.arrived[side] += sum(map(len, parts))
            remote = CLIENT if side == "server" else SERVER
            local = SERVER if side == "server" else CLIENT
            joined = bytearray(b"".join(parts))
            with memoryview(joined) as view:
                self.endpoints[side].receive(view, len(parts[0]), remote, local, 0, self.now)
            # What a driver does with its one buffer: nothing may have kept a view of it.
            joined.clear()

    def run(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass."""
        limit = self.now + seconds
        for _ in range(MAX_STEPS):
            if not self.step(limit):
                break
        else:
            raise AssertionError(f"time stands still at {self.now}")
        self.now = max(self.now, limit)

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Run until `condition()`; fails when that takes longer than `seconds`."""
        limit = self.now + seconds
        self.flush()
        for _ in range(MAX_STEPS):
            if condition():
                return
            assert self.step(limit), f"{seconds} s later the condition does not hold; time {self.now}"
        raise AssertionError(f"too many steps; time {self.now}")

    def sent(self, side: str, kind: type, since: float = 0.0) -> list[Any]:
        """All frames of `kind` that `side` has sent, in order."""
        found = []
        for datagram in self.log:
            if datagram.sender == side and datagram.time >= since:
                found += [f for f in datagram.frames(self.overhead) if isinstance(f, kind)]
        return found

    def of(self, side: str, kind: type) -> list[Any]:
        """Events of `kind` that `side` got."""
        return [event for event in self.events[side] if isinstance(event, kind)]

    def errors(self) -> dict[str, Exception | None]:
        """How each side that has ended, ended."""
        return {side: e.error for side in self.events for e in self.of(side, Terminated)}

    def check(self) -> None:
        """What must hold of each connection, and of both together."""
        for connection in self._connections.values():
            invariants.check(connection)
        if len(self._connections) > 1:
            invariants.agree(self.client, self.server)


def read_all(connection: Connection, stream_id: int, max_bytes: int = 1 << 20) -> bytes:
    """Everything that can be read now."""
    parts = []
    while data := connection.receive(stream_id, max_bytes):
        parts.append(data)
    return b"".join(parts)


def truncated(number: int) -> int:
    """The packet number as it stands in a header."""
    return packet_number.truncate(number)
