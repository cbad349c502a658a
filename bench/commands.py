"""The benchmarks as commands: `rudp bench NAME`, and the same by `python -m bench.NAME`.

Knows: options, where tables, files and progress go, exit statuses. Refuses to know: what is measured (`loss`,
`fairness`, `windows`) and how it is shown (`tables`, `plots`).

A new command is one line in COMMANDS: the module of this package that holds it, and its name there.

Exit status: 0; 1 if a cell failed or, with --check, missed a goal; 2 for a wrong option; 130 after Ctrl-C. What was
measured until then is shown and written, too.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rudp.cli.common import INTERRUPTED, FloatRange, counted, reason, warn

from . import cells, fairness, loss, report, sweep, tables, windows
from .arguments import forbids

__all__ = ["COMMANDS", "bench", "check_option", "fail", "main", "names", "output_options", "pool_options"]

COMMANDS: Final = {
    "loss": ("commands", "loss_command"),
    "fairness": ("commands", "fairness_command"),
    "windows": ("commands", "windows_command"),
    "kernel": ("commands", "kernel_command"),
    "peers": ("peers.command", "peers_command"),
    "costs": ("costs_command", "costs_command"),
    "show": ("commands", "show_command"),
}
"""Command: module of this package, name in it."""

NO_GOALS: Final = "nothing to check: goals are for queues of one BDP, and no cell has one"
SHOWN_ELSEWHERE: Final = {"costs": "costs_command", "peers": "peers.command"}
"""Benchmark: module of this package whose `show_again` shows its files, and ends the command."""


class Bench(click.Group):
    """Commands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of COMMANDS."""
        return [*super().list_commands(ctx), *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"{__package__}.{module}"), name)
        return command


@click.group(cls=Bench, context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Measure rudp: its controllers on a simulated network, itself beside its peers, and what its core costs.

    Tables go to the terminal, --json writes all figures, --plot draws them. C is the rate of payload that a link
    carries in full packets, p the loss of the data direction, BDP the link's rate times the RTT. What is simulated
    (loss, fairness, windows) gives the same figures on any machine by the same seed.
    """


class Row(Protocol):
    """What a benchmark's rows can do."""

    def as_dict(self) -> dict[str, Any]:
        """One object for JSON."""
        ...


class Benchmark(NamedTuple):
    """How one benchmark is run and shown."""

    name: str
    measure: Callable[[Any], Any]
    cost: Callable[[Any], float]
    row: Callable[[dict[str, Any]], Any]
    tables: Callable[[Sequence[Any]], Iterable[Any]]
    goals_missed: Callable[[Any], list[str]] | None = None


BENCHMARKS: Final = {
    one.name: one
    for one in (
        Benchmark("loss", loss.measure, loss.cost, loss.Row.from_dict, tables.loss_tables, loss.goals_missed),
        Benchmark(
            "fairness",
            fairness.measure,
            fairness.cost,
            fairness.Row.from_dict,
            tables.fairness_tables,
            fairness.goals_missed,
        ),
        Benchmark("windows", windows.measure, windows.cost, windows.Row.from_dict, tables.windows_tables),
    )
}


def numbers(low: float, high: float, *, may_be_none: bool) -> Callable[[str], tuple[float, ...]]:
    """Numbers separated by commas, `10,50` as (10.0, 50.0). `may_be_none`: an empty text is an answer, too."""

    def convert(text: str) -> tuple[float, ...]:
        try:
            found = tuple(float(part) for part in text.split(",") if part.strip())
        except ValueError:
            found = ()
        if not found and (text or not may_be_none):
            raise click.BadParameter(f"{text!r} are no numbers; write them as in 10 or 10,50")
        if not all(low <= one <= high for one in found):
            raise click.BadParameter(f"{text!r} must be from {low:g} to {high:g}")
        return found

    return convert


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas, `cubic,model` as ("cubic", "model")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


