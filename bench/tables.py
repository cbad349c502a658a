"""The benchmarks' rows as tables for a terminal.

Knows: columns, units and what to mark. Refuses to know: how rows were measured.

Up to DETAILED rows of the loss table are shown with everything that was measured; more become one small table for each
rate and RTT with goodput alone, controllers and queues down, loss across. The JSON has the rest either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import mean
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from . import fairness, loss, windows

__all__ = ["fairness_tables", "loss_tables", "number", "windows_tables"]

DETAILED: Final = 80


def number(value: float) -> str:
    """A number as short as it is exact."""
    return f"{value:g}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value * 100:.{digits}f}"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _one(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _shaded(share: float) -> Text:
    """A share with a colour that says how good it is, and the figure for who sees no colours."""
    style = "green" if share >= 0.95 else "cyan" if share >= 0.8 else "yellow" if share >= 0.4 else "red"
    return Text(_percent(share), style)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    # Without padding the box leaves one space between columns: a row fits a terminal of 80.
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="", box=box.SIMPLE_HEAD, padding=0,
        show_edge=False,
    )  # fmt: skip
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=True)
    return table


def loss_tables(rows: Sequence[loss.Row], *, detailed: bool | None = None) -> Iterator[Table]:
    """The loss table, detailed or, by default if it is long, in short."""
    if detailed is None:
        detailed = len(rows) <= DETAILED
    for (rate, rtt), group in groupby(rows, key=lambda row: (row.cell.rate, row.cell.rtt)):
        title = f"{number(rate)} Mbit/s, RTT {number(rtt)} ms"
        yield (_loss_detailed if detailed else _loss_short)(title, list(group))


def _loss_detailed(title: str, rows: Sequence[loss.Row]) -> Table:
    table = _table(
        f"{title}; delay in queue in ms",
        "controller",
        "queue\nBDP",
        "loss\n%",
        "goodput\n%(1-p)C",
        "from\nconnect",
        "sent\nagain",
        "delay\np50",
        "\np95",
        "100\nkB, s",
        "10\nMB, s",
        "start\nRTTs",
        "\nlost %",
    )
    for row in rows:
        cell = row.cell
        table.add_row(
            cell.controller,
            number(cell.queue),
            number(cell.loss) + ("+" if cell.both else ""),
            _shaded(row.share),
            _percent(row.whole),
            _percent(row.retransmitted),
            _one(row.queue_p50),
            _one(row.queue_p95),
            _seconds(row.seconds_100kb),
            _seconds(row.seconds_10mb),
            _one(row.rounds),
            _percent(row.start_up_lost),
        )
        if row.error:
            table.add_row(Text(f"  {row.error}", "red"))
    return table


def _loss_short(title: str, rows: Sequence[loss.Row]) -> Table:
    losses = sorted({row.cell.loss for row in rows})
    heads = [f"p\n{number(one)} %" for one in losses]
    table = _table(f"{title}: goodput, % of (1 - p) C", "controller", "queue\nBDP", *heads, "delay in it\np95, ms")
    for (queue, controller), group in groupby(rows, key=lambda row: (row.cell.queue, row.cell.controller)):
        by_loss = {row.cell.loss: row for row in group}
        shares = [_shaded(by_loss[one].share) if one in by_loss else Text("-") for one in losses]
        waits = [row.queue_p95 for row in by_loss.values()]
        spread = f"{min(waits):.1f} to {max(waits):.1f}"
        table.add_row(controller, number(queue), *shares, spread)
    return table


def fairness_tables(rows: Sequence[fairness.Row]) -> Iterator[Table]:
    """One table a scenario. Of several starts a line has the worst and, in place of the median delay, how many met the
    goals.
    """
    several = any(row.cell.start for row in rows)
    for scenario, group in groupby(rows, key=lambda row: row.cell.scenario):
        heads = ["Jain\nleast", "\nmean", "shares\nleast", "\nmost", "even\nafter", "used\n% C"]
        if scenario == "cubic":
            heads[2], heads[3] = ("own\nleast", "\nmost") if several else ("shares\nown", "\nCUBIC")
        heads = ["goals\nmet", *heads, "delay\np95"] if several else [*heads, "delay\np50", "\np95"]
        title = f"{fairness.SCENARIOS[scenario].title}; Jain's index of 5 s, delay in queue in ms"
        table = _table(title, "controller", "link", *heads, left=2)
        for _, line in groupby(group, key=lambda row: replace(row.cell, start=0)):
            table.add_row(*_fairness_line(list(line), several=several))
        yield table


def _fairness_line(rows: Sequence[fairness.Row], *, several: bool) -> Iterator[str | Text]:
    cell = rows[0].cell
    yield cell.controller
    link = f"{number(cell.rate)} Mbit/s x {number(cell.rtt)} ms"
    queue = f", {number(cell.queue)} BDP" if cell.queue != 1 else ""
    yield link + queue + (f", p = {number(cell.loss)} %" if cell.loss else "")
    if several:
        met = sum(not fairness.goals_missed(row) for row in rows)
        yield Text(f"{met} of {len(rows)}", "green" if met == len(rows) else "yellow")
    jain_least = min(row.jain_least for row in rows)
    yield Text(f"{jain_least:.3f}", "green" if jain_least >= fairness.FAIR else "yellow")
    yield f"{mean(row.jain_mean for row in rows):.3f}"
    if cell.scenario == "cubic":
        own = [row.shares[0] for row in rows]
        yield from (f"{min(own):.2f}", f"{max(own) if several else rows[0].shares[1]:.2f}")
    else:
        yield from (f"{min(min(row.shares) for row in rows):.2f}", f"{max(max(row.shares) for row in rows):.2f}")
    after = [row.converged for row in rows if row.converged is not None]
    yield f"{max(after):.1f}" if len(after) == len(rows) else "never"
    yield _percent(min(row.used for row in rows))
    if not several:
        yield _one(rows[0].queue_p50)
    yield _one(max(row.queue_p95 for row in rows))


def windows_tables(rows: Sequence[windows.Row]) -> Iterator[Table]:
    """One line a run; the series are for the plot and the JSON."""
    heads = ("goodput\n%(1-p)C", "window\nmean", "\nmost", "delay\nmean", "\nmost")
    table = _table("Window over time, in BDP; delay in queue in ms", "controller", "link", "loss\n%", *heads, left=2)
    for row in rows:
        cell = row.cell
        table.add_row(
            cell.controller,
            f"{number(cell.rate)} Mbit/s x {number(cell.rtt)} ms, {number(cell.queue)} BDP",
            number(cell.loss),
            _shaded(row.share),
            f"{mean(row.window):.2f}",
            f"{max(row.window):.2f}",
            _one(mean(row.queue)),
            _one(max(row.queue)),
        )
    yield table
