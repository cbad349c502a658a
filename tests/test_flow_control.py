"""Laws of `rudp.flow_control`: credit is kept to, comes back by reading, grows only where it is the limit."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.errors import ErrorCode, ProtocolError
from rudp.flow_control import (
    COMMON_PACKET,
    LEAST_ROUND,
    ReceiveWindow,
    SendWindow,
    connection_window,
    stream_maximum,
)
from tests.measure import footprint

KIB = 1024
MIB = 1024 * KIB


def transfer(
    window: ReceiveWindow,
    *,
    rate: float,
    rtt: float,
    seconds: float,
    reads: float = 1e12,
    step: float = 0.001,
) -> int:
    """Move data for `seconds`: a path of `rate` bytes/s and `rtt`, an application that takes `reads` bytes/s.

    Returns the bytes the application read. Credit travels half a round trip, data the other half.
    """
    limits = [(0.0, window.max_data)]
    arrivals: list[tuple[float, int]] = []
    sent = arrived = consumed = 0
    for tick in range(1, round(seconds / step)):
        now = tick * step
        credit = max(limit for at, limit in limits if at <= now)
        limits = [(at, limit) for at, limit in limits if at > now or limit == credit]
        size = min(int(rate * step), credit - sent)
        if size:
            sent += size
            arrivals.append((now + rtt / 2, sent))
        while arrivals and arrivals[0][0] <= now:
            arrived = arrivals.pop(0)[1]
            window.check(arrived)
        taken = min(arrived - consumed, int(reads * now) - consumed)
        if taken > 0:
            consumed += taken
            window.on_consumed(taken, now, rtt)
        limit = window.update_due()
        if limit is not None:
            limits.append((now + rtt / 2, limit))
    return consumed


def test_a_peer_may_send_up_to_the_grant_and_no_more() -> None:
    window = ReceiveWindow(1000, 1000)
    window.check(1000)
    with pytest.raises(ProtocolError) as caught:
        window.check(1001)
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR


def test_credit_not_yet_told_is_not_granted() -> None:
    window = ReceiveWindow(100_000, 100_000)
    window.on_consumed(50_000, 1.0, 0.1)
    with pytest.raises(ProtocolError):
        window.check(100_001)
    assert window.update_due() == 150_000
    window.check(150_000)


def test_an_update_is_told_once_and_never_takes_back() -> None:
    window = ReceiveWindow(100_000, 100_000)
    window.on_consumed(30_000, 1.0, 0.1)
    assert window.update_due() == 130_000
    assert window.max_data == 130_000
    assert window.update_due() is None


@given(
    initial=st.integers(1, 10 * MIB),
    reads=st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 0.1)), max_size=60),
)
def test_updates_are_never_silly_and_never_miss(initial: int, reads: list[tuple[int, float]]) -> None:
    window = ReceiveWindow(initial, 16 * MIB)
    now = 0.0
    for size, pause in reads:
        now += pause
        size = min(size, window.max_data - window.consumed)
        if not size:
            continue
        before = window.max_data
        window.on_consumed(size, now, 0.02)
        limit = window.update_due()
        starts = before <= 2 * window.window < 32 * MIB
        least = max(window.window // (16 if starts else 4), min(window.window // 2, COMMON_PACKET), 1)
        if limit is None:
            assert window.max_data == before
            assert window.consumed + window.window - before < least
        else:
            assert limit == window.max_data == window.consumed + window.window
            assert limit - before >= least
        # Whoever has read everything leaves the peer no reason to wait.
        if window.consumed == window.max_data:
            pytest.fail("all that was granted is read, and no update was due")


@given(window_size=st.integers(1, 5000))
def test_a_reader_that_takes_byte_by_byte_causes_few_updates(window_size: int) -> None:
    window = ReceiveWindow(window_size, window_size)
    updates = 0
    for _ in range(4 * window_size):
        window.on_consumed(1, 0.0, 0.1)
        updates += window.update_due() is not None
    assert 4 <= updates <= max(4 * window_size // max(1, window_size // 4), 16)


def test_window_grows_to_the_path_and_stays_within_eight_times_of_it() -> None:
    window = ReceiveWindow(64 * KIB, 64 * MIB)
    rate, rtt = 50e6, 0.1
    read = transfer(window, rate=rate, rtt=rtt, seconds=3.0)
    assert 4 * rate * rtt <= window.window <= 8 * rate * rtt
    # From 64 KiB to 5 MB are four growths of two round trips each.
    assert read > rate * (3.0 - 10 * rtt)


def test_growth_is_at_most_fourfold_a_round() -> None:
    window = ReceiveWindow(100_000, 64 * MIB)
    now, sizes = 0.0, []
    for _ in range(8):
        window.on_consumed(10_000_000, now, 0.125)
        sizes.append(window.window)
        now += 0.125
    assert sizes == [100_000, 400_000, 1_600_000, 6_400_000, 25_600_000] + [51_200_000] * 3


def test_window_never_exceeds_its_maximum() -> None:
    window = ReceiveWindow(64 * KIB, 1_000_001)
    transfer(window, rate=100e6, rtt=0.1, seconds=2.0)
    assert window.window == 1_000_001


def test_a_fixed_window_stays() -> None:
    window = ReceiveWindow(256 * KIB, 256 * KIB)
    read = transfer(window, rate=100e6, rtt=0.1, seconds=2.0)
    assert window.window == 256 * KIB
    assert read <= 21 * 256 * KIB


def test_a_slow_reader_gets_no_larger_window() -> None:
    window = ReceiveWindow(256 * KIB, 64 * MIB)
    transfer(window, rate=100e6, rtt=0.05, seconds=3.0, reads=1e6)
    assert window.window == 256 * KIB


def test_a_slow_path_gets_no_larger_window() -> None:
    window = ReceiveWindow(256 * KIB, 64 * MIB)
    read = transfer(window, rate=1e6, rtt=0.05, seconds=3.0)
    assert window.window == 256 * KIB
    assert read > 2.8e6


def test_an_application_that_stops_reading_stops_the_window() -> None:
    window = ReceiveWindow(64 * KIB, 64 * MIB)
    transfer(window, rate=50e6, rtt=0.1, seconds=1.0)
    size, limit = window.window, window.max_data
    assert window.update_due() is None
    assert (window.window, window.max_data) == (size, limit)


def test_a_burst_of_reads_after_a_pause_does_not_grow_the_window() -> None:
    window = ReceiveWindow(64 * KIB, 64 * MIB)
    for burst in range(20):
        for _ in range(16):
            window.on_consumed(4 * KIB, burst * 1.0, 0.05)
    assert window.window == 64 * KIB


def test_a_window_need_not_wait_for_the_end_of_a_round_that_is_too_large_for_it() -> None:
    """A sender that doubles each round trip would stand still for the rest of it."""
    window = ReceiveWindow(256 * KIB, 64 * MIB)
    window.on_consumed(KIB, 0.0, 0.1)
    window.on_consumed(128 * KIB, 0.04, 0.1)
    assert window.window == 256 * KIB, "read in less than half of a round trip: it may have been a backlog"
    window.on_consumed(KIB, 0.06, 0.1)
    assert window.window == 1024 * KIB


def test_a_very_short_path_is_measured_by_the_grain_of_timers() -> None:
    window = ReceiveWindow(256 * KIB, 64 * MIB)
    for tick in range(1000):
        window.on_consumed(64 * KIB, tick * 0.0001, 0.00005)
    per_round = 64 * KIB * LEAST_ROUND / 0.0001
    assert 4 * per_round <= window.window <= 8.1 * per_round


def test_a_gap_does_not_hold_up_a_sender_that_doubles() -> None:
    window = ReceiveWindow(1024 * KIB, 64 * MIB)
    window.on_consumed(100 * KIB, 0.0, 0.1)
    assert not window.on_ahead(256 * KIB)
    assert window.on_ahead(300 * KIB)
    assert window.window == 2048 * KIB
    assert window.update_due() == 100 * KIB + window.window


def test_an_application_that_read_little_grants_little_beyond_a_gap() -> None:
    """Who withholds the first bytes, and sends what follows, is granted no more than at the start."""
    window = ReceiveWindow(1024 * KIB, 64 * MIB)
    assert not window.on_ahead(1000 * KIB)
    window.on_consumed(20 * KIB, 0.0, 0.1)
    assert window.on_ahead(1000 * KIB)
    assert window.window == 64 * 20 * KIB
    assert not window.on_ahead(1200 * KIB)


def test_a_gap_quadruples_a_window_at_most_and_within_its_bound() -> None:
    window = ReceiveWindow(MIB, 6 * MIB)
    window.on_consumed(MIB, 0.0, 0.1)
    assert window.on_ahead(MIB)
    assert window.window == 4 * MIB
    assert window.on_ahead(3 * MIB)
    assert window.window == 6 * MIB
    assert not window.on_ahead(4 * MIB)
    assert window.window == 6 * MIB


def state(window: ReceiveWindow) -> list[object]:
    return [getattr(window, name) for name in ReceiveWindow.__slots__]


PIECES = st.lists(st.integers(1, 40_000), min_size=1, max_size=8)


@given(
    instants=st.lists(st.tuples(st.floats(0.0, 0.1), PIECES, st.integers(0, 40_000)), max_size=12),
    maximum=st.integers(20_000, MIB),
)
def test_what_is_read_at_an_instant_counts_the_same_in_any_pieces(
    instants: list[tuple[float, list[int], int]], maximum: int
) -> None:
    """A path may have merged what came, or split it, and a reader takes what it is given."""
    whole, pieces = ReceiveWindow(20_000, maximum), ReceiveWindow(20_000, maximum)
    now = 0.0
    for pause, sizes, ahead in instants:
        now += pause
        whole.on_consumed(sum(sizes), now, 0.05, ahead)
        for size in sizes:
            pieces.on_consumed(size, now, 0.05, ahead)
        assert state(whole) == state(pieces)
        assert whole.update_due() == pieces.update_due()


@given(PIECES, st.integers(1, 100_000), st.integers(20_000, MIB))
def test_what_comes_beyond_a_gap_counts_the_same_in_any_pieces(sizes: list[int], read: int, maximum: int) -> None:
    whole, pieces = ReceiveWindow(20_000, maximum), ReceiveWindow(20_000, maximum)
    for window in (whole, pieces):
        window.on_consumed(read, 0.0, 0.05)
    grew = whole.on_ahead(sum(sizes))
    assert grew == (sum(map(pieces.on_ahead, accumulate(sizes))) > 0)
    assert state(whole) == state(pieces)


@given(st.lists(st.tuples(st.floats(0.0, 0.1), PIECES), max_size=12))
def test_a_window_is_the_first_doubled_as_often_as_needed(instants: list[tuple[float, list[int]]]) -> None:
    """So it doesn't depend on where between two doublings it was looked at."""
    window, now = ReceiveWindow(20_000, 64 * MIB), 0.0
    for pause, sizes in instants:
        now += pause
        for size in sizes:
            window.on_consumed(size, now, 0.05)
        times, rest = divmod(window.window, 20_000)
        assert not rest
        assert times & (times - 1) == 0


