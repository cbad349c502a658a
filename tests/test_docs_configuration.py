"""docs/CONFIGURATION.md says what rudp.config says, about every setting."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from rudp.config import Config
from rudp.errors import ConfigurationError
from rudp.wire import Parameters
from tests.configdoc import DOCUMENT, render, row


def test_the_table_has_not_drifted() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == render(text), "run `python -m tests.configdoc`"


def test_a_changed_row_is_written_anew() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert "| `connect_timeout` | 10 |" in text
    assert render(text.replace("| `connect_timeout` | 10 |", "| `connect_timeout` | 11 |")) == text
    with pytest.raises(ValueError, match="0 blocks"):
        render("no block")


def test_parameters_named_are_parameters_of_the_wire() -> None:
    for field in fields(Config):
        for name in filter(None, field.metadata["parameter"].split(", ")):
            assert name in Parameters._fields, f"{field.name}: no parameter {name} in SYN"


def test_a_size_is_told_in_bytes_and_larger_units() -> None:
    by_name = {field.name: field for field in fields(Config)}
    assert "| 1,048,576 (1 MiB) | bytes | 4,096 (4 KiB) | 67,108,864 (64 MiB) |" in row(
        by_name["initial_receive_window"]
    )
    assert row(by_name["keepalive"]).startswith(
        "| `keepalive` | `None` | s | 0.01 or `None` | 4,000,000 |  |"
    )


def test_every_bound_in_the_table_is_enforced() -> None:
    for field in fields(Config):
        low, high = field.metadata["low"], field.metadata["high"]
        if low is None:
            continue
        for beyond in (low - 1, high + 1):
            with pytest.raises(ConfigurationError, match=field.name):
                Config(**{field.name: beyond})


def test_every_setting_the_prose_names_exists() -> None:
    names = {field.name for field in fields(Config)}
    prose = re.sub(
        r"<!-- fields -->.*?<!-- /fields -->", "", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    for name in re.findall(r"`(\w+)=", prose):
        assert name in names, f"no setting is called {name}"
