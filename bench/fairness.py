"""How flows share one bottleneck: equal ones, unequal RTTs, a late starter, a rival with CUBIC.

Run: rudp bench fairness, or python -m bench.fairness; --help tells the filters.

Knows: the scenarios, their grid, and the figures. Refuses to know: how cells are handed out and shown.

Flows write all the time over one drop-tail queue. When they come decides much, and without loss no seed changes a run;
so a cell has its start: 0 as the scenario has it, any other number each flow later by up to SPREAD, drawn by that
number. Judged is from max(30 RTT, 10 s) after the last arrival on: Jain's
index of the flows' goodput (1: equal, 1/n: one has all) over windows of five seconds, its least and its mean, and each
flow's share of all goodput in parts of an equal one (1: fair). `converged` is the time from the last arrival to the
first window from which on no later one is below 0.95; windows begin every half second.

Sources: R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness", DEC-TR-301, 1984; RFC 5166 section 2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from random import Random
from typing import Any, Final, NamedTuple

from .cells import CONFIG, bdp, bytes_a_second, capacity, percentile, queue_size, rounded
from .flows import Flow, Result, run

__all__ = ["LINKS", "SCENARIOS", "Cell", "Row", "cost", "goals_missed", "grid", "jain", "measure"]

# Mbit/s and ms. The last is the one for which shares against CUBIC are agreed.
LINKS: Final = (
    (10.0, 10.0), (10.0, 50.0), (10.0, 200.0),
    (100.0, 10.0), (100.0, 50.0), (100.0, 200.0),
    (1000.0, 10.0), (1000.0, 50.0), (1000.0, 200.0),
    (50.0, 40.0),
)  # fmt: skip
LEAST_PACKETS: Final = 8  # BDP a flow, below which windows are too small to be shared
WINDOW: Final = 5.0
STEP: Final = 0.5
FAIR: Final = 0.95
SETTLE_ROUNDS: Final = 30
SETTLE_SECONDS: Final = 10.0
ARRIVALS: Final = 1.0  # equal flows start evenly over so many seconds
LATE: Final = 10.0
SPREAD: Final = 1.5  # so a late flow meets incumbents that drain every three seconds at any time in between
SAMPLE: Final = 0.02


class Scenario(NamedTuple):
    """Who shares: `flows(controller, rtt in seconds)`; judged for `seconds`."""

    name: str
    title: str
    flows: Callable[[str, float], list[Flow]]
    seconds: float = 20.0


def _equal(count: int) -> Callable[[str, float], list[Flow]]:
    return lambda name, rtt: [Flow(name, rtt, start=ARRIVALS * index / count) for index in range(count)]


SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario("equal-2", "2 equal flows", _equal(2)),
        Scenario("equal-4", "4 equal flows", _equal(4)),
        Scenario("equal-16", "16 equal flows", _equal(16)),
        Scenario("rtts", "RTTs 1:4 (half and twice)", lambda n, rtt: [Flow(n, rtt / 2), Flow(n, rtt * 2, start=0.5)]),
        Scenario("late", "second flow 10 s late", lambda n, rtt: [Flow(n, rtt), Flow(n, rtt, start=LATE)]),
        Scenario("cubic", "against one CUBIC flow", lambda n, rtt: [Flow(n, rtt), Flow("cubic", rtt, start=0.5)], 40.0),
    )
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario on one link. Units: Mbit/s, ms, %, BDP."""

    scenario: str
    controller: str
    rate: float
    rtt: float
    queue: float = 1.0
    loss: float = 0.0
    seed: int = 0
    brief: bool = False
    """Judge ten seconds after five, to see whether all works."""
    start: int = 0
    """0: flows come when the scenario says; others are draws of times around those."""

    def flows(self) -> list[Flow]:
        """The flows, with the link's loss and the cell's start."""
        made = SCENARIOS[self.scenario].flows(self.controller, self.rtt / 1000)
        draw = Random(f"{self.seed} {self.start}")
        spread = SPREAD if self.start else 0.0
        return [replace(one, loss=self.loss / 100, start=one.start + spread * draw.random()) for one in made]


