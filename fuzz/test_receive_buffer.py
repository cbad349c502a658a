"""Invariant: however the bytes of a stream arrive, in whatever pieces, overlaps and repetitions, they are
read once, in order and unaltered, and the end where it is.

Model and machine are those of `tests/test_receive_buffer.py`, which has the laws one by one; here they run longer, from
seeds without end: `python -m fuzz receive_buffer --minutes N`.
"""

from __future__ import annotations

from hypothesis import settings

from fuzz.running import FUZZ, Target
from tests.test_receive_buffer import AgainstBytes

TARGETS: list[Target] = [AgainstBytes]


class TestLong(AgainstBytes.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(FUZZ, max_examples=40, stateful_step_count=100)
