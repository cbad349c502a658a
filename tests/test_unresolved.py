"""Laws of `rudp.unresolved`: which numbers an ACK may name, what is remembered of the lost, and for how long."""

from __future__ import annotations

import pytest

from rudp.errors import ErrorCode, ProtocolError
from rudp.sent_packets import SentTrain
from rudp.unresolved import (
    MAX_REMEMBERED,
    MAX_REMEMBERED_IDLE,
    MAX_SKIPPED,
    MAX_VAIN,
    NEWEST_RANGES,
    RANGES_PER_ACK,
    RANGES_PER_PIECE,
    Unresolved,
)
from rudp.wire import MAX_ACK_RANGES, Ack
from tests.measure import steps


class Bits:
    """Draws that are known."""

    def __init__(self, *values: int) -> None:
        self.values = list(values)
        self.asked: list[int] = []

    def getrandbits(self, k: int) -> int:
        self.asked.append(k)
        return self.values.pop(0)


def train(first: int, count: int = 1, *, quiet: bool = False) -> SentTrain:
    return SentTrain(first, count, 1.0, 1200, 1200 * count, ack_eliciting=not quiet, in_flight=not quiet)


def sent(*trains: SentTrain) -> Unresolved:
    unresolved = Unresolved()
    for one in trains:
        unresolved.on_sent(one)
    return unresolved


def ack(*ranges: tuple[int, int]) -> Ack:
    return Ack(ranges[0][1] - 1, 0.0, ranges, None)


def numbers(trains: list[SentTrain]) -> list[int]:
    return [number for one in trains for number in range(one.first, one.stop)]


def lose(unresolved: Unresolved, *ranges: tuple[int, int], now: float = 10.0) -> None:
    for start, stop in ranges:
        unresolved.remember(unresolved.outstanding.take(start, stop), now)


def spurious(unresolved: Unresolved, *ranges: tuple[int, int]) -> list[int]:
    return numbers(unresolved.take(ack(*ranges))[1])


def test_a_connection_of_less_than_512_packets_skips_none_and_draws_none() -> None:
    unresolved, random = Unresolved(), Bits()
    assert not any(unresolved.skips(number, random) for number in range(512))


def test_the_numbers_skipped_are_those_drawn() -> None:
    unresolved, random = Unresolved(), Bits(5, 511, 0, 7)
    skipped = [number for number in range(2600) if unresolved.skips(number, random)]
    assert skipped == [512 + 512 + 5, 1029 + 512 + 511, 2052 + 512]
    assert random.asked == [9] * 4


def test_numbers_are_used_once() -> None:
    unresolved = sent(train(0, 5))
    assert unresolved.next_packet_number == 5
    with pytest.raises(AssertionError, match="never reused"):
        unresolved.on_sent(train(4))
    unresolved.on_sent(train(5, 2))
    assert unresolved.next_packet_number == 7
    assert not unresolved.skipped


def test_what_was_left_out_counts_as_skipped_and_so_many_runs_are_kept() -> None:
    unresolved = Unresolved()
    for number in range(1, 2 * MAX_SKIPPED, 2):
        unresolved.on_sent(train(number))
    assert list(unresolved.skipped) == [(n, n + 1) for n in range(0, 2 * MAX_SKIPPED, 2)]
    unresolved.on_sent(train(2 * MAX_SKIPPED + 1))
    assert list(unresolved.skipped) == [(n, n + 1) for n in range(2, 2 * MAX_SKIPPED + 2, 2)]


@pytest.mark.parametrize("ranges", [((4, 5),), ((3, 5), (0, 1)), ((2, 3),), ((3, 4), (1, 3), (0, 1))])
def test_an_ack_of_what_was_never_sent_changes_nothing(ranges: tuple[tuple[int, int], ...]) -> None:
    unresolved = sent(train(0, 2), train(3))
    with pytest.raises(ProtocolError, match="which was never sent") as caught:
        unresolved.take(ack(*ranges))
    assert caught.value.code is ErrorCode.PROTOCOL_VIOLATION
    assert numbers(list(unresolved.outstanding)) == [0, 1, 3]


