"""Cutting a buffer: the same as slicing it piece by piece, whichever way was taken before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rudp.cuts import MOST_KEPT, cut


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, MOST_KEPT + 2), st.integers(0, 40))
def test_pieces_are_what_slices_are(stride: int, start: int, stop: int, count: int, lacking: int) -> None:
    data = bytes(number % 251 for number in range(max(0, stride * count - lacking)))
    wanted = [data[at + start : at + stop] for at in range(0, stride * count, stride)]
    assert [bytes(piece) for piece in cut(memoryview(data), stride, start, stop, count)] == wanted


def test_nothing_is_copied() -> None:
    buffer = bytearray(30)
    pieces = cut(memoryview(buffer), 10, 2, 10, 3)
    buffer[12] = 7
    assert [bytes(piece) for piece in pieces] == [bytes(8), b"\x07" + bytes(7), bytes(8)]
