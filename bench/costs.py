"""What a packet costs the core while things pile up: curves that have to be flat.

Knows: which sizes are compared, how a figure is taken on a noisy machine, and what is allowed. Refuses to know: how
the piles are made (`costs_beds`) and how rows are shown (`costs_command`, `plots_costs`).

    rudp bench costs                          all curves: some minutes on one core
    rudp bench costs --only queued,loss --rounds 15 --json costs.json --plot .
    python -m bench.costs --brief --check     fewer sizes and rounds; exit status 1 if a curve is not as it must be

The beds of a curve are built first and then take turns, round after round, forth and back; a figure is the median of a
size's rounds, and a ratio the median of the rounds' ratios to the curve's base. So a machine that is slow for a while
is slow for both. What is measured is CPU time of this process, and only between a datagram's arrival and the next
train. What the beds hold is kept from the garbage collector, which looks through all there is now and then: that is
in proportion to what is held, and amortised by what is allocated.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from .cells import rounded
from .costs_beds import DATAGRAM, MIB, Bed, Bulk, Crowd, Lossy, Messages, Sample, Turns

__all__ = ["CURVES", "Curve", "Row", "brief", "measure", "missed"]

FLAT: Final = 1.2
"""Of a curve that is called flat: the ratio that no size may exceed."""
PACKETS: Final = 5_000
"""Of a sample, unless the curve needs others: some ten milliseconds of CPU."""
SMALL: Final = 100
"""Bytes of a small write."""


class Curve(NamedTuple):
    """One pile, in several sizes. `bed` makes one; `packets` how many a sample of it has."""

    name: str
    title: str
    unit: str
    sizes: tuple[float, ...]
    bed: Callable[[Any], Bed]
    base: float
    """The size that the others are compared with."""
    limits: Callable[[float], float | None] = lambda _: FLAT
    """The ratio that a size may have; None: shown only."""
    packets: Callable[[Any], int] = lambda _: PACKETS
    figure: Callable[[Sample], float] = lambda sample: sample.per_packet
    of: str = "packet"


def _window_packets(window: float) -> int:
    return max(PACKETS, int(2 * window) // DATAGRAM)


def _loss_limit(loss: float) -> float:
    return 2.0 if loss <= 10 else 3.0


def _from_base_on(base: float) -> Callable[[float], float | None]:
    """What is smaller than the base has fewer packets to a wake-up and an ACK; it is shown only."""
    return lambda size: FLAT if size >= base else None


_WINDOWS: Final = tuple(float(1 << power) for power in range(16, 27, 2))
_CROWDS: Final = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)

CURVES: Final = {
    curve.name: curve
    for curve in (
        Curve(
            "queued",
            "Small writes queued",
            f"writes of {SMALL} bytes waiting",
            (0, 100, 1_000, 10_000, 100_000),
            lambda count: Bulk(piece=SMALL, behind=int(count) * SMALL),
            0,
        ),
        Curve(
            "writing",
            "Writing to a queue",
            f"writes of {SMALL} bytes waiting",
            (0, 100, 1_000, 10_000, 100_000),
            lambda count: Bulk(piece=SMALL, behind=int(count) * SMALL),
            0,
            figure=lambda sample: sample.per_write,
            of="write",
        ),
        Curve(
            "bytes",
            "Bytes queued",
            "bytes waiting, in writes of 64 KiB",
            (0, *(float(MIB << power) for power in range(0, 9, 2))),
            lambda size: Bulk(behind=int(size)),
            0,
        ),
        Curve("idle-streams", "Idle streams beside a busy one", "streams", (0, 10, 100, 1_000, 10_000),
              lambda count: Bulk(streams=int(count)), 0),
        Curve("streams", "Streams that send by turns", "streams", _CROWDS, lambda count: Turns(int(count)), 1),
        Curve("idle-connections", "Idle connections beside a busy one", "connections", (0, 10, 100, 1_000, 10_000),
              lambda count: Bulk(connections=int(count)), 0),
        Curve(
            "connections",
            "Connections that all send",
            f"connections, each {SMALL} bytes every 100 ms",
            _CROWDS,
            lambda count: Crowd(int(count)),
            1,
            packets=lambda count: max(500, int(count)),
        ),
        Curve("flight", "Bytes in flight", "bytes of window", _WINDOWS, lambda size: Bulk(window=int(size)),
              MIB, limits=_from_base_on(MIB), packets=_window_packets),
        Curve("gaps", "Ranges held, 2 % lost", "bytes of window",
              _WINDOWS, lambda size: Bulk(window=int(size), loss=0.02),
              MIB, limits=_from_base_on(MIB), packets=_window_packets),
        Curve(
            "runs",
            "Trains in flight, a packet each",
            "trains",
            (10, 100, 1_000, 10_000),
            lambda count: Messages(int(count)),
            1_000,
            limits=_from_base_on(1_000),
            packets=lambda _: 1_000,
        ),
        Curve("loss", "Loss, default controller", "% lost, at 1 Gbit/s and 10 ms",
              (0, 1, 2, 5, 10, 20), lambda loss: Lossy(loss / 100), 0, limits=_loss_limit, packets=lambda _: 10_000),
    )
}  # fmt: skip
"""In the order in which they are measured and shown."""


class Row(NamedTuple):
    """One size of a curve. Microseconds are of CPU, of both sides together, for a packet sent or a write."""

    curve: str
    size: float
    microseconds: float
    least: float
    most: float
    ratio: float
    """To the base: the median of the rounds' ratios; and those that a quarter lie below and above."""
    ratio_low: float
    ratio_high: float
    limit: float | None
    held: float | None = None
    """Ranges out of order that the receiver held, on average; None: not counted."""
    train: float | None = None
    """Packets a train."""

    def as_dict(self) -> dict[str, Any]:
        """One object for JSON."""
        return {name: rounded(value) if isinstance(value, float) else value for name, value in self._asdict().items()}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Row:
        """The same from JSON, which has four digits of a size."""
        exact = (size for size in CURVES[row["curve"]].sizes if rounded(size) == row["size"])
        return cls(**row | {"size": next(exact, row["size"])})