def test_credit_may_be_granted_before_it_is_due() -> None:
    """Who tells the peer in any case tells it all there is."""
    window = ReceiveWindow(100_000, 100_000)
    window.on_consumed(10, 1.0, 0.1)
    assert window.update_due() is None
    assert window.grant() == window.max_data == 100_010
    window.on_consumed(25_000, 1.0, 0.1)
    assert window.update_due() == 125_010


def test_bytes_dropped_give_credit_back_without_growth() -> None:
    window = ReceiveWindow(100_000, 64 * MIB)
    window.on_consumed(1, 0.0, 0.1)
    for tick in range(1, 20):
        window.on_discarded(100_000)
        window.on_consumed(1, tick * 0.1, 0.1)
        assert window.update_due() == 100_000 + window.consumed
    assert window.window == 100_000


def test_one_window_serves_the_sum_of_streams() -> None:
    connection = ReceiveWindow(10_000, 10_000)
    highest = {0: 0, 4: 0, 8: 0}

    def arrive(stream_id: int, stop: int) -> None:
        growth = max(0, stop - highest[stream_id])
        connection.check(sum(highest.values()) + growth)
        highest[stream_id] += growth

    arrive(0, 6_000)
    arrive(4, 4_000)
    arrive(0, 5_000)
    with pytest.raises(ProtocolError):
        arrive(8, 1)
    connection.on_consumed(6_000, 1.0, 0.1)
    assert connection.update_due() == 16_000
    arrive(8, 6_000)


