"""Pictures of the loss table.

Knows: what each shows of the rows. Refuses to know: how rows were measured; the style is that of `plots`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan, nan
from typing import Any, Final

from .loss import SHORT_SECONDS, Row
from .plots import INK, QUIET, colour, label_ends, marker, subplots, title, whose

__all__ = ["goodput_picture", "heat_picture", "queue_picture", "times_picture"]

GOALS: Final = ((5.0, 0.95), (10.0, 0.9), (20.0, 0.8))  # up to a loss of so many %, share of (1 - p) C


def _of(rows: Sequence[Row], name: str) -> list[Any]:
    """The values that a dimension takes, ascending; controllers in the order of the rows."""
    values = list(dict.fromkeys(getattr(row.cell, name) for row in rows))
    return values if name == "controller" else sorted(values)


def _one_queue(rows: Sequence[Row]) -> tuple[float, list[Row]]:
    """The rows of the queue nearest to 1 BDP."""
    queue = min(_of(rows, "queue"), key=lambda queue: abs(queue - 1))
    return queue, [row for row in rows if row.cell.queue == queue]


def _conditions(rows: Sequence[Row], queue: float) -> str:
    way = "in both directions" if rows[0].cell.both else "in the data direction"
    return f"One flow alone, drop-tail queue of {queue:g} BDP, random loss p behind it {way}"


def _multiples(
    rows: Sequence[Row], value: Callable[[Row], float | None], *, ylim: tuple[float, float], gap: float
) -> tuple[Any, Any]:
    """A panel for each rate and RTT, a line for each controller, over evenly spaced loss rates."""
    rates, rtts, losses = _of(rows, "rate"), _of(rows, "rtt"), _of(rows, "loss")
    figure, panels = subplots(len(rates), len(rtts), 1.75 * len(rates) + 0.4, sharex=True, sharey=True)
    for line, rate in enumerate(rates):
        for column, rtt in enumerate(rtts):
            panel = panels[line][column]
            panel.set_ylim(*ylim)
            panel.set_xticks(range(len(losses)), [f"{loss:g}" for loss in losses])
            panel.set_xlim(-0.25, len(losses) - 0.75)
            panel.set_title(f"{rate:g} Mbit/s, {rtt:g} ms", loc="left", fontsize=10)
            here = [row for row in rows if row.cell.rate == rate and row.cell.rtt == rtt]
            ends = []
            for name in _of(here, "controller"):
                by_loss = {row.cell.loss: value(row) for row in here if row.cell.controller == name}
                points = [(i, y) for i, loss in enumerate(losses) if (y := by_loss.get(loss)) is not None]
                panel.plot(
                    *zip(*points, strict=True), color=colour(name), marker=marker(name), markersize=4.5,
                    linewidth=2.4 if name == "model" else 1.5, zorder=3 if name == "model" else 2, clip_on=False,
                )  # fmt: skip
                ends.append((min(points[-1][1], ylim[1]), name, colour(name)))
            if column == len(rtts) - 1:
                label_ends(panel, ends, len(losses) - 1, gap=gap)
    for panel in panels[-1]:
        panel.set_xlabel("random loss p, %")
    return figure, panels


def goodput_picture(rows: Sequence[Row]) -> Any:
    """Goodput over loss; None if there is one loss rate only."""
    queue, rows = _one_queue(rows)
    losses = _of(rows, "loss")
    if len(losses) < 2:
        return None
    figure, panels = _multiples(rows, lambda row: row.share * 100, ylim=(0, 104), gap=13)
    goals = [next((goal for limit, goal in GOALS if loss <= limit), None) for loss in losses]
    steps = [(i + side, goal * 100) for i, goal in enumerate(goals) if goal for side in (-0.5, 0.5)]
    for line in panels:
        line[0].set_ylabel("% of (1 - p) C")
        for panel in line:
            panel.plot(*zip(*steps, strict=True), color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    panels[0][0].annotate(
        "rudp's goal", (steps[-1][0] - 0.5, steps[-1][1]), xytext=(2, -4), textcoords="offset points",
        color="#666666", fontsize=8.5, ha="center", va="top",
    )  # fmt: skip
    title(
        figure,
        "Goodput by random loss, as a share of what the loss leaves of the link",
        f"{_conditions(rows, queue)}; from {rows[0].cell.steady_from:g} s on. C: payload that full packets carry over "
        f"the link{whose(_of(rows, 'controller'))}",
    )
    return figure


def queue_picture(rows: Sequence[Row]) -> Any:
    """Queueing delay over loss; None if there is one loss rate only."""
    queue, rows = _one_queue(rows)
    if len(_of(rows, "loss")) < 2:
        return None
    top = max(queue, 0.3) * 105
    figure, panels = _multiples(rows, lambda row: row.queue_p95 / row.cell.rtt * 100, ylim=(0, top), gap=top / 8)
    for line in panels:
        line[0].set_ylabel("% of the RTT")
    title(
        figure,
        "Queueing delay, 95th percentile, as % of the RTT",
        f"{_conditions(rows, queue)}; from {rows[0].cell.steady_from:g} s on. {queue * 100:g} % is a full queue; "
        "with loss a low delay of cubic and new_reno means that they leave the link idle, as their goodput shows"
        f"{whose(_of(rows, 'controller'))}",
    )
    return figure


def times_picture(rows: Sequence[Row]) -> Any:
    """Time to deliver 100 kB and 10 MB over loss, a column an RTT, at the rate nearest to 100 Mbit/s."""
    queue, rows = _one_queue(rows)
    rate = min(_of(rows, "rate"), key=lambda rate: abs(rate - 100))
    rows = [row for row in rows if row.cell.rate == rate]
    rtts, losses = _of(rows, "rtt"), _of(rows, "loss")
    if len(losses) < 2:
        return None
    figure, panels = subplots(2, len(rtts), 4.6, sharex=True, sharey="row")
    longest = max(row.cell.seconds for row in rows)
    sizes = (("100 kB", "seconds_100kb", SHORT_SECONDS), ("10 MB", "seconds_10mb", longest))
    for line, (size, figure_name, limit) in enumerate(sizes):
        for column, rtt in enumerate(rtts):
            panel = panels[line][column]
            panel.set_yscale("log")
            panel.set_title(f"{size}, RTT {rtt:g} ms", loc="left", fontsize=10)
            panel.set_xticks(range(len(losses)), [f"{loss:g}" for loss in losses])
            panel.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
            panel.yaxis.set_minor_formatter(_between_decades(panel))
            here = [row for row in rows if row.cell.rtt == rtt]
            for count, name in enumerate(_of(here, "controller")):
                by_loss = {row.cell.loss: getattr(row, figure_name) for row in here if row.cell.controller == name}
                points = [(i, y) for i, loss in enumerate(losses) if (y := by_loss.get(loss)) is not None]
                if points:
                    panel.plot(
                        *zip(*points, strict=True), color=colour(name), marker=marker(name), markersize=4.5,
                        linewidth=2.4 if name == "model" else 1.5, label=name,
                    )  # fmt: skip
                # Beside each other, should several controllers not get there.
                shift = 0.12 * (count - 1)
                never = [i + shift for i, loss in enumerate(losses) if loss in by_loss and by_loss[loss] is None]
                panel.plot(never, [limit * 1.15] * len(never), "x", color=colour(name), markersize=6, mew=1.8)
        panels[line][0].set_ylabel("seconds from connect")
    for panel in panels[-1]:
        panel.set_xlabel("random loss p, %")
    panels[0][0].legend(frameon=False, fontsize=9, labelcolor="linecolor", handlelength=1.4)
    title(
        figure,
        f"Time to deliver 100 kB and 10 MB at {rate:g} Mbit/s",
        f"{_conditions(rows, queue)}; a cross: not delivered in the {SHORT_SECONDS:g} and {longest:g} s that were run"
        + whose(_of(rows, "controller")),
    )
    return figure


def _between_decades(panel: Any) -> Callable[[float, int], str]:
    """Labels for 2 and 5 times a power of ten, or for all nine on an axis so short that it may have neither."""

    def text(y: float, _: int) -> str:
        low, high = panel.get_ylim()
        return f"{y:.1g}" if high < 5 * low or f"{y:e}"[0] in "25" else ""

    return text


def heat_picture(rows: Sequence[Row]) -> Any:
    """All cells: a panel a controller, loss across, links and queues down."""
    controllers, losses = _of(rows, "controller"), _of(rows, "loss")
    links = sorted({(row.cell.rate, row.cell.rtt, row.cell.queue) for row in rows})
    if len(losses) * len(links) < 4:
        return None
    figure, panels = subplots(1, len(controllers), 0.27 * len(links) + 0.7, sharey=True)
    for panel, name in zip(panels[0], controllers, strict=True):
        share = {(row.cell.rate, row.cell.rtt, row.cell.queue, row.cell.loss): row.share for row in rows
                 if row.cell.controller == name}  # fmt: skip
        grid = [[share.get((*link, loss), nan) for loss in losses] for link in links]
        panel.imshow(grid, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for y, line in enumerate(grid):
            for x, one in enumerate(line):
                if not isnan(one):
                    figures = panel.text(
                        x, y, f"{one * 100:.0f}", ha="center", va="center", fontsize=8,
                        color="white" if one < 0.6 else INK,
                    )  # fmt: skip
                    figures.set_in_layout(False)
        panel.grid(visible=False)
        panel.set_title(name, loc="left", fontsize=10.5, color=colour(name), fontweight="bold")
        panel.set_xticks(range(len(losses)), [f"{loss:g}" for loss in losses])
        panel.set_xlabel("loss p, %")
        panel.tick_params(length=0)
        for spine in panel.spines.values():
            spine.set_visible(False)
        for y in range(1, len(links)):
            if links[y][:2] != links[y - 1][:2]:
                panel.axhline(y - 0.5, color="white", linewidth=2.5 if links[y][0] == links[y - 1][0] else 5)
    queues = _of(rows, "queue")
    alike = f" with queue {queues[0]:g} BDP" if len(queues) == 1 else ""
    names = [f"{rate:g} Mbit/s, {rtt:g} ms" + ("" if alike else f", {queue:g}") for rate, rtt, queue in links]
    panels[0][0].set_yticks(range(len(links)), names)
    title(
        figure,
        f"Goodput in every cell{alike}, as % of (1 - p) C",
        f"(1 - p) C: what the loss leaves of the link. Down: rate, RTT{'' if alike else ', queue in BDP'}. "
        f"One flow alone; from {rows[0].cell.steady_from:g} s on{whose(controllers)}",
    )
    return figure
