"""The process that owns both TUN devices and moves packets between them as the link says.

Knows: when to read, when to write. Refuses to know: what the link does (`link`), who talks over it.

One loop: wait until a device is readable or the next packet is due; read all there is; write all that is due. `select`
takes microseconds, where epoll takes milliseconds. Costs about 12 us a packet, so a core carries some 80,000 a second.
"""

from __future__ import annotations

import os
import select
import signal
import time
from array import array
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Final

from .link import Line, LinkSpec
from .namespace import MTU, VNET_HEADER, Namespace, die_with_parent, open_tun, run_first

__all__ = ["ADDRESSES", "Report", "emulate"]

# Of the two ends (RFC 5737: addresses for documentation).
ADDRESSES: Final = ("192.0.2.1", "192.0.2.2")
# Packets read from one device in a turn, so that the other direction and what is due don't wait.
READS: Final = 64
# Seconds between two notes of what has passed.
SAMPLE: Final = 0.005
# Seconds of one class of the histogram of delays that are the emulator's own fault, and how many classes.
LATE_CLASS: Final = 50e-6
LATE_CLASSES: Final = 2000
PRIORITY: Final = 30


@dataclass(slots=True)
class Report:
    """What the emulator saw. Directions: 0 from the first end to the second, 1 back."""

    counters: tuple[dict[str, int], dict[str, int]]
    samples: list[tuple[float, int, int, float, float]]
    """Monotonic time, bytes offered forth and back, seconds in the queue forth and back."""
    priority: str
    cpu_seconds: float
    refused: int
    """Packets that a device didn't take."""
    late: array[int] = field(default_factory=lambda: array("q", bytes(8 * LATE_CLASSES)))

    def lateness(self, share: float) -> float:
        """Seconds that at most `share` of all packets came later than due, the emulator being slow."""
        total = sum(self.late)
        seen = 0
        for index, count in enumerate(self.late):
            seen += count
            if seen >= share * total:
                return (index + 1) * LATE_CLASS
        return 0.0


def emulate(control: Pipe, paths: tuple[str, str], spec: LinkSpec, seed: str) -> None:
    """Body of the process: say "ready", work until told anything, send the Report, end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    fds = []
    for path, address in zip(paths, ADDRESSES, strict=True):
        Namespace.enter(path)
        fds.append(open_tun("rudp0", address))
    lines = (Line(spec, f"{seed}/forth", VNET_HEADER), Line(spec, f"{seed}/back", VNET_HEADER))
    report = Report(({}, {}), [], run_first(PRIORITY), 0.0, 0)
    control.send("ready")
    cpu = time.process_time()
    _forward(control, fds, lines, report)
    report.cpu_seconds = time.process_time() - cpu
    report.counters = (lines[0].counters(), lines[1].counters())
    control.send(report)


def _forward(control: Pipe, fds: list[int], lines: tuple[Line, Line], report: Report) -> None:
    clock = time.monotonic
    forth, back = lines
    watched = [*fds, control.fileno()]
    next_sample = 0.0
    while True:
        due = min((line.next_due for line in lines if line.next_due is not None), default=None)
        readable, _, _ = select.select(watched, (), (), None if due is None else max(due - clock(), 0.0))
        if readable:
            if watched[2] in readable:
                return
            for fd in readable:
                packets = _read(fd)
                if packets:
                    (forth if fd == fds[0] else back).offer(packets, clock())
        now = clock()
        for line, fd in ((forth, fds[1]), (back, fds[0])):
            next_due = line.next_due
            if next_due is not None and next_due <= now:
                _write(fd, line.take(now), report)
        if now >= next_sample:
            next_sample = now + SAMPLE
            report.samples.append((now, forth.offered_bytes, back.offered_bytes, forth.waiting(now), back.waiting(now)))


def _read(fd: int) -> list[bytes]:
    read = os.read
    size = VNET_HEADER + MTU
    packets: list[bytes] = []
    try:
        for _ in range(READS):
            packets.append(read(fd, size))
    except BlockingIOError:
        pass
    return packets


def _write(fd: int, due: list[tuple[float, bytes]], report: Report) -> None:
    write, clock = os.write, time.monotonic
    late = report.late
    for at, packet in due:
        late[min(int((clock() - at) / LATE_CLASS), LATE_CLASSES - 1)] += 1
        try:
            write(fd, packet)
        except OSError:
            report.refused += 1
