"""The `rudp` command.

Knows: where the command is, and what to say when what it needs is not installed.
Refuses to know: what it does. Nothing here imports click or rich, so that the library installs without them.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point `rudp`."""
    try:
        from rudp.cli.app import cli  # noqa: PLC0415
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in {"click", "rich"}:
            raise
        sys.exit(f"rudp: the command line needs {missing}; in a clone of rudp: pip install '.[cli]'")
    cli(prog_name="rudp")
