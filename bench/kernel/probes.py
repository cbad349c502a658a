"""Is the emulator what it says? Its rate, delay, queue and loss, measured from outside by UDP datagrams.

Knows: what to send, what must come of it, within which tolerance. Refuses to know: how the emulator works. The clock is
CLOCK_MONOTONIC, one for the whole machine, so delays are measured one way.
"""

from __future__ import annotations

import socket
import struct
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt
from multiprocessing.connection import Connection as Pipe
from typing import Final, NamedTuple

from .bed import Bed, drops_of_the_host
from .emulator import ADDRESSES
from .link import LinkSpec
from .namespace import MTU

__all__ = ["Check", "Flight", "judge_delay", "judge_loss", "judge_overload", "validate"]

PORT: Final = 9
HEADER: Final = struct.Struct("!Id")  # number, time of sending
OVERHEAD: Final = 28  # bytes of IP and UDP header
# Datagrams a second to measure loss with, as large as 0.8 of the link's rate allows.
LOSS_PER_SECOND: Final = 6000
# Seconds without a datagram after which none will come, on top of the longest that the link may hold one.
QUIET: Final = 0.5

# Tolerances. Seconds by which the median and the 99th percentile of the delay may be above the link's; below it nothing
# may be, but for the grain of the clocks. The 99th percentile is that of a shared machine.
MEDIAN_LATE: Final = 0.001
P99_LATE: Final = 0.002
EARLY: Final = 20e-6
# Share by which the rate may be off, either way.
RATE_OFF: Final = 0.01
# Standard deviations (of a binomial) by which the loss may be off: by chance once in 16,000 checks.
LOSS_SIGMAS: Final = 4.0


class Flight(NamedTuple):
    """What became of datagrams: how many were sent, and of those that came number, time sent, time received."""

    sent: int
    numbers: array[int]
    sent_at: array[float]
    received_at: array[float]
    drops: dict[str, int]

    @property
    def delays(self) -> list[float]:
        return sorted(late - early for early, late in zip(self.sent_at, self.received_at, strict=True))


@dataclass(frozen=True, slots=True)
class Check:
    """One figure that was measured beside what it should be."""

    what: str
    measured: str
    wanted: str
    holds: bool


def percentile(ordered: list[float], share: float) -> float:
    """Of a sorted list."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _millis(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


# -- what must come of it -----------------------------------------------------------------------------------------


def judge_delay(flight: Flight, spec: LinkSpec) -> Iterator[Check]:
    """Of datagrams so far apart that none waits for another."""
    base = spec.rtt / 2 + MTU / spec.rate
    delays = flight.delays
    for name, share, late in (("p50", 0.5, MEDIAN_LATE), ("p99", 0.99, P99_LATE)):
        measured = percentile(delays, share)
        wanted = f"{base * 1000:.2f} to {(base + late) * 1000:.2f} ms"
        yield Check(f"delay {name}", _millis(measured), wanted, base - EARLY <= measured <= base + late)
    lost = flight.sent - len(flight.numbers)
    yield Check("none lost", f"{lost} of {flight.sent}", "0", lost == 0)


def judge_overload(flight: Flight, spec: LinkSpec) -> Iterator[Check]:
    """Of more datagrams than the link carries: its rate, and by the longest delay the size of its queue."""
    # The first second is left out: the queue fills, and whatever is slow to start has started.
    first = flight.received_at[0] + 1.0
    times = [at for at in flight.received_at if at >= first]
    rate = (len(times) - 1) * MTU / (times[-1] - times[0])
    wanted = f"{spec.rate * 8e-6:.1f} Mbit/s, 1 % more or less"
    yield Check("rate", f"{rate * 8e-6:.2f} Mbit/s", wanted, abs(rate / spec.rate - 1) <= RATE_OFF)
    longest = spec.rtt / 2 + spec.queue_bytes / spec.rate
    measured = percentile(flight.delays, 0.99)
    # The queue holds whole packets.
    least, most = longest - 2 * MTU / spec.rate, longest + P99_LATE
    wanted = f"{least * 1000:.2f} to {most * 1000:.2f} ms"
    yield Check("delay p99, queue full", _millis(measured), wanted, least <= measured <= most)


def judge_loss(flight: Flight, spec: LinkSpec) -> Iterator[Check]:
    """Of datagrams at less than the link's rate: what share is lost at random."""
    share = 1 - len(flight.numbers) / flight.sent
    deviation = sqrt(spec.loss * (1 - spec.loss) / flight.sent)
    off = LOSS_SIGMAS * deviation
    wanted = f"{spec.loss * 100:.2f} %, {off * 100:.2f} more or less ({LOSS_SIGMAS:.0f} sigma)"
    measured = f"{share * 100:.2f} % of {flight.sent}"
    yield Check("loss", measured, wanted, abs(share - spec.loss) <= off)
    order = all(early < late for early, late in zip(flight.numbers, flight.numbers[1:], strict=False))
    yield Check("order kept", "yes" if order else "no", "yes", order)


