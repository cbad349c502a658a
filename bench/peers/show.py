"""The table in the terminal.

Knows: columns and units. Refuses to know: how the figures came about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from rich import box
from rich.table import Table

from .goals import judge
from .summary import REFERENCE, Cell, summarize

__all__ = ["goals", "notes", "tables"]


class Column(NamedTuple):
    """A heading, a figure, how many digits, and by what it is multiplied."""

    heading: str
    figure: str
    digits: int = 0
    factor: float = 1.0


BULK: Final = (
    Column("CPU s/GB\nsender", "sender_s_per_GB", 2),
    Column("\nreceiver", "receiver_s_per_GB", 2),
    Column("peak MB\nsender", "peak_sender", 0, 1e-6),
    Column("\nreceiver", "peak_receiver", 0, 1e-6),
)
TALK: Final = (
    Column("1,000 talk\nmessages/s", "talk_per_second"),
    Column("\nserver us", "talk_server_us", 1),
    Column("\nclient us", "talk_client_us", 1),
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
        Column(f"{depth} at a time\nper second", f"per_second_{depth}"),
        Column("latency, us\np50", f"p50_us_{depth}"),
        Column("\np99", f"p99_us_{depth}"),
        Column("CPU us\nclient", f"client_us_{depth}", 1),
        Column("\nserver", f"server_us_{depth}", 1),
    )


def _handshakes(depth: int) -> tuple[Column, ...]:
    return (
        Column(f"{depth} at a time\nper second", f"per_second_{depth}"),
        Column("CPU us\nserver", f"server_us_{depth}"),
        Column("\nclient", f"client_us_{depth}"),
        Column("ms\np50", f"p50_ms_{depth}", 2),
        Column("\np99", f"p99_ms_{depth}", 2),
    )


def _idle() -> tuple[Column, ...]:
    return (
        Column("server\nbytes each", "server_bytes_each"),
        Column("us a second\neach", "server_us_a_second_each", 2),
        Column("opened\nper second", "opened_per_second"),
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
    table = _new(f"Bulk, one stream: {size / 1e6:,.0f} MB, {rounds} rounds in turns, MB/s")
    for heading in ("", "median", "least", "most", "of rudp", *(column.heading for column in BULK)):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for heading in ("packet, bytes", "protection", "what does the work"):
        table.add_column(heading, no_wrap=True)
    reference = found.get(REFERENCE)
    for name, figures in found.items():
        rate, facts = figures["MB_s"], document["contenders"][name]
        ratio = f"{rate.median / reference['MB_s'].median:.2f}" if reference else "-"
        packet = facts["packet"].replace("chosen", f"{document['options']['datagram']:,} chosen")
        what = f"{facts['kind']}; {facts['note']}" if facts["note"] else facts["kind"]
        table.add_row(
            name, f"{rate.median:,.0f}", f"{rate.least:,.0f}", f"{rate.most:,.0f}", ratio,
            *(_number(figures.get(column.figure), column) for column in BULK), packet, facts["protection"], what,
        )  # fmt: skip
    return table


def tables(document: dict[str, Any]) -> Iterator[Table]:
    """One for each kind of work that was measured."""
    found = summarize(document["rows"])
    options = document["options"]
    if "bulk" in found:
        yield _bulk(document, found["bulk"])
    if "rpc" in found:
        columns = tuple(column for depth in options["depths"] for column in _rpc(depth))
        yield _plain("Request and response: 100 bytes each way, one connection", found["rpc"], columns)
    if "handshakes" in found:
        columns = tuple(column for depth in options["depths"] for column in _handshakes(depth))
        yield _plain("Handshakes: connections opened and closed", found["handshakes"], columns)
    for work in [name for name in found if name.startswith("idle")]:
        count = next(iter(found[work].values()))["connections"].median
        columns = _idle() + TALK if any("talk_per_second" in one for one in found[work].values()) else _idle()
        yield _plain(f"{count:,.0f} idle connections, each after one exchange", found[work], columns)
    if "held" in found:
        count = next(iter(found["held"].values()))["connections"].median
        yield _plain(f"Bulk beside {count:,.0f} idle connections", found["held"], HELD)


def goals(document: dict[str, Any]) -> Table:
    """What rudp is to reach, and what it has reached here."""
    table = _new("Goals")
    for heading in ("", "figure", "beside", "here", "goal", ""):
        table.add_column(heading, justify="right" if heading in ("here", "goal") else "left", no_wrap=True)
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
    for failure in document["failures"]:
        yield f"failed: {failure['contender']}, {failure['work']}: {failure['error']}"
    reasons: dict[tuple[str, str], list[str]] = {}
    for left in document["left_out"]:
        reasons.setdefault((left["work"], left["why"]), []).append(left["contender"])
    for (work, why), names in reasons.items():
        yield f"left out of {work}: {', '.join(names)}: {why}"
