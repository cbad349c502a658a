"""What bulk benchmarks carry and what it costs: bytes that show it when they are out of place, clocks, memory.

Knows: the pattern, its check, this process's CPU time and memory. Refuses to know: who carries it.

Invariant: a piece lost, doubled, changed or out of place is found. The bytes are three chunks of random ones, over and
over; a chunk's size is prime, so that no packet, buffer or window divides it, and a write that changes places with its
neighbour is noticed as well. The check is one comparison in C for each piece that arrives, the same for all.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

__all__ = ["CHUNK", "Meter", "Span", "block", "chunks", "cpu_seconds", "peak_memory"]

Data: TypeAlias = bytes | bytearray | memoryview

# Bytes of one write, as in files and pipes; prime.
CHUNK: Final = 262_139
CHUNKS: Final = 3
# The longest piece that is compared at once.
LONGEST: Final = 1 << 20


def block(size: int = CHUNKS * CHUNK) -> bytes:
    """`size` random bytes, the same each time; three chunks are what comes over and over."""
    return Random(1).randbytes(size)


def chunks(size: int) -> Iterator[bytes]:
    """The writes that make `size` bytes."""
    cycle = block()
    parts = [cycle[at : at + CHUNK] for at in range(0, len(cycle), CHUNK)]
    for number, at in enumerate(range(0, size, CHUNK)):
        part = parts[number % CHUNKS]
        yield part if size - at >= CHUNK else part[: size - at]


def cpu_seconds() -> float:
    """User and system time of this process, all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory() -> int:
    """The most bytes that this process has had in memory."""
    try:
        # On Linux ru_maxrss begins with what the parent had.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Span:
    """Wall clock and CPU time of this process from `start` to `stop`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu = 0.0
        self.started = False

    def start(self) -> None:
        """Later calls do nothing."""
        if not self.started:
            self.started = True
            self.seconds = -time.perf_counter()
            self.cpu = -cpu_seconds()

    def stop(self) -> None:
        """Once."""
        self.seconds += time.perf_counter()
        self.cpu += cpu_seconds()


class Meter:
    """The receiver's side: counts what arrives and compares it with what must come: `cycle`, over and over."""

    def __init__(self, size: int, cycle: bytes | None = None) -> None:
        self.size = size
        self.received = 0
        self.span = Span()
        cycle = cycle or block()
        self._period = len(cycle)
        self._expected = cycle + (cycle * (LONGEST // len(cycle) + 1))[:LONGEST]

    def take(self, data: Data) -> bool:
        """Count a piece; True when all has arrived. Raises RuntimeError when it isn't what was sent."""
        self.span.start()
        if not data:
            raise RuntimeError(f"the end came at byte {self.received} of {self.size}")
        if len(data) > LONGEST:
            view = memoryview(data)
            return self.take(view[:LONGEST]) or self.take(view[LONGEST:])
        if not self._expected.startswith(data, self.received % self._period):
            raise RuntimeError(f"what arrived at byte {self.received} differs from what was sent")
        self.received += len(data)
        if self.received < self.size:
            return False
        self.span.stop()
        if self.received > self.size:
            raise RuntimeError(f"{self.received} bytes arrived of {self.size}")
        return True
