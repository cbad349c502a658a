"""Writes the diagrams and tables of docs/WIRE.md from the declarations: `python -m tests.wiredoc`.

Knows: how a declaration is drawn, 32 bits a row as in the RFCs, and tabulated; where the document wants it
(between `<!-- layout: NAME -->` and `<!-- /layout -->`).
Refuses to know: the prose around, which is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import construct as c

from rudp.wire import FrameType, PacketType
from rudp.wire import declarations as d
from rudp.wire.layout import scalar

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "WIRE.md"
ROW = 32
BLOCK = re.compile(r"(<!-- layout: (\w+) -->\n).*?(<!-- /layout -->)", re.DOTALL)


class Field(NamedTuple):
    """One field as the document has it; `bits` is None when the size varies."""

    name: str
    bits: int | None
    meaning: str
    rule: str


class Piece(NamedTuple):
    """The part of a field that lies in one row, from bit `start` to bit `stop`."""

    field: int
    start: int
    stop: int


def fields(declaration: Any) -> Iterator[Field]:
    """All fields of a declaration in wire order, those of wrapped and nested ones included."""
    for subcon in declaration.subcons:
        name, meaning = subcon.name, subcon.docs
        while isinstance(subcon, c.Renamed | c.RawCopy | c.FixedSized | c.Default):
            subcon = subcon.subcon
        if isinstance(subcon, c.Struct):
            yield from fields(subcon)
        elif name is not None:
            yield _field(name, meaning, subcon)


def _field(name: str, meaning: str, subcon: Any) -> Field:
    try:
        size = subcon.sizeof()
    except c.SizeofError:
        return Field(name, None, meaning, getattr(subcon, "text", ""))
    if isinstance(subcon, c.Checksum):
        return Field(name, 8 * size, meaning, "right")
    found = scalar(subcon)
    rules = [text for _, text in found.rules if not text.endswith(" bytes")]
    if found.const is not None:
        rules.append("constant")
    return Field(name, 8 * size, meaning, ", ".join(rules))


def diagram(shown: list[Field]) -> str:
    """The fields in rows of 32 bits. After one of varying size the next is drawn at the start of a row."""
    rows = _rows(shown)
    labels = _labels(shown, rows)
    tens = " " + "".join(f"{bit // 10 if bit % 10 == 0 else ' '} " for bit in range(ROW))
    units = " " + "".join(f"{bit % 10} " for bit in range(ROW))
    lines = [tens.rstrip(), units.rstrip(), _border(None, rows[0])]
    for index, row in enumerate(rows):
        text = "|"
        for piece in row:
            text += labels.get((index, piece.field), "").center(2 * (piece.stop - piece.start) - 1) + "|"
        lines += [text, _border(row, rows[index + 1] if index + 1 < len(rows) else None)]
    return "```\n" + "\n".join(lines) + "\n```\n"


def _rows(shown: list[Field]) -> list[list[Piece]]:
    rows: list[list[Piece]] = [[]]
    at = 0
    for number, field in enumerate(shown):
        left = (ROW - at or ROW) if field.bits is None else field.bits
        while left:
            if at == ROW:
                rows.append([])
                at = 0
            size = min(left, ROW - at)
            rows[-1].append(Piece(number, at, at + size))
            at += size
            left -= size
        if field.bits is None:
            at = ROW
    return rows


def _labels(shown: list[Field], rows: list[list[Piece]]) -> dict[tuple[int, int], str]:
    """Each field's name, in the first of its widest pieces."""
    widest: dict[int, tuple[int, int]] = {}
    for index, row in enumerate(rows):
        for piece in row:
            width = piece.stop - piece.start
            if width > widest.get(piece.field, (0, 0))[0]:
                widest[piece.field] = (width, index)
    labels = {}
    for number, (width, index) in widest.items():
        field = shown[number]
        label = field.name + (" ..." if field.bits is None else f" ({field.bits})")
        if len(label) >= 2 * width:
            label = field.name if len(field.name) < 2 * width else field.name[: 2 * width - 2] + "."
        labels[index, number] = label
    return labels


