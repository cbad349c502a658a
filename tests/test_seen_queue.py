"""Laws of what is believed of a path's queue: a window that grows has to show, in what arrives or in the queue."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.congestion.seen_queue import ROUNDS, SeenQueue

PACKET = 1_200
BASE = 0.05
DEEP = 0.02


def seen(delay: float = DEEP) -> SeenQueue:
    queue = SeenQueue()
    queue.note(delay, BASE)
    return queue


def disproves(
    queue: SeenQueue, sent: float, share: float, met: float = DEEP, *, rounds: int = ROUNDS, is_short: bool = True
) -> bool:
    """Whether one of some rounds that sent so many packets, of which that share arrived, disproves the queue, of which
    they `met` so much.
    """
    acked = round(sent * share) * PACKET
    lost = round(sent) * PACKET - acked
    return any(queue.disproves(acked, lost, PACKET, BASE, met, is_short=is_short) for _ in range(rounds))


@pytest.mark.parametrize(("delay", "deep"), [(0.0, False), (0.009, False), (0.01, True), (0.5, True)])
def test_a_queue_is_seen_from_an_eighth_of_the_rtt_and_three_milliseconds_on(delay: float, deep: bool) -> None:
    assert seen(delay).is_deep(BASE) == deep


def test_the_deepest_counts() -> None:
    queue = seen(DEEP)
    queue.note(DEEP / 4, BASE)
    assert queue.deepest == DEEP


@given(st.floats(200.0, 1e5), st.floats(1.26, 4.0))
def test_more_that_does_not_arrive_and_makes_no_queue_disproves_it(sent: float, times: float) -> None:
    """A policer: what arrives stays the same, whatever is sent."""
    queue = seen()
    assert not disproves(queue, sent, 0.95)
    assert disproves(queue, sent * times, 0.95 / times, rounds=100)
    assert not queue.is_deep(BASE)


@given(
    st.floats(200.0, 1e5), st.floats(0.0, 0.6), st.lists(st.floats(0.5, 2.0), min_size=1, max_size=20), st.integers()
)
def test_the_paths_own_loss_never_does(sent: float, loss: float, factors: list[float], seed: int) -> None:
    """Each round of a window that goes up and down loses what chance has it lose."""
    queue, chance = seen(), random.Random(seed)
    for factor in factors:
        sent = min(max(sent * factor, 200.0), 1e5)
        for _ in range(2 * ROUNDS):
            mean, deviation = sent * (1.0 - loss), (sent * loss * (1.0 - loss)) ** 0.5
            share = min(max(chance.gauss(mean, deviation) / sent, 0.0), 1.0)
            assert not disproves(queue, sent, share, rounds=1)


def test_loss_that_begins_does_not() -> None:
    """The window makes up for it a moment later, and more arrives."""
    queue = seen()
    assert not disproves(queue, 400, 1.0)
    for sent in (400, 440, 500, 500):
        assert not disproves(queue, sent, 0.8)


def test_growth_from_step_to_step_is_compared_with_where_it_began() -> None:
    queue = seen()
    told = [disproves(queue, 400 * times, 1.0 / times) for times in (1.0, 1.08, 1.16, 1.24, 1.32)]
    assert told == [False, False, False, False, True]


def test_growth_that_pays_is_where_the_next_begins() -> None:
    """At first half of the link was used; what would be paid for by that isn't what comes later."""
    queue = seen()
    assert not disproves(queue, 200, 1.0)
    assert not disproves(queue, 400, 1.0)
    assert disproves(queue, 600, 400 / 600)


def test_loss_that_begins_while_more_is_sent_does_not() -> None:
    """46 packets a round and 46 arrive, then 59 and 42: a queue was disproved for good, and with it the path's loss."""
    queue = seen()
    assert not disproves(queue, 46, 1.0)
    assert not disproves(queue, 59, 42 / 59, rounds=60)
    assert queue.is_deep(BASE)


def test_rounds_that_cannot_be_compared_are_not() -> None:
    queue = seen()
    assert not disproves(queue, 400, 1.0)
    queue.restart()
    assert not disproves(queue, 800, 0.5, rounds=20)
    assert disproves(queue, 1600, 0.25, rounds=60)


def test_it_tells_what_was_lost_of_the_rounds_that_lost_least() -> None:
    """The rounds before more was sent in vain may have lost by overflow already."""
    queue = seen()
    for sent, share in ((400, 0.95), (410, 0.9), (420, 0.85)):
        assert not disproves(queue, sent, share)
    assert disproves(queue, 800, 0.45, rounds=20)
    acked, lost_least, rounds = queue.least
    assert rounds >= ROUNDS
    lost = lost_least / (lost_least + acked)
    assert lost == pytest.approx(0.05)


def test_what_arrived_after_all_was_not_lost() -> None:
    """Reordering that begins looks like loss that begins, and is taken back before the next round."""
    told = []
    for taken_back in (0, 400 * PACKET):
        queue = seen()
        assert not disproves(queue, 400, 1.0)
        for _ in range(ROUNDS - 1):
            assert not disproves(queue, 800, 0.5, rounds=1)
            queue.take_back(taken_back)
        told.append(disproves(queue, 800, 0.5, rounds=1))
    assert told == [True, False]
    queue.take_back(1 << 30)  # more than was counted


