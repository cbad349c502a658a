"""What a user sees of congestion control: 100 Mbit/s, 50 ms, a queue of one BDP, random loss; default controller.

`rudp bench loss` prints the whole table.
"""

from __future__ import annotations

import pytest

from bench.loss import Cell, Row, measure
from bench.simulated import Pair
from rudp.config import Config
from rudp.sim import Delay, Loss, Node, Rate, Reorder


def transfer(loss: float, seed: int) -> Row:
    """Five seconds, steady from the second on."""
    return measure(Cell(Config().congestion, 100.0, 50.0, loss, 1.0, seed=seed, seconds=5.0, steady_from=2.0))


@pytest.mark.parametrize(("loss", "share"), [(0.0, 0.95), (5.0, 0.9), (10.0, 0.85)])
def test_random_loss_costs_little_more_than_what_is_lost(loss: float, share: float) -> None:
    """The bounds of docs/DESIGN.md hold on average over long transfers; this is a short one, so a little below."""
    row = transfer(loss, 1)
    assert row.share >= share, row


@pytest.mark.parametrize("seed", [1, 2])
def test_start_up_fills_a_queue_of_one_bdp_and_spills_little(seed: int) -> None:
    row = transfer(0.0, seed)
    assert row.start_up_lost is not None
    assert row.start_up_lost < 0.04, row
    assert row.retransmitted < 0.01, row


@pytest.mark.parametrize("seed", [1, 2])
def test_late_packets_on_top_of_loss_cost_no_more_than_the_loss(seed: int) -> None:
    """Late packets are taken for lost and then taken back: that must not make the other losses look like congestion."""

    def path() -> list[Node]:
        return [Rate(2_000_000, 120_000), Loss(0.1), Delay(0.02), Reorder(0.02, 0.006)]

    pair = Pair(seed=seed, forth=path(), back=path(), size=10_000_000, config=Config(max_datagram_size=1400))
    outcome = pair.run()
    assert not outcome.problems
    # 0.9 (1 - p) C in payload bytes would be 1.58 MB/s over a long transfer; start-up takes its part of five seconds.
    assert 10 / outcome.transfer_seconds >= 1.4, outcome.stats
