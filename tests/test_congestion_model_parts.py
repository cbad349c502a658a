"""Laws of the parts of the rate model: background loss, the window that losses move, base RTT, competition."""

from __future__ import annotations

from itertools import count
from math import exp, log

import pytest

from rudp.congestion.background_loss import FEW, ROUNDS, UNTRUSTED, UNTRUSTED_FEW, BackgroundLoss
from rudp.congestion.base_rtt import INFINITY, LEFT_MOST, BaseRtt
from rudp.congestion.competition import Competition
from rudp.congestion.delay_law import DelayLaw
from rudp.congestion.loss_window import LossWindow

PACKET = 1_400


def exceeds(background: BackgroundLoss, packets: int, lost: int) -> bool:
    return background.exceeds((packets - lost) * PACKET, lost * PACKET, PACKET, tolerance=0.01, deviations=4.0)


def test_background_is_the_mean_of_what_was_counted() -> None:
    background = BackgroundLoss()
    for _ in range(100):
        background.add(95 * PACKET, 5 * PACKET, PACKET)
    assert background.share == pytest.approx(0.05, rel=0.02)


def test_much_is_believed_only_of_a_path_whose_queue_was_seen() -> None:
    background = BackgroundLoss()
    for _ in range(100):
        background.add(60 * PACKET, 40 * PACKET, PACKET)
    assert background.share == pytest.approx(0.1)
    background.trust()
    background.add(60 * PACKET, 40 * PACKET, PACKET)
    assert background.share == pytest.approx(0.4, rel=0.02)


