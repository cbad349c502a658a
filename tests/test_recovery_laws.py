"""Trains resolve as their packets would: recovery against an oracle that keeps single packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.sent_packets import SentTrain
from rudp.wire import Ack
from tests.sender import Range, Sender


class PacketByPacket:
    """Loss detection by the packet, straight from RFC 9002 section 6.1 and RFC 8985 section 6.2: the oracle for trains.

    The delay that time alone gives is taken as it is: another test has the window it is made of.
    """

    def __init__(self, delay: Callable[[], float]) -> None:
        self.delay = delay
        self.outstanding: dict[int, float] = {}
        self.declared_lost: set[int] = set()
        self.largest = -1
        self.reordering_seen = False

    def ack(self, numbers: list[int], now: float, spurious: list[int]) -> tuple[list[int], list[int]]:
        """Return what is newly acknowledged and what is lost now."""
        new = [number for number in numbers if number in self.outstanding] + spurious
        self.reordering_seen = self.reordering_seen or any(number < self.largest for number in new)
        self.largest = max(self.largest, *numbers)
        acked = [number for number in numbers if self.outstanding.pop(number, None) is not None]
        return acked, self.lose(now)

    def lose(self, now: float) -> list[int]:
        delay = self.delay()
        lost = [
            number
            for number, time_sent in self.outstanding.items()
            if (number <= self.largest - 3 and not self.reordering_seen)
            or (number < self.largest and time_sent + delay <= now)
        ]
        for number in lost:
            del self.outstanding[number]
        self.declared_lost.update(lost)
        return lost


def spread(trains: list[SentTrain]) -> list[int]:
    return [number for train in trains for number in range(train.first, train.stop)]


def as_ranges(numbers: list[int]) -> tuple[Range, ...]:
    ranges: list[Range] = []
    for number in sorted(numbers, reverse=True):
        if ranges and ranges[-1][0] == number + 1:
            ranges[-1] = (number, ranges[-1][1])
        else:
            ranges.append((number, number + 1))
    return tuple(ranges)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 46), st.sampled_from([0, 0, 0, 1])),
        st.tuples(st.just("ack"), st.lists(st.tuples(st.integers(0, 80), st.integers(1, 12)), max_size=4), st.none()),
        st.tuples(st.just("advance"), st.sampled_from([0.0, 0.001, 0.03, 0.1, 0.5]), st.none()),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([0, 2**32 - 100]))
def test_trains_are_resolved_as_single_packets_would_be(steps: list[tuple[Any, ...]], base: int) -> None:
    sender = Sender()
    recovery = sender.recovery

    def delay() -> float:
        assert recovery._detection.reordering_seen == oracle.reordering_seen
        return recovery._detection.delay(recovery.rtt)

    oracle = PacketByPacket(delay)
    sent: list[int] = []
    received: set[int] = set()
    for verb, what, more in steps:
        if verb == "send":
            train = sender.send(what, skip=more if sent else base)
            sent.extend(range(train.first, train.stop))
            oracle.outstanding.update(dict.fromkeys(range(train.first, train.stop), sender.now))
        elif verb == "ack" and sent:
            for back, length in what:
                received.update(sent[max(0, len(sent) - 1 - back) :][:length])
            ranges = as_ranges(list(received))[:128]
            if ranges:
                result = recovery.on_ack_received(Ack(ranges[0][1] - 1, 0.0, ranges), sender.now)
                numbers = [number for start, stop in reversed(ranges) for number in range(start, stop)]
                spurious = spread(result.spurious)
                wanted = oracle.ack(numbers, sender.now, spurious)
                assert (spread(result.acked), spread(result.lost)) == wanted
                assert oracle.declared_lost.issuperset(spurious)
                oracle.declared_lost.difference_update(spurious)
        elif verb == "advance":
            sender.now += what
            lost = recovery.handle_timeout(sender.now).lost
            assert spread(lost) == oracle.lose(sender.now)
        assert spread(list(recovery.sent_packets)) == list(oracle.outstanding)
        sender.want_in_flight(len(oracle.outstanding))
        overtaken = [time for number, time in oracle.outstanding.items() if number < oracle.largest]
        if overtaken:
            sender.want_timeout(min(overtaken) + delay())
        else:
            assert (recovery.next_timeout() is None) == (not oracle.outstanding)
