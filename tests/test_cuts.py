"""Cutting a buffer: the same as slicing it piece by piece, whichever way was taken before."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.cuts import MOST_KEPT, SIZES_KEPT, _places, cut
from tests.measure import steps


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, MOST_KEPT + 2), st.integers(0, 40))
def test_pieces_are_what_slices_are(stride: int, start: int, stop: int, count: int, lacking: int) -> None:
    data = bytes(number % 251 for number in range(max(0, stride * count - lacking)))
    wanted = [data[at + start : at + stop] for at in range(0, stride * count, stride)]
    assert [bytes(piece) for piece in cut(memoryview(data), stride, start, stop, count)] == wanted


@pytest.mark.parametrize("count", [*range(4), *range(MOST_KEPT - 1, MOST_KEPT + 2), 2 * MOST_KEPT, 3 * MOST_KEPT + 5])
def test_pieces_of_any_number_are_what_slices_are(count: int) -> None:
    data = b"".join(number.to_bytes(2, "big") for number in range(5 * count))
    for start, stop, lacking in ((0, 10, 0), (3, 10, 0), (0, 7, 0), (2, 8, 0), (0, 10, 4), (3, 9, 9)):
        short = data[: len(data) - lacking] if count else data
        wanted = [short[at + start : at + stop] for at in range(0, 10 * count, 10)]
        for _ in range(2):
            assert [bytes(piece) for piece in cut(memoryview(short), 10, start, stop, count)] == wanted


def test_trains_of_a_size_that_came_before_are_cut_in_a_line_each() -> None:
    view = memoryview(bytes(10 * MOST_KEPT))
    for count in (2, MOST_KEPT):
        cut(view, 10, 0, 10, count)
        assert steps(partial(cut, view, 10, 0, 10, count)) <= 3


def test_places_of_few_sizes_are_kept() -> None:
    for size in range(1, 2 * SIZES_KEPT):
        cut(memoryview(bytes(2 * size)), size, 0, size, 2)
    assert _places.cache_info().currsize == SIZES_KEPT


def test_nothing_is_copied() -> None:
    buffer = bytearray(30)
    pieces = cut(memoryview(buffer), 10, 2, 10, 3)
    buffer[12] = 7
    assert [bytes(piece) for piece in pieces] == [bytes(8), b"\x07" + bytes(7), bytes(8)]
