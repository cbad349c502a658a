"""Pictures of the cost curves.

Knows: what they show of the rows. Refuses to know: how rows were measured; the style is that of `plots`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .costs import CURVES, FLAT, Row
from .plots import INK, QUIET, save, subplots, title

__all__ = ["draw", "picture"]

LINE = "#0072B2"
OVER = "#D55E00"
BAND = "#dfeaf2"
COLUMNS = 3


def draw(rows: Sequence[Row], folder: Path) -> Iterator[Path]:
    """One picture of all curves. Raises MissingExtra without matplotlib."""
    yield save(picture(rows), folder / "costs.png")


def picture(rows: Sequence[Row]) -> Any:
    """The figure, a panel a curve."""
    names = list(dict.fromkeys(row.curve for row in rows))
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    figure, panels = subplots(lines, columns, 2.35 * lines + 0.2)
    for index, name in enumerate(names):
        _curve(panels[index // columns][index % columns], [row for row in rows if row.curve == name], name)
    for panel in [panels[i // columns][i % columns] for i in range(len(names), lines * columns)]:
        panel.set_visible(False)
    title(
        figure,
        "What a packet costs the core while things pile up",
        "CPU microseconds a packet (of writing: a write), both sides together, in memory, protection none, packets of "
        "1,400 bytes. Dot: median, bar: half of the rounds by their ratio to the base (ring). Band: what is allowed",
    )
    return figure


def _curve(panel: Any, rows: Sequence[Row], name: str) -> None:
    """Sizes evenly spaced, as they are about a power apart; the y axis begins at zero."""
    curve = CURVES[name]
    base = next(row for row in rows if row.size == curve.base)
    places = range(len(rows))
    heights = [row.ratio * base.microseconds for row in rows]
    # Labels stand above what is drawn of a row, and over lines by a rim.
    ends = [max(height, row.ratio_high * base.microseconds) for height, row in zip(heights, rows, strict=True)]
    halo = [_path_effects().withStroke(linewidth=2, foreground="white", alpha=0.8)]
    allowed = [i for i, row in enumerate(rows) if row.limit is not None or row is base]
    tops = [(curve.limits(rows[i].size) or FLAT) * base.microseconds for i in allowed]
    panel.fill_between(allowed, [0] * len(allowed), tops, color=BAND, linewidth=0, zorder=1)
    panel.plot(places, heights, color=LINE, linewidth=1.6, zorder=3)
    for i, row in enumerate(rows):
        over = row.limit is not None and row.ratio > row.limit
        shade = OVER if over else LINE
        panel.plot([i, i], [row.ratio_low * base.microseconds, row.ratio_high * base.microseconds],
                   color=shade, linewidth=3.2, alpha=0.35, zorder=3, solid_capstyle="butt")  # fmt: skip
        panel.plot(i, heights[i], "o", markersize=5.5, color=shade, zorder=4, mfc="white" if row is base else shade)
        panel.annotate(
            f"{row.microseconds:.3g}" if row is base else f"{row.ratio:.2f} x", (i, ends[i]), xytext=(0, 6),
            textcoords="offset points", ha="center", fontsize=8,
            color=OVER if over else INK if row is base else "#555555", zorder=5, path_effects=halo,
        )  # fmt: skip
    panel.set_ylim(0, max([*ends, *tops]) * 1.22)
    panel.set_ylabel(f"us a {curve.of}", fontsize=8.5)
    panel.set_xlim(-0.5, len(rows) - 0.5)
    panel.set_xticks(places, [_size(row.size, curve.unit) for row in rows])
    panel.set_title(curve.title, loc="left", fontsize=10)
    panel.set_xlabel(_unit(rows, curve.unit), fontsize=8.5)
    panel.grid(visible=False, axis="x")
    panel.spines["bottom"].set_color(QUIET)


def _path_effects() -> Any:
    return import_module("matplotlib.patheffects")


def _unit(rows: Sequence[Row], unit: str) -> str:
    held = rows[-1].held
    return unit if held is None else f"{unit}; {rows[0].held or 0:,.0f} to {held:,.0f} ranges"


def _size(size: float, unit: str) -> str:
    """So short that six fit side by side."""
    if unit.startswith("bytes"):
        return f"{size / (1 << 20):g} M" if size >= 1 << 20 else f"{size / 1024:g} K" if size else "0"
    return f"{size:,.10g}" if size < 100_000 else f"{size / 1000:,g} k"
