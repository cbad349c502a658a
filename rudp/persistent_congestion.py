"""Persistent congestion: everything was lost for so long that the path must be taken to have changed.

Knows: the run of losses that goes on, from when it is and where it ends. Refuses to know: how losses are found
and what a controller does about it. Each call costs O(trains lost).

A run goes on over several ACKs and timeouts: what is lost comes in order, and the next loss continues the run if
nothing but numbers that were never sent lies between.

Source: RFC 9002 section 7.6.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rudp.ranges import RangeSet
from rudp.rtt import RttEstimator
from rudp.sent_packets import SentTrain

__all__ = ["PersistentCongestion"]

# RFC 9002 section 7.6.1: probe timeouts over which everything must be lost (kPersistentCongestionThreshold).
PERSISTENT_CONGESTION_THRESHOLD: Final = 3


class PersistentCongestion:
    """Watches the losses of one path."""

    __slots__ = ("_start_time", "_stop")

    def __init__(self) -> None:
        self._start_time: float | None = None
        self._stop = 0

    def interrupt(self) -> None:
        """Something sent during the run was acknowledged, or it belongs to another path."""
        self._start_time = None

    def on_lost(self, lost: Iterable[SentTrain], skipped: RangeSet, rtt: RttEstimator) -> bool:
        """Whether `lost`, ascending, establishes it (section 7.6.2).

        It takes two ack-eliciting packets, sent far enough apart and after the first RTT sample, and all between
        them lost. A probe of the path MTU is neither of the two: its loss says nothing of congestion (RFC 9000
        section 14.4).
        """
        duration = PERSISTENT_CONGESTION_THRESHOLD * rtt.probe_timeout()
        first_sample_time = rtt.first_sample_time
        start_time, stop = self._start_time, self._stop
        established = False
        for train in lost:
            if train.first != stop and not (skipped and skipped.covers(stop, train.first)):
                start_time = None
            stop = train.first + train.count
            if not (train.ack_eliciting and train.in_flight) or train.mtu_probe:
                continue
            time_sent = train.time_sent
            if first_sample_time is None or time_sent < first_sample_time:
                continue
            if start_time is None:
                start_time = time_sent
            elif time_sent - start_time > duration:
                established = True
        self._start_time, self._stop = None if established else start_time, stop
        return established
