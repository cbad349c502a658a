"""When one connection must be looked at next.

Knows: who has a deadline (loss detection and probes, idleness, keepalive, giving up, an ACK held back, the pacer, a
challenge to a path, streams that the peer may open in time), and which of them ask for more than "let the next train
go". Refuses to know: what is done then.

    next            O(1)
    acts_at         a wake-up before it is for the next train alone, which saves most of its cost
"""

from __future__ import annotations

from rudp.liveness import Liveness
from rudp.outbound import NEVER, UNKNOWN, Outbound
from rudp.path import Paths
from rudp.recovery import Recovery
from rudp.streams import Streams

__all__ = ["Deadlines"]


class Deadlines:
    """The soonest of all deadlines of an open connection."""

    __slots__ = ("_awaited", "_blocked", "_liveness", "_outbound", "_paths", "_recovery", "_streams", "acts_at")

    acts_at: float
    """The soonest of all deadlines but those that only let the next train go, or earlier."""

    def __init__(
        self, liveness: Liveness, recovery: Recovery, streams: Streams, paths: Paths, outbound: Outbound
    ) -> None:
        self._liveness = liveness
        self._recovery = recovery
        self._streams = streams
        self._paths = paths
        self._outbound = outbound
        self.acts_at = UNKNOWN
        # Whether an acknowledgement was awaited when that was reckoned, and if not, whether data waited for credit.
        self._awaited = self._blocked = False

    def invalidate(self) -> None:
        """Something happened: what was computed before it proves nothing."""
        self.acts_at = self._outbound.quiet_until = UNKNOWN

    def next(self, now: float) -> float | None:
        """When something is due; None: never."""
        release = self._outbound.next_timeout(now)
        # No comparison whose result is kept: CPython 3.11 doesn't specialise it.
        awaited, blocked = True, False
        if not self._recovery.sent_packets.ack_eliciting_in_flight:
            awaited, blocked = False, self._streams.turns.flow_blocked
        soonest = self.acts_at
        # What was sent since, and plain data that came, has only put off the others, unless it is the first to await an
        # acknowledgement, or what waits found no credit. So they are reckoned again when the clock is where they were.
        if soonest <= now or awaited is not self._awaited or blocked is not self._blocked:
            soonest = self._soonest(blocked)
            self._awaited, self._blocked = awaited, blocked
            # A candidate path is given up by a timeout that its next challenge would be sent at.
            if self._paths.candidate is None:
                self.acts_at = soonest
        if release is not None and release < soonest:
            return release
        return None if soonest == NEVER else soonest

    def _soonest(self, blocked: bool) -> float:
        """The soonest of what asks for more than the next train; NEVER: nothing does."""
        recovery, streams = self._recovery, self._streams
        soonest = self._liveness.next_deadline(
            recovery.rtt.probe_timeout(), recovery.unacknowledged_since(), blocked
        )
        due = recovery.next_timeout()
        if due is not None and (soonest is None or due < soonest):
            soonest = due
        due = streams.limits.due
        if due is not None and (soonest is None or due < soonest):
            soonest = due
        return NEVER if soonest is None else soonest