@dataclass(frozen=True, slots=True)
class Row:
    """What a cell came to. `shares` are parts of an equal share, delays ms, times seconds (None: not converged)."""

    cell: Cell
    jain_least: float
    jain_mean: float
    shares: list[float]
    used: float
    """All goodput over C (1 - p)."""
    converged: float | None
    queue_p50: float
    queue_p95: float
    arrival: float
    """When the last flow came."""
    judged_from: float
    series: list[list[float]]
    """Goodput of each flow in Mbit/s, over every half second."""

    def as_dict(self) -> dict[str, Any]:
        """One flat object for JSON."""
        row = asdict(self)
        flat = {**row.pop("cell"), **{k: rounded(v) if isinstance(v, float) else v for k, v in row.items()}}
        flat["shares"] = [rounded(share) for share in self.shares]
        return flat

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Row:
        """The row that `as_dict` made it from."""
        names = {field.name for field in fields(Cell)}
        cell = Cell(**{name: value for name, value in row.items() if name in names})
        return cls(cell, **{name: value for name, value in row.items() if name not in names})


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 if all are equal, 1/n if one has everything; 0 if nobody has anything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def grid(
    controllers: Iterable[str],
    links: Iterable[tuple[float, float]] = LINKS,
    scenarios: Iterable[str] = tuple(SCENARIOS),
    queues: Iterable[float] = (1.0,),
    losses: Iterable[float] = (0.0,),
    *,
    seed: int = 0,
    brief: bool = False,
    starts: int = 1,
) -> Iterator[Cell]:
    """All cells in which each flow has LEAST_PACKETS of BDP, in the order of the tables; `starts` of each."""
    controllers = list(controllers)
    for scenario, (rate, rtt), queue, loss in product(scenarios, sorted(links), queues, losses):
        for name in controllers:
            cell = Cell(scenario, name, rate, rtt, queue, loss, seed, brief)
            flows = cell.flows()
            each = bdp(rate, min(flow.rtt for flow in flows) * 1000) / len(flows)
            if each >= LEAST_PACKETS * CONFIG.max_datagram_size and (scenario != "cubic" or name != "cubic"):
                yield from (replace(cell, start=start) for start in range(starts))


def _times(cell: Cell) -> tuple[float, float, float]:
    """When the last flow comes, judging begins and the run ends."""
    flows = cell.flows()
    arrival = max(flow.start for flow in flows)
    settle = max(SETTLE_ROUNDS * max(flow.rtt for flow in flows), SETTLE_SECONDS)
    if cell.brief:
        return arrival, arrival + 5.0, arrival + 15.0
    return arrival, arrival + settle, arrival + settle + SCENARIOS[cell.scenario].seconds


def cost(cell: Cell) -> float:
    """About how many seconds of a core a cell takes."""
    packets, count = cell.rate * 1e6 / 8 / 1450, len(cell.flows())
    # A receiver that gets packets of several senders in turn gets small trains, a card's window at a time.
    return _times(cell)[2] * (packets * 8e-6 + count * min(packets / count, 1000) * 1.2e-4)


def measure(cell: Cell) -> Row:
    """Run one cell."""
    arrival, judged_from, end = _times(cell)
    outcome = run(
        cell.flows(),
        rate=bytes_a_second(cell.rate),
        queue_bytes=queue_size(cell.rate, cell.rtt, cell.queue),
        seconds=end,
        seed=f"{cell.seed} {cell.scenario} {cell.rate:g} {cell.rtt:g} {cell.queue:g} {cell.loss:g}",
        config=CONFIG,
        sample=SAMPLE,
    )
    results = outcome.results
    whole = [result.goodput(judged_from, end) for result in results]
    total = sum(whole) or 1.0
    indices = [index for at, index in _windows(results, judged_from, end)]
    waits = sorted(seconds for at, seconds in outcome.queue if at >= judged_from)
    return Row(
        cell,
        jain_least=min(indices),
        jain_mean=sum(indices) / len(indices),
        shares=[one / total * len(whole) for one in whole],
        used=total / capacity(cell.rate, results[0]) / (1 - cell.loss / 100),
        converged=_converged(list(_windows(results, arrival, end)), arrival),
        queue_p50=percentile(waits, 0.5) * 1000,
        queue_p95=percentile(waits, 0.95) * 1000,
        arrival=arrival,
        judged_from=judged_from,
        series=[_series(result, end) for result in results],
    )


def _windows(results: Sequence[Result], start: float, end: float) -> Iterator[tuple[float, float]]:
    """When each window begins, and Jain's index in it."""
    count = int((end - start - WINDOW) / STEP + 1e-9) + 1
    for at in (start + STEP * number for number in range(count)):
        yield at, jain([result.goodput(at, at + WINDOW) for result in results])


def _converged(windows: Sequence[tuple[float, float]], arrival: float) -> float | None:
    good = None
    for at, index in reversed(windows):
        if index < FAIR:
            break
        good = at
    return None if good is None else good - arrival


def _series(result: Result, end: float) -> list[float]:
    count = int(end / STEP + 1e-9)
    return [round(result.goodput(n * STEP, (n + 1) * STEP) / 125_000, 2 if count < 200 else 1) for n in range(count)]


def goals_missed(row: Row) -> list[str]:
    """Which of the default controller's goals a row misses, each as a short text."""
    cell, missed = row.cell, []
    if cell.scenario == "cubic":
        if (cell.rate, cell.rtt) == (50.0, 40.0) and not 0.5 <= row.shares[0] <= 1.5:
            missed.append(f"got {row.shares[0] / 2:.0%} of the goodput, not 25 to 75 %")
    elif cell.scenario == "rtts":
        if min(row.shares) < 0.25:
            missed.append(f"one flow got {min(row.shares):.2f} of its share, under a quarter")
    elif row.jain_least < FAIR:
        missed.append(f"Jain's index {row.jain_least:.3f} in one window, under {FAIR}")
    return missed


if __name__ == "__main__":
    from .commands import main

    main("fairness")
