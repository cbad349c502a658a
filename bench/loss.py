"""The loss table: one flow alone on a link, by controller, rate, RTT, random loss and queue.

Run: rudp bench loss, or python -m bench.loss; --help tells the filters.

Knows: the grid, how long a cell runs, what is read off it and what it should come to. Refuses to know: how cells are
handed out (`sweep`) and shown (`tables`, `plots`).

A cell's link has a drop-tail queue; loss p strikes behind it, in the data direction alone or in both. `share` is
goodput over (1 - p) C from STEADY_FROM on, `whole` from the connect on. Queueing delay is what a packet that comes at a
random instant would wait. `rounds` counts round trips (of the least RTT that was measured) from the end of the
handshake until the link was busy for 90 % of one; `start_up_lost` is the share of packets that the queue dropped until
three round trips after that, when the overshoot has shown. Times to deliver are counted from the connect, SYN and its
loss included; 100 kB is the median of SHORT_RUNS transfers of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import product
from statistics import median
from typing import Any, Final

from rudp.stats import Stats

from .cells import CONFIG, bdp, bytes_a_second, capacity, percentile, queue_size, rounded, slow_start_rounds
from .flows import Flow, Result, Run, run

__all__ = ["LOSSES", "QUEUES", "RATES", "RTTS", "Cell", "Row", "cost", "goals_missed", "grid", "measure"]

RATES: Final[tuple[float, ...]] = (10.0, 100.0, 1000.0)  # Mbit/s
RTTS: Final[tuple[float, ...]] = (10.0, 50.0, 200.0)  # ms
LOSSES: Final[tuple[float, ...]] = (0.0, 0.1, 1.0, 5.0, 10.0, 20.0)  # %
QUEUES: Final[tuple[float, ...]] = (0.25, 1.0, 4.0)  # BDP
STEADY_FROM: Final = 10.0
# Seconds simulated, for links up to so many Mbit/s: 10 MB fit at 10 Mbit/s. Judged are ten seconds at least: a drain
# more or less, and they come three seconds apart, is two hundredths of what three seconds carry at 200 ms.
SECONDS: Final = ((10.0, 25.0), (float("inf"), 20.0))
SHORT: Final = 100_000
SHORT_RUNS: Final = 5
SHORT_SECONDS: Final = 10.0
LONG: Final = 10_000_000
FULL: Final = 0.9  # share of the link from which start-up counts as done


@dataclass(frozen=True, slots=True)
class Cell:
    """One flow on one link. Units as in the table: Mbit/s, ms, %, BDP, seconds."""

    controller: str
    rate: float
    rtt: float
    loss: float
    queue: float
    both: bool = False
    """Whether the ACKs' direction loses as many."""
    seed: int = 0
    seconds: float = 15.0
    steady_from: float = STEADY_FROM


@dataclass(frozen=True, slots=True)
class Row:
    """What a cell came to; shares are of 1, delays in ms, times in seconds; None: not reached while it ran."""

    cell: Cell
    share: float
    whole: float
    retransmitted: float
    queue_p50: float
    queue_p95: float
    seconds_100kb: float | None
    seconds_10mb: float | None
    rounds: float | None
    rounds_allowed: float
    start_up_lost: float | None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """One flat object for JSON."""
        row = asdict(self)
        return {**row.pop("cell"), **{k: rounded(v) if isinstance(v, float) else v for k, v in row.items()}}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Row:
        """The row that `as_dict` made it from."""
        names = {field.name for field in fields(Cell)}
        cell = Cell(**{name: value for name, value in row.items() if name in names})
        return cls(cell, **{name: value for name, value in row.items() if name not in names})


def grid(
    controllers: Iterable[str],
    rates: Iterable[float] = RATES,
    rtts: Iterable[float] = RTTS,
    losses: Iterable[float] = LOSSES,
    queues: Iterable[float] = QUEUES,
    *,
    both: bool = False,
    seed: int = 0,
    seconds: float | None = None,
) -> Iterator[Cell]:
    """All cells, in the order of the tables. `seconds`: how long each runs; by default it hangs on the rate."""
    for rate, rtt, queue, controller, loss in product(rates, rtts, queues, controllers, losses):
        length = seconds or next(length for limit, length in SECONDS if rate <= limit)
        yield Cell(controller, rate, rtt, loss, queue, both, seed, length, min(STEADY_FROM, length / 2))


def cost(cell: Cell) -> float:
    """About how many seconds of a core a cell takes, to begin with the dearest."""
    full = cell.rate * 1e6 / 8 / 1450
    # Loss-based controllers get about 1.2 packets over the square root of p each round trip (RFC 9438 section 5.1).
    loss_based = cell.controller in {"new_reno", "cubic"} and cell.loss
    packets = min(full, 1.3 / (cell.loss / 100) ** 0.5 / cell.rtt * 1000) if loss_based else full
    return cell.seconds * (packets * 8e-6 + min(packets, 1000) * 9e-5)


