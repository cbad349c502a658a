"""RTT estimate: the arithmetic of RFC 9002 section 5 and appendix A.7, and the periods made from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.rtt import GRANULARITY, INITIAL_RTT, RttEstimator


def test_before_the_first_sample() -> None:
    rtt = RttEstimator(max_ack_delay=0.025)
    assert rtt.first_sample_time is None
    assert rtt.smoothed_rtt == INITIAL_RTT
    assert rtt.rttvar == INITIAL_RTT / 2
    assert rtt.probe_timeout() == pytest.approx(INITIAL_RTT * 3 + 0.025)


def test_the_first_sample_is_taken_whole() -> None:
    rtt = RttEstimator(max_ack_delay=0.025)
    rtt.update(0.100, 0.020, now=5.0)
    assert (rtt.latest_rtt, rtt.min_rtt, rtt.smoothed_rtt, rtt.rttvar) == (0.100, 0.100, 0.100, 0.050)
    assert rtt.first_sample_time == 5.0


def test_rttvar_is_taken_from_the_smoothed_rtt_before_the_sample() -> None:
    rtt = RttEstimator()
    rtt.update(0.100, 0.0, now=0.0)
    rtt.update(0.180, 0.0, now=1.0)
    # The other order would give 0.75 * 0.05 + 0.25 * 0.07 = 0.055.
    assert rtt.rttvar == pytest.approx(0.75 * 0.050 + 0.25 * 0.080)
    assert rtt.smoothed_rtt == pytest.approx(0.875 * 0.100 + 0.125 * 0.180)
    assert rtt.first_sample_time == 0.0


@pytest.mark.parametrize(
    ("latest_rtt", "ack_delay", "adjusted_rtt"),
    [
        pytest.param(0.150, 0.020, 0.130, id="delay subtracted"),
        pytest.param(0.150, 0.040, 0.125, id="delay capped by the peer's maximum"),
        pytest.param(0.125, 0.025, 0.100, id="down to min_rtt exactly"),
        pytest.param(0.110, 0.020, 0.110, id="not below min_rtt"),
        pytest.param(0.090, 0.020, 0.090, id="a new minimum"),
    ],
)
def test_ack_delay(latest_rtt: float, ack_delay: float, adjusted_rtt: float) -> None:
    rtt = RttEstimator(max_ack_delay=0.025)
    rtt.update(0.100, 0.0, now=0.0)
    rtt.update(latest_rtt, ack_delay, now=1.0)
    assert rtt.smoothed_rtt == pytest.approx(0.875 * 0.100 + 0.125 * adjusted_rtt)
    assert rtt.min_rtt == min(0.100, latest_rtt)
    assert rtt.latest_rtt == latest_rtt


def test_min_rtt_is_refreshed_from_the_newest_sample() -> None:
    rtt = RttEstimator()
    rtt.update(0.100, 0.0, now=0.0)
    rtt.update(0.500, 0.0, now=1.0)
    rtt.refresh_min_rtt()
    assert rtt.min_rtt == 0.500


def test_reset_forgets_the_samples_and_keeps_the_peers_promise() -> None:
    rtt = RttEstimator(max_ack_delay=0.025)
    rtt.update(0.100, 0.0, now=0.0)
    rtt.reset()
    assert (rtt.smoothed_rtt, rtt.min_rtt, rtt.latest_rtt, rtt.first_sample_time) == (
        INITIAL_RTT,
        0.0,
        0.0,
        None,
    )
    assert rtt.max_ack_delay == 0.025


def test_loss_delay_is_nine_eighths_of_the_larger_rtt() -> None:
    rtt = RttEstimator()
    rtt.update(0.080, 0.0, now=0.0)
    assert rtt.loss_delay() == pytest.approx(0.090)
    rtt.update(0.160, 0.0, now=1.0)
    assert rtt.loss_delay() == pytest.approx(0.180)
    rtt.update(0.080, 0.0, now=2.0)
    assert rtt.loss_delay() == pytest.approx(rtt.smoothed_rtt * 9 / 8)


def test_periods_are_never_below_the_grain_of_timers() -> None:
    rtt = RttEstimator()
    for now in range(50):
        rtt.update(0.000_020, 0.0, now=float(now))
    assert rtt.loss_delay() == GRANULARITY
    assert rtt.probe_timeout() == pytest.approx(0.000_020 + GRANULARITY)


SAMPLES = st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 1.0)), min_size=1, max_size=50)


@given(SAMPLES, st.floats(0.0, 0.5))
def test_the_estimate_stays_within_the_samples(
    samples: list[tuple[float, float]], max_ack_delay: float
) -> None:
    rtt = RttEstimator(max_ack_delay)
    for number, (latest_rtt, ack_delay) in enumerate(samples):
        rtt.update(latest_rtt, ack_delay, now=float(number))
        values = [value for value, _ in samples[: number + 1]]
        assert rtt.min_rtt == min(values)
        assert min(values) - 1e-9 <= rtt.smoothed_rtt <= max(values) + 1e-9
        assert 0.0 <= rtt.rttvar <= max(values) + 1e-9
