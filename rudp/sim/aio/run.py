"""Running an asyncio program in virtual time: `run`, as `asyncio.run`.

Knows: that a program needs a network and a machine to be on, and how asyncio ends one. Refuses to know: how time goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from rudp.sim.aio.loop import SimulatedLoop
from rudp.sim.aio.machine import Machine
from rudp.sim.clock import MAX_EVENTS
from rudp.sim.network import Network

__all__ = ["run"]

T = TypeVar("T")


def run(
    main: Coroutine[Any, Any, T],
    *,
    network: Network | None = None,
    on: Machine | None = None,
    debug: bool | None = None,
    max_events: int = MAX_EVENTS,
) -> T:
    """Run `main` to its end in the virtual time of `network`, as `asyncio.run`, and return its result.

    `on` is the machine that `main` runs on. In a network without machines (so in a new one, which is made if none is
    given) `main` gets one for itself, so that a program whose parts talk over localhost runs as it is. What it leaves
    behind is cancelled, as by `asyncio.run`; the network remains, with its clock and digest.

    Raises Stalled, naming the tasks, when nothing will ever happen again; TooManyEvents after `max_events`. Whatever
    is raised gets a note of the time and the seed.
    """
    loop = SimulatedLoop(network, on=on, max_events=max_events)
    with asyncio.Runner(debug=debug, loop_factory=lambda: loop) as runner:
        try:
            return runner.run(main)
        except Exception as error:
            error.add_note(f"in a simulation with seed {loop.network.seed!r}, at {loop.time()!r} s")
            raise
