"""Received packets: what is a duplicate, when an ACK is due, what it says; all of it compared with a set."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rudp.ecn import CE, ECT0, ECT1
from rudp.received_packets import (
    FEW_BYTES,
    LONGEST_PAUSE,
    MAX_RANGES,
    NEAR_PATIENCE,
    NEAR_RTT,
    PATIENCE,
    TELLINGS,
    ReceivedPackets,
)
from rudp.rtt import GRANULARITY, RttEstimator
from rudp.wire import MAX_ACK_RANGES, UNKNOWN_ACK_DELAY, Ack, AckFrequency

RTT = 0.080
MAX_ACK_DELAY = 0.025


class Receiver:
    """Received packets on a virtual clock; each `receive` is one buffer of one run."""

    def __init__(self, rtt: float = RTT, max_ack_delay: float = MAX_ACK_DELAY) -> None:
        self.now = 10.0
        estimator = RttEstimator()
        estimator.update(rtt, 0.0, now=0.0)
        self.received = ReceivedPackets(estimator, max_ack_delay)

    def receive(self, first: int, stop: int, *, quiet: bool = False, ecn: int = 0, size: int = 1_200) -> None:
        for start, end in self.received.filter_new(first, stop):
            self.received.on_received(start, end, self.now, not quiet, ecn)
        self.received.end_of_buffer(self.now, size)

    def ack(self) -> Ack:
        ack = self.received.build_ack(self.now)
        self.received.on_ack_sent(self.now)
        return ack

    def is_due(self, after: float = 0.0) -> bool:
        """Whether an ACK goes alone, now or in so many seconds."""
        deadline = self.received.deadline
        return deadline is not None and self.now + after >= deadline

    def want_due(self) -> None:
        assert self.is_due()
        assert self.received.ack_pending

    def want_due_in(self, seconds: float) -> None:
        assert not self.is_due()
        assert self.received.deadline == pytest.approx(self.now + seconds)
        assert self.is_due(seconds + 1e-9)

    def want_nothing_due(self) -> None:
        assert self.received.deadline is None


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def settled() -> Receiver:
    """Beyond the first hundred packets, with everything acknowledged; packet 200 is next."""
    receiver = Receiver()
    receiver.receive(0, 200)
    receiver.ack()
    receiver.ack()  # the first of several packets is repeated
    return receiver


@pytest.mark.parametrize("pause", [LONGEST_PAUSE / 2, LONGEST_PAUSE * 2])
def test_what_comes_at_one_instant_is_no_pause_though_nothing_is_decided_on_it(settled: Receiver, pause: float) -> None:
    """Of a bulk flow, and then a small packet: it waits for company only where packets come one upon another."""
    received = settled.received
    settled.receive(200, 202, size=2 * FEW_BYTES)
    settled.now += pause
    for number in (202, 203):
        received.on_received(number, number + 1, settled.now, True, 0)
        assert not received.undecided
    settled.ack()
    settled.receive(204, 205, size=100)
    assert received.ack_wanted == (pause > LONGEST_PAUSE)


def test_a_wish_for_more_acks_holds_for_what_waits_already(settled: Receiver) -> None:
    settled.receive(200, 205)
    assert not settled.is_due()
    settled.received.on_ack_frequency(AckFrequency(0, 5, MAX_ACK_DELAY, 1))
    assert settled.received.undecided
    settled.received.end_of_buffer(settled.now, 100)
    settled.want_due()


def test_who_has_said_how_often_to_acknowledge_finds_an_ack_riding_along(settled: Receiver) -> None:
    for number in (200, 201):
        settled.now += LONGEST_PAUSE / 4
        settled.receive(number, number + 1, size=100)
    assert not settled.received.ack_wanted, "small packets, one upon another"
    settled.received.on_ack_frequency(AckFrequency(0, 50, MAX_ACK_DELAY, 1))
    assert settled.received.ack_wanted


def test_an_old_ack_of_what_ends_at_the_floor_tells_nothing_of_what_is_above_it(receiver: Receiver) -> None:
    received = receiver.received
    receiver.receive(0, 5)
    receiver.receive(7, 9)
    old = receiver.ack()
    receiver.receive(5, 6)
    newer = receiver.ack()
    receiver.receive(6, 7)
    assert (old.ranges, newer.ranges) == (((7, 9), (0, 5)), ((7, 9), (0, 6)))
    received.on_ack_acked(newer.ranges)
    assert received.floor == 5
    received.on_ack_acked(old.ranges)
    assert received.floor == 5, "nobody was told of packet 6"
    assert receiver.ack().ranges == ((5, 9),)


def test_an_old_ack_of_a_range_that_is_forgotten_tells_of_the_others(receiver: Receiver) -> None:
    received = receiver.received
    for number in (0, 2, 4):
        receiver.receive(number, number + 1)
    old = receiver.ack()
    for number in range(6, 2 * MAX_RANGES + 1, 2):
        receiver.receive(number, number + 1)
    assert (old.ranges, received.floor) == (((4, 5), (2, 3), (0, 1)), 1)
    received.on_ack_acked(old.ranges)
    assert received.floor == 4


@pytest.mark.parametrize("seed", range(20))
def test_an_ack_that_waits_on_waits_as_if_it_were_reckoned_anew(seed: int) -> None:
    random = Random(seed)
    receiver = Receiver(rtt=random.choice([0.0001, 0.01, 0.05]), max_ack_delay=random.choice([0.002, 0.025]))
    received, size = receiver.received, 0
    if seed % 2:
        received.on_ack_frequency(AckFrequency(0, 30, received.max_ack_delay, 1))
    for first in range(400):
        receiver.now += random.choice([0.0, 0.0001, 0.001, 0.0019, 0.003])
        if random.random() < 0.02:
            received._rtt.update(random.choice([0.0001, 0.08]), 0.0, receiver.now)
        number = first + (first > 200)  # with a gap, from then on
        size += random.choice([20, 100, 300])
        receiver.receive(number, number + 1, size=size)
        if receiver.is_due() or received.ack_wanted:
            receiver.ack()
            size = 0
            continue
        before = received.deadline, received._patient
        received._set_deadline(receiver.now, size)
        assert (received.deadline, received._patient) == before


def test_nothing_is_due_at_first(receiver: Receiver) -> None:
    receiver.want_nothing_due()
    assert not receiver.received.ack_pending
    assert receiver.received.largest == -1
    assert receiver.received.filter_new(0, 3) == [(0, 3)]


def test_duplicates_are_cut_out_by_the_run(receiver: Receiver) -> None:
    receiver.receive(10, 20)
    receiver.receive(30, 40)
    assert receiver.received.filter_new(5, 45) == [(5, 10), (20, 30), (40, 45)]
    assert receiver.received.filter_new(12, 20) == []
    assert receiver.received.filter_new(40, 41) == [(40, 41)]


def test_one_packet_waits_for_a_quarter_of_a_round_trip(receiver: Receiver) -> None:
    receiver.receive(0, 1)
    receiver.want_due_in(RTT / 4)
    assert receiver.received.ack_pending


def test_a_second_packet_at_the_start_does_not_wait(receiver: Receiver) -> None:
    receiver.receive(0, 1)
    receiver.receive(1, 2)
    receiver.want_due()


def test_the_first_ack_of_several_packets_is_repeated_once(receiver: Receiver) -> None:
    """They came in one buffer, so it is the only one: if it is lost, their sender waits for a probe timeout."""
    receiver.receive(0, 9)
    receiver.want_due()
    told = receiver.ack()
    receiver.want_due_in(RTT / 4)
    receiver.now += RTT / 4
    again = receiver.ack()
    assert again.ranges == told.ranges
    assert again.ack_delay == pytest.approx(RTT / 4)
    receiver.want_nothing_due()
    assert not receiver.received.ack_pending


def test_what_follows_the_first_ack_takes_the_place_of_its_repetition(receiver: Receiver) -> None:
    receiver.receive(0, 10)
    receiver.ack()
    receiver.now += RTT / 8
    receiver.receive(10, 12)
    receiver.want_due()
    receiver.ack()
    receiver.want_nothing_due()


def test_acks_of_few_packets_are_not_repeated(receiver: Receiver) -> None:
    for first in range(0, 20, 2):
        receiver.receive(first, first + 2)
        receiver.ack()
        receiver.want_nothing_due()


def test_the_ack_of_three_packets_among_the_first_ten_is_repeated_and_no_other(receiver: Receiver) -> None:
    receiver.receive(0, 3)
    receiver.ack()
    receiver.want_due_in(RTT / 4)
    receiver.receive(3, 10)
    receiver.ack()
    receiver.want_due_in(RTT / 4)
    receiver.receive(10, 14)
    receiver.ack()
    receiver.want_nothing_due()


def test_a_repeated_ack_waits_no_longer_than_max_ack_delay() -> None:
    receiver = Receiver(rtt=1.0)
    receiver.receive(0, 9)
    receiver.ack()
    receiver.want_due_in(MAX_ACK_DELAY)


def test_nothing_waits_longer_than_max_ack_delay() -> None:
    receiver = Receiver(rtt=1.0)
    receiver.receive(0, 1)
    receiver.want_due_in(MAX_ACK_DELAY)


@pytest.mark.parametrize(("rtt", "max_ack_delay"), [(0.003, MAX_ACK_DELAY), (RTT, 0.0)])
def test_a_delay_finer_than_timers_is_none(rtt: float, max_ack_delay: float) -> None:
    receiver = Receiver(rtt, max_ack_delay)
    receiver.receive(0, 1)
    receiver.want_due()


@pytest.fixture
def near() -> Receiver:
    """As `settled`, on a path so short that an ACK doesn't wait by the round trip; a small packet came just now."""
    receiver = Receiver(rtt=0.0002)
    receiver.receive(0, 200)
    receiver.ack()
    receiver.now += 0.1
    receiver.receive(200, 201, size=100)
    receiver.want_due()
    receiver.ack()
    return receiver


