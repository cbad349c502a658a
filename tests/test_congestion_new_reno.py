"""NewReno against RFC 9002 section 7 and appendix B, step by step; and what it shares with CUBIC: reduction, undo,
restart after a pause, pacing.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rudp.congestion import CongestionController
from rudp.congestion.cubic import Cubic
from rudp.congestion.new_reno import NewReno
from tests.bottleneck import Path, World, goodput, queue_seen
from tests.congestion_steps import RTT, SIZE, Steps

BOTH = pytest.mark.parametrize(("controller", "share"), [(NewReno, 0.5), (Cubic, 0.7)])


def test_slow_start_grows_by_what_is_acknowledged() -> None:
    steps = Steps(NewReno)
    steps.fill(0.0)
    assert steps.ack(SIZE, RTT, 0.0) == 11 * SIZE
    assert steps.ack(9 * SIZE, RTT, 0.0) == 20 * SIZE, "section 7.3.1: a round trip doubles the window"


@BOTH
def test_one_reduction_a_recovery_period(controller: type[CongestionController], share: float) -> None:
    steps = Steps(controller)
    steps.fill(0.0)
    steps.ack(SIZE, 0.1, 0.0)
    steps.fill(0.1)
    steps.ack(SIZE, 0.11, 0.0, lost=SIZE)
    ssthresh = int(11 * SIZE * share)
    assert steps.controller.ssthresh == ssthresh
    steps.ack(SIZE, 0.12, 0.1, lost=SIZE)
    assert steps.controller.ssthresh == ssthresh, "lost, but sent before the period began"
    steps.ack(steps.in_flight, 0.13, 0.1)
    assert steps.window <= ssthresh, "no growth by packets sent before it began"
    steps.send(SIZE, 0.2)
    assert steps.ack(SIZE, 0.3, 0.2, oldest=0.1) == ssthresh, "RFC 9937 section 6.4"


@BOTH
def test_a_loss_of_what_was_sent_later_begins_a_new_period(
    controller: type[CongestionController], share: float
) -> None:
    steps = Steps(controller)
    steps.fill(0.0)
    steps.lose(SIZE, 0.1, 0.0)
    first = steps.controller.ssthresh
    assert first == int(10 * SIZE * share)
    steps.ack(9 * SIZE, 0.1, 0.0)
    steps.fill(0.2)
    steps.lose(SIZE, 0.3, 0.2)
    assert steps.controller.ssthresh == int(first * share)


@BOTH
def test_the_window_is_reduced_over_a_round_trip(controller: type[CongestionController], share: float) -> None:
    """RFC 9937: of what is delivered a share is sent, from the first ACK on; an abrupt reduction would stop it."""
    steps = Steps(controller)
    steps.fill(0.0)
    steps.ack(10 * SIZE, 0.1, 0.0)
    flight = steps.fill(0.1)
    assert flight == 20 * SIZE
    steps.ack(SIZE, 0.2, 0.1, lost=SIZE)
    sent = steps.fill(0.2)
    for _ in range(17):
        steps.ack(SIZE, 0.2, 0.1)
        sent += steps.fill(0.2)
        assert sent <= 19 * SIZE
    assert steps.in_flight == pytest.approx(20 * SIZE * share, abs=SIZE)
    assert sent == pytest.approx(19 * SIZE * share, abs=SIZE)


def test_congestion_avoidance_adds_a_packet_per_window() -> None:
    steps = Steps(NewReno)
    window = steps.recover(SIZE, 0.0)
    assert window == 5 * SIZE
    for packet in range(4):
        steps.fill(1.0)
        assert steps.ack(SIZE, 1.1, 1.0) == window, f"packet {packet} of the window"
    assert steps.ack(SIZE, 1.1, 1.0) == window + SIZE


def test_congestion_avoidance_counts_every_byte() -> None:
    """Acknowledging in odd pieces adds as many packets as acknowledging windows."""
    steps = Steps(NewReno)
    steps.recover(SIZE, 0.0)
    acked, now = 0, 1.0
    while steps.window < 15 * SIZE:
        steps.fill(now)
        steps.ack(777, now + RTT, now)
        acked += 777
    assert acked == pytest.approx(sum(range(5, 15)) * SIZE, abs=777)


@BOTH
def test_the_window_stays_above_two_packets(controller: type[CongestionController], share: float) -> None:
    steps = Steps(controller)
    for step in range(12):
        steps.fill(float(step))
        assert steps.lose(SIZE, step + 0.5, float(step)) >= 2 * SIZE
    assert steps.controller.ssthresh == 2 * SIZE, share


@BOTH
def test_persistent_congestion_returns_to_slow_start(controller: type[CongestionController], share: float) -> None:
    steps = Steps(controller)
    steps.fill(0.0)
    steps.lose(8 * SIZE, 1.0, 0.0)
    steps.controller.on_persistent_congestion(1.0)
    assert steps.window == 2 * SIZE
    assert steps.controller.ssthresh == int(10 * SIZE * share)
    assert steps.ack(2 * SIZE, 1.0, 0.9) == 4 * SIZE, "appendix B.8: the recovery period is forgotten"
    steps.controller.on_loss_undone(1.1)
    assert steps.window == 4 * SIZE, "and isn't undone"


def test_an_underutilized_window_does_not_grow() -> None:
    """Section 7.8."""
    steps = Steps(NewReno)
    steps.send(2 * SIZE, 0.0)
    assert steps.ack(2 * SIZE, 0.1, 0.0, app_limited=True) == 10 * SIZE
    steps.send(9 * SIZE, 0.2)
    assert steps.ack(9 * SIZE, 0.3, 0.2, app_limited=True) == 19 * SIZE, "slow start may, when half was used"
    window = steps.recover(SIZE, 0.4)
    for _ in range(20):
        steps.send(5 * SIZE, 1.0)
        assert steps.ack(5 * SIZE, 1.1, 1.0, app_limited=True) == window


def test_pacing_is_not_underutilization() -> None:
    steps = Steps(NewReno)
    steps.send(2 * SIZE, 0.0)
    assert steps.ack(2 * SIZE, 0.1, 0.0) == 12 * SIZE


@BOTH
def test_ce_marks_count_as_a_loss(controller: type[CongestionController], share: float) -> None:
    """Appendix B.7; once a recovery period, as losses."""
    steps = Steps(controller)
    steps.fill(0.0)
    steps.ack(SIZE, 0.1, 0.0, ce=1)
    ssthresh = int(10 * SIZE * share)
    assert steps.controller.ssthresh == ssthresh
    steps.ack(SIZE, 0.11, 0.0, ce=2)
    steps.lose(SIZE, 0.12, 0.0)
    assert steps.controller.ssthresh == ssthresh
    steps.send(SIZE, 0.2)
    assert steps.ack(SIZE, 0.3, 0.2) == ssthresh, "and the window arrives there in a round trip"


@BOTH
def test_losses_that_were_none_are_undone(controller: type[CongestionController], share: float) -> None:
    """RFC 9438 section 4.9.2: window, threshold and growth go on from where they were."""
    steps = Steps(controller)
    steps.fill(0.0)
    steps.ack(10 * SIZE, 0.1, 0.0)
    steps.fill(0.1)
    steps.ack(SIZE, 0.2, 0.1, lost=4 * SIZE)
    assert steps.controller.ssthresh == int(20 * SIZE * share)
    steps.controller.on_spurious_loss(4 * SIZE, 0.21)
    steps.controller.on_loss_undone(0.21)
    assert steps.window == 20 * SIZE
    assert steps.controller.ssthresh == float("inf")
    assert steps.ack(SIZE, 0.22, 0.1) == 21 * SIZE, "the recovery period is over and slow start goes on"
    steps.controller.on_loss_undone(0.23)
    assert steps.window == 21 * SIZE, "there is nothing more to undo"


@BOTH
def test_a_reaction_to_ce_marks_is_not_undone(controller: type[CongestionController], share: float) -> None:
    steps = Steps(controller)
    steps.fill(0.0)
    steps.ack(SIZE, 0.1, 0.0, lost=SIZE)
    steps.ack(SIZE, 0.11, 0.0, ce=1)
    steps.controller.on_loss_undone(0.12)
    assert steps.controller.ssthresh == int(10 * SIZE * share)


@BOTH
def test_a_window_that_has_grown_back_is_kept(controller: type[CongestionController], share: float) -> None:
    steps = Steps(controller)
    window = steps.recover(SIZE, 0.0)
    now = 1.0
    while steps.window < 12 * SIZE:
        steps.fill(now)
        steps.ack(steps.in_flight, now + RTT, now)
        now += RTT
    grown = steps.window
    steps.controller.on_loss_undone(now)
    assert steps.window == grown > window, share


@BOTH
def test_a_pause_restarts_from_the_initial_window(controller: type[CongestionController], share: float) -> None:
    """RFC 5681 section 4.1; of the threshold, three quarters of the window are kept (RFC 7661 section 4.4.3)."""
    steps = Steps(controller)
    steps.fill(0.0)
    now = 0.1
    while steps.window < 100 * SIZE:
        steps.ack(steps.in_flight, now, now - RTT)
        steps.fill(now)
        now += RTT
    steps.recover(SIZE, now)
    window = steps.window
    steps.controller.on_idle_restart(0.9, now + 2)
    assert steps.window == window, "shorter than the shortest retransmission timeout"
    steps.controller.on_idle_restart(1.1, now + 4)
    assert steps.window == 10 * SIZE, share
    assert steps.controller.ssthresh >= int(0.75 * window)
    assert steps.controller.pacing_rate == pytest.approx(2.0 * 10 * SIZE / RTT)
    steps.fill(now + 4)
    assert steps.ack(10 * SIZE, now + 4 + RTT, now + 4) == 20 * SIZE, "slow start"


@BOTH
def test_a_pause_before_any_loss_sets_no_threshold(controller: type[CongestionController], share: float) -> None:
    steps = Steps(controller)
    steps.fill(0.0)
    steps.ack(10 * SIZE, 0.1, 0.0)
    steps.controller.on_idle_restart(60.0, 60.1)
    assert steps.window == 10 * SIZE
    assert steps.controller.ssthresh == float("inf"), share


@BOTH
def test_a_pause_never_widens_a_window(controller: type[CongestionController], share: float) -> None:
    steps = Steps(controller)
    for step in range(12):
        steps.fill(float(step))
        steps.lose(SIZE, step + 0.5, float(step))
    steps.controller.on_persistent_congestion(12.0)
    steps.controller.on_idle_restart(60.0, 72.0)
    assert steps.window == 2 * SIZE, share


def test_pacing_rate_is_above_a_window_a_round_trip() -> None:
    steps = Steps(NewReno)
    assert steps.controller.pacing_rate is None, "the initial window isn't paced before there is an RTT"
    steps.fill(0.0)
    steps.ack(SIZE, RTT, 0.0)
    assert steps.controller.pacing_rate == pytest.approx(2.0 * 11 * SIZE / RTT)
    steps.lose(SIZE, 0.11, 0.0)
    steps.ack(SIZE, 0.12, 0.0)
    assert steps.controller.pacing_rate == pytest.approx(1.25 * steps.window / RTT)


STEPS = st.lists(
    st.tuples(st.sampled_from("safaaalcrup"), st.integers(1, 40_000), st.booleans()), min_size=1, max_size=80
)


# A window of two packets, of which a few bytes are used, outside of slow start.
UNUSED = [(action, size, False) for action, size in (("s", 1), ("p", 1), ("l", 1), ("s", 3), ("a", 1), ("a", 2))]


@BOTH
@given(actions=STEPS)
@example(actions=UNUSED)
def test_whatever_happens(
    controller: type[CongestionController], share: float, actions: list[tuple[str, int, bool]]
) -> None:
    """Never below two packets; never grown by an ACK of a window that wasn't filled."""
    steps = Steps(controller)
    now = sent = 0.0
    for action, size, flag in actions:
        now += 0.01
        before, was_recovering = steps.window, steps.controller.in_recovery  # type: ignore[attr-defined]
        prior = steps.in_flight
        if action in "sf":
            steps.send(min(size, max(0, steps.window - steps.in_flight)) or 1, now)
            sent = now
        elif action == "a" and prior:
            size = min(size, prior)
            window = steps.ack(size, now, sent - (0.02 if flag else 0.0), app_limited=True)
            unused = prior + before // 2 < before
            if unused and not was_recovering:
                assert window == before, share
        elif action == "l" and prior:
            steps.lose(min(size, prior), now, sent)
        elif action == "c" and prior:
            steps.ack(min(size, prior), now, sent, ce=1)
        elif action == "r":
            steps.controller.on_idle_restart(size / 10_000, now)
            assert steps.window <= max(before, steps.controller.ssthresh if was_recovering else 0)
        elif action == "u":
            steps.controller.on_spurious_loss(size, now)
            steps.controller.on_loss_undone(now)
            assert steps.window >= before
        elif action == "p":
            steps.controller.on_persistent_congestion(now)
        assert steps.window >= 2 * SIZE
        assert steps.controller.ssthresh >= 2 * SIZE
        rate = steps.controller.pacing_rate
        assert rate is None or rate > 0.0


@BOTH
def test_fills_a_link_without_loss(controller: type[CongestionController], share: float) -> None:
    path = Path(12.5e6, 0.05, 12.5e6 * 0.05)
    world = World(path)
    flow = world.add(controller(1_400), seed=1)
    world.run(20.0)
    got = goodput(flow, 5.0, 20.0) / path.rate
    mean, highest = queue_seen(flow, 5.0, 20.0)
    queue = f"queue {mean / path.bdp():.2f} mean, {highest / path.bdp():.2f} most, in BDP"
    assert got > 0.95, f"{got:.3f} C; {queue}; {share}"


@BOTH
def test_shares_with_its_like(controller: type[CongestionController], share: float) -> None:
    path = Path(12.5e6, 0.05, 12.5e6 * 0.05)
    world = World(path)
    flows = [world.add(controller(1_400), seed=seed, start=seed * 2.0) for seed in range(2)]
    world.run(60.0)
    shares = [goodput(flow, 20.0, 60.0) / path.rate for flow in flows]
    assert min(shares) > 0.3, f"{shares} {share}"
    assert sum(shares) > 0.95, f"{shares}"
