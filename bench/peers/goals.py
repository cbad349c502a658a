"""What rudp is to reach beside the others, as ratios and figures of one run.

Knows: the goals. Refuses to know: how the figures came about. A goal whose figures aren't there is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from .summary import REFERENCE, Cell

__all__ = ["GOALS", "Goal", "Outcome", "judge"]

IN_C: Final = ("aiopquic", "siokcp", "pyenet")
QUIC_IN_PYTHON: Final = ("aioquic", "qh3")
UDP_PEERS: Final = (*IN_C, *QUIC_IN_PYTHON, "quic-portal")
SMALLER_IS_BETTER: Final = ("_us_", "_bytes_", "s_per_GB")

Found = dict[str, dict[str, dict[str, Cell]]]


class Goal(NamedTuple):
    """A figure of one contender, or its ratio to the best of others, and what it is to be."""

    work: str  # or how its name begins
    figure: str
    bound: float  # at least for what is the better the more, else at most
    others: tuple[str, ...] = ()
    contender: str = REFERENCE


GOALS: Final = (
    Goal("bulk", "MB_s", 700),
    Goal("bulk", "MB_s", 0.5, ("bare-gso",)),
    Goal("bulk", "MB_s", 2, UDP_PEERS),
    Goal("bulk", "MB_s", 3, IN_C),
    Goal("bulk", "MB_s", 40, ("aioquic",)),
    Goal("bulk", "MB_s", 0.6, ("tcp-buffered", "tcp-streams"), "rudp-pmtud"),
    Goal("bulk", "MB_s", 0.5, ("bare-udp",), "rudp-portable"),
    Goal("rpc", "p50_us_1", 3, ("tcp-streams",)),
    Goal("rpc", "p50_us_100", 3, ("tcp-streams",)),
    Goal("rpc", "p50_us_1", 1, QUIC_IN_PYTHON),
    Goal("rpc", "p50_us_100", 1, QUIC_IN_PYTHON),
    Goal("rpc", "p99_us_1", 1, QUIC_IN_PYTHON),
    Goal("rpc", "p99_us_100", 1, QUIC_IN_PYTHON),
    Goal("rpc", "per_second_1", 1, QUIC_IN_PYTHON),
    Goal("rpc", "per_second_100", 1, QUIC_IN_PYTHON),
    Goal("handshakes", "server_us_1", 333),
    Goal("handshakes", "server_us_100", 333),
    Goal("idle", "server_bytes_each", 10_000),
    Goal("held", "ratio", 0.9),
)


class Outcome(NamedTuple):
    """A goal, the value that was reached, whose it is compared with."""

    goal: Goal
    work: str
    value: float
    beside: str
    met: bool


def judge(found: Found) -> Iterator[Outcome]:
    """Every goal that can be judged."""
    for goal in GOALS:
        small = any(part in goal.figure for part in SMALLER_IS_BETTER)
        for work, contenders in found.items():
            own = contenders.get(goal.contender, {}).get(goal.figure)
            if not work.startswith(goal.work) or own is None:
                continue
            there = {name: contenders[name][goal.figure].median for name in goal.others if name in contenders}
            if goal.others and not there:
                continue
            best = (min if small else max)(there, key=lambda name: there[name]) if there else ""
            value = own.median / there[best] if there else own.median
            met = value <= goal.bound if small else value >= goal.bound
            yield Outcome(goal, work, value, best, met)