def test_an_ack_of_small_packets_one_upon_another_waits_and_rides_along_when_it_is_due(near: Receiver) -> None:
    near.now += 0.0002
    near.receive(201, 202, size=100)
    near.want_due_in(NEAR_PATIENCE)
    assert near.received.ack_pending
    assert not near.received.ack_wanted
    near.now += 0.0002
    near.receive(202, 203, size=200)
    near.want_due_in(NEAR_PATIENCE - 0.0002)
    near.now += NEAR_PATIENCE
    near.want_due()
    near.ack()
    near.want_nothing_due()


def test_an_ack_rides_along_with_the_last_before_it_is_due(near: Receiver) -> None:
    """At this pace what comes next would come too late, and an ACK would go alone."""
    near.received.max_ack_delay = PATIENCE
    pause = PATIENCE / 4.5
    for number in range(201, 206):
        near.now += pause
        near.receive(number, number + 1, size=100)
        assert near.received.ack_wanted == (number == 205)
    near.want_due_in(PATIENCE / 9)


@pytest.mark.parametrize(
    ("rtt", "wait"), [(NEAR_RTT * 0.99, NEAR_PATIENCE), (NEAR_RTT, PATIENCE), (0.015, PATIENCE), (0.05, 0.0125)]
)
def test_small_packets_wait_longest_where_no_timer_goes_by_the_rtt_and_there_alone(rtt: float, wait: float) -> None:
    receiver = short(LONGEST_PAUSE / 2, rtt=rtt)
    receiver.want_due_in(wait)
    # As it waits on, too.
    receiver.now += LONGEST_PAUSE / 2
    receiver.receive(202, 203, size=200)
    receiver.want_due_in(wait - LONGEST_PAUSE / 2)


def test_an_ack_that_waits_when_the_path_turns_out_longer_waits_as_there(near: Receiver) -> None:
    near.now += 0.0002
    near.receive(201, 202, size=100)
    near.want_due_in(NEAR_PATIENCE)
    near.received._rtt.smoothed_rtt = NEAR_RTT
    near.now += 0.0002
    near.receive(202, 203, size=200)
    near.want_due_in(PATIENCE)


@pytest.mark.parametrize("waits", [False, True])
def test_what_its_sender_may_wait_for_takes_no_longer_than_on_longer_paths(near: Receiver, waits: bool) -> None:
    near.now += 0.0002
    if waits:
        near.receive(201, 202, size=100)
    near.received.request_soon(near.now)
    near.receive(202 - (not waits), 203 - (not waits), size=200)
    near.want_due_in(PATIENCE)
    near.now += 0.0002
    near.received.request_soon(near.now)
    near.receive(203 - (not waits), 204 - (not waits), size=300)
    near.want_due_in(PATIENCE - 0.0002)


def test_what_its_sender_may_wait_for_takes_max_ack_delay_at_most(near: Receiver) -> None:
    near.received.max_ack_delay = PATIENCE / 2
    near.now += 0.0002
    near.received.request_soon(near.now)
    near.receive(201, 202, size=100)
    near.want_due_in(PATIENCE / 2)


@pytest.mark.parametrize("missing", [0, 1], ids=["all came", "a gap that an ACK told of"])
def test_what_its_sender_may_wait_for_is_decided_on_though_a_later_time_was_settled(missing: int) -> None:
    """On a path that turned out near meanwhile. Who isn't told that there is something to decide wakes too late."""
    receiver = Receiver(rtt=0.1)
    received = receiver.received
    received.on_ack_frequency(AckFrequency(0, 1000, MAX_ACK_DELAY, 1))
    receiver.receive(0, 1)
    receiver.receive(1 + missing, 2 + missing)
    receiver.ack()
    receiver.receive(2 + missing, 3 + missing, size=FEW_BYTES)
    received._rtt.smoothed_rtt = NEAR_RTT / 2
    receiver.now += 0.001
    assert not received.undecided
    received.request_soon(receiver.now)
    received.on_received(3 + missing, 4 + missing, receiver.now, True, 0)
    assert received.undecided
    receiver.want_due_in(PATIENCE)
    received.end_of_buffer(receiver.now, 2 * FEW_BYTES)
    received.request_soon(receiver.now)
    assert not received.undecided


