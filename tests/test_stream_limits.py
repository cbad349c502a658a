"""How many streams may be opened, and how soon more: laws of the limits alone, and of two sides of a connection.

What a hostile peer gets out of them is in `test_hostile_attacks`.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp import stream_limits
from rudp.config import Config
from rudp.control import ControlQueue
from rudp.errors import StreamLimitReached
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


def test_both_kinds_of_streams_share_what_is_admitted() -> None:
    control = ControlQueue()
    limits = StreamLimits(Config(max_stream_opens=10), control, is_client=False)
    for _ in range(100):
        limits.on_ended(BIDI)
    for _ in range(10):
        limits.on_ended(UNI)
    before = limits.max_streams_mine
    for _ in range(20):
        assert limits.due is not None
        limits.pay(limits.due)
    bidi, uni = (now - then for now, then in zip(limits.max_streams_mine, before, strict=True))
    assert (bidi, uni) == (10, 10)
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
