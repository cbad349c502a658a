"""docs/WIRE.md says what the declarations say, about all of them."""

from __future__ import annotations

import re

import pytest

from rudp.wire import FrameType, PacketType
from tests import wiredoc
from tests.wiredoc import BLOCKS, DOCUMENT, Field, diagram, render


def test_the_document_has_not_drifted() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == render(text), "run `python -m tests.wiredoc`"


def test_every_layout_is_in_the_document() -> None:
    shown = re.findall(r"<!-- layout: (\w+) -->", DOCUMENT.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(BLOCKS)


def test_every_type_is_in_the_document() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for kind in PacketType:
        assert f"| 0x{kind:02X} | {kind.name} |" in text
    for frame in FrameType:
        if not FrameType.STREAM <= frame <= FrameType.STREAM_LENGTH_FIN:
            assert f"0x{frame:02X}" in text


def test_a_changed_block_is_drawn_anew() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert "| `final_size` | 64 |" in text
    assert render(text.replace("| `final_size` | 64 |", "| `final_size` | 32 |")) == text
    with pytest.raises(KeyError):
        render("<!-- layout: nobody -->\n<!-- /layout -->")


def test_a_diagram_shows_32_bits_a_row_and_every_field_once() -> None:
    shown = [
        Field("type", 8, "", ""),
        Field("id", 64, "", ""),
        Field("size", 16, "", ""),
        Field("rest", None, "", ""),
    ]
    assert diagram([*shown, Field("end", 32, "", "")]).splitlines()[3:-1] == [
        "+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+",
        "|    type (8)   |                                               |",
        "+-+-+-+-+-+-+-+-+                                               +",
        "|                            id (64)                            |",
        "+               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+",
        "|               |           size (16)           |    rest ...   |",
        "+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+",
        "|                            end (32)                           |",
        "+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+",
    ]


def test_every_field_of_every_block_is_in_its_diagram() -> None:
    for block in (name for name in BLOCKS if name not in ("data_type", "parameters")):
        drawn, _, listed = BLOCKS[block]().partition("| field |")
        for name in re.findall(r"^\| `(\w+)`", listed, re.MULTILINE):
            assert re.search(rf"\b{name}\b", drawn), (block, name)
    assert wiredoc.ROW == 32
