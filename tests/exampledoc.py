"""Writes what the pages quote of their examples' output: `python -m tests.exampledoc`.

A page says which lines it wants in front of the block, by the patterns of a first and a last line, several such
pieces joined by `...`:

    <!-- output: NAME.py /FIRST/-/LAST/ ... /FIRST/-/LAST/ -->

and the block ends with `<!-- /output -->`. Knows: that. Refuses to know: what the lines mean.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"(<!-- output: (\w+\.py) (.*?) -->\n).*?(<!-- /output -->)", re.DOTALL)
PIECE = re.compile(r"/(.+?)/-/(.+?)/")
SECONDS = 60
STRICT = ("-X", "dev", "-W", "error")
# What asyncio's debug mode says of a callback that took a tenth of a second, which on a busy machine any may.
SLOW = re.compile(r"^Executing <.*> took \d+\.\d+ seconds\n", re.MULTILINE)


def run(name: str, options: Sequence[str] = STRICT, **environment: str) -> str:
    """The output of one example, which must end well and warn of nothing. `options` are the interpreter's."""
    done = subprocess.run(
        [sys.executable, *options, str(EXAMPLES / name)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert not SLOW.sub("", done.stderr), f"{name} wrote to standard error:\n{done.stderr}"
    return done.stdout


output = cache(run)


def piece(name: str, lines: list[str], first: str, last: str) -> list[str]:
    """The lines from the first that matches `first` to the next that matches `last`. Raises ValueError."""
    start = next((index for index, line in enumerate(lines) if re.search(first, line)), None)
    if start is None:
        raise ValueError(f"{name} prints nothing like {first!r}")
    stop = next((index for index in range(start, len(lines)) if re.search(last, lines[index])), None)
    if stop is None:
        raise ValueError(f"{name} prints nothing like {last!r} after {lines[start]!r}")
    return lines[start : stop + 1]


def render(text: str) -> str:
    """A page with its quotations written anew."""

    def quotation(found: re.Match[str]) -> str:
        name = found[2]
        lines = output(name).splitlines()
        pieces = ["\n".join(piece(name, lines, *wanted)) for wanted in PIECE.findall(found[3])]
        quoted = "\n    ...\n".join(pieces)
        return f"{found[1]}\n```\n{quoted}\n```\n\n{found[4]}"

    return BLOCK.sub(quotation, text)


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        rendered = render(text)
        if rendered != text:
            page.write_text(rendered, encoding="utf-8")
            sys.stdout.write(f"{page.name} written\n")


if __name__ == "__main__":
    main()
