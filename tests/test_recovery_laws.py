"""Trains resolve as their packets would: recovery against an oracle that keeps single packets."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.sent_packets import SentTrain
from rudp.wire import Ack
from tests.sender import Range, Sender


class PacketByPacket:
    """Loss detection by the packet, straight from RFC 9002 section 6.1: the oracle for trains."""

    def __init__(self) -> None:
        self.outstanding: dict[int, float] = {}
        self.declared_lost: set[int] = set()
        self.largest = -1

    def ack(self, numbers: list[int], now: float, delay: float) -> tuple[list[int], list[int]]:
        self.largest = max(self.largest, *numbers)
        acked = [number for number in numbers if self.outstanding.pop(number, None) is not None]
        return acked, self.lose(now, delay)

    def lose(self, now: float, delay: float) -> list[int]:
        lost = [
            number
            for number, time_sent in self.outstanding.items()
            if number <= self.largest - 3 or (number < self.largest and time_sent + delay <= now)
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
        st.tuples(
            st.just("ack"), st.lists(st.tuples(st.integers(0, 80), st.integers(1, 12)), max_size=4), st.none()
        ),
        st.tuples(st.just("advance"), st.sampled_from([0.0, 0.001, 0.03, 0.1, 0.5]), st.none()),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([0, 2**32 - 100]))
def test_trains_are_resolved_as_single_packets_would_be(steps: list[tuple[Any, ...]], base: int) -> None:
    sender, oracle = Sender(), PacketByPacket()
    recovery = sender.recovery
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
                wanted = oracle.ack(numbers, sender.now, recovery.rtt.loss_delay())
                assert (spread(result.acked), spread(result.lost)) == wanted
                spurious = spread(result.spurious)
                assert oracle.declared_lost.issuperset(spurious)
                oracle.declared_lost.difference_update(spurious)
        elif verb == "advance":
            sender.now += what
            lost = recovery.handle_timeout(sender.now).lost
            assert spread(lost) == oracle.lose(sender.now, recovery.rtt.loss_delay())
        assert spread(list(recovery.sent_packets)) == list(oracle.outstanding)
        sender.want_in_flight(len(oracle.outstanding))
        overtaken = [time for number, time in oracle.outstanding.items() if number < oracle.largest]
        if overtaken:
            sender.want_timeout(min(overtaken) + recovery.rtt.loss_delay())
        else:
            assert (recovery.next_timeout() is None) == (not oracle.outstanding)
