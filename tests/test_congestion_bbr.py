"""BBR in a closed loop: the example test cases of draft-ietf-ccwg-bbr, and what the draft leaves open."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from rudp.congestion import LossEvent
from rudp.congestion.bbr import Bbr, State
from rudp.congestion.bbr_model import BETA, INFINITY, PathModel, inflight_at_loss
from tests.bottleneck import PACKET, Flow, Path, World, goodput, queue_seen
from tests.test_congestion_interface import sample

MBIT = 125_000.0


class Bench:
    """One BBR flow over one bottleneck, observed at a fine grain."""

    def __init__(
        self, mbit: float = 50, rtt: float = 0.04, queue_bdp: float = 2.0, seed: int = 1, **path: float
    ) -> None:
        bdp = mbit * MBIT * rtt
        self.path = Path(mbit * MBIT, rtt, max(queue_bdp * bdp, 30 * PACKET), **path)  # type: ignore[arg-type]
        self.world = World(self.path)
        self.bbr = Bbr(PACKET, random.Random(seed))
        self.flow: Flow = self.world.add(self.bbr, seed)
        self.states: list[tuple[float, State]] = [(0.0, self.bbr.state)]

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Run on for so long, or until something holds; whether it does."""
        end = self.world.now + seconds
        while self.world.now < end:
            if until is not None and until():
                return True
            self.world.run(self.world.now + 0.001)
            if self.bbr.state is not self.states[-1][1]:
                self.states.append((self.world.now, self.bbr.state))
        return until is not None and until()

    def reach(self, state: State, within: float = 20.0) -> None:
        assert self.run(within, lambda: self.bbr.state is state), self.states[-5:]

    def lose_a_probe(self) -> None:
        """Run until a probe has ended for what it lost."""
        self.reach(State.UP)
        assert self.run(20.0, lambda: self.bbr.probed_too_high and self.bbr.state is State.DOWN)

    def visited(self) -> list[State]:
        return [state for _, state in self.states]


def test_startup_ends_when_the_bandwidth_stops_growing() -> None:
    bench = Bench()
    bench.reach(State.DRAIN, 2.0)
    assert bench.bbr.full_bw_reached
    assert bench.bbr.path.max_bw == pytest.approx(bench.path.rate, rel=0.05), "ACKs come for ten packets"
    assert bench.visited() == [State.STARTUP, State.DRAIN]


def test_startup_goes_on_while_the_application_holds_back() -> None:
    bench = Bench()
    bench.flow.app_rate = 1 * MBIT
    bench.run(4.0)
    assert bench.visited() == [State.STARTUP]


def test_startup_ends_by_loss_though_the_application_holds_back() -> None:
    bench = Bench()
    bench.flow.app_rate = 10 * MBIT
    bench.run(0.5)
    assert bench.bbr.state is State.STARTUP
    bench.path.loss = 0.2
    assert bench.run(1.0, lambda: bench.bbr.state is not State.STARTUP)
    assert bench.bbr.path.inflight_longterm < INFINITY


def test_drain_ends_when_the_flight_fits_the_path() -> None:
    bench = Bench()
    bench.reach(State.DRAIN)
    assert bench.run(0.5, lambda: bench.bbr.state is not State.DRAIN)
    assert bench.bbr.state in (State.DOWN, State.CRUISE)
    assert bench.flow.in_flight <= bench.bbr.path.bdp + 2 * 46 * PACKET


def test_drain_ends_after_three_rounds_at_the_latest() -> None:
    bench = Bench(queue_bdp=20)
    bench.reach(State.DRAIN)
    bench.path.rate *= 0.3
    assert bench.run(3.0, lambda: bench.bbr.state is not State.DRAIN)
    assert bench.flow.in_flight > 2 * bench.path.bdp()