def measure(cell: Cell) -> Row:
    """Run one cell."""
    outcome = run([_flow(cell)], **_link(cell), seconds=cell.seconds, sample=min(0.005, cell.rtt / 10_000))
    result = outcome.results[0]
    bound = capacity(cell.rate, result) * (1 - cell.loss / 100)
    waits = sorted(seconds for at, seconds in outcome.queue if at >= cell.steady_from)
    rounds, lost = _start_up(outcome, result, cell)
    row = Row(
        cell,
        share=result.goodput(cell.steady_from, cell.seconds) / bound,
        whole=result.goodput(0.0, cell.seconds) / bound,
        retransmitted=_retransmitted(result.stats),
        queue_p50=percentile(waits, 0.5) * 1000,
        queue_p95=percentile(waits, 0.95) * 1000,
        seconds_100kb=_short_transfers(cell),
        seconds_10mb=result.time_to(LONG),
        rounds=rounds,
        rounds_allowed=slow_start_rounds(cell.rate, cell.rtt) + 3,
        start_up_lost=lost,
        error=None if result.error is None else f"{type(result.error).__name__}: {result.error}",
    )
    # As the file keeps it, or what is shown from that would be rounded twice.
    return Row.from_dict(row.as_dict())


def _flow(cell: Cell, size: int | None = None) -> Flow:
    loss = cell.loss / 100
    return Flow(cell.controller, cell.rtt / 1000, loss=loss, ack_loss=loss if cell.both else 0.0, size=size)


def _link(cell: Cell, run_of: int = 0) -> dict[str, Any]:
    """The same packets are lost for every controller, as far as packets are the same."""
    return {
        "rate": bytes_a_second(cell.rate),
        "queue_bytes": queue_size(cell.rate, cell.rtt, cell.queue),
        "seed": f"{cell.seed} {cell.rate:g} {cell.rtt:g} {cell.loss:g} {cell.queue:g} {run_of}",
        "config": CONFIG,
    }


def _retransmitted(stats: Stats | None) -> float:
    if stats is None or not stats.stream_bytes_retransmitted:
        return 0.0
    again = stats.stream_bytes_retransmitted
    return again / (stats.stream_bytes_sent + again)


def _short_transfers(cell: Cell) -> float | None:
    times = []
    for number in range(1, SHORT_RUNS + 1):
        outcome = run([_flow(cell, SHORT)], **_link(cell, number), seconds=SHORT_SECONDS, sample=1.0)
        times.append(outcome.results[0].time_to(SHORT))
    middle = median(float("inf") if time is None else time for time in times)
    return middle if middle <= SHORT_SECONDS else None


def _start_up(outcome: Run, result: Result, cell: Cell) -> tuple[float | None, float | None]:
    """Round trips until the link was full, and the share that the queue dropped until it had shown."""
    if result.connected_at is None or result.stats is None:
        return None, None
    start = result.connected_at
    line = outcome.line
    round_trip = result.stats.min_rtt
    enough = FULL * bdp(cell.rate, round_trip * 1000)
    behind = next(index for index, reading in enumerate(line) if reading.time >= start)
    first = line[behind]
    for reading in line[behind:]:
        while reading.time - line[behind].time > round_trip:
            behind += 1
        if reading.bytes_left - line[behind].bytes_left >= enough:
            last = next((late for late in line if late.time >= reading.time + 3 * round_trip), line[-1])
            offered = last.received - first.received
            return (reading.time - start) / round_trip, (last.dropped - first.dropped) / max(offered, 1)
    return None, None


def goals_missed(row: Row) -> list[str]:
    """Which of the default controller's goals for a queue of 1 BDP a row misses, each as a short text."""
    cell, missed = row.cell, []
    goal = 0.95 if cell.loss <= 5 else 0.9 if cell.loss <= 10 else 0.8
    most_wait = max(cell.rtt / 4, 10.0)
    if row.share < goal:
        missed.append(f"goodput {row.share:.1%} of (1 - p) C, not {goal:.0%}")
    if row.queue_p95 > most_wait:
        missed.append(f"queueing delay p95 {row.queue_p95:.1f} ms, over {most_wait:g} ms")
    if row.rounds is None:
        missed.append("the link was never full for a round trip")
    elif row.rounds > row.rounds_allowed:
        missed.append(f"start-up took {row.rounds:.1f} round trips, over {row.rounds_allowed:.1f}")
    if row.start_up_lost is not None and row.start_up_lost > 0.02:
        missed.append(f"start-up lost {row.start_up_lost:.1%} in the queue, over 2 %")
    if row.error:
        missed.append(row.error)
    return missed


if __name__ == "__main__":
    from .commands import main

    main("loss")
