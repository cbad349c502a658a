"""Sent trains: cutting by arithmetic, tallies, and a stateful comparison with a dict of single packets."""

from __future__ import annotations

from dataclasses import astuple
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rudp.sent_packets import MAX_QUIET, PathState, SentPackets, SentTrain

PAYLOAD = 1170
OVERHEAD = 30


def stream_train(first: int, count: int, *, offset: int = 0, last: int = PAYLOAD, **more: Any) -> SentTrain:
    """A train of `count` canonical packets, the last one with `last` bytes of payload."""
    return SentTrain(
        first,
        count,
        more.pop("time_sent", 1.0),
        PAYLOAD + OVERHEAD,
        (count - 1) * (PAYLOAD + OVERHEAD) + last + OVERHEAD,
        stream_id=4,
        offset=offset,
        payload_size=PAYLOAD,
        end_offset=offset + (count - 1) * PAYLOAD + last,
        **more,
    )


STATE = PathState(77, 1.0, 0.5, True, 3, 40)


def numbers(trains: Any) -> list[tuple[int, int]]:
    return [(train.first, train.stop) for train in trains]


def test_a_piece_carries_its_share_of_the_stream() -> None:
    train = stream_train(100, 10, offset=5000, last=7, fin=True, ecn=2, path_state=STATE)
    middle = train.piece(103, 105)
    assert (middle.first, middle.count, middle.size) == (103, 2, 2 * 1200)
    assert (middle.offset, middle.end_offset, middle.fin) == (5000 + 3 * PAYLOAD, 5000 + 5 * PAYLOAD, False)
    assert (middle.stream_id, middle.ecn, middle.path_state) == (4, 2, STATE)
    tail = train.piece(109, 110)
    assert (tail.offset, tail.end_offset, tail.fin, tail.size) == (
        5000 + 9 * PAYLOAD,
        train.end_offset,
        True,
        37,
    )


def test_pieces_add_up() -> None:
    train = stream_train(0, 46, last=500, fin=True)
    pieces = [train.piece(0, 1), train.piece(1, 45), train.piece(45, 46)]
    assert sum(piece.size for piece in pieces) == train.size
    assert [piece.offset for piece in pieces[1:]] == [piece.end_offset for piece in pieces[:-1]]
    assert pieces[-1].end_offset == train.end_offset
    assert [piece.fin for piece in pieces] == [False, False, True]


@pytest.mark.parametrize("at", [1, 20, 45])
def test_a_cut_gives_what_two_pieces_would(at: int) -> None:
    train = stream_train(0, 46, last=500, fin=True, path_state=STATE, ecn=2, time_lost=4.0, mtu_probe=True)
    wanted = [astuple(train.piece(0, at)), astuple(train.piece(at, 46))]
    rest = train.split(at)
    assert [astuple(train), astuple(rest)] == wanted


def test_taking_the_middle_leaves_both_ends() -> None:
    sent = SentPackets()
    sent.add(stream_train(0, 10))
    assert numbers(sent.take(3, 6)) == [(3, 6)]
    assert numbers(sent) == [(0, 3), (6, 10)]
    assert sent.bytes_in_flight == 7 * 1200
    assert sent.ack_eliciting_in_flight == 7


def test_taking_over_several_trains_cuts_the_outer_two() -> None:
    sent = SentPackets()
    for first in (0, 10, 20, 30):
        sent.add(stream_train(first, 10))
    assert numbers(sent.take(5, 33)) == [(5, 10), (10, 20), (20, 30), (30, 33)]
    assert numbers(sent) == [(0, 5), (33, 40)]


def test_taking_many_ranges_cuts_each_train_where_they_end() -> None:
    sent = SentPackets()
    for first in (0, 10, 20, 30, 40):
        sent.add(stream_train(first, 10, offset=first * PAYLOAD))
    taken = sent.take_all([(44, 60), (38, 42), (5, 6), (1, 3)])
    assert numbers(taken) == [(1, 3), (5, 6), (38, 40), (40, 42), (44, 50)]
    assert [train.offset for train in taken] == [train.first * PAYLOAD for train in taken]
    assert numbers(sent) == [(0, 1), (3, 5), (6, 10), (10, 20), (20, 30), (30, 38), (42, 44)]
    assert sent.take_all([(44, 99), (40, 41)]) == []
    assert numbers(sent.take_all([(60, 70), (8, 25)])) == [(8, 10), (10, 20), (20, 25)]