def test_a_sender_uses_its_credit_and_gets_more() -> None:
    window = SendWindow(1000)
    window.used += 700
    assert window.available == 300
    assert window.raise_to(2000)
    assert window.available == 1300
    window.used += 1300
    assert (window.used, window.limit, window.available) == (2000, 2000, 0)


@given(st.lists(st.integers(0, 2**62), min_size=1))
def test_late_and_repeated_grants_change_nothing(grants: list[int]) -> None:
    window = SendWindow(1000)
    for i, grant in enumerate(grants):
        highest = max([1000, *grants[:i]])
        assert window.raise_to(grant) == (grant > highest)
        assert window.limit == max(highest, grant)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.0001, 0.0019, 0.002, 0.004, 0.01]),
            st.integers(1, 40_000),
            st.sampled_from([0.0001, 0.006, 0.009, 0.05]),
        )
    ),
    st.sampled_from([0, 20_000]),
)
def test_what_is_quiet_only_counts(reads: list[tuple[float, int, float]], ahead: int) -> None:
    """Whoever counts a quiet read by himself has the window that is told of every read."""
    window, other = ReceiveWindow(100_000, MIB), ReceiveWindow(100_000, MIB)
    now = 1.0
    for pause, size, rtt in reads:
        now += pause
        begun = now - window.round_start < max(rtt, LEAST_ROUND)
        quiet = begun and window.consumed + size + ahead < window.quiet_up_to
        if quiet:
            window.consumed += size
        grew = other.on_consumed(size, now, rtt, ahead)
        assert grew == (not quiet and window.on_consumed(size, now, rtt, ahead))
        due = other.update_due()
        assert due == window.update_due()
        assert not (quiet and due)
        assert (window.window, window.max_data, window.consumed) == (other.window, other.max_data, other.consumed)


