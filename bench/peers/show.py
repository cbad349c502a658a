"""The table in the terminal.

Knows: columns and units. Refuses to know: how the figures came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import JustifyMethod
from rich.table import Table

from rudp.cli.common import counted

from .goals import judge
from .summary import REFERENCE, Cell, summarize

__all__ = ["WIDTH", "goals", "notes", "tables"]

# No table is wider: what belongs together is told in several rather than side by side.
WIDTH: Final = 80

INSTALL: Final = "  to be had: pip install 'rudp-transport[bench]', in a clone '.[bench]'"


class Column(NamedTuple):
    """A heading, a figure, how many digits, and by what it is multiplied."""

    heading: str
    figure: str
    digits: int = 0
    factor: float = 1.0


BULK: Final = (
    Column("CPU\ns/GB\nsend", "sender_s_per_GB", 2),
    Column("\n\nrecv", "receiver_s_per_GB", 2),
    Column("peak\nMB\nsend", "peak_sender", 0, 1e-6),
    Column("\n\nrecv", "peak_receiver", 0, 1e-6),
)
IDLE: Final = (
    Column("server\nbytes each", "server_bytes_each"),
    Column("us a second\neach", "server_us_a_second_each", 2),
    Column("opened\nper second", "opened_per_second"),
)
TALK: Final = (
    Column("\nper second", "talk_per_second"),
    Column("CPU us\nserver", "talk_server_us", 1),
    Column("\nclient", "talk_client_us", 1),
    Column("late, ms\np50", "talk_p50_ms", 1),
    Column("\np99", "talk_p99_ms", 1),
)
HELD: Final = (
    Column("MB/s\nalone", "alone_MB_s"),
    Column("\nbeside", "beside_MB_s"),
    Column("\nratio", "ratio", 2),
    Column("CPU s/GB\nalone", "alone_s_per_GB", 2),
    Column("\nbeside", "beside_s_per_GB", 2),
    Column("\nratio", "cpu_ratio", 2),
)


def _rpc(depth: int) -> tuple[Column, ...]:
    return (
        Column("\nper second", f"per_second_{depth}"),
        Column("latency, us\np50", f"p50_us_{depth}"),
        Column("\np99", f"p99_us_{depth}"),
        Column("CPU us\nclient", f"client_us_{depth}", 1),
        Column("\nserver", f"server_us_{depth}", 1),
    )


def _handshakes(depth: int) -> tuple[Column, ...]:
    return (
        Column("\nper second", f"per_second_{depth}"),
        Column("CPU us\nserver", f"server_us_{depth}"),
        Column("\nclient", f"client_us_{depth}"),
        Column("ms\np50", f"p50_ms_{depth}", 2),
        Column("\np99", f"p99_ms_{depth}", 2),
    )


def _new(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", header_style="", box=box.SIMPLE_HEAD)


def _number(cell: Cell | None, column: Column) -> str:
    return "-" if cell is None else f"{cell.median * column.factor:,.{column.digits}f}"


def _plain(title: str, found: dict[str, dict[str, Cell]], columns: tuple[Column, ...]) -> Table:
    table = _new(title)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for name, figures in found.items():
        table.add_row(name, *(_number(figures.get(column.figure), column) for column in columns))
    return table


def _bulk(document: dict[str, Any], found: dict[str, dict[str, Cell]]) -> Table:
    size, rounds = document["options"]["size"], document["options"]["rounds"]
    table = _new(f"Bulk, one stream: {size / 1e6:,.0f} MB, {counted(rounds, 'round')} in turns")
    table.add_column("", no_wrap=True)
    for heading in ("MB/s\n\nmedian", "\n\nleast", "\n\nmost", "\nof\nrudp", *(column.heading for column in BULK)):
        table.add_column(heading, justify="right", no_wrap=True)
    reference = found.get(REFERENCE)
    for name, figures in found.items():
        rate = figures["MB_s"]
        ratio = f"{rate.median / reference['MB_s'].median:.2f}" if reference else "-"
        table.add_row(
            name, f"{rate.median:,.0f}", f"{rate.least:,.0f}", f"{rate.most:,.0f}", ratio,
            *(_number(figures.get(column.figure), column) for column in BULK),
        )  # fmt: skip
    return table


def _contenders(document: dict[str, Any], names: Iterable[str]) -> Table:
    """What is not the same for all. Its columns are wrapped where they must be."""
    table = _new("What they are")
    table.add_column("", no_wrap=True)
    for heading in ("packet, bytes", "protection", "what does the work"):
        table.add_column(heading)
    for name in names:
        facts = document["contenders"][name]
        packet = facts["packet"].replace("chosen", f"{document['options']['datagram']:,} chosen")
        what = f"{facts['kind']}; {facts['note']}" if facts["note"] else facts["kind"]
        table.add_row(name, packet, facts["protection"], what)
    return table


def tables(document: dict[str, Any]) -> Iterator[Table]:
    """What was measured, work by work, in tables of at most 80 characters."""
    found = summarize(document["rows"])
    options = document["options"]
    if "bulk" in found:
        yield _bulk(document, found["bulk"])
        yield _contenders(document, found["bulk"])
    if "rpc" in found:
        for depth in options["depths"]:
            title = f"Requests and answers of 100 bytes, {depth} at a time"
            yield _plain(title, found["rpc"], _rpc(depth))
    if "handshakes" in found:
        for depth in options["depths"]:
            title = f"Handshakes: connections opened and closed, {depth} at a time"
            yield _plain(title, found["handshakes"], _handshakes(depth))
    for work in [name for name in found if name.startswith("idle")]:
        count = next(iter(found[work].values()))["connections"].median
        yield _plain(f"{count:,.0f} idle connections, each after one exchange", found[work], IDLE)
        if any("talk_per_second" in one for one in found[work].values()):
            yield _plain(f"{count:,.0f} connections, 100 bytes on each every 100 ms: messages", found[work], TALK)
    if "held" in found:
        count = next(iter(found["held"].values()))["connections"].median
        yield _plain(f"Bulk beside {count:,.0f} idle connections", found["held"], HELD)


def goals(document: dict[str, Any]) -> Table:
    """What rudp is to reach, and what it has reached here."""
    table = _new("Goals")
    for heading in ("", "figure", "beside", "here", "goal", ""):
        justify: JustifyMethod = "right" if heading in ("here", "goal") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "figure")
    for outcome in judge(summarize(document["rows"])):
        goal = outcome.goal
        table.add_row(
            goal.contender, f"{outcome.work} {goal.figure}", outcome.beside,
            f"{outcome.value:,.{0 if goal.bound > 100 else 2}f}",
            f"{goal.bound:,g}", "met" if outcome.met else "[bold]missed[/bold]",
        )  # fmt: skip
    return table


def notes(document: dict[str, Any]) -> Iterator[str]:
    """Who was left out of what, and who failed."""
    for name, why in document["missing"].items():
        yield f"missing: {name}: {why}"
    if document["missing"]:
        yield INSTALL
    for failure in document["failures"]:
        yield f"failed: {failure['contender']}, {failure['work']}: {failure['error']}"
    reasons: dict[tuple[str, str], list[str]] = {}
    for left in document["left_out"]:
        reasons.setdefault((left["work"], left["why"]), []).append(left["contender"])
    for (work, why), names in reasons.items():
        yield f"left out of {work}: {', '.join(names)}: {why}"
