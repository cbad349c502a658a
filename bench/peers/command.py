"""`rudp bench peers`: options, the table, JSON and the picture.

Knows: where things go. Refuses to know: what is measured and how.

Exit status: 0 also when peers are missing or have failed, since they are not rudp's; 1 if a contender of rudp's own
failed or, with --check, a goal is missed, 2 for a wrong option, 130 after Ctrl-C, which shows and writes what there is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from rudp.cli.common import INTERRUPTED, FloatRange, reason, warn

from ..commands import check_option, names, output_options
from ..sweep import MissingExtra
from . import certificate, plan, plots, show
from .contenders import NAMES, there
from .goals import judge
from .summary import summarize

__all__ = ["peers_command", "show_again"]

DEFAULT = plan.Options()


# The exit status of a run that was measured or is shown again.
def _status(document: dict[str, Any], check: bool) -> NoReturn:
    if not document["finished"]:
        warn("interrupted")
        raise SystemExit(INTERRUPTED)
    failed = any(failure["contender"].startswith("rudp") for failure in document["failures"])
    raise SystemExit(failed or (check and not all(one.met for one in judge(summarize(document["rows"])))))


def show_again(document: dict[str, Any], plot_folder: Path | None, check: bool) -> NoReturn:
    """Show, draw and check what --json has written; KeyError and TypeError if it is something else."""
    _tell(document, None, plot_folder)
    _status(document, check)


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r} are no whole numbers; write them as in 1 or 1,100") from None
    if not found or min(found) < 1:
        raise click.BadParameter(f"{text!r} must be from 1 on")
    return found


def _known(chosen: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    if unknown := [name for name in chosen if name not in known]:
        raise click.UsageError(f"no {what} {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(name for name in known if name in chosen)


@click.command("peers", short_help="rudp beside other transports: bulk, requests, connections.")
@click.option(
    "--work", "works", type=names, default=",".join(plan.WORKS), show_default=True, metavar="NAMES",
    help="Or handshakes, the quickest part of connections.",
)
@click.option("--contenders", "chosen", type=names, metavar="NAMES", help="All that are there by default.")
@click.option("--size", type=click.IntRange(1, 100_000), default=DEFAULT.size // 10**6, show_default=True, help="MB.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=DEFAULT.rounds, show_default=True)
@click.option(
    "--datagram", type=click.IntRange(1200, 1472), default=DEFAULT.datagram, show_default=True,
    help="Bytes of UDP payload, where they can be chosen.",
)
@click.option(
    "--seconds", type=FloatRange(0.05, 600), default=DEFAULT.seconds, show_default=True,
    help="Of each measurement of requests or handshakes.",
)
@click.option(
    "--depths", type=_whole_numbers, metavar="NUMBERS", default="1,100", show_default=True, help="Requests at a time."
)
@click.option(
    "--idle", type=_whole_numbers, metavar="NUMBERS", default="1000,10000", show_default=True, help="Idle connections."
)
@click.option(
    "--limit", type=FloatRange(1, 3600), default=DEFAULT.limit, show_default=True,
    help="Seconds that a run may take, twice as long with many connections.",
)
@click.option("--smoke", is_flag=True, help="Little of everything, once: does it all work?")
@click.option(
    "--from", "source", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure nothing; show what --json has written.",
)
@check_option
@output_options
def peers_command(  # noqa: PLR0917 (click passes all by name)
    works: Sequence[str], chosen: Sequence[str] | None, size: int, rounds: int, datagram: int, seconds: float,
    depths: tuple[int, ...], idle: tuple[int, ...], limit: float, smoke: bool, source: Path | None,
    check: bool, json_path: Path | None, plot_folder: Path | None,
) -> None:  # fmt: skip
    """rudp beside other transports: bulk, request and response, many connections.

    \b
    rudp bench peers             (ten minutes; needs rudp-transport[bench])
    rudp bench peers --smoke
    rudp bench peers --work bulk --contenders rudp-none,aioquic --size 512
    rudp bench peers --json peers.json --plot .

    Two processes over loopback, all contenders in turns, every byte compared. One that isn't installed is named and
    left out; one that fails or hangs is named, and the others go on.
    """
    works = _known(works, plan.KNOWN_WORKS, "work")
    if source is not None:
        document = _read(source)
    else:
        options = plan.Options(works, size * 10**6, rounds, datagram, seconds, depths, idle, limit)
        wanted = _known(chosen or NAMES, NAMES, "contender")
        document = _measure(wanted, options.smoke() if smoke else options)
    _tell(document, json_path, plot_folder)
    _status(document, check)


def _measure(wanted: Sequence[str], options: plan.Options) -> dict[str, Any]:
    found, missing = there(wanted)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="rudp-bench-") as folder, console.status("") as status:

        def tell(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                console.print(text, highlight=False)

        return plan.sweep(found, missing, options, certificate.make(Path(folder)), tell)


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["benchmark"] != "peers":
            raise ValueError("it is another benchmark's")
    except (OSError, ValueError, KeyError, TypeError) as error:
        warn(f"{path} can't be shown: {reason(error)}")
        raise SystemExit(1) from None
    return document


def _text(document: dict[str, Any]) -> str:
    head = {key: value for key, value in document.items() if key != "rows"}
    rows = ",\n".join(json.dumps(row) for row in document["rows"])
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{rows}\n]}}\n'


def _tell(document: dict[str, Any], json_path: Path | None, plot_folder: Path | None) -> None:
    try:
        if json_path is not None and str(json_path) == "-":
            click.echo(_text(document), nl=False)
        else:
            console = Console(highlight=False)
            tables = list(show.tables(document))
            if not document["options"]["short"]:  # too short to say anything
                tables.append(show.goals(document))
            # On a narrower terminal figures would be cut off.
            console.width = max(console.width, show.WIDTH)
            for table in tables:
                console.print(table)
            for line in show.notes(document):
                console.print(line, markup=False)
            if json_path is not None:
                json_path.write_text(_text(document), encoding="utf-8")
        if plot_folder is not None and document["rows"]:
            plot_folder.mkdir(parents=True, exist_ok=True)
            click.echo(f"drew {plots.draw(document, plot_folder)}", err=True)
    except (MissingExtra, OSError) as error:
        warn(reason(error))
        raise SystemExit(1) from None
