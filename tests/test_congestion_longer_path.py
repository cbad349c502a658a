"""A path that becomes longer is known by an RTT that stays however much is taken away, and nothing else is."""

from __future__ import annotations

import random

import pytest

from rudp.congestion import CongestionController
from rudp.congestion.base_rtt import BaseRtt
from rudp.congestion.cubic import Cubic
from rudp.congestion.longer_path import FLAT_LEAST, LESS, ROUNDS, LongerPath
from rudp.congestion.model import Model
from tests.bottleneck import PACKET, Flow, Path, World, goodput

MBIT = 125_000.0
BASE = 0.02
WANTED = 0.002


class Watched(Model):
    """Counts how often it takes the path for a longer one."""

    lengthened = 0

    def _lengthen(self, longer: LongerPath) -> None:
        self.lengthened += 1
        super()._lengthen(longer)


def world(mbit: float, rtt: float, queue_bdp: float = 1.0, loss: float = 0.0) -> World:
    bdp = mbit * MBIT * rtt
    return World(Path(mbit * MBIT, rtt, max(queue_bdp * bdp, 30 * PACKET), loss))


def add(inside: World, seed: int = 1, start: float = 0.0) -> tuple[Flow, Watched]:
    model = Watched(PACKET, random.Random(seed))
    return inside.add(model, seed, start=start), model


def used(flow: Flow, start: float, stop: float) -> float:
    return goodput(flow, start, stop) / flow.path.rate / (1.0 - flow.path.loss)


# The part


def rounds(watch: LongerPath, rtts: list[float], flights: list[float]) -> list[bool | None]:
    return [watch.take(rtt, int(flight), BASE, WANTED) for rtt, flight in zip(rtts, flights, strict=True)]


FALLING = [100_000 * 0.9**number for number in range(8)]


def test_an_rtt_that_stays_while_the_flight_falls_is_the_paths() -> None:
    watch = LongerPath(100_000.0, BASE + WANTED, 0.003)
    told = rounds(watch, [BASE] + 7 * [0.03], FALLING)
    assert told == 6 * [False] + 2 * [True]
    assert watch.level == 0.03
    assert watch.window(BASE, 100_000) == pytest.approx(100_000 * (BASE + WANTED + 0.01) / (BASE + WANTED))


def test_who_has_little_left_gets_no_more_back_than_was_sure_to_be_free() -> None:
    """The rest others have taken, whose path isn't longer: with all of it back a tenth of what was sent was dropped."""
    watch = LongerPath(100_000.0, BASE + WANTED, 0.003)
    rounds(watch, [BASE] + 7 * [0.03], FALLING)
    longer = (BASE + WANTED + 0.01) / (BASE + WANTED)
    assert watch.window(BASE, 35_000) == pytest.approx(35_000 / LESS * longer)


def test_a_flight_that_stays_tells_nothing() -> None:
    assert True not in rounds(LongerPath(100_000.0, BASE, 0.0), 30 * [0.03], 30 * [100_000])


def test_a_queue_that_falls_is_none_of_it() -> None:
    """By however little a round: the flight is compared with the one that met the same RTT."""
    step = FLAT_LEAST / 2
    rtts = [0.06 - 3 * step * number for number in range(12)]
    told = rounds(LongerPath(100_000.0, BASE, 0.0), rtts, [100_000 * 0.97**number for number in range(12)])
    assert True not in told


def test_a_leap_is_over_when_the_queue_is_short_again() -> None:
    told = rounds(LongerPath(100_000.0, BASE, 0.0), [0.03, 0.03, BASE + WANTED], FALLING[:3])
    assert told == [False, False, None]


def test_a_round_that_is_late_by_chance_counts_against_it_and_no_more() -> None:
    late = 0.03 + 3 * FLAT_LEAST
    told = rounds(LongerPath(100_000.0, BASE, 0.0), [*(4 * [0.03]), late, *(4 * [0.03])], [100_000, *(8 * [50_000])])
    assert told == [*(7 * [False]), True, True]


def test_a_queue_that_was_long_before_makes_no_leap() -> None:
    assert rounds(LongerPath(100_000.0, BASE + 0.1, 0.1), [0.16], [100_000]) == [None]


def test_what_stays_when_most_has_been_given_up_is_somebody_elses() -> None:
    assert rounds(LongerPath(400_000.0, BASE, 0.0), [0.06], [100_000]) == [None]


def test_it_takes_rounds_and_a_flight_that_is_less() -> None:
    flights = [100_000.0, *((ROUNDS + 1) * [LESS * 100_000])]
    told = rounds(LongerPath(100_000.0, BASE, 0.0), (ROUNDS + 2) * [0.03], flights)
    assert told.index(True) == ROUNDS


def test_a_longer_paths_rtt_falls_at_once_when_a_lower_one_is_seen() -> None:
    base = BaseRtt()
    for _ in range(8):
        base.update(0.02)
    base.drained(0.02, 1.0)
    base.drained(0.02, 4.0)
    base.lengthen(0.05)
    assert base.value == base.ground == 0.05
    for _ in range(8):
        base.update(0.03)
    assert base.value == pytest.approx(0.03)
    assert base.sinks


# In a closed loop


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.1])
@pytest.mark.parametrize(
    ("mbit", "rtt", "rise"),
    [(50, 0.02, 0.006), (50, 0.02, 0.05), (100, 0.05, 0.01), (100, 0.1, 0.02), (10, 0.05, 0.02)],
)
def test_a_path_that_becomes_longer_is_filled_again(mbit: float, rtt: float, rise: float, loss: float) -> None:
    """For seven seconds and more a flow had 2 to 30 % of the link."""
    inside = world(mbit, rtt, loss=loss)
    flow, model = add(inside)
    inside.run(6.0)
    assert model.lengthened == 0
    inside.path.rtt += rise
    inside.run(11.0)
    assert model.lengthened == 1
    assert used(flow, 6.0 + 20 * (rtt + rise), 11.0) > 0.88
    assert model.min_rtt == pytest.approx(rtt + rise, rel=0.05)


def test_it_is_known_as_often_as_it_happens() -> None:
    inside = world(50, 0.02)
    flow, model = add(inside)
    inside.run(6.0)
    for number in range(3):
        inside.path.rtt += 0.01
        inside.run(10.0 + 4.0 * number)
    assert model.lengthened == 3
    assert used(flow, 15.0, 18.0) > 0.9


@pytest.mark.parametrize("count", [2, 4])
def test_flows_come_out_of_it_together(count: int) -> None:
    inside = world(100, 0.05)
    pairs = [add(inside, seed, 0.4 * seed) for seed in range(count)]
    inside.run(9.0)
    inside.path.rtt += 0.02
    inside.run(14.0)
    assert sum(used(flow, 10.5, 14.0) for flow, _ in pairs) > 0.93
    assert all(used(flow, 10.5, 14.0) > 0.75 * used(flow, 6.0, 9.0) for flow, _ in pairs)
    assert all(model.lengthened for _, model in pairs)


def test_a_path_that_becomes_short_again_is_known_at_once_but_for_the_queue_that_makes() -> None:
    inside = world(50, 0.02)
    flow, model = add(inside)
    inside.run(6.0)
    inside.path.rtt += 0.03
    inside.run(10.0)
    inside.path.rtt -= 0.03
    inside.run(10.1)
    assert model.min_rtt < 0.026
    inside.run(14.0)
    assert model.min_rtt == pytest.approx(0.02, rel=0.1)
    assert used(flow, 10.0, 14.0) > 0.9


@pytest.mark.parametrize("deep", [1.0, 4.0])
def test_a_mistake_heals(deep: float) -> None:
    """A queue of somebody's who then goes is taken for path: drains find it, and the queue is short again."""
    inside = world(50, 0.02, deep)
    flow, model = add(inside)
    inside.run(6.0)
    watch = LongerPath(model._window, 0.022, model._seen.deepest)
    watch.level = 0.03
    model._lengthen(watch)
    inside.run(8.0)
    assert model.min_rtt == pytest.approx(0.02, rel=0.1)
    inside.run(12.0)
    assert used(flow, 8.0, 12.0) > 0.9


@pytest.mark.parametrize("start", [5.0, 5.7, 6.3])
@pytest.mark.parametrize("newcomer", [Watched, Cubic])
@pytest.mark.parametrize(("mbit", "rtt", "queue_bdp"), [(50, 0.04, 1.0), (50, 0.04, 4.0), (10, 0.05, 1.0)])
def test_a_newcomer_is_no_longer_path(
    mbit: float, rtt: float, queue_bdp: float, newcomer: type[CongestionController], start: float
) -> None:
    inside = world(mbit, rtt, queue_bdp)
    _, model = add(inside)
    inside.add(newcomer(PACKET, random.Random(2)), 2, start=start)
    inside.run(start + 8.0)
    assert model.lengthened == 0


@pytest.mark.parametrize("queue_bdp", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("times", [0.1, 0.3, 0.6, 3.0])
def test_another_rate_is_no_longer_path(times: float, queue_bdp: float) -> None:
    inside = world(100, 0.05, queue_bdp)
    _, model = add(inside)
    inside.run(6.0)
    inside.path.rate *= times
    inside.run(12.0)
    assert model.lengthened == 0


@pytest.mark.parametrize("queue_bdp", [0.1, 0.3])
def test_flows_in_a_short_queue_see_no_longer_path(queue_bdp: float) -> None:
    inside = world(100, 0.05, queue_bdp)
    models = [add(inside, seed, 0.7 * seed)[1] for seed in range(6)]
    inside.run(15.0)
    assert [model.lengthened for model in models] == 6 * [0]


@pytest.mark.parametrize("delay", [0.01, 0.03])
def test_acks_that_are_held_back_for_a_while_are_no_longer_path(delay: float) -> None:
    """For two round trips; held back for good they are nothing else."""
    inside = world(50, 0.04)
    flow, model = add(inside)
    inside.run(6.0)
    for number in range(6):
        inside.path.rtt += delay
        inside.run(inside.now + 0.1)
        inside.path.rtt -= delay
        inside.run(7.0 + number)
    assert model.lengthened == 0
    assert used(flow, 6.0, 12.0) > 0.7


def test_an_application_that_holds_back_gives_nothing_up() -> None:
    inside = world(50, 0.02)
    flow, model = add(inside)
    inside.run(6.0)
    inside.path.rtt += 0.01
    inside.run(6.05)
    flow.app_rate = 10 * MBIT
    flow.app_sent = int(flow.app_rate * inside.now)
    inside.run(7.5)
    assert model.lengthened == 0
