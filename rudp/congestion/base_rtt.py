"""The RTT of a path without anyone's queue, and when it should be looked for again.

Knows: the lowest RTT of this epoch and of the one before; an epoch ends with a drain. Refuses to know: how a drain is
made.

    update      O(1)    one RTT sample
    begin       O(1)    note when the flow began
    sinks       O(1)    whether it was found lower since the last drain
    is_due      O(1)    whether it's time for a drain
    lengthen    O(1)    the path has become longer
    want        O(1)    ask for one soon
    join        O(1)    ask for one at once, unless the last is too fresh
    drained     O(1)    a drain ended

Only when all who share a queue drain it at one time is it empty. Each drains at the end of its own interval, but joins
in as soon as the queue falls by half late in that, as it does when others drain; so flows come to drain together, as
oscillators do that push each other on (Mirollo and Strogatz 1990). Who is new drains sooner twice, and more often on a
long path, or those who came while others' queue stood would keep that for the path's RTT, and others take it for a
rival's.

The lowest RTT is one packet's, often the first one's, that met nobody. Packets that go in trains never see it again,
and of two flows the one that has it would see a queue longer by that and give way. So queues are told from a ground
that all come to alike, from what drains meet: their mean RTT, where they have samples enough. Where not, and on long
paths, where a drain is one RTT and has what others sent before, it is the lowest that was left after them. The ground
is as far above the lowest RTT as packets explain. Not further, as a fast flow's drains end above a slow one's: of two
at 100 Mbit/s and 200 ms the larger took 0.2 ms of queue for ground that the smaller saw, where 63 % of the link for 37
are told by 0.9 ms, and stayed the larger.

Single samples come early by chance, more of them the more there are. What counts is the mean of a few in a row, if that
is no more than a millisecond above.

Sources: draft-ietf-ccwg-bbr (the min_rtt filter and ProbeRTT); own: epochs, and to join in.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.rounds import INFINITY, LONG_RTT

INTERVAL: Final = 3.0
"""Seconds from one drain to the next, at least: two make a newcomer known within ten seconds."""
INTERVAL_FIRST: Final = 2.0
FIRST_DRAINS: Final = 2
"""The same until the second: of four who started within a second at 10 Mbit/s and 50 ms one took eight milliseconds of
the others' queue for the path's, and they that for a rival's."""
AGREED: Final = 3
"""Drains after which the RTT that the last two agree on is likely to be the path's."""
INTERVAL_ROUNDS: Final = 20
"""And so many RTTs at least: a drain costs about an eighth of one."""
MEAN_SAMPLES: Final = 4
CALM: Final = 0.001
"""Samples that count together, and seconds by which their mean may exceed the last of them."""
EPOCH: Final = 5.0
"""Seconds of an epoch at least: the lowest RTT is that of the last five to thirteen."""
EPOCH_IN_DOUBT: Final = 7.0
"""The same while others may fill the queue: it falls to the ground rarely."""
JOIN: Final = 0.75
"""Part of the interval after which to join in."""
YOUNG_DRAINS: Final = 4
INTERVAL_ROUNDS_YOUNG: Final = 12
"""RTTs between two drains until the fourth: who comes to a queue doesn't know the RTT without it, and who came before
takes what he holds for somebody's who fills it on purpose."""
SOON: Final = 1.0
"""Seconds from a change to the drain it calls for: what a newcomer piled up has left by then."""

LEFT_LEAST: Final = 0.0003
LEFT_MEAN: Final = 0.0006
LEFT_PACKETS: Final = 1.5
LEFT_MOST: Final = 0.002
LEFT_WEIGHT: Final = 0.5
"""By what the ground may be above the lowest RTT: 0.3 ms, or 0.6 where a drain's mean is known, and what 1.5 packets
take at one's own rate, 2 ms at most; and weight of a drain in it. With 2 ms for all 29 of 36 starts at 100 Mbit/s
shared evenly, then 33. With half a millisecond for all, two flows at 10 Mbit/s and 50 ms do so in 2 of 8 starts, where
it is 6 now."""
TOGETHER: Final = 0.001
"""A drain whose mean is so far above what was left since the one before met others' queue, and the ground stays."""


