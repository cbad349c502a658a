"""The runs' figures as medians with least and most, and beside rudp.

Knows: which figure says what, and which of two is better. Refuses to know: how they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Final, NamedTuple

__all__ = ["REFERENCE", "Cell", "derived", "summarize"]

REFERENCE: Final = "rudp-none"

Row = dict[str, Any]


class Cell(NamedTuple):
    """One figure over the rounds."""

    median: float
    least: float
    most: float


def derived(row: Row) -> Row:
    """A run's figures with those that follow from them."""
    if row["work"] != "bulk":
        return row
    gigabytes = row["bytes"] / 1e9
    return row | {
        "MB_s": row["bytes"] / row["seconds"] / 1e6,
        "sender_s_per_GB": row["cpu_sender"] / gigabytes,
        "receiver_s_per_GB": row["cpu_receiver"] / gigabytes,
        "s_per_GB": (row["cpu_sender"] + row["cpu_receiver"]) / gigabytes,
    }


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Cell]]]:
    """Work, contender, figure: its Cell."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in map(derived, rows):
        figures = values.setdefault(row["work"], {}).setdefault(row["contender"], {})
        for name, value in row.items():
            if isinstance(value, int | float) and name != "round":
                figures.setdefault(name, []).append(value)
    return {
        work: {
            contender: {name: Cell(median(found), min(found), max(found)) for name, found in figures.items()}
            for contender, figures in contenders.items()
        }
        for work, contenders in values.items()
    }