def test_windows_are_tiny() -> None:
    assert footprint(ReceiveWindow(MIB, 64 * MIB)) < 250
    assert footprint(SendWindow(MIB)) < 150


def test_what_waits_beyond_gaps_widens_the_window() -> None:
    """Where much is lost the window is full while a gap is mended, though little is read in a round trip."""
    window = ReceiveWindow(MIB, 64 * MIB)
    for tick in range(1, 20):
        window.on_consumed(100 * KIB, tick * 0.1, 0.1, ahead=900 * KIB)
    assert window.window == 4 * MIB, "a thousand KiB were needed: a quarter of that, and no more"


def test_a_gap_widens_no_window_while_nothing_is_read() -> None:
    window = ReceiveWindow(MIB, 64 * MIB)
    window.on_consumed(1, 0.0, 0.1, ahead=MIB)
    assert window.window == MIB
    assert window.update_due() is None


@pytest.mark.parametrize(("window", "least"), [(1, 1), (3, 1), (2000, 1000), (4000, 1200), (4803, 1200), (8000, 2000)])
def test_less_new_credit_than_a_packet_and_half_the_window_or_than_a_quarter_of_it_waits(
    window: int, least: int
) -> None:
    receive = ReceiveWindow(window, window)
    assert receive.update_due() is None
    receive.on_consumed(least - 1, 0.0, 0.1)
    assert receive.update_due() is None
    receive.on_consumed(1, 0.0, 0.1)
    assert receive.update_due() == window + least


def test_who_grants_nothing_never_grants() -> None:
    window = ReceiveWindow(0, 0)
    window.check(0)
    assert window.update_due() is None


def test_reading_a_quarter_of_the_window_in_a_round_trip_is_not_more_than_a_quarter() -> None:
    for size, grown in ((250, 1000), (251, 2000)):
        window = ReceiveWindow(1000, MIB)
        window.on_consumed(1, 0.0, 0.125)
        window.on_consumed(size, 0.125, 0.125)
        assert window.window == grown


