"""The table: each contender over each link, several rounds taking turns, and what is made of the figures.

Knows: the cells, what is measured of a run and how runs become a row. Refuses to know: how it is shown (`show`).

goodput is payload bytes a second that the application at the other end got from `SETTLED` seconds after the flow's
start (its connect) on, `whole` those from the start. `sent` is the IP bytes that came out of the sender into the link,
before its queue, over the payload bytes that arrived, in the same span; the emulator counts them, for all alike.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from typing import Any, Final

from .bed import Bed
from .contenders import receive, send
from .emulator import Report
from .link import LinkSpec

__all__ = [
    "BYTES",
    "CELLS",
    "CONTENDERS",
    "LATE",
    "LEVEL",
    "SETTLED",
    "Row",
    "Sample",
    "as_json",
    "from_json",
    "measure",
    "rows",
    "run",
]

CELLS: Final = tuple(
    LinkSpec(rate * 125_000, rtt, loss)
    for rate, rtt, losses in ((100, 0.05, (0.0, 0.001, 0.01, 0.05, 0.1)), (20, 0.1, (0.0, 0.01, 0.2)))
    for loss in losses
)
CONTENDERS: Final = ("rudp", "tcp-cubic", "tcp-bbr")
# Seconds of a flow that are left out: starting up, 50 round trips of the slowest link.
SETTLED: Final = 5.0
# Seconds by which one packet in a hundred may leave the emulator too late. A run beyond that is run again, since it is
# this machine that was measured; after `TRIES` the last one counts, and says so.
LATE: Final = 0.002
TRIES: Final = 3
# Level: the share of the best that is as good as the best, the rounds of one contender differing by as much.
LEVEL: Final = 0.97
# Times the bytes that loss itself makes necessary, headers and repeats included.
BYTES: Final = 1.1


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contender. Bytes, seconds, shares."""

    goodput: float
    whole: float
    sent: float | None
    """IP bytes sent over payload bytes arrived; None: nothing arrived."""
    queue_p50: float
    queue_p95: float
    dropped: float
    """Share of the sender's packets that found the queue full."""
    late_p99: float
    repeats: int
    stray: int
    """Packets that were dropped by something else than the emulated link."""
    acks: int
    """Packets that the receiver sent."""
    sender: dict[str, Any]
    receiver: dict[str, Any]
    emulator_cpu: float
    curve: list[int]
    """Bytes that had arrived, at each second."""


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one cell: medians over the rounds."""

    rate: float
    rtt: float
    loss: float
    contender: str
    goodput: float
    least: float
    most: float
    whole: float
    sent: float | None
    sent_limit: float
    queue_p50: float
    queue_p95: float
    best_rival: float | None = None
    """The highest median of those that aren't rudp, in rudp's rows."""
    rounds: list[Sample] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Goodput as a share of the link's rate."""
        return self.goodput / self.rate

    @property
    def holds(self) -> bool | None:
        """Whether it is first or level within the bytes it may send; None: it isn't rudp, or had no rival."""
        if self.best_rival is None:
            return None
        return self.goodput >= LEVEL * self.best_rival and self.sent is not None and self.sent <= self.sent_limit


def _at(series: Sequence[tuple[float, int]], time: float) -> int:
    index = bisect_right(series, time, key=itemgetter(0))
    return series[index - 1][1] if index else 0