def brief(curve: Curve) -> Curve:
    """The curve's ends and its base."""
    return curve._replace(sizes=tuple(sorted({curve.sizes[0], curve.base, curve.sizes[-1]})))


def measure(curve: Curve, rounds: int) -> Iterator[tuple[float, Sample] | Row]:
    """Build the beds, let them take turns, and come to a row for each size; each sample as it is taken."""
    beds = {size: curve.bed(size) for size in curve.sizes}
    found: dict[float, list[Sample]] = {size: [] for size in curve.sizes}
    for size, bed in beds.items():
        bed.sample(curve.packets(size))
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            for size in curve.sizes if number % 2 else reversed(curve.sizes):
                sample = beds[size].sample(curve.packets(size))
                found[size].append(sample)
                yield size, sample
    finally:
        gc.unfreeze()
    figures = {size: [curve.figure(sample) for sample in samples] for size, samples in found.items()}
    for size in curve.sizes:
        yield _row(curve, size, figures[size], figures[curve.base], found[size])


def _row(curve: Curve, size: float, mine: Sequence[float], base: Sequence[float], samples: Sequence[Sample]) -> Row:
    ratios = sorted(one / other for one, other in zip(mine, base, strict=True))
    quarter = len(ratios) // 4
    gaps = sum(sample.gaps for sample in samples) / sum(sample.steps for sample in samples)
    return Row(
        curve.name,
        size,
        median(mine),
        min(mine),
        max(mine),
        median(ratios),
        ratios[quarter],
        ratios[-1 - quarter],
        None if size == curve.base else curve.limits(size),
        held=gaps or None,
        train=sum(sample.packets for sample in samples) / sum(sample.trains for sample in samples),
    )


def missed(rows: Sequence[Row]) -> list[str]:
    """What is not as it must be."""
    return [
        f"{CURVES[row.curve].title}, {row.size:g} {CURVES[row.curve].unit}: "
        f"{row.ratio:.2f} times what it is at {CURVES[row.curve].base:g}, allowed are {row.limit:g}"
        for row in rows
        if row.limit is not None and row.ratio > row.limit
    ]


if __name__ == "__main__":
    from .commands import main

    main("costs")
