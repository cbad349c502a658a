"""Invariant: a truncated packet number is recovered as the full one, whatever is lost, late and repeated, as long as
fewer than 2^31 numbers lie between it and the largest that was accepted; across 2^32 and up to the last number of all.

A sender that counts and skips, a bag of packets on their way, and a receiver: `python -m fuzz packet_numbers`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fuzz.running import FUZZ, Target
from rudp.packet_number import LIMIT, WINDOW, recover, truncate

HALF = WINDOW // 2
EDGES = [0, HALF, WINDOW, 3 * WINDOW, LIMIT - WINDOW, LIMIT - HALF, LIMIT]


class Numbers(RuleBasedStateMachine):
    """Full numbers on one side, truncated ones on the way, the largest accepted on the other side."""

    @initialize(edge=st.sampled_from(EDGES), before=st.integers(0, 50) | st.integers(0, WINDOW))
    def start(self, edge: int, before: int) -> None:
        self.next = max(0, edge - before)
        # The receiver had accepted the number before.
        self.largest = self.next - 1
        self.way: list[int] = []

    @rule(skip=st.integers(0, 3) | st.integers(HALF - 3, HALF) | st.integers(0, HALF))
    def send(self, skip: int) -> None:
        number = self.next + skip
        if number < LIMIT:
            self.way.append(number)
            self.next = number + 1

    @precondition(lambda self: self.way)
    @rule(index=st.integers(0, 100), repeat=st.booleans())
    def arrive(self, index: int, repeat: bool) -> None:
        at = index % len(self.way)
        number = self.way[at] if repeat else self.way.pop(at)
        expected = self.largest + 1
        if not expected - HALF < number <= expected + HALF:
            return  # too far for 32 bits, which no path is
        found = recover(truncate(number), self.largest)
        assert found == number
        self.largest = max(self.largest, found)

    @precondition(lambda self: self.way)
    @rule(index=st.integers(0, 100))
    def lose(self, index: int) -> None:
        self.way.pop(index % len(self.way))


TARGETS: list[Target] = [Numbers]


class TestNumbers(Numbers.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings: Any = settings(FUZZ, max_examples=100, stateful_step_count=50)
