"""Laws of a path that stands still: what waited for it tells of no queue, and what was sent since does."""

from __future__ import annotations

import pytest

from bench.scenarios import measure
from rudp.congestion import LossEvent
from rudp.congestion.model import Model, Phase
from rudp.congestion.standstill import Standstill
from tests.test_congestion_interface import sample

PACKET = 1_200
FLIGHT = 100 * PACKET


class Steady:
    """A flow with RTTs of 0.1 s that has just become steady; its ACKs come when asked for."""

    def __init__(self) -> None:
        self.model = Model(PACKET)
        self.now, self.delivered = 1.0, 0
        self.model.on_sent(FLIGHT, 0, self.now)
        while self.model.phase is not Phase.STEADY or self.model._skip:
            self.now += 0.1
            self.model.on_sent(PACKET, FLIGHT, self.now)
            self.ack(FLIGHT)

    def ack(self, acked: int, waited: float = 0.0, smoothed: float = 0.1) -> None:
        """Acknowledge what `waited` for seconds beyond the RTT."""
        self.delivered += acked
        sent = self.now - 0.1 - waited
        told = {
            "newest_time_sent": sent,
            "oldest_time_sent": sent,
            "latest_rtt": 0.1 + waited,
            "smoothed_rtt": smoothed,
            "bytes_in_flight": FLIGHT,
            "prior_delivered": self.delivered,
        }
        self.model.on_ack(sample(self.now, acked, self.delivered, **told))


def held_back(path: Standstill, now: float, sent: float, *, oldest: float | None = None, rtt: float = 0.1) -> bool:
    first = sent if oldest is None else oldest
    return path.held_back(
        sample(now, PACKET, 0, newest_time_sent=sent, oldest_time_sent=first, latest_rtt=now - sent, smoothed_rtt=rtt)
    )


def test_a_steady_flow_is_never_held_back() -> None:
    path = Standstill()
    assert not any(held_back(path, 1.0 + 0.02 * tick, 0.9 + 0.02 * tick) for tick in range(100))


def test_what_waited_is_told_apart_from_what_was_sent_since() -> None:
    path = Standstill()
    assert not held_back(path, 1.0, 0.9)
    assert held_back(path, 1.3, 0.92)
    assert held_back(path, 1.3, 0.99), "the pause held all that was on the way"
    assert held_back(path, 1.31, 1.25), "though it waited for a moment only"
    assert not held_back(path, 1.4, 1.3)


def test_a_queue_that_grows_makes_acks_late_one_after_another() -> None:
    path = Standstill()
    assert not any(held_back(path, 1.0 + 0.04 * tick, 0.9 + 0.01 * tick, rtt=0.1) for tick in range(50))


def test_silence_of_the_application_is_no_pause() -> None:
    path = Standstill()
    assert not held_back(path, 1.0, 0.9)
    assert not held_back(path, 10.1, 10.0)


def test_two_pauses_in_a_row_are_a_queue() -> None:
    """One packet a round trip, each later than the one before by more than a pause: the second is believed."""
    path = Standstill()
    assert held_back(path, 1.2, 1.0)
    assert not held_back(path, 1.6, 1.2)


def test_a_pause_shows_neither_rtt_nor_rate() -> None:
    path = Standstill()
    late = sample(1.2, PACKET, 0, newest_time_sent=1.0, oldest_time_sent=1.0)
    told = path.without_pause(late)
    assert (told.latest_rtt, told.delivery_rate) == (None, None)
    assert told == late._replace(latest_rtt=None, delivery_rate=None)
    usual = sample(1.3, PACKET, 0, newest_time_sent=1.2, oldest_time_sent=1.2)
    assert path.without_pause(usual) is usual


@pytest.mark.parametrize(("share", "left"), [(0.6, 0.45), (0.1, 0.75)])
def test_what_a_pause_lost_leaves_a_window_though_it_shows_no_rate_and_no_queue(share: float, left: float) -> None:
    """A round of ACKs that all waited: its rate counted as 0, the window as four packets, and the queue as below none.

    So a millisecond of queue was too much from then on, for hundreds of rounds.
    """
    flow = Steady()
    model = flow.model
    before, wanted = model._window, model._law.target(1_000.0, 0.1)
    flow.now += 0.4
    flow.ack(FLIGHT, 0.3)
    model.on_loss(LossEvent(flow.now, int(FLIGHT * share / (1 - share)), flow.now - 0.4, FLIGHT, FLIGHT))
    flow.ack(PACKET, 0.3)
    assert left * before < model._window < before
    assert model._law.target(1_000.0, 0.1) == pytest.approx(wanted)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_short_pauses_are_timers(scale: float) -> None:
    path = Standstill()
    assert not held_back(path, 1.0, 1.0 - 0.001 * scale, rtt=0.001 * scale)
    assert not held_back(path, 1.0 + 0.019, 1.0, rtt=0.001 * scale)


def test_after_a_pause_packets_are_spread_over_an_rtt_without_it() -> None:
    """The smoothed RTT knew the pause: what was left of 100 Mbit/s was 14, and the next round's window fit that."""
    flow = Steady()
    model = flow.model
    before = model.pacing_rate
    assert before is not None
    flow.now += 0.4
    for waited, smoothed in ((0.3, 0.14), (0.29, 0.16), (0.0, 0.15), (0.0, 0.145)):
        flow.ack(PACKET, waited, smoothed)
        assert model.pacing_rate >= 0.9 * before
        flow.now += 0.1
    flow.ack(PACKET, 0.0, 0.11)
    assert model.pacing_rate == pytest.approx(model._window * 1.1 / 0.11)


def test_a_link_that_freezes_is_filled_again_at_once() -> None:
    """1.5 s it stands still, and 2.6 s its 30 MB need. They took 6.0 s while a freeze was taken for a queue, and 5.1
    while its packets were spread over an RTT with the freeze in it.
    """
    outcome, faults = measure("freezing", 5)
    assert outcome is not None
    assert not faults
    assert outcome.goodput is not None
    assert outcome.goodput >= 0.55
