"""Laws of packet numbers: what is cut is found again if it lies within half a window of the next expected."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rudp import packet_number
from rudp.packet_number import LIMIT, PLAIN, WINDOW, recover, truncate

HALF = WINDOW // 2
NUMBERS = st.integers(0, LIMIT - 1) | st.integers(0, 8).flatmap(
    lambda epoch: st.integers(max(0, epoch * WINDOW - 5), epoch * WINDOW + 5)
)


def plain(truncated: int, largest_accepted: int) -> int:
    """The valid number with these low bits nearest to the expected one; the higher one of two as near."""
    expected = largest_accepted + 1
    base = expected // WINDOW * WINDOW + truncated
    valid = [number for number in (base - WINDOW, base, base + WINDOW) if 0 <= number < LIMIT]
    return min(valid, key=lambda number: (abs(number - expected), -number))


@given(NUMBERS, st.integers(-HALF + 1, HALF))
@example(0, 0)
@example(LIMIT - 1, 0)
@settings(deadline=None)
def test_a_number_within_half_a_window_is_found(expected: int, distance: int) -> None:
    number = min(max(expected + distance, 0), LIMIT - 1)
    assert recover(truncate(number), expected - 1) == number


@given(st.integers(0, WINDOW - 1), st.just(0) | NUMBERS)
@settings(deadline=None)
def test_any_32_bits_give_the_nearest_valid_number(truncated: int, expected: int) -> None:
    assert recover(truncated, expected - 1) == plain(truncated, expected - 1)


def test_at_the_start_numbers_are_what_they_say() -> None:
    assert [recover(number, -1) for number in (0, 1, HALF, WINDOW - 1)] == [0, 1, HALF, WINDOW - 1]


@given(st.integers(0, WINDOW - 1), st.integers(-1, PLAIN - 1))
@example(0, PLAIN - 1)
@settings(deadline=None)
def test_below_half_a_window_a_number_is_what_it_says(truncated: int, largest_accepted: int) -> None:
    assert recover(truncated, largest_accepted) == truncated


def test_the_example_of_rfc_9000_appendix_a3_in_32_bits() -> None:
    assert recover(0xA82F_9B32, 0x12_A82F_30EA) == 0x12_A82F_9B32


def test_crossing_2_to_32_both_ways() -> None:
    assert recover(3, WINDOW - 5) == WINDOW + 3
    assert recover(WINDOW - 3, WINDOW + 5) == WINDOW - 3


@pytest.mark.parametrize("expected", [HALF, WINDOW - 1, WINDOW, 5 * WINDOW + 7, 6 * WINDOW - HALF, LIMIT - WINDOW])
def test_the_farthest_numbers_are_found_and_of_two_as_far_the_higher(expected: int) -> None:
    for number in (expected - HALF + 1, expected + HALF):
        assert recover(truncate(number), expected - 1) == number
    assert recover(truncate(expected - HALF), expected - 1) == expected + HALF


def test_no_number_lies_beyond_64_bits_or_below_zero() -> None:
    assert recover(0, LIMIT - HALF - 1) == LIMIT - WINDOW
    assert recover(WINDOW - 1, LIMIT - 2) == LIMIT - 1
    assert recover(WINDOW - 1, 5) == WINDOW - 1


def test_what_is_no_packet_number_is_refused() -> None:
    assert (truncate(0), truncate(2**64 - 1)) == (0, 2**32 - 1)
    for number in (-1, 2**64):
        with pytest.raises(AssertionError):
            truncate(number)
    for truncated, largest_accepted in ((-1, 0), (2**32, 0), (0, -2), (0, 2**64)):
        with pytest.raises(AssertionError):
            recover(truncated, largest_accepted)


def test_up_to_plain_the_number_is_what_the_header_carries_and_not_beyond() -> None:
    plain = packet_number.PLAIN
    for largest in (-1, 0, 5, plain // 2, plain - 1):
        for truncated in (0, 1, largest + 1, plain, plain + 1, WINDOW - 1):
            assert recover(truncated, largest) == truncated
    assert recover(0, plain) == WINDOW
