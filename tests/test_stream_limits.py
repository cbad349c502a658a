"""How many streams may be opened, and how soon more: laws of the limits alone, and of two sides of a connection.

What a hostile peer gets out of them is in `test_hostile_attacks`.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp import stream_limits, wire
from rudp.config import Config
from rudp.control import ControlQueue
from rudp.errors import ErrorCode, ProtocolError, StreamLimitReached
from rudp.events import StreamReadable
from rudp.stream_limits import BIDI, UNI, StreamLimits
from tests.core_pair import Pair, read_all


@pytest.mark.parametrize("unidirectional", [False, True])
def test_an_honest_client_that_is_faster_is_slowed_and_nothing_else(unidirectional: bool) -> None:
    config = Config(max_stream_opens=200, max_streams_bidi=10, max_streams_uni=10)
    pair = Pair(client=config, server=config)
    done, began = 0, pair.now
    while pair.now < began + 2.0:
        try:
            while True:
                pair.client.send(pair.client.open_stream(unidirectional), b"request", fin=True)
        except StreamLimitReached:
            pass
        pair.run(0.001)
        for event in pair.of("server", StreamReadable):
            assert read_all(pair.server, event.stream_id) == b"request"
            if not unidirectional:
                pair.server.send(event.stream_id, b"", fin=True)
            done += 1
        pair.events["server"].clear()
        for event in pair.of("client", StreamReadable):
            assert read_all(pair.client, event.stream_id) == b""
        pair.events["client"].clear()
        pair.check()
    assert pair.client.is_open
    assert pair.server.is_open
    assert 390 <= done <= 10 + 20 + 400


def limits_of(**settings: int) -> StreamLimits:
    return StreamLimits(Config(**settings), ControlQueue(), is_client=False)


# -- this side's


@pytest.mark.parametrize("kind", [BIDI, UNI])
def test_who_opens_streams_counts_up_to_the_peer_s_limit(kind: int) -> None:
    limits = StreamLimits(Config(), ControlQueue(), is_client=False)
    with pytest.raises(StreamLimitReached, match=f"0 {('bi', 'uni')[kind]}directional"):
        limits.open(kind)
    assert limits.on_max_streams(kind, 2), "the application waits for it"
    assert [limits.open(kind) for _ in range(2)] == [0, 1]
    assert limits.opened_by_me[kind] == 2
    assert limits.opened_by_me[1 - kind] == 0
    for no_news in (2, 1):
        assert not limits.on_max_streams(kind, no_news)
    assert not limits.on_max_streams(kind, 3), "nobody has met the limit"
    assert limits.open(kind) == 2
    with pytest.raises(StreamLimitReached, match="wait until one has ended"):
        limits.open(kind)
    assert not limits.on_max_streams(kind, 3)
    assert not limits.on_max_streams(1 - kind, 3), "of the other kind nobody has met the limit"
    assert limits.on_max_streams(kind, 4)
    assert not limits.on_max_streams(kind, 5), "it was told"


def test_stream_0_is_open_on_both_sides_from_the_start() -> None:
    client = StreamLimits(Config(), ControlQueue(), is_client=True)
    server = StreamLimits(Config(), ControlQueue(), is_client=False)
    assert client.opened_by_me == server.opened_by_peer == (1, 0)
    assert client.opened_by_peer == server.opened_by_me == (0, 0)
    assert client.max_streams_peer == server.max_streams_peer == (0, 0)


# -- the peer's


def test_lower_streams_open_with_a_higher_one_up_to_the_limit() -> None:
    limits = limits_of(max_streams_bidi=5, max_streams_uni=3)
    assert list(limits.open_by_peer(UNI, 2)) == [0, 1]
    assert list(limits.open_by_peer(UNI, 1)) == []
    assert list(limits.open_by_peer(UNI, 3)) == [2]
    assert list(limits.open_by_peer(BIDI, 5)) == [1, 2, 3, 4]
    assert limits.opened_by_peer == (5, 3)
    with pytest.raises(ProtocolError, match="4 streams, 3 admitted") as caught:
        limits.open_by_peer(UNI, 4)
    assert caught.value.code is ErrorCode.STREAM_LIMIT_ERROR
    limits.on_ended(UNI)
    assert list(limits.open_by_peer(UNI, 4)) == [3]


def test_streams_that_ended_are_replaced_at_once_up_to_a_number_and_then_in_time() -> None:
    control = ControlQueue()
    limits = StreamLimits(Config(max_stream_opens=1000), control, is_client=False)
    burst = 50
    for count in range(1, burst + 1):
        limits.on_ended(UNI)
        assert (limits.max_streams_mine, limits.due) == ((128, 128 + count), None)
        assert control.take(100)[0][0] == wire.MaxStreams(128 + count, True)
    # It was given without a look at the clock, as if it were time 0.
    for count, due in ((1, 0.001), (2, 0.002), (4, 0.004), (20, 0.004)):
        while limits.owed[UNI] < count:
            limits.on_ended(UNI)
        assert limits.due == pytest.approx(due)
    assert not control
    # Not before, then four at a time, as timers have a grain, and as many as there was time for when it is late.
    limits.pay(0.0039)
    assert (limits.owed, limits.due) == ((0, 20), pytest.approx(0.004))
    limits.pay(0.004)
    assert (limits.owed, limits.due) == ((0, 16), pytest.approx(0.008))
    assert control.take(100)[0][0] == wire.MaxStreams(128 + burst + 4, True)
    limits.pay(0.0161)
    assert (limits.owed, limits.due) == ((0, 4), pytest.approx(0.020))
    limits.pay(3600.0)
    assert (limits.owed, limits.due) == ((0, 0), None)
    # A pause is good for as many at once as before it, and no more.
    for count in range(1, burst + 10):
        limits.on_ended(UNI)
        assert limits.owed == (0, max(0, count - (burst - 4)))


@pytest.mark.parametrize(
    ("resets", "first", "second"), [(100, None, 0.010), (10, 0.090, 0.190), (400, None, None), (5000, None, None)]
)
def test_a_reset_counts_as_so_many_streams(resets: int, first: float | None, second: float | None) -> None:
    """As opens to resets are to one another, but as one at least; and so long the next stream waits."""
    limits = limits_of(max_stream_opens=1000, max_stream_resets=resets)
    for _ in range(40):
        limits.on_ended(BIDI)
    assert limits.due is None
    for wait in (first, second):
        limits.on_reset()
        limits.on_ended(BIDI)
        assert limits.due == (None if wait is None else pytest.approx(wait))


def test_no_reset_is_cheaper_than_an_end() -> None:
    limits = limits_of(max_stream_opens=1000, max_stream_resets=5000)
    for count in range(1, 60):
        limits.on_reset()
        limits.on_ended(BIDI)
        assert limits.owed == (max(0, count - 50), 0)


def test_what_a_late_look_was_late_by_is_not_lost() -> None:
    limits = limits_of(max_stream_opens=1000)
    for _ in range(51):
        limits.on_ended(BIDI)
    limits.pay(0.0014)
    limits.on_ended(BIDI)
    assert limits.due == pytest.approx(0.0020)


def test_both_kinds_of_streams_share_what_is_admitted() -> None:
    control = ControlQueue()
    limits = StreamLimits(Config(max_stream_opens=10), control, is_client=False)
    for _ in range(100):
        limits.on_ended(BIDI)
    for _ in range(10):
        limits.on_ended(UNI)
    before = limits.max_streams_mine
    for count in range(1, 21):
        assert limits.due is not None
        limits.pay(limits.due)
        bidi, uni = (now - then for now, then in zip(limits.max_streams_mine, before, strict=True))
        assert bidi + uni == count
        assert abs(bidi - uni) <= 1
    while limits.due is not None:
        limits.pay(limits.due)
    assert limits.max_streams_mine == (228, 138)
    assert limits.owed == (0, 0)


@given(
    st.integers(1, 2000) | st.integers(1, 2**32), st.integers(1, 2**32), st.floats(0, 1e9),
    st.lists(
        st.tuples(st.sampled_from(["end", "many", "reset", "pay", "early"]), st.integers(0, 1), st.floats(0, 10))
    ),
)  # fmt: skip
def test_streams_that_are_owed_are_paid_in_time_at_any_rate(
    opens: int, resets: int, now: float, steps: list[tuple[str, int, float]]
) -> None:
    """No faster than the rate, and each look at the time that was named pays some: none waits for ever."""
    limits = StreamLimits(Config(max_stream_opens=opens, max_stream_resets=resets), ControlQueue(), is_client=True)
    began, first, ended = now, sum(limits.max_streams_mine), 0
    for what, kind, pause in steps:
        if what in {"end", "many"}:
            for _ in range(1 if what == "end" else 50):
                limits.on_ended(kind)
                ended += 1
        elif what == "reset":
            limits.on_reset()
        elif what == "early":
            before = limits.max_streams_mine
            now += pause
            if limits.due is not None and now < limits.due:
                limits.pay(now)
                assert limits.max_streams_mine == before
        elif limits.due is not None:
            now = max(now, limits.due)
            owed = sum(limits.owed)
            limits.pay(now)
            assert sum(limits.owed) < owed
        granted = sum(limits.max_streams_mine) - first
        assert granted + sum(limits.owed) == ended
        assert (limits.due is None) == (limits.owed == (0, 0))
        most = 2 * max(1.0, opens * stream_limits.BURST) + (now - began) * opens
        assert granted <= most * (1 + 1e-9) + 1


# -- the peer's FIN


@given(opened=st.integers(1, 40), before=st.integers(0, 40), rate=st.integers(1, 50))
def test_who_has_said_fin_is_admitted_no_more_streams(opened: int, before: int, rate: int) -> None:
    limits = limits_of(max_streams_uni=40, max_stream_opens=rate)
    limits.open_by_peer(UNI, opened)
    before = min(before, opened)
    for _ in range(before):
        limits.on_ended(UNI)
    admitted = limits.max_streams_mine
    limits.finish()
    for _ in range(opened - before):
        limits.on_ended(UNI)
    limits.on_reset()
    limits.pay(1e9)
    assert limits.max_streams_mine == admitted
    assert limits.owed == (0, 0)
    assert limits.due is None
    assert not limits.open_by_peer(UNI, opened), "what it has opened was admitted"


def test_after_the_peer_s_fin_a_stream_s_end_is_answered_by_no_credit_for_another() -> None:
    """Nor does a timer go on for what was owed: the connection is as quiet as any."""
    config = Config(max_stream_opens=1, max_streams_uni=10)
    pair = Pair(client=config, server=config)
    for _ in range(10):
        pair.client.send(pair.client.open_stream(unidirectional=True), b"one way", fin=True)
    pair.run(0.1)
    streams = [event.stream_id for event in pair.of("server", StreamReadable)]
    for stream_id in streams[:5]:
        assert read_all(pair.server, stream_id) == b"one way"
    pair.check()
    assert pair.server._streams.limits.due is not None
    pair.client.send_eof()
    pair.run(0.1)
    pair.check()
    fin_at = pair.now
    for stream_id in streams[5:]:
        assert read_all(pair.server, stream_id) == b"one way"
    pair.run(10.0)
    pair.check()
    assert len(streams) == 10
    assert not pair.sent("server", wire.MaxStreams, fin_at)
