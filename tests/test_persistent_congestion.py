"""Laws of `rudp.persistent_congestion`: two packets that asked for an answer, far apart, and all between them lost."""

from __future__ import annotations

from math import inf, nextafter
from typing import Any

import pytest

from rudp.persistent_congestion import PersistentCongestion
from rudp.ranges import RangeSet
from rudp.rtt import RttEstimator
from rudp.sent_packets import SentTrain

NOTHING = RangeSet()


def estimate(first_sample: float = 0.0) -> RttEstimator:
    rtt = RttEstimator()
    rtt.update(0.1, 0.0, now=first_sample)
    return rtt


# RFC 9002 section 7.6.1: three probe timeouts.
DURATION = 3 * estimate().probe_timeout()
LONGER = nextafter(DURATION, inf)


def packet(first: int, time_sent: float, count: int = 1, **more: Any) -> SentTrain:
    return SentTrain(first, count, time_sent, 1200, 1200 * count, **more)


def watch(*lost: SentTrain, skipped: RangeSet = NOTHING, rtt: RttEstimator | None = None) -> bool:
    return PersistentCongestion().on_lost(lost, skipped, rtt or estimate())


def test_it_takes_more_than_three_probe_timeouts() -> None:
    assert not watch(packet(7, 0.0), packet(8, DURATION))
    assert watch(packet(7, 0.0), packet(8, LONGER))


def test_one_packet_or_none_is_no_run() -> None:
    assert not watch()
    assert not watch(packet(0, 100.0))
    assert not watch(packet(0, 100.0, 50))


def test_a_number_between_that_is_not_lost_begins_the_run_anew() -> None:
    assert not watch(packet(0, 0.0), packet(2, LONGER))
    assert watch(packet(0, 0.0), packet(2, 1.0), packet(3, 1.0 + 2 * LONGER))
    assert not watch(packet(0, 0.0), packet(2, LONGER), packet(3, 2 * DURATION))


def test_numbers_never_sent_are_no_break_and_those_beside_them_are() -> None:
    lost = (packet(0, 0.0, 2), packet(5, LONGER))
    assert watch(*lost, skipped=RangeSet([(2, 5)]))
    assert not watch(*lost, skipped=RangeSet([(2, 4)]))
    assert not watch(*lost, skipped=RangeSet([(3, 5)]))


@pytest.mark.parametrize(
    "kind",
    [{"ack_eliciting": False}, {"in_flight": False}, {"ack_eliciting": False, "in_flight": False}, {"mtu_probe": True}],
)
def test_what_tells_nothing_of_congestion_is_no_end_of_a_run_and_no_break(kind: dict[str, bool]) -> None:
    assert not watch(packet(0, 0.0, **kind), packet(1, LONGER))
    assert not watch(packet(0, 0.0), packet(1, LONGER, **kind))
    assert watch(packet(0, 0.0), packet(1, 0.1, **kind), packet(2, LONGER))


def test_it_counts_from_the_first_rtt_sample() -> None:
    rtt = estimate(first_sample=1.0)
    assert not watch(packet(0, 0.9), packet(1, 0.9 + 2 * DURATION), rtt=rtt)
    assert watch(packet(0, 0.9), packet(1, 1.0), packet(2, 1.0 + LONGER + 1e-9), rtt=rtt)
    assert not watch(packet(0, 0.0), packet(1, 100.0), rtt=RttEstimator())


def test_a_run_goes_on_over_several_losses_until_something_interrupts_it() -> None:
    for interrupted in (False, True):
        run = PersistentCongestion()
        assert not run.on_lost([packet(0, 0.0, 3)], NOTHING, estimate())
        if interrupted:
            run.interrupt()
        assert run.on_lost([packet(3, LONGER)], NOTHING, estimate()) is not interrupted


def test_what_follows_a_break_does_not_take_back_what_was_found() -> None:
    assert watch(packet(0, 0.0), packet(1, LONGER), packet(5, LONGER))


def test_once_found_a_new_run_begins() -> None:
    run = PersistentCongestion()
    assert run.on_lost([packet(0, 0.0), packet(1, LONGER)], NOTHING, estimate())
    assert not run.on_lost([packet(2, 2 * LONGER)], NOTHING, estimate())
    assert not run.on_lost([packet(3, 2 * LONGER + DURATION / 2)], NOTHING, estimate())
    assert run.on_lost([packet(4, 3 * LONGER + 0.001)], NOTHING, estimate())