class Target(click.Path):
    """A file or folder that will be written when all is measured: what forbids it is said before."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if str(path) == "-":
            return path
        above = path.parent
        if self.dir_okay:  # folders are made
            above = next(one for one in (path, *path.absolute().parents) if one.exists())
        if obstacle := forbids(path, above):
            self.fail(obstacle, param, ctx)
        return path


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _together(*options: Decorator) -> Decorator:
    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return apply


pool_options = _together(
    click.option("--jobs", type=click.IntRange(1, 1024), help="Processes; by default one for each core."),
    click.option(
        "--dask",
        metavar="[ADDRESS]",
        is_flag=False,
        flag_value=sweep.LOCAL_CLUSTER,
        help="Hand the cells to the Dask cluster of the scheduler at ADDRESS, as in tcp://192.0.2.7:8786; without an "
        "address, to one of this machine's cores. Needs rudp-transport[dask], here and on the workers.",
    ),
)
output_options = _together(
    click.option(
        "--json",
        "json_path",
        metavar="FILE",
        type=Target(dir_okay=False, writable=True, allow_dash=True),
        help="Write all figures there; - writes them to standard output instead of the tables.",
    ),
    click.option(
        "--plot",
        "plot_folder",
        metavar="FOLDER",
        type=Target(file_okay=False, writable=True),
        help="Draw PNG files in that folder. Needs rudp-transport[plot].",
    ),
)
check_option = click.option("--check", is_flag=True, help="Say which goals are missed; exit status 1 if any.")
common_options = _together(
    click.option(
        "--controllers",
        type=names,
        metavar="NAMES",
        default=",".join(cells.CONTROLLERS),
        show_default=True,
        help="Those that this version has not are named and left out.",
    ),
    click.option(
        "--seed", type=int, default=0, show_default=True, envvar="RUDP_SEED", help="Also taken from RUDP_SEED."
    ),
    pool_options,
    output_options,
)


def _number_option(flag: str, name: str, low: float, high: float) -> Callable[[str, str], Decorator]:
    def make(default: str, text: str) -> Decorator:
        shown = bool(default)
        kind = numbers(low, high, may_be_none=not shown)
        return click.option(flag, name, metavar="NUMBERS", type=kind, default=default, show_default=shown, help=text)

    return make


_RATE: Final = _number_option("--rate", "rates", 0.1, 1e5)
_RTT: Final = _number_option("--rtt", "rtts", 1, 10_000)
_LOSS: Final = _number_option("--loss", "losses", 0, 99)
_QUEUE: Final = _number_option("--queue", "queues", 0.01, 100)


def _filters(rates: str, rtts: str, losses: str, queues: str) -> Decorator:
    return _together(
        _RATE(rates, "Mbit/s."),
        _RTT(rtts, "ms."),
        _LOSS(losses, "Random loss p, in %."),
        _QUEUE(queues, "Drop-tail queue, in BDP."),
    )


def _list(values: Iterable[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


@click.command("loss", short_help="Goodput, queueing delay and start-up of one flow alone.")
@_filters(_list(loss.RATES), _list(loss.RTTS), _list(loss.LOSSES), _list(loss.QUEUES))
@click.option("--both", is_flag=True, help="Lose as many packets in the ACKs' direction.")
@click.option(
    "--seconds", type=FloatRange(1, 3600), help="Simulated for each cell; steady is from 10 s on, or half of it."
)
@check_option
@common_options
def loss_command(  # noqa: PLR0917 (click passes all by name)
    rates: Sequence[float], rtts: Sequence[float], losses: Sequence[float], queues: Sequence[float],
    both: bool, seconds: float | None, controllers: Sequence[str], seed: int, **options: Any,
) -> None:  # fmt: skip
    """Goodput, queueing delay and start-up of one flow alone, under random loss.

    \b
    rudp bench loss --rate 100 --rtt 50 --queue 1
    rudp bench loss --controllers model --queue 1 --both --check
    rudp bench loss --json loss.json --plot .   (all: a quarter of an hour)
    """
    chosen = loss.grid(_there(controllers), rates, rtts, losses, queues, both=both, seed=seed, seconds=seconds)
    _run("loss", list(chosen), seed, **options)


@click.command("fairness", short_help="How flows share a link: equal, RTTs 1:4, a late one, CUBIC.")
@click.option(
    "--scenario",
    "scenarios",
    type=names,
    metavar="NAMES",
    default=",".join(fairness.SCENARIOS),
    show_default=True,
    help="How the flows differ.",
)
@_filters("", "", "0", "1")
@click.option("--brief", is_flag=True, help="Judge 10 s after 5 s, to see whether everything works.")
@click.option(
    "--starts",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Run each cell so often, with other times at which its flows come; without loss that, not the seed, is luck.",
)
@check_option
@common_options
def fairness_command(  # noqa: PLR0917
    scenarios: Sequence[str], rates: Sequence[float], rtts: Sequence[float], losses: Sequence[float],
    queues: Sequence[float], brief: bool, starts: int, controllers: Sequence[str], seed: int, **options: Any,
) -> None:  # fmt: skip
    """How flows share one link: equal ones, RTTs 1:4, a late starter, one against CUBIC.

    \b
    rudp bench fairness --rate 50 --rtt 40 --scenario cubic
    rudp bench fairness --controllers model --scenario late --plot .
    rudp bench fairness --scenario equal-2 --rate 10 --rtt 50 --starts 20

    Without --rate and --rtt the links are 10, 100 and 1000 Mbit/s by 10, 50 and 200 ms, and 50 by 40; with them all
    combinations. Those that leave a flow less than 8 packets of BDP are left out.
    """
    if unknown := [name for name in scenarios if name not in fairness.SCENARIOS]:
        raise click.UsageError(f"no scenario {', '.join(unknown)}; there are {', '.join(fairness.SCENARIOS)}")
    if "cubic" in scenarios and cells.known(["cubic"])[1]:
        scenarios = [name for name in scenarios if name != "cubic"]
        warn("left out, as this version has no CUBIC: the scenario cubic")
    links: Sequence[tuple[float, float]] = fairness.LINKS
    if rates or rtts:
        defaults = zip(*fairness.LINKS[:-1], strict=True)
        all_rates, all_rtts = (sorted(set(column)) for column in defaults)
        links = [(rate, rtt) for rate in rates or all_rates for rtt in rtts or all_rtts]
    there = _there(controllers)
    chosen = fairness.grid(there, links, scenarios, queues, losses, seed=seed, brief=brief, starts=starts)
    _run("fairness", list(chosen), seed, **options)


@click.command("windows")
@_filters("100", "50", _list(windows.LOSSES), "1")
@click.option("--seconds", type=FloatRange(1, 3600), default=30.0, show_default=True, help="Simulated.")
@common_options
def windows_command(  # noqa: PLR0917
    rates: Sequence[float], rtts: Sequence[float], losses: Sequence[float], queues: Sequence[float],
    seconds: float, controllers: Sequence[str], seed: int, **options: Any,
) -> None:  # fmt: skip
    """Congestion window and queue over time, one flow alone.

    \b
    rudp bench windows --plot .
    rudp bench windows --rate 10 --rtt 200 --seconds 60 --json windows.json
    """
    chosen = windows.grid(_there(controllers), rates, rtts, losses, queues, seed=seed, seconds=seconds)
    _run("windows", list(chosen), seed, **options)


@click.command("show", short_help="Show, draw or check again what --json has written.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plot", "plot_folder", metavar="FOLDER", type=Target(file_okay=False, writable=True))
@check_option
def show_command(file: Path, plot_folder: Path | None, check: bool) -> None:
    """Show, draw or check again what --json of loss, fairness, windows, costs or peers has written.

    \b
    rudp bench show loss.json --plot .
    """
    try:
        content = report.read(file)
        if elsewhere := SHOWN_ELSEWHERE.get(content["benchmark"]):
            import_module(f"{__package__}.{elsewhere}").show_again(content, plot_folder, check)
        benchmark = BENCHMARKS[content["benchmark"]]
        rows = [benchmark.row(row) for row in content["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        fail(f"{file} can't be shown: {reason(error)}")
    _tell(benchmark, rows, content, None, plot_folder)
    raise SystemExit(_check(benchmark, rows) if check else 0)


@click.command(
    "kernel",
    short_help="rudp beside the kernel's TCP, emulated link; Linux, as root.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kernel_command(arguments: Sequence[str]) -> None:
    """rudp beside the kernel's TCP over one emulated link, on Linux as root."""
    try:
        called = click.get_current_context().command_path
        status = import_module(f"{__package__}.kernel.__main__").main(arguments, called)
    except ModuleNotFoundError as error:
        # Its modules know each other by the checkout's name.
        if error.name != "bench":
            raise
        fail("this benchmark runs in a checkout only: python -m bench.kernel")
    raise SystemExit(status)


