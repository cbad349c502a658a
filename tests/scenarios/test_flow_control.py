"""Credit end to end: writers stop within the window, go on when readers do, whatever is lost, reset or stopped."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp import wire
from rudp.config import Config
from rudp.errors import ErrorCode, StreamReset
from tests.core_pair import Datagram, Pair, read_all
from tests.test_streams import assert_credit_is_whole, assert_typed_failure, lose

KIB = 1024
WINDOW = 64 * KIB


def small(**more: Any) -> Config:
    settings: dict[str, Any] = {"initial_receive_window": WINDOW, "receive_window": WINDOW, **more}
    return Config(protection="none", **settings)


class TestStoppedReader:
    @pytest.mark.parametrize("initial", [4 * KIB, 64 * KIB, 1024 * KIB])
    def test_the_writer_stops_within_the_window(self, initial: int) -> None:
        pair = Pair(client=Config(protection="none", initial_receive_window=initial, receive_window=4 << 20))
        pair.client.send(0, bytes(8 << 20))
        pair.run(5.0)
        server: Any = pair.server
        assert server._streams.received_highest == initial
        assert pair.client.stats(pair.now).limited_by == "flow_control"
        assert not pair.client._recovery.sent_packets.ack_eliciting_in_flight
        # Silence, but for signs of life: no probing in a circle.
        before = len(pair.log)
        pair.run(8.0)
        assert len(pair.log) - before < 10

    def test_it_goes_on_when_the_reader_does(self) -> None:
        pair = Pair(client=small())
        data = bytes(range(256)) * 4096
        pair.client.send(0, data, fin=True)
        got = b""
        for _ in range(100):
            pair.run(0.2)
            got += pair.server.receive(0, 20_000)
            pair.check()
        pair.run(0.2)
        while not pair.server.at_eof(0):
            got += read_all(pair.server, 0)
            pair.run(0.1)
        assert got == data
        assert_credit_is_whole(pair)

    def test_one_stopped_stream_does_not_stop_another(self) -> None:
        pair = Pair()
        stuck, live = pair.client.open_stream(), pair.client.open_stream()
        pair.client.send(stuck, bytes(16 << 20))
        pair.run(1.0)
        pair.client.send(live, bytes(4 << 20), fin=True)
        got = 0
        for _ in range(200):
            pair.run(0.02)
            got += len(read_all(pair.server, live))
        assert got == 4 << 20

    def test_a_writer_outlives_the_idle_timeout_while_its_reader_rests(self) -> None:
        pair = Pair(client=small(idle_timeout=3.0))
        pair.client.send(0, bytes(WINDOW * 2), fin=True)
        pair.run(20.0)
        assert pair.errors() == {}
        assert len(read_all(pair.server, 0)) == WINDOW
        pair.run(0.2)
        assert len(read_all(pair.server, 0)) == WINDOW


@pytest.mark.parametrize("kind", [wire.MaxData, wire.MaxStreamData])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_lost_credit_is_repeated(kind: type, times: int) -> None:
    pair = Pair(client=small())
    pair.client.send(0, bytes(WINDOW * 2), fin=True)
    pair.run(0.5)
    lost = lose(pair, kind, times)
    assert len(read_all(pair.server, 0)) == WINDOW
    pair.until(lambda: bool(pair.server._streams.received_highest == WINDOW * 2), 10.0)
    assert len(lost) == times


def test_no_silly_windows() -> None:
    """A reader of a few bytes at a time gets packets worth sending, and few words about credit."""
    pair = Pair(client=small())
    pair.client.send(0, bytes(WINDOW * 4))
    pair.run(0.5)
    start = pair.now
    taken = 0
    for _ in range(2000):
        taken += len(pair.server.receive(0, 50))
        pair.run(0.001)
    words = pair.sent("server", wire.MaxData, start) + pair.sent("server", wire.MaxStreamData, start)
    assert len(words) <= 2 * (taken // (WINDOW // 4) + 1)
    sizes = [len(frame.data) for frame in pair.sent("client", wire.Stream, start)]
    assert sum(size < 1000 for size in sizes) <= len(words) + 1


def test_the_window_grows_to_bandwidth_times_delay_up_to_the_bound() -> None:
    config = Config(protection="none", initial_receive_window=64 * KIB, receive_window=4 << 20, send_buffer=1 << 26)
    pair = Pair(client=config, delay=0.02)
    server: Any = pair.server
    # Credit is all that holds the sender back.
    pair.client.send(0, bytes(30 << 20), fin=True)
    while not server.at_eof(0):
        assert pair.step(pair.now + 10)
        read_all(server, 0)
        pair.check()
    assert 1 << 20 <= server._streams.receive_window.window <= 4 << 20
    assert server._streams.receive_window.maximum == 4 << 20


def test_a_slow_reader_gets_no_larger_window() -> None:
    pair = Pair(client=Config(protection="none", initial_receive_window=64 * KIB))
    pair.client.send(0, bytes(4 << 20))
    for _ in range(200):
        pair.run(0.02)
        pair.server.receive(0, 4000)
    server: Any = pair.server
    assert server._streams.receive_window.window == 96 * KIB


class TestOverrun:
    def test_of_a_stream(self) -> None:
        pair = Pair(client=small(receive_window=WINDOW * 4))
        stream = pair.client._streams.find(0)
        assert stream is not None
        assert stream.send_window is not None
        stream.send_window.raise_to(1 << 40)
        pair.client.send(0, bytes(WINDOW + 1))
        assert_typed_failure(pair, ErrorCode.FLOW_CONTROL_ERROR)

    def test_of_the_connection(self) -> None:
        pair = Pair(client=small())
        pair.client._streams.turns.raise_limit(1 << 40)
        for _ in range(2):
            pair.client.send(pair.client.open_stream(), bytes(WINDOW))
        assert_typed_failure(pair, ErrorCode.FLOW_CONTROL_ERROR)

    def test_by_a_final_size(self) -> None:
        pair = Pair(client=small())
        stream_id = pair.client.open_stream(True)
        frame = wire.ResetStream(stream_id, 1, WINDOW + 1)
        pair.client._control.put(frame)
        assert_typed_failure(pair, ErrorCode.FLOW_CONTROL_ERROR)


ENDINGS = ("read", "reset", "stop", "reset late", "stop late", "stop and reset")


@settings(deadline=None, max_examples=60, print_blob=True)
@given(
    st.lists(st.tuples(st.integers(0, 60_000), st.sampled_from(ENDINGS)), min_size=1, max_size=12),
    st.integers(0, 2**16),
    st.sampled_from([0.0, 0.1, 0.3]),
)
def test_after_everything_is_read_or_dropped_the_credit_is_the_window(
    streams: list[tuple[int, str]], seed: int, loss: float
) -> None:
    pair = Pair(client=small(), seed=seed)
    random = Random(seed)

    def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
        return [] if random.random() < loss else [(pair.delay, datagram.data)]

    pair.fate = fate
    for size, ending in streams:
        stream_id = pair.client.open_stream(True)
        pair.client.send(stream_id, bytes(size), fin=ending in ("read", "reset late", "stop late"))
        pair.run(0.02 if "late" not in ending else 0.5)
        opened = stream_id in pair.server._streams.held
        if "stop" in ending and opened:
            pair.server.stop_sending(stream_id, 1)
        if "reset" in ending or (ending == "stop" and not opened):
            pair.client.reset_stream(stream_id, 1)
        pair.check()
        # Everything else is read, so that the connection's credit can't hold a stream for ever.
        drop_or_read(pair)
    for _ in range(400):
        pair.run(0.05)
        drop_or_read(pair)
        pair.check()
        if not pair.client._streams.turns.unsent and pair.client.stats(pair.now).streams_open <= 1:
            break
    pair.fate = lambda datagram: [(pair.delay, datagram.data)]
    pair.run(3.0)
    drop_or_read(pair)
    pair.run(1.0)
    pair.check()
    assert pair.errors() == {}
    assert pair.server.stats(pair.now).streams_open <= 1
    assert_credit_is_whole(pair)


def drop_or_read(pair: Pair) -> None:
    """The server's application reads every stream it may."""
    server: Any = pair.server
    for stream in list(server._streams.held.values()):
        if stream.discarding:
            continue
        try:
            read_all(pair.server, stream.id)
        except StreamReset:
            continue
