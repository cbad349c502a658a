"""Whether somebody keeps the queue filled on purpose, and the window to hold against that.

Knows: how much queue was left when we drained ours. Others of our kind drain at the same time, so that little is left;
a flow that only losses stop leaves its queue standing. Refuses to know: the delay law it replaces meanwhile.

    queue_falls    O(1)    note a round's queueing delay; True if others seem to drain just now
    drained        O(1)    note how short the queue was since the last drain of our own
    entered        O(1)    note the window that start-up came to
    uncontested    O(1)    what stayed was path, not queue

Judged is the shortest queue since the drain before; where it stayed, not sooner than two seconds after that was judged.
Two drains in a row with a queue that never got short, on a long path three, make the path contested: the window is then
CUBIC's (`loss_window`), beginning from the one before the doubts. Four with nearly none end that, unless the RTT
without a queue was found lower meanwhile: a CUBIC flow in a queue of one BDP never empties it, so who came second takes
what it leaves for the path, sees nothing above that, and had a sixth of the link. Three may be chance: who has half of
what is in flight takes most of the queue away by draining his own part, and all of it soon after others' cuts. For some
drains more, one with a queue begins it again, where it ended.

CUBIC's queue gets short for a moment after each of its cuts: a flow that came 5 s after CUBIC at 50 Mbit/s and 40 ms
found it so in every second or third interval, and had 3 % of the link for 25 seconds. So what stays in the drains
themselves counts, too, on average over several of them, for who has lost most of his window. Not on a long path, where
many small flows that start at once overshoot for as long, nor on a near one.

Source: Copa (Arun and Balakrishnan, NSDI 2018, section 2.2): compete while the queue doesn't get nearly empty. Own: to
ask by drains of our own.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.loss_window import LossWindow
from rudp.congestion.rounds import LONG_RTT
from rudp.never import NEVER_YET

CONTESTED_DRAINS: Final = 2
"""On a long path it takes one more: newcomers of our own kind don't know the RTT without a queue yet and learn it by
drains of theirs, which are far between there."""
WATCHED: Final = 2.0
"""Seconds of which a queue that stays tells: in less not all others had a drain of their own. The first of sixteen at
100 Mbit/s and 50 ms, whose drains followed each other by 1.9 and 1.3 s, took newcomers for a rival, and half as much
again as his share. Who met CUBIC at 50 Mbit/s and 40 ms did as before, to the last digit in thirty draws."""
KEPT_LEAST: Final = 0.55
KEPT_WEIGHT: Final = 1 / 4
"""Share of the queue, of one and a half times what is wanted at most, that stays in drains, on average over the last of
them, from which it is somebody else's though it gets short in between; and weight of a drain in that, so that it takes
three in a row at least. With 0.45 a flow that seven others joined, one second after another, took them for a rival in
three of six draws."""
STARVES: Final = 1 / 3
"""Part of the window that was ours from which on that is so. With a sixth who came late to CUBIC at 50 Mbit/s and 40 ms
had 0.16 of the link after twenty seconds, in the mean of twenty draws, and 0.26 with this."""
KEPT_RTT: Final = 0.015
"""Nor is it on paths shorter than so many seconds: sixteen flows at 1 Gbit/s and 10 ms take some ten seconds to drain
together, and until then one of the first, who had most of the link for a moment, took the others for a rival in three
of seventeen draws, up to half of the link with it. Who came late to CUBIC at 100 Mbit/s and 10 ms had 0.18 of the
link with that and without, in the mean of twelve draws."""
SATED: Final = 1.05
"""Nor with no more queue than is wanted: who meets that takes more by himself. The first of sixteen at 1 Gbit/s and 50
ms, who had all for a moment, met 0.97 of it and one and a half times his share, and took it all as CUBIC would. Who
came late to CUBIC met 1.1 to 1.3."""
UNCONTESTED_DRAINS: Final = 4
WARY_DRAINS: Final = 4
"""Drains after the end of a competition by which it may have been a mistake to end it."""
CONTESTED_SHARE: Final = 0.25
"""Share of the queue whose staying through a drain makes it somebody else's."""
CONTESTED_LEAST: Final = 0.05
"""And the part of the base RTT that it must be: who fills a queue on purpose doesn't leave it nearly empty."""
UNCONTESTED_SHARE: Final = 0.1
"""Share of the highest queue that counts as nearly empty (Copa)."""
GRAIN: Final = 0.0015
"""Seconds of queue that trains, cards and timers make."""
ASKED_BACK: Final = 1.0
"""Share of the window before that a competition begins with: beside CUBIC a smaller one takes a minute to grow back."""
FAIR_MEMORY: Final = 0.97
"""What is left, a drain later, of the memory of a larger window: a slow loss to others is one too."""
DIP_SHARE: Final = 0.1
DIP_GRAIN: Final = 0.0015
"""A queue that falls by a tenth and 1.5 ms from one round to the next is being drained."""


