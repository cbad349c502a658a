"""Whether the path stood still: nothing came for longer than a queue explains, and then all at once.

Radio links, handovers and hosts that don't get their processor hold everything back for a while. The packets that
waited have long RTTs, though no queue of anybody's made them wait, and the path is empty when it moves again.

Knows: when the latest ACK came, and when the path last began to move again. Refuses to know: windows and queues.

    held_back       O(1)    take an ACK; whether its RTT tells of a standstill
    without_pause   O(1)    the same, and what the ACK still shows

A queue that grows makes each ACK a little later than the one before, as the peer tells at least four times in a round
trip what has arrived. A pause of more than a round trip and a half, with packets on the way, is no queue's. Should it
be one after all, a round trip is lost: what was sent after a pause is always taken for what it shows.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample
from rudp.never import NEVER_YET

PAUSE: Final = 1.5
"""Smoothed RTTs without an ACK, while packets were on the way."""
PAUSE_LEAST: Final = 0.02
"""Seconds; shorter ones are hosts' timers, and cards that gather packets."""


class Standstill:
    """Times in seconds."""

    __slots__ = ("_believed", "_latest", "_moved")

    def __init__(self) -> None:
        self._latest = self._moved = NEVER_YET
        self._believed = True

    def held_back(self, sample: AckSample) -> bool:
        """Whether the newest packet that this ACK tells of was sent before a standstill ended."""
        now, sent = sample.now, sample.newest_time_sent
        latest, oldest = self._latest, sample.oldest_time_sent
        waited = now - (latest if latest > oldest else oldest)
        self._latest = now
        if self._believed and waited > PAUSE_LEAST and waited > PAUSE * sample.smoothed_rtt:
            self._moved = now
        self._believed = sent >= self._moved
        return not self._believed

    def without_pause(self, sample: AckSample) -> AckSample:
        """The sample without the RTT and the delivery rate if they tell of a pause."""
        return sample._replace(latest_rtt=None, delivery_rate=None) if self.held_back(sample) else sample
