"""Many worlds, one after the other and side by side: the swarm.

Knows: how seeds are shared out to processes, how far it is, what it came to, how a failure is made smaller.
Refuses to know: what a world is (`plans`, `worlds`).
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from typing import Final

from fuzz import worlds
from fuzz.plans import Plan, draw, simpler

__all__ = ["Total", "fly", "shrink"]

# Seeds handed to a process at a time, and runs that shrinking may take.
SHARE: Final = 20
MOST_TRIES: Final = 400


@dataclass(slots=True)
class Total:
    """What a run came to."""

    seeds: int = 0
    virtual_seconds: float = 0.0
    packets: int = 0
    seconds: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)

    def line(self) -> str:
        """All of it in words."""
        return (
            f"{self.seeds:,} seeds, {self.virtual_seconds / 3600:,.1f} simulated hours, {self.packets:,} packets, "
            f"{self.seconds / 60:.1f} minutes, {len(self.failures)} failures"
        )


def fly(first: int, count: int, processes: int, minutes: float = 0.0, *, show: bool = True) -> Total:
    """Run `count` seeds from `first` on, or as many as `minutes` allow. Ctrl-C ends it with what there is."""
    total = Total()
    started = time.monotonic()
    with _progress(count if not minutes else None, show) as tell:
        try:
            for seed, outcome in _outcomes(first, count, processes, minutes):
                total.seeds += 1
                total.virtual_seconds += outcome.seconds
                total.packets += outcome.packets
                total.seconds = time.monotonic() - started
                if outcome.failure:
                    total.failures[seed] = outcome.failure
                    if show:
                        # At once: a run of hours may be ended before it tells.
                        sys.stderr.write(f"seed {seed} failed\n")
                tell(total)
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
    return total


def _outcomes(first: int, count: int, processes: int, minutes: float) -> Iterator[tuple[int, worlds.Outcome]]:
    limit = time.monotonic() + minutes * 60
    last = first + count if not minutes else sys.maxsize
    shares = _shares(first, last)
    if processes == 1:
        for share in shares:
            if minutes and time.monotonic() > limit:
                return
            yield from _share(share)
        return
    # Threads and sockets of the parent are no concern: "spawn" begins with nothing of it.
    with get_context("spawn").Pool(processes, _ignore_interrupts) as pool:
        # In rounds: a pool takes all that it is given at once, however much that is.
        while (not minutes or time.monotonic() < limit) and (shared := list(islice(shares, 4 * processes))):
            for found in pool.imap_unordered(_share, shared):
                yield from found


def _shares(first: int, last: int) -> Iterator[range]:
    at = first
    while at < last:
        yield range(at, min(at + SHARE, last))
        at += SHARE


def _share(seeds: range) -> list[tuple[int, worlds.Outcome]]:
    return [(seed, worlds.run(draw(seed))) for seed in seeds]


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def shrink(plan: Plan, say: Callable[[str], object] = print) -> Plan:
    """A plan with less in it that fails in the same way: at the same line."""
    wanted = _place(worlds.run(plan).failure)
    tries = 0
    changed = bool(wanted[0])
    while changed and tries < MOST_TRIES:
        changed = False
        for smaller in simpler(plan):
            tries += 1
            if _place(worlds.run(smaller).failure) == wanted:
                plan, changed = smaller, True
                break
            if tries >= MOST_TRIES:
                break
    say(f"made smaller in {tries} runs")
    return plan


def _place(failure: str) -> tuple[str, str]:
    """The last line of code of a traceback, and the kind of end that it complains of, if it is one."""
    lines = failure.splitlines()
    places = [line.strip() for line in lines if line.startswith("  File")]
    # Addresses, sizes and times differ from one plan to the next.
    ends = [re.sub(r"[\d.:]+", "", line) for line in lines if line.startswith("ends in ")]
    return places[-1] if places else "", ends[-1] if ends else ""


@contextmanager
def _progress(count: int | None, show: bool) -> Iterator[Callable[[Total], object]]:
    """A line that says how far it is: by rich on a terminal, else now and then by a plain one."""
    if not show:
        yield lambda _: None
        return
    if sys.stderr.isatty():
        try:
            from rich.console import Console  # noqa: PLC0415
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        except ImportError:
            pass
        else:
            columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            with Progress(*columns, console=Console(stderr=True)) as progress:
                task = progress.add_task("", total=count)
                yield lambda total: progress.update(task, completed=total.seeds, description=total.line())
            return
    latest = [time.monotonic()]

    def plain(total: Total) -> None:
        if time.monotonic() - latest[0] > 30.0:
            latest[0] = time.monotonic()
            sys.stderr.write(total.line() + "\n")

    yield plain


def default_processes() -> int:
    """Every core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