@pytest.mark.parametrize(
    ("deep", "met", "shown"), [(0.01, 0.00124, True), (0.01, 0.00126, False), (0.4, 0.0016, False)]
)
def test_a_small_part_of_the_deepest_is_no_queue_however_little_a_flow_is_to_hold(
    deep: float, met: float, shown: bool
) -> None:
    """Of 20 packets at 100 Mbit/s 1.2 ms stood, more than half of what the law aims at there: all was dropped."""
    queue = seen(deep)
    assert not disproves(queue, 400, 1.0, met, is_short=False)
    assert disproves(queue, 800, 0.5, met, is_short=False, rounds=20) == shown


def test_where_there_is_a_queue_nothing_does() -> None:
    queue = seen()
    assert not disproves(queue, 400, 1.0)
    assert not disproves(queue, 500, 0.8, is_short=False)
    assert not disproves(queue, 500, 0.8)  # what was before the queue counts no more
    assert queue.is_deep(BASE)


def test_few_packets_are_no_proof() -> None:
    """Of 21 packets in a round twelve arrive by chance where 16 of 20 are the rule: four rounds say nothing yet."""
    queue = seen()
    assert not disproves(queue, 16, 12 / 16, rounds=60)
    assert not disproves(queue, 21, 12 / 21)
    assert disproves(queue, 21, 12 / 21, rounds=60)


def test_a_few_rounds_are_no_proof() -> None:
    """What one ACK tells late is missing in one round and counts in the next."""
    queue = seen()
    assert not disproves(queue, 4_000, 0.95)
    assert not disproves(queue, 8_000, 0.5, rounds=ROUNDS - 1)
    assert disproves(queue, 8_000, 0.5, rounds=1)


@pytest.mark.parametrize(("paid", "shown"), [(0.3, True), (0.5, False)])
def test_two_fifths_of_more_have_to_arrive(paid: float, shown: bool) -> None:
    queue = seen()
    assert not disproves(queue, 4_000, 1.0)
    assert disproves(queue, 6_000, (4_000 + paid * 2_000) / 6_000) == shown


def test_what_was_disproved_is_believed_again_if_it_is_twice_as_deep() -> None:
    queue = seen()
    disproves(queue, 400, 1.0)
    assert disproves(queue, 800, 0.5, rounds=20)
    queue.note(1.9 * DEEP, BASE)
    assert not queue.is_deep(BASE)
    queue.note(2.1 * DEEP, BASE)
    assert queue.is_deep(BASE)


def test_what_was_disproved_long_ago_is_believed_again() -> None:
    queue = seen()
    disproves(queue, 400, 1.0)
    assert disproves(queue, 800, 0.5, rounds=20)
    for _ in range(6):
        queue.fade()
    queue.note(DEEP, BASE)
    assert not queue.is_deep(BASE)
    queue.fade()
    assert queue.is_deep(BASE)


def test_nothing_is_disproved_that_was_not_seen() -> None:
    queue = SeenQueue()
    queue.note(0.002, BASE)
    disproves(queue, 400, 1.0)
    assert not disproves(queue, 800, 0.5, rounds=20)
    queue.note(0.01, BASE)
    assert queue.is_deep(BASE)


def test_a_queue_is_less_deep_by_what_the_base_rtt_has_risen_since_and_no_deeper_by_what_it_fell() -> None:
    queue = seen(0.02)
    assert queue.depth(BASE + 0.015) == pytest.approx(0.005)
    assert not queue.is_deep(BASE + 0.015)
    assert queue.depth(BASE - 0.01) == pytest.approx(0.02)
    assert queue.is_deep(BASE)
    queue.note(0.012, BASE + 0.015)
    assert queue.is_deep(BASE + 0.015)


@pytest.mark.parametrize("risen", [0.015, 0.03])
def test_a_queue_that_passes_for_path_is_said_to_once(risen: float) -> None:
    """Who forgets the RTT without a queue, as others keep one, takes that for path; it was seen, but it isn't there."""
    queue = seen(0.02)
    assert not queue.passes(BASE)
    assert queue.passes(BASE + risen)
    assert not queue.passes(BASE + risen)
    assert not queue.is_deep(BASE)
    queue.note(0.001, BASE + risen)
    assert not queue.is_deep(BASE + risen)


@pytest.mark.parametrize("risen", [0.001, 0.004])
def test_a_queue_hardly_deep_of_which_little_is_path_is_a_queue(risen: float) -> None:
    """A base RTT wavers by as much, and what was learned of the path's own loss was forgotten with it."""
    queue = seen(0.01)
    assert queue.is_deep(BASE)
    assert not queue.is_deep(BASE + risen)
    assert not queue.passes(BASE + risen)
    assert seen(0.012).passes(BASE + 0.007)


def test_a_path_that_became_longer_has_the_queue_it_had() -> None:
    queue = seen(0.02)
    queue.lengthen(0.02, 2 * BASE)
    assert queue.depth(2 * BASE) == pytest.approx(0.02)


def test_what_was_never_seen_is_no_path() -> None:
    assert not SeenQueue().passes(BASE)
    assert not SeenQueue().is_deep(BASE)