def test_the_cycle() -> None:
    bench = Bench()
    bench.run(12.0)
    steps = set(pairwise(bench.visited()[2:]))
    assert {(State.UP, State.DOWN), (State.REFILL, State.UP), (State.CRUISE, State.REFILL)} <= steps
    assert steps <= {
        (State.CRUISE, State.REFILL), (State.REFILL, State.UP), (State.UP, State.DOWN), (State.DOWN, State.CRUISE),
        (State.UP, State.CRUISE), (State.CRUISE, State.PROBE_RTT), (State.PROBE_RTT, State.CRUISE),
    }  # fmt: skip
    ups = [time for time, state in bench.states if state is State.UP]
    assert len(ups) >= 2
    assert all(2.0 <= later - earlier <= 4.5 for earlier, later in pairwise(ups))


def test_it_fills_a_clean_link_with_a_short_queue() -> None:
    bench = Bench()
    bench.run(20.0)
    assert goodput(bench.flow, 5.0, 20.0) >= 0.93 * bench.path.rate
    mean, _ = queue_seen(bench.flow, 5.0, 20.0)
    assert mean <= 0.25 * bench.path.bdp()
    assert bench.flow.lost <= 0.002 * bench.flow.total_sent


def test_a_probe_that_loses_is_ended_and_remembered() -> None:
    bench = Bench(queue_bdp=0.1)
    bench.lose_a_probe()
    longterm = bench.bbr.path.inflight_longterm
    assert 0.6 * bench.path.bdp() <= longterm <= 1.6 * bench.path.bdp()
    bench.reach(State.CRUISE)
    assert bench.bbr.congestion_window <= 0.86 * bench.bbr.path.inflight_longterm


def test_after_a_probe_that_lost_the_next_only_touches_the_bound() -> None:
    """Precautionary probing: the one after the loss stops at the bound; without loss a full one follows at once."""
    bench = Bench(queue_bdp=0.1)
    bench.lose_a_probe()
    bench.path.queue = 2 * bench.path.bdp()
    bench.reach(State.UP)
    began = bench.world.now
    bench.reach(State.DOWN)
    assert bench.world.now - began < 3 * bench.path.rtt, "a precautionary probe is short"
    bench.reach(State.REFILL, 1.0)


def test_min_rtt_is_probed() -> None:
    bench = Bench()
    bench.run(4.0)
    bench.reach(State.PROBE_RTT, 10.0)
    began = bench.world.now
    bench.run(0.1)
    assert bench.bbr.congestion_window <= 0.5 * bench.bbr.path.bdp + PACKET
    assert bench.run(2.0, lambda: bench.bbr.state is not State.PROBE_RTT)
    assert 0.2 <= bench.world.now - began <= 0.2 + 4 * bench.path.rtt
    assert bench.bbr.state is State.CRUISE
    assert bench.bbr.path.min_rtt == pytest.approx(bench.path.rtt, rel=0.15)


def test_idleness_serves_as_a_probe_of_min_rtt() -> None:
    bench = Bench()
    bench.run(4.0)
    bench.flow.app_rate, bench.flow.app_sent = 1.0, int(bench.world.now)
    bench.run(6.0)
    bench.flow.app_rate = None
    before = len(bench.states)
    bench.run(0.2)
    assert State.PROBE_RTT not in bench.visited()[before:]


def test_min_rtt_probed_in_startup_goes_back_to_startup() -> None:
    bench = Bench()
    bench.flow.app_rate = 1 * MBIT
    bench.reach(State.PROBE_RTT, 12.0)
    bench.run(1.0, lambda: bench.bbr.state is not State.PROBE_RTT)
    assert bench.bbr.state is State.STARTUP


def test_a_path_smaller_than_a_packet_has_four_in_flight() -> None:
    bench = Bench(mbit=0.5, rtt=0.01)
    bench.run(15.0)
    assert bench.bbr.full_bw_reached
    assert bench.bbr.congestion_window >= 4 * PACKET
    assert goodput(bench.flow, 5.0, 15.0) >= 0.9 * bench.path.rate


def test_ten_times_the_bandwidth_is_found() -> None:
    bench = Bench(mbit=10)
    bench.run(5.0)
    bench.path.rate *= 10
    bench.path.queue *= 10
    bench.run(12.0)
    assert goodput(bench.flow, 13.0, 17.0) >= 0.9 * bench.path.rate