class BaseRtt:
    """All times in seconds."""

    # fmt: off
    __slots__ = (
        "_before", "_drained_at", "_epoch_start", "_ground", "_last", "_left_most", "_mean", "_now", "_wanted_at",
        "is_new", "value",
    )
    # fmt: on

    value: float
    """Infinity before the first sample."""
    is_new: bool
    """No two drains have agreed on it yet, or the last one found it lower."""

    def __init__(self) -> None:
        self.forget()
        self.begin(0.0)
        self._wanted_at = INFINITY

    def begin(self, now: float) -> None:
        """Count the time to the first drain from now on, whatever the clock began with."""
        self._drained_at = self._epoch_start = now

    def forget(self) -> None:
        """The path may be another: the next sample is the base."""
        self._now = self._before = self.value = INFINITY
        self._mean = 0.0
        self._ground = self._last = INFINITY
        self._left_most = LEFT_MOST
        self.is_new = True

    def lengthen(self, rtt: float) -> None:
        """The path has become longer: this is its RTT until a lower one is seen."""
        self.forget()
        self._now = self.value = self._last = rtt

    @property
    def ground(self) -> float:
        """The RTT above which all is queue: what drains left of late, near the lowest."""
        return self._near(self._ground) if self._ground < INFINITY else self.value

    def _near(self, rtt: float) -> float:
        """What of an RTT that a drain left may be ground."""
        return min(max(rtt, self.value), self.value + self._left_most)

    @property
    def sinks(self) -> bool:
        """Whether it was found lower since the last drain: what was queue then and what path isn't known for sure."""
        return self.value < self._last - CALM and self._last < INFINITY

    def update(self, rtt: float) -> float:
        """Take one sample; return it without the chance that it was early by."""
        self._mean += (rtt - self._mean) / MEAN_SAMPLES if self._mean else rtt
        calm = self._mean if self._mean < rtt + CALM else rtt + CALM
        if calm < self._now:
            self._now = calm
            self.value = calm if calm < self.value else self.value
        return calm

    def drained(
        self, lowest: float, now: float, packet_time: float = INFINITY, *, mean: float = 0.0, in_doubt: bool = False
    ) -> None:
        """Note the end of a drain that met `lowest`; begin the next epoch if this one was long enough.

        `packet_time`: seconds that a packet takes at one's own rate, of an RTT without a queue. `mean`: of what the
        drain met; 0 if that was too little to have one. `in_doubt`: others may keep the queue filled, so that what this
        epoch has seen may not be the path's.
        """
        if now - self._epoch_start >= (EPOCH_IN_DOUBT if in_doubt else EPOCH):
            self._before, self._now = self._now, lowest
            self.value = min(self._before, lowest)
            self._epoch_start = now
        self._drained_at = now
        self._wanted_at = INFINITY
        self.is_new, self._last = self.sinks or self._last == INFINITY, self.value
        mean = mean if self.value < LONG_RTT else 0.0
        self._left_most = min((LEFT_MEAN if mean else LEFT_LEAST) + LEFT_PACKETS * packet_time, LEFT_MOST)
        if mean > lowest + TOGETHER and self._ground < INFINITY:
            return
        left = self._near(mean or lowest)
        self._ground = left if self._ground == INFINITY else self.ground + (left - self.ground) * LEFT_WEIGHT

    def is_due(self, now: float, drains: int) -> bool:
        """Whether it's time to drain the queue; `drains`: how many of its own this flow has had."""
        return now >= self._wanted_at or now - self._drained_at > self._interval(drains)

    def join(self, now: float, drains: int) -> None:
        """Others seem to drain, or the queue is short by chance: the best time to find it empty.

        `drains`: how many of its own this flow has had.
        """
        if now - self._drained_at > JOIN * self._interval(drains):
            self._wanted_at = now

    def _interval(self, drains: int) -> float:
        least = INTERVAL_FIRST if drains < FIRST_DRAINS else INTERVAL
        rounds = INTERVAL_ROUNDS_YOUNG if drains < YOUNG_DRAINS else INTERVAL_ROUNDS
        long = rounds * self.value
        return long if least < long < INFINITY else least

    def want(self, now: float, seconds: float = SOON) -> None:
        """Something changed that all who share the queue have seen: drain soon, as they will."""
        self._wanted_at = now + seconds
