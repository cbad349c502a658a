"""Writes the table of docs/CONFIGURATION.md from the fields of `rudp.Config`: `python -m tests.configdoc`.

Knows: how a setting's row is made from the metadata of its field; where the table goes (between
`<!-- fields -->` and `<!-- /fields -->`). Refuses to know: the prose around, which is written by hand.
"""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from rudp.config import Config

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "CONFIGURATION.md"
BLOCK = re.compile(r"(<!-- fields -->\n).*?(<!-- /fields -->)", re.DOTALL)
HEADER = "| setting | default | unit | from | to | SYN parameter | meaning |\n|---|---|---|---|---|---|---|\n"
UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def number(value: float, unit: str) -> str:
    """A value as people read it; sizes that are whole KiB or more are said so, too."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:g}"
    plain = f"{int(value):,}"
    if unit == "bytes":
        for size, name in UNITS:
            if value >= size and value % size == 0:
                return f"{plain} ({int(value) // size} {name})"
    return plain


def shown(value: Any, unit: str) -> str:
    """A default as it would be written in Python, numbers for people."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value, unit) if is_number else f"`{value!r}`"


def row(field: Any) -> str:
    """One line of the table."""
    facts = field.metadata
    unit = facts["unit"]
    low, high = (number(facts[bound], unit) if facts[bound] is not None else "" for bound in ("low", "high"))
    if facts["optional"]:
        low = f"{low} or `None`" if low else "`None`"
    parameters = ", ".join(f"`{name}`" for name in facts["parameter"].split(", ") if name)
    cells = [f"`{field.name}`", shown(field.default, unit), unit, low, high, parameters, facts["meaning"]]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def table() -> str:
    """The whole table, fields in the order of the class."""
    return HEADER + "".join(map(row, fields(Config)))


def render(text: str) -> str:
    """The document with its table written anew. Raises ValueError when it has no place for it."""
    rendered, count = BLOCK.subn(lambda found: f"{found[1]}\n{table()}\n{found[2]}", text)
    if count != 1:
        raise ValueError(f"{count} blocks <!-- fields --> ... <!-- /fields -->, not one")
    return rendered


def main() -> None:
    """Rewrite the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    rendered = render(text)
    if rendered == text:
        sys.stdout.write(f"{DOCUMENT.name} is up to date\n")
        return
    DOCUMENT.write_text(rendered, encoding="utf-8")
    sys.stdout.write(f"{DOCUMENT.name} written\n")


if __name__ == "__main__":
    main()
