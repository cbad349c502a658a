"""Settings of all tests: hypothesis has no deadlines (a busy machine is no fault) and prints how to replay.

What the suite has imported and collected by its first test, a million objects, is left out of garbage collection: where
a test asks for one, to weigh what it holds, it took longer than all else that the test does.
"""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

from tests.loops import each_loop

__all__ = ["each_loop"]

settings.register_profile("rudp", deadline=None, print_blob=True)
settings.load_profile("rudp")


@pytest.fixture(scope="module", autouse=True)
def _frozen_heap() -> None:
    """Before each module: a test may have thawed it."""
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