def judge(
    arrived: Sequence[tuple[float, int]], report: Report, started: float, seconds: float, settled: float
) -> dict[str, Any]:
    """The figures of a run from what the receiver and the emulator noted."""
    offered = [(time, forth) for time, forth, *_ in report.samples]
    first, last = started + settled, started + seconds
    payload = _at(arrived, last) - _at(arrived, first)
    waits = sorted(wait for time, _, _, wait, _ in report.samples if first <= time <= last) or [0.0]
    forth = report.counters[0]
    return {
        "goodput": payload / (seconds - settled),
        "whole": _at(arrived, last) / seconds,
        "sent": (_at(offered, last) - _at(offered, first)) / payload if payload else None,
        "queue_p50": waits[len(waits) // 2],
        "queue_p95": waits[int(len(waits) * 0.95)],
        "dropped": forth["queue_dropped_packets"] / max(forth["offered_packets"], 1),
        "curve": [_at(arrived, started + second) for second in range(1, int(seconds) + 1)],
    }


def measure(spec: LinkSpec, name: str, seconds: float, seed: str, settled: float = SETTLED) -> Sample:
    """One run, repeated while the emulator was too slow to be what it says."""
    for repeats in range(TRIES):
        with Bed(spec, f"{seed}/{repeats}") as bed:
            receiver = bed.start(1, receive, name)
            receiver.hear()
            sender = bed.start(0, send, name, seconds)
            started, sent_detail = sender.hear(seconds + 60)
            receiver.tell("stop")
            arrived, received_detail = receiver.hear()
            report = bed.finish()
        late = report.lateness(0.99)
        if late <= LATE:
            break
    return Sample(
        **judge(arrived, report, started, seconds, settled),
        late_p99=late,
        repeats=repeats,
        stray=report.refused + sum(sent_detail["drops"].values()) + sum(received_detail["drops"].values()),
        acks=report.counters[1]["offered_packets"],
        sender=sent_detail,
        receiver=received_detail,
        emulator_cpu=report.cpu_seconds,
    )


def run(
    cells: Iterable[LinkSpec],
    contenders: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    seed: str,
    note: Callable[[str], object],
) -> dict[tuple[LinkSpec, str], list[Sample]]:
    """All runs, one at a time; in each round the contenders take turns in another order."""
    samples: dict[tuple[LinkSpec, str], list[Sample]] = {}
    for number in range(rounds):
        for spec in cells:
            for index in range(len(contenders)):
                name = contenders[(index + number) % len(contenders)]
                sample = measure(spec, name, seconds, f"{seed}/{number}")
                samples.setdefault((spec, name), []).append(sample)
                sent = "-" if sample.sent is None else f"{sample.sent:.2f}"
                note(
                    f"round {number + 1}: {title(spec)}, {name}: {sample.goodput * 8e-6:.2f} Mbit/s, "
                    f"sent {sent} times the bytes, late p99 {sample.late_p99 * 1000:.2f} ms"
                )
    return samples


def title(spec: LinkSpec) -> str:
    """A link in words."""
    return f"{spec.rate * 8e-6:g} Mbit/s x {spec.rtt * 1000:g} ms, loss {spec.loss * 100:g} %"


def rows(samples: dict[tuple[LinkSpec, str], list[Sample]]) -> Iterator[Row]:
    """Medians, cell by cell, the contenders in order of name but rudp first."""
    cells = list(dict.fromkeys(spec for spec, _ in samples))
    names = sorted({name for _, name in samples}, key=lambda name: (not name.startswith("rudp"), name))
    for spec in cells:
        medians = {
            name: statistics.median(sample.goodput for sample in samples[spec, name])
            for name in names
            if (spec, name) in samples
        }
        rivals = [goodput for name, goodput in medians.items() if not name.startswith("rudp")]
        for name, goodput in medians.items():
            found = samples[spec, name]
            sent = [sample.sent for sample in found if sample.sent is not None]
            yield Row(
                rate=spec.rate,
                rtt=spec.rtt,
                loss=spec.loss,
                contender=name,
                goodput=goodput,
                least=min(sample.goodput for sample in found),
                most=max(sample.goodput for sample in found),
                whole=statistics.median(sample.whole for sample in found),
                sent=statistics.median(sent) if sent else None,
                sent_limit=BYTES / (1 - spec.loss),
                queue_p50=statistics.median(sample.queue_p50 for sample in found),
                queue_p95=statistics.median(sample.queue_p95 for sample in found),
                best_rival=max(rivals) if rivals and name.startswith("rudp") else None,
                rounds=found,
            )


def as_json(row: Row) -> dict[str, Any]:
    """A row for JSON, with what follows from it."""
    return {**asdict(row), "share": row.share, "holds": row.holds}


def from_json(data: dict[str, Any]) -> Row:
    """The row that `as_json` wrote."""
    fields = {name: value for name, value in data.items() if name in Row.__slots__}
    return Row(**{**fields, "rounds": [Sample(**sample) for sample in data["rounds"]]})
