"""rudp beside the kernel's TCP (cubic, bbr) over one emulated link, in one run, through the real kernel.

Two network namespaces are joined by TUN devices whose owner applies rate, delay, a finite queue and random loss. The
emulator is measured first, and nothing is run over one that is not what it says. Needs root on Linux; where it can't
run, it says so and ends with status 0.

    python -m bench.kernel                                  validate, then the whole table: about 25 minutes
    python -m bench.kernel --rounds 1 --seconds 10          quicker
    python -m bench.kernel --cells 100/50/0,100/50/1        some cells only: Mbit/s / ms of RTT / % of loss
    python -m bench.kernel --contenders rudp,rudp-new_reno,tcp-bbr
    python -m bench.kernel --validate                       the emulator only
    python -m bench.kernel --json kernel.json --plot kernel.png
    python -m bench.kernel --redraw kernel.json --plot kernel.png --docs docs/BENCHMARKS.md

--check ends with status 1 if rudp is behind in a cell or sent too many bytes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from ..arguments import target
from .contenders import missing
from .link import LinkSpec
from .namespace import available
from .probes import Check, validate
from .show import checks_as_text, plot, put_into, report, rows_as_text
from .table import CELLS, CONTENDERS, SETTLED, Row, from_json, rows, run

__all__ = ["main"]

PROG: Final = "python -m bench.kernel"


def _cells(text: str) -> tuple[LinkSpec, ...]:
    """What --cells says. Raises ArgumentTypeError."""
    cells = []
    for part in text.split(","):
        try:
            rate, rtt, loss = map(float, part.split("/"))
            if not (0 < rate < inf and 0 < rtt < inf and 0 <= loss < 100):
                raise ValueError
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r}: Mbit/s / ms of RTT / % of loss, such as 100/50/0.1") from None
        cells.append(LinkSpec(rate * 125_000, rtt / 1000, loss / 100))
    return tuple(cells)


def _parser(prog: str) -> argparse.ArgumentParser:
    paragraphs = (__doc__ or "").replace(PROG, prog).split("\n\n", 1)
    parser = argparse.ArgumentParser(
        prog=prog,
        description=paragraphs[0],
        epilog=paragraphs[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cells", type=_cells, default=CELLS, help="links, comma-separated (default: all eight)")
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a flow (default 15)")
    parser.add_argument("--seed", default="0", help="of the losses (default 0)")
    parser.add_argument("--json", type=target, metavar="FILE", help="write everything there")
    parser.add_argument("--text", type=target, metavar="FILE", help="write the table there too")
    parser.add_argument("--plot", type=target, metavar="FILE", help="draw a picture (needs matplotlib)")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="put the table into a page, between its marks")
    parser.add_argument("--redraw", type=Path, metavar="FILE", help="measure nothing: show what --json wrote earlier")
    parser.add_argument("--validate", action="store_true", help="measure the emulator and nothing else")
    parser.add_argument("--check", action="store_true", help="status 1 where rudp is behind or sent too much")
    return parser


def _on_sigterm(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(128 + number)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _validate(cells: Sequence[LinkSpec], seed: str) -> list[Check]:
    """Measure the emulator. Raises SystemExit if it is not what it says."""
    _note("measuring the emulator")
    checks = list(validate(cells, seed=seed))
    print(checks_as_text(checks))
    if off := [check.what for check in checks if not check.holds]:
        raise SystemExit(
            f"\nThe emulator is not what it says ({len(off)} of {len(checks)} figures off), so nothing is measured "
            "over it. This machine may be too busy or too slow: try when it is quiet."
        )
    return checks


def _chosen(names: str, parser: argparse.ArgumentParser) -> tuple[list[str], dict[str, str]]:
    """Contenders that can run here, and why the others can't."""
    chosen, left_out = [], {}
    for name in names.split(","):
        if why := missing(name):
            left_out[name] = why
            _note(f"{name} is left out: {why}")
        else:
            chosen.append(name)
    if not chosen:
        parser.error("no contender is left")
    return chosen, left_out


def main(arguments: Sequence[str] | None = None, prog: str = PROG) -> int:
    """The command line, called as `prog`; the status to end with."""
    parser = _parser(prog)
    options = parser.parse_args(arguments)
    if options.redraw:
        try:
            data = json.loads(options.redraw.read_text())
            found = [from_json(row) for row in data["rows"]]
            checks = [Check(**check) for check in data["validation"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{options.redraw} can't be shown, as it is not what --json wrote: {error!r}")
        return _show(options, found, data["rounds"], data["seconds"], checks)
    if not SETTLED < options.seconds < inf or options.rounds < 1:
        parser.error(f"--seconds must be more than {SETTLED:g}, --rounds at least 1")
    if why := available():
        print(f"bench.kernel can't run here: {why}")
        return 0
    previous = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        contenders, left_out = _chosen(options.contenders, parser)
        checks = _validate(options.cells, options.seed)
        if options.validate:
            return 0
        samples = run(
            options.cells,
            contenders,
            rounds=options.rounds,
            seconds=options.seconds,
            seed=options.seed,
            note=_note,
        )
    except KeyboardInterrupt:
        _note("interrupted")
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    found = list(rows(samples))
    if options.json:
        data = report(found, checks, options.rounds, options.seconds, left_out)
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    return _show(options, found, options.rounds, options.seconds, checks)


def _show(
    options: argparse.Namespace, found: list[Row], rounds: int, seconds: float, checks: Sequence[Check] = ()
) -> int:
    text = rows_as_text(found, rounds, seconds)
    print(f"\n{text}")
    if options.text:
        measured = f"{checks_as_text(checks)}\n\n" if checks else ""
        options.text.write_text(f"{measured}{text}\n")
    if options.docs:
        options.docs.write_text(put_into(options.docs.read_text(encoding="utf-8"), found), encoding="utf-8")
    if options.plot:
        try:
            plot(found, options.plot)
        except ModuleNotFoundError as error:
            _note(f"no picture: {error}; pip install matplotlib")
    return int(options.check and any(row.holds is False for row in found))
