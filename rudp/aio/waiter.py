"""What one coroutine waits for, and goes on from at once: a future without a turn of the loop in between.

Knows: how asyncio's futures hold the callback of who waits for them. Refuses to know: what is waited for.

An asyncio.Future wakes its task by `call_soon`: one more turn of the loop, that is a system call and some ten
microseconds, for each message that arrives. A protocol's `data_received` is called at once, in the turn that read the
socket; so is a coroutine that waits for what `wake` ends. It costs the same fairness as a protocol does: what runs
until its next `await` runs inside that turn. Tasks know their own kind of future, in C: one of ours took them twice as
long.

    wake      the task runs until it waits again: O(1) beside that. From within a task, or from its own context: by
              `call_soon`
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias

__all__ = ["Waiter", "wake"]

Waiter: TypeAlias = "asyncio.Future[None]"
"""Awaited once, by one task; ended by `wake`, or by who cancels that."""


def wake(waiter: Waiter) -> bool:
    """Have the task go on. Whether it has, up to its next wait or its end; else it will in the loop's next turn."""
    if waiter.done():
        return True
    callbacks = waiter._callbacks
    if not callbacks:
        waiter.set_result(None)
        return False
    ((callback, context),) = callbacks
    waiter.remove_done_callback(callback)
    waiter.set_result(None)
    try:
        context.run(callback, waiter)
    except RuntimeError:
        # asyncio enters one task at a time, and a context once. What a task raises stays its own.
        waiter.get_loop().call_soon(callback, waiter, context=context)
        return False
    return True
