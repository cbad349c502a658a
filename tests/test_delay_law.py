"""Laws of the delay law that hold whatever its constants are: what scales, what goes which way, how far at most."""

from __future__ import annotations

from itertools import pairwise
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.congestion.delay_law import DelayLaw

BASES = (0.001, 0.01, 0.05, 0.2, 0.5)
# A window that makes 1,000 packets a second on a path of 200 ms.
WINDOW, BASE = 200.0, 0.2


def wanted(law: DelayLaw, base: float = BASE) -> float:
    return law.target(WINDOW / base, base)


def step(law: DelayLaw, queue: float, base: float = BASE) -> float:
    """One round with that queue, at one and the same rate; the logarithm of the factor."""
    return log(law.step(WINDOW / base * (base + queue), queue, base + queue, base, WINDOW / base))


def settled(queue: float, base: float = BASE, rounds: int = 300) -> DelayLaw:
    """A law that has met that queue for long."""
    law = DelayLaw()
    for _ in range(rounds):
        step(law, queue, base)
    return law


# The target.


@given(st.floats(1.0, 1e6), st.floats(1.01, 10.0), st.sampled_from(BASES))
def test_who_is_faster_holds_a_shorter_queue_of_more_packets(rate: float, times: float, base: float) -> None:
    """The shorter queue makes shares converge; of more packets, or a link's queue would empty as its rate grows."""
    law = DelayLaw()
    assert law.target(rate * times, base) < law.target(rate, base)
    assert law.target(rate * times, base) * rate * times > law.target(rate, base) * rate


@given(st.floats(1.0, 1e6), st.sampled_from(BASES), st.floats(2.0, 4.0))
def test_a_longer_path_has_a_longer_queue_but_a_smaller_part_of_its_rtt(rate: float, base: float, times: float) -> None:
    law = DelayLaw()
    assert law.target(rate, base) < law.target(rate, base * times)
    assert law.target(rate, base) / base > law.target(rate, base * times) / (base * times)


@pytest.mark.parametrize("rate", [5.0, 20.0, 50.0])
def test_a_slow_flow_queues_a_packet_or_two(rate: float) -> None:
    """One is on the line when the next comes; with three, slow links would have the worst delays."""
    assert 1.0 <= DelayLaw().target(rate, 0.05) * rate <= 2.0


def test_who_sends_nothing_holds_no_queue() -> None:
    assert DelayLaw().target(0.0, 0.05) == 0.0


def test_a_queue_that_holds_nothing_is_not_to_be_filled() -> None:
    law = DelayLaw()
    before = law.target(100.0, 0.05)
    law.overflowed(-0.001, BASE)
    assert law.target(100.0, 0.05) == before, "it was never seen"
    law.overflowed(0.0, BASE)
    assert 0.0 < law.target(100.0, 0.05) < before / 4


def test_what_overflowed_is_forgotten_slowly() -> None:
    law = DelayLaw()
    law.overflowed(wanted(law) / 2, BASE)
    bound = wanted(law)
    for _ in range(10):
        step(law, bound)
    assert bound < wanted(law) < 1.2 * bound


# The step.


@pytest.mark.parametrize(("rtt", "base"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.05)])
def test_a_path_without_delay_has_room(rtt: float, base: float) -> None:
    law = DelayLaw()
    factors = [law.step(10.0, 0.0, rtt, base, 200.0) for _ in range(3)]
    assert factors[0] == factors[1] == factors[2]
    assert 1.0 < factors[0] < 1.5


@pytest.mark.parametrize(("rtt", "base"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.05)])
def test_a_path_without_delay_has_no_queue_that_is_short(rtt: float, base: float) -> None:
    assert not DelayLaw().is_short(0.0, 10.0, rtt, base)


@pytest.mark.parametrize(("part", "short"), [(0.0, True), (0.49, True), (0.51, False), (2.0, False)])
def test_less_than_half_of_the_queue_to_hold_is_short(part: float, short: bool) -> None:
    law = DelayLaw()
    assert law.is_short(part * wanted(law), WINDOW, BASE, BASE) == short


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=40), st.sampled_from(BASES))
def test_no_round_changes_a_window_by_half(queues: list[float], base: float) -> None:
    law = DelayLaw()
    for queue in queues:
        assert -log(1.5) < step(law, queue, base) < log(1.5)