def test_a_tenth_of_the_bandwidth_is_accepted() -> None:
    bench = Bench(mbit=100)
    bench.run(5.0)
    bench.path.rate /= 10
    bench.path.queue /= 10
    bench.run(15.0)
    assert bench.bbr.path.max_bw == pytest.approx(bench.path.rate, rel=0.05)
    mean, _ = queue_seen(bench.flow, 12.0, 20.0)
    assert mean <= bench.path.queue


def test_a_loss_that_was_none_is_undone() -> None:
    bench = Bench()
    bench.run(4.0)
    bench.reach(State.CRUISE)
    window = bench.bbr.congestion_window
    bench.path.loss = 0.3
    bench.run(0.005)
    bench.path.loss = 0.0
    assert bench.run(0.5, lambda: bench.bbr.path.bw_shortterm < INFINITY)
    bench.bbr.on_loss_undone(bench.world.now)
    assert bench.bbr.path.bw_shortterm == INFINITY
    assert bench.bbr.congestion_window >= 0.95 * window


def test_what_a_loss_undoes_is_what_held_before_it_and_not_before_an_earlier_one() -> None:
    """After an undo the next loss begins another episode, whenever its packets were sent."""
    bench = Bench()
    bench.run(4.0)
    bbr, now = bench.bbr, bench.world.now
    event = LossEvent(now, PACKET, now - 0.01, 10 * PACKET, 11 * PACKET)
    bbr.path.inflight_longterm = INFINITY
    bbr.on_loss(event)
    bbr.on_loss_undone(now)
    bbr.path.inflight_longterm = 50.0 * PACKET
    bbr.on_loss(event._replace(now=now + 0.01))
    bbr.on_loss_undone(now + 0.02)
    assert bbr.path.inflight_longterm == 50.0 * PACKET


def test_a_probe_ended_by_a_loss_that_was_none_begins_again() -> None:
    bench = Bench(queue_bdp=0.1)
    bench.lose_a_probe()
    bench.bbr.on_loss_undone(bench.world.now)
    assert bench.bbr.state is State.REFILL


def test_ce_marks_end_startup_and_probes() -> None:
    marked, clean = Bench(mark_above=20 * PACKET, queue_bdp=4), Bench(queue_bdp=4)
    for bench in (marked, clean):
        bench.run(12.0)
    assert goodput(marked.flow, 4.0, 12.0) >= 0.75 * marked.path.rate
    assert queue_seen(marked.flow, 4.0, 12.0)[0] < 0.6 * queue_seen(clean.flow, 4.0, 12.0)[0]


def test_two_flows_share() -> None:
    bdp = 50 * MBIT * 0.04
    world = World(Path(50 * MBIT, 0.04, 2 * bdp))
    flows = [world.add(Bbr(PACKET, random.Random(seed)), seed, start=2.0 * seed) for seed in range(2)]
    world.run(40.0)
    shares = [goodput(flow, 20.0, 40.0) / world.path.rate for flow in flows]
    assert sum(shares) >= 0.9
    assert min(shares) >= 0.25, shares


def test_where_in_a_train_the_losses_crossed_the_threshold() -> None:
    """The draft's example: 2 % of what was in flight before the point are lost at the point."""
    event = LossEvent(1.0, 10_000, 0.9, 0, 0, lost_since_sent=10_000, tx_in_flight=100_000)
    at = inflight_at_loss(event)
    assert at - 90_000 == pytest.approx(0.02 * at)


def test_short_term_bounds_fall_by_beta_at_most() -> None:
    path = PathModel()
    path.take_rates(sample(0.1, 10_000, 10_000, delivery_rate=1e6), probing=True, window=50_000)
    path.end_of_ack(sample(0.1, 10_000, 10_000, delivery_rate=1e6))
    path.note_congestion(1_000, 10_000)
    slow = sample(0.3, 1_000, 11_000, delivery_rate=1e5, prior_delivered=10_000)
    path.take_rates(slow, probing=False, window=50_000)
    assert path.bw_shortterm == pytest.approx(max(1e5, BETA * 1e6), rel=0.5)
    assert path.bw_shortterm >= BETA * path.max_bw
    assert path.inflight_shortterm >= BETA * 50_000
