"""CUBIC against RFC 9438: its formulas, computed here by themselves, and the times that don't count.

Windows of the formulas are packets, times seconds. What CUBIC shares with NewReno is in test_congestion_new_reno.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rudp.congestion import CongestionController
from rudp.congestion.cubic import Cubic
from tests.bottleneck import PACKET, Path, World
from tests.congestion_steps import RTT, SIZE, Steps

C = 0.4
BETA = 0.7
ALPHA = 3 * 0.3 / 1.7
TICKS = 20
"""ACKs a round trip."""


class Alone(Cubic):
    """Without fast convergence, as section 4.7 has it for a flow that is known to be alone."""

    __slots__ = ()
    fast_convergence = False


def cubic(t: float, w_max: float, w_epoch: float) -> float:
    """Figures 1 and 2 of RFC 9438."""
    k = ((w_max - w_epoch) / C) ** (1 / 3)
    return float(C * (t - k) ** 3 + w_max)


class Life:
    """A full window in flight at all times, acknowledged evenly."""

    def __init__(self, controller: type[CongestionController] = Cubic) -> None:
        self.steps = Steps(controller)
        self.now = 0.0

    @property
    def packets(self) -> float:
        return self.steps.window / SIZE

    def run(self, seconds: float, **fields: bool) -> Iterator[tuple[float, float]]:
        """Acknowledge for so long; yields the seconds passed and the window in packets, every ACK."""
        steps = self.steps
        steps.fill(self.now)
        for tick in range(1, round(seconds / RTT * TICKS) + 1):
            self.now += RTT / TICKS
            steps.ack(max(steps.in_flight // TICKS, 1), self.now, self.now - RTT, **fields)  # type: ignore[arg-type]
            steps.fill(self.now)
            yield tick * RTT / TICKS, self.packets

    def live(self, seconds: float, **fields: bool) -> float:
        """The same, and return the window at the end."""
        for _ in self.run(seconds, **fields):
            pass
        return self.packets

    def slow_start(self, packets: float) -> None:
        while self.packets < packets:
            self.live(RTT / TICKS)

    def event(self) -> None:
        """Lose a packet and see the recovery period through; a stage of congestion avoidance begins."""
        steps, lost_at = self.steps, self.now
        steps.fill(lost_at)
        steps.ack(SIZE, lost_at, lost_at - RTT, lost=SIZE)
        left = steps.in_flight
        while left:
            acked = min(SIZE, left)
            steps.ack(acked, lost_at + RTT, lost_at)
            left -= acked
            steps.fill(lost_at + RTT)
        self.now = lost_at + 2 * RTT
        steps.ack(SIZE, self.now, lost_at + RTT)
        steps.fill(self.now)


@pytest.mark.parametrize("w_max", [200, 1_000, 5_000])
def test_the_window_follows_the_cubic_function(w_max: int) -> None:
    """Sections 4.2, 4.4 and 4.5: concave up to W_max at t = K, convex beyond; while Reno would be slower."""
    life = Life()
    life.slow_start(w_max)
    top = life.packets
    life.event()
    start = life.packets
    assert start == pytest.approx(BETA * top, abs=1.0)
    k = (0.3 * top / C) ** (1 / 3)
    seen = list(life.run(1.5 * k))
    reno = [start + ALPHA * t / RTT for t, _ in seen]
    followed = 0
    for (t, window), slower in zip(seen, reno, strict=True):
        expected = cubic(t, top, start)
        if expected > slower + 2 and t > RTT:
            assert window == pytest.approx(expected, rel=0.02), f"at {t:.2f} s, K {k:.2f} s"
            followed += 1
    assert followed > len(seen) / 3
    at_k = min(seen, key=lambda entry: abs(entry[0] - k))[1]
    assert at_k == pytest.approx(top, rel=0.01)
    assert max(window for t, window in seen if t < k) <= top * 1.001, "no overshoot before"


def test_the_reno_friendly_region() -> None:
    """Section 4.3: 0.53 packets a round trip until the window of the event, one beyond."""
    life = Life()
    life.slow_start(20)
    top = life.packets
    life.event()
    start = life.packets
    seen = list(life.run(4.0))
    expected = start
    for t, window in seen:
        expected += (ALPHA if expected < top else 1.0) / TICKS
        if expected > cubic(t, top, start):
            assert window == pytest.approx(expected, abs=1.0), f"at {t:.2f} s"
    assert seen[-1][1] > top + 5


def test_alpha_gives_the_average_of_reno() -> None:
    """Section 4.3: AIMD(alpha, 0.7) and AIMD(1, 0.5) have the same average window, by figure 3."""
    assert pytest.approx(1.0 * 1.5 / 0.5) == ALPHA * (1 + BETA) / (1 - BETA)


@pytest.mark.parametrize(("controller", "plateau"), [(Cubic, 0.85), (Alone, 1.0)])
def test_fast_convergence(controller: type[CongestionController], plateau: float) -> None:
    """Section 4.7: an event below the window of the last one moves the plateau to 85 % of the window."""
    life = Life(controller)
    life.slow_start(2_000)
    life.event()
    life.live(0.5)
    top = life.packets
    life.event()
    k = ((plateau * top - life.packets) / C) ** (1 / 3)
    assert life.live(k) == pytest.approx(plateau * top, rel=0.01)
    assert life.live(1.0) == pytest.approx(plateau * top + C, rel=0.01), "flat there"


@pytest.mark.parametrize("pause", ["idle", "unused"])
def test_time_that_does_not_count(pause: str) -> None:
    """Sections 4.2 and 5.8: t is not what passed while nothing was in flight, or the window wasn't filled."""
    windows = []
    for paused in (False, True):
        life = Life()
        life.slow_start(1_000)
        life.event()
        life.live(3.0)
        if paused and pause == "idle":
            life.steps.ack(life.steps.in_flight, life.now, life.now - RTT)
            life.now += 20.0
        elif paused:
            life.steps.ack(life.steps.in_flight, life.now, life.now - RTT)
            for _ in range(200):
                life.steps.send(SIZE, life.now)
                life.now += RTT
                life.steps.ack(SIZE, life.now, life.now - RTT, app_limited=True)
        windows.append(life.live(3.0))
    assert windows[1] == pytest.approx(windows[0], rel=0.03)


