"""Results of the simulated benchmarks as JSON files: one object with what was run and a list of rows.

Knows: the files' layout. Refuses to know: what the rows mean.

    {"benchmark": "loss", "version": ..., "seed": 0, "config": "...", "finished": true, "rows": [{...}, ...]}

`finished` is false if the sweep was interrupted or a cell failed; the rows are those that there are. Two runs of the
same version with the same seed give the same file, on any executor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rudp._version import __version__

from .cells import config_text

__all__ = ["SHOWN", "document", "read", "text"]

SHOWN: Final = ("loss", "fairness", "windows", "costs", "peers")
"""The benchmarks whose files `rudp bench show` reads."""
# No command that writes: it would be given the name of a file that is kept.
NOT_SHOWN: Final = f"show reads what bench {', '.join(SHOWN[:-1])} and {SHOWN[-1]} wrote"


def document(benchmark: str, rows: Sequence[dict[str, Any]], *, seed: int, finished: bool) -> dict[str, Any]:
    """The object that a file holds."""
    return {
        "benchmark": benchmark,
        "version": __version__,
        "seed": seed,
        "config": config_text(),
        "finished": finished,
        "rows": list(rows),
    }


def text(content: dict[str, Any]) -> str:
    """The object as JSON, one row a line."""
    head = {key: value for key, value in content.items() if key != "rows"}
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in content["rows"])
    return f'{json.dumps(head)[:-1]}, "rows": [\n{lines}\n]}}\n'


def read(path: Path) -> dict[str, Any]:
    """What a file holds. Raises OSError, and ValueError for one that can't be shown, with what to do instead."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"it holds no JSON ({error}); {NOT_SHOWN}") from None
    if not isinstance(content, dict):
        raise ValueError(NOT_SHOWN)
    if "benchmark" not in content and "validation" in content:
        raise ValueError(f"it is of the kernel's benchmark; use rudp bench kernel --redraw {path}")
    if content.get("benchmark") not in SHOWN or not isinstance(content.get("rows"), list):
        raise ValueError(NOT_SHOWN)
    return content
