"""What the default controller makes of requests and answers: nothing, at little cost, but for what they do teach."""

from __future__ import annotations

from typing import Any

import pytest

from rudp.congestion import LossEvent
from rudp.congestion.controller import AckSample
from rudp.congestion.model import Model, Phase
from tests.bottleneck import PACKET, Path, World
from tests.test_congestion_interface import sample

SIZE = 150


def settled() -> tuple[Model, float, int]:
    """A controller that has filled 10 Mbit/s at 50 ms for four seconds; when, and what was delivered."""
    path = Path(1_250_000.0, 0.05, 62_500.0, 0.0)
    world = World(path)
    model = Model(PACKET, None)
    world.add(model, 1)
    world.run(8.0)
    while model.phase is not Phase.STEADY:
        world.run(world.now + 0.05)
    return model, world.now, 1 << 40


def quiet(now: float, delivered: int, **fields: Any) -> AckSample:
    """The ACK of a request, a round trip after the one before it."""
    usual = {"is_app_limited": True, "latest_rtt": 0.06, "smoothed_rtt": 0.06, "delivery_rate": SIZE / 0.06}
    return sample(now, SIZE, delivered, **(usual | fields))


def figures(model: Model) -> tuple[Any, ...]:
    return model.phase, model.congestion_window, model.pacing_rate, model.delivery_rate, model.min_rtt, model.ceiling


def test_requests_change_nothing() -> None:
    model, now, delivered = settled()
    before = figures(model)
    for number in range(1, 400):
        model.on_sent(SIZE, 0, now)
        now += 0.06
        model.on_ack(quiet(now, delivered + number * SIZE, latest_rtt=0.06 + number % 7 * 0.001))
    assert figures(model) == before


def test_a_shorter_round_trip_counts() -> None:
    model, now, delivered = settled()
    model.on_ack(quiet(now + 0.04, delivered, latest_rtt=0.04))
    assert model.min_rtt == pytest.approx(0.04, abs=0.002)


def test_a_higher_rate_counts() -> None:
    model, now, delivered = settled()
    rate = 2 * model.delivery_rate
    for number in range(3):
        now += 0.06
        model.on_ack(quiet(now, delivered + number * SIZE, delivery_rate=rate))
    assert model.delivery_rate == rate


@pytest.mark.parametrize(
    "fields",
    [
        {"prior_in_flight": 1 << 20},
        {"is_app_limited": False},
        {"lost_bytes": SIZE},
        {"ecn_ce": 1},
        {"latest_rtt": None},
        {"latest_rtt": 0.01},
        {"delivery_rate": 1e9},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_may_teach_something_is_no_such_ack(fields: dict[str, Any]) -> None:
    model, now, delivered = settled()
    told, window = model._round, model.congestion_window
    told.clear()
    assert told.passes_over(quiet(now, delivered), 0.05, 1e6, window)
    assert told.acked == SIZE
    assert not told.passes_over(quiet(now, delivered, **fields), 0.05, 1e6, window)
    assert told.acked == SIZE


def test_a_loss_among_many_requests_is_a_small_share() -> None:
    """Bytes of ACKs passed over count, or what little is lost would seem to be all there was."""
    model, now, delivered = settled()
    before = model.congestion_window
    for number in range(1, 400):
        now += 0.06
        model.on_ack(quiet(now, delivered + number * SIZE))
    assert model._round.acked >= 300 * SIZE
    lost = LossEvent(now, SIZE, now - 0.06, SIZE, 2 * SIZE, SIZE, SIZE, True)
    model.on_loss(lost)
    model.on_ack(quiet(now, delivered + 400 * SIZE, lost_bytes=SIZE))
    assert model.congestion_window >= 0.9 * before
    assert model.ceiling == float("inf")


def test_few_packets_that_are_nearly_all_lost_at_most_halve_the_window() -> None:
    """As while a gap, or the peer's credit, holds back all but probes: what they deliver is not the path's rate."""
    model, now, delivered = settled()
    before = model.congestion_window
    lowest = before
    for number in range(1, 4):
        now += 0.06
        lost = LossEvent(now, 21 * PACKET, now - 0.06, 0, 22 * PACKET, 21 * PACKET, 22 * PACKET, True)
        model.on_loss(lost)
        told = delivered + number * SIZE
        model.on_ack(quiet(now, told, lost_bytes=21 * PACKET, delivery_rate=None, prior_delivered=told - SIZE))
        lowest = min(lowest, model.congestion_window)
    assert 0.4 * before <= lowest < before, "half of it, and of what the peer held back nothing"