def test_on_longer_paths_what_its_sender_may_wait_for_takes_as_long_as_any() -> None:
    receiver = Receiver(rtt=0.08)
    receiver.received.request_soon(receiver.now)
    receiver.receive(0, 1)
    receiver.want_due_in(0.02)


def test_as_many_small_packets_as_large_ones_bring_forth_an_ack(near: Receiver) -> None:
    for number in range(201, 210):
        near.now += 0.0002
        near.receive(number, number + 1, size=100 * (number - 200))
        assert not near.is_due()
    near.receive(210, 211, size=1_000)
    near.want_due()


def test_small_packets_wait_no_longer_than_max_ack_delay() -> None:
    receiver = Receiver(rtt=0.0002, max_ack_delay=PATIENCE / 2)
    receiver.receive(0, 200)
    receiver.ack()
    receiver.ack()
    receiver.now += PATIENCE * 0.1
    receiver.receive(200, 201, size=100)
    receiver.want_due_in(PATIENCE / 2)


@pytest.mark.parametrize("what", ["full", "pause", "gap", "asked", "no delay"])
def test_nothing_else_waits_for_company(near: Receiver, what: str) -> None:
    near.now += LONGEST_PAUSE * 1.02 if what == "pause" else LONGEST_PAUSE * 0.98
    if what == "asked":
        near.received.request_immediate()
    if what == "no delay":
        near.received.max_ack_delay = GRANULARITY * 0.9
    near.receive(202 if what == "gap" else 201, 203, size=FEW_BYTES if what == "full" else FEW_BYTES - 1)
    near.want_due()
    assert near.received.ack_wanted


def test_on_a_long_path_small_packets_one_upon_another_wait_as_long_as_others_and_for_company_no_less() -> None:
    receiver = Receiver()
    receiver.receive(0, 200)
    receiver.ack()
    receiver.now += 1.0
    receiver.receive(200, 201, size=100)
    assert receiver.received.ack_wanted
    receiver.ack()
    receiver.now += LONGEST_PAUSE / 2
    receiver.receive(201, 202, size=100)
    receiver.want_due_in(RTT / 4)
    assert not receiver.received.ack_wanted
    receiver.now += LONGEST_PAUSE * 1.1
    receiver.receive(202, 203, size=200)
    assert receiver.received.ack_wanted


def test_later_on_ten_packets_bring_forth_an_ack(settled: Receiver) -> None:
    settled.receive(200, 204)
    settled.want_due_in(RTT / 4)
    settled.now += 0.010
    settled.receive(204, 209)
    settled.want_due_in(RTT / 4 - 0.010)
    settled.receive(209, 210)
    settled.want_due()
    settled.ack()
    settled.want_nothing_due()
    assert not settled.received.ack_pending


def test_a_buffer_asks_for_one_ack_at_most(settled: Receiver) -> None:
    received = settled.received
    for first in range(200, 400, 4):
        received.on_received(first, first + 2, settled.now, True, 0)
        assert not settled.is_due()
    received.end_of_buffer(settled.now, 1_200)
    settled.want_due()
    settled.ack()
    received.end_of_buffer(settled.now, 1_200)
    settled.want_nothing_due()


def test_packets_that_need_no_ack_bring_none(settled: Receiver) -> None:
    settled.receive(200, 300, quiet=True)
    settled.receive(350, 360, quiet=True)
    settled.want_nothing_due()
    assert settled.received.ack_pending


def test_duplicates_bring_no_ack(settled: Receiver) -> None:
    settled.receive(100, 200)
    settled.want_nothing_due()
    assert not settled.received.ack_pending


def test_a_new_gap_is_told_at_once_and_only_once(settled: Receiver) -> None:
    settled.receive(201, 202)
    settled.want_due()
    assert settled.ack().ranges == ((201, 202), (0, 200))
    settled.receive(202, 203)
    settled.want_due_in(RTT / 4)


def test_a_late_packet_is_told_at_once(settled: Receiver) -> None:
    settled.receive(201, 202)
    settled.ack()
    settled.receive(200, 201)
    settled.want_due()


def test_congestion_is_told_at_once(settled: Receiver) -> None:
    settled.receive(200, 201, ecn=CE)
    settled.want_due()


def test_an_immediate_ack_on_request(settled: Receiver) -> None:
    settled.received.request_immediate()
    settled.receive(200, 201)
    settled.want_due()
    settled.ack()
    settled.receive(201, 202)
    settled.want_due_in(RTT / 4)


def test_ack_frequency_sets_thresholds_and_delay(settled: Receiver) -> None:
    settled.received.on_ack_frequency(AckFrequency(7, 3, 0.005, 1))
    settled.receive(200, 202)
    settled.want_due_in(0.005)
    settled.receive(202, 203)
    settled.want_due()


def test_what_comes_while_an_ack_waits_leaves_its_deadline_alone(settled: Receiver) -> None:
    settled.receive(200, 201)
    deadline = settled.received.deadline
    settled.now += 0.001
    settled.received._rtt.smoothed_rtt = RTT / 10
    settled.receive(201, 202, size=2_400)
    assert settled.received.deadline == deadline
    # But for news of a gap, and for a sender who asks for it.
    settled.received.on_ack_frequency(AckFrequency(7, 100, 0.002, 1))
    settled.receive(202, 203, size=3_600)
    settled.want_due_in(0.002)
    settled.receive(204, 205, size=4_800)
    settled.want_due()


def test_an_older_ack_frequency_is_ignored(settled: Receiver) -> None:
    settled.received.on_ack_frequency(AckFrequency(7, 3, 0.005, 1))
    settled.received.on_ack_frequency(AckFrequency(6, 1, 0.001, 1))
    settled.received.on_ack_frequency(AckFrequency(7, 1, 0.001, 1))
    settled.receive(200, 202)
    settled.want_due_in(0.005)


def test_reordering_threshold_zero_tells_no_gap_at_once(settled: Receiver) -> None:
    settled.received.on_ack_frequency(AckFrequency(1, 100, 0.020, 0))
    settled.receive(250, 251)
    settled.receive(240, 241)
    settled.want_due_in(0.020)


def test_reordering_threshold_three_waits_until_a_gap_is_overtaken_by_three(settled: Receiver) -> None:
    settled.received.on_ack_frequency(AckFrequency(1, 100, 0.020, 3))
    settled.now += RTT
    settled.receive(201, 202)
    settled.want_due_in(0.020)
    settled.receive(202, 203)
    settled.want_due_in(0.020)
    settled.receive(203, 204)
    settled.want_due()
    settled.ack()
    settled.receive(204, 205)
    settled.want_due_in(0.020)