def test_a_leap_of_the_queue_is_no_leap_of_the_window() -> None:
    for base in BASES:
        law = settled(wanted(DelayLaw(), base), base)
        assert -log(1.5) < step(law, 1000 * base, base) < 0.0


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("times", [1.1, 1.3, 1.45])
def test_nobody_gives_way_by_more_than_his_part_of_the_queue(base: float, times: float) -> None:
    """What is given way beyond that, nobody takes: the link would run idle."""
    queue = times * wanted(DelayLaw(), base)
    law = settled(queue, base)
    law.drained()  # which forgets the last step
    found = step(law, queue, base)
    assert -1.001 * queue / (base + queue) <= found < 0.0


@pytest.mark.parametrize("base", BASES)
def test_a_longer_queue_than_wanted_takes_away_and_a_shorter_one_gives(base: float) -> None:
    above, below = settled(2 * wanted(DelayLaw(), base), base), settled(0.6 * wanted(DelayLaw(), base), base)
    assert step(above, above.mean, base) < 0.0 < step(below, below.mean, base)


@pytest.mark.parametrize("base", BASES)
def test_a_change_that_was_not_made_is_not_reckoned_with(base: float) -> None:
    """Where the application holds back the window stays; half of the next change was withheld for one that was none."""
    queue = 2 * wanted(DelayLaw(), base)
    made, held = settled(wanted(DelayLaw(), base), base), settled(wanted(DelayLaw(), base), base)
    assert step(made, queue, base) == step(held, queue, base) < 0.0
    held.held()
    assert step(held, queue, base) < step(made, queue, base)


def test_rounds_that_changed_nothing_are_no_sign_that_the_link_has_more() -> None:
    """The longer a link is found empty, the faster a window grows: but only if it grew meanwhile."""
    grown, held = settled(wanted(DelayLaw())), settled(wanted(DelayLaw()))
    for _ in range(20):
        step(grown, 0.0)
        step(held, 0.0)
        held.held()
    young = settled(wanted(DelayLaw()))
    least, *_, most = [step(young, 0.0) for _ in range(4)]
    assert least < step(held, 0.0) < 1.5 * most < step(grown, 0.0)


@pytest.mark.parametrize("times", [7.0, 12.0])
@pytest.mark.parametrize("base", [0.05, 0.2])
def test_a_queue_that_has_leapt_is_put_right_without_an_idle_link(base: float, times: float) -> None:
    """What a round takes away shows a round later. As if all of such a queue were others' due, a flow alone went down
    to 0.80 to 0.85 of what fills the link, as after a drain with growth that overshot.
    """
    law, rate = DelayLaw(), 10_000.0
    full = rate * base  # packets that fill the path without a queue

    def change(window: float, told: float) -> float:
        """What the law makes of a window after a round that tells of `told`, the window of the round before."""
        queue = max(told / rate - base, 0.0)
        return window * law.step(window, queue, base + queue, base, min(rate, told / base))

    usual = full + rate * law.target(rate, base)
    for _ in range(60):
        change(usual, usual)
    windows = [usual, full + times * (usual - full)]
    for _ in range(20):
        windows.append(change(windows[-1], windows[-2]))
    assert min(windows) > 0.9 * full, [round(window / full, 3) for window in windows]
    assert windows[-1] < full + 3 * (usual - full)


def test_with_little_of_what_is_wanted_nobody_gives_way() -> None:
    """However long the queue was before: it is gone."""
    law = settled(3 * wanted(DelayLaw()))
    assert step(law, 0.4 * wanted(law)) >= 0.0


def test_on_an_empty_link_what_two_rounds_add_doubles() -> None:
    """By twos, as what is told is a round old, so that of two steps the second is the smaller."""
    law, rtt = DelayLaw(), 0.5
    rounds = [log(law.step(10_000.0, 0.0, rtt, rtt, 20_000.0)) for _ in range(14)]
    added = [one + other for one, other in zip(rounds[2::2], rounds[3::2], strict=True)]
    assert added[0] > 0.0
    told = [later / earlier for earlier, later in pairwise(added) if later < 0.3]  # more is what a round may change
    assert len(told) >= 3, added
    assert all(1.5 < ratio < 2.5 for ratio in told[1:]), told


def test_a_queue_ends_the_doubling() -> None:
    law = DelayLaw()
    first = [step(law, 0.0) for _ in range(8)][:2]
    step(law, wanted(law))
    law.drained()
    assert step(law, 0.0) <= 2 * max(first)


@pytest.mark.parametrize(("rate", "grows"), [(80_000.0, True), (2_000.0, False)])
def test_half_a_millisecond_is_no_queue_where_little_is_wanted(rate: float, grows: bool) -> None:
    """ACKs that get lost make as much. Where more is wanted a sixth of it is one."""
    law = DelayLaw()
    queue = 0.0005 if grows else law.target(rate, BASE) / 6
    told = [log(law.step(rate * (BASE + queue), queue, BASE + queue, BASE, rate)) for _ in range(8)]
    assert (told[-1] > 2 * told[0]) is grows, told


