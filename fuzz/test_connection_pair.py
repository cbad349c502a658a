"""Invariant: whatever two applications do and the network does to their packets, every byte that is read was
written, once, in order and unaltered, or both sides get a typed error; a direction ends clean only at its true end;
once the network heals, something moves within a few round trips, until all that was not given up has arrived.

A state machine over two endpoints in memory. The applications open streams of both kinds, write, read at once, late,
in parts or not at all, finish, reset, stop, half-close, close and abort; the network loses (by chance, or the next few
packets, or those with control frames), doubles, delays, corrupts, falls silent one way or both, and merges arrivals or
not. After each step `rudp.testing.invariants` looks at both connections and at what each believes of the other; each
train is held against window and amplification limit as it leaves; each probe must come in time; no packet counts
twice. A failing example is printed by hypothesis step by step, and packet by packet below.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fuzz.pair_laws import Direction, check_probes, next_probe, pattern, progress
from fuzz.pair_network import DELAY, SIDES, SKIES, Network, Weather
from fuzz.running import limit_shrinking
from fuzz.worlds import ALWAYS_A_FAULT
from rudp.config import Config
from rudp.connection import Connection
from rudp.errors import ConnectionClosed, ConnectionLost, StreamClosed, StreamLimitReached, StreamReset, StreamStopped
from rudp.events import PeerFinished, StreamOpened, StreamReadable, StreamsAvailable, Terminated
from rudp.events import StreamReset as StreamResetEvent
from rudp.path import AMPLIFICATION_FACTOR
from tests.core_pair import Datagram, Pair

limit_shrinking()

KIB = 1024
WINDOW = 8 * KIB
# Seconds of a round trip with the longest that an ACK is held back.
ROUND_TRIP = 2 * DELAY + 0.03
# Round trips of a network that is well in which nothing may have moved. The wait for a probe belongs to one of them.
STILL = 4
# Round trips in which all is over: what is always there (opening, a probe, the FINs, the close), and for each full
# packet that waits, as the window may have shrunk to two of them.
ALL_OVER = 40
# Seconds of silence, at most: the longest between two probes, and as long for a probe timeout learnt from late packets.
SILENCE = 6.5
# An application's code is beyond those of the transport.
CODE = 300

sides = st.sampled_from(SIDES)
whom = st.sampled_from([SIDES, ("client",), ("server",)])
# Sizes around the things that have edges: nothing, a byte, a packet, the window.
sizes = st.one_of(st.integers(0, 40), st.integers(1100, 1300), st.integers(1, 2 * WINDOW))


class ConnectionPair(RuleBasedStateMachine):
    """Two endpoints, one connection, and a model of what each stream was given."""

    def __init__(self) -> None:
        super().__init__()
        # What is being handled around all of this, if anything.
        self.outside = sys.exc_info()[1]
        self.directions: dict[tuple[str, int], Direction] = {}
        self.known: dict[str, list[int]] = {"client": [0], "server": [0]}
        self.half_closed = {"client": False, "server": False}
        self.reading = {"client": True, "server": True}
        self.seen = {"client": 0, "server": 0}
        self.limited: set[tuple[str, bool]] = set()
        self.given_up = False
        # Whether applications give up streams and half-close before the end, or close and abort as well.
        self.conduct = "gentle"

    @initialize(
        seed=st.integers(0, 999),
        merge=st.booleans(),
        congestion=st.sampled_from(["model", "new_reno", "cubic", "bbr"]),
        keepalive=st.sampled_from([None, 0.03, 1.0]),
        discovery=st.booleans(),
        conduct=st.sampled_from(["gentle", "hasty", "rough"]),
        opening=st.sampled_from(["well", "lossy", "one SYN"]),
        sky=st.sampled_from(SKIES),
        window=st.sampled_from([WINDOW, 4 * WINDOW]),
    )
    def start(  # noqa: PLR0917
        self,
        seed: int,
        merge: bool,
        congestion: str,
        keepalive: float | None,
        discovery: bool,
        conduct: str,
        opening: str,
        sky: dict[str, float],
        window: int,
    ) -> None:
        config = Config(
            protection="crc32",
            congestion=congestion,
            keepalive=keepalive,
            path_mtu_discovery=discovery,
            initial_receive_window=window,
            receive_window=4 * window,
            max_streams_bidi=4,
            max_streams_uni=3,
            connect_timeout=1000.0,
            idle_timeout=0.0,
            give_up_timeout=1000.0,
            close_timeout=1000.0,
        )
        self.conduct = conduct
        self.network = Network(seed)
        self.pair = Pair(client=config, seed=seed, merge=merge, opened=False, delay=DELAY)
        self.pair.fate = self.fate
        for weather in self.network.weather.values():
            weather.loss = 0.3 if opening == "lossy" else 0.0
        if opening == "one SYN":
            # The server hears of its client once, and then for longer than three SYN_ACKs take nothing.
            self.pair.run(DELAY)
            self.network.weather["client"].silent = True
            self.pair.run(4.0)
            self.network.heal()
        self.pair.open()
        self.network.weather = {side: Weather(**sky) for side in SIDES}

    def fate(self, datagram: Datagram) -> list[tuple[float, bytes]]:
        """What the network does, once the packet was held against the law of amplification."""
        pair = self.pair
        if datagram.sender == "server" and pair.endpoints["server"].stats().half_open:
            sent = sum(len(d.data) for d in pair.log if d.sender == "server")
            assert sent <= AMPLIFICATION_FACTOR * pair.arrived["server"], "amplification"
        return self.network.fate(datagram)

    # -- what is known of both sides

    def connection(self, side: str) -> Connection:
        return self.pair.client if side == "client" else self.pair.server

    def direction(self, sender: str, stream_id: int) -> Direction:
        return self.directions.setdefault((sender, stream_id), Direction())

    def tell(self, text: str) -> None:
        self.network.tell(text, self.pair.now)

    def run_for(self, seconds: float) -> None:
        """Let time pass, and the applications answer to events as they come."""
        limit = self.pair.now + seconds
        while self.pair.step(limit):
            self.settle()
        self.pair.now = max(self.pair.now, limit)
        self.settle()

    def settle(self) -> None:
        """Send what is due; take notice of events, and read at once if that is how this side reads."""
        self.pair.flush()
        busy = True
        while busy:
            busy = False
            for side in SIDES:
                events = self.pair.events[side]
                while self.seen[side] < len(events):
                    event = events[self.seen[side]]
                    self.seen[side] += 1
                    busy = True
                    self.on_event(side, event)
            if busy:
                self.pair.flush()

    def on_event(self, side: str, event: Any) -> None:
        match event:
            case StreamOpened(stream_id):
                assert stream_id not in self.known[side], "a stream opened twice"
                self.known[side].append(stream_id)
            case StreamsAvailable(unidirectional):
                self.limited.discard((side, unidirectional))
            case StreamReadable(stream_id) | StreamResetEvent(stream_id, _) if self.reading[side]:
                self.read_all(side, stream_id)
            case Terminated(error):
                self.check_ending(side, error)

    def check_ending(self, side: str, error: Exception | None) -> None:
        assert len(self.pair.of(side, Terminated)) == 1, "ended twice"
        if error is None:
            return
        assert self.given_up, f"{side} ends in {error!r}"
        assert isinstance(error, ConnectionLost), repr(error)
        assert not isinstance(error, TimeoutError), repr(error)
        code = 0 if getattr(error, "application", False) else getattr(error, "code", 0)
        assert code not in ALWAYS_A_FAULT, f"an honest peer is at fault: {error!r}"

    def ended(self, side: str) -> bool:
        return any(isinstance(e, Terminated) for e in self.pair.events[side])

    def pick(self, side: str, index: int) -> int:
        return self.known[side][index % len(self.known[side])]

    # -- what the network does

    @rule(which=whom, sky=st.sampled_from(SKIES))
    def weather(self, which: tuple[str, ...], sky: dict[str, float]) -> None:
        self.tell(f"of what {' and '.join(which)} sends: {sky or 'all arrives'}")
        for side in which:
            self.network.weather[side] = Weather(**sky)

    @rule(side=sides, count=st.integers(1, 4))
    def lose_next(self, side: str, count: int) -> None:
        self.network.weather[side].lose_next = count

    @rule(side=sides, count=st.integers(1, 2))
    def lose_control(self, side: str, count: int) -> None:
        self.network.weather[side].lose_control = count

    @rule(which=whom, seconds=st.sampled_from([0.05, 0.4, 3.0]))
    def partition(self, which: tuple[str, ...], seconds: float) -> None:
        self.tell(f"nothing of {' and '.join(which)} arrives for {seconds} s")
        for side in which:
            self.network.weather[side].silent = True
        self.run_for(seconds)
        for side in which:
            self.network.weather[side].silent = False

    @rule(merge=st.booleans())
    def merging(self, merge: bool) -> None:
        self.pair.merge = merge

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.011, 0.03, 0.1, 1.0]))
    def wait(self, seconds: float) -> None:
        self.run_for(seconds)

    # -- what applications do

    @rule(side=sides, unidirectional=st.booleans())
    def open_stream(self, side: str, unidirectional: bool) -> None:
        self.tell(f"{side} opens a stream")
        try:
            stream_id = self.connection(side).open_stream(unidirectional)
        except StreamLimitReached:
            self.limited.add((side, unidirectional))
            return
        except ConnectionClosed:
            assert self.half_closed[side] or self.ended(side)
            return
        assert (side, unidirectional) not in self.limited, "there is room for streams, and nobody was told"
        assert stream_id not in self.known[side]
        self.known[side].append(stream_id)
        self.settle()

    @rule(side=sides, index=st.integers(0, 9), size=sizes, fin=st.sampled_from([False, False, True]))
    def write(self, side: str, index: int, size: int, fin: bool) -> None:
        self.write_to(side, self.pick(side, index), size, fin)
        self.settle()

    @rule(
        side=sides,
        index=st.integers(0, 9),
        size=st.integers(1, 400),
        count=st.integers(1, 6),
        fin=st.sampled_from([False, False, True]),
    )
    def write_often(self, side: str, index: int, size: int, count: int, fin: bool) -> None:
        """Small packets one after the other, which go together when they are repeated, and perhaps a bare end."""
        stream_id = self.pick(side, index)
        for _ in range(count):
            self.write_to(side, stream_id, size, fin=False)
            self.settle()
        if fin:
            self.write_to(side, stream_id, 0, fin=True)
            self.settle()

    @rule(index=st.integers(0, 9), size=st.integers(2000, 2 * WINDOW), seconds=st.sampled_from([0.0, 0.05, 0.4]))
    def talk(self, index: int, size: int, seconds: float) -> None:
        """Both sides write, so that packets carry ACKs too and are cut at other places when they are repeated."""
        for side in SIDES:
            self.write_to(side, self.pick(side, index), size, fin=False)
        self.run_for(seconds)

    def write_to(self, side: str, stream_id: int, size: int, fin: bool) -> None:
        self.tell(f"{side} writes {size} B on {stream_id}{', its last' * fin}")
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
            assert model.finished or model.reset or model.stopped or self.is_one_way(stream_id, side)
            return
        assert not model.finished
        assert not model.reset
        model.written += size
        model.finished = fin

    def is_one_way(self, stream_id: int, side: str) -> bool:
        """Whether `side` only receives on the stream."""
        return bool(stream_id & 2) and (stream_id & 1) == (side == "client")

    @rule(side=sides, index=st.integers(0, 9), size=st.sampled_from([1, 1000, 6000]))
    def read(self, side: str, index: int, size: int) -> None:
        stream_id = self.pick(side, index)
        self.tell(f"{side} reads up to {size} B of {stream_id}")
        self.read_from(side, stream_id, size)
        self.settle()

    @rule(side=sides)
    def stop_reading(self, side: str) -> None:
        self.reading[side] = False

    @rule(side=sides)
    def read_on(self, side: str) -> None:
        self.tell(f"{side} reads all, and what comes")
        self.reading[side] = True
        for stream_id in self.known[side]:
            self.read_all(side, stream_id)
        self.settle()

    def read_all(self, side: str, stream_id: int) -> None:
        while self.read_from(side, stream_id, 1 << 20):
            pass

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
            assert model.stopped or self.is_one_way(stream_id, sender)
            return False
        assert data == pattern(stream_id, sender, model.read, model.read + len(data)), "altered"
        model.read += len(data)
        assert model.read <= model.written
        if not data and connection.at_eof(stream_id) and not (model.broken or model.stopped or self.ended(side)):
            self.at_eof(sender, stream_id, model)
        return bool(data)

    def at_eof(self, sender: str, stream_id: int, model: Direction) -> None:
        one_way = self.is_one_way(stream_id, sender)
        assert model.read == model.written or one_way, f"ends at {model.read} of {model.written}"
        assert model.finished or self.half_closed[sender] or one_way or model.reset
        model.eof = True

    @precondition(lambda self: self.conduct != "gentle")
    @rule(side=sides, index=st.integers(0, 9))
    def reset(self, side: str, index: int) -> None:
        stream_id = self.pick(side, index)
        if self.ended(side):
            return
        self.tell(f"{side} resets {stream_id}")
        self.connection(side).reset_stream(stream_id, 7)
        self.direction(side, stream_id).reset = True
        self.settle()

    @precondition(lambda self: self.conduct != "gentle")
    @rule(side=sides, index=st.integers(0, 9))
    def stop_sending(self, side: str, index: int) -> None:
        stream_id = self.pick(side, index)
        if self.ended(side):
            return
        self.tell(f"{side} stops {stream_id}")
        self.connection(side).stop_sending(stream_id, 9)
        self.direction(self.pair.other(side), stream_id).stopped = True
        self.settle()

    @precondition(lambda self: self.conduct != "gentle")
    @rule(side=sides)
    def half_close(self, side: str) -> None:
        self.tell(f"{side} half-closes")
        self.connection(side).send_eof()
        self.half_closed[side] = True
        self.settle()

    @precondition(lambda self: self.conduct == "rough")
    @rule(side=sides)
    def close(self, side: str) -> None:
        self.tell(f"{side} closes")
        self.given_up = self.half_closed[side] = True
        self.connection(side).close()
        self.settle()

    @precondition(lambda self: self.conduct == "rough")
    @rule(side=sides)
    def abort(self, side: str) -> None:
        self.tell(f"{side} aborts")
        self.given_up = self.half_closed[side] = True
        self.connection(side).abort(CODE, "enough")
        self.settle()

    # -- what must hold

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "pair"):
            return
        self.pair.check()
        for side in SIDES:
            check_probes(self.connection(side))
            packets = self.connection(side)._counters.packets_received
            assert packets <= self.network.whole[self.pair.other(side)], "a packet was taken twice"

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        try:
            if sys.exc_info()[1] is self.outside:  # else a step has failed: what follows would tell of something else
                for side in SIDES:
                    self.read_on(side)
                self.run_for(ROUND_TRIP)
                self.network.heal()
                self.tell("the network is well")
                self.end_well()
        finally:
            if self.network.story is not None:
                note(str(self.network.story))

    def end_well(self) -> None:
        """All is read and both sides close; what must have come has."""
        if not self.given_up:
            for side in SIDES:
                self.half_close(side)
            self.until(lambda: all(self.pair.of(side, PeerFinished) for side in SIDES) and self.all_read())
            for side in SIDES:
                self.check_credit(side)
        for side in SIDES:
            self.half_closed[side] = True
            if not self.ended(side):
                self.connection(side).close()
        self.settle()
        self.until(lambda: all(self.ended(side) for side in SIDES))
        if self.pair.errors() == {"client": None, "server": None}:
            assert self.all_read()

    def until(self, is_over: Callable[[], bool]) -> None:
        """The network is well: something moves every few round trips, and in the end it is over."""
        still = rounds = 0
        most = ALL_OVER + sum(self.connection(side).send_buffered for side in SIDES) // KIB
        while not is_over():
            before = progress(self.pair)
            instant = self.pair.next_instant()
            assert instant is not None, "nothing will ever happen again"
            silence = max(instant, *(next_probe(self.connection(side)) for side in SIDES)) - self.pair.now
            assert silence <= SILENCE, f"nothing happens for {silence:.1f} s"
            self.run_for(silence + ROUND_TRIP)
            self.holds()
            rounds += 1
            still = 0 if progress(self.pair) != before else still + 1
            assert still <= STILL, f"nothing has moved for {still} round trips"
            assert rounds <= most, f"not over after {rounds} round trips"

    def all_read(self) -> bool:
        """Whether all that was written and nobody gave up has been read."""
        for side in SIDES:
            for stream_id in self.known[side]:
                model = self.direction(self.pair.other(side), stream_id)
                if not (model.reset or model.stopped) and model.read != model.written:
                    return False
        return True

    def check_credit(self, side: str) -> None:
        """All credit has come back."""
        streams: Any = self.connection(side)._streams
        window = streams.receive_window
        assert window.consumed == streams.received_highest
        assert window.consumed + window.window - window.max_data <= max(window.window // 2, 1)


TARGETS = [ConnectionPair]


class TestConnectionPair(ConnectionPair.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(
        max_examples=200,
        stateful_step_count=30,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
