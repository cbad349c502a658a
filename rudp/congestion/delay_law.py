"""How long a queue a flow holds, and how its window moves towards that: shares that converge though the queue is short.

Knows: what a flow of some rate is to keep queued, the queue it has met lately, and what it delivered then. Refuses to
know: where the window ends that it moves, what is lost, and how the queue is measured.

    target      O(1)    the queue to hold at some rate
    is_short    O(1)    whether a queue is less than half of that
    step        O(1)    one round's change of the window
    start       O(1)    forget the mean, and the rate of late
    held        O(1)    that change was not made
    drained     O(1)    all who share the queue drained it: agree with them on the mean
    overflowed  O(1)    hold less: the queue has no room for so much

All flows of a bottleneck see one queue. A flow's target falls with its rate, so that queue means one rate, the same to
all: a flow with more than that gives way, one with less takes. As the queue is to be short, it can differ by little
between fair and unfair, and a law that moves by that difference (FAST, Vegas) takes hundreds of round trips to share.
So two things are kept apart:

  - the queue above or below what it was lately is put right at once, each flow by its part. What the last step did to
    the queue isn't seen yet and is reckoned with, or twice too much would be taken away (a Smith predictor)
  - the window goes towards what the queue of late means, by the ratio of both: as fast at a short queue as at a long
    one. What all do alike of this moves the queue, the other term and the slow mean hold that still. So it goes slowly
    where it is near, where a queue that is a tenth off would throw all of them about, and fast from afar, where flows
    differ. Upwards, it goes on slowly until that pays: who takes what others give up delivers more, who has the link
    for himself makes a queue, and so do all who want more at once

Flows share only if they mean the same by "of late", and a slow mean remembers for dozens of long round trips what one
of them met and another didn't. So it begins as an average of the first rounds, which are the same to all who begin to
share it, and at each drain, which all make together, it goes half of the way to what the last rounds saw.

Sources: FAST TCP (Wei, Jin, Low and Hegde 2006), Swift (SIGCOMM 2020: a target that falls with the rate), O. J. Smith
1957 (the predictor). Own: to keep the mean apart, to agree on it, and that growth has to pay.
"""

from __future__ import annotations

from math import exp, inf, log
from typing import Final

