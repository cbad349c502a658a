"""Invariant: whatever is added to a RangeSet and taken from it, it holds the integers that a set holds, as few
sorted ranges that never touch.

Model and machine are those of `tests/test_ranges.py`, which has the laws one by one; here they run longer, from
seeds without end: `python -m fuzz ranges --minutes N`.
"""

from __future__ import annotations

from hypothesis import settings

from fuzz.running import FUZZ, Target
from tests.test_ranges import AgainstASet

TARGETS: list[Target] = [AgainstASet]


class TestLong(AgainstASet.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(FUZZ, max_examples=40, stateful_step_count=100)
