"""Invariant: trains that are added, split and taken tell the same of every packet as a dict with an entry
for each, and their sums are right.

Model and machine are those of `tests/test_sent_packets.py`, which has the laws one by one; here they run longer, from
seeds without end: `python -m fuzz sent_packets --minutes N`.
"""

from __future__ import annotations

from hypothesis import settings

from fuzz.running import FUZZ, Target
from tests.test_sent_packets import AgainstSinglePackets

TARGETS: list[Target] = [AgainstSinglePackets]


class TestLong(AgainstSinglePackets.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(FUZZ, max_examples=40, stateful_step_count=100)