def test_gap_after_gap_is_told_eight_times_a_round_trip_to_a_sender_of_large_windows(settled: Receiver) -> None:
    settled.received.on_ack_frequency(AckFrequency(1, 1000, 0.020, 1))
    settled.now += RTT
    settled.receive(201, 202)
    settled.want_due()
    settled.ack()
    settled.receive(203, 204)
    settled.want_due_in(RTT / 8)
    settled.now += RTT / 16
    settled.receive(205, 206)
    settled.want_due_in(RTT / 16)
    settled.now += RTT / 16
    settled.want_due()
    settled.ack()
    settled.now += RTT / 7
    settled.receive(207, 208)
    settled.want_due()


def test_no_range_is_pushed_out_of_the_ack_before_it_was_told(settled: Receiver) -> None:
    """A sender of a large window asks for few ACKs and loses 10 %: what no ACK has, it sends again."""
    settled.received.on_ack_frequency(AckFrequency(1, 5_000, 0.020, 1))
    settled.ack()
    told: set[int] = set()
    random = Random(1)
    arrived = [number for number in range(200, 5_000) if random.random() > 0.1]
    last = settled.now
    for first in range(200, 5_000, 60):
        settled.now += 0.0002
        for number in arrived:
            if first <= number < first + 60:
                settled.received.on_received(number, number + 1, settled.now, True, 0)
        settled.received.end_of_buffer(settled.now, 1_200)
        if settled.is_due():
            # Few go out for that alone: a buffer has five gaps, so one for every sixth.
            assert settled.now - last >= 0.00075
            last = settled.now
            for start, stop in settled.received.build_ack(settled.now).ranges:
                told.update(range(start, stop))
            settled.received.on_ack_sent(settled.now)
    assert [number for number in arrived if number not in told and number < 4_000] == []


def test_a_range_is_told_by_several_acks_and_no_more_often_than_that() -> None:
    """Each ACK may be lost; to tell every time of all that was ever told costs both sides more than what is new."""
    settled, random = Receiver(), Random(1)
    told: dict[int, int] = {}
    lengths = []
    late = [number for number in range(1_000, 6_000) if random.random() < 0.01]
    for first in range(0, 6_000, 100):
        for number in range(first, first + 100):
            if number not in late and random.random() > 0.1:
                settled.receive(number, number + 1)
            if number - 150 in late:
                settled.receive(number - 150, number - 149)
        ack = settled.ack()
        lengths.append(len(ack.ranges))
        for start, stop in ack.ranges:
            for number in range(start, stop):
                told[number] = told.get(number, 0) + 1
    assert sum(lengths[10:]) / len(lengths[10:]) < 100
    assert [number for number, times in told.items() if times < TELLINGS and number < 5_000] == []
    assert {number for number in late if number < 5_000} <= told.keys()


@pytest.mark.parametrize("joined", [0, 1])
def test_eight_acks_tell_of_each_range(joined: int) -> None:
    """Twelve at a time, each by itself, or the first with the last one told: that is news as well."""
    receiver, ranges = Receiver(), []
    receiver.receive(0, 2)
    receiver.ack()
    for _ in range(14):
        first = receiver.received.largest + 2 - joined
        for number in range(first, first + 24, 2):
            receiver.receive(number, number + 1)
        ranges.append(len(receiver.ack().ranges))
    assert ranges[:7] == [1 + (12 - joined) * count for count in range(1, 8)]
    assert set(ranges[7:]) == {12 * 8 - 7 * joined}


def test_however_few_are_news_an_ack_has_thirty_two_ranges(receiver: Receiver) -> None:
    for number in range(0, 200, 2):
        receiver.receive(number, number + 1)
        ranges = receiver.ack().ranges
    assert len(ranges) == 32


def test_a_repeated_ack_tells_all(receiver: Receiver) -> None:
    for first in range(0, 200, 20):
        for number in range(first, first + 20, 2):
            receiver.receive(number, number + 1)
        few = receiver.ack().ranges
    assert len(few) == 10 * TELLINGS
    assert receiver.ack().ranges == tuple((number, number + 1) for number in range(198, -1, -2))


def test_what_came_before_the_first_gap_is_told_as_often() -> None:
    """Though an ACK without a gap tells all, it may be lost, and the ACKs after it have many ranges."""
    for quiet in range(3):
        receiver = Receiver()
        receiver.receive(0, 100)
        receiver.ack()
        at = 101
        told = []
        for count in [1] * quiet + [17] * (9 - quiet):
            for number in range(at, at + 2 * count, 2):
                receiver.receive(number, number + 1)
            at += 2 * count
            told.append(receiver.ack().ranges[-1] == (0, 100))
        assert told == [True] * (TELLINGS - 1) + [False] * 2


def test_until_a_sender_asks_for_few_acknowledgements_every_gap_is_told_at_once(settled: Receiver) -> None:
    for number in range(201, 240, 2):
        settled.receive(number, number + 1)
        settled.want_due()
        settled.ack()


EVENTS = (
    "next", "next", "next", "gap", "late", "quiet", "mark", "ack", "acked", "frequency", "urgent", "long ago", "soon",
    "near",
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 40)), max_size=60))
def test_what_comes_next_is_noted_at_once_as_it_would_be_with_a_search_for_gaps(story: list[tuple[str, int]]) -> None:
    """Whatever is missing before, and whatever the last ACK told of that."""
    short, long = Receiver(), Receiver()
    for sequence, (what, much) in enumerate(story):
        for one in (short, long):
            received = one.received
            if one is long:
                received.next = -1  # nothing is what comes next
            one.now += 0.004 if what == "long ago" else 0.0007
            first = received.largest + 1
            if what == "acked" and received.largest >= 0:
                received.on_ack_acked(received.build_ack(one.now).ranges[much % 2 :] or ((0, 1),))
            elif what == "ack" and received.largest >= 0:
                one.ack()
            elif what == "frequency":
                received.on_ack_frequency(AckFrequency(sequence, 4 + much, MAX_ACK_DELAY, much % 5))
            elif what == "urgent":
                received.request_immediate()
            elif what == "soon":
                received.request_soon(one.now)
            elif what == "near":
                received._rtt.smoothed_rtt = NEAR_RTT * (0.5 + much % 2)
            else:
                start = max(0, first - 1 - much) if what == "late" else first + (what == "gap") * (1 + much % 3)
                one.receive(start, start + 1 + much % 2, quiet=what == "quiet", ecn=CE if what == "mark" else much & 2)
        assert noted(short) == noted(long)


def noted(receiver: Receiver) -> dict[str, object]:
    """All that is remembered, but for what comes next."""
    names = [name for name in ReceivedPackets.__slots__ if name not in ("next", "_rtt")]
    found = {name: getattr(receiver.received, name) for name in names}
    return found | {name: list(found[name] or ()) for name in ("ranges", "_told")}


