"""Ratios that a change must not lose, with generous margins: python -m bench.gates

Knows: which, and how to take them on a noisy machine. Refuses to know: how costs (`costs`) and transfers (`peers`) are
measured.

    rudp beside bare UDP   CPU of both sides for the same bytes over loopback, two processes each, packets
                           of 1,400 bytes, protection none: beside a datagram a call, and beside the bare minimum that
                           a sender and a receiver with GSO and GRO can do, where this kernel has both
    costs of the core      the ends of the curves of `rudp bench costs`

Both sides of a ratio take turns, round after round. A cost is the median of the rounds' ratios; of a transfer, which
other processes can only make dearer, each contender's least counts. No limit is a time: on a machine with other work
seconds tell who else was there. Nothing is tried again. Exit status 1 if a ratio is over its bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from . import costs
from .peers import process
from .peers.interface import Setup
from .peers.work import Figures

__all__ = ["Gate", "main"]

SIZE: Final = 96_000_000
DATAGRAM: Final = 1400
TRANSFERS: Final = 5
SECONDS: Final = 60.0
"""After which a transfer has failed; no measure of anything."""

# Contender: what it is, and the CPU that rudp may need in parts of it.
BARE: Final = {
    "bare-udp": ("a datagram a call", 0.55),
    "bare-gso": ("trains as large as they can be", 3.5),
}
ROUNDS: Final = 11
"""Of costs: some ten milliseconds of CPU each, forth and back. Of five the ratio of loss was 2.2 to 2.6 in one hour."""

# Curve, size, and the most that it may cost in parts of what the base costs. `rudp bench costs` has the figures, and
# narrower limits: these hold on a machine that does other things, too.
ENDS: Final = (
    ("queued", 100_000.0, 1.5),
    ("writing", 100_000.0, 1.5),
    ("idle-streams", 10_000.0, 1.5),
    ("streams", 10_000.0, 1.6),
    ("idle-connections", 1_000.0, 1.5),
    ("connections", 1_000.0, 1.6),
    ("gaps", float(16 << 20), 1.6),
    ("loss", 10.0, 2.6),
)


class Gate(NamedTuple):
    """One ratio and its bound."""

    name: str
    figure: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether it is not over the bound."""
        return self.figure <= self.bound

    def __str__(self) -> str:
        return f"{'ok' if self.holds else 'OVER':4} {self.figure:6.2f}, at most {self.bound:g}: {self.name}"


def cost_gates(rounds: int = ROUNDS) -> Iterator[Gate]:
    """The ends of the curves."""
    for name, size, bound in ENDS:
        curve = costs.CURVES[name]
        yield cost_gate(curve._replace(sizes=(curve.base, size)), bound, rounds)


def cost_gate(curve: costs.Curve, bound: float, rounds: int) -> Gate:
    """The largest size of a curve beside its base."""
    rows = [row for row in costs.measure(curve, rounds) if isinstance(row, costs.Row)]
    size = curve.sizes[-1]
    return Gate(
        f"CPU a {curve.of}: {curve.title}, {size:,.10g} {curve.unit}, beside {curve.base:,.10g}",
        next(row.ratio for row in rows if row.size == size),
        bound,
    )


def transfer_gates(rounds: int = TRANSFERS) -> Iterator[Gate]:
    """Bulk over loopback. A bare contender that fails, as one without GSO does, is named and left out."""
    found: dict[str, list[Figures]] = {name: [] for name in ("rudp-none", *BARE)}
    for _ in range(rounds):
        for name in list(found):
            run = process.Run(name, "bulk", Setup(DATAGRAM, "", ""), {"size": SIZE}, {"size": SIZE}, SECONDS)
            try:
                found[name].append(process.measure(run))
            except process.Failed as error:
                if name not in BARE:
                    raise
                print(f"left out: {name}: {error}", file=sys.stderr)
                del found[name]
    ours = min(map(_cpu, found["rudp-none"]))
    for name in [name for name in BARE if name in found]:
        text, bound = BARE[name]
        yield Gate(f"CPU of a bulk transfer beside bare UDP, {text}", ours / min(map(_cpu, found[name])), bound)


def _cpu(figures: Figures) -> float:
    cpu: float = figures["cpu_sender"] + figures["cpu_receiver"]
    return cpu


def main() -> int:
    """Print every ratio with its bound; 1 if one is over it."""
    parser = argparse.ArgumentParser(prog="python -m bench.gates", description=__doc__.split("\n", maxsplit=1)[0])
    parser.parse_args()
    failed = 0
    for gates in (transfer_gates(), cost_gates()):
        for gate in gates:
            print(gate, flush=True)
            failed += not gate.holds
    if failed:
        print(f"{failed} over the bound", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