@pytest.mark.parametrize(("packets", "believed"), [(FEW, UNTRUSTED_FEW), (2 * FEW, UNTRUSTED)])
def test_of_few_packets_less_is_believed(packets: int, believed: float) -> None:
    """What many flows drop in a queue that is always full looks like this to each."""
    background = BackgroundLoss()
    for _ in range(100):
        background.add(packets * PACKET // 2, packets * PACKET // 2, PACKET)
    assert background.share == pytest.approx(believed)
    background.trust()
    background.add(packets * PACKET // 2, packets * PACKET // 2, PACKET)
    assert background.share == pytest.approx(0.5, rel=0.02)
    background.doubt(PACKET)
    assert background.share == pytest.approx(UNTRUSTED_FEW)


@pytest.mark.parametrize(("base", "share"), [(0.02, 0.05), (0.0191, 0.05), (0.017, 0.0)])
@pytest.mark.parametrize("rises", [False, True])
def test_what_was_lost_while_the_base_rtt_was_thought_longer_is_no_background(
    rises: bool, base: float, share: float
) -> None:
    """Whether it was never known, or was forgotten: and nothing of it says that the path loses nothing."""
    background = BackgroundLoss()
    background.trust()
    background.follow(0.03, PACKET, begins=True)
    background.follow(0.01 if rises else 0.02, PACKET, begins=True)
    background.follow(0.02, PACKET, begins=False)
    for _ in range(100):
        background.add(95 * PACKET, 5 * PACKET, PACKET)
    background.follow(base, PACKET, begins=False)
    assert background.share == pytest.approx(share, abs=0.001)
    background.add(95 * PACKET, 5 * PACKET, PACKET)
    background.follow(base, PACKET, begins=False)
    assert background.share == pytest.approx(0.05, rel=0.1)


def test_the_packets_of_several_rounds_are_not_many_for_that() -> None:
    background = BackgroundLoss()
    background.add(2 * FEW * PACKET, 2 * FEW * PACKET, PACKET, rounds=4)
    assert background.share == pytest.approx(UNTRUSTED_FEW)


def test_what_rounds_of_few_packets_lose_adds_up() -> None:
    """Of twenty packets two are spared, but not of each twenty; rounds of many packets tell by themselves."""
    background = BackgroundLoss()
    told = [background.adds_up(18 * PACKET, 2 * PACKET, PACKET) for _ in range(2 * ROUNDS)]
    assert told == [False] * (ROUNDS - 1) + [True] + [False] * (ROUNDS - 1) + [True]
    background.adds_up(18 * PACKET, 2 * PACKET, PACKET)
    background.answered()
    assert not any(background.adds_up(18 * PACKET, 2 * PACKET, PACKET) for _ in range(ROUNDS - 1))
    background.answered()
    assert not any(background.adds_up(2 * FEW * PACKET, FEW * PACKET, PACKET) for _ in range(2 * ROUNDS))


def test_what_few_packets_lose_by_chance_does_not() -> None:
    background = BackgroundLoss()
    assert not any(background.adds_up(20 * PACKET, PACKET * (index % ROUNDS == 0), PACKET) for index in range(100))


@pytest.mark.parametrize("packets", [100, 1_000, 10_000])
def test_a_round_like_the_background_does_not_exceed_it(packets: int) -> None:
    background = BackgroundLoss()
    for _ in range(100):
        background.add(95 * PACKET, 5 * PACKET, PACKET)
    assert not exceeds(background, packets, packets * 6 // 100)
    assert exceeds(background, packets, packets // 4)


def test_without_a_background_few_losses_are_many() -> None:
    background = BackgroundLoss()
    assert not exceeds(background, 100, 1)
    assert exceeds(background, 100, 2)


def test_a_round_with_less_loss_disproves_the_background() -> None:
    background = BackgroundLoss()
    background.trust()
    for _ in range(100):
        background.add(60 * PACKET, 40 * PACKET, PACKET)
    background.check(100 * PACKET, 0, PACKET)
    background.add(100 * PACKET, 0, PACKET)
    assert background.share == 0.0


@pytest.mark.parametrize(
    ("packets", "lost", "forgotten"), [(66, 0, True), (62, 0, False), (200, 6, True), (200, 8, False)]
)
def test_a_background_goes_where_luck_would_be_one_in_seven_hundred(packets: int, lost: int, forgotten: bool) -> None:
    """By a normal distribution none of 66 packets that were to lose 10 % would have been no less than expected."""
    background = BackgroundLoss()
    background.trust()
    for _ in range(20):
        background.add(90 * PACKET, 10 * PACKET, PACKET)
    background.add(20 * PACKET, 4 * PACKET, PACKET)
    share = background.share
    assert share == pytest.approx(0.1, rel=0.02)
    background.check((packets - lost) * PACKET, lost * PACKET, PACKET)
    background.add(0, 0, PACKET)
    assert (background.share == 0.0) == forgotten


def test_the_loss_window_returns_to_where_it_was_in_the_time_of_the_cubic_function() -> None:
    """RFC 9438 section 4.2: from 70 % of 1,000 packets the cube root of 300 / 0.4 seconds, nine, to the plateau."""
    window = LossWindow()
    window.start(1_000.0, 1_000.0, 0.0)
    window.cut(0.0)
    assert window.window == pytest.approx(700.0)
    now = 0.0
    while window.window < 999.0:
        now += 0.1
        window.grow(now, 0.1)
    assert now == pytest.approx(9.0, abs=1.5)


def test_a_second_cut_below_the_plateau_leaves_room() -> None:
    window = LossWindow()
    window.start(100.0, 100.0, 0.0)
    window.cut(0.0)
    window.cut(1.0)
    assert window.window == pytest.approx(49.0)


def test_the_base_rtt_forgets_after_two_epochs() -> None:
    base = BaseRtt()
    now = 0.0
    base.update(0.05)
    for _ in range(5):
        now += 4.0
        for _ in range(40):
            base.update(0.1)
        base.drained(0.1, now)
    assert base.value == pytest.approx(0.1)


def test_a_drain_is_due_each_interval_or_with_others_late_in_it() -> None:
    base = BaseRtt()
    base.update(0.05)
    base.drained(0.05, 0.0)
    assert not base.is_due(2.9, 4)
    assert base.is_due(3.1, 4)
    base.join(2.2, 4)
    assert not base.is_due(2.2, 4)
    base.join(2.3, 4)
    assert base.is_due(2.3, 4)
    base.drained(0.05, 2.4)
    base.want(2.5)
    assert not base.is_due(3.4, 4)
    assert base.is_due(3.6, 4)


@pytest.mark.parametrize(("drains", "due"), [(0, 2.0), (1, 2.0), (2, 3.0), (4, 3.0)])
def test_who_is_new_drains_sooner_twice(drains: int, due: float) -> None:
    base = BaseRtt()
    base.update(0.05)
    base.drained(0.05, 0.0)
    assert not base.is_due(due - 0.1, drains)
    assert base.is_due(due + 0.1, drains)


@pytest.mark.parametrize(
    ("rtt", "drains", "joins", "due"),
    [(0.02, 0, 1.5, 2.0), (0.02, 4, 2.25, 3.0), (0.3, 3, 2.7, 3.6), (0.3, 4, 4.5, 6.0)],
)
def test_a_young_flow_drains_more_often_on_long_paths(
    rtt: float, drains: int, joins: float, due: float
) -> None:
    base = BaseRtt()
    base.update(rtt)
    base.join(joins - 0.01, drains)
    assert not base.is_due(joins - 0.01, drains)
    assert not base.is_due(due - 0.01, drains)
    assert base.is_due(due + 0.01, drains)
    base.join(joins + 0.01, drains)
    assert base.is_due(joins + 0.01, drains)


def test_who_met_the_path_idle_comes_to_the_ground_of_those_who_never_did() -> None:
    """To two milliseconds above the lowest RTT at most, or what fills a queue for good would be ground."""
    early, late, deep = BaseRtt(), BaseRtt(), BaseRtt()
    for base, lowest in ((early, 0.052), (late, 0.0538), (deep, 0.052)):
        assert base.ground == INFINITY
        base.update(lowest)
        base.drained(lowest, 1.0)
        assert base.ground == pytest.approx(lowest)
    for now in (2.5, 4.0, 5.5, 7.0):
        early.drained(0.0538, now)
        late.drained(0.0538, now)
        deep.drained(0.1, now, in_doubt=True)
    assert early.value == pytest.approx(0.052)
    assert early.ground == pytest.approx(late.ground, abs=0.0002)
    assert deep.ground == pytest.approx(0.054, abs=0.0002)
    early.update(0.045)
    assert early.ground <= early.value + LEFT_MOST
    early.forget()
    assert early.ground == INFINITY


@pytest.mark.parametrize(("packet_time", "most"), [(0.0001, 0.00045), (0.0008, 0.0015), (0.002, 0.002)])
def test_the_ground_is_no_further_above_the_lowest_rtt_than_packets_explain(packet_time: float, most: float) -> None:
    base = BaseRtt()
    for _ in range(10):
        base.update(0.2)
    for now in range(10):
        base.drained(0.21, float(now), packet_time)
        assert base.ground == pytest.approx(0.2 + most)
    base.drained(0.2001, 10.0, packet_time)
    assert base.value < base.ground < 0.2 + most


@pytest.mark.parametrize("base", [0.01, 0.05])
def test_flows_whose_drains_met_the_same_have_one_ground(base: float) -> None:
    """However early the first packet of one was, or the earliest of its drains."""
    lucky, other = BaseRtt(), BaseRtt()
    for flow, lowest in ((lucky, base + 0.0014), (other, base + 0.002)):
        flow.update(lowest)
        flow.drained(lowest, 1.0, 0.0002)
    for now in (2.5, 4.0, 5.5, 7.0, 8.5):
        lucky.drained(base + 0.0014, now, 0.0002, mean=base + 0.0021)
        other.drained(base + 0.002, now, 0.0002, mean=base + 0.0021)
    assert lucky.ground == pytest.approx(other.ground, abs=0.0001)


def test_a_drain_that_others_did_not_join_is_none_of_the_ground() -> None:
    base = BaseRtt()
    for now in range(4):
        base.update(0.05)
        base.drained(0.05, float(now), 0.001, mean=0.0505)
    before = base.ground
    base.drained(0.0505, 4.0, 0.001, mean=0.054)
    assert base.ground == before
    new = BaseRtt()
    new.update(0.05)
    new.drained(0.05, 1.0, 0.001, mean=0.06)
    assert 0.05 < new.ground < 0.0521, "better than none"


def test_on_a_long_path_what_counts_is_the_lowest() -> None:
    """A drain is one RTT there: its mean has what others still had on the way."""
    base = BaseRtt()
    for now in range(10):
        base.update(0.2)
        base.drained(0.2001, float(now), 0.0001, mean=0.2009)
    assert base.ground == pytest.approx(0.2001, abs=0.00002)


def test_a_base_rtt_sinks_until_the_drain_after_it_was_found_lower() -> None:
    base = BaseRtt()
    told = []
    for now, rtt in enumerate((0.3, 0.28, 0.28, 0.2795, 0.4, 0.2)):
        for _ in range(40):
            base.update(rtt)
        told.append(base.sinks)
        base.drained(rtt, 1.5 * now)
    assert told == [False, True, False, False, False, True]
    base.forget()
    base.update(0.1)
    assert not base.sinks, "another path's RTT says nothing"


def test_a_base_rtt_is_new_until_two_drains_agree_on_it() -> None:
    base = BaseRtt()
    told = []
    for now, rtt in enumerate((0.3, 0.28, 0.2, 0.2, 0.1995, 0.19, 0.25)):
        for _ in range(40):
            base.update(rtt)
        told.append(base.is_new)
        base.drained(rtt, 1.5 * now)
    assert told == [True, True, True, True, False, False, True]


def test_one_early_sample_is_no_base() -> None:
    base = BaseRtt()
    for rtt in (0.0525, 0.0524, 0.05, 0.0526):
        base.update(rtt)
    assert base.value == pytest.approx(0.051)


def settle(
    windows: list[float], rounds: int, link: float = 10_000.0, base: float = 0.2, *, drains: int = 18
) -> tuple[list[float], list[float]]:
    """Flows with those windows (packets) over a link of so many packets a second, each with a law of its own, which
    drain the queue together every so many rounds; the windows they come to, and the queue of each round.
    """
    laws = [DelayLaw() for _ in windows]
    before, queues, resting = 0.0, [], 0
    rates = [0.0] * len(windows)
    for number in range(1, rounds + 1):
        queue = max(sum(windows) / link - base, 0.0)
        queues.append(queue)
        told = windows
        if resting:
            resting -= 1
        else:
            # What is told is a round old.
            windows = [
                window * law.step(window, before, base + before, base, rate)
                for law, window, rate in zip(laws, windows, rates, strict=True)
            ]
        before, rates = queue, [window / (base + queue) for window in told]
        if number % drains == 0:
            resting = 2
            for law in laws:
                law.drained()
    return windows, queues


@pytest.mark.parametrize(("windows", "rounds"), [([1_900.0, 100.0], 42), ([1_000.0, 600.0, 300.0, 50.0], 42)])
def test_windows_meet_within_fifty_round_trips(windows: list[float], rounds: int) -> None:
    """However short the queue: at 100 Mbit/s and 200 ms it is 6 ms, a thirtieth of the RTT."""
    found, _ = settle(windows, rounds)
    jain = sum(found) ** 2 / len(found) / sum(window * window for window in found)
    assert jain > 0.95, found
    assert 2_000.0 <= sum(found) <= 2_200.0, found


def test_windows_as_start_ups_leave_them_meet_within_thirty_round_trips() -> None:
    """At 100 Mbit/s and 200 ms the second of two flows that start half a second apart comes to a fifth of the link."""
    found, _ = settle([1_650.0, 400.0], 30)
    assert sum(found) ** 2 / 2 / sum(window * window for window in found) > 0.95, found


@pytest.mark.parametrize("rate", [100.0, 1_000.0, 10_000.0, 50_000.0])
def test_a_rate_an_e_fold_off_shows_as_more_than_what_base_rtts_differ_by(rate: float) -> None:
    """Wherever it is: flows of one host pair differ by some tenths of a millisecond about the RTT without a queue."""
    law = DelayLaw()
    assert law.target(rate / exp(0.5), 0.05) - law.target(rate * exp(0.5), 0.05) >= 0.0004


def test_what_is_far_goes_faster_than_what_is_near_but_not_by_leaps() -> None:
    """Near what is wanted a queue that is told a tenth wrong would throw all flows about."""
    steps = []
    for part in (1.05, 1.1, 1.2, 1.9):
        law = DelayLaw()
        wanted = law.target(500.0 / 0.2, 0.2)
        for _ in range(200):
            law.step(500.0, wanted / part, 0.2, 0.2, 2_500.0)
        steps.append(log(law.step(500.0, law.mean, 0.2, 0.2, 2_750.0)))
    near, twice, four, most = steps
    assert twice > 2.4 * near
    assert four > 2.5 * twice
    assert most <= 0.16 + 1e-9


@pytest.mark.parametrize(
    ("link", "base", "drains"),
    [(10_000.0, 0.2, 18), (10_000.0, 0.2, 12), (80_000.0, 0.2, 18), (10_000.0, 0.05, 60), (1_000.0, 0.2, 18)],
)
def test_equal_windows_do_not_swing(link: float, base: float, drains: int) -> None:
    """A queue that is short of the RTT is soon over- and undershot, as what is told is a round old."""
    _, queues = settle([link * base / 2] * 2, 300, link, base, drains=drains)
    late = queues[150:]
    assert min(late) > 0.0, late
    assert max(late) < 2.0 * min(late), late


def test_a_queue_of_a_hundredth_of_the_rtt_may_swing_but_leaves_the_link_full() -> None:
    """1 Gbit/s and 200 ms: a step of a hundredth of the window empties the queue or doubles it."""
    windows, queues = settle([16_000.0], 300, 80_000.0, 0.2)
    late = queues[150:]
    assert sum(queue > 0.0 for queue in late) > 0.8 * len(late), late
    assert max(late) < 0.25 * 0.2, late
    assert sum(windows) > 0.99 * 16_000.0


def test_flows_agree_at_a_drain_on_the_queue_of_late() -> None:
    """One met a long queue before the other came: what either holds for usual would keep them apart for long."""
    old, new = DelayLaw(), DelayLaw()
    for _ in range(10):
        old.step(1_000.0, 0.02, 0.22, 0.2, 4_500.0)
    for _ in range(16):
        for law in (old, new):
            law.step(1_000.0, 0.004, 0.204, 0.2, 4_900.0)
    apart = old.mean - new.mean
    for law in (old, new):
        law.drained()
    assert 0.0 < old.mean - new.mean < 0.8 * apart


def test_what_the_last_step_did_is_not_done_twice() -> None:
    once, twice = DelayLaw(), DelayLaw()
    for law in (once, twice):
        for _ in range(30):
            law.step(500.0, 0.003, 0.053, 0.05, 9_000.0)
    first = twice.step(500.0, 0.013, 0.063, 0.05, 9_000.0)
    second = twice.step(500.0 * first, 0.013, 0.063, 0.05, 9_000.0)
    assert first == once.step(500.0, 0.013, 0.063, 0.05, 9_000.0) < second < 1.0


@pytest.mark.parametrize("link", [1_000.0, 10_000.0, 100_000.0])
def test_one_flow_comes_down_to_the_queue_it_is_to_hold(link: float) -> None:
    law = DelayLaw()
    (window,), _ = settle([1.05 * link * 0.05], 400, link, 0.05, drains=60)
    assert window / link - 0.05 == pytest.approx(law.target(link, 0.05), rel=0.2)


def test_a_queue_that_overflows_is_to_be_three_fifths_full_at_most() -> None:
    law = DelayLaw()
    usual = law.target(1_000.0, 0.05)
    law.overflowed(0.005, 0.05)
    assert law.target(1_000.0, 0.05) == pytest.approx(0.003)
    for _ in range(200):
        law.step(50.0, 0.002, 0.052, 0.05, 1_000.0)
    assert law.target(1_000.0, 0.05) == usual


def test_what_overflowed_was_longer_by_what_the_base_rtt_is_found_lower() -> None:
    """A flow that came to others' queue overflowed it, and held the four packets of that bound for a minute."""
    known, learns = DelayLaw(), DelayLaw()
    known.overflowed(0.18, 0.2)
    learns.overflowed(0.01, 0.37)
    assert learns.target(20.0, 0.2) < known.target(20.0, 0.2) / 10
    for base in (0.37, 0.3, 0.2, 0.2):
        for law in (known, learns):
            law.step(5.0, 0.05, base + 0.05, base, 20.0)
    assert learns.target(20.0, 0.2) == pytest.approx(known.target(20.0, 0.2), rel=0.02)
    before = learns.target(20.0, 0.2)
    learns.step(5.0, 0.05, 0.3, 0.25, 20.0)
    assert learns.target(20.0, 0.2) == pytest.approx(before, rel=0.02), "one that is higher says nothing of it"


TIMES = count(0.0, 3.0)
"""Of drains, one after another."""


def drain(competition: Competition, left: float, window: float = 100.0, *, sinks: bool = False) -> None:
    competition.queue_falls(0.03)
    competition.drained(left, 0.03, window, base=0.05, now=next(TIMES), sinks=sinks)


def test_a_queue_that_stayed_for_less_than_two_seconds_is_nobodys_yet() -> None:
    """Not all others had a drain of their own in that time. One that got short is judged at once."""

    def drains(*told: tuple[float, float]) -> Competition:
        competition = Competition()
        competition.queue_falls(0.03)
        for now, left in told:
            competition.drained(left, 0.03, 100.0, base=0.05, now=now, sinks=False)
        return competition

    assert drains((100.0, 0.0), (102.0, 0.02), (104.0, 0.02)).is_on
    assert not drains((100.0, 0.0), (102.0, 0.02), (103.9, 0.02)).is_on
    assert drains((100.0, 0.0), (102.0, 0.02), (103.9, 0.02), (104.0, 0.02)).is_on
    assert not drains((100.0, 0.0), (101.9, 0.02)).in_doubt
    assert not drains((100.0, 0.0), (102.0, 0.02), (103.0, 0.002), (105.0, 0.02)).is_on


def test_drains_that_find_the_base_rtt_lower_do_not_end_a_competition() -> None:
    """CUBIC in a queue of one BDP never empties it: nothing is left above what a flow that came second takes for it."""
    competition = Competition()
    for left in (0.02, 0.02, 0.0, 0.0, 0.0):
        drain(competition, left)
    drain(competition, 0.0, sinks=True)
    for _ in range(3):
        drain(competition, 0.0)
        assert competition.is_on
    drain(competition, 0.0)
    assert not competition.is_on


def test_two_drains_that_leave_a_queue_begin_a_competition_and_four_that_do_not_end_it() -> None:
    competition = Competition()
    drain(competition, 0.0)
    drain(competition, 0.02)
    assert competition.in_doubt
    assert not competition.is_on
    drain(competition, 0.02)
    assert competition.is_on
    assert competition.loss_window is not None
    assert competition.loss_window.window == pytest.approx(100.0)
    for _ in range(3):
        drain(competition, 0.0)
    assert competition.is_on
    drain(competition, 0.0)
    assert not competition.is_on


def test_on_a_long_path_it_takes_three_drains_to_begin_a_competition() -> None:
    """Sixteen of our own kind that come within seconds leave each other a queue at two of them."""
    competition = Competition()
    for left, begins in ((0.0, False), (0.08, False), (0.08, False), (0.08, True)):
        competition.drained(left, 0.1, 100.0, base=0.2, now=next(TIMES), sinks=False)
        assert competition.is_on is begins


@pytest.mark.parametrize(("calm", "again"), [(0, True), (4, True), (5, False)])
def test_a_competition_that_ended_by_mistake_begins_again_by_one_drain_where_it_ended(calm: int, again: bool) -> None:
    competition = Competition()
    for left in (0.02, 0.02, 0.0, 0.0, 0.0):
        drain(competition, left)
    drain(competition, 0.0, 150.0)
    assert not competition.is_on
    for _ in range(calm):
        drain(competition, 0.0, 20.0)
    drain(competition, 0.02, 20.0)
    assert competition.is_on == again
    if again:
        assert competition.loss_window is not None
        assert competition.loss_window.window == 150.0


@pytest.mark.parametrize(
    ("base", "kept", "window", "begins"),
    [
        (0.05, 0.02, 12.0, True),
        (0.02, 0.02, 12.0, True),
        (0.01, 0.02, 12.0, False),
        (0.2, 0.02, 12.0, False),
        (0.05, 0.006, 12.0, False),
        (0.05, 0.02, 50.0, False),
    ],
)
def test_who_has_lost_his_window_to_a_queue_that_drains_leave_competes(
    base: float, kept: float, window: float, begins: bool
) -> None:
    """Though it got short in between, as CUBIC's does after its cuts. Not on a long or a near path, nor who shares."""
    competition, begun = Competition(), []
    competition.entered(100.0)
    for _ in range(12):
        competition.drained(0.0, 0.02, window, base=base, now=next(TIMES), sinks=False, kept=kept)
        begun.append(competition.is_on)
    assert not any(begun[:2])
    assert begun[4] is begins
    assert any(begun) is begins


@pytest.mark.parametrize(("wanted", "begins"), [(0.015, True), (0.0185, True), (0.0195, False), (0.03, False)])
def test_who_meets_no_more_queue_than_he_wants_has_no_rival(wanted: float, begins: bool) -> None:
    """The first of sixteen had the whole link for a moment, lost it to the others, and took it back as CUBIC would."""
    competition = Competition()
    competition.entered(100.0)
    for _ in range(12):
        competition.drained(0.0, 0.02, 12.0, base=0.05, now=next(TIMES), sinks=False, kept=0.02, wanted=wanted)
        if competition.is_on:
            break
    assert competition.is_on is begins


def test_what_drains_left_before_a_competition_ended_begins_none() -> None:
    """It was over, and by one more drain, which left nothing at all, on again with seven times the window."""
    competition = Competition()
    competition.entered(60.0)

    def drained(left: float, kept: float) -> None:
        competition.drained(left, 0.003, 8.0, base=0.04, now=next(TIMES), sinks=False, kept=kept)

    competition.queue_falls(0.04)
    while not competition.is_on:
        drained(0.0, 0.006)
    competition.queue_falls(0.04)
    while competition.is_on:
        drained(0.003, 0.006)
    for _ in range(8):
        drained(0.0, 0.0)
        assert not competition.is_on


def test_every_third_drain_that_leaves_the_queue_is_chance() -> None:
    competition = Competition()
    competition.entered(100.0)
    for number in range(30):
        kept = 0.02 if number % 3 == 0 else 0.0
        competition.drained(0.0, 0.02, 10.0, base=0.05, now=next(TIMES), sinks=False, kept=kept)
        assert not competition.is_on


def test_cuts_leave_a_window_that_can_carry_an_ack_clock() -> None:
    """Of a queue that others overflow in each round of ours nothing was left: a drain then sent a byte a second."""
    window = LossWindow()
    window.start(100.0, 100.0, 0.0)
    for number in range(50):
        window.cut(float(number))
    assert window.window == 4.0
    window.grow(50.0, 0.05)
    assert window.window > 4.0


def test_one_drain_that_leaves_a_queue_is_none() -> None:
    competition = Competition()
    for left in (0.02, 0.0, 0.02, 0.0, 0.02):
        drain(competition, left)
    assert not competition.is_on


def test_a_fall_of_the_queue_is_a_drain_of_others_only_in_doubt() -> None:
    competition = Competition()
    competition.queue_falls(0.03)
    assert not competition.queue_falls(0.02)
    drain(competition, 0.02)
    assert competition.queue_falls(0.02)
    assert not competition.queue_falls(0.0195)