def test_marks_and_requests_are_answered_at_once_whatever_was_just_told(settled: Receiver) -> None:
    settled.received.on_ack_frequency(AckFrequency(1, 1000, 0.020, 1))
    settled.ack()
    settled.receive(200, 201, ecn=3)
    settled.want_due()
    settled.ack()
    settled.received.request_immediate()
    settled.receive(201, 202)
    settled.want_due()


def test_on_a_short_path_gaps_are_not_spaced_by_less_than_a_timer_can_keep() -> None:
    receiver = Receiver(rtt=0.006)
    receiver.receive(0, 200)
    receiver.ack()
    receiver.received.on_ack_frequency(AckFrequency(1, 1000, 0.020, 1))
    receiver.receive(201, 202)
    receiver.want_due()


def test_on_a_short_path_a_sender_that_asked_for_few_acks_gets_one_a_timers_grain_at_most() -> None:
    receiver = Receiver(GRANULARITY)
    receiver.receive(0, 200)
    receiver.ack()
    receiver.receive(200, 246)
    receiver.want_due()
    receiver.ack()
    receiver.received.on_ack_frequency(AckFrequency(0, 500, MAX_ACK_DELAY, 1))
    receiver.receive(246, 292)
    receiver.want_due_in(GRANULARITY)
    receiver.now += GRANULARITY / 2
    receiver.receive(292, 338)
    receiver.want_due_in(GRANULARITY / 2)
    receiver.receive(338, 338 + 500)
    receiver.want_due()
    receiver.ack()
    receiver.receive(838, 884)
    receiver.want_due_in(GRANULARITY)
    receiver.ack()
    # Unless it wants none to wait as long.
    receiver.received.on_ack_frequency(AckFrequency(1, 500, GRANULARITY / 2, 1))
    receiver.receive(884, 930)
    receiver.want_due()


def test_ack_delay_counts_from_the_largest(receiver: Receiver) -> None:
    receiver.receive(0, 5)
    receiver.now += 0.003
    receiver.receive(6, 8)
    receiver.now += 0.004
    receiver.receive(5, 6)
    receiver.now += 0.001
    ack = receiver.ack()
    assert ack.ack_delay == pytest.approx(0.005)
    assert ack.largest_acknowledged == 7
    assert ack.ranges == ((0, 8),)
    assert ack.ecn is None


def test_one_that_comes_right_after_the_next_is_not_the_largest(receiver: Receiver) -> None:
    receiver.receive(0, 5)
    receiver.receive(6, 7)
    receiver.now += 0.003
    receiver.receive(5, 6)
    ack = receiver.ack()
    assert (ack.largest_acknowledged, ack.ack_delay) == (6, pytest.approx(0.003))
    assert receiver.received.largest == 6


def test_packets_behind_a_gap_count_among_the_first_hundred(receiver: Receiver) -> None:
    receiver.receive(0, 60)
    receiver.receive(61, 110)
    receiver.ack()
    receiver.receive(110, 112)
    receiver.want_due_in(RTT / 4)


def test_ecn_marks_are_counted_by_the_packet(receiver: Receiver) -> None:
    receiver.receive(0, 10, ecn=ECT0)
    receiver.receive(10, 13, ecn=CE)
    receiver.receive(13, 20)
    receiver.receive(5, 12, ecn=CE)
    assert receiver.ack().ecn == (10, 0, 3)


def test_an_ack_has_the_newest_ranges_only(receiver: Receiver) -> None:
    for number in range(0, 2 * MAX_RANGES, 2):
        receiver.receive(number, number + 1)
    ranges = receiver.ack().ranges
    assert len(ranges) == MAX_ACK_RANGES
    assert ranges[:2] == ((510, 511), (508, 509))


def test_what_is_remembered_is_bounded_and_the_floor_rises(receiver: Receiver) -> None:
    received = receiver.received
    for number in range(0, 10 * MAX_RANGES, 2):
        receiver.receive(number, number + 1)
    assert len(received.ranges) == MAX_RANGES
    lowest = received.ranges.first()[0]
    assert received.floor == lowest - 1
    assert received.filter_new(0, lowest) == [(lowest - 1, lowest)]


def test_an_acknowledged_ack_needs_no_repeating(receiver: Receiver) -> None:
    receiver.receive(0, 5)
    receiver.receive(7, 9)
    early = receiver.ack().ranges
    receiver.receive(12, 20)
    receiver.received.on_ack_acked(early)
    late = receiver.ack().ranges
    assert late == ((12, 20), (8, 9))
    assert receiver.received.filter_new(0, 13) == [(9, 12)]
    # An older one, acknowledged late, changes nothing.
    receiver.received.on_ack_acked(((4, 5), (0, 3)))
    assert receiver.received.floor == 8
    receiver.received.on_ack_acked(late)
    assert receiver.ack().ranges == ((19, 20),)


def test_what_came_late_is_told_though_an_ack_above_it_is_acknowledged(receiver: Receiver) -> None:
    """It came after that ACK was sent, and the one that told of it was lost."""
    receiver.receive(0, 3)
    receiver.receive(4, 10)
    first = receiver.ack().ranges
    receiver.receive(3, 4)
    receiver.ack()
    receiver.received.on_ack_acked(first)
    assert receiver.received.floor == 2
    receiver.receive(10, 11)
    assert receiver.ack().ranges == ((2, 11),)


def test_a_range_that_an_ack_had_no_room_for_is_told_though_it_is_acknowledged(receiver: Receiver) -> None:
    received = receiver.received
    receiver.receive(0, 1)
    receiver.receive(2, 3)
    receiver.receive(4, 5)
    short = received.build_ack(receiver.now, 2).ranges
    received.on_ack_sent(receiver.now)
    assert short == ((4, 5), (2, 3))
    received.on_ack_acked(short)
    assert received.filter_new(0, 6) == [(1, 2), (3, 4), (5, 6)]
    assert receiver.ack().ranges == ((4, 5), (2, 3), (0, 1))
    received.on_ack_acked(((0, 1),))
    assert received.filter_new(0, 6) == [(5, 6)]


def test_a_range_is_told_anew_when_all_acks_that_told_of_it_are_known_to_be_lost(receiver: Receiver) -> None:
    """It is too old for the newest ranges that each ACK tells, and the one that arrived was sent after all of those."""
    receiver.receive(0, 1)
    for number in range(2, 2 + 2 * 100, 2):
        receiver.receive(number, number + 1)
        ranges = receiver.ack().ranges
    assert ranges[-1][0] > 0
    receiver.receive(300, 301)
    receiver.received.on_ack_acked(ranges)
    for _ in range(TELLINGS):
        assert receiver.ack().ranges[-1] == (0, 1)
        receiver.receive(receiver.received.largest + 2, receiver.received.largest + 3)
    assert receiver.ack().ranges[-1] != (0, 1)


