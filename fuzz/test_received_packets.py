"""Invariant: a packet number is new exactly once, what an ACK tells of has arrived, and no more is remembered
than the bound.

Model and machine are those of `tests/test_received_packets.py`, with the laws one by one; here they run longer, from
seeds without end: `python -m fuzz received_packets --minutes N`.
"""

from __future__ import annotations

from hypothesis import settings

from fuzz.running import FUZZ, Target
from tests.test_received_packets import AgainstASet

TARGETS: list[Target] = [AgainstASet]


class TestLong(AgainstASet.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(FUZZ, max_examples=40, stateful_step_count=100)