def test_cuts_are_counted_one_for_each_part_that_is_made() -> None:
    sent = SentPackets()
    assert sent.cuts == 0
    sent.add(stream_train(0, 10))
    sent.take(0, 10)
    assert sent.cuts == 0, "a whole train is none"
    sent.add(stream_train(10, 10))
    sent.take(10, 12)
    assert sent.cuts == 1
    sent.take(14, 16)
    assert sent.cuts == 3
    sent.add(stream_train(20, 10))
    sent.take_all(((26, 27), (23, 24), (12, 14)))
    assert sent.cuts == 7


def test_taking_from_a_gap_finds_nothing() -> None:
    sent = SentPackets()
    sent.add(stream_train(0, 2))
    sent.add(stream_train(5, 2))
    assert sent.take(2, 5) == []
    assert sent.take(7, 100) == []
    assert numbers(sent) == [(0, 2), (5, 7)]


def test_numbers_cross_32_bits_inside_a_train() -> None:
    sent = SentPackets()
    base = 2**32 - 3
    sent.add(stream_train(base, 10, offset=2**40))
    (taken,) = sent.take(2**32, 2**32 + 1)
    assert taken.offset == 2**40 + 3 * PAYLOAD
    assert numbers(sent) == [(base, 2**32), (2**32 + 1, base + 10)]


def test_frames_belong_to_a_single_packet() -> None:
    with pytest.raises(AssertionError, match="single packet"):
        SentPackets().add(stream_train(0, 2, frames=("max_data",)))


def test_numbers_only_grow() -> None:
    sent = SentPackets()
    sent.add(stream_train(0, 10))
    with pytest.raises(AssertionError, match="only grow"):
        sent.add(stream_train(9, 1))


def test_a_left_path_is_tracked_and_not_in_flight() -> None:
    sent = SentPackets()
    sent.add(stream_train(0, 10))
    sent.leave_path()
    assert (sent.bytes_in_flight, sent.ack_eliciting_in_flight) == (0, 10)
    sent.add(stream_train(10, 10))
    sent.take(5, 15)
    assert (sent.bytes_in_flight, sent.ack_eliciting_in_flight) == (5 * 1200, 10)


