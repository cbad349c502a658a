"""What one coroutine waits for, and goes on from at once: an awaitable without a turn of the loop in between.

Knows: how asyncio's tasks wait for futures that aren't its own (`_asyncio_future_blocking`, as its documentation of
`asyncio.isfuture` has it). Refuses to know: what is waited for.

An asyncio.Future wakes its task by `call_soon`: one more turn of the loop, that is a system call and some ten
microseconds, for each message that arrives. A protocol's `data_received` is called at once, in the turn that read the
socket; so is a coroutine that waits here. It costs the same fairness as a protocol does: what runs until its next
`await` runs inside that turn.

    wake      the task runs until it waits again: O(1) beside that. From within a task, from its own context, or
              cancelled: by `call_soon`
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Self

__all__ = ["Waiter"]


class Waiter:
    """Awaited once, by one task."""

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_done", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[Waiter], object] | None = None
        self._context: Context | None = None
        self._done = False
        # What CancelledError is raised with, once it is to be.
        self._cancelled: tuple[Any, ...] | None = None

    def wake(self) -> bool:
        """Have the task go on. Whether it has, up to its next wait or its end; else it will in the loop's next turn."""
        if self._done:
            return True
        self._done = True
        callback, context = self._callback, self._context
        if callback is None or context is None:
            return False
        if asyncio.current_task(self._loop) is not None:
            # One task at a time: asyncio refuses to enter a second one.
            self._loop.call_soon(callback, self, context=context)
            return False
        try:
            context.run(callback, self)
        except RuntimeError:
            # The context is entered already, by a callback that was given the same: what a task raises stays its own.
            self._loop.call_soon(callback, self, context=context)
            return False
        return True

    # -- what a task asks of what it waits for ------------------------------------------------------------------

    # An iterator of its own: a generator would add as much again to what an idle connection holds.
    def __await__(self) -> Generator[Any, None, None]:
        return self  # type: ignore[return-value]  # any iterator will do

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Self:
        if not self._done:
            self._asyncio_future_blocking = True
            return self
        if self._cancelled is not None:
            self.result()
        raise StopIteration

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop whose tasks may wait here."""
        return self._loop

    def done(self) -> bool:
        """Whether `wake` or `cancel` was called."""
        return self._done

    def cancel(self, msg: Any = None) -> bool:
        """End the wait by CancelledError, in the loop's next turn. False: it had ended before."""
        if self._done:
            return False
        self._done, self._cancelled = True, () if msg is None else (msg,)
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)
        return True

    def result(self) -> None:
        """Nothing; raises CancelledError after `cancel`."""
        if self._cancelled is not None:
            raise asyncio.CancelledError(*self._cancelled)

    def add_done_callback(self, callback: Callable[[Waiter], object], *, context: Context) -> None:
        """Have the waiting task's `callback` called at the end."""
        self._callback, self._context = callback, context
        if self._done:
            self._loop.call_soon(callback, self, context=context)
