"""Congestion window and queue over time, one flow alone, by controller.

Run: rudp bench windows, or python -m bench.windows; --help tells the filters.

Knows: what is recorded and how it is thinned out. Refuses to know: how cells are handed out and shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any, Final

from .cells import CONFIG, bdp, bytes_a_second, capacity, queue_size, rounded
from .flows import Flow, run

__all__ = ["POINTS", "Cell", "Row", "cost", "grid", "measure"]

POINTS: Final = 400  # kept of each series
LOSSES: Final[tuple[float, ...]] = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Cell:
    """One flow on one link. Units: Mbit/s, ms, %, BDP, seconds."""

    controller: str
    rate: float = 100.0
    rtt: float = 50.0
    loss: float = 0.0
    queue: float = 1.0
    seed: int = 0
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """Series over `times` (seconds): window and bytes in flight in BDP, queueing delay in ms."""

    cell: Cell
    share: float
    """Goodput over (1 - p) C from the first third on."""
    times: list[float]
    window: list[float]
    in_flight: list[float]
    queue: list[float]

    def as_dict(self) -> dict[str, Any]:
        """One flat object for JSON."""
        row = asdict(self)
        del row["cell"], row["queue"]
        return {**asdict(self.cell), **row, "share": rounded(self.share), "queue_ms": self.queue}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Row:
        """The row that `as_dict` made it from."""
        cell = Cell(**{field.name: row[field.name] for field in fields(Cell)})
        return cls(cell, row["share"], row["times"], row["window"], row["in_flight"], row["queue_ms"])


def grid(
    controllers: Iterable[str],
    rates: Iterable[float] = (100.0,),
    rtts: Iterable[float] = (50.0,),
    losses: Iterable[float] = LOSSES,
    queues: Iterable[float] = (1.0,),
    *,
    seed: int = 0,
    seconds: float | None = None,
) -> Iterator[Cell]:
    """All cells, in the order of the table."""
    for rate, rtt, queue, loss, name in product(rates, rtts, queues, losses, controllers):
        yield Cell(name, rate, rtt, loss, queue, seed, seconds or 30.0)


def cost(cell: Cell) -> float:
    """What it takes, beside others."""
    return cell.rate * cell.seconds


def measure(cell: Cell) -> Row:
    """Run one cell."""
    outcome = run(
        [Flow(cell.controller, cell.rtt / 1000, loss=cell.loss / 100)],
        rate=bytes_a_second(cell.rate),
        queue_bytes=queue_size(cell.rate, cell.rtt, cell.queue),
        seconds=cell.seconds,
        seed=f"{cell.seed} {cell.rate:g} {cell.rtt:g} {cell.loss:g} {cell.queue:g}",
        config=CONFIG,
    )
    result = outcome.results[0]
    product_bytes = bdp(cell.rate, cell.rtt)
    # The points are instants: means would hide how far a window goes up and down.
    windows = _thinned(result.windows)
    waits = dict(outcome.queue)
    return Row(
        cell,
        share=result.goodput(cell.seconds / 3, cell.seconds) / capacity(cell.rate, result) / (1 - cell.loss / 100),
        times=[round(at, 3) for at, *_ in windows],
        window=[round(window / product_bytes, 3) for _, window, _, _ in windows],
        in_flight=[round(flight / product_bytes, 3) for _, _, flight, _ in windows],
        queue=[round(waits.get(at, 0.0) * 1000, 2) for at, *_ in windows],
    )


def _thinned(series: Sequence[tuple[float, int, int, float]]) -> Sequence[tuple[float, int, int, float]]:
    return series[:: max(1, -(-len(series) // POINTS))]


if __name__ == "__main__":
    from .commands import main

    main("windows")
