"""The small loss table that is kept as text, so that a changed cell is a change to review.

Run: python -m tests.loss_snapshot   (writes tests/loss_snapshot.txt again)

Six seconds at 10 Mbit/s and 50 ms with a queue of 1 BDP; steady from the third on. Controllers that aren't there yet
have no lines.
"""

from __future__ import annotations

from pathlib import Path

from bench import loss
from bench.cells import CONTROLLERS, known

FILE = Path(__file__).with_suffix(".txt")
HEAD = (
    "# Goodput as a share of (1 - p) C, share sent again, queueing delay p50 and p95 in ms, seconds to deliver 100 kB\n"
    "# and round trips to fill the link: one flow at 10 Mbit/s and 50 ms with a queue of 1 BDP.\n"
    "# Written by python -m tests.loss_snapshot.\n"
    "controller  loss %  goodput  again  wait p50  wait p95  100 kB  rounds\n"
)


def cells() -> list[loss.Cell]:
    """The cells of the table."""
    there, _ = known(CONTROLLERS)
    return list(loss.grid(there, (10.0,), (50.0,), (0.0, 1.0, 10.0), (1.0,), seconds=6.0))


def line(row: loss.Row) -> str:
    """One cell as text."""
    cell = row.cell
    figures = (row.share, row.retransmitted, row.queue_p50, row.queue_p95, row.seconds_100kb, row.rounds)
    shown = ["-" if figure is None else f"{figure:.2f}" for figure in figures]
    widths = (9, 7, 10, 10, 8, 8)
    start = f"{cell.controller:10}{cell.loss:8g}"
    return start + "".join(f"{figure:>{width}}" for figure, width in zip(shown, widths, strict=True))


def main() -> None:
    FILE.write_text(HEAD + "".join(f"{line(loss.measure(cell))}\n" for cell in cells()), encoding="utf-8")
    print(FILE.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
