"""Invariant: whatever is written, handed out, lost and acknowledged, a send buffer hands out every byte that is
not acknowledged, unaltered, each at its offset, and no byte twice that was not lost.

Model and machine are those of `tests/test_send_buffer.py`, which has the laws one by one; here they run longer, from
seeds without end: `python -m fuzz send_buffer --minutes N`.
"""

from __future__ import annotations

from hypothesis import settings

from fuzz.running import FUZZ, Target
from tests.test_send_buffer import AgainstBytes

TARGETS: list[Target] = [AgainstBytes]


class TestLong(AgainstBytes.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(FUZZ, max_examples=40, stateful_step_count=100)
