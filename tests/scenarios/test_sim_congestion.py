"""What a user sees of congestion control: 100 Mbit/s, 50 ms, a queue of one BDP, random loss; default controller.

`python -m bench.loss_table` prints the whole table.
"""

from __future__ import annotations

import pytest

from bench.loss_table import measure
from bench.simulated import Pair
from rudp.config import Config
from rudp.sim import Delay, Loss, Node, Rate, Reorder


@pytest.mark.parametrize(("loss", "share"), [(0.0, 0.95), (0.05, 0.9), (0.10, 0.85)])
def test_random_loss_costs_little_more_than_what_is_lost(loss: float, share: float) -> None:
    """The bounds of docs/DESIGN.md hold on average over long transfers; this is a short one, so a little below."""
    row = measure(loss, 1, 40_000_000, Config())
    assert row.steady >= share, row


@pytest.mark.parametrize("seed", [1, 2])
def test_start_up_fills_a_queue_of_one_bdp_and_spills_little(seed: int) -> None:
    row = measure(0.0, seed, 40_000_000, Config())
    assert row.start_up_lost < 0.04, row
    assert row.lost < 0.01, row


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