# What growth pays.


def grow(paid: float, rounds: int = 40) -> list[float]:
    """The steps of a small flow that meets a queue which means far more, where a step brings `paid` of itself in rate,
    a round later, as on a path."""
    law, rate, before, steps = DelayLaw(), 50.0, 0.0, []
    queue = law.target(1_000.0, BASE)
    for _ in range(rounds):
        steps.append(log(law.step(rate * (BASE + queue), queue, BASE + queue, BASE, rate)))
        rate, before = rate * (1.0 + paid * before), steps[-1]
    return steps


def test_growth_that_brings_nothing_is_a_few_hundredths_a_round() -> None:
    """Who has the link for himself, and who want more all at once, make no more than a queue by it."""
    assert all(0.0 < step <= 0.03 for step in grow(0.0)[10:])


@pytest.mark.parametrize("paid", [0.7, 1.0])
def test_growth_that_pays_goes_on_faster(paid: float) -> None:
    """A flow that a start-up left with a twentieth of its share has six times that in sixteen rounds."""
    steps = grow(paid, 16)
    assert sum(steps) > log(6.0)
    assert max(steps) < 0.2


def test_a_rate_that_comes_back_has_paid_nothing() -> None:
    """As after a drain: a round of a tenth less and the same again."""
    law = DelayLaw()
    queue = 0.5 * wanted(law)
    steps = []
    for rate in (WINDOW / BASE * part for part in (1.0, 1.0, 1.0, 0.9, 1.0, 1.0, 1.0)):
        steps.append(log(law.step(WINDOW / BASE * (BASE + queue), queue, BASE + queue, BASE, rate)))
        law.drained()
    assert max(steps[3:]) < 0.06


# The queue of late.


def test_a_new_mean_is_the_average_of_what_is_wanted_and_of_the_first_rounds() -> None:
    law = DelayLaw()
    met = [wanted(law)]
    for part in (1.0, 0.5, 1.3, 0.7):
        met.append(part * wanted(law))
        step(law, met[-1])
        assert law.mean == pytest.approx(sum(met) / len(met))


def test_a_new_mean_counts_rounds_without_a_queue() -> None:
    """A small flow wants much: without these its mean was three times the queue, and it grew at half the speed."""
    law = DelayLaw()
    met = [wanted(law), 0.0, wanted(law), 0.0, 0.0]
    for queue in met[1:]:
        step(law, queue)
    assert law.mean == pytest.approx(sum(met) / len(met))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("times", [0.3, 1.4])
def test_one_round_is_not_the_queue_of_late(base: float, times: float) -> None:
    usual = wanted(DelayLaw(), base)
    law = settled(usual, base)
    step(law, times * usual, base)
    assert abs(law.mean - usual) <= abs(times - 1.0) * usual / 4


@pytest.mark.parametrize("rounds", [1, 2, 5, 100])
def test_who_has_met_one_queue_only_keeps_to_it_at_a_drain(rounds: int) -> None:
    law = settled(wanted(DelayLaw()), rounds=rounds)
    before = law.mean
    law.drained()
    assert law.mean == pytest.approx(before)


def test_a_drain_goes_towards_what_the_last_rounds_saw_by_a_part_of_the_way() -> None:
    usual = wanted(DelayLaw())
    for recent in (0.5 * usual, 1.4 * usual):
        law = settled(usual)
        for _ in range(3):
            step(law, recent)
        before = law.mean
        law.drained()
        assert min(before, recent) < law.mean < max(before, recent)
        assert abs(law.mean - before) < before / 4, "or all together swing from drain to drain"


@pytest.mark.parametrize("queues", [(0.0, 0.0, 0.0, 0.0, 0.005, 0.0), (0.005, 0.004, 0.0, 0.01, 0.005, 0.002)])
@pytest.mark.parametrize("before", [0.0, 0.02])
def test_who_starts_anew_does_as_one_who_is_new(before: float, queues: tuple[float, ...]) -> None:
    new, old = DelayLaw(), settled(before, rounds=20)
    old.start()
    assert old.mean == 0.0
    for queue in queues:
        assert step(old, queue) == step(new, queue)
        assert old.mean == new.mean
    new.drained()
    old.drained()
    assert old.mean == new.mean


def test_the_mean_is_no_more_than_what_comes_down_soon() -> None:
    law = settled(100 * wanted(DelayLaw()))
    assert law.mean < 2 * wanted(law)
    law.drained()
    assert step(law, law.mean) < 0.0
