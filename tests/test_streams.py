"""Streams of a connection, end to end over a pair in memory: opening, limits, endings in every order, credit."""

from __future__ import annotations

from typing import Any

import pytest

from rudp import wire
from rudp.config import Config
from rudp.errors import (
    ConnectionAborted,
    ConnectionReset,
    ErrorCode,
    StreamClosed,
    StreamLimitReached,
    StreamReset,
    StreamStopped,
)
from rudp.events import (
    PeerFinished,
    SendingStopped,
    StreamOpened,
    StreamReadable,
    StreamsAvailable,
    Terminated,
)
from rudp.events import StreamReset as StreamResetEvent
from tests.core_pair import SERVER, Datagram, Pair, read_all

PLAIN = Config(protection="none")


def lose(pair: Pair, kind: type, times: int = 1) -> list[int]:
    """Lose the next `times` datagrams that carry a frame of `kind`; the list grows by one for each."""
    lost: list[int] = []
    usual = pair.fate

    def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
        frames = datagram.frames(pair.overhead)
        if len(lost) < times and any(isinstance(frame, kind) for frame in frames):
            lost.append(1)
            return []
        return usual(datagram)

    pair.fate = fate
    return lost


def assert_credit_is_whole(pair: Pair) -> None:
    """After everything is read or dropped, the peer has the window's credit, but for a silly rest."""
    for connection in (pair.client, pair.server):
        streams: Any = connection._streams
        window = streams.receive_window
        assert window.consumed == streams.received_highest
        assert window.consumed + window.window - window.max_data < max(window.window // 4, 2)
    for one, other in ((pair.client, pair.server), (pair.server, pair.client)):
        assert one._streams.turns.send_window.limit == other._streams.receive_window.max_data


class TestOpening:
    def test_stream_0_is_open_on_both_sides_and_the_server_may_speak_first(self) -> None:
        pair = Pair()
        pair.server.send(0, b"220 ready")
        pair.run(0.1)
        assert pair.client.receive(0) == b"220 ready"
        assert pair.of("client", StreamOpened) == []
        pair.client.send(0, b"hello")
        pair.run(0.1)
        assert pair.server.receive(0) == b"hello"
        assert pair.of("server", StreamOpened) == []

    @pytest.mark.parametrize("side", ["client", "server"])
    @pytest.mark.parametrize("one_way", [False, True])
    def test_a_stream_announces_itself_by_an_empty_frame(self, side: str, one_way: bool) -> None:
        pair = Pair()
        opener: Any = getattr(pair, side)
        stream_id = opener.open_stream(one_way)
        assert stream_id & 1 == (side == "server")
        assert bool(stream_id & 2) == one_way
        pair.run(0.1)
        assert pair.of(pair.other(side), StreamOpened) == [StreamOpened(stream_id)]
        assert wire.Stream(stream_id, 0, b"", False) in pair.sent(side, wire.Stream)

    def test_a_lost_announcement_is_repeated(self) -> None:
        pair = Pair()
        lost = lose(pair, wire.Stream)
        stream_id = pair.client.open_stream()
        pair.run(1.0)
        assert lost
        assert pair.of("server", StreamOpened) == [StreamOpened(stream_id)]

    def test_data_that_goes_first_is_announcement_enough(self) -> None:
        pair = Pair()
        stream_id = pair.client.open_stream()
        pair.client.send(stream_id, b"abc")
        pair.run(0.1)
        assert pair.sent("client", wire.Stream) == [wire.Stream(stream_id, 0, b"abc", False)]
        assert pair.of("server", StreamOpened) == [StreamOpened(stream_id)]

    def test_without_credit_for_its_data_a_stream_is_announced(self) -> None:
        config = Config(protection="none", initial_receive_window=4096, receive_window=4096)
        pair = Pair(client=config)
        pair.client.send(0, bytes(100_000))
        stream_id = pair.client.open_stream()
        pair.client.send(stream_id, b"abc")
        pair.run(0.5)
        assert pair.of("server", StreamOpened) == [StreamOpened(stream_id)]

    def test_lower_ids_open_with_a_higher_one(self) -> None:
        pair = Pair()
        ids = [pair.client.open_stream() for _ in range(5)]
        pair.client.send(ids[-1], b"x")
        lose(pair, wire.Stream, times=0)
        pair.server._streams.on_stream_data(ids[-1], 0, b"x", False)
        opened = [event.stream_id for event in pair.server.take_events() if isinstance(event, StreamOpened)]
        assert opened == ids

    def test_many_streams_of_both_kinds_from_both_sides(self) -> None:
        pair = Pair()
        expected: dict[tuple[str, int], bytes] = {}
        for side, opener in (("client", pair.client), ("server", pair.server)):
            for index in range(100):
                stream_id = opener.open_stream(index % 2 == 1)
                data = f"{side} {stream_id}".encode() * (index + 1)
                opener.send(stream_id, data, fin=True)
                expected[side, stream_id] = data
        pair.run(2.0)
        for (side, stream_id), data in expected.items():
            reader = pair.server if side == "client" else pair.client
            assert read_all(reader, stream_id) == data
            assert reader.at_eof(stream_id)
        pair.check()


class TestLimits:
    def test_the_limit_holds_and_comes_back_as_streams_end(self) -> None:
        pair = Pair(client=Config(protection="none", max_streams_uni=3))
        ids = [pair.client.open_stream(True) for _ in range(3)]
        with pytest.raises(StreamLimitReached):
            pair.client.open_stream(True)
        pair.client.send(ids[1], b"done", fin=True)
        pair.run(0.1)
        assert pair.of("client", StreamsAvailable) == []
        assert read_all(pair.server, ids[1]) == b"done"
        pair.run(0.1)
        assert pair.of("client", StreamsAvailable) == [StreamsAvailable(True)]
        assert pair.client.open_stream(True) == ids[-1] + 4

    def test_lost_max_streams_is_repeated(self) -> None:
        pair = Pair(client=Config(protection="none", max_streams_uni=1))
        stream_id = pair.client.open_stream(True)
        pair.client.send(stream_id, b"", fin=True)
        pair.run(0.1)
        lost = lose(pair, wire.MaxStreams)
        assert pair.server.receive(stream_id) == b""
        pair.run(1.0)
        assert lost
        assert pair.client.open_stream(True) == stream_id + 4

    def test_thousands_of_short_streams_leave_nothing_behind(self) -> None:
        pair = Pair()
        done = 0
        for _ in range(60):
            for _ in range(50):
                stream_id = pair.client.open_stream(True)
                pair.client.send(stream_id, b"short", fin=True)
            pair.run(0.05)
            for event in pair.of("server", StreamOpened):
                assert read_all(pair.server, event.stream_id) == b"short"
                done += 1
            pair.events["server"].clear()
            pair.run(0.05)
        assert done == 3000
        pair.run(1.0)
        assert pair.client.stats(pair.now).streams_open <= 1
        assert pair.server.stats(pair.now).streams_open <= 1
        assert not pair.client._recovery.sent_packets.ack_eliciting_in_flight
        pair.check()

    def test_a_peer_beyond_the_limit_is_told_so(self) -> None:
        pair = Pair(client=Config(protection="none", max_streams_uni=2))
        pair.client._streams.limits.max_streams_peer = (128, 100)
        for _ in range(3):
            pair.client.open_stream(True)
        assert_typed_failure(pair, ErrorCode.STREAM_LIMIT_ERROR)


def assert_typed_failure(pair: Pair, code: ErrorCode) -> None:
    """What the client does ends the connection with `code` on both sides."""
    pair.until(lambda: len(pair.errors()) == 2)
    server, client = pair.errors()["server"], pair.errors()["client"]
    assert isinstance(server, ConnectionAborted)
    assert server.code == code
    assert isinstance(client, ConnectionReset)
    assert client.code == code


WRONG_WAY = [
    (wire.Stream(3, 0, b"x", False), "data on the server's own one-way stream"),
    (wire.ResetStream(3, 1, 0), "reset of the server's own one-way stream"),
    (wire.StopSending(2, 1), "stop for a stream only the client sends on"),
    (wire.MaxStreamData(2, 1), "credit for a stream only the client sends on"),
    (wire.Stream(5, 0, b"x", False), "data on a stream the server never opened"),
    (wire.MaxStreamData(7, 10), "credit for a stream the server never opened"),
    (wire.StopSending(5, 1), "stop for a stream the server never opened"),
    (wire.ResetStream(5, 1, 0), "reset of a stream the server never opened"),
]


@pytest.mark.parametrize(("frame", "why"), WRONG_WAY, ids=[why for _, why in WRONG_WAY])
def test_frames_for_streams_in_the_wrong_direction(frame: Any, why: str) -> None:
    pair = Pair()
    assert pair.server.open_stream(True) == 3
    pair.run(0.1)
    pair.client._control.pending = {(type(frame), 99): frame}
    pair.client._wake()
    assert_typed_failure(pair, ErrorCode.STREAM_STATE_ERROR)


class TestFinalSize:
    @pytest.mark.parametrize(
        "frames",
        [
            [wire.Stream(2, 0, b"abc", True), wire.Stream(2, 3, b"d", False)],
            [wire.Stream(2, 0, b"abc", True), wire.Stream(2, 0, b"ab", True)],
            [wire.Stream(2, 4, b"abc", False), wire.Stream(2, 0, b"ab", True)],
            [wire.Stream(2, 4, b"abc", False), wire.ResetStream(2, 1, 6)],
            [wire.Stream(2, 4, b"abc", True), wire.ResetStream(2, 1, 8)],
        ],
    )
    def test_contradictions_end_the_connection(self, frames: list[Any]) -> None:
        pair = Pair()
        for frame in frames:
            pair.client._control.pending = {(type(frame), 99): frame}
            pair.client._wake()
            pair.run(0.001)
        assert_typed_failure(pair, ErrorCode.FINAL_SIZE_ERROR)


class TestEndings:
    def test_a_bare_fin_ends_a_stream(self) -> None:
        pair = Pair()
        stream_id = pair.client.open_stream()
        pair.client.send(stream_id, b"abc")
        pair.run(0.1)
        assert pair.server.receive(stream_id) == b"abc"
        assert not pair.server.at_eof(stream_id)
        pair.client.send(stream_id, b"", fin=True)
        pair.run(0.1)
        assert pair.of("server", StreamReadable)[-1] == StreamReadable(stream_id)
        assert pair.server.receive(stream_id) == b""
        assert pair.server.at_eof(stream_id)

    def test_a_lost_fin_is_repeated(self) -> None:
        pair = Pair()
        lost = lose(pair, wire.Stream)
        pair.client.send(0, b"", fin=True)
        pair.run(1.0)
        assert lost
        assert pair.server.receive(0) == b""
        assert pair.server.at_eof(0)

    def test_writing_after_the_end_is_an_error(self) -> None:
        pair = Pair()
        pair.client.send(0, b"x", fin=True)
        with pytest.raises(StreamClosed):
            pair.client.send(0, b"y")
        stream_id = pair.client.open_stream()
        pair.client.reset_stream(stream_id, 1)
        with pytest.raises(StreamClosed):
            pair.client.send(stream_id, b"y")

    @pytest.mark.parametrize("times", [0, 1, 2])
    def test_a_reset_arrives_however_often_it_is_lost(self, times: int) -> None:
        pair = Pair()
        stream_id = pair.client.open_stream(True)
        pair.client.send(stream_id, bytes(5000))
        pair.run(0.1)
        lost = lose(pair, wire.ResetStream, times)
        pair.client.reset_stream(stream_id, 42)
        pair.run(2.0)
        assert len(lost) == times
        assert pair.of("server", StreamResetEvent) == [StreamResetEvent(stream_id, 42)]
        with pytest.raises(StreamReset) as caught:
            pair.server.receive(stream_id)
        assert caught.value.code == 42
        pair.run(0.1)
        assert pair.server.stats(pair.now).streams_open <= 1
        assert_credit_is_whole(pair)

    def test_reset_before_anything_was_sent_opens_and_ends_the_stream(self) -> None:
        pair = Pair()
        stream_id = pair.client.open_stream(True)
        pair.client.send(stream_id, bytes(5000))
        pair.client.reset_stream(stream_id, 5)
        pair.run(0.2)
        assert pair.sent("client", wire.ResetStream) == [wire.ResetStream(stream_id, 5, 0)]
        assert pair.sent("client", wire.Stream) == []
        assert pair.of("server", StreamOpened) == [StreamOpened(stream_id)]
        assert pair.client._streams.turns.unsent == 0

    def test_a_reset_after_all_has_arrived_changes_nothing(self) -> None:
        pair = Pair()
        pair.client.send(0, b"whole", fin=True)
        pair.run(0.012)
        pair.client.reset_stream(0, 5)
        pair.run(0.2)
        assert pair.server.receive(0) == b"whole"
        assert pair.server.at_eof(0)

    @pytest.mark.parametrize("times", [0, 1, 2])
    def test_stop_sending_makes_the_peer_reset(self, times: int) -> None:
        pair = Pair()
        stream_id = pair.client.open_stream()
        pair.client.send(stream_id, bytes(100_000))
        pair.run(0.05)
        lost = lose(pair, wire.StopSending, times)
        pair.server.stop_sending(stream_id, 9)
        pair.run(2.0)
        assert len(lost) == times
        assert pair.of("client", SendingStopped) == [SendingStopped(stream_id, 9)]
        assert pair.of("server", StreamResetEvent) == []
        assert pair.sent("client", wire.ResetStream)[0].code == 9
        with pytest.raises(StreamStopped):
            pair.client.send(stream_id, b"more")
        with pytest.raises(StreamClosed):
            pair.server.receive(stream_id)
        # The other direction goes on.
        pair.server.send(stream_id, b"bye", fin=True)
        pair.run(0.2)
        assert pair.client.receive(stream_id) == b"bye"
        assert_credit_is_whole(pair)

    def test_stop_sending_after_the_end_says_nothing(self) -> None:
        pair = Pair()
        pair.client.send(0, b"abc", fin=True)
        pair.run(0.1)
        pair.server.stop_sending(0, 1)
        pair.run(0.1)
        assert pair.sent("server", wire.StopSending) == []
        assert pair.of("client", SendingStopped) == []
        assert_credit_is_whole(pair)

    def test_late_frames_of_an_ended_stream_are_ignored(self) -> None:
        pair = Pair()
        stream_id = pair.client.open_stream(True)
        pair.client.send(stream_id, b"abc", fin=True)
        pair.run(0.1)
        assert read_all(pair.server, stream_id) == b"abc"
        pair.run(0.1)
        for frame in (
            wire.Stream(stream_id, 0, b"abc", True),
            wire.ResetStream(stream_id, 1, 3),
            wire.Stream(stream_id, 100, b"contradiction", False),
        ):
            pair.client._control.pending = {(type(frame), 99): frame}
            pair.client._wake()
            pair.run(0.05)
        for late in (wire.StopSending(stream_id, 1), wire.MaxStreamData(stream_id, 1 << 30)):
            pair.server._control.pending = {(type(late), 99): late}
            pair.server._wake()
            pair.run(0.05)
        assert pair.errors() == {}
        assert pair.of("server", StreamResetEvent) == []

    def test_reset_and_stop_sending_meet(self) -> None:
        pair = Pair()
        stream_id = pair.client.open_stream()
        pair.client.send(stream_id, bytes(50_000))
        pair.server.send(0, b"")
        pair.run(0.1)
        pair.client.reset_stream(stream_id, 1)
        pair.server.stop_sending(stream_id, 2)
        pair.server.reset_stream(stream_id, 3)
        pair.client.stop_sending(stream_id, 4)
        pair.run(0.5)
        assert pair.client.stats(pair.now).streams_open <= 1
        assert pair.server.stats(pair.now).streams_open <= 1
        assert pair.errors() == {}
        assert_credit_is_whole(pair)


class TestReadingAResetStream:
    def test_unread_data_is_lost_and_its_credit_returns(self) -> None:
        config = Config(protection="none", initial_receive_window=8192, receive_window=8192)
        pair = Pair(client=config)
        for round_number in range(20):
            stream_id = pair.client.open_stream(True)
            pair.client.send(stream_id, bytes(8192))
            pair.run(0.1)
            pair.client.reset_stream(stream_id, round_number)
            pair.run(0.1)
            with pytest.raises(StreamReset):
                pair.server.receive(stream_id)
            pair.check()
        pair.run(0.2)
        assert_credit_is_whole(pair)


class TestHalfClose:
    def test_a_stream_given_up_is_never_taken_for_one_that_ended(self) -> None:
        """The FIN waits for the reset's acknowledgement: its totals alone can't tell a reset stream."""
        pair = Pair()
        stream_id = pair.client.open_stream(True)
        pair.client.send(stream_id, b"half of it")
        pair.run(0.1)
        lost = lose(pair, wire.ResetStream, 2)
        pair.client.reset_stream(stream_id, 6)
        pair.client.send_eof()
        pair.run(3.0)
        assert len(lost) == 2
        assert pair.of("server", PeerFinished)
        with pytest.raises(StreamReset):
            read_all(pair.server, stream_id)

    def test_streams_left_open_end_where_they_stand(self) -> None:
        pair = Pair()
        ids = [pair.client.open_stream(kind) for kind in (False, True)]
        for stream_id in ids:
            pair.client.send(stream_id, b"all of it")
        pair.client.send_eof()
        pair.run(0.3)
        for stream_id in ids:
            assert read_all(pair.server, stream_id) == b"all of it"
            assert pair.server.at_eof(stream_id)
        assert pair.server.at_eof(0)
        assert not pair.of("server", Terminated)


    def test_who_has_half_closed_can_be_sent_streams_without_end(self) -> None:
        """Neither direction lingers: ours ended with the FIN, so reading is all it takes to admit another."""
        pair = Pair(client=Config(protection="none", max_streams_bidi=4))
        early = [pair.server.open_stream() for _ in range(4)]
        pair.run(0.1)
        pair.client.send(early[0], b"a word before")
        pair.client.send_eof()
        pair.run(0.3)
        assert read_all(pair.server, early[0]) == b"a word before"
        assert all(pair.server.at_eof(stream_id) for stream_id in early)
        for stream_id in early:
            pair.server.send(stream_id, b"push", fin=True)
        for _ in range(20):
            pair.run(0.1)
            for event in pair.of("client", StreamOpened):
                read_all(pair.client, event.stream_id)
            pair.run(0.1)
            stream_id = pair.server.open_stream()
            assert pair.server.at_eof(stream_id), "nothing can come back"
            pair.server.send(stream_id, b"push", fin=True)
        pair.run(0.1)
        for event in pair.of("client", StreamOpened):
            read_all(pair.client, event.stream_id)
        assert read_all(pair.client, stream_id) == b""
        pair.run(0.3)
        assert pair.client.stats(pair.now).streams_open <= 1
        assert pair.server.stats(pair.now).streams_open <= 1
        pair.check()


def test_the_same_run_is_the_same_bytes() -> None:
    def run() -> list[Datagram]:
        pair = Pair(seed=5)
        for side in (pair.client, pair.server):
            for index in range(30):
                side.send(side.open_stream(index % 2 == 0), bytes(index * 400), fin=True)
        pair.run(1.0)
        return pair.log

    assert run() == run()


def test_the_address_of_the_pair_is_the_servers() -> None:
    assert Pair().client.remote_address == SERVER


@pytest.mark.parametrize("told", [True, False])
def test_a_stream_that_was_reset_makes_room_for_another_once_its_reader_knows_or_reads_no_more(told: bool) -> None:
    pair = Pair(client=Config(protection="none"), server=Config(protection="none", max_streams_uni=1))
    stream_id = pair.client.open_stream(unidirectional=True)
    pair.client.reset_stream(stream_id, 3)
    pair.run(1)
    if told:
        with pytest.raises(StreamReset):
            pair.server.receive(stream_id)
    else:
        pair.server.stop_sending(stream_id, 0)
    pair.run(1)
    assert pair.client.open_stream(unidirectional=True) != stream_id


def all_read(size: int) -> Any:
    """A server that has read all that its client sent on stream 0."""
    pair = Pair(client=PLAIN, server=PLAIN)
    pair.client.send(0, bytes(size))
    pair.run(5.0)
    assert len(read_all(pair.server, 0)) == size
    return pair.server


def test_data_beyond_a_gap_brings_credit_before_the_gap_is_mended() -> None:
    """What was read up to the gap shows that the application reads; the rest of the window would soon be used up."""
    size = 100_000
    server = all_read(size)
    stream: Any = server._streams.find(0)
    window, whole = stream.receive_window.window, server._streams.receive_window.window
    piece = bytes(10_000)
    for offset in range(size + 1_000, size + 1_000 + window // 2, len(piece)):
        server._streams.on_stream_data(0, offset, piece, False)
    assert stream.receive_window.window > window
    assert stream.receive_window.max_data > size + window
    assert server._streams.receive_window.window > whole


def test_credit_beyond_a_gap_is_told_again_as_more_arrives() -> None:
    """The one frame that told of it may be lost, and nothing is read until the gap is mended: a sender stood still."""
    size = 400_000
    server = all_read(size)
    streams, pending = server._streams, server._streams._control
    receive = streams.find(0).receive_window
    windows, told, piece = {receive.window}, 0, bytes(10_000)
    for offset in range(size + 1_000, size + 1_000 + receive.window // 2, len(piece)):
        streams.on_stream_data(0, offset, piece, False)
        windows.add(receive.window)
        if pending.discard(wire.MaxStreamData, 0):
            told += 1
            assert pending.discard(wire.MaxData), "the connection's credit is told with it"
    assert 2 <= len(windows) < told <= 16
