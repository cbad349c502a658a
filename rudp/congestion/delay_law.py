"""How long a queue a flow holds, and how its window moves towards that: shares that converge though the queue is short.

Knows: what a flow of some rate is to keep queued, and the queue it has met lately. Refuses to know: where the window
ends that it moves, what is lost, and how the queue is measured.

    target      O(1)    the queue to hold at some rate
    step        O(1)    one round's change of the window
    start       O(1)    forget the mean
    overflowed  O(1)    hold less: the queue has no room for so much

All flows of a bottleneck see one queue. A flow's target falls with its rate, so that queue means one rate, the same to
all: a flow with more than that gives way, one with less takes. As the queue is to be short, it can differ by little
between fair and unfair, and a law that moves by that difference (FAST, Vegas) takes hundreds of round trips to share.
So two things are kept apart:

  - the queue above or below what it was lately is put right at once, each flow by its part
  - the window goes towards what the queue of late means, by the ratio of both: as fast at a short queue as at a long
    one. What all do alike of this moves the queue, the other term and the slow mean hold that still.

Sources: FAST TCP (Wei, Jin, Low and Hegde 2006), Swift (SIGCOMM 2020: a target that falls with the rate). Own: to keep
the mean apart.
"""

from __future__ import annotations

from math import exp, log
from typing import Final

TARGET: Final = 0.32
TARGET_ROOT: Final = 0.4
"""The queue is TARGET times that power of base RTT over packets a second: 6 ms at 10 Mbit/s and 50 ms, 1 at 1 Gbit/s.
Flows with RTTs of 1 and 4 come to rates of 1 and 4; a higher power of the RTT would starve the short one."""
FAST: Final = 0.5
"""Part of a surplus of queue that is put right in a round: stable with feedback a round old."""
SLOW: Final = 0.06
"""The same of a window."""
MEAN: Final = 0.5
MEAN_MOST: Final = 0.25
"""Weight of a round in the mean, times the share of the RTT that is to be queued, and at most."""
MEAN_ABOVE: Final = 4.0
"""The mean in parts of what is wanted, at most, or it would take long to come down again."""
RATIO_LEAST: Final = 1 / 4
RATIO_MOST: Final = 2.0
STEP_MOST: Final = 0.25
"""Logarithm of a round's change at most."""
SHORT: Final = 0.5
"""With less than half of the queue that is wanted nobody gives way."""
EMPTY: Final = 1 / 8
EMPTY_ROUNDS: Final = 3
"""After three rounds with less than an eighth of the queue that is wanted the link may have more: as much as is wanted,
twice as much each round."""
BOUND: Final = 0.6
BOUND_GROWTH: Final = 1.01
BOUND_LEAST: Final = 0.001
"""Where a queue overflows, three fifths of what it holds are the most to want, a millisecond at least; 1 % more each
round."""


class DelayLaw:
    """Times in seconds, windows in packets, rates in packets a second."""

    __slots__ = ("_bound", "_empty", "_mean")

    def __init__(self) -> None:
        self._mean = 0.0
        self._empty = 0
        self._bound = float("inf")

    @property
    def mean(self) -> float:
        """The queue of late; 0 before the first round."""
        return self._mean

    def target(self, rate: float, base: float) -> float:
        """The queue a flow of that rate is to hold."""
        return min(float(TARGET * (base / rate) ** TARGET_ROOT), self._bound) if rate else 0.0

    def overflowed(self, queue: float) -> None:
        """Note that a queue of so many seconds was too long."""
        self._bound = max(BOUND * queue, BOUND_LEAST)

    def start(self) -> None:
        """Take the queue of late for the one to hold."""
        self._mean = 0.0
        self._empty = 0

    def step(self, window: float, queue: float, rtt: float, base: float) -> float:
        """The factor of the window after a round with that queue, and that RTT."""
        if not (rtt and base):
            return exp(STEP_MOST)  # a path without delay has no queue that could be told
        wanted = self.target(window / rtt, base)
        self._empty = self._empty + 1 if queue < EMPTY * wanted else 0
        mean = self._mean if self._mean else wanted
        self._bound *= BOUND_GROWTH
        mean += (queue - mean) * min(MEAN * wanted / rtt, MEAN_MOST)
        self._mean = mean = min(mean, MEAN_ABOVE * wanted)
        ratio = min(max(wanted / mean, RATIO_LEAST), RATIO_MOST)
        change = FAST * (mean - queue) / rtt + SLOW / TARGET_ROOT * log(ratio)
        if change < 0.0 and queue < SHORT * wanted:
            change = 0.0
        if self._empty > EMPTY_ROUNDS:
            change += wanted / rtt * 2 ** min(self._empty - EMPTY_ROUNDS - 1, 8)
        return exp(min(max(change, -STEP_MOST), STEP_MOST))
