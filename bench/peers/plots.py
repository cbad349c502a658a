"""The figures as one picture: six small charts, the best on top.

Knows: colours, labels, what is drawn. Refuses to know: how the figures came about.
Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from rudp.cli.common import counted

from ..plots import INK, QUIET, require
from .summary import Cell, summarize

__all__ = ["draw"]

RUDP: Final = "#0072B2"
LIMIT: Final = "#BDBDBD"
TCP: Final = "#8a8a8a"
PEER: Final = "#E69F00"
KINDS: Final = ((RUDP, "rudp"), (PEER, "UDP peers"), (TCP, "kernel TCP"), (LIMIT, "bare UDP, no protocol"))
SIZE: Final = (15.0, 11.0)  # inches
DPI: Final = 110


class Chart(NamedTuple):
    """One figure of one work."""

    work: str
    figure: str
    title: str
    unit: str
    more_is_better: bool = False
    digits: int = 0


CHARTS: Final = (
    Chart("bulk", "MB_s", "Bulk, one stream", "MB/s, log scale", more_is_better=True),
    Chart("bulk", "s_per_GB", "Bulk: CPU time, both sides", "seconds per GB, log scale", digits=1),
    Chart("rpc", "p50_us_1", "100 bytes and back, one at a time: median", "microseconds, log scale"),
    Chart("rpc", "per_second_100", "The same, 100 at a time", "a second, log scale", more_is_better=True),
    Chart("handshakes", "server_us_100", "Open and close, 100 at a time", "microseconds of server CPU each, log scale"),
    Chart("idle", "server_bytes_each", "Idle connections: memory", "server's bytes each, log scale"),
)


def colour(name: str) -> str:
    """By kind."""
    for prefix, kind in (("rudp", RUDP), ("bare", LIMIT), ("tcp", TCP), ("tls", TCP)):
        if name.startswith(prefix):
            return kind
    return PEER


def _dots(axes: Any, chart: Chart, found: dict[str, dict[str, Cell]]) -> None:
    figures = {name: one[chart.figure] for name, one in found.items() if chart.figure in one}
    order = sorted(figures, key=lambda name: figures[name].median, reverse=not chart.more_is_better)
    values = [figures[name].median for name in order]
    spread = [
        [figures[name].median - figures[name].least for name in order],
        [figures[name].most - figures[name].median for name in order],
    ]
    places = range(len(order))
    colours = [colour(name) for name in order]
    least, most = min(figures[name].least for name in order), max(figures[name].most for name in order)
    # Dots, as on a log scale the length of a bar says nothing.
    axes.hlines(places, least / 10, values, color=colours, linewidth=1.2, alpha=0.45, zorder=2)
    axes.errorbar(values, places, xerr=spread, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2, zorder=3)
    axes.scatter(values, places, c=colours, s=52, zorder=4)
    axes.set_yticks(places, order)
    for label, name in zip(axes.get_yticklabels(), order, strict=True):
        label.set_fontweight("bold" if name.startswith("rudp") else "normal")
    axes.set_xscale("log")
    axes.set_xlim(least / 2, most * 4)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.xaxis.set_major_formatter("{x:,.10g}")
    for place, name in zip(places, order, strict=True):
        cell = figures[name]
        text = f"{cell.median:,.{chart.digits}f}"
        axes.annotate(text, (cell.most, place), (7, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_xlabel(chart.unit, color=QUIET, fontsize=9)
    axes.set_title(chart.title, loc="left", fontweight="bold", fontsize=11)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def draw(document: dict[str, Any], folder: Path) -> Path:
    """Draw peers.png in `folder`. Raises MissingExtra without matplotlib."""
    pyplot = require()
    found = summarize(document["rows"])
    found["idle"] = next((figures for work, figures in found.items() if work.startswith("idle")), {})
    charts = [
        chart for chart in CHARTS if any(chart.figure in figures for figures in found.get(chart.work, {}).values())
    ]
    columns = 2
    lines = -(-len(charts) // columns)
    figure, grid = pyplot.subplots(lines, columns, figsize=(SIZE[0], SIZE[1] * lines / 3), squeeze=False)
    for axes, chart in zip(grid.flat, charts, strict=False):
        _dots(axes, chart, found[chart.work])
    for axes in list(grid.flat)[len(charts) :]:
        axes.set_axis_off()
    options = document["options"]
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=kind) for kind, _ in KINDS]
    figure.legend(handles, [label for _, label in KINDS], loc="upper right", ncols=len(KINDS), frameon=False)
    figure.suptitle(
        f"rudp beside its peers over loopback, two processes, {options['datagram']:,}-byte datagrams where they can be "
        f"chosen\nmedians of {counted(options['rounds'], 'round')}, lines from least to most; "
        f"CPython {document['python']}, {document['cores']} cores, {document['system']}",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.98), h_pad=2.0, w_pad=2.5)
    path = folder / "peers.png"
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    pyplot.close(figure)
    return path
