"""Beds for measuring the core's CPU: two endpoints joined in memory, in virtual time, with something piled up beside.

Knows: how to keep a queue long, many streams or connections open, many bytes in flight, gaps and runs held, packets
lost, and how much CPU the two endpoints took meanwhile. Refuses to know: which sizes are compared and what is good.

    bed = Bulk(window=1 << 20, behind=100_000 * 100, piece=100)
    bed.sample(5_000).per_packet    microseconds of CPU of both sides, over that many packets of the client

What counts is what the endpoints do: received buffers, timers, reading, making trains. Joining a train to one buffer,
dropping packets and refilling are the kernel's and the application's, and happen between the clock's readings. The CPU
time of this process is read twice for each side that has something to do at one instant.

All but `Lossy` run under a controller with a fixed window and without pacing, so that equal trains are compared. There
is no chance but what is seeded: a bed runs the same calls on any machine.
"""

from __future__ import annotations

from collections import deque
from itertools import cycle
from random import Random
from time import process_time_ns
from typing import Any, NamedTuple

from rudp.config import Config
from rudp.congestion import AckSample, CongestionController, LossEvent
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.events import Connected, StreamReadable
from rudp.train import Address, Train

__all__ = ["Bed", "Bulk", "Crowd", "Lossy", "Messages", "Sample", "Turns"]

CLIENT: Address = ("10.0.0.1", 40_001)
SERVER: Address = ("10.0.0.2", 10_000)
MIB = 1 << 20
DATAGRAM = 1400
DELAY = 0.005
"""Seconds each way."""
READ = 1 << 20
OPENING = 500
"""Connections that open at a time: fewer than bring forth cookies."""
BUFFERS = 16
"""Received buffers that are handled before something is sent, as in `rudp.aio`."""
STEPS = 10_000_000


class Sample(NamedTuple):
    """What a while of a bed's running cost."""

    nanoseconds: int
    """CPU time of both endpoints together."""
    packets: int
    trains: int
    """Sent by the client."""
    payload: int
    """Bytes that the server's application has read."""
    writing: int
    """CPU time that the client's writes took, in nanoseconds; not among the others."""
    writes: int
    steps: int
    """Instants at which something was done."""
    gaps: int
    """Pieces out of order that the server held, summed over the steps."""

    @property
    def per_packet(self) -> float:
        """Microseconds of CPU a packet that was sent."""
        return self.nanoseconds / self.packets / 1000

    @property
    def per_write(self) -> float:
        """Microseconds of CPU a write."""
        return self.writing / self.writes / 1000


class FixedWindow(CongestionController):
    """A window that nothing changes."""

    __slots__ = ()
    name = "fixed"
    window = MIB

    def __init__(self, max_datagram_size: int, random: Any = None) -> None:
        super().__init__(max_datagram_size, random)
        self.congestion_window = self.window

    def on_ack(self, sample: AckSample) -> None:
        """Change nothing."""

    def on_loss(self, event: LossEvent) -> None:
        """Change nothing."""

    def on_persistent_congestion(self, now: float) -> None:
        """Change nothing."""


def fixed_window(size: int) -> type[FixedWindow]:
    """A controller class with a window of `size` bytes."""
    return type("FixedWindow", (FixedWindow,), {"__slots__": (), "window": size})


def config(window: int = MIB, **settings: Any) -> Config:
    """Equal packets, no check sums, nothing that ends an idle connection, neither credit nor rates in the way."""
    settings.setdefault("congestion", fixed_window(window))
    return Config(
        protection="none",
        max_datagram_size=DATAGRAM,
        path_mtu_discovery=False,
        idle_timeout=0,
        initial_receive_window=64 * MIB,
        receive_window=256 * MIB,
        max_opens_per_host=None,
        **settings,
    )


