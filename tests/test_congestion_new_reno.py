"""NewReno against RFC 9002 section 7 and appendix B, step by step."""

from __future__ import annotations

import pytest

from rudp.congestion import AckSample, LossEvent
from rudp.congestion.new_reno import NewReno
from tests.bottleneck import Path, World, goodput, queue_seen

SIZE = 1_200
RTT = 0.1


class Steps:
    """Send, acknowledge and lose in bytes; what isn't in flight can be neither acknowledged nor lost."""

    def __init__(self) -> None:
        self.controller = NewReno(SIZE)
        self.in_flight = 0
        self.delivered = 0

    def send(self, size: int, now: float) -> None:
        self.controller.on_sent(size, self.in_flight, now)
        self.in_flight += size

    def fill(self, now: float) -> None:
        self.send(self.controller.congestion_window - self.in_flight, now)

    def ack(self, size: int, now: float, sent: float, *, app_limited: bool = False, ce: int = 0) -> int:
        assert size <= self.in_flight
        prior = self.in_flight
        self.in_flight -= size
        self.delivered += size
        self.controller.on_ack(
            AckSample(
                now=now,
                acked_bytes=size,
                lost_bytes=0,
                bytes_in_flight=self.in_flight,
                prior_in_flight=prior,
                oldest_time_sent=sent,
                newest_time_sent=sent,
                latest_rtt=RTT,
                smoothed_rtt=RTT,
                min_rtt=RTT,
                delivered=self.delivered,
                prior_delivered=self.delivered - size,
                delivery_rate=None,
                is_app_limited=app_limited,
                ecn_ce=ce,
            )
        )
        return self.controller.congestion_window

    def lose(self, size: int, now: float, sent: float) -> int:
        assert size <= self.in_flight
        prior = self.in_flight
        self.in_flight -= size
        self.controller.on_loss(LossEvent(now, size, sent, self.in_flight, prior))
        return self.controller.congestion_window


def test_slow_start_grows_by_what_is_acknowledged() -> None:
    steps = Steps()
    steps.fill(0.0)
    assert steps.ack(SIZE, RTT, 0.0) == 11 * SIZE
    assert steps.ack(9 * SIZE, RTT, 0.0) == 20 * SIZE, "section 7.3.1: a round trip doubles the window"


def test_loss_halves_once_a_recovery_period() -> None:
    steps = Steps()
    steps.fill(0.0)
    steps.ack(SIZE, 0.1, 0.0)
    steps.fill(0.1)
    assert steps.lose(SIZE, 0.11, 0.0) == 11 * SIZE // 2
    assert steps.controller.ssthresh == 11 * SIZE // 2
    assert steps.lose(SIZE, 0.12, 0.1) == 11 * SIZE // 2, "lost, but sent before the period began"
    assert steps.ack(SIZE, 0.13, 0.1) == 11 * SIZE // 2, "no growth by packets sent before it began"


def test_a_loss_of_what_was_sent_later_begins_a_new_period() -> None:
    steps = Steps()
    steps.fill(0.0)
    window = steps.lose(SIZE, 0.1, 0.0)
    steps.ack(9 * SIZE, 0.1, 0.0)
    steps.fill(0.2)
    assert steps.lose(SIZE, 0.3, 0.2) == window // 2


def test_congestion_avoidance_adds_a_packet_per_window() -> None:
    steps = Steps()
    steps.fill(0.0)
    window = steps.lose(SIZE, 0.1, 0.0)
    steps.ack(steps.in_flight, 0.1, 0.0)
    assert window == 5 * SIZE
    for packet in range(4):
        steps.fill(0.2)
        assert steps.ack(SIZE, 0.3, 0.2) == window, f"packet {packet} of the window"
    assert steps.ack(SIZE, 0.3, 0.2) == window + SIZE


def test_congestion_avoidance_counts_every_byte() -> None:
    """Acknowledging in odd pieces adds as many packets as acknowledging windows."""
    steps = Steps()
    steps.fill(0.0)
    steps.lose(SIZE, 0.1, 0.0)
    steps.ack(steps.in_flight, 0.1, 0.0)
    acked, now = 0, 1.0
    while steps.controller.congestion_window < 15 * SIZE:
        steps.fill(now)
        steps.ack(777, now + RTT, now)
        acked += 777
    assert acked == pytest.approx(sum(range(5, 15)) * SIZE, abs=777)