def test_what_lies_below_an_acknowledged_ack_is_told_anew_from_where_the_peer_knows_all(receiver: Receiver) -> None:
    receiver.receive(0, 1)
    for number in range(2, 2 + 2 * 100, 2):
        receiver.receive(number, number + 1)
        ranges = receiver.ack().ranges
    for number in range(300, 300 + 2 * 20, 2):
        receiver.receive(number, number + 1)
        receiver.ack()
    receiver.received.on_ack_acked(((10, 11), (8, 9), (6, 7), (4, 5), (2, 3), (0, 1)))
    assert receiver.received.floor == 10
    receiver.received.on_ack_acked(ranges)
    receiver.receive(500, 501)
    assert receiver.ack().ranges[-1][0] == 12


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_the_peer_hears_of_all_that_arrived_in_the_end(seed: int) -> None:
    """Half of all ACKs are lost, and of the rest the receiver is told a while later; ranges stay few enough to hold."""
    receiver, random = Receiver(), Random(seed)
    received = receiver.received
    told: set[int] = set()
    arrived: set[int] = set()
    on_their_way: list[Sequence[tuple[int, int]]] = []
    late: list[int] = []
    for number in range(3_000):
        draw = random.random()
        if draw < 0.1:
            late.append(number)
        elif draw > 0.3:
            receiver.receive(number, number + 1)
            arrived.add(number)
        if late and random.random() < 0.1:
            sometime = late.pop(-random.randrange(1, min(len(late), 5) + 1))
            arrived.update(n for a, b in received.filter_new(sometime, sometime + 1) for n in range(a, b))
            receiver.receive(sometime, sometime + 1)
        if number % 24 == 23:
            ranges = receiver.ack().ranges
            if random.random() < 0.5:
                told.update(n for start, stop in ranges for n in range(start, stop))
                on_their_way.append(ranges)
            if len(on_their_way) > 2:
                received.on_ack_acked(on_their_way.pop(0))
        receiver.now += 0.001
        assert len(received.ranges) < MAX_RANGES
    assert [number for number in arrived if number not in told and number < 2_000] == []


def test_a_floor_raised_by_the_packets_own_frames(receiver: Receiver) -> None:
    """A packet below the ACK it acknowledges: no honest peer sends one, and none does harm."""
    received = receiver.received
    receiver.receive(50, 60)
    ((first, stop),) = received.filter_new(10, 12)
    received.on_ack_acked(((50, 60),))
    received.on_received(first, stop, receiver.now, True, 0)
    assert receiver.ack().ranges == ((59, 60),)
    received.on_received(48, 62, receiver.now, True, 0)
    assert receiver.ack().ranges == ((59, 62),)


@pytest.mark.parametrize("seed", range(40))
def test_a_buffer_with_gaps_counts_as_its_ranges_one_by_one(seed: int) -> None:
    random = Random(seed)
    whole, single = Receiver(), Receiver()
    at = 0
    for _ in range(60):
        if random.random() < 0.3:
            frequency = AckFrequency(random.randrange(50), random.randrange(30), 0.01, random.randrange(4))
            for receiver in (whole, single):
                receiver.received.on_ack_frequency(frequency)
        numbers = []
        # Sometimes one behind the other, as a buffer that goes on where the last one ended.
        at += random.choice([0, 0, 1, 2])
        for _ in range(random.randrange(1, 12)):
            stop = at + random.randrange(1, 5)
            numbers.append((at, stop))
            at = stop + random.randrange(1, 4)
        at = numbers[-1][1]
        ecn = random.choice([0, 0, 0, ECT0, CE])
        whole.received.on_received_with_gaps(numbers, whole.now, ecn)
        for first, stop in numbers:
            single.received.on_received(first, stop, single.now, True, ecn)
        told = []
        for receiver in (whole, single):
            received = receiver.received
            received.end_of_buffer(receiver.now, 1_200)
            state = [list(received.ranges), received.floor, received.largest, received.deadline]
            if receiver.is_due():
                state.append(receiver.ack())
            told.append(state)
            receiver.now += 0.004
        assert told[0] == told[1]


def test_the_first_hundred_packets_are_acknowledged_in_twos(receiver: Receiver) -> None:
    receiver.receive(0, 98)
    receiver.ack()
    receiver.receive(98, 99)
    receiver.want_due_in(RTT / 4)
    receiver.receive(99, 100)
    receiver.want_due()
    receiver.ack()
    receiver.receive(100, 102)
    receiver.want_due_in(RTT / 4)
    another = Receiver()
    another.receive(0, 99)
    another.ack()
    another.receive(99, 101)
    another.want_due()
    another.ack()
    another.receive(101, 103)
    another.want_due_in(RTT / 4)


@pytest.mark.parametrize("seed", range(60))
def test_how_what_comes_at_one_instant_is_split_into_buffers_makes_no_difference(seed: int) -> None:
    """A path may merge packets or not: when the ACK is due, what it says and whether it rides along is the same."""
    random = Random(seed)
    rtt = random.choice([0.0002, RTT])
    whole, split = Receiver(rtt), Receiver(rtt)
    number = since_ack = 0
    for _ in range(60):
        count = random.randrange(1, random.choice([2, 40]))
        number += count
        arrived = [n for n in range(number - count, number) if random.random() < 0.98] or [number]
        number += 1
        each = random.choice([50, 1_200])
        for receiver, parts in ((whole, [arrived]), (split, [[n] for n in arrived])):
            come = since_ack
            for part in parts:
                come += len(part) * each
                for n in part:
                    receiver.received.on_received(n, n + 1, receiver.now, True, 0)
                receiver.received.end_of_buffer(receiver.now, come)
        since_ack += len(arrived) * each
        assert whole.received.deadline == split.received.deadline
        assert whole.received.ack_wanted == split.received.ack_wanted
        if whole.is_due() or random.random() < 0.2:
            assert whole.ack() == split.ack()
            since_ack = 0
        pause = random.choice([LONGEST_PAUSE / 4, PATIENCE, 0.05])
        for receiver in (whole, split):
            receiver.now += pause


def test_a_first_packet_that_is_not_the_first_sent_is_told_at_once(receiver: Receiver) -> None:
    receiver.receive(1, 2)
    receiver.want_due()


def test_a_grain_of_timers_is_waited() -> None:
    receiver = Receiver(RTT, GRANULARITY)
    receiver.receive(0, 1)
    receiver.want_due_in(GRANULARITY)


@pytest.mark.parametrize("threshold", [0, 1])
def test_a_sender_may_ask_for_an_ack_of_each_packet(settled: Receiver, threshold: int) -> None:
    settled.received.on_ack_frequency(AckFrequency(0, threshold, 0.020, 1))
    settled.receive(200, 201)
    settled.want_due()


def test_the_first_frame_of_all_already_spaces_the_acks_of_gaps(settled: Receiver) -> None:
    settled.received.on_ack_frequency(AckFrequency(0, 1000, 0.020, 1))
    settled.receive(201, 202)
    settled.want_due_in(RTT / 8)