class Competition:
    """Times in seconds, windows in packets, rates in packets a second."""

    __slots__ = ("_doubts", "_fair", "_highest", "_judged", "_kept", "_queue", "_wary", "loss_window")

    loss_window: LossWindow | None
    """The window to hold while the path is contested."""

    def __init__(self) -> None:
        self.loss_window = None
        self._doubts = self._wary = 0
        self._fair = self._kept = 0.0
        self._queue = self._highest = 0.0
        self._judged = NEVER_YET

    @property
    def is_on(self) -> bool:
        """Whether the path is contested."""
        return self.loss_window is not None

    @property
    def in_doubt(self) -> bool:
        """Whether the path is contested, or may be, or may be no longer."""
        return self.is_on or self._doubts > 0

    def queue_falls(self, queue: float) -> bool:
        """Note a round's queueing delay; whether it fell as if others drained."""
        dip = self._queue - queue
        falls = dip > DIP_GRAIN and dip > DIP_SHARE * self._queue
        self._queue = queue
        self._highest = max(self._highest, queue)
        return falls and self.in_doubt

    def entered(self, window: float) -> None:
        """Note the window that start-up came to."""
        self._fair = window

    def uncontested(self) -> None:
        """What stayed in drains, and between them, was path and no queue."""
        self._doubts = 0
        self._kept = self._queue = self._highest = 0.0

    def drained(
        self,
        left: float,
        before: float,
        window: float,
        *,
        base: float,
        now: float,
        sinks: bool,
        kept: float = 0.0,
        wanted: float = 0.0,
    ) -> None:
        """Note that since the last drain at least `left` of the `before` seconds of queue stayed; `window` is ours.

        `base` is the RTT without a queue; it `sinks` where it was found lower in that time. In the drain itself there
        were `kept` seconds on average. With that window `wanted` seconds are.
        """
        left -= GRAIN
        needed = CONTESTED_DRAINS + (base >= LONG_RTT)
        self._kept += (min(max(kept - GRAIN, 0.0) / before if before else 0.0, 1.0) - self._kept) * KEPT_WEIGHT
        starves = window < STARVES * self._fair and before > SATED * wanted and KEPT_RTT <= base < LONG_RTT
        filled = starves and self._kept > KEPT_LEAST
        stays = filled or left > max(CONTESTED_SHARE * before, CONTESTED_LEAST * base)
        if stays and not (self.is_on or filled) and now - self._judged < WATCHED:
            return
        self._judged = now
        if self.is_on:
            nearly_empty = left <= UNCONTESTED_SHARE * self._highest and not sinks
            self._doubts = self._doubts + 1 if nearly_empty else 0
            if self._doubts >= UNCONTESTED_DRAINS:
                self.loss_window, self._kept = None, 0.0  # what stayed until now is no news
                self._doubts = needed - 1  # who comes back is known at once
                self._wary = WARY_DRAINS
                self._fair = max(self._fair, window)
            self._highest *= 0.9
        elif stays:
            self._doubts += 1
            if filled or self._doubts >= needed:
                self.loss_window, self._doubts = LossWindow(), 0
                # Most of what the delay law has yielded meanwhile is asked back.
                window = max(window, self._fair * ASKED_BACK)
                self.loss_window.start(window, window, now)
        elif self._wary:
            self._wary -= 1
        elif self._doubts:
            self._doubts -= 1
        else:
            self._fair = max(window, self._fair * FAIR_MEMORY)
            self._highest = 0.0
