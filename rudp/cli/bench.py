"""`rudp bench`: finds the benchmarks and hands over to them.

Knows: where they are. An installed rudp has them as `rudp._bench`; in a checkout they are the folder `bench` beside
the package. Refuses to know: what they measure.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from rudp.cli.common import warn

__all__ = ["bench"]

INSTALLED: Final = "rudp._bench"
CHECKOUT: Final = "bench"
ROOT: Final = Path(__file__).resolve().parents[2]


class Found(click.Group):
    """The group of the benchmarks, imported when it is asked for: the other commands start faster without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The benchmarks' names."""
        return _group().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One benchmark."""
        return _group().get_command(ctx, cmd_name)


def _group() -> click.Group:
    group: click.Group = import_module(f"{_package()}.commands").bench
    return group


def _package() -> str:
    """The package of the benchmarks; ends the command if there is none."""
    if find_spec(INSTALLED) is not None:
        return INSTALLED
    folder = ROOT / CHECKOUT
    if not (folder / "commands.py").is_file():
        warn(
            f"the benchmarks are not installed, and there is no folder {folder}; install rudp-transport from its wheel"
        )
        raise SystemExit(1)
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    spec = find_spec(CHECKOUT)
    if spec is None or spec.origin is None or Path(spec.origin).resolve().parent != folder:
        warn(f"another package called {CHECKOUT} hides {folder}: run python -m bench.loss in {ROOT} instead")
        raise SystemExit(1)
    return CHECKOUT


bench = Found(
    "bench",
    short_help="Measure rudp: simulated, beside others, its own costs.",
    help="Measure rudp: on simulated networks, beside other transports, its own costs.\n\n"
    "Tables go to the terminal, --json writes all figures, --plot draws them. What is simulated (loss, fairness, "
    "windows) gives the same figures on any machine by the same seed.",
)
