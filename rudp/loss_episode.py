"""Congestion events as loss recovery sees them: when one begins, and whether it was none after all.

Knows: how many packets were lost since the latest event began, and how many of them were acknowledged since. Refuses
to know: packet numbers, and what a controller does about it. O(1), or O(trains) of what it is given.

An event begins with a loss, or a CE mark, of a packet sent after the event before it began (RFC 9002 section 7.3.2),
and lasts until the next one. When every packet lost during it has been acknowledged, none was lost: the event is
undone (RFC 4015 and RFC 9438 section 4.9.2 have the reasons), unless a CE mark spoke for congestion meanwhile. A loss
that is no longer remembered can't be taken back, and nor can its event.
"""

from __future__ import annotations

from collections.abc import Iterable

from rudp.sent_packets import SentTrain

__all__ = ["LossEpisode"]


class LossEpisode:
    """The latest congestion event of one path."""

    __slots__ = ("_began", "_covers_until", "_lost_packets", "_marked")

    def __init__(self) -> None:
        self._began = float("-inf")
        # What was sent up to then, and is lost, belongs to this event.
        self._covers_until = float("-inf")
        self._lost_packets = 0
        self._marked = False

    def on_lost(self, packets: int, newest_time_sent: float, now: float) -> bool:
        """Count a loss, whose newest packet was sent at that time; return whether an event began with it."""
        begins = self._begin_if_new(newest_time_sent, now)
        self._lost_packets += packets
        return begins

    def on_marked(self, newest_time_sent: float, now: float) -> bool:
        """Note CE marks on packets of which the newest was sent then; return whether an event began with them."""
        begins = self._begin_if_new(newest_time_sent, now)
        self._marked = True
        return begins

    def on_persistent_congestion(self) -> None:
        """The next loss begins another event, whenever it was sent (RFC 9002 appendix B.8)."""
        self._covers_until = float("-inf")

    def on_spurious(self, trains: Iterable[SentTrain]) -> bool:
        """Take lost trains back that were acknowledged; return whether the event was undone by that."""
        before = self._lost_packets
        for train in trains:
            if train.time_lost >= self._began:
                self._lost_packets -= train.count
        if self._lost_packets or not before or self._marked:
            return False
        self._covers_until = float("-inf")
        return True

    def _begin_if_new(self, newest_time_sent: float, now: float) -> bool:
        if newest_time_sent <= self._covers_until:
            return False
        self._began = self._covers_until = now
        self._lost_packets = 0
        self._marked = False
        return True