def test_what_is_dropped_before_the_first_read_is_no_reading() -> None:
    window = ReceiveWindow(1000, MIB)
    window.on_discarded(900)
    assert (window.consumed, window.update_due()) == (900, 1900)
    window.on_consumed(1, 0.0, 0.125)
    window.on_discarded(900)
    window.on_consumed(100, 0.125, 0.125)
    assert window.window == 1000


def test_a_connection_has_room_for_a_stream_and_a_half_within_its_bound() -> None:
    assert connection_window(1001, MIB) == 1501
    assert connection_window(1000, 1500) == 1500
    assert connection_window(1000, 1200) == 1200


def started(window: int = 16_000, consumed: int = 4_000) -> ReceiveWindow:
    """Of which credit was told beyond the first."""
    receive = ReceiveWindow(window, 64 * MIB)
    receive.on_consumed(consumed, 0.0, 0.1)
    receive.grant()
    return receive


def test_credit_beyond_a_gap_is_told_again_with_each_sixteenth() -> None:
    window = started(160_000, 40_000)
    told = [ahead for ahead in range(100, 160_100, 100) if window.repeats(ahead, 100)]
    assert told == list(range(10_000, 160_001, 10_000))
    assert window.repeats(30_000, 30_000)
    assert not window.repeats(9_999, 9_999)


def test_a_small_window_is_not_told_again_with_each_packet() -> None:
    """A sixteenth of it is less than a packet: there it is half of it, or a common packet."""
    window = started()
    told = [ahead for ahead in range(100, 6_100, 100) if window.repeats(ahead, 100)]
    assert told == [800, 2_000, 3_200, 4_400, 5_600], "each time 1,200 more in all"
    window = started(1_000, 500)
    told = [ahead for ahead in range(100, 2_100, 100) if window.repeats(ahead, 100)]
    assert told == [500, 1_000, 1_500, 2_000]


@given(PIECES)
def test_credit_is_told_again_however_what_brings_it_is_cut(sizes: list[int]) -> None:
    window = started()
    whole = window.repeats(sum(sizes), sum(sizes))
    assert whole == any(window.repeats(ahead, news) for ahead, news in zip(accumulate(sizes), sizes, strict=True))


def test_the_first_credit_is_not_told_again() -> None:
    """It came with the opening, which is repeated until it arrives."""
    window = ReceiveWindow(16_000, 64 * MIB)
    assert not window.repeats(8_000, 8_000)
    window.on_consumed(4_000, 0.0, 0.1)
    assert not window.repeats(8_000, 8_000)
    window.grant()
    assert window.repeats(8_000, 8_000)


def test_who_has_read_much_is_told_again_too() -> None:
    """The frame that told of more was lost, and what it told of was used up: half a second, over and over."""
    assert started(consumed=15_999).repeats(8_000, 8_000)
    assert started(consumed=1_600_000).repeats(8_000, 8_000)


@pytest.mark.parametrize(("maximum", "least"), [(64 * MIB, 4_000), (64_000, 16_000)])
def test_a_sixteenth_is_news_while_a_window_may_grow_and_less_has_been_read_than_it_holds(
    maximum: int, least: int
) -> None:
    window = ReceiveWindow(64_000, maximum)
    for _ in range(64_000 // least):
        window.on_consumed(least - 1, 0.0, 0.1)
        assert window.update_due() is None
        window.on_consumed(1, 0.0, 0.1)
        assert window.update_due() == window.consumed + 64_000
    window.on_consumed(least, 0.0, 0.1)
    assert window.max_data == 128_000
    assert window.update_due() == window.consumed + 64_000
    window.on_consumed(15_999, 0.0, 0.1)
    assert window.update_due() is None
    window.on_consumed(1, 0.0, 0.1)
    assert window.update_due() is not None


def test_a_stream_may_have_two_thirds_of_the_connection() -> None:
    assert stream_maximum(1, 1_000) == 666
    assert stream_maximum(700, 1_000) == 700


def test_reading_tells_whether_the_window_grew() -> None:
    window = ReceiveWindow(64 * KIB, 64 * MIB)
    assert window.on_consumed(64 * KIB, 0.0, 0.1) is False
    assert window.on_consumed(64 * KIB, 0.04, 0.1) is False
    assert window.on_consumed(1, 0.06, 0.1) is True