def _there(names: Sequence[str]) -> list[str]:
    there, missing = cells.known(names)
    if missing:
        warn(f"left out, as this version has no such controller: {', '.join(missing)}")
    if not there:
        raise click.UsageError("none of the controllers is there")
    return there


def fail(text: str) -> NoReturn:
    """Say what is wrong; exit status 1."""
    warn(text)
    raise SystemExit(1)


def _run(
    name: str, chosen: list[Any], seed: int, *, jobs: int | None, dask: str | None, json_path: Path | None,
    plot_folder: Path | None, check: bool = False,
) -> NoReturn:  # fmt: skip
    """Measure the cells, then show, write and draw what came of them."""
    benchmark = BENCHMARKS[name]
    if not chosen:
        raise click.UsageError("no cell is left; with less than 8 packets of BDP a flow there is nothing to share")
    if check and not any(_has_goals(benchmark, cell) for cell in chosen):
        raise click.UsageError(NO_GOALS)
    try:
        if plot_folder is not None:
            import_module(f"{__package__}.plots").require()
        outcome = _sweep(benchmark, chosen, jobs, dask)
    except (sweep.MissingExtra, OSError) as error:
        fail(reason(error))
    except KeyboardInterrupt:
        warn(f"interrupted: of {counted(len(chosen), 'cell')} none had finished")
        raise SystemExit(INTERRUPTED) from None
    rows = outcome.rows
    finished = not outcome.left_out and not outcome.failed
    content = report.document(name, [row.as_dict() for row in rows], seed=seed, finished=finished)
    if rows:
        _tell(benchmark, rows, content, json_path, plot_folder)
    for cell, problem in outcome.failed:
        warn(f"failed: {cell}: {type(problem).__name__}: {problem}")
    if outcome.interrupted:
        some = f"{len(rows)} had finished" if rows else "none had finished"
        warn(f"interrupted: of {counted(len(chosen), 'cell')} {some}")
        raise SystemExit(INTERRUPTED)
    missed = _check(benchmark, rows) if check else 0
    raise SystemExit(1 if outcome.failed else missed)