def _border(above: list[Piece] | None, below: list[Piece] | None) -> str:
    """A line between two rows, open where one field goes on right below itself."""
    line = "+"
    for bit in range(ROW):
        over = _at(above, bit)
        under = _at(below, bit)
        if over is None and under is None:
            break
        after = (_at(above, bit + 1), _at(below, bit + 1))
        line += (" " if over == under else "-") + (" " if over == under and after == (over, under) else "+")
    return line


def _at(row: list[Piece] | None, bit: int) -> int | None:
    return next((piece.field for piece in row or () if piece.start <= bit < piece.stop), None)


def table(shown: list[Field]) -> str:
    """One line for each field."""
    lines = ["| field | bits | meaning | must be |", "|---|---|---|---|"]
    for field in shown:
        bits = "varies" if field.bits is None else str(field.bits)
        lines.append(f"| `{field.name}` | {bits} | {field.meaning} | {field.rule} |")
    return "\n".join(lines) + "\n"


def layout(declaration: Any) -> str:
    """Diagram and table of a declaration."""
    shown = list(fields(declaration))
    return diagram(shown) + "\n" + table(shown)


def data_type() -> str:
    """The bits of byte 0 of DATA."""
    lines = ["| bits | field | meaning |", "|---|---|---|"]
    at = 0
    for field in d.DATA_TYPE.subcon.subcons:
        size = 1
        inner = field
        while hasattr(inner, "subcon"):
            inner = inner.subcon
        if isinstance(inner, c.BitsInteger):
            size = inner.length
        bits = str(7 - at) if size == 1 else f"{7 - at}..{8 - at - size}"
        lines.append(f"| {bits} | `{field.name}` | {field.docs} |")
        at += size
    assert at == 8
    return "\n".join(lines) + "\n"


def parameters() -> str:
    """The table of parameters."""
    units = {1: "", 1_000: "milliseconds", 1_000_000: "microseconds"}
    lines = ["| type | name | value | unit | must be there | must be |", "|---|---|---|---|---|---|"]
    for number, (name, declaration, scale, required) in d.PARAMETERS.items():
        try:
            size = f"{declaration.sizeof()} bytes"
            rule = ", ".join(text for _, text in scalar(declaration).rules if not text.endswith(" bytes"))
        except c.SizeofError:
            size, rule = "see below", ""
        present = "yes" if required else "no"
        lines.append(f"| {number} | `{name}` | {size} | {units[scale]} | {present} | {rule} |")
    return "\n".join(lines) + "\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "invariant": lambda: layout(d.INVARIANT),
    "syn_invariant": lambda: layout(d.SYN_INVARIANT),
    "data_header": lambda: layout(d.DATA_HEADER),
    "data_type": data_type,
    "parameter": lambda: layout(d.PARAMETER),
    "parameters": parameters,
    "protocol_name": lambda: layout(d.PROTOCOL_NAME),
    "refusal": lambda: layout(d.REFUSAL),
    "ack_range": lambda: layout(d.ACK_RANGE),
    "STREAM": lambda: layout(d.STREAM_TO_END),
    **{kind.name: lambda kind=kind: layout(d.PACKETS[kind]) for kind in PacketType},  # type: ignore[misc]
    **{  # type: ignore[misc]
        kind.name: lambda kind=kind: layout(d.FRAMES[kind])
        for kind in FrameType
        if kind in d.FRAMES and kind not in (FrameType.STREAM_LENGTH_FIN, FrameType.PATH_RESPONSE)
    },
}


def render(text: str) -> str:
    """The document with every block drawn anew. Raises KeyError for a block of no known name."""
    return BLOCK.sub(lambda found: found[1] + "\n" + BLOCKS[found[2]]() + "\n" + found[3], text)


def main() -> None:
    """Rewrite docs/WIRE.md."""
    before = DOCUMENT.read_text(encoding="utf-8")
    after = render(before)
    DOCUMENT.write_text(after, encoding="utf-8")
    print(f"{DOCUMENT.name}: {'unchanged' if after == before else 'rewritten'}", file=sys.stderr)


if __name__ == "__main__":
    main()
