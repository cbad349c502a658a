"""Invariant: whatever two applications do and the network does to their packets, every byte that is read was
written, once, in order and unaltered; a direction ends clean only at its true end; and once the network
heals, all that was written and not given up arrives within a bounded time.

A rule-based state machine over two endpoints in memory: streams of both kinds opened by either side, written,
read, left unread, finished, reset, stopped, half-closed and closed, under drawn loss, reordering,
duplication, corruption and delays. `rudp.testing.invariants` looks at both connections after each step. A failing
example is printed by hypothesis step by step, and packet by packet below.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.control import current_build_context
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rudp.config import Config
from rudp.connection import Connection
from rudp.errors import ConnectionClosed, StreamClosed, StreamLimitReached, StreamReset, StreamStopped
from rudp.events import PeerFinished, StreamOpened, Terminated
from rudp.testing import Story, in_words
from tests.core_pair import Datagram, Pair

KIB = 1024
SIDES = ("client", "server")
# Once the network heals: probe timeouts have backed off over the longest disturbance, so the first repetition
# may take as long as that lasted, and each further round trip less.
HEALED_WITHIN = 30.0
WINDOW = 16 * KIB

sides = st.sampled_from(SIDES)
# Sizes around the things that have edges: nothing, a byte, a packet, a train, the window.
sizes = st.one_of(st.integers(0, 40), st.integers(1100, 1300), st.integers(1, 3 * WINDOW))


# Long enough for the longest stream of an example at any salt.
_BYTES = Random(0).randbytes(1 << 23)


def pattern(stream_id: int, sender: str, start: int, stop: int) -> bytes:
    """Bytes that tell where they belong: each stream and direction has its own place in a block of random ones."""
    at = stream_id * 4099 + (2_000_003 if sender == "client" else 0)
    return _BYTES[at + start : at + stop]


class Direction:
    """What the model knows of one direction of a stream."""

    def __init__(self) -> None:
        self.written = 0
        self.read = 0
        self.finished = False
        self.reset = False
        self.stopped = False
        self.eof = False
        self.broken = False


class Network:
    """What becomes of datagrams, by a seed of its own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        # Told only where hypothesis runs its final example, as it takes time.
        self.story = Story() if current_build_context().is_final else None
        self.loss = self.duplicate = self.corrupt = self.late = 0.0

    def fate(self, datagram: Datagram) -> list[tuple[float, bytes]]:
        """What becomes of a datagram, and a line of the story."""
        found = self.drawn(datagram)
        if self.story is not None:
            ways = [
                f"arrives {datagram.time + delay:.6f}{' CORRUPTED' * (data != datagram.data)}" for delay, data in found
            ]
            line = f"{datagram.sender}: {in_words(datagram.data)} ({len(datagram.data)} B)   "
            self.story.note(f"{line}[{'; '.join(ways) or 'LOST'}]", datagram.time)
        return found

    def drawn(self, datagram: Datagram) -> list[tuple[float, bytes]]:
        draw = self.random.random
        if draw() < self.loss:
            return []
        delay = 0.01
        if draw() < self.late:
            delay += draw() * 0.05
        data = datagram.data
        if draw() < self.corrupt:
            at = self.random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ (1 << self.random.randrange(8))]) + data[at + 1 :]
        copies = [(delay, data)]
        if draw() < self.duplicate:
            copies.append((delay + draw() * 0.03, data))
        return copies


