"""What options of `python -m bench.NAME` take: numbers within bounds, files that can be written.

Knows: how argparse is told that a value makes no sense, so that the command says so in one line before it measures.
Refuses to know: any command.
"""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["amount", "forbids", "target", "whole"]

Number = TypeVar("Number", int, float)


def whole(low: int, high: int = 10**9) -> Callable[[str], int]:
    """Whole numbers from `low` to `high`."""
    return _bounded(int, "whole number", low, high)


def amount(low: float, high: float) -> Callable[[str], float]:
    """Numbers from `low` to `high`."""
    return _bounded(float, "number", low, high)


def _bounded(kind: Callable[[str], Number], what: str, low: Number, high: Number) -> Callable[[str], Number]:
    def convert(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no {what}") from None
        if not low <= number <= high:  # nor nan
            raise ArgumentTypeError(f"{text} must be from {low:,} to {high:,}")
        return number

    return convert


def target(text: str) -> Path:
    """A file to be written when all is measured."""
    path = Path(text)
    if path.is_dir():
        raise ArgumentTypeError(f"{path} is a folder")
    if obstacle := forbids(path, path.parent):
        raise ArgumentTypeError(obstacle)
    return path


def forbids(path: Path, above: Path) -> str | None:
    """Why `path` can't be written, or made in the folder `above`; None if it can."""
    if not above.is_dir():
        return f"{path} can't be written: there is no folder {above}"
    if not os.access(path if path.exists() else above, os.W_OK):
        return f"{path} can't be written: no permission"
    return None
