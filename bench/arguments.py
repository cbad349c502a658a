"""What options of `python -m bench.NAME` take: numbers within bounds, files that can be written.

Knows: how argparse is told that a value makes no sense, so that the command says so in one line before it measures.
Refuses to know: any command.
"""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

__all__ = ["amount", "target", "whole"]


def whole(low: int, high: int = 10**9) -> Callable[[str], int]:
    """Whole numbers from `low` to `high`."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no whole number") from None
        if not low <= number <= high:
            raise ArgumentTypeError(f"{text} must be from {low:,} to {high:,}")
        return number

    return convert


def amount(low: float, high: float) -> Callable[[str], float]:
    """Numbers from `low` to `high`."""

    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no number") from None
        if not low <= number <= high:  # nor nan
            raise ArgumentTypeError(f"{text} must be from {low:,g} to {high:,g}")
        return number

    return convert


def target(text: str) -> Path:
    """A file to be written when all is measured."""
    path = Path(text)
    if path.is_dir():
        raise ArgumentTypeError(f"{path} is a folder")
    if not path.parent.is_dir():
        raise ArgumentTypeError(f"{path} can't be written: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ArgumentTypeError(f"{path} can't be written: no permission")
    return path
