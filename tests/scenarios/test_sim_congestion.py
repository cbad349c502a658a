"""What a user sees of congestion control: 100 Mbit/s, 50 ms, a queue of one BDP, random loss; default controller.

`python -m bench.loss_table` prints the whole table.
"""

from __future__ import annotations

import pytest

from bench.loss_table import measure
from rudp.config import Config


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
