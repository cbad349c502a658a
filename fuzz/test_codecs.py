"""Invariant: any bytes decode to values that encode to the same bytes, or to the one decode error; and the codecs
derived from the declarations accept the same bytes with the same values as construct that interprets them.

Two forms are left out of "the same bytes", as both must read alike: PADDING, and a PING or IMMEDIATE_ACK
repeated at once. `python -m fuzz codecs --atheris` hunts the same laws by coverage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import codecs, coverage
from fuzz.__main__ import main
from fuzz.running import FUZZ
from rudp.testing import strategies


def any_bytes() -> Callable[[], object]:
    """The law, as a new test."""

    @given(st.integers(0, len(codecs.KINDS) - 1), st.integers(0, 255), st.data())
    def law(kind: int, variation: int, data: st.DataObject) -> None:
        content = data.draw(st.binary(max_size=120) | mutated(kind))
        codecs.check(bytes([kind, variation]) + content)

    return law


TARGETS = [any_bytes]


def mutated(kind: int) -> st.SearchStrategy[bytes]:
    """Valid bytes of a kind, as they are or with some changes."""
    valid: st.SearchStrategy[bytes] = st.sampled_from([s[2:] for s in codecs.seeds() if s[0] == kind])
    if codecs.KINDS[kind] is codecs.opening:
        valid |= strategies.opening_packets().map(strategies.encoded)
    if codecs.KINDS[kind] is codecs.frames:
        valid |= strategies.packets(4).map(strategies.encoded_frames)
    return valid | valid.flatmap(strategies.mutations)


def test_any_bytes_are_read_as_construct_reads_them() -> None:
    settings(FUZZ, max_examples=400)(any_bytes())()


@pytest.mark.parametrize("seed", codecs.seeds(), ids=lambda seed: f"{codecs.KINDS[seed[0]].__name__} {seed[2]:#04x}")
def test_the_examples_to_begin_with_keep_the_law(seed: bytes) -> None:
    codecs.check(seed)


@pytest.mark.skipif(not coverage.is_there(), reason=coverage.HINT)
def test_a_moment_of_atheris() -> None:
    result = coverage.run(0.05, 1)
    assert not result.failure, result.failure
    assert result.executions > 100
    met, total = result.lines
    assert met > total * 0.7


def test_a_missing_atheris_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    assert main(["codecs", "--atheris"]) == 2
    assert "pip install 'rudp-transport[fuzz]'" in capsys.readouterr().out
    assert main(["--list"]) == 0
    assert "codecs: any bytes decode to values" in capsys.readouterr().out
