"""A window that congestion taught not to exceed, and for how long.

Knows: the ceiling, what had been lost when it was made, and how many rounds have been clean since. Refuses to know:
what congestion is, and how windows move below.

    cut         O(1)    congestion: 0.85 of what was in flight, 0.7 of little
    in_vain     O(1)    whether such cuts have left the loss as it was
    rise        O(1)    a round without congestion; whether it is one still

Source: own.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.rounds import INFINITY

CUT: Final = 0.85
CUT_FEW: Final = 0.7
MUCH: Final = 0.07
GROWTH_FEW: Final = 1 / 3200
"""CUBIC's (RFC 9438 section 4.6) where more than 7 % were lost, and twice as many rounds to come back, for few
packets where no queue was seen: that may be one that is always full, which those who found it so take for path, and
gets short for once by such cuts. With what others do sixteen at 100 Mbit/s and 10 ms had 2 to 12 % dropped after
twelve seconds."""
VAIN: Final = 0.45
STILL: Final = 0.8
VAIN_LEAST: Final = 16
"""Cuts to less than half that left four fifths of the loss: the path loses by itself, though no queue was ever seen.
Not where less than sixteen times the smallest window is left, so that it takes a flight of 170 packets: where many
flows share, others fill what one leaves, and his cuts never change what is lost."""
GROWTH: Final = 1 / 800
"""The n-th clean round raises a ceiling by n / 800: back after 16 rounds."""
EXPLAINED: Final = 0.85
"""Part of the loss that made a ceiling that must be found to be the path's own for the ceiling to go."""
ABOVE: Final = 2.0
"""A ceiling of twice the window is none."""


class Ceiling:
    """Windows in bytes, losses in parts of what was sent, infinity for CE marks. `value`: to begin with."""

    __slots__ = ("_clean", "_first", "_first_lost", "_lost", "value")

    def __init__(self, value: float = INFINITY) -> None:
        self.value = value
        self._clean = 0
        self._first = self._first_lost = self._lost = 0.0

    def cut(self, flight: float, least: int, lost: float, *, few: bool = False) -> None:
        """Make one of what was in flight, or a lower one: `lost` of that were lost. `few`: packets, where no queue was
        seen.
        """
        self._clean = 0
        # Of several cuts one after another the least lost counts, as some lose more by chance.
        self._lost = lost if self.value == INFINITY else min(self._lost, lost)
        self.value = max((CUT_FEW if few and MUCH < lost < INFINITY else CUT) * min(flight, self.value), least)

    def in_vain(self, least: int, lost: float) -> bool:
        """Whether that cut was one of several that together left less than half, and the loss as it was."""
        if lost == INFINITY or self.value >= self._first:
            self._first, self._first_lost = self.value, lost
            return False
        return VAIN_LEAST * least < self.value < VAIN * self._first and lost >= STILL * self._first_lost

    def rise(self, window: float, background: float, *, few: bool = False) -> bool:
        """Take a round without congestion on a path that loses a share of `background` by itself; `few` as above."""
        self._clean += 1
        self.value *= 1.0 + (GROWTH_FEW if few else GROWTH) * self._clean
        # A loss that turns out to be the path's own was no congestion.
        return background < EXPLAINED * self._lost and self.value <= ABOVE * window