def test_what_is_acknowledged_is_taken_once_and_ascends() -> None:
    unresolved = sent(train(0, 10))
    lose(unresolved, (2, 4), (6, 7))
    acked, late = unresolved.take(ack((6, 9), (0, 3)))
    assert (numbers(acked), numbers(late)) == ([0, 1, 7, 8], [2, 6])
    acked, late = unresolved.take(ack((0, 10)))
    assert (numbers(acked), numbers(late)) == ([4, 5, 9], [3])
    assert unresolved.take(ack((0, 10))) == ([], [])


def test_a_range_that_grew_is_looked_at_again_and_so_is_one_that_the_ack_between_left_out() -> None:
    unresolved = sent(train(0, 30))
    assert numbers(unresolved.take(ack((20, 21), (10, 12), (4, 6)))[0]) == [4, 5, 10, 11, 20]
    assert numbers(unresolved.take(ack((20, 22), (9, 12), (4, 6)))[0]) == [9, 21]
    assert numbers(unresolved.take(ack((20, 22)))[0]) == []
    assert numbers(unresolved.take(ack((20, 22), (8, 12), (0, 6)))[0]) == [0, 1, 2, 3, 8]


def test_only_what_asked_for_an_ack_is_remembered_with_the_time_it_was_lost() -> None:
    unresolved = sent(train(0), train(1, quiet=True), train(2))
    lose(unresolved, (0, 2), now=7.0)
    assert [(one.first, one.time_lost) for one in unresolved.remembered] == [(0, 7.0)]


def test_it_remembers_while_an_ack_may_yet_tell_something() -> None:
    unresolved = sent(train(0, 3))
    assert not unresolved.remembers
    lose(unresolved, (0, 1))
    assert unresolved.remembers
    assert spurious(unresolved, (0, 1)) == [0]
    assert not unresolved.remembers
    unresolved.on_sent(train(5))
    assert unresolved.remembers


def test_a_loss_is_forgotten_when_it_is_older_than_three_probe_timeouts() -> None:
    unresolved = sent(train(0, 10))
    lose(unresolved, (0, 1), now=10.0)
    lose(unresolved, (1, 2), now=10.5)
    unresolved.forget(11.5, 0.5, -1)
    assert numbers(list(unresolved.remembered)) == [0, 1]
    unresolved.forget(11.75, 0.5, -1)
    assert numbers(list(unresolved.remembered)) == [1]
    unresolved.forget(12.25, 0.5, -1)
    assert numbers(list(unresolved.remembered)) == []


@pytest.mark.parametrize(("busy", "bound"), [(True, MAX_REMEMBERED), (False, MAX_REMEMBERED_IDLE)])
def test_so_many_losses_are_remembered_the_newest(busy: bool, bound: int) -> None:
    unresolved = sent(*(train(number) for number in range(2 * MAX_REMEMBERED)))
    lose(unresolved, (0, bound))
    if busy:
        unresolved.forget(10.0, 1.0, -1)
        assert numbers(list(unresolved.remembered)) == list(range(bound))
    last = 2 * MAX_REMEMBERED
    lose(unresolved, (bound, last - 1 if busy else last))
    unresolved.forget(10.0, 1.0, -1)
    kept = numbers(list(unresolved.remembered))
    assert kept == list(range(last - busy - bound, last - busy))


