"""Costs that don't depend on the machine: lines executed and memory held.

`steps` counts the lines that the interpreter executes in a call, so that a loop over what is queued shows,
however fast the machine. Work inside one C call counts as one.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from rudp.never import NEVER_YET


def steps(call: Callable[[], object]) -> int:
    """Lines of Python that `call` executes, comprehension rounds included, without those by which a garbage collection
    that falls into it ends what other tests left.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return count


def footprint(thing: object) -> int:
    """Bytes held by an object with slots, its lists and numbers; what the interpreter shares is free."""
    shared = thing is None or thing is NEVER_YET or isinstance(thing, bool)
    if shared or (isinstance(thing, int) and -5 <= thing <= 256):
        return 0
    held = sys.getsizeof(thing)
    if isinstance(thing, (list, tuple)):
        held += sum(footprint(item) for item in thing)
    slots: tuple[str, ...] = getattr(type(thing), "__slots__", ())
    return held + sum(footprint(getattr(thing, name)) for name in slots)
