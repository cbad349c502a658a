"""Endpoints joined in memory, on virtual time: any number of them, any address, rules for single packets.

Every packet that leaves is decoded, logged and held against the rules (`drop`, `delay`, `copy`, `alter`), first match
first. After each instant two laws are checked for every endpoint: nothing stays due that could have been done,
and no unvalidated address was sent more than three times what came from it.

Refuses to know: how a connection works inside (tests/core_pair.py does). Cost: O(packets), each decoded once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from rudp import wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import DecodeError
from rudp.events import Event, StreamReadable, Terminated
from rudp.protection import by_name
from rudp.train import Address

CLIENT: Address = ("10.0.0.1", 1111)
SERVER: Address = ("10.0.0.2", 2222)
AMPLIFICATION = 3
# An input may move a timer into the past: then it is due at once, and again if that moves another; never for long.
ROUNDS = 4


class Packet:
    """One datagram as it left; `kind` is SYN, SYN_ACK, RETRY, VERSION, RESET, DATA or JUNK."""

    def __init__(  # noqa: PLR0917
        self, time: float, sender: str, source: Address, destination: Address, data: bytes, overhead: int
    ) -> None:
        self.time = time
        self.sender = sender
        self.source = source
        self.destination = destination
        self.data = data
        self.opening: Any = None
        self.frames: list[Any] = []
        self.number = -1
        try:
            self._decode(overhead)
        except DecodeError:
            self.kind = "JUNK"

    def _decode(self, overhead: int) -> None:
        data = wire.DATA_TYPES.get(self.data[0]) if self.data else None
        view = memoryview(self.data)
        if data is None:
            self.opening = wire.decode_opening(view)
            self.kind = wire.PacketType(self.data[0]).name
            return
        self.kind = "DATA"
        self.number = wire.read_headers(view, len(view))[2][0]
        if data.canonical:
            self.frames = [wire.Stream(*fields) for fields in wire.read_canonical(view, len(view), overhead)]
        else:
            self.frames = list(wire.decode_frames(view[wire.DATA_HEADER_SIZE : len(view) - overhead]))

    def has(self, *kinds: type) -> bool:
        """Whether the packet carries a frame of one of these kinds."""
        return any(isinstance(frame, kinds) for frame in self.frames)

    def __repr__(self) -> str:
        names = " ".join(type(frame).__name__ for frame in self.frames)
        return f"<{self.time:.4f} {self.sender} {self.kind} {self.number} {names} {len(self.data)} B>"


Match = Callable[[Packet], bool]
Fate = Callable[[Packet], list[tuple[float, bytes]]]


class Rule:
    """What becomes of the next `times` packets that match, after `skip` of them."""

    def __init__(self, match: Match, fate: Fate, times: int, skip: int) -> None:
        self.match = match
        self.fate = fate
        self.times = times
        self.skip = skip
        self.applied = 0

    def takes(self, packet: Packet) -> bool:
        if self.applied >= self.times or not self.match(packet):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.applied += 1
        return True


class Net:
    """Endpoints by name."""

    def __init__(
        self, *, seed: int = 1, delay: float = 0.05, start: float = 0.0, protection: str = "crc32"
    ) -> None:
        self.seed = seed
        self.overhead = by_name(protection).overhead
        self.now = start
        self.delay = delay
        self.merge = True
        self.endpoints: dict[str, Endpoint] = {}
        self.address: dict[str, Address] = {}
        self.owner: dict[Address, str] = {}
        self.rules: list[Rule] = []
        self.log: list[Packet] = []
        self.events: dict[str, list[tuple[Connection, Event]]] = {}
        self.received: dict[tuple[str, int], bytes] = {}
        self.reading: dict[str, bool] = {}
        self.wakeups = 0
        self._air: list[tuple[float, int, bytes, Address, Address]] = []
        self._sequence = 0
        self._seen: Counter[tuple[str, Address]] = Counter()
        self._sent: Counter[tuple[str, Address]] = Counter()
        # Who names the id in a SYN_ACK got what was sent to that address.
        self._offered: dict[tuple[str, int], Address] = {}
        self._validated: set[tuple[str, Address]] = set()

    def add(self, name: str, address: Address, *, accept: bool = False, config: Config | None = None) -> Endpoint:
        """Put an endpoint at an address; in place of an older one of that name, as a restart does."""
        generation = sum(1 for key in self.events if key == name)
        endpoint = Endpoint(config or Config(), random=Random(f"{self.seed} {name} {generation}"), accept=accept)
        self.endpoints[name] = endpoint
        self.address[name] = address
        self.owner[address] = name
        self.events.setdefault(name, [])
        self.reading.setdefault(name, True)
        return endpoint

    def move(self, name: str, address: Address, *, keep: bool = False) -> None:
        """From now on `name` sends from `address`, and what goes to the old one is lost unless `keep`."""
        if not keep:
            del self.owner[self.address[name]]
        self.address[name] = address
        self.owner[address] = name

    def connect(self, name: str, to: str, *, config: Config | None = None) -> Connection:
        """Open a connection from one endpoint to another."""
        self._validated.add((name, self.address[to]))
        return self.endpoints[name].connect(self.address[to], self.now, config=config)

    # -- rules --------------------------------------------------------------------------------------------------

    def _rule(self, match: Match, fate: Fate, times: int, skip: int) -> Rule:
        rule = Rule(match, fate, times, skip)
        self.rules.append(rule)
        return rule

    def drop(self, match: Match, times: int = 1 << 30, skip: int = 0) -> Rule:
        """Lose packets."""
        return self._rule(match, lambda _: [], times, skip)

    def hold(self, match: Match, seconds: float, times: int = 1 << 30, skip: int = 0) -> Rule:
        """Deliver packets so much later than others."""
        return self._rule(match, lambda packet: [(self.delay + seconds, packet.data)], times, skip)

    def copy(self, match: Match, seconds: float = 0.0, times: int = 1 << 30, skip: int = 0) -> Rule:
        """Deliver packets twice, the second time `seconds` later."""
        return self._rule(
            match, lambda p: [(self.delay, p.data), (self.delay + seconds, p.data)], times, skip
        )

    def alter(self, match: Match, change: Callable[[bytes], bytes], times: int = 1 << 30, skip: int = 0) -> Rule:
        """Deliver other bytes."""
        return self._rule(match, lambda packet: [(self.delay, change(packet.data))], times, skip)

    # -- time ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Do as a driver does after an input, for every endpoint."""
        for name, endpoint in list(self.endpoints.items()):
            for _ in range(ROUNDS):
                self._flush(name, endpoint)
                due = endpoint.next_timeout()
                if due is None or due > self.now:
                    break
                endpoint.handle_timeout(self.now)
            else:
                raise AssertionError(f"{name} did all it could at {self.now} and is due at {due} all the same")

    def _flush(self, name: str, endpoint: Endpoint) -> None:
        busy = True
        while busy:
            busy = False
            for train in endpoint.datagrams_to_send(self.now):
                data = b"".join(train.buffers)
                assert len(data) == train.size
                for at in range(0, len(data), train.segment_size):
                    self._launch(name, train.remote, data[at : at + train.segment_size])
            while (item := endpoint.next_event()) is not None:
                busy = True
                self.events[name].append(item)
                self._read(name, *item)

    def _read(self, name: str, connection: Connection, event: Event) -> None:
        if isinstance(event, StreamReadable) and self.reading[name]:
            self.read(name, connection, event.stream_id)

    def read(self, name: str, connection: Connection, stream_id: int = 0) -> bytes:
        """Read what is there; all that was ever read of a stream is in `received`."""
        key = (name, stream_id)
        before = self.received.get(key, b"")
        while data := connection.receive(stream_id):
            before += data
        self.received[key] = before
        return before

    def _launch(self, name: str, remote: Address, data: bytes) -> None:
        packet = Packet(self.now, name, self.address[name], remote, data, self.overhead)
        self.log.append(packet)
        self._sent[name, remote] += len(data)
        if packet.kind == "SYN_ACK":
            self._offered[name, packet.opening.source_id] = remote
        if (name, remote) not in self._validated:
            sent, seen = self._sent[name, remote], self._seen[name, remote]
            assert sent <= AMPLIFICATION * seen, f"{name} sent {sent} bytes to {remote} for {seen}: {packet}"
        rule = next((rule for rule in self.rules if rule.takes(packet)), None)
        fates = [(self.delay, data)] if rule is None else rule.fate(packet)
        for delay, what in fates:
            self.inject(what, packet.source, remote, delay)

    def inject(self, data: bytes, source: Address, destination: Address, delay: float = 0.0) -> None:
        """Have bytes arrive, whoever sent them."""
        self._sequence += 1
        heappush(self._air, (self.now + delay, self._sequence, data, source, destination))

    def next_instant(self) -> float | None:
        """When something happens next."""
        times = [due for endpoint in self.endpoints.values() if (due := endpoint.next_timeout()) is not None]
        if self._air:
            times.append(self._air[0][0])
        return max(self.now, min(times)) if times else None

    def step(self, limit: float = float("inf")) -> bool:
        """Go to the next instant; False when there is none up to `limit`."""
        self.flush()
        instant = self.next_instant()
        if instant is None or instant > limit:
            return False
        self.now = instant
        self._arrive()
        for endpoint in self.endpoints.values():
            due = endpoint.next_timeout()
            if due is not None and due <= self.now:
                self.wakeups += 1
                endpoint.handle_timeout(self.now)
        self.flush()
        return True

    def _arrive(self) -> None:
        buffers: list[tuple[Address, Address, list[bytes]]] = []
        while self._air and self._air[0][0] <= self.now:
            _, _, data, source, destination = heappop(self._air)
            name = self.owner.get(destination)
            if name is None:
                continue
            self._note(name, source, data)
            if self.merge and buffers and buffers[-1][:2] == (source, destination):
                parts = buffers[-1][2]
                if len(parts[-1]) == len(parts[0]) >= len(data) > 0 and len(parts) < 64:
                    parts.append(data)
                    continue
            buffers.append((source, destination, [data]))
        for source, destination, parts in buffers:
            joined = bytearray(b"".join(parts))
            with memoryview(joined) as view:
                endpoint = self.endpoints[self.owner[destination]]
                endpoint.receive(view, max(1, len(parts[0])), source, destination, 0, self.now)
            joined.clear()

    def _note(self, name: str, source: Address, data: bytes) -> None:
        key = (name, source)
        self._seen[key] += len(data)
        packet = Packet(self.now, "", source, source, data, self.overhead)
        if packet.has(wire.PathResponse) or (packet.kind == "SYN" and packet.opening.cookie):
            self._validated.add(key)
        if packet.kind == "DATA":
            offered = self._offered.get((name, wire.read_destination_id(memoryview(data))))
            if offered is not None:
                self._validated.add((name, offered))

    def run(self, seconds: float) -> None:
        """Let so much virtual time pass."""
        limit = self.now + seconds
        for _ in range(100_000):
            if not self.step(limit):
                break
        else:
            raise AssertionError(f"time stands still at {self.now}")
        self.now = max(self.now, limit)

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Run until `condition()`, which must not take longer than `seconds`."""
        limit = self.now + seconds
        self.flush()
        for _ in range(100_000):
            if condition():
                return
            assert self.step(limit), f"after {seconds} s the condition does not hold; {self.log[-5:]}"
        raise AssertionError(f"time stands still at {self.now}")

    # -- what happened ------------------------------------------------------------------------------------------

    def kinds(self, sender: str = "") -> list[str]:
        """Kinds of the packets sent, by one endpoint or all."""
        return [packet.kind for packet in self.log if sender in ("", packet.sender)]

    def packets(self, sender: str, kind: str = "", *frames: type) -> list[Packet]:
        """Packets of `sender` of one kind, with one of these frames."""
        return [
            packet
            for packet in self.log
            if packet.sender == sender and kind in ("", packet.kind) and (not frames or packet.has(*frames))
        ]

    def events_of(self, name: str, kind: type) -> list[Any]:
        """Events of one kind that an endpoint had."""
        return [event for _, event in self.events[name] if isinstance(event, kind)]

    def ends(self, name: str) -> list[Exception | None]:
        """The errors of Terminated events, oldest first."""
        return [event.error for event in self.events_of(name, Terminated)]


class Pair(Net):
    """A client "c" that connects to a server "s"."""

    def __init__(
        self,
        *,
        seed: int = 1,
        delay: float = 0.05,
        config: Config | None = None,
        client: Config | None = None,
        server: Config | None = None,
        opened: bool = True,
        start: float = 0.0,
    ) -> None:
        super().__init__(seed=seed, delay=delay, start=start, protection=(client or config or Config()).protection)
        self.add("c", CLIENT, config=client or config)
        self.add("s", SERVER, accept=True, config=server or config)
        self.client = self.connect("c", "s")
        if opened:
            self.open()

    @property
    def server(self) -> Connection:
        """The server's side: the newest connection it said anything about, or holds."""
        held = self.endpoints["s"].connections
        return held[-1] if held else self.events["s"][-1][0]

    def open(self) -> None:
        """Run until both sides are connected and quiet."""
        self.until(lambda: self.client.is_open and any(c.is_open for c in self.endpoints["s"].connections))
        self.run(self.delay * 6)

    def ended(self) -> bool:
        """Whether both sides have said Terminated."""
        return bool(self.ends("c")) and bool(self.ends("s"))