def test_bare_acks_never_acknowledged_do_not_pile_up() -> None:
    sent = SentPackets()
    sent.add(stream_train(0, 3))
    for number in range(3, 10_000):
        sent.add(SentTrain(number, 1, 1.0, 40, 40, ack_eliciting=False, in_flight=False))
        assert sent.quiet == len(sent) - 1 <= MAX_QUIET
    assert numbers(sent)[0] == (0, 3)
    assert numbers(sent)[-MAX_QUIET // 2 :] == [(n, n + 1) for n in range(10_000 - MAX_QUIET // 2, 10_000)]


def test_as_many_bare_acks_as_allowed_are_kept_and_one_more_halves_them() -> None:
    sent = SentPackets()
    for number in range(MAX_QUIET):
        sent.add(SentTrain(number, 1, 1.0, 40, 40, ack_eliciting=False, in_flight=False))
    assert numbers(sent)[0] == (0, 1)
    sent.add(SentTrain(MAX_QUIET, 1, 1.0, 40, 40, ack_eliciting=False, in_flight=False))
    assert numbers(sent)[0] == (MAX_QUIET // 2 + 1, MAX_QUIET // 2 + 2)


def test_only_what_is_neither_in_flight_nor_asks_for_an_ack_is_forgotten() -> None:
    sent = SentPackets()
    sent.add(SentTrain(0, 1, 1.0, 40, 40, ack_eliciting=False, in_flight=True))
    sent.add(SentTrain(1, 1, 1.0, 40, 40, ack_eliciting=True, in_flight=False))
    counted = 2
    for number in range(2, 3 * MAX_QUIET):
        sent.add(SentTrain(number, 1, 1.0, 40, 40, ack_eliciting=False, in_flight=number % 3 == 0))
        counted += number % 3 == 0
        assert sent.quiet == len(sent) - counted <= MAX_QUIET
    assert [first for first, _ in numbers(sent) if first % 3 == 0] == list(range(0, 3 * MAX_QUIET, 3))
    assert numbers(sent)[1] == (1, 2)
    # What is left of them is found again.
    sent.take(0, 3 * MAX_QUIET)
    assert (len(sent), sent.quiet, sent.bytes_in_flight, sent.ack_eliciting_in_flight) == (0, 0, 0, 0)


def test_a_train_of_which_nothing_is_said_carries_no_run_of_a_stream_and_no_mark() -> None:
    train = SentTrain(7, 2, 1.0, 1200, 1240)
    assert (train.stream_id, train.offset, train.payload_size, train.end_offset, train.fin) == (-1, 0, 0, 0, False)
    assert (train.frames, train.ecn, train.mtu_probe, train.time_lost) == ((), 0, False, 0.0)
    assert train.path_state == (0, 0.0, 0.0, False, 0, 0)
    assert (train.ack_eliciting, train.in_flight) == (True, True)


@pytest.mark.parametrize("part", [(3, 3), (4, 3), (-1, 3), (5, 11)])
def test_a_piece_is_a_part_of_its_train(part: tuple[int, int]) -> None:
    with pytest.raises(AssertionError):
        stream_train(0, 10).piece(*part)


def test_drop_oldest() -> None:
    sent = SentPackets()
    for first in (0, 10, 20):
        sent.add(stream_train(first, 5))
    sent.drop_oldest(0)
    assert len(sent) == 3
    sent.drop_oldest(2)
    assert numbers(sent) == [(20, 25)]
    assert sent.oldest is not None
    sent.drop_oldest(1)
    assert sent.oldest is None
    assert sent.bytes_in_flight == 0


@pytest.mark.parametrize(
    ("packets", "found"),
    [(0, []), (1, [(2, 3)]), (3, [(2, 5)]), (4, [(2, 5), (6, 7)]), (8, [(2, 5), (6, 11)]), (99, [(2, 5), (6, 11)])],
)
def test_what_probes_may_repeat_is_the_oldest_that_asks_and_is_no_probe_of_the_mtu(
    packets: int, found: list[tuple[int, int]]
) -> None:
    sent = SentPackets()
    sent.add(stream_train(0, 2, ack_eliciting=False))
    sent.add(stream_train(2, 3, offset=100))
    sent.add(stream_train(5, 1, mtu_probe=True))
    sent.add(stream_train(6, 5, offset=9000, last=7, fin=True))
    pieces = sent.oldest_unacknowledged(packets)
    assert numbers(pieces) == found
    for piece in pieces:
        assert piece.offset == (100 if piece.first == 2 else 9000)
        assert piece.fin == (piece.stop == 11)
    assert numbers(sent) == [(0, 2), (2, 5), (5, 6), (6, 11)], "all stay"


class AgainstSinglePackets(RuleBasedStateMachine):
    """Whatever is added and taken, trains tell the same as a dict with one entry a packet."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = SentPackets()
        # number -> (size, ack_eliciting, in_flight, offset, end_offset, fin)
        self.model: dict[int, tuple[int, bool, bool, int, int, bool]] = {}
        self.next = 2**32 - 20
        self.offset = 0

    @rule(
        count=st.integers(1, 30),
        skip=st.sampled_from([0, 0, 0, 1, 5]),
        last=st.integers(1, PAYLOAD),
        kind=st.sampled_from([(True, True), (True, True), (False, True), (False, False), (True, False)]),
        fin=st.booleans(),
    )
    def add(self, count: int, skip: int, last: int, kind: tuple[bool, bool], fin: bool) -> None:
        ack_eliciting, in_flight = kind
        first = self.next + skip
        train = stream_train(
            first,
            count,
            offset=self.offset,
            last=last,
            ack_eliciting=ack_eliciting,
            in_flight=in_flight,
            fin=fin,
        )
        self.sent.add(train)
        for index in range(count):
            is_last = index == count - 1
            size = last if is_last else PAYLOAD
            offset = self.offset + index * PAYLOAD
            facts = (size + OVERHEAD, ack_eliciting, in_flight, offset, offset + size, fin and is_last)
            self.model[first + index] = facts
        self.next = first + count
        self.offset = train.end_offset

    @rule(gaps=st.lists(st.integers(0, 2), min_size=2, max_size=20))
    def add_scattered(self, gaps: list[int]) -> None:
        """Losses that are sent again: full packets from here and there."""
        places = list(accumulate(gaps, lambda at, gap: at + 1 + gap))
        offsets = tuple(self.offset + place * PAYLOAD for place in places)
        train = stream_train(self.next, len(gaps), offset=offsets[0], offsets=offsets)
        train.end_offset = offsets[-1] + PAYLOAD
        carried = [at for start, stop, fin in train.ranges() for at in range(start, stop, PAYLOAD) if not fin]
        assert carried == list(offsets)
        self.sent.add(train)
        for index, offset in enumerate(offsets):
            self.model[self.next + index] = (PAYLOAD + OVERHEAD, True, True, offset, offset + PAYLOAD, False)
        self.next += len(gaps)
        self.offset = train.end_offset

    @rule(start=st.integers(-5, 150), length=st.integers(1, 100))
    def take(self, start: int, length: int) -> None:
        low = max(0, self.next - start)
        taken = self.sent.take(low, low + length)
        wanted = [number for number in self.model if low <= number < low + length]
        assert [number for train in taken for number in range(train.first, train.stop)] == wanted
        for train in taken:
            for number in range(train.first, train.stop):
                one = train.piece(number, number + 1)
                facts = (one.size, one.ack_eliciting, one.in_flight, one.offset, one.end_offset, one.fin)
                assert facts == self.model.pop(number)

    @rule(ends=st.lists(st.integers(0, 150), min_size=2, max_size=40, unique=True))
    def take_all(self, ends: list[int]) -> None:
        """Many ranges at once are each of them, one after the other."""
        low = max(0, self.next - 100)
        ends = sorted(low + end for end in ends[: len(ends) // 2 * 2])
        ranges = list(zip(ends[0::2], ends[1::2], strict=True))
        taken = self.sent.take_all(ranges[::-1])
        wanted = [number for number in self.model if any(start <= number < stop for start, stop in ranges)]
        assert [number for train in taken for number in range(train.first, train.stop)] == wanted
        for train in taken:
            for number in range(train.first, train.stop):
                one = train.piece(number, number + 1)
                facts = (one.size, one.ack_eliciting, one.in_flight, one.offset, one.end_offset, one.fin)
                assert facts == self.model.pop(number)

    @rule()
    def leave_path(self) -> None:
        self.sent.leave_path()
        for number, facts in self.model.items():
            self.model[number] = (*facts[:2], False, *facts[3:])

    @rule(number=st.integers(0, 3))
    def drop_oldest(self, number: int) -> None:
        number = min(number, len(self.sent))
        for train in list(self.sent)[:number]:
            for packet in range(train.first, train.stop):
                del self.model[packet]
        self.sent.drop_oldest(number)

    @invariant()
    def tells_the_same(self) -> None:
        model = self.model
        assert [n for train in self.sent for n in range(train.first, train.stop)] == list(model)
        assert self.sent.bytes_in_flight == sum(facts[0] for facts in model.values() if facts[2])
        assert self.sent.ack_eliciting_in_flight == sum(facts[1] for facts in model.values())
        assert self.sent.quiet == sum(not (train.ack_eliciting or train.in_flight) for train in self.sent)
        oldest = self.sent.oldest
        assert (oldest.first if oldest else None) == next(iter(model), None)


TestAgainstSinglePackets = AgainstSinglePackets.TestCase
TestAgainstSinglePackets.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(("eliciting", "flying"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("ranges", [[(13, 15)], [(10, 12)], [(17, 20)], [(17, 18), (13, 15)], [(30, 31), (12, 14)]])
def test_entries_that_ask_for_nothing_are_counted_after_every_cut(
    eliciting: bool, flying: bool, ranges: list[tuple[int, int]]
) -> None:
    for take_all in (False, True):
        sent = SentPackets()
        # Two before and one behind that are cut by nothing.
        for first, count in ((0, 1), (4, 2), (10, 10), (30, 1)):
            sent.add(stream_train(first, count, ack_eliciting=eliciting, in_flight=flying))
        taken = sent.take_all(ranges) if take_all else [train for pair in ranges for train in sent.take(*pair)]
        assert sorted(numbers(taken)) == sorted(ranges)
        assert sent.quiet == sum(not (train.ack_eliciting or train.in_flight) for train in sent)
        held = [number for train in sent for number in range(train.first, train.stop)]
        gone = {number for start, stop in ranges for number in range(start, stop)}
        assert held == [n for n in (0, 4, 5, *range(10, 20), 30) if n not in gone]


@pytest.mark.parametrize(
    "ranges", [[(0, 2)], [(2, 4)], [(6, 8), (0, 2)], [(6, 8), (2, 4)], [(4, 8), (0, 1)], [(7, 8), (3, 6)]]
)
def test_of_trains_side_by_side_those_named_are_taken_and_no_others(ranges: list[tuple[int, int]]) -> None:
    sent = SentPackets()
    for first in range(0, 8, 2):
        sent.add(stream_train(first, 2))
    gone = {number for start, stop in ranges for number in range(start, stop)}
    taken = sent.take_all(ranges)
    assert [number for train in taken for number in range(train.first, train.stop)] == sorted(gone)
    assert [n for train in sent for n in range(train.first, train.stop)] == [n for n in range(8) if n not in gone]
    assert all(train.count for train in (*taken, *sent))


@pytest.mark.parametrize("size", [1, 2])
def test_a_gap_in_the_numbers_is_passed_whatever_the_sizes_of_trains_before_it(size: int) -> None:
    sent = SentPackets()
    for first, count in ((0, 1), (1, 1), (2, 8), (10, size), (13, 2)):
        sent.add(stream_train(first, count))
    assert numbers(sent.take_all([(12, 15), (0, 1)])) == [(0, 1), (13, 15)]
    assert numbers(sent) == [(1, 2), (2, 10), (10, 10 + size)]


@pytest.mark.parametrize("at", range(1, 6))
def test_a_cut_of_a_train_of_scattered_packets_leaves_each_what_it_carried(at: int) -> None:
    offsets = (1000, 3000, 4000, 9000, 11_000, 12_000)

    def scattered() -> SentTrain:
        return SentTrain(
            10, 6, 1.0, 1200, 7200, True, True,
            stream_id=0, offset=1000, payload_size=1000, end_offset=13_000, offsets=offsets,
        )  # fmt: skip

    def carried(train: SentTrain) -> list[int]:
        return [place for start, stop, _ in train.ranges() for place in range(start, stop, 1000)]

    lower = scattered()
    upper = lower.split(10 + at)
    assert carried(lower) == list(offsets[:at])
    assert carried(upper) == list(offsets[at:])
    assert (lower.offset, lower.end_offset) == (offsets[0], offsets[at - 1] + 1000)
    assert (upper.offset, upper.end_offset) == (offsets[at], 13_000)
    assert carried(scattered().piece(10, 10 + at)) == list(offsets[:at])
    assert carried(scattered().piece(10 + at, 16)) == list(offsets[at:])
    for single in (scattered().piece(10 + at, 11 + at), upper.piece(10 + at, 11 + at)):
        assert single.ranges() == [(offsets[at], offsets[at] + 1000, False)]
        assert single.offsets == ()
    assert lower.offsets == (offsets[:at] if at > 1 else ())
    assert upper.offsets == (offsets[at:] if at < 5 else ())
    for wrong in (10, 16):
        with pytest.raises(AssertionError):
            scattered().split(wrong)


def test_who_follows_one_another_needs_no_places() -> None:
    assert SentTrain(0, 1, 1.0, 1200, 1200, True, True).offsets == ()
