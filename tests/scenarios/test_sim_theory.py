"""CUBIC and NewReno in the simulator against theory: their average window over the loss rate.

`python -m bench.theory` has the whole table, random loss too, and says where deviations come from.
"""

from __future__ import annotations

import pytest

from bench.theory import Cell, average_cubic, average_reno, fluid, measure


@pytest.mark.parametrize(
    ("loss", "reno", "cubic"),
    [(1e-2, 12, 12), (1e-3, 38, 38), (1e-4, 120, 187), (1e-5, 379, 1054), (1e-6, 1200, 5926), (1e-8, 12000, 187400)],
)
def test_the_formulas_are_those_of_the_tables(loss: float, reno: int, cubic: int) -> None:
    """RFC 9438 table 1, for an RTT of 100 ms; it takes 1.2 for the root of 1.5."""
    assert average_reno(loss) == pytest.approx(reno, rel=0.03)
    assert average_cubic(loss, 0.1) == pytest.approx(cubic, rel=0.03)


@pytest.mark.parametrize("loss", [1e-4, 1e-5])
def test_the_model_of_cubic_has_the_window_of_the_formula(loss: float) -> None:
    """With losses evenly spaced it is what the formula is made of."""
    assert fluid(loss, 0.1, "every", losses=50) == pytest.approx(average_cubic(loss, 0.1), rel=0.03)


@pytest.mark.parametrize("controller", ["new_reno", "cubic"])
def test_the_average_window_is_that_of_theory(controller: str) -> None:
    row = measure(Cell(controller, "every", 1e-3, packets=12_000))
    assert abs(row.from_formula) < 0.1, row
    assert row.losses >= 12
