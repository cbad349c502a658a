"""bench.budget: both sides of a transfer, each part by name, and nothing of it lost."""

from __future__ import annotations

import inspect

from bench import budget, wakeups


def test_both_sides_have_a_budget() -> None:
    found = budget.measure(20_000_000)
    assert found.keys() == {"sender", "receiver"}
    names = {*wakeups.PARTS.values(), *budget.WITHIN.values(), *budget.ANSWERING.values(), "others", "application"}
    for parts in found.values():
        assert parts.keys() <= names | {part for part in parts if part.startswith("driver")}
        assert all(cost > 0.0 for cost in parts.values())


def test_a_sample_belongs_to_the_part_that_called() -> None:
    assert budget.part_of(inspect.currentframe(), answers=False) == "others"
    assert budget.part_of(None, answers=True) == "others"
