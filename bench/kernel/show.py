"""The table for people: as text, as JSON, as a picture. Knows how it looks, not how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..machine import machine
from .probes import Check
from .table import BYTES, LATE, LEVEL, SETTLED, Row, as_json

__all__ = ["checks_as_text", "plot", "put_into", "report", "rows_as_markdown", "rows_as_text"]

COLOURS: Final = ("#1b6ca8", "#e07a5f", "#81a88d", "#8d6cab", "#b8a15a")
TABLE_STARTS: Final = "<!-- kernel table -->"
TABLE_ENDS: Final = "<!-- /kernel table -->"
# Behind the figures on the bars, so that lines don't cross them.
LABEL: Final = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none"}


def checks_as_text(checks: Sequence[Check]) -> str:
    """What was found out about the emulator."""
    lines = ["The emulator, as measured by UDP datagrams:"]
    for check in checks:
        lines.append(f"  {'ok ' if check.holds else 'OFF'} {check.what}: {check.measured} (want {check.wanted})")
    return "\n".join(lines)


def _verdict(row: Row) -> str:
    if row.holds is None or row.best_rival is None:
        return ""
    if row.goodput < LEVEL * row.best_rival:
        return f"BEHIND ({row.goodput / row.best_rival:.2f} of the best)"
    place = "first" if row.goodput >= row.best_rival else "level"
    return place if row.holds else f"{place}, but TOO MANY BYTES"


def rows_as_text(rows: Sequence[Row], rounds: int, seconds: float) -> str:
    """The table."""
    lines = [
        f"One flow of {seconds:g} s over an emulated link, medians of {rounds} round(s); random loss in both "
        "directions behind a drop-tail queue of 1 BDP.",
        f"goodput from {SETTLED:g} s on, whole from the start; sent: IP bytes sent over payload bytes arrived, limit "
        f"{BYTES} / (1 - p); level: at least {LEVEL} of the best.",
        "",
        f"{'link':32} {'':10} {'Mbit/s':>7} {'of link':>8} {'least':>7} {'most':>7} {'whole':>7} "
        f"{'sent':>6} {'limit':>6} {'queue ms p50':>13} {'p95':>6}",
    ]
    previous = ""
    for row in rows:
        link = f"{row.rate * 8e-6:g} Mbit/s x {row.rtt * 1000:g} ms, loss {row.loss * 100:g} %"
        if previous and link != previous:
            lines.append("")
        sent = "-" if row.sent is None else f"{row.sent:.2f}"
        lines.append(
            f"{link if link != previous else '':32} {row.contender:10} {row.goodput * 8e-6:7.2f} {row.share:8.1%} "
            f"{row.least * 8e-6:7.2f} {row.most * 8e-6:7.2f} {row.whole * 8e-6:7.2f} {sent:>6} {row.sent_limit:6.2f} "
            f"{row.queue_p50 * 1000:13.1f} {row.queue_p95 * 1000:6.1f}  {_verdict(row)}".rstrip()
        )
        previous = link
    lines += ["", *_remarks(rows)]
    return "\n".join(lines)


def rows_as_markdown(rows: Sequence[Row]) -> str:
    """The table for documentation: goodput as a share of the link's rate, and in brackets bytes sent over goodput."""
    names = list(dict.fromkeys(row.contender for row in rows))
    cells: dict[str, dict[str, Row]] = {}
    for row in rows:
        link = f"{row.rate * 8e-6:g} Mbit/s, {row.rtt * 1000:g} ms, loss {row.loss * 100:g} %"
        cells.setdefault(link, {})[row.contender] = row
    lines = [f"| link | {' | '.join(names)} | limit of bytes | queue p95, ms: {', '.join(names)} | rudp is |"]
    lines.append("|---" * (len(names) + 4) + "|")
    for link, found in cells.items():
        there = [found.get(name) for name in names]
        shares = [
            "-" if row is None else f"{row.share * 100:.1f} % ({'-' if row.sent is None else f'{row.sent:.2f}'})"
            for row in there
        ]
        queues = ", ".join("-" if row is None else f"{row.queue_p95 * 1000:.0f}" for row in there)
        limit = next(iter(found.values())).sent_limit
        verdicts = ", ".join(verdict for row in found.values() if (verdict := _verdict(row)))
        lines.append(f"| {link} | {' | '.join(shares)} | {limit:.2f} | {queues} | {verdicts} |")
    return "\n".join(lines)


