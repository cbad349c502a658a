"""Invariant: whatever anybody sends to an endpoint, nothing but typed errors comes out of it, it holds no more than its
bounds, sends strangers at most three times what came from them, and an honest connection beside goes on unharmed.

A peer that follows no rule (`bench.hostile`) and a stranger off the path, who also repeats and changes what he saw,
against a server with an honest client: `python -m fuzz hostile_peer`. A failing example is printed step by step by
hypothesis, and packet by packet below.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from random import Random
from typing import Any, Final

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bench.hostile import GENEROUS, PEER, SERVER, Peer, forged_syn
from fuzz.running import FUZZ, Target
from rudp import wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import MAX_REPLIES, Endpoint
from rudp.errors import ConnectionClosed, ConnectionLost, StreamError, StreamLimitReached
from rudp.events import StreamReadable, Terminated
from rudp.path import AMPLIFICATION_FACTOR
from rudp.testing import invariants
from rudp.testing import strategies as values
from rudp.testing.story import in_words
from rudp.timers import MAX_TIMERS
from rudp.train import Address

HONEST: Final[Address] = ("10.0.0.1", 1111)
STRANGERS: Final[tuple[Address, ...]] = (("192.0.2.1", 7), ("192.0.2.2", 7))
# Where the hostile peer has hosts of its own, and so can answer challenges.
HOSTS: Final[tuple[Address, ...]] = (PEER, ("10.9.9.9", 1000), ("10.9.9.10", 999))
CHUNK: Final = 3000
# Inputs may make something due at once, and that again; never for long.
ROUNDS: Final = 60
STORY: Final = 80  # newest packets told of a failure
MOST_HALF_OPEN: Final = 4

streams = st.integers(0, 12) | st.sampled_from([127 << 2, 128 << 2, 1 << 40])
offsets = st.integers(0, 40) | st.integers(0, 70_000) | st.sampled_from([65_535, 65_536, wire.POSITION_LIMIT - 50])
# Frames whose values are near to what the connection is about, where anything goes wrong more often.
near = st.one_of(
    st.builds(wire.Stream, streams, offsets, st.binary(max_size=30), st.booleans()),
    st.builds(wire.ResetStream, streams, st.integers(0, 9), offsets),
    st.builds(wire.StopSending, streams, st.integers(0, 9)),
    st.builds(wire.MaxStreamData, streams, offsets),
    st.builds(wire.MaxData, offsets),
    st.builds(wire.MaxStreams, st.integers(0, 300), st.booleans()),
    st.builds(wire.Fin, st.integers(0, 3), st.integers(0, 3), offsets),
    st.builds(
        wire.AckFrequency, st.integers(0, 9), st.sampled_from([0, 1, 2, 2**32 - 1]),
        st.sampled_from([0.0, 0.001, 4294.0]), st.sampled_from([0, 1, 2**32 - 1]),
    ),
    st.sampled_from([wire.Ping(), wire.ImmediateAck()]),
    st.sampled_from([wire.PathChallenge(b"question"), wire.PathResponse(b"unasked!")]),
)  # fmt: skip
packets = st.lists(near, min_size=1, max_size=wire.MAX_FRAMES) | values.packets(wire.MAX_FRAMES)
# From the next number on, how far a packet's number is: in order, with gaps, from long ago, far ahead.
jumps = st.sampled_from([0, 0, 0, 0, 1, 2, 7, -1, -3, -300, 1 << 20, 1 << 31])


class HostilePeer(RuleBasedStateMachine):
    """One server; an honest client, a hostile peer and strangers who send to it."""

    @initialize(
        seed=st.integers(0, 999),
        retry=st.sampled_from(["auto", "always", "never"]),
        congestion=st.sampled_from(["model", "cubic", "new_reno", "bbr"]),
        window=st.sampled_from([4096, 65_536]),
    )
    def start(self, seed: int, retry: str, congestion: str, window: int) -> None:
        self.outside = sys.exc_info()[1]
        self.story: list[str] = []
        self.came: dict[Address, int] = {}
        self.went: dict[Address, int] = {}
        self.seen: list[bytes] = []
        self.asked: dict[Address, bytes] = {}
        config = Config(
            retry=retry, congestion=congestion, initial_receive_window=window, receive_window=4 * window,
            max_half_open=MOST_HALF_OPEN, max_connections=12, give_up_timeout=20.0, idle_timeout=0.0,
            connect_timeout=5.0, send_buffer=1 << 16, max_stream_opens=500, max_stream_resets=100,
        )  # fmt: skip
        self.peer = Peer(config, opened=False, seed=seed)
        self.honest = Endpoint(Config(idle_timeout=0.0, give_up_timeout=1000.0), random=Random(seed))
        self.client = self.honest.connect(SERVER, 0.0)
        self.written = 0
        self.echoed = bytearray()
        self.server_id = 0
        self.pump()
        assert self.client.is_open
        self.reopen()

    # -- the network: nothing is lost, nothing takes time

    def pump(self) -> None:
        """Do as drivers do, on both sides, until nobody has anything to say."""
        server = self.peer.endpoint
        for _ in range(ROUNDS):
            busy = False
            for train in list(self.honest.datagrams_to_send(self.peer.now)):
                busy = True
                data = b"".join(train.buffers)
                self.tell(HONEST, SERVER, data, train.segment_size)
                self.arrive(data, HONEST, train.segment_size)
            for train in list(invariants.trains(server, self.peer.now)):
                busy = True
                data = b"".join(train.buffers)
                self.tell(SERVER, train.remote, data, train.segment_size)
                if train.remote == HONEST:
                    self.honest.receive(memoryview(data), train.segment_size, SERVER, None, 0, self.peer.now)
                    continue
                self.went[train.remote] = self.went.get(train.remote, 0) + len(data)
                self.keep(data, train.segment_size, train.remote)
            self.drain()
            for endpoint in (server, self.honest):
                due = endpoint.next_timeout()
                if due is not None and due <= self.peer.now:
                    busy = True
                    endpoint.handle_timeout(self.peer.now)
            if not busy:
                return
        raise AssertionError("somebody stays due, or they answer each other for ever")

    def arrive(self, data: bytes, remote: Address, segment_size: int = 0) -> None:
        self.came[remote] = self.came.get(remote, 0) + len(data)
        self.peer.arrive(data, remote, segment_size)

    def attack(self, data: bytes, remote: Address, segment_size: int = 0) -> None:
        """Bytes from an attacker, and what comes of them."""
        self.tell(remote, SERVER, data, segment_size or len(data))
        before = self.went.get(remote, 0)
        self.arrive(data, remote, segment_size)
        self.pump()
        if remote in STRANGERS:
            # Only time makes that more: an answer that may have been lost is repeated.
            assert self.went.get(remote, 0) - before <= len(data), "an answer is longer than the question"

    def tell(self, source: Address, target: Address, data: bytes, segment_size: int) -> None:
        names = {SERVER: "server", HONEST: "honest", **dict.fromkeys(HOSTS, "peer")}
        way = f"{names.get(source, source[0])} -> {names.get(target, target[0])}"
        for at in range(0, len(data), max(1, segment_size)):
            self.story.append(f"{self.peer.now:11.6f}  {way}  {in_words(data[at : at + segment_size])}")
        del self.story[:-STORY]

    def keep(self, data: bytes, segment_size: int, remote: Address) -> None:
        """What attackers saw, and the challenges among it."""
        for at in range(0, len(data), segment_size):
            datagram = data[at : at + segment_size]
            self.seen = [*self.seen[-20:], datagram]
            if datagram[0] in wire.DATA_TYPES and not wire.DATA_TYPES[datagram[0]].canonical:
                for frame in wire.decode_frames(memoryview(datagram)[wire.DATA_HEADER_SIZE : -4]):
                    if isinstance(frame, wire.PathChallenge):
                        self.asked[remote] = frame.data

    def drain(self) -> None:
        """Applications: the server echoes to the honest client and reads what others send on even streams."""
        while (item := self.peer.endpoint.next_event()) is not None:
            connection, event = item
            if isinstance(event, Terminated):
                assert event.error is None or isinstance(event.error, ConnectionLost), event.error
                assert connection.remote_address != HONEST, f"the honest connection ended: {event.error!r}"
            elif isinstance(event, StreamReadable) and (connection.remote_address == HONEST or event.stream_id % 8 < 4):
                self.read(connection, event.stream_id)
        while (item := self.honest.next_event()) is not None:
            connection, event = item
            assert not isinstance(event, Terminated), f"the honest connection ended: {event.error!r}"
            if isinstance(event, StreamReadable):
                while data := connection.receive(event.stream_id):
                    self.echoed += data

    def read(self, connection: Connection, stream_id: int) -> None:
        with suppress(StreamError):
            while data := connection.receive(stream_id):
                if connection.remote_address == HONEST:
                    connection.send(stream_id, data)

    # -- the hostile peer

    @property
    def victim(self) -> Connection | None:
        """The server's side of the hostile peer's connection."""
        return next((c for c in self.peer.endpoint.connections if c.id == self.server_id), None)

    @precondition(lambda self: self.victim is None)
    @rule()
    def reopen(self) -> None:
        """Open a connection, with a cookie if one is asked for."""
        self.source_id = getattr(self, "source_id", 100) + 1
        self.seen.clear()
        self.attack(forged_syn(self.source_id), PEER)
        answers = [wire.decode_opening(memoryview(data)) for data in self.seen if data[0] not in wire.DATA_TYPES]
        cookie = next((a.cookie for a in answers if isinstance(a, wire.Retry)), None)
        if cookie is not None:
            self.attack(forged_syn(self.source_id, 1, cookie=cookie), PEER)
            answers = [wire.decode_opening(memoryview(data)) for data in self.seen if data[0] not in wire.DATA_TYPES]
        found = next((a for a in answers if isinstance(a, wire.SynAck) and a.parameters.refused is None), None)
        if found is not None:
            self.server_id = self.peer.server_id = found.source_id
            self.peer.number = 0
            self.attack(self.peer.packet(wire.Ping()), PEER)

    @rule(frames=packets, jump=jumps, host=st.sampled_from(HOSTS))
    def say(self, frames: list[wire.Frame], jump: int, host: Address) -> None:
        """Any frames under any number."""
        number = max(0, self.peer.number + jump)
        self.peer.number = max(self.peer.number, number + 1)
        self.attack(self.peer.packet(*frames, number=number), host)

    @rule(data=st.binary(min_size=1, max_size=60), stream_id=streams, offset=offsets, fin=st.booleans())
    def write(self, data: bytes, stream_id: int, offset: int, fin: bool) -> None:
        """A canonical packet."""
        self.attack(self.peer.data(stream_id, offset, data, fin), PEER)

    @rule(frames=packets, data=st.data())
    def damage(self, frames: list[wire.Frame], data: st.DataObject) -> None:
        """Frames with some of their bytes changed, under a right trailer."""
        self.attack(self.peer.raw(data.draw(values.mutations(values.encoded_frames(frames)))), PEER)

    @rule(
        keep=st.integers(1, 5), gap=st.integers(0, 3), back=st.integers(-2, 20), count=st.integers(1, 128),
        ecn=st.sampled_from([None, (1, 0, 0), (0, 0, 1 << 60)]), delay=st.sampled_from([0.0, 0.01, 3600.0]),
    )  # fmt: skip
    def acknowledge(  # noqa: PLR0917
        self, keep: int, gap: int, back: int, count: int, ecn: tuple[int, int, int] | None, delay: float
    ) -> None:
        """What was sent, in ranges of `keep` packets with gaps between them; what was skipped too if it comes so."""
        victim = self.victim
        if victim is None:
            return
        stop = victim._recovery.next_packet_number - back
        ranges: list[tuple[int, int]] = []
        while stop > 0 and len(ranges) < count:
            ranges.append((max(0, stop - keep), stop))
            stop -= keep + gap + 1
        if ranges:
            self.attack(self.peer.packet(wire.Ack(ranges[0][1] - 1, delay, tuple(ranges), ecn)), PEER)

    @rule(host=st.sampled_from(HOSTS))
    def answer(self, host: Address) -> None:
        """The response to the last challenge at a host of the peer's own."""
        if host in self.asked:
            self.attack(self.peer.packet(wire.PathResponse(self.asked[host])), host)

    @rule(
        what=st.sampled_from(["open", "send", "reset", "stop", "eof", "close", "abort", "read"]),
        stream_id=st.integers(0, 12), size=st.sampled_from([1, 1000, 50_000]),
    )  # fmt: skip
    def application(self, what: str, stream_id: int, size: int) -> None:
        """What the server's application may do to the connection of its hostile peer."""
        victim = self.victim
        if victim is None:
            return
        commands = {
            "open": lambda: victim.open_stream(bool(size & 1)),
            "send": lambda: victim.can_send(stream_id) and victim.send(stream_id, bytes(size)),
            "reset": lambda: victim.reset_stream(stream_id, 5),
            "stop": lambda: victim.stop_sending(stream_id, 6),
            "eof": victim.send_eof,
            "close": victim.close,
            "abort": lambda: victim.abort(7, "enough"),
            "read": lambda: self.read(victim, stream_id),
        }
        with suppress(ConnectionClosed, StreamError, StreamLimitReached):
            commands[what]()
        self.pump()

    # -- strangers

    @rule(packet=values.opening_packets(), mine=st.booleans(), stranger=st.sampled_from(STRANGERS))
    def forge(self, packet: wire.Opening, mine: bool, stranger: Address) -> None:
        """An opening packet of any kind, to an id that is there or not."""
        if mine and not isinstance(packet, wire.Reset):
            packet = packet._replace(destination_id=self.server_id)  # type: ignore[assignment]
        self.attack(wire.encode_opening(packet), stranger)

    @rule(first=st.integers(0, 50), count=st.integers(1, 54), stranger=st.sampled_from(STRANGERS))
    def knock(self, first: int, count: int, stranger: Address) -> None:
        """SYNs, as many as a socket merges."""
        parameters = GENEROUS._replace(protection=1 + (first % 7 == 0))
        syns = [forged_syn(1000 + number, number, parameters) for number in range(first, first + count)]
        self.attack(b"".join(syns), stranger, wire.OPENING_SIZE)

    @rule(
        head=st.sampled_from([b"", b"\x50", b"\x54", b"\x60", b"\x61"]), data=st.binary(max_size=60),
        size=st.none() | st.integers(1, 100), stranger=st.sampled_from(STRANGERS),
    )  # fmt: skip
    def babble(self, head: bytes, data: bytes, size: int | None, stranger: Address) -> None:
        """Any bytes, cut anywhere; some begin as packets for connections that nobody knows."""
        data = head + data
        self.attack(data, stranger, size or len(data))

    @precondition(lambda self: self.seen)
    @rule(index=st.integers(0, 20), change=st.booleans(), remote=st.sampled_from([*STRANGERS, HONEST]), data=st.data())
    def repeat(self, index: int, change: bool, remote: Address, data: st.DataObject) -> None:
        """What the server sent, back to it, as it was or changed; also from the honest client's address."""
        datagram = self.seen[index % len(self.seen)]
        self.attack(data.draw(values.mutations(datagram)) if change else datagram, remote)

    # -- the honest client, and time

    @rule()
    def talk(self) -> None:
        self.client.send(0, self.pattern(self.written, CHUNK))
        self.written += CHUNK
        self.pump()

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.05, 1.0, 7.0, 61.0]))
    def wait(self, seconds: float) -> None:
        """Wake both in time, until so many seconds are over."""
        until = self.peer.now + seconds
        self.pump()
        while True:
            due = [at for at in (self.peer.endpoint.next_timeout(), self.honest.next_timeout()) if at is not None]
            at = min(due, default=until)
            if at >= until:
                break
            self.peer.now = max(self.peer.now, at)
            self.pump()
        self.peer.now = until
        self.pump()

    @staticmethod
    def pattern(start: int, size: int) -> bytes:
        return bytes(at * 7 % 251 for at in range(start, start + size))

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "peer"):
            return
        endpoint = self.peer.endpoint
        for connection in endpoint.connections:
            invariants.check(connection)
            assert len(connection.timers) <= MAX_TIMERS
            assert len(connection._recovery._unresolved.remembered) <= 600
        assert len(endpoint._half_open) <= MOST_HALF_OPEN + 1
        assert len(endpoint._replies) <= MAX_REPLIES
        assert self.client.is_open
        for stranger in STRANGERS:
            assert self.went.get(stranger, 0) <= AMPLIFICATION_FACTOR * self.came.get(stranger, 0), "amplification"

    def teardown(self) -> None:
        if not hasattr(self, "peer"):
            return
        if sys.exc_info()[1] is not self.outside:
            note("\n".join(self.story))
            return
        self.wait(1.0)
        assert self.echoed == self.pattern(0, self.written), "the honest client's bytes"
        self.peer.endpoint.abort_all("the end")
        self.peer.answers()


TARGETS: list[Target] = [HostilePeer]


class TestHostilePeer(HostilePeer.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings: Any = settings(FUZZ, max_examples=40, stateful_step_count=40)
