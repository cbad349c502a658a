"""Laws of the token bucket."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rudp.pacer import SLOW_RATE, UNPACED, Pacer

SIZE = 1_400


def paced(rate: float) -> Pacer:
    pacer = Pacer(SIZE)
    pacer.set_rate(rate, SIZE, 0.0)
    return pacer


@pytest.mark.parametrize("rate", [None, 0.0, float("inf")])
def test_without_a_rate_nothing_is_held_back(rate: float | None) -> None:
    pacer = Pacer(SIZE)
    pacer.set_rate(rate, SIZE, 0.0)
    pacer.on_sent(1_000_000_000, 0.0)
    assert pacer.rate is None
    assert pacer.allowance(0.0) == UNPACED
    assert pacer.release_time(0.0) is None


def test_starts_with_ten_packets() -> None:
    assert paced(1e5).allowance(0.0) == 10 * SIZE


def test_a_fast_rate_has_a_burst_of_two_milliseconds() -> None:
    pacer = paced(1e8)
    pacer.on_sent(10 * SIZE, 0.0)
    assert pacer.allowance(1.0) == 200_000


def test_release_time_is_when_the_allowance_returns() -> None:
    pacer = paced(1e6)
    pacer.on_sent(10 * SIZE, 0.0)
    assert pacer.allowance(0.0) == 0
    release = pacer.release_time(0.0)
    assert release == pytest.approx(2 * SIZE / 1e6), "at this rate a quantum is two packets"
    assert release is not None
    assert pacer.allowance(release - 1e-6) == 0
    assert pacer.allowance(release + 1e-9) >= 2 * SIZE
    assert pacer.release_time(release + 1e-9) is None


def test_a_fast_rate_is_not_cut_into_crumbs() -> None:
    pacer = paced(20e6)
    pacer.on_sent(pacer.allowance(1.0), 1.0)
    assert pacer.allowance(1.0005) == 0, "half a millisecond's worth isn't worth a train"
    assert pacer.allowance(1.0011) >= 20_000
    huge = paced(1e9)
    huge.on_sent(huge.allowance(1.0), 1.0)
    assert huge.release_time(1.0) == pytest.approx(1.0 + 65_507 / 1e9), "a full train is"


def test_a_slow_rate_goes_by_single_packets() -> None:
    pacer = paced(SLOW_RATE - 1)
    pacer.on_sent(10 * SIZE, 0.0)
    assert pacer.release_time(0.0) == pytest.approx(SIZE / (SLOW_RATE - 1))


def test_a_late_timer_costs_nothing() -> None:
    """Woken a millisecond late each time, a sender still reaches the rate."""
    pacer, now, sent = paced(12.5e6), 0.0, 0
    while now < 1.0:
        allowance = pacer.allowance(now)
        pacer.on_sent(allowance, now)
        sent += allowance
        release = pacer.release_time(now)
        assert release is not None
        now = release + 0.0009
    assert sent == pytest.approx(12.5e6, rel=0.01)


def test_probes_overdraw_by_one_burst_at_most() -> None:
    pacer = paced(1e6)
    for _ in range(100):
        pacer.on_sent(10 * SIZE, 0.0)
    release = pacer.release_time(0.0)
    assert release == pytest.approx(12 * SIZE / 1e6)


def test_what_was_overdrawn_at_a_fast_rate_is_no_more_than_a_burst_of_the_slow_one() -> None:
    pacer = paced(1e8)
    pacer.on_sent(1_000_000, 0.0)
    pacer.set_rate(1e5, SIZE, 0.0)
    assert pacer.release_time(0.0) == pytest.approx(11 * SIZE / 1e5)


def test_time_does_not_run_backwards() -> None:
    pacer = paced(1e6)
    pacer.on_sent(10 * SIZE, 1.0)
    assert pacer.allowance(0.5) == 0
    assert pacer.allowance(1.0) == 0


def test_a_new_rate_counts_from_now_on() -> None:
    pacer = paced(1e6)
    pacer.on_sent(10 * SIZE, 0.0)
    pacer.set_rate(2e6, SIZE, 0.001)
    assert pacer.release_time(0.001) == pytest.approx(0.001 + (2 * SIZE - 1_000) / 2e6)


def test_a_smaller_packet_makes_a_smaller_burst() -> None:
    pacer = paced(1e5)
    pacer.set_rate(1e5, 1_200, 0.0)
    assert pacer.allowance(0.0) == 12_000


def test_a_rate_that_falls_and_rises_fills_no_bucket() -> None:
    """Half of it was sent, which the lower rate's bucket doesn't show."""
    pacer = paced(14e6)
    pacer.on_sent(14_000, 0.0)
    pacer.set_rate(1_000.0, SIZE, 0.0)
    pacer.set_rate(14e6, SIZE, 0.0)
    assert pacer.allowance(0.0) == 14_000


@given(
    rates=st.lists(st.floats(1e3, 1e9), min_size=1, max_size=5),
    steps=st.lists(st.tuples(st.floats(0.0, 0.05), st.floats(0.0, 1.0)), max_size=60),
)
@example([448_000.0, 7_000_500.0], [(0.0, 1.0), (0.03125, 1.0), (0.0, 0.0), (0.03125, 1.0)])
def test_never_more_than_the_rate_and_a_burst(rates: list[float], steps: list[tuple[float, float]]) -> None:
    """It starts full, and what is full when the rate rises stays full."""
    pacer = paced(rates[0])
    now, sent, due = 0.0, 0, pacer.burst
    for number, (pause, share) in enumerate(steps):
        rate = pacer.rate
        assert rate is not None
        due += rate * pause
        now += pause
        before, is_full = pacer.burst, pacer.allowance(now) == int(pacer.burst)
        pacer.set_rate(rates[number % len(rates)], SIZE, now)
        if is_full and pacer.burst > before:
            due += pacer.burst - before
        allowance = pacer.allowance(now)
        assert allowance == 0 or allowance >= int(pacer.quantum)
        assert (allowance == 0) == (pacer.release_time(now) is not None)
        taken = int(allowance * share)
        pacer.on_sent(taken, now)
        sent += taken
        assert sent <= due + 1e-6 * due


@pytest.mark.parametrize("rate", [1e3, 1e9, 1e15, 1e22])
@pytest.mark.parametrize("now", [0.0, 0.34, 4e6])
def test_a_release_lies_in_the_future_or_is_none(rate: float, now: float) -> None:
    """On a path without delay a rate has no bounds; a timer at this very instant would spin."""
    pacer = Pacer(1200)
    pacer.set_rate(rate, 1200, now)
    for _ in range(50):
        allowance = pacer.allowance(now)
        release = pacer.release_time(now)
        assert (release is None) == (allowance > 0)
        if release is not None:
            assert release > now
            now = release
        else:
            pacer.on_sent(allowance, now)


@pytest.mark.parametrize("rate", [1e3, 1e7, 1e9])
def test_a_full_bucket_stays_full_whatever_the_rate_becomes(rate: float) -> None:
    pacer = Pacer(1200)
    pacer.set_rate(100_000.0, 1200, 1.0)
    pacer.set_rate(rate, 1200, 2.0)
    assert pacer.allowance(2.0) == int(pacer.burst)
    assert pacer.release_time(2.0) is None


def test_to_ask_again_for_the_rate_asked_for_changes_nothing() -> None:
    pacer = Pacer(SIZE)
    assert pacer.asked is None
    for rate in (1e6, 2e6, None, float("inf"), 3e6):
        pacer.set_rate(rate, SIZE, 1.0)
        assert pacer.asked == rate
        before = (pacer.rate, pacer.burst, pacer.quantum, pacer.allowance(1.0), pacer.release_time(1.0))
        pacer.set_rate(pacer.asked, SIZE, 1.0)
        assert before == (pacer.rate, pacer.burst, pacer.quantum, pacer.allowance(1.0), pacer.release_time(1.0))