def test_the_window_stays_above_two_packets() -> None:
    steps = Steps()
    for step in range(6):
        steps.fill(float(step))
        steps.lose(SIZE, step + 0.5, float(step))
    assert steps.controller.congestion_window == 2 * SIZE


def test_persistent_congestion_returns_to_slow_start() -> None:
    steps = Steps()
    steps.fill(0.0)
    steps.lose(8 * SIZE, 1.0, 0.0)
    ssthresh = steps.controller.ssthresh
    steps.controller.on_persistent_congestion(1.0)
    assert steps.controller.congestion_window == 2 * SIZE
    assert steps.controller.ssthresh == ssthresh
    assert steps.ack(2 * SIZE, 1.0, 0.9) == 4 * SIZE, "appendix B.8: the recovery period is forgotten"


def test_an_underutilized_window_does_not_grow() -> None:
    """Section 7.8."""
    steps = Steps()
    steps.send(2 * SIZE, 0.0)
    assert steps.ack(2 * SIZE, 0.1, 0.0, app_limited=True) == 10 * SIZE
    steps.send(9 * SIZE, 0.2)
    assert steps.ack(9 * SIZE, 0.3, 0.2, app_limited=True) == 19 * SIZE, "slow start may, when half was used"
    steps.fill(0.4)
    assert steps.lose(SIZE, 0.5, 0.4) == 19 * SIZE // 2
    steps.ack(steps.in_flight, 0.5, 0.4)
    for _ in range(20):
        steps.send(5 * SIZE, 0.6)
        assert steps.ack(5 * SIZE, 0.7, 0.6, app_limited=True) == 19 * SIZE // 2


def test_pacing_is_not_underutilization() -> None:
    steps = Steps()
    steps.send(2 * SIZE, 0.0)
    assert steps.ack(2 * SIZE, 0.1, 0.0) == 12 * SIZE


def test_ce_marks_count_as_a_loss() -> None:
    """Appendix B.7; once a recovery period, as losses."""
    steps = Steps()
    steps.fill(0.0)
    assert steps.ack(SIZE, 0.1, 0.0, ce=1) == 5 * SIZE
    assert steps.ack(SIZE, 0.11, 0.0, ce=2) == 5 * SIZE
    assert steps.lose(SIZE, 0.12, 0.0) == 5 * SIZE


def test_pacing_rate_is_above_a_window_a_round_trip() -> None:
    steps = Steps()
    assert steps.controller.pacing_rate is None, "the initial window isn't paced before there is an RTT"
    steps.fill(0.0)
    steps.ack(SIZE, RTT, 0.0)
    assert steps.controller.pacing_rate == pytest.approx(2.0 * 11 * SIZE / RTT)
    steps.lose(SIZE, 0.11, 0.0)
    steps.ack(SIZE, 0.12, 0.0)
    assert steps.controller.pacing_rate == pytest.approx(1.25 * steps.controller.congestion_window / RTT)


def test_fills_a_link_without_loss() -> None:
    path = Path(12.5e6, 0.05, 12.5e6 * 0.05)
    world = World(path)
    flow = world.add(NewReno(1_400), seed=1)
    world.run(20.0)
    share = goodput(flow, 5.0, 20.0) / path.rate
    mean, highest = queue_seen(flow, 5.0, 20.0)
    queue = f"queue {mean / path.bdp():.2f} mean, {highest / path.bdp():.2f} most, in BDP"
    assert share > 0.95, f"{share:.3f} C; {queue}"


def test_shares_with_its_like() -> None:
    path = Path(12.5e6, 0.05, 12.5e6 * 0.05)
    world = World(path)
    flows = [world.add(NewReno(1_400), seed=seed, start=seed * 2.0) for seed in range(2)]
    world.run(60.0)
    shares = [goodput(flow, 20.0, 60.0) / path.rate for flow in flows]
    assert min(shares) > 0.3, f"{shares}"
    assert sum(shares) > 0.95, f"{shares}"