class ConnectionPair(RuleBasedStateMachine):
    """Two connected endpoints and a model of what each stream was given."""

    def __init__(self) -> None:
        super().__init__()
        self.directions: dict[tuple[str, int], Direction] = {}
        self.known: dict[str, list[int]] = {"client": [0], "server": [0]}
        self.half_closed = {"client": False, "server": False}
        self.closed = {"client": False, "server": False}
        self.seen = {"client": 0, "server": 0}

    @initialize(seed=st.integers(0, 2**32 - 1), merge=st.booleans())
    def start(self, seed: int, merge: bool) -> None:
        config = Config(
            protection="crc32",
            initial_receive_window=WINDOW,
            receive_window=8 * WINDOW,
            max_streams_bidi=4,
            max_streams_uni=3,
            idle_timeout=0.0,
            give_up_timeout=1000.0,
            close_timeout=1000.0,
        )
        self.network = Network(seed)
        self.pair = Pair(client=config, seed=seed, merge=merge)
        self.pair.fate = self.network.fate
        for side in SIDES:
            self.directions[side, 0] = Direction()

    def connection(self, side: str) -> Connection:
        return self.pair.client if side == "client" else self.pair.server

    def direction(self, sender: str, stream_id: int) -> Direction:
        return self.directions.setdefault((sender, stream_id), Direction())

    def settle(self) -> None:
        self.pair.flush()
        for side in SIDES:
            events = self.pair.events[side]
            for event in events[self.seen[side] :]:
                if isinstance(event, StreamOpened):
                    assert event.stream_id not in self.known[side], "a stream opened twice"
                    self.known[side].append(event.stream_id)
            self.seen[side] = len(events)

    def ended(self, side: str) -> bool:
        return any(isinstance(e, Terminated) for e in self.pair.events[side])

    def pick(self, side: str, index: int) -> int:
        return self.known[side][index % len(self.known[side])]

    # -- what the network does

    @rule(
        loss=st.sampled_from([0.0, 0.0, 0.05, 0.3]),
        duplicate=st.sampled_from([0.0, 0.1]),
        corrupt=st.sampled_from([0.0, 0.05]),
        late=st.sampled_from([0.0, 0.1, 0.5]),
    )
    def weather(self, loss: float, duplicate: float, corrupt: float, late: float) -> None:
        network = self.network
        network.loss, network.duplicate, network.corrupt, network.late = loss, duplicate, corrupt, late

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.011, 0.05, 0.3, 2.0]))
    def wait(self, seconds: float) -> None:
        self.pair.run(seconds)
        self.settle()

    # -- what applications do

    @rule(side=sides, unidirectional=st.booleans())
    def open_stream(self, side: str, unidirectional: bool) -> None:
        try:
            stream_id = self.connection(side).open_stream(unidirectional)
        except StreamLimitReached:
            return
        except ConnectionClosed:
            assert self.half_closed[side] or self.ended(side)
            return
        assert stream_id not in self.known[side]
        self.known[side].append(stream_id)
        self.settle()

    @rule(side=sides, index=st.integers(0, 100), size=sizes, fin=st.booleans())
    def write(self, side: str, index: int, size: int, fin: bool) -> None:
        stream_id = self.pick(side, index)
        model = self.direction(side, stream_id)
        data = pattern(stream_id, side, model.written, model.written + size)
        try:
            self.connection(side).send(stream_id, data, fin)
        except ConnectionClosed:
            assert self.half_closed[side] or self.ended(side)
            return
        except StreamStopped:
            assert self.direction(side, stream_id).stopped
            return
        except StreamClosed:
            one_way = bool(stream_id & 2) and (stream_id & 1) == (side == "client")
            assert model.finished or model.reset or model.stopped or one_way
            return
        assert not model.finished
        assert not model.reset
        model.written += size
        model.finished = fin
        self.settle()

    @rule(side=sides, index=st.integers(0, 100), size=st.sampled_from([1, 1000, 20_000, 1 << 20]))
    def read(self, side: str, index: int, size: int) -> None:
        self.read_from(side, self.pick(side, index), size)
        self.settle()

    def read_from(self, side: str, stream_id: int, size: int) -> bool:
        """One read, held against the model; whether it brought anything."""
        connection = self.connection(side)
        sender = self.pair.other(side)
        model = self.direction(sender, stream_id)
        try:
            data = connection.receive(stream_id, size)
        except StreamReset:
            assert model.reset or model.stopped, "a reset that nobody asked for"
            model.broken = True
            return False
        except StreamClosed:
            one_way = bool(stream_id & 2) and (stream_id & 1) == (side == "server")
            assert model.stopped or one_way
            return False
        assert data == pattern(stream_id, sender, model.read, model.read + len(data))
        model.read += len(data)
        assert model.read <= model.written
        if (
            not data
            and connection.at_eof(stream_id)
            and not (model.broken or model.stopped or self.ended(side))
        ):
            one_way = bool(stream_id & 2) and (stream_id & 1) == (side == "server")
            assert model.read == model.written or one_way
            assert not model.reset or model.eof or model.read == model.written
            assert model.finished or self.half_closed[sender] or one_way or model.reset
            model.eof = True
        return bool(data)

    @rule(side=sides, index=st.integers(0, 100))
    def reset(self, side: str, index: int) -> None:
        stream_id = self.pick(side, index)
        if self.ended(side):
            return
        self.connection(side).reset_stream(stream_id, 7)
        self.direction(side, stream_id).reset = True
        self.settle()

    @rule(side=sides, index=st.integers(0, 100))
    def stop_sending(self, side: str, index: int) -> None:
        stream_id = self.pick(side, index)
        if self.ended(side):
            return
        try:
            self.connection(side).stop_sending(stream_id, 9)
        except StreamClosed:
            return
        self.direction(self.pair.other(side), stream_id).stopped = True
        self.settle()

    @rule(side=sides)
    def half_close(self, side: str) -> None:
        self.connection(side).send_eof()
        self.half_closed[side] = True
        self.settle()

    @precondition(lambda self: all(self.half_closed.values()))
    @rule(side=sides)
    def close(self, side: str) -> None:
        self.connection(side).close()
        self.closed[side] = True
        self.settle()

    # -- what must hold

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "pair"):
            self.pair.check()

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        self.weather(0.0, 0.0, 0.0, 0.0)
        try:
            self.end_well()
        finally:
            if self.network.story is not None:
                note(str(self.network.story))

    def end_well(self) -> None:
        """All is read and both sides close; what must have come has."""
        if not any(self.closed.values()):
            self.drain()
        for side in SIDES:
            self.connection(side).close()
        self.pair.until(lambda: all(self.ended(side) for side in SIDES), HEALED_WITHIN * 3)
        errors = self.pair.errors()
        if not any(self.closed.values()):
            assert errors == {"client": None, "server": None}, errors

    def drain(self) -> None:
        """The network is well: end everything, read everything, and see that all of it comes."""
        deadline = self.pair.now + HEALED_WITHIN
        for side in SIDES:
            self.connection(side).send_eof()
            self.half_closed[side] = True
        while not all(self.pair.of(side, PeerFinished) for side in SIDES) or self.read_round():
            assert self.pair.now < deadline, "no progress after the network healed"
            self.read_round()
            self.pair.run(0.01)
            self.settle()
            self.pair.check()
        for side in SIDES:
            self.check_complete(side)

    def read_round(self) -> bool:
        """One read of every stream on both sides; whether any brought bytes."""
        brought = [self.read_from(side, s, 1 << 20) for side in SIDES for s in self.known[side]]
        return any(brought)

    def check_complete(self, side: str) -> None:
        """All that the other side wrote and nobody gave up has been read, and all credit has come back."""
        for stream_id in self.known[side]:
            model = self.direction(self.pair.other(side), stream_id)
            if not (model.reset or model.stopped):
                assert model.read == model.written, (
                    f"stream {stream_id}: {model.read} of {model.written} bytes"
                )
        streams: Any = self.connection(side)._streams
        window = streams.receive_window
        assert window.consumed == streams.received_highest
        assert window.consumed + window.window - window.max_data <= max(window.window // 2, 1)


TARGETS = [ConnectionPair]


class TestConnectionPair(ConnectionPair.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