def test_a_quarter_of_an_ack_of_ranges_that_none_has_told_is_due_at_once(settled: Receiver) -> None:
    settled.received.on_ack_frequency(AckFrequency(1, 1000, 0.020, 0))
    last = 199 + MAX_ACK_RANGES // 2
    for number in range(201, last, 2):
        settled.receive(number, number + 1)
    settled.want_due_in(0.020)
    settled.receive(last + 2, last + 3)
    settled.want_due()


def test_three_acks_lost_in_a_row_take_no_range_with_them(settled: Receiver) -> None:
    """Under loss each ACK tells of a quarter of what one has room for, so the fourth tells what the three did."""
    settled.received.on_ack_frequency(AckFrequency(1, 5_000, 0.020, 0))
    acks = []
    for number in range(201, 201 + 4 * MAX_ACK_RANGES, 2):
        settled.receive(number, number + 1)
        if settled.is_due():
            acks.append(set(settled.ack().ranges))
    for before, later in zip(acks[1:], acks[4:], strict=False):
        news = before - acks[acks.index(before) - 1]
        assert news <= later
    assert len(acks) >= 8


def test_an_ack_rides_along_only_for_packets_that_ask_for_one(receiver: Receiver) -> None:
    assert not receiver.received.ack_wanted
    receiver.receive(0, 1, quiet=True)
    assert not receiver.received.ack_wanted
    receiver.receive(1, 2)
    assert receiver.received.ack_wanted
    receiver.ack()
    assert not receiver.received.ack_wanted


def test_an_empty_run_is_nothing_new_and_can_not_be_received(receiver: Receiver) -> None:
    receiver.receive(0, 3)
    assert receiver.received.filter_new(7, 7) == []
    assert receiver.received.filter_new(1, 1) == []
    with pytest.raises(AssertionError):
        receiver.received.on_received(7, 7, receiver.now, True, 0)


def test_ranges_with_gaps_lie_above_all_received(receiver: Receiver) -> None:
    receiver.receive(0, 5)
    for numbers in ([(4, 7)], [(3, 4), (8, 9)]):
        with pytest.raises(AssertionError):
            receiver.received.on_received_with_gaps(numbers, receiver.now, 0)
    receiver.received.on_received_with_gaps([(5, 7), (8, 9)], receiver.now, 0)
    assert receiver.ack().ranges == ((8, 9), (0, 7))


def test_packets_that_end_at_the_floor_change_nothing(receiver: Receiver) -> None:
    receiver.receive(50, 60)
    receiver.received.on_ack_acked(((50, 56),))
    receiver.ack()
    receiver.ack()
    receiver.received.on_received(40, 55, receiver.now, True, 0)
    receiver.received.end_of_buffer(receiver.now, 1_200)
    assert not receiver.received.ack_pending
    receiver.want_nothing_due()


def test_an_ack_needs_a_packet_and_one_is_enough(receiver: Receiver) -> None:
    with pytest.raises(AssertionError, match="nothing was received"):
        receiver.received.build_ack(receiver.now)
    receiver.receive(0, 1)
    assert receiver.ack().ranges == ((0, 1),)


def test_a_repeated_ack_tells_no_delay(receiver: Receiver) -> None:
    receiver.receive(0, 1)
    receiver.now += 0.002
    assert receiver.ack().ack_delay == pytest.approx(0.002)
    assert receiver.ack().ack_delay == UNKNOWN_ACK_DELAY


def test_a_clock_that_goes_back_makes_no_negative_delay(receiver: Receiver) -> None:
    receiver.receive(0, 1)
    assert receiver.received.build_ack(receiver.now).ack_delay == 0.0
    assert receiver.received.build_ack(receiver.now - 1.0).ack_delay == 0.0


def test_each_mark_has_a_count_of_its_own() -> None:
    for mark, counts in ((ECT0, (5, 0, 0)), (ECT1, (0, 5, 0)), (CE, (0, 0, 5))):
        receiver = Receiver()
        receiver.receive(0, 2, ecn=mark)
        receiver.receive(2, 5, ecn=mark)
        assert receiver.ack().ecn == counts


def test_numbers_cross_32_bits(receiver: Receiver) -> None:
    base = 2**32
    receiver.receive(base - 3, base + 3)
    receiver.receive(base + 4, base + 5)
    assert receiver.ack().ranges == ((base + 4, base + 5), (base - 3, base + 3))
    assert receiver.received.filter_new(base - 5, base + 10) == [
        (base - 5, base - 3),
        (base + 3, base + 4),
        (base + 5, base + 10),
    ]


class AgainstASet(RuleBasedStateMachine):
    """Ranges, floor and ACKs say what a set of numbers says."""

    def __init__(self) -> None:
        super().__init__()
        self.receiver = Receiver()
        self.received = self.receiver.received
        self.model: set[int] = set()
        self.base = 2**32 - 300
        self.acks: list[Sequence[tuple[int, int]]] = []
        self.known: set[int] = set()
        # What is forgotten for want of room.
        self.forgotten = 0

    @rule(back=st.integers(-40, 400), length=st.integers(1, 50))
    def receive(self, back: int, length: int) -> None:
        top = max(self.model, default=self.base)
        first = max(0, top - back)
        run = range(first, first + length)
        new = self.received.filter_new(first, first + length)
        wanted = [number for number in run if number >= self.received.floor and number not in self.model]
        assert [number for start, stop in new for number in range(start, stop)] == wanted
        floor = self.received.floor
        self.receiver.receive(first, first + length)
        if self.received.floor > floor:
            self.forgotten = self.received.floor
        self.model.update(wanted)
        if wanted:
            self.receiver.now += 0.5
            assert self.receiver.is_due()

    @rule(gap=st.integers(1, 3))
    def receive_many_holes(self, gap: int) -> None:
        first = max(self.model, default=self.base) + 1
        floor = self.received.floor
        for number in range(first, first + 120 * gap, gap + 1):
            self.receiver.receive(number, number + 1)
            self.model.add(number)
        if self.received.floor > floor:
            self.forgotten = self.received.floor

    @precondition(lambda self: self.model)
    @rule()
    def ack(self) -> None:
        ack = self.receiver.ack()
        assert ack.largest_acknowledged == max(self.model)
        assert len(ack.ranges) <= MAX_ACK_RANGES
        told = [number for start, stop in reversed(ack.ranges) for number in range(start, stop)]
        assert told == sorted(number for number in self.model if number >= told[0])
        assert all(low[1] < high[0] for high, low in zip(ack.ranges, ack.ranges[1:], strict=False))
        self.acks.append(ack.ranges)
        if self.received.deadline is not None:
            assert self.receiver.ack().ranges == ack.ranges, "the first of several packets is repeated"
        self.receiver.want_nothing_due()

    @precondition(lambda self: self.acks)
    @rule(data=st.data())
    def ack_acked(self, data: st.DataObject) -> None:
        ranges = data.draw(st.sampled_from(self.acks))
        is_news = ranges[0][1] > self.received.floor
        self.received.on_ack_acked(ranges)
        self.known.update(number for start, stop in ranges for number in range(start, stop))
        below = [number for number in self.model if self.forgotten <= number < self.received.floor]
        assert self.known.issuperset(below), "nobody knows of what is forgotten"
        untold = min({n for n in self.model - self.known if n >= self.forgotten}, default=max(self.model) + 1)
        told = max((n for n in self.known if n < untold), default=0)
        assert not is_news or self.received.floor == max(told, self.forgotten), "it rises as far as the peer knows all"

    @invariant()
    def holds_what_lies_above_the_floor(self) -> None:
        floor = self.received.floor
        held = [number for start, stop in self.received.ranges for number in range(start, stop)]
        assert held == sorted(number for number in self.model if number >= floor)
        assert len(self.received.ranges) <= MAX_RANGES
        assert self.received.largest == max(self.model, default=-1)