def test_a_stage_without_an_event_begins_at_its_plateau() -> None:
    """Section 4.8: after persistent congestion K is 0 and W_max the window that slow start ended with."""
    life = Life()
    life.slow_start(1_000)
    life.event()
    ssthresh = life.steps.controller.ssthresh
    life.steps.controller.on_persistent_congestion(life.now)
    life.steps.in_flight = 0
    while life.steps.window < ssthresh:
        life.live(RTT / TICKS)
    start = life.packets
    for t, window in life.run(5.0):
        assert window == pytest.approx(max(start + C * t**3, start + t / RTT), abs=4)


@pytest.mark.parametrize("top", [20, 1_000])
def test_after_a_pause_slow_start_ends_in_another_stage(top: int) -> None:
    """Not in the one before, whose window was another: it would be there at one stroke."""
    life = Life()
    life.slow_start(top)
    life.event()
    life.live(2.0)
    before = life.packets
    life.steps.ack(life.steps.in_flight, life.now, life.now - RTT)
    life.now += 20.0
    life.steps.controller.on_idle_restart(20.0, life.now)
    assert life.packets == 10
    life.slow_start(life.steps.controller.ssthresh / SIZE)
    for _ in range(TICKS // 2):
        window = life.packets
        assert life.live(RTT / TICKS) <= window * (1 + 0.5 / TICKS) + 1, "half a window a round trip at most"
    assert life.packets < 0.95 * before


def test_growth_is_half_a_window_a_round_trip_at_most() -> None:
    """Section 4.2: target is at most 1.5 windows, however long ago the event."""
    life = Life()
    life.slow_start(20)
    life.event()
    life.live(1.0)
    life.now += 30.0  # An outage, with data in flight: it counts.
    factors = []
    for _ in range(12):
        before = life.packets
        factors.append(life.live(RTT) / before)
    assert max(factors) <= (1 + 0.5 / TICKS) ** TICKS
    assert min(factors[:10]) > 1.5, "as long as it is behind"


def test_an_event_that_was_none_leaves_no_trace() -> None:
    """Section 4.9.2: W_max, K and the start of the stage are restored, so the window goes on along its curve."""
    life = Life()
    life.slow_start(1_000)
    top = life.packets
    life.event()
    start = life.packets
    life.live(2.0)
    steps = life.steps
    steps.ack(SIZE, life.now, life.now - RTT, lost=SIZE)
    assert steps.controller.ssthresh < 0.75 * top * SIZE
    steps.controller.on_spurious_loss(SIZE, life.now)
    steps.controller.on_loss_undone(life.now)
    for t, window in life.run(4.0):
        assert window == pytest.approx(cubic(2.0 + t, top, start), rel=0.02)


def lost_in_start_up(controller: type[CongestionController], queue: float) -> int:
    path = Path(12.5e6, 0.05, 12.5e6 * 0.05 * queue)
    world = World(path)
    flow = world.add(controller(PACKET), seed=1)
    world.run(1.5)
    return flow.lost


class PlainSlowStart(Cubic):
    """Slow start that only a loss ends."""

    __slots__ = ()

    def _grow(self, sample) -> None:  # type: ignore[no-untyped-def]
        if self._in_first_slow_start:
            self.congestion_window += sample.acked_bytes
        else:
            super()._grow(sample)


@pytest.mark.parametrize("queue", [1.0, 2.0])
def test_hystart_loses_less(queue: float) -> None:
    with_it, without = lost_in_start_up(Cubic, queue), lost_in_start_up(PlainSlowStart, queue)
    assert with_it < 0.7 * without, f"{with_it} packets with, {without} without"


def test_hystart_may_end_slow_start_without_a_loss() -> None:
    """Section 4.10: then W_max and cwnd_prior are the window, K is 0."""
    path = Path(12.5e6, 0.05, 12.5e6 * 0.05 * 8)
    world = World(path)
    flow = world.add(Cubic(PACKET), seed=1)
    while flow.controller.ssthresh == float("inf"):
        world.run(world.now + 0.01)
    assert not flow.lost
    assert flow.controller.congestion_window >= flow.controller.ssthresh > path.bdp()
    before = flow.controller.congestion_window
    world.run(world.now + 1.0)
    assert not flow.lost
    assert 0 <= (flow.controller.congestion_window - before) / PACKET < 20