OWN_PACKETS: Final = 1.6
FOLD: Final = 0.0005
TOP: Final = 400_000.0
NEAR: Final = 0.03
USUAL: Final = 0.05
BASE_ROOT: Final = 0.4
"""The queue to hold on a path of 50 ms: the time of 1.6 packets of one's own, and half a millisecond more for each
e-fold that the rate is below 400,000 packets a second: 4.5 ms at 10 Mbit/s, 2.0 at 100, 0.8 at 1 Gbit/s. So a rate that
is an e-fold off shows as 0.4 to 2.0 ms wherever it is, which is more than by what flows' base RTTs differ. With the
power 0.4 of the rate it was 0.2 ms at 1 Gbit/s, and of two flows one had nine tenths. Other paths: times the power
0.4 of base RTT and 30 ms, so that near hosts don't aim at less than by what those differ, and far ones don't take all
of what they share with near ones (with 0.6 these had a fifth of their share at RTTs of 1:4)."""
FAST: Final = 0.5
"""Part of a surplus of queue that is put right in a round."""
UNSEEN: Final = 0.75
"""Part of what the last step should do to the queue that is taken for done."""
SLOW: Final = 0.05
CLOSE: Final = 0.5
FAR: Final = 8.0
"""Part of the way to the rate that the mean means, in a round: half of SLOW where the mean is what is wanted, and FAR
times SLOW more for each e-fold that it isn't."""
UNPAID_MOST: Final = 0.015
PAY: Final = 3.0
SHARE_MOST: Final = 0.16
"""Of that upwards 1.5 % of the window at most, and three times the part by which the last round delivered more than
those of late; a sixth in all. With 8 % for all, a flow alone with 100 Mbit/s and 200 ms that had drained its queue took
it for one to fill, and swung by 30 ms, while four that start-ups left with 1 to 60 parts took 12 seconds to share."""
RISE: Final = 0.5
FALL: Final = 1 / 8
"""Weight of a round in the rate of late: half of one that is higher, as a rate tells of the step before the last, and
less of one that is lower, or what comes back after a drain would seem to be gained."""
LONG: Final = 0.08
LONG_MOST: Final = 1.6
LONG_ROOT: Final = 1.3
"""From so many seconds of base RTT on more of that share, by the RTT, up to so many times, as a second has few rounds;
and of FOLD that power more, as what flows err about the base RTT is to be a small part of what they share by. Not of
one's own packets: of sixteen flows at 10 Mbit/s those are most of the queue already."""
MEAN: Final = 3.0
MEAN_MOST: Final = 0.1
"""Weight of a round in the mean, times the share of the RTT that is to be queued, and at most; on a long path as
many times less as FOLD is more, or the queue swings where flows drain it often. With half of it on short paths, too, a
flow of 25 ms had a fifth of its share beside one of 100."""
YOUNG: Final = 8
"""Rounds of which a new mean is the average, those without a queue as well: without them the mean of a small flow,
which wants much, was three times the queue that was there."""
LATE: Final = 1 / 4
AGREE: Final = 0.5
AGREE_MOST: Final = 1 / 6
"""Weight of a round in what the last rounds saw, and how far the mean goes there at a drain: half of the way, and a
sixth of itself at most, or all together swing from drain to drain."""
MEAN_ABOVE: Final = 1.5
"""The mean in parts of what is wanted, at most, or it would take long to come down again."""
RATIO_LEAST: Final = 0.7
YIELD_MOST: Final = 3.0
"""Nobody gives way by more than his part of the queue, as what others don't take at once nobody has, nor of more queue
than three times what is wanted: more is no sign of shares, and is put right by FAST alone. Else a link whose queue had
leapt to seven times that lost a fifth of its rate for half a second."""
STEP_MOST: Final = 0.25
"""Logarithm of a round's change at most."""
SHORT: Final = 0.5
"""With less than half of the queue that is wanted nobody gives way."""
EMPTY: Final = 1 / 8
EMPTY_NOISE: Final = 0.0006
EMPTY_MOST: Final = 1 / 4
EMPTY_ROUNDS: Final = 2
EMPTY_LEVEL: Final = 2
"""After two rounds with less than an eighth of the queue that is wanted the link may have more: as much as is wanted,
and twice as much every second round, as a round tells of the step before the last. Where little is wanted 0.6 ms are
none, too, up to a quarter: ACKs that get lost make as much, and 1 Gbit/s at 200 ms stood a twentieth idle by it."""
BOUND: Final = 0.6
BOUND_GROWTH: Final = 1.01
BOUND_LEAST: Final = 0.001
"""Where a queue overflows, three fifths of what it holds are the most to want, a millisecond at least; 1 % more each
round."""


def _hurry(base: float) -> float:
    """By how much a long path is ahead of what rounds would have it; 1 on a short one."""
    return min(max(base / LONG, 1.0), LONG_MOST)


def _length(base: float) -> float:
    """How many times FOLD a long path has; 1 on a short one."""
    return float(_hurry(base) ** LONG_ROOT)


def _usual(rate: float, fold: float) -> float:
    """The queue to hold at that rate on a path of USUAL, where each e-fold of it is worth so many seconds."""
    return OWN_PACKETS / rate + fold * log(1.0 + TOP / rate)


def _elasticity(rate: float, base: float) -> float:
    """By how many per cent that falls where a rate is one per cent higher."""
    fold = FOLD * _length(base)
    return (OWN_PACKETS / rate + fold * TOP / (TOP + rate)) / _usual(rate, fold)


def _empty_below(wanted: float) -> float:
    """A queue so short is none."""
    return min(max(EMPTY * wanted, EMPTY_NOISE), EMPTY_MOST * wanted)


