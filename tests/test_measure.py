"""What the tests' own measures count, and what not."""

from __future__ import annotations

import gc

from tests.measure import steps


class Ends:
    """Garbage whose end takes lines of Python."""

    ended = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Ends.ended += 1


def test_steps_are_those_of_the_call_alone() -> None:
    def work() -> None:
        held = [[] for _ in range(5_000)]  # which calls for a collection
        assert len(held) == 5_000

    gc.collect()
    alone = steps(work)
    for _ in range(5):
        Ends()
    assert steps(work) == alone
    assert gc.isenabled()
    gc.collect()
    assert Ends.ended == 5