# -- sending ------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """Datagrams to send: a second, for how many seconds, bytes of IP packet each."""

    per_second: float
    seconds: float
    size: int = MTU


def send_probes(pipe: Pipe, to: str, plan: Plan) -> None:
    """Send numbered datagrams at an even rate; say how many."""
    per_second, seconds, size = plan
    total = int(per_second * seconds)
    filler = bytes(size - OVERHEAD - HEADER.size)
    clock, pack = time.monotonic, HEADER.pack
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((to, PORT))
        start = clock()
        for number in range(total):
            wait = start + number / per_second - clock()
            if wait > 0:
                time.sleep(wait)
            sock.send(pack(number, clock()) + filler)
    pipe.send(total)
    pipe.recv()


def receive_probes(pipe: Pipe, at: str, quiet: float) -> None:
    """Note what comes until nothing has for `quiet` seconds after the word to stop."""
    numbers, sent_at, received_at = array("l"), array("d"), array("d")
    clock, unpack = time.monotonic, HEADER.unpack_from
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((at, PORT))
        sock.settimeout(quiet)
        pipe.send("ready")
        while True:
            try:
                data = sock.recv(MTU)
            except TimeoutError:
                if pipe.poll():
                    break
                continue
            now = clock()
            number, sent = unpack(data)
            numbers.append(number)
            sent_at.append(sent)
            received_at.append(now)
    pipe.send((numbers, sent_at, received_at, drops_of_the_host()))


def probe(spec: LinkSpec, plan: Plan, *, back: bool, seed: str) -> Flight:
    """Send datagrams one way over a link of its own."""
    source, sink = (1, 0) if back else (0, 1)
    with Bed(spec, seed) as bed:
        receiver = bed.start(sink, receive_probes, ADDRESSES[sink], spec.rtt + spec.queue_bytes / spec.rate + QUIET)
        receiver.hear()
        sender = bed.start(source, send_probes, ADDRESSES[sink], plan)
        sent: int = sender.hear(plan.seconds * 3 + 30)
        receiver.tell("stop")
        numbers, sent_at, received_at, drops = receiver.hear()
    return Flight(sent, numbers, sent_at, received_at, drops)


def validate(specs: Iterable[LinkSpec], seconds: float = 3.0, seed: str = "probe") -> Iterator[Check]:
    """Probe every link there and back: delay, rate and queue once for those that differ in loss only."""
    shapes: set[tuple[float, float, float]] = set()
    for spec in specs:
        full = spec.rate / MTU  # packets a second that the link carries
        plain = LinkSpec(spec.rate, spec.rtt, 0.0, spec.queue_bdp)
        trials = []
        if spec.loss:
            size = min(MTU, int(0.8 * spec.rate / LOSS_PER_SECOND))
            trials.append((judge_loss, spec, Plan(LOSS_PER_SECOND, 2 * seconds, size)))
        shape = (spec.rate, spec.rtt, spec.queue_bdp)
        if shape not in shapes:
            shapes.add(shape)
            trials.append((judge_delay, plain, Plan(250, seconds)))
            trials.append((judge_overload, plain, Plan(1.2 * full, seconds)))
        for judge, link, plan in trials:
            for back in (False, True):
                way = "back" if back else "forth"
                flight = probe(link, plan, back=back, seed=f"{seed}/{way}")
                name = f"{link.rate * 8e-6:g} Mbit/s x {link.rtt * 1000:g} ms, loss {link.loss * 100:g} %, {way}"
                for check in judge(flight, link):
                    yield Check(f"{name}: {check.what}", check.measured, check.wanted, check.holds)
                dropped = sum(flight.drops.values())
                yield Check(f"{name}: none dropped by the hosts", str(dropped), "0", dropped == 0)