class Line:
    """One direction: trains on their way, whole but for what is lost.

    `rate` in bytes a second, `queue` in bytes before it; a train that is through is one received buffer, as a card
    that merges hands it on.
    """

    __slots__ = ("_free", "_queue", "_random", "_rate", "air", "loss")

    def __init__(self, seed: str, *, loss: float = 0.0, rate: float = 0.0, queue: int = 0) -> None:
        self._random = Random(seed)
        self.loss = loss
        self._rate = rate
        self._queue = queue
        self._free = 0.0
        self.air: deque[tuple[float, bytes, Train]] = deque()

    def send(self, train: Train, now: float) -> int:
        """Take a train; how many packets it has."""
        data = b"".join(train.buffers)
        size = train.segment_size
        count = -(-len(data) // size)
        arrival = now + DELAY
        if self._rate:
            self._free = max(self._free, now)
            room = max(int(self._queue - (self._free - now) * self._rate), 0)
            data = data[: room // size * size] if len(data) > room else data
            self._free += len(data) / self._rate
            arrival = self._free + DELAY
        if self.loss:
            draw, loss = self._random.random, self.loss
            data = b"".join([data[at : at + size] for at in range(0, len(data), size) if draw() >= loss])
        if data:
            self.air.append((arrival, data, train))
        return count


class Bed:
    """Two endpoints and the lines between them. Subclasses fill them and, in `refill`, keep them filled."""

    def __init__(self, settings: Config, *, forth: Line | None = None, back: Line | None = None) -> None:
        self.now = 0.0
        self.client = Endpoint(settings, random=Random(1))
        self.server = Endpoint(settings, random=Random(2), accept=True)
        self.forth = forth or Line("forth")
        self.back = back or Line("back")
        self.total = Sample(0, 0, 0, 0, 0, 0, 0, 0)
        self._connected = 0
        self._payload = 0

    def refill(self) -> tuple[int, int]:
        """What the application does before the client sends: nanoseconds of CPU and writes."""
        return 0, 0

    def gaps(self) -> int:
        """Pieces out of order that the server holds, where that is of interest."""
        return 0

    def open(self, count: int = 1) -> list[Connection]:
        """So many connections, opened."""
        connections: list[Connection] = []
        goal = self._connected
        for start in range(0, count, OPENING):
            for _ in range(min(OPENING, count - start)):
                connections.append(self.client.connect(SERVER, self.now))
                goal += 2
            for _ in range(STEPS):
                self._step()
                if self._connected >= goal:
                    break
            else:
                raise RuntimeError(f"{self._connected} of {goal} sides are connected at {self.now} s")
        return connections

    def run(self, seconds: float) -> None:
        """Let so much virtual time pass, without writing anything."""
        until = self.now + seconds
        while self.client.has_work or ((instant := self._next_instant()) is not None and instant <= until):
            self._step()
        self.now = until

    def sample(self, packets: int) -> Sample:
        """Run until the client has sent so many packets."""
        before = self.total
        goal = before.packets + packets
        for _ in range(STEPS):
            self.tick()
            if self.total.packets >= goal:
                return Sample(*(b - a for a, b in zip(before, self.total, strict=True)))
        raise RuntimeError(f"{goal - self.total.packets} packets were not sent; it is {self.now} s")

    def tick(self) -> None:
        """Write what is to be written, then go on."""
        spent, writes = self.refill()
        total = self.total
        self.total = total._replace(writing=total.writing + spent, writes=total.writes + writes)
        self._step()

    def _next_instant(self) -> float | None:
        """When something arrives or a timer is due."""
        instants = [line.air[0][0] for line in (self.forth, self.back) if line.air]
        instants += [at for end in (self.client, self.server) if (at := end.next_timeout()) is not None]
        return min(instants, default=None)

    def _step(self) -> None:
        """Go on to the next instant, or stay if there is something to send, and let both sides do what is due."""
        if not self.client.has_work:
            self.now = max(self.now, self._next_instant() or self.now)
        there, _, _ = self._turn(self.server, self.forth, self.back, CLIENT, SERVER)
        here, packets, trains = self._turn(self.client, self.back, self.forth, SERVER, CLIENT)
        total = self.total
        self.total = total._replace(
            nanoseconds=total.nanoseconds + there + here,
            packets=total.packets + packets,
            trains=total.trains + trains,
            payload=self._payload,
            steps=total.steps + 1,
            gaps=total.gaps + self.gaps(),
        )

    def _turn(
        self, end: Endpoint, inward: Line, outward: Line, remote: Address, local: Address
    ) -> tuple[int, int, int]:
        """One endpoint, as a driver drives it: nanoseconds of CPU, packets and trains sent."""
        now = self.now
        arrived: list[tuple[float, bytes, Train]] = []
        while inward.air and inward.air[0][0] <= now and len(arrived) < BUFFERS:
            arrived.append(inward.air.popleft())
        due = end.next_timeout()
        if not arrived and not end.has_work and (due is None or due > now):
            return 0, 0, 0
        before = process_time_ns()
        for _, data, train in arrived:
            end.receive(memoryview(data), train.segment_size, remote, local, train.ecn, now)
        due = end.next_timeout()
        if due is not None and due <= now:
            end.handle_timeout(now)
        self._take_events(end)
        trains = list(end.datagrams_to_send(now))
        self._take_events(end)
        spent = process_time_ns() - before
        return spent, sum([outward.send(train, now) for train in trains]), len(trains)

    def _take_events(self, end: Endpoint) -> None:
        while (item := end.next_event()) is not None:
            connection, event = item
            if isinstance(event, StreamReadable):
                while data := connection.receive(event.stream_id, READ):
                    self._payload += len(data)
            elif isinstance(event, Connected):
                self._connected += 1


class Bulk(Bed):
    """A connection that always sends as much as its window allows, from writes of `piece` bytes.

    `behind`: bytes that wait beyond what the window takes. `streams` more are open on it, `connections` more beside it;
    they said something once and are idle. `loss`: a share of the data's packets.
    """

    def __init__(
        self,
        *,
        window: int = MIB,
        behind: int = 0,
        piece: int = 65_536,
        loss: float = 0.0,
        streams: int = 0,
        connections: int = 0,
    ) -> None:
        super().__init__(config(window, max_streams_uni=max(128, streams)), forth=Line("forth", loss=loss))
        self._server_side: Any = None
        self._piece = bytes(piece)
        # An ACK may free all of a window, and one that tells of lost packets all that came behind them, too.
        self._ahead = (2 if loss else 1) * window + behind
        for connection in self.open(connections):
            connection.send(0, b"x")
        self._connection = self.open()[0]
        self._server_side = self.server.connections[-1]
        for _ in range(streams):
            self._connection.send(self._connection.open_stream(unidirectional=True), b"x")
        self.run(1.0)

    def refill(self) -> tuple[int, int]:
        """Keep the queue as long as it is to be."""
        missing = self._ahead - self._connection.unsent(0)
        if missing <= 0:
            return 0, 0
        send, piece = self._connection.send, self._piece
        count = -(-missing // len(piece))
        before = process_time_ns()
        for _ in range(count):
            send(0, piece)
        return process_time_ns() - before, count

    def gaps(self) -> int:
        """Pieces out of order that the server holds."""
        return self._server_side._streams._fragments.held if self._server_side else 0


class Turns(Bed):
    """A connection that sends on so many streams by turns; all have enough waiting."""

    PACKETS = 5_000
    """What a sample may have at most: streams are refilled between two."""

    def __init__(self, streams: int) -> None:
        super().__init__(config(max_streams_uni=streams))
        self._connection = self.open()[0]
        self._streams = [self._connection.open_stream(unidirectional=True) for _ in range(streams)]
        # Two trains' worth; of few streams, a sample's worth together.
        self._waiting = max(2 * 65_536, 2 * self.PACKETS * DATAGRAM // streams)

    def sample(self, packets: int) -> Sample:
        """Refill all streams, then run."""
        assert packets <= self.PACKETS
        data = bytes(self._waiting)
        for stream in self._streams:
            if self._connection.unsent(stream) < self._waiting:
                self._connection.send(stream, data)
        return super().sample(packets)


class Ticking(Bed):
    """Something is written every `interval` seconds, whatever else happens."""

    def __init__(self, settings: Config, interval: float) -> None:
        super().__init__(settings)
        self._interval = interval
        self._next = 0.0

    def tick(self) -> None:
        """Let time pass until something is written, and send that."""
        self._next = max(self._next, self.now)
        self.run(self._next - self.now)
        self._next += self._interval
        super().tick()


class Crowd(Ticking):
    """So many connections that each send 100 bytes every 100 ms, in a hundred groups one after the other."""

    GROUPS = 100
    PERIOD = 0.1

    def __init__(self, connections: int) -> None:
        groups = min(self.GROUPS, connections)
        super().__init__(config(), self.PERIOD / groups)
        opened = self.open(connections)
        self._groups = cycle([opened[start::groups] for start in range(groups)])
        self.run(1.0)

    def refill(self) -> tuple[int, int]:
        """Write what is due."""
        for connection in next(self._groups):
            connection.send(0, bytes(100))
        return 0, 0


class Messages(Ticking):
    """A connection that sends a packet at a time, so that about `runs` of them are on their way, each a train."""

    def __init__(self, runs: int) -> None:
        super().__init__(config(32 * MIB), 2 * DELAY / runs)
        self._connection = self.open()[0]

    def refill(self) -> tuple[int, int]:
        """Write one packet's worth."""
        self._connection.send(0, bytes(1000))
        return 0, 0


class Lossy(Bed):
    """A connection under the default controller, over a link of 1 Gbit/s with a queue of 1 BDP, that loses packets."""

    RATE = 125e6

    def __init__(self, loss: float) -> None:
        queue = int(self.RATE * 2 * DELAY)
        forth = Line("forth", loss=loss, rate=self.RATE, queue=queue)
        super().__init__(config(congestion=Config().congestion), forth=forth)
        self._connection = self.open()[0]

    def refill(self) -> tuple[int, int]:
        """Keep something waiting."""
        if self._connection.unsent(0) < MIB:
            self._connection.send(0, bytes(MIB))
        return 0, 0