def put_into(text: str, rows: Sequence[Row]) -> str:
    """`text` with the table between its marks. Raises ValueError if it has none."""
    before, mark, rest = text.partition(TABLE_STARTS)
    _, end, after = rest.partition(TABLE_ENDS)
    if not mark or not end:
        raise ValueError(f"there is no place for the table: put {TABLE_STARTS} and {TABLE_ENDS} where it belongs")
    return f"{before}{mark}\n{rows_as_markdown(rows)}\n{end}{after}"


def _remarks(rows: Sequence[Row]) -> list[str]:
    """What was amiss with single runs."""
    samples = [sample for row in rows for sample in row.rounds]
    repeats = sum(sample.repeats for sample in samples)
    late = sum(sample.late_p99 > LATE for sample in samples)
    stray = sum(sample.stray for sample in samples)
    slow = max((sample.late_p99 for sample in samples), default=0.0)
    return [
        f"{len(samples)} runs, {repeats} of them repeated because the emulator was late, {late} late to the last; the "
        f"latest 99th percentile of lateness was {slow * 1000:.2f} ms. Packets dropped by the hosts: {stray}."
    ]


def report(
    rows: Sequence[Row], checks: Sequence[Check], rounds: int, seconds: float, left_out: dict[str, str]
) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "what": "rudp and the kernel's TCP over one emulated link: two network namespaces, TUN devices, real sockets",
        "units": "bytes, seconds, bytes a second, shares; loss in each direction, behind a drop-tail queue of 1 BDP",
        **machine(),
        "rounds": rounds,
        "seconds": seconds,
        "settled": SETTLED,
        "level": LEVEL,
        "left_out": left_out,
        "validation": [
            {"what": check.what, "measured": check.measured, "wanted": check.wanted, "holds": check.holds}
            for check in checks
        ],
        "rows": [as_json(row) for row in rows],
    }


def plot(rows: Sequence[Row], path: Path) -> None:
    """Goodput and bytes sent, cell by cell. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415 (wanted for pictures only)

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    cells = list(dict.fromkeys((row.rate, row.rtt, row.loss) for row in rows))
    names = list(dict.fromkeys(row.contender for row in rows))
    by_key = {((row.rate, row.rtt, row.loss), row.contender): row for row in rows}
    figure, (upper, lower) = pyplot.subplots(
        2, 1, sharex=True, figsize=(11, 6.5), height_ratios=(3, 1.4), layout="constrained"
    )
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        places = [place + (index - (len(names) - 1) / 2) * width for place in range(len(cells))]
        found = [by_key.get((cell, name)) for cell in cells]
        shares = [row.share * 100 if row else 0.0 for row in found]
        spread = [
            [(row.goodput - row.least) / row.rate * 100 if row else 0.0 for row in found],
            [(row.most - row.goodput) / row.rate * 100 if row else 0.0 for row in found],
        ]
        colour = COLOURS[index % len(COLOURS)]
        style = {"elinewidth": 0.8, "ecolor": "#444444"}
        upper.bar(places, shares, width * 0.94, label=name, color=colour, yerr=spread, error_kw=style)
        for place, share in zip(places, shares, strict=True):
            upper.text(
                place,
                share + 1.5,
                f"{share:.0f}" if share >= 1 else f"{share:.1f}",
                ha="center",
                fontsize=8,
                bbox=LABEL,
            )
        lower.bar(places, [row.sent or 0.0 if row else 0.0 for row in found], width * 0.94, color=colour)
    for place, (_, _, loss) in enumerate(cells):
        for axes, level, text in ((upper, 100 * (1 - loss), "1 - p"), (lower, BYTES / (1 - loss), "1.1 / (1 - p)")):
            label = text if place == 0 else None
            axes.plot((place - 0.45, place + 0.45), (level, level), color="#222222", lw=1, ls=":", label=label)
    upper.set_ylabel("goodput, % of the link's rate")
    upper.set_ylim(0, 112)
    upper.legend(loc="upper right", ncols=len(names) + 1, frameon=False, fontsize=9)
    upper.set_title("One flow over an emulated link, real kernel, random loss both ways", fontsize=11, loc="left")
    lower.set_ylabel("bytes sent\nover goodput")
    lower.set_ylim(0.9, None)
    lower.legend(loc="upper left", frameon=False, fontsize=9)
    lower.set_xticks(
        range(len(cells)),
        [f"{rate * 8e-6:g} Mbit/s, {rtt * 1000:g} ms\nloss {loss * 100:g} %" for rate, rtt, loss in cells],
        fontsize=9,
    )
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", lw=0.4, alpha=0.5)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
