"""Tasks that a set holds in the same order in every run, and what a task waits for, in words.

Knows: asyncio keeps tasks in sets (those of a TaskGroup, those that the end of a run cancels) and goes through them;
by default a task's hash is its place in memory. Here it is its number, so that the order is a function of the run.
Refuses to know: the loop.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine, Iterator
from itertools import count
from typing import Any

__all__ = ["KeptInOrder", "NumberedTask", "describe", "in_order", "task_factory"]


class NumberedTask(asyncio.Task[Any]):
    """A task that is hashed by its number."""

    def __new__(cls, *arguments: Any, number: int, **options: Any) -> NumberedTask:
        task = super().__new__(cls, *arguments, **options)
        task.number = number
        return task

    def __init__(self, *arguments: Any, number: int, **options: Any) -> None:
        self.number = number
        super().__init__(*arguments, **options)

    def __hash__(self) -> int:
        return self.number

    def set_name(self, name: object) -> None:
        """Take a name; None, which CPython 3.13.0 sets on all that a factory made, leaves what it has."""
        if name is not None:
            super().set_name(name)


def task_factory() -> Any:
    """A factory for `loop.set_task_factory` that numbers tasks from 1."""
    numbers = count(1)

    def make(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> NumberedTask:
        return NumberedTask(coroutine, loop=loop, number=next(numbers), **options)

    return make


def in_order(tasks: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Tasks by number, those of another factory last, by name."""
    return sorted(tasks, key=lambda task: (getattr(task, "number", float("inf")), task.get_name()))


def describe(task: asyncio.Task[Any]) -> str:
    """Name, coroutine and the line where it waits."""
    coroutine = task.get_coro()
    what = getattr(coroutine, "__qualname__", repr(coroutine))
    frame = getattr(coroutine, "cr_frame", None)
    if frame is None:
        return f"{task.get_name()} ({what})"
    return f"{task.get_name()} ({what}, waiting at {frame.f_code.co_filename}:{frame.f_lineno})"


class KeptInOrder(weakref.WeakValueDictionary[int, Any]):
    """What asyncio needs of the weak set of a loop's asynchronous generators, in order of first use."""

    def add(self, item: Any) -> None:
        """Remember it as long as somebody else does."""
        self[id(item)] = item

    def discard(self, item: Any) -> None:
        """Forget it."""
        self.pop(id(item), None)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self.values()))