def test_skipped_numbers_are_kept_while_an_ack_may_meet_them() -> None:
    def left(largest_acknowledged: int) -> list[tuple[int, int]]:
        unresolved.forget(10.0, 1.0, largest_acknowledged)
        return list(unresolved.skipped)

    unresolved = sent(train(1), train(3), train(5), train(7))
    every = [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert left(-1) == every
    # Those below the oldest outstanding are met by no ACK that is news.
    assert left(7) == every[1:]
    unresolved.take(ack((1, 2)))
    assert left(1) == every[1:]
    assert left(7) == every[2:]
    lose(unresolved, (3, 4))
    unresolved.take(ack((7, 8), (5, 6)))
    # 3 is remembered: an ACK that shows it came may have 4 too.
    assert left(7) == every[2:]
    unresolved.take(ack((3, 4)))
    assert left(5) == [(6, 7)]
    assert left(6) == []


def test_an_ack_of_several_ranges_is_checked_for_skipped_numbers_below_all_else() -> None:
    unresolved = sent(train(1), train(3, 10))
    unresolved.take(ack((1, 2)))
    with pytest.raises(ProtocolError, match="packet 0"):
        unresolved.take(ack((5, 6), (0, 1)))
    with pytest.raises(ProtocolError, match="packet 2"):
        unresolved.take(ack((5, 6), (1, 3)))


def test_ranges_that_the_last_ack_had_cost_next_to_nothing_and_are_not_kept_for_nothing() -> None:
    unresolved = sent(train(0, 400))
    ranges = tuple((number, number + 2) for number in range(390, 0, -3))
    unresolved.take(ack(*ranges))
    # A look at each, and no search.
    for _ in range(2):
        assert steps(lambda: unresolved.take(ack((394, 396), *ranges))) < 5 * len(ranges) + 60
    # Nothing is outstanding any more: an idle connection holds none.
    unresolved.take(ack((398, 400), (0, 397)))
    unresolved.take(ack((0, 400)))
    assert not unresolved._seen_ranges
    unresolved.on_sent(train(400))
    unresolved.take(ack((400, 401), (0, 300)))
    assert not unresolved._seen_ranges


def singles(newest: int, count: int = MAX_ACK_RANGES) -> tuple[tuple[int, int], ...]:
    """Every second number from `newest` down, each a range of its own."""
    return tuple((number, number + 1) for number in range(newest, newest - 2 * count, -2))


def told_in_vain(unresolved: Unresolved, newest: int = 998) -> int:
    """Tell the same again until fewer ranges are wanted; after how many ACKs that is."""
    told = 0
    while unresolved.ranges_wanted == MAX_ACK_RANGES:
        unresolved.take(ack(*singles(newest - told % 2)))
        told += 1
        assert told < 1000
    return told


def test_ranges_that_resolve_nothing_are_wanted_so_often_and_then_the_newest_alone() -> None:
    unresolved = sent(train(0, 2000))
    unresolved.take(ack((500, 1000)))
    assert unresolved.ranges_wanted == MAX_ACK_RANGES
    in_vain = MAX_ACK_RANGES - RANGES_PER_ACK
    assert told_in_vain(unresolved) == MAX_VAIN // in_vain + 1
    assert unresolved.ranges_wanted == NEWEST_RANGES
    # As many as an ACK may have without need cost nothing.
    unresolved = sent(train(0, 2000))
    unresolved.take(ack((500, 1000)))
    for turn in range(1000):
        unresolved.take(ack(*singles(998 - turn % 2, RANGES_PER_ACK)))
    assert unresolved._vain == 0


def test_what_is_resolved_makes_up_for_ranges_in_vain_and_the_past_is_soon_forgotten() -> None:
    unresolved = sent(*(train(number) for number in range(4000)))
    unresolved.take(ack((2000, 4000)))
    told_in_vain(unresolved, 3998)
    for _ in range(10_000):
        unresolved.take(ack(*singles(3998, NEWEST_RANGES)))
    assert unresolved.ranges_wanted == NEWEST_RANGES
    # One ACK of the newest ranges that resolve something each, or a few that resolve less.
    per_ack = RANGES_PER_ACK + NEWEST_RANGES * RANGES_PER_PIECE - NEWEST_RANGES
    for turn in range(256 // per_ack + 1):
        unresolved.take(ack(*singles(1998 - 2 * NEWEST_RANGES * turn, NEWEST_RANGES)))
    assert unresolved.ranges_wanted == MAX_ACK_RANGES


def test_a_receiver_that_tells_every_range_ten_times_is_heard_in_full() -> None:
    """Each ACK has two ranges that are news in eight and repeats the others, as a receiver does under heavy loss."""
    unresolved = sent(*(train(number) for number in range(20_000)))
    for newest in range(400, 19_000, 28):
        acked, _ = unresolved.take(ack(*singles(newest)))
        assert len(acked) >= 14
        assert unresolved.ranges_wanted == MAX_ACK_RANGES


@pytest.mark.parametrize("runs", [1, 5, MAX_SKIPPED])
def test_skipped_numbers_are_found_in_any_range_at_little_cost(runs: int) -> None:
    def fresh() -> tuple[Unresolved, list[tuple[int, int]]]:
        unresolved, skipped = Unresolved(), []
        for number in range(runs):
            skipped.append((40 * number + 7, 40 * number + 9))
            unresolved.on_sent(train(40 * number, 7))
            unresolved.on_sent(train(40 * number + 9, 31))
        return unresolved, skipped

    unresolved, skipped = fresh()
    # All that was sent, each packet in a range of its own as far as possible.
    top = 40 * runs
    sent_alone = [n for n in range(top - 1, -1, -2) if n % 40 not in (7, 8)][:MAX_ACK_RANGES]
    ranges = tuple((n, n + 1) for n in sent_alone)
    took = steps(lambda: unresolved._refuse_skipped(ranges))
    assert took <= 20 * (runs + 1), "one search a run, not a look at each range"
    for first, stop in skipped:
        for start, end in ((first, first + 1), (stop - 1, stop), (first - 1, stop), (first, stop + 3)):
            below = tuple((n, n + 1) for n in sent_alone if n + 1 < start)
            above = tuple((n, n + 1) for n in sent_alone if n > end)
            unresolved, _ = fresh()
            with pytest.raises(ProtocolError, match=f"packet {max(first, start)},"):
                unresolved.take(ack(*above, (start, end), *below))


def test_the_budget_of_ranges_to_the_last_one() -> None:
    """By numbers, and not by their names: 2,048 in vain, 16 an ACK, 8 a piece, 2,304 remembered at most."""
    unresolved = sent(*(train(number) for number in range(9000)))
    unresolved.take(ack((5000, 9000)))
    # Twenty ranges that resolve something each leave nothing owing, and nothing saved up.
    unresolved.take(ack(*singles(4999, 20)))
    for turn in range(18):
        unresolved.take(ack(*singles(8999 - turn % 2)))
    unresolved.take(ack(*singles(8997, 48)))
    assert unresolved.ranges_wanted == 128, "2,048 told nothing"
    unresolved.take(ack(*singles(8998, 17)))
    assert unresolved.ranges_wanted == 32, "2,049"
    unresolved.take(ack(*singles(8997, 24)))
    for turn in range(9):
        unresolved.take(ack(*singles(8999 - turn % 2)))
    # 31 that resolve a piece each make up for 233, which is too little; what is left and more, the next.
    unresolved.take(ack(*singles(4900, 31)))
    assert unresolved.ranges_wanted == 32
    for turn in range(3):
        unresolved.take(ack(*singles(8999 - turn % 2)))
    # 32 ranges that resolve 34 pieces make up for 256.
    unresolved.take(ack(*singles(4000, 31), (3000, 3003)))
    assert unresolved.ranges_wanted == 128


def test_what_was_lost_and_came_all_the_same_makes_up_for_ranges_in_vain_too() -> None:
    unresolved = sent(*(train(number) for number in range(4000)))
    lose(unresolved, (1000, 2000))
    unresolved.take(ack((2000, 4000)))
    told_in_vain(unresolved, 3998)
    for _ in range(20):
        unresolved.take(ack(*singles(3998, 32)))
    assert unresolved.ranges_wanted == 32
    for turn in range(2):
        unresolved.take(ack(*singles(1999 - 64 * turn, 32)))
    assert unresolved.ranges_wanted == 128


def test_of_an_acks_ranges_those_are_news_that_reach_above_the_lowest_number_open() -> None:
    unresolved = sent(train(0, 30))
    unresolved.take(ack((0, 8)))
    ranges = [(20, 22), (9, 12), (6, 8), (0, 2)]
    for count, news in ((4, 2), (3, 2), (2, 2), (1, 1)):
        assert unresolved._news(ranges[:count]) == ranges[:news]
    assert unresolved._news([(20, 22), (6, 9)]) == [(20, 22), (6, 9)]
    assert unresolved._news([(6, 8), (0, 2)]) == []