def _sweep(benchmark: Benchmark, chosen: list[Any], jobs: int | None, dask: str | None) -> sweep.Outcome[Any, Any]:
    console = Console(stderr=True)
    console.print(f"{counted(len(chosen), 'cell')}; {cells.config_text()}", highlight=False)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[ended]}/{task.fields[cells]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    # A bar for the cells' costs tells the time that is left; cells differ a hundredfold.
    ended = itertools.count(1)
    with (
        sweep.executor(jobs, dask) as pool,
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        costs = {cell: round(benchmark.cost(cell) * 1000) for cell in chosen}
        task = bar.add_task(benchmark.name, total=sum(costs.values()), ended=0, cells=len(chosen))

        def advance(cell: Any) -> None:
            bar.update(task, advance=costs[cell], ended=next(ended))

        return sweep.run(chosen, benchmark.measure, pool, cost=benchmark.cost, on_row=advance)


def _tell(
    benchmark: Benchmark, rows: list[Any], content: dict[str, Any], json_path: Path | None, plot_folder: Path | None
) -> None:
    try:
        if json_path is not None and str(json_path) == "-":
            click.echo(report.text(content), nl=False)
        else:
            console = Console(highlight=False)
            for table in benchmark.tables(rows):
                # A table is as wide as it must be, on a narrow terminal or into a file, too.
                unbounded = console.options.update(max_width=1000)
                console.width = max(console.width, console.measure(table, options=unbounded).maximum)
                console.print(table)
                console.print()
            if json_path is not None:
                json_path.write_text(report.text(content), encoding="utf-8")
        if plot_folder is not None:
            plot_folder.mkdir(parents=True, exist_ok=True)
            for path in import_module(f"{__package__}.plots").draw(benchmark.name, rows, plot_folder):
                click.echo(f"drew {path}", err=True)
    except (sweep.MissingExtra, OSError) as error:
        fail(reason(error))


def _check(benchmark: Benchmark, rows: list[Any]) -> int:
    if benchmark.goals_missed is None:
        return 0
    judged = [row for row in rows if _has_goals(benchmark, row.cell)]
    if rows and not judged:
        warn(NO_GOALS)
        return 1
    missed = [(row.cell, text) for row in judged for text in benchmark.goals_missed(row)]
    for cell, text in missed:
        click.echo(f"{_cell_text(cell)}: {text}")
    found = len({cell for cell, _ in missed})
    click.echo(f"{counted(len(missed), 'goal')} missed in {found} of {counted(len(judged), 'cell')}")
    return 1 if missed else 0


def _has_goals(benchmark: Benchmark, cell: Any) -> bool:
    return benchmark.name != "loss" or cell.queue == 1


def _cell_text(cell: Any) -> str:
    scenario = f" {cell.scenario}" if hasattr(cell, "scenario") else ""
    both = " both ways" if getattr(cell, "both", False) else ""
    start = f", start {cell.start}" if getattr(cell, "start", 0) else ""
    return f"{cell.controller}{scenario}, {cell.rate:g} Mbit/s x {cell.rtt:g} ms, p = {cell.loss:g} %{both}{start}"


def main(name: str) -> NoReturn:
    """Run one command as `python -m bench.NAME`."""
    bench(args=[name, *sys.argv[1:]], prog_name="rudp bench", standalone_mode=True)
    raise SystemExit(0)