TestAgainstASet = AgainstASet.TestCase
TestAgainstASet.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_the_largest_number_is_no_news_twice(receiver: Receiver) -> None:
    receiver.receive(0, 3)
    receiver.receive(3, 6)
    assert receiver.received.largest == receiver.ack().largest_acknowledged == 5
    assert receiver.received.filter_new(5, 6) == []
    assert receiver.received.filter_new(5, 7) == [(6, 7)]


def test_as_many_ranges_as_may_be_are_held(receiver: Receiver) -> None:
    for number in range(0, 2 * MAX_RANGES, 2):
        receiver.received.on_received(number, number + 1, receiver.now, True, 0)
    assert len(receiver.received.ranges) == MAX_RANGES
    assert receiver.received.floor == 0
    receiver.received.on_received(2 * MAX_RANGES, 2 * MAX_RANGES + 1, receiver.now, True, 0)
    assert len(receiver.received.ranges) == MAX_RANGES
    assert receiver.received.floor > 0


def short(pause: float, max_ack_delay: float = MAX_ACK_DELAY, threshold: int = 0, rtt: float = 0.0002) -> Receiver:
    """A short path, on which a small packet came `pause` seconds after the one before."""
    receiver = Receiver(rtt, max_ack_delay)
    receiver.receive(0, 200)
    receiver.ack()
    if threshold:
        receiver.received.on_ack_frequency(AckFrequency(1, threshold, max_ack_delay, 1))
    receiver.now = 16.0
    receiver.receive(200, 201, size=100)
    receiver.ack()
    receiver.now += pause
    receiver.receive(201, 202, size=100)
    return receiver


def test_small_packets_are_waited_for_while_pauses_are_short() -> None:
    short(LONGEST_PAUSE * 0.8).want_due_in(NEAR_PATIENCE)
    # Just as often as not: sixteenths of a second have no rounding.
    receiver = short(0.0)
    receiver.receive(202, 203, size=100)
    receiver.ack()
    receiver.received._last_buffer = 0.0
    receiver.now = LONGEST_PAUSE
    receiver.receive(203, 204, size=100)
    receiver.want_due()


def test_an_ack_that_waits_ends_it_at_the_first_pause_that_is_too_long() -> None:
    receiver = short(LONGEST_PAUSE)
    receiver.ack()
    receiver.received._last_buffer = -LONGEST_PAUSE / 2
    for now, size in ((0.0, 100), (LONGEST_PAUSE / 2, 200)):  # halves have no rounding
        receiver.now = now
        receiver.receive(202 + int(now > 0), 203 + int(now > 0), size=size)
        assert not receiver.received.ack_wanted
    receiver.received._last_buffer = 0.0
    receiver.now = LONGEST_PAUSE
    receiver.receive(204, 205, size=300)
    receiver.want_due()


def test_a_grain_of_delay_is_enough_to_wait() -> None:
    short(LONGEST_PAUSE * 0.2, max_ack_delay=GRANULARITY).want_due_in(GRANULARITY)
    short(PATIENCE, max_ack_delay=GRANULARITY, threshold=10).want_due_in(GRANULARITY)
    short(PATIENCE, max_ack_delay=GRANULARITY).want_due()


def test_at_first_an_ack_is_wanted_with_whatever_goes() -> None:
    receiver = Receiver()
    receiver.received.on_received(0, 1, receiver.now, True, 0)
    assert receiver.received.ack_wanted


def test_an_ack_that_is_due_when_the_next_is_expected_is_wanted_before() -> None:
    """By sums without rounding: the next would come with the deadline, and its answer after it."""
    receiver = Receiver(rtt=0.0002, max_ack_delay=1 / 512)
    receiver.receive(0, 200)
    receiver.ack()
    receiver.now = 16.0
    receiver.receive(200, 201, size=100)
    receiver.ack()
    receiver.now += 1 / 1024
    receiver.receive(201, 202, size=100)
    assert not receiver.received.ack_wanted
    receiver.now += 1 / 1024
    receiver.received.end_of_buffer(receiver.now, 100)
    assert receiver.received.deadline == receiver.now + 1 / 1024
    assert receiver.received.ack_wanted


@given(st.integers(0, 1 << 32))
def test_a_buffer_that_leaves_nothing_undecided_needs_no_decision(seed: int) -> None:
    """Who asks at the end of each buffer is told the same as who asks where something is undecided.

    Elsewhere what was found before holds: no ACK is due, and none will be sooner.
    """
    random = Random(seed)
    rtt = RttEstimator()
    rtt.update(random.choice((0.002, 0.05, 0.3)), 0.0, 0.0)
    always, needed = ReceivedPackets(rtt, 0.025), ReceivedPackets(rtt, 0.025)
    now, number, size = 1.0, 0, 0
    for _ in range(80):
        now += random.choice((0.0, 0.0001, 0.001, 0.02))
        number += random.random() < 0.05
        stop = number + random.randint(1, 3)
        asks, ecn = random.random() < 0.9, random.choice((0, 2, 2, 2, 3)) if random.random() < 0.1 else 2
        size += random.choice((100, 1_200)) * (stop - number)
        before = needed.deadline
        for received in (always, needed):
            received.on_received(number, stop, now, asks, ecn)
        always.end_of_buffer(now, size)
        if needed.undecided:
            needed.end_of_buffer(now, size)
        else:
            assert before is not None
            assert now < before == needed.deadline
        number = stop
        if always.deadline is not None and now >= always.deadline and random.random() < 0.8:
            assert always.build_ack(now) == needed.build_ack(now)
            size = 0
            for received in (always, needed):
                received.on_ack_sent(now)
        if random.random() < 0.1:
            for received in (always, needed):
                received.on_ack_acked(received.build_ack(now).ranges)
        for name in ReceivedPackets.__slots__:
            if name not in ("ranges", "_told", "undecided"):
                assert getattr(always, name) == getattr(needed, name), name
        assert list(always.ranges) == list(needed.ranges)
