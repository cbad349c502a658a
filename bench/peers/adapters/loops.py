"""uvloop's event loop, for the contenders that run on it."""

from __future__ import annotations

import asyncio
from importlib import import_module

__all__ = ["uvloop"]


def uvloop() -> asyncio.AbstractEventLoop:
    """A new one. Raises ImportError without uvloop."""
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop
