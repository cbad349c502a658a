"""The benchmarks' rows as pictures: PNG files on white, that can be told apart without colours.

Knows: colours, marks, labels, and which pictures belong to a benchmark. Refuses to know: how rows were measured.

Needs matplotlib (the extra `plot`), which is imported when something is drawn. Sources: the colours are those of
M. Okabe and K. Ito, "Color Universal Design", 2008.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from .sweep import MissingExtra
from .windows import Row as WindowsRow

__all__ = ["INK", "QUIET", "colour", "draw", "label_ends", "marker", "require", "save", "subplots", "title", "whose"]

COLOURS: Final = {"model": "#0072B2", "bbr": "#009E73", "cubic": "#D55E00", "new_reno": "#AA4499"}
MARKERS: Final = {"model": "o", "bbr": "^", "cubic": "s", "new_reno": "D"}
OTHERS: Final = ("#E69F00", "#56B4E9", "#000000")
INK: Final = "#222222"
QUIET: Final = "#8a8a8a"
GRID: Final = "#e4e4e4"
WIDTH: Final = 9.6  # inches
DPI: Final = 110
STYLE: Final = {
    "font.size": 10.0,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "figure.facecolor": "white",
}


def require() -> Any:
    """matplotlib's pyplot, drawing to files. Raises MissingExtra if it is not installed."""
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise MissingExtra("drawing", "matplotlib", "plot") from None
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    pyplot.rcParams.update(STYLE)
    return pyplot


def colour(controller: str) -> str:
    """The same colour for a controller in all pictures."""
    return COLOURS.get(controller, OTHERS[sum(map(ord, controller)) % len(OTHERS)])


def marker(controller: str) -> str:
    """The mark that goes with the colour."""
    return MARKERS.get(controller, "v")


def subplots(rows: int, columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure and its panels, always as rows of columns; `height` in inches without the title."""
    pyplot = require()
    size = (WIDTH, height)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)
    return figure, panels


def title(figure: Any, first: str, second: str = "") -> None:
    """What the picture shows, and under it for which conditions; the figure grows by what they take."""
    lines = wrap(second, 126)
    body = figure.get_figheight()
    height = body + 0.6 + 0.18 * len(lines)
    figure.set_figheight(height)
    figure.get_layout_engine().set(rect=(0, 0, 1, body / height), w_pad=0.08, h_pad=0.06)
    figure.text(0.012, 1 - 0.14 / height, first, fontsize=13, fontweight="bold", va="top")
    figure.text(0.012, 1 - 0.45 / height, "\n".join(lines), fontsize=9.5, color="#555555", va="top", linespacing=1.35)


def whose(controllers: Sequence[str]) -> str:
    """Whose the controllers are, for the second line of a title; "" if there is one only."""
    if len(controllers) < 2:
        return ""
    every = {2: "both", 3: "all three", 4: "all four"}.get(len(controllers), "all")
    default = "model is rudp's default; " if "model" in controllers else ""
    return f"; {default}{every} are rudp's own controllers"


def label_ends(panel: Any, ends: Iterable[tuple[float, str, str]], x: float, *, gap: float) -> None:
    """Names beside the ends of lines, (y, name, colour), moved apart to `gap` in units of the y axis."""
    placed = sorted(ends)
    heights = [y for y, *_ in placed]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    # Back down if the topmost has left the panel.
    top = panel.get_ylim()[1]
    for index in reversed(range(len(heights))):
        heights[index] = min(heights[index], top)
        top = heights[index] - gap
    for height, (_, name, shade) in zip(heights, placed, strict=True):
        panel.annotate(
            name, (x, height), xytext=(7, 0), textcoords="offset points", color=shade,
            va="center", fontsize=9.5, fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def save(figure: Any, path: Path) -> Path:
    """Write the PNG, in 192 colours of its own: pictures live in the repository."""
    image: Any = importlib.import_module("PIL.Image")  # matplotlib needs it, too
    full = io.BytesIO()
    figure.savefig(full, dpi=DPI, facecolor="white", format="png")
    require().close(figure)
    # By its coverage of colours, not of pixels: what is written in a colour of its own has few of them.
    palette = image.open(full).convert("RGB").quantize(192, method=image.Quantize.MAXCOVERAGE)
    palette.save(path, optimize=True)
    return path


def draw(benchmark: str, rows: Sequence[Any], folder: Path) -> Iterator[Path]:
    """Draw all pictures of a benchmark for which the rows suffice. Raises MissingExtra without matplotlib."""
    # These import the style from here.
    from .plots_fairness import late_pictures, scenarios_picture  # noqa: PLC0415
    from .plots_loss import goodput_picture, heat_picture, queue_picture, times_picture  # noqa: PLC0415

    pictures: dict[str, dict[str, Callable[[Any], Any]]] = {
        "loss": {
            "loss-goodput": goodput_picture,
            "loss-all": heat_picture,
            "loss-queue": queue_picture,
            "loss-times": times_picture,
        },
        "fairness": {"fairness": scenarios_picture, "fairness-time": late_pictures},
        "windows": {"windows": windows_picture},
    }
    for name, picture in pictures[benchmark].items():
        figure = picture(rows)
        if figure is not None:
            yield save(figure, folder / f"{name}.png")


def windows_picture(rows: Sequence[WindowsRow]) -> Any:
    """A row a controller, a column a loss rate: window, bytes in flight and queue in BDP over time."""
    first = rows[0].cell
    rows = [
        row for row in rows if (row.cell.rate, row.cell.rtt, row.cell.queue) == (first.rate, first.rtt, first.queue)
    ]
    controllers = list(dict.fromkeys(row.cell.controller for row in rows))
    losses = list(dict.fromkeys(row.cell.loss for row in rows))
    top = min(max(max(row.window) for row in rows), 2 * (1 + first.queue)) * 1.08
    figure, panels = subplots(len(controllers), len(losses), 1.45 * len(controllers) + 0.3, sharex=True, sharey=True)
    for row in rows:
        panel = panels[controllers.index(row.cell.controller)][losses.index(row.cell.loss)]
        waits = [wait / row.cell.rtt for wait in row.queue]
        panel.fill_between(row.times, waits, color="#bdbdbd", linewidth=0)
        panel.plot(row.times, row.window, color=colour(row.cell.controller), linewidth=1.3)
        panel.set_ylim(0, top)
        panel.set_xlim(0, row.cell.seconds)
        panel.axhline(1, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
        panel.text(0.99, 0.96, f"goodput {row.share:.0%}", transform=panel.transAxes, ha="right", va="top", fontsize=9)
    for index, controller in enumerate(controllers):
        panels[index][0].set_ylabel("BDP")
        panels[index][0].text(
            0.1, 0.96, controller, transform=panels[index][0].transAxes, va="top",
            color=colour(controller), fontweight="bold",
        )  # fmt: skip
    for index, loss in enumerate(losses):
        panels[0][index].set_title(f"random loss {loss:g} %", loc="left", fontsize=10.5)
        panels[-1][index].set_xlabel("seconds")
    title(
        figure,
        "Congestion window (line) and queue (grey area) over time, one flow alone",
        f"{first.rate:g} Mbit/s, RTT {first.rtt:g} ms, drop-tail queue of {first.queue:g} BDP; in parts of a BDP, "
        f"above which (dashed) a window only fills the queue{whose(controllers)}",
    )
    return figure
