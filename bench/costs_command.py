"""`rudp bench costs`: measure the curves of `costs`, show, write and draw them.

Knows: options, tables, where figures go, exit statuses (as `commands`). Refuses to know: how a cost is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from rudp._version import __version__
from rudp.cli.common import INTERRUPTED, reason, warn

from . import report, sweep
from .commands import check_option, fail, names, output_options
from .costs import CURVES, Curve, Row, brief, measure, missed
from .machine import machine

__all__ = ["costs_command", "show_again", "tables"]


@click.command("costs", short_help="What a packet costs the core while queues, losses and so on grow.")
@click.option("--only", type=names, metavar="NAMES", default=",".join(CURVES), show_default=True, help="Curves.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=11, show_default=True, help="Turns of every size.")
@click.option("--brief", "is_brief", is_flag=True, help="The ends of every curve only.")
@check_option
@output_options
def costs_command(  # noqa: PLR0917 (click passes all by name)
    only: Sequence[str], rounds: int, is_brief: bool, check: bool, json_path: Path | None, plot_folder: Path | None
) -> None:
    """CPU of the core for a packet while queues, streams, connections, bytes in flight, ranges and losses grow.

    \b
    rudp bench costs                    all of it: some minutes on one core
    rudp bench costs --only queued,loss --rounds 15
    rudp bench costs --brief --check    exit status 1 if one grows too much

    Both sides together, without sockets, in virtual time, protection none, packets of 1,400 bytes.
    """
    if unknown := [name for name in only if name not in CURVES]:
        raise click.UsageError(f"no curve {', '.join(unknown)}; there are {', '.join(CURVES)}")
    curves = [brief(CURVES[name]) if is_brief else CURVES[name] for name in only]
    rows: list[Row] = []
    interrupted = False
    try:
        if plot_folder is not None:
            import_module(f"{__package__}.plots").require()
        for curve in curves:
            rows += _measured(curve, rounds)
    except KeyboardInterrupt:
        interrupted = True
        warn("interrupted")
    except sweep.MissingExtra as error:
        fail(reason(error))
    content = document(rows, rounds, finished=not interrupted)
    if json_path is not None and str(json_path) == "-":
        click.echo(report.text(content), nl=False)
        json_path = None
    else:
        show(rows)
    try:
        if json_path is not None:
            json_path.write_text(report.text(content), encoding="utf-8")
        draw(rows, plot_folder)
    except OSError as error:
        fail(reason(error))
    raise SystemExit(INTERRUPTED if interrupted else _check(rows) if check else 0)


def document(rows: Sequence[Row], rounds: int, *, finished: bool) -> dict[str, Any]:
    """What --json writes: where it was measured, and the rows."""
    return {
        "benchmark": "costs",
        "version": __version__,
        **machine(),
        "rounds": rounds,
        "finished": finished,
        "rows": [row.as_dict() for row in rows],
    }


def show_again(content: dict[str, Any], plot_folder: Path | None, check: bool) -> NoReturn:
    """Show, draw and check what --json has written; KeyError and TypeError if it is something else."""
    rows = [Row.from_dict(row) for row in content["rows"] if row["curve"] in CURVES]
    show(rows)
    draw(rows, plot_folder)
    raise SystemExit(_check(rows) if check else 0)


def show(rows: Sequence[Row]) -> None:
    """The tables."""
    console = Console(highlight=False)
    for table in tables(rows):
        console.width = max(console.width, 100)
        console.print(table)


def draw(rows: Sequence[Row], folder: Path | None) -> None:
    """The picture, into that folder if there is one."""
    if folder is None or not rows:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in import_module(f"{__package__}.plots_costs").draw(rows, folder):
        click.echo(f"drew {path}", err=True)


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """A table a curve."""
    for name in dict.fromkeys(row.curve for row in rows):
        curve = CURVES[name]
        title = f"{curve.title}: CPU microseconds a {curve.of}, over {curve.unit}"
        table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
        for column in ("", "median", "least", "most", "ratio", "half of them", "allowed"):
            table.add_column(column, justify="right")
        extra = any(row.curve == name and row.held is not None for row in rows)
        if extra:
            table.add_column("ranges\nheld", justify="right")
        table.add_column("packets\na train", justify="right")
        for row in rows:
            if row.curve == name:
                table.add_row(*_cells(row, extra))
        yield table


def _cells(row: Row, extra: bool) -> Iterator[str | Text]:
    yield f"{row.size:,.10g}"
    yield f"{row.microseconds:.2f}"
    yield f"{row.least:.2f}"
    yield f"{row.most:.2f}"
    over = row.limit is not None and row.ratio > row.limit
    yield Text(f"{row.ratio:.2f}", style="bold red" if over else "")
    yield f"{row.ratio_low:.2f} to {row.ratio_high:.2f}"
    yield "" if row.limit is None else f"{row.limit:g}"
    if extra:
        yield "" if row.held is None else f"{row.held:,.0f}"
    yield "" if row.train is None else f"{row.train:.1f}"


def _measured(curve: Curve, rounds: int) -> list[Row]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    rows = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(curve.title, total=rounds * len(curve.sizes))
        for item in measure(curve, rounds):
            if isinstance(item, Row):
                rows.append(item)
            else:
                bar.advance(task)
    return rows


def _check(rows: Sequence[Row]) -> int:
    problems = missed(rows)
    for problem in problems:
        click.echo(problem)
    click.echo(f"{len(problems)} of {sum(row.limit is not None for row in rows)} are over what is allowed")
    return 1 if problems else 0
