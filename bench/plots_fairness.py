"""Pictures of the fairness table.

Knows: what each shows of the rows. Refuses to know: how rows were measured; the style is that of `plots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .fairness import FAIR, SCENARIOS, STEP, Row
from .plots import INK, QUIET, colour, marker, subplots, title, whose

__all__ = ["late_pictures", "scenarios_picture"]

BY_SHARE: Final = {"rtts": ("short RTT", "long RTT"), "cubic": ("this flow", "CUBIC")}


def _link(row: Row) -> str:
    return f"{row.cell.rate:g} Mbit/s x {row.cell.rtt:g} ms"


def scenarios_picture(rows: Sequence[Row]) -> Any:
    """A panel a scenario: Jain's index, or the shares of the two flows, for every link and controller."""
    first = rows[0].cell
    rows = [row for row in rows if (row.cell.queue, row.cell.loss) == (first.queue, first.loss)]
    scenarios = [name for name in SCENARIOS if any(row.cell.scenario == name for row in rows)]
    names = list(dict.fromkeys(row.cell.controller for row in rows))
    links = sorted({(row.cell.rate, row.cell.rtt) for row in rows}, reverse=True)
    columns = min(3, len(scenarios))
    lines = -(-len(scenarios) // columns)
    height = lines * (0.42 * len(links) + 0.95)
    figure, panels = subplots(lines, columns, height, sharey=True)
    for index, scenario in enumerate(scenarios):
        panel = panels[index // columns][index % columns]
        _scenario(panel, [row for row in rows if row.cell.scenario == scenario], scenario, names, links)
    for panel in [panels[i // columns][i % columns] for i in range(len(scenarios), lines * columns)]:
        panel.set_visible(False)
    for line in panels:
        line[0].set_yticks(range(len(links)), [f"{rate:g} Mbit/s x {rtt:g} ms" for rate, rtt in links])
        line[0].set_ylim(-0.6, len(links) - 0.4)
    title(
        figure,
        "How evenly flows share one link",
        f"Jain's index over 5 s windows: mark the mean, line down to the least, dashed the goal, {FAIR}; with unequal "
        f"flows each one's share in parts of an equal one. Drop-tail queue of {first.queue:g} BDP"
        + (f", random loss {first.loss:g} %" if first.loss else "")
        + "; from max(30 RTT, 10 s) after the last arrival on"
        + whose(names),
    )
    x = 0.988
    for name in reversed(names):
        text = figure.text(x, 1 - 0.14 / figure.get_figheight(), name, color=colour(name), fontweight="bold",
                           ha="right", va="top", fontsize=11)  # fmt: skip
        x -= text.get_window_extent(figure.canvas.get_renderer()).width / figure.bbox.width + 0.015
    return figure


def _scenario(
    panel: Any, rows: Sequence[Row], scenario: str, names: Sequence[str], links: Sequence[tuple[float, float]]
) -> None:
    panel.set_title(SCENARIOS[scenario].title, loc="left", fontsize=10.5)
    for row in rows:
        name = row.cell.controller
        y = links.index((row.cell.rate, row.cell.rtt)) + 0.17 * ((len(names) - 1) / 2 - names.index(name))
        shade = {"color": colour(name), "zorder": 3}
        if scenario in BY_SHARE:
            panel.plot(row.shares, [y, y], linewidth=1.2, **shade)
            panel.plot(row.shares[0], y, marker(name), markersize=5.5, **shade)
            panel.plot(row.shares[1], y, marker(name), markersize=5.5, mfc="white", **shade)
        else:
            panel.plot([row.jain_least, row.jain_mean], [y, y], linewidth=1.6, **shade)
            panel.plot(row.jain_mean, y, marker(name), markersize=5.5, **shade)
    if scenario in BY_SHARE:
        full, hollow = BY_SHARE[scenario]
        panel.set_xlim(0, 2)
        panel.axvline(1, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        panel.set_xlabel(f"share: filled {full}, hollow {hollow}", fontsize=9)
    else:
        panel.set_xlim(min([0.6, *(row.jain_least - 0.03 for row in rows)]), 1.005)
        panel.axvline(FAIR, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        panel.set_xlabel("Jain's index", fontsize=9)


def late_pictures(rows: Sequence[Row]) -> Any:
    """Goodput of both flows over time, for a late starter and against CUBIC; a column a controller."""
    scenarios = [name for name in ("late", "cubic") if any(row.cell.scenario == name for row in rows)]
    if not scenarios:
        return None
    chosen: dict[tuple[str, str], Row] = {}
    wanted = {"late": (100.0, 50.0), "cubic": (50.0, 40.0)}
    for row in rows:
        name = row.cell.scenario
        if name in scenarios:
            key = (name, row.cell.controller)
            if key not in chosen or (row.cell.rate, row.cell.rtt) == wanted[name]:
                chosen[key] = row
    names = list(dict.fromkeys(controller for _, controller in chosen))
    figure, panels = subplots(len(scenarios), len(names), 1.9 * len(scenarios) + 0.3, sharey="row", sharex="row")
    for line, scenario in enumerate(scenarios):
        for column, name in enumerate(names):
            panel = panels[line][column]
            if (scenario, name) in chosen:
                _over_time(panel, chosen[scenario, name], scenario)
            else:
                panel.set_visible(False)
    for line in panels:
        next(panel for panel in line if panel.get_visible()).set_ylabel("Mbit/s")
    for panel in panels[-1]:
        panel.set_xlabel("seconds")
    shown = [next(row for (name, _), row in chosen.items() if name == scenario) for scenario in scenarios]
    title(
        figure,
        "Goodput of two flows in one bottleneck over time",
        "; ".join(f"{SCENARIOS[row.cell.scenario].title}: {_link(row)}" for row in shown)
        + f"; drop-tail queue of {shown[0].cell.queue:g} BDP; means over {STEP:g} s, dashed an equal share"
        + whose(names),
    )
    return figure


def _over_time(panel: Any, row: Row, scenario: str) -> None:
    name = row.cell.controller
    beside = scenario == "cubic" and name != "cubic"
    shades = (colour(name), colour("cubic") if beside else INK)
    second = "orange: the CUBIC flow" if beside else f"black: the {'late' if scenario == 'late' else 'other'} one"
    times = [STEP * (index + 0.5) for index in range(len(row.series[0]))]
    for series, shade in zip(row.series, shades, strict=True):
        panel.plot(times, series, color=shade, linewidth=1.4)
    panel.axhline(row.cell.rate / 2, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    panel.set_ylim(0, row.cell.rate * 1.15)
    panel.set_xlim(0, times[-1])
    panel.set_title(name, loc="left", fontsize=10.5, color=colour(name), fontweight="bold")
    panel.set_title(second, loc="right", fontsize=9, color=shades[1])