class DelayLaw:
    """Times in seconds, windows in packets, rates in packets a second."""

    __slots__ = ("_bound", "_bound_base", "_empty", "_late", "_mean", "_rate", "_rounds", "_step")

    def __init__(self) -> None:
        self.start()
        self._bound = self._bound_base = inf

    @property
    def mean(self) -> float:
        """The queue of late; 0 before the first round."""
        return self._mean

    def target(self, rate: float, base: float) -> float:
        """The queue a flow of that rate is to hold."""
        if not rate:
            return 0.0
        scale = float(((base + NEAR) / (USUAL + NEAR)) ** BASE_ROOT)
        return min(scale * _usual(rate, FOLD * _length(base)), self._bound)

    def is_short(self, queue: float, window: float, rtt: float, base: float) -> bool:
        """Whether that is less than half of the queue to hold with that window; False on a path without delay."""
        return bool(rtt and base) and queue < SHORT * self.target(window / rtt, base)

    def overflowed(self, queue: float, base: float) -> None:
        """Note that so much queue above that base RTT was too much; one below 0 was never seen, and says nothing."""
        if queue >= 0.0:
            self._bound, self._bound_base = max(BOUND * queue, BOUND_LEAST), base

    def _loosen(self, base: float) -> None:
        """Another round without an overflow. Where the base RTT was lower than was known then, the queue was longer."""
        if base < self._bound_base:
            self._bound += BOUND * (self._bound_base - base)
            self._bound_base = base
        self._bound *= BOUND_GROWTH

    def start(self) -> None:
        """Take the queue of late for the one to hold, and no rate for one that was gained."""
        self._mean = self._late = self._step = self._rate = 0.0
        self._rounds = 0
        self._empty = 0

    def drained(self) -> None:
        """Note that all who share the queue drained it, and go on from what they have seen as well."""
        most = AGREE_MOST * self._mean
        self._mean += min(max((self._late - self._mean) * AGREE, -most), most)
        self._step = 0.0

    def held(self) -> None:
        """What the last round asked for wasn't done, and so it isn't known what it would have brought."""
        self._step = 0.0
        self._empty = min(self._empty, EMPTY_ROUNDS)

    def step(self, window: float, queue: float, rtt: float, base: float, delivered: float) -> float:
        """The factor of the window after a round with that queue and RTT, and a delivery rate in any unit."""
        paid = self._gain(delivered)
        if not (rtt and base):
            return exp(STEP_MOST)  # a path without delay has no queue that could be told
        wanted = self.target(window / rtt, base)
        is_short = queue < SHORT * wanted
        self._empty = self._empty + 1 if queue < _empty_below(wanted) else 0
        self._loosen(base)
        mean = self._update_mean(queue, wanted, rtt, base)
        ratio = max(wanted / mean, RATIO_LEAST)
        change = FAST * (mean - queue - UNSEEN * self._step * rtt) / rtt
        far = log(ratio)
        share = _hurry(base) * SLOW * far / _elasticity(window / rtt, base) * (CLOSE + FAR * abs(far))
        share = min(max(share, -min(queue, YIELD_MOST * wanted) / rtt), UNPAID_MOST + PAY * paid, SHARE_MOST)
        if share > 0.0 or not is_short:
            change += share
        if change < 0.0 and is_short:
            change = 0.0
        if self._empty > EMPTY_ROUNDS:
            change += wanted / rtt * 2 ** min((self._empty - EMPTY_ROUNDS - 1) // EMPTY_LEVEL, 8)
        self._step = min(max(change, -STEP_MOST), STEP_MOST)
        return exp(self._step)

    def _gain(self, delivered: float) -> float:
        """Take a round's rate; return by what part it is above those of late."""
        before = self._rate or delivered
        gain = max(delivered / before - 1.0, 0.0) if before else 0.0
        self._rate = before + (delivered - before) * (RISE if gain else FALL)
        return gain

    def _update_mean(self, queue: float, wanted: float, rtt: float, base: float) -> float:
        """Take a round's queue; return the queue of late, which is above 0."""
        weight = min(MEAN * wanted / rtt, MEAN_MOST / _length(base))
        if self._rounds < YOUNG:
            self._rounds += 1
            weight = max(weight, 1.0 / (1.0 + self._rounds))
        mean = self._mean or wanted
        self._mean = min(mean + (queue - mean) * weight, MEAN_ABOVE * wanted)
        self._late += (queue - self._late) * (LATE if self._rounds > 1 else 1.0)
        return self._mean
