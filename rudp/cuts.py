"""Pieces of equal size cut out of a buffer, without copying.

Knows: that trains of one size come again and again, so where they are cut is worked out once. Refuses to know: what
the pieces are.

    cut    O(pieces) in C, in Python O(pieces / 64); O(pieces) where a size is seen for the first time
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

__all__ = ["cut"]

# Pieces for which places are kept: one is cut as fast without, many are cut by so many at a time. Kept they cost some
# 150 bytes a piece, and of one size there are as many as trains that lost a part have numbers of packets, forth and
# back.
LEAST_KEPT: Final = 2
MOST_KEPT: Final = 64
SIZES_KEPT: Final = 256


def cut(view: memoryview, stride: int, start: int, stop: int, count: int) -> Sequence[memoryview]:
    """Of `count` pieces of `stride` bytes each the bytes [start, stop). Of what ends within one, what there is."""
    if LEAST_KEPT <= count <= MOST_KEPT:
        return _places(stride, start, stop, count)(view)
    if count < LEAST_KEPT:
        return [view[at + start : at + stop] for at in range(0, stride * count, stride)]
    pieces: list[memoryview] = []
    for first in range(0, count, MOST_KEPT):
        pieces += cut(view[first * stride :], stride, start, stop, min(MOST_KEPT, count - first))
    return pieces


@lru_cache(maxsize=SIZES_KEPT)
def _places(stride: int, start: int, stop: int, count: int) -> Callable[[Any], tuple[memoryview, ...]]:
    return itemgetter(*[slice(at + start, at + stop) for at in range(0, stride * count, stride)])
