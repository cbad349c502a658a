"""Whether the peer is still there: idle timeout, keepalive, giving up, the bound on closing.

Knows: when something last arrived, when something was last sent that must be answered, and the configured limits.
Refuses to know: packets; round trips beyond the probe timeout it is told.

Sources: RFC 9000 section 10.1 (idle timeout: restarted by what arrives and by the first ack-eliciting packet sent
since); RFC 1122 section 4.2.3.5 (R2, giving up). Every operation is O(1).
"""

from __future__ import annotations

from typing import Final

from rudp.closing import Ending
from rudp.config import Config
from rudp.errors import ErrorCode, IdleTimeout, PeerUnresponsive
from rudp.wire import Close

__all__ = ["Liveness"]

# RFC 9000 section 10.1: at least three probe timeouts, so that a few losses don't end a connection.
MIN_PROBE_TIMEOUTS: Final = 3
# A writer held back by the peer's credit asks for a sign of life this often within an idle timeout, as TCP's zero
# window probes keep a connection with a slow reader alive (RFC 9293 section 3.8.6.1).
BLOCKED_PINGS: Final = 3


class Liveness:
    """Deadlines of one open connection; times in seconds."""

    __slots__ = (
        "_config",
        "_idle_timeout",
        "_last_ping",
        "closing_since",
        "last_received",
        "sent_since",
    )

    last_received: float
    """When an accepted packet came last; who notes that notes, too, that nothing was `sent_since`."""
    sent_since: float | None
    """When something ack-eliciting was sent first after that; None: nothing was. Who sends notes it."""

    def __init__(self, config: Config, now: float) -> None:
        self._config = config
        self._idle_timeout = config.idle_timeout
        self._last_ping = now
        self.on_received(now)
        # When the application closed and all of its data was acknowledged; bounds FIN-WAIT-2.
        self.closing_since: float | None = None

    def on_peer_idle_timeout(self, seconds: float) -> None:
        """The peer's idle timeout; the smaller of both counts, 0 is none."""
        if seconds:
            self._idle_timeout = min(seconds, self._idle_timeout or seconds)

    def on_received(self, now: float) -> None:
        """An accepted packet arrived."""
        self.last_received, self.sent_since = now, None

    def idle_deadline(self, probe_timeout: float) -> float | None:
        """When the connection ends for idleness."""
        timeout, least = self._idle_timeout, MIN_PROBE_TIMEOUTS * probe_timeout
        if not timeout:
            return None
        since = self.last_received if self.sent_since is None else self.sent_since
        return since + (timeout if timeout > least else least)

    def ping_deadline(self, blocked: bool, unacknowledged_since: float | None) -> float | None:
        """When a PING is due; `blocked` says that data waits for the peer's credit.

        None while an acknowledgement is awaited: probe timeouts ask for it, and each PING would put them off.
        """
        if unacknowledged_since is not None:
            return None
        interval = self._config.keepalive
        if blocked and self._idle_timeout:
            limit = self._idle_timeout / BLOCKED_PINGS
            interval = limit if interval is None else min(interval, limit)
        if interval is None:
            return None
        since = self.last_received if self.sent_since is None else self.sent_since
        return max(since, self._last_ping) + interval

    def takes_ping(self, now: float, blocked: bool, unacknowledged_since: float | None) -> bool:
        """Whether a PING is due by `ping_deadline`; the caller sends it then."""
        due = self.ping_deadline(blocked, unacknowledged_since)
        if due is None or now < due:
            return False
        self._last_ping = now
        return True

    def give_up_deadline(self, unacknowledged_since: float | None) -> float | None:
        """When unanswered data ends the connection."""
        return None if unacknowledged_since is None else unacknowledged_since + self._config.give_up_timeout

    def close_deadline(self) -> float | None:
        """When a close that the peer doesn't complete is cut short."""
        return None if self.closing_since is None else self.closing_since + self._config.close_timeout

    def next_deadline(self, probe_timeout: float, unacknowledged_since: float | None, blocked: bool) -> float | None:
        """The soonest of the four."""
        soonest = self.idle_deadline(probe_timeout)
        if unacknowledged_since is not None:
            give_up = unacknowledged_since + self._config.give_up_timeout
            if soonest is None or give_up < soonest:
                soonest = give_up
        if blocked or self._config.keepalive is not None:
            ping = self.ping_deadline(blocked, unacknowledged_since)
            if ping is not None and (soonest is None or ping < soonest):
                soonest = ping
        if self.closing_since is not None:
            closing = self.close_deadline()
            if closing is not None and (soonest is None or closing < soonest):
                soonest = closing
        return soonest

    def failure(
        self, now: float, probe_timeout: float, unacknowledged_since: float | None, pto_count: int
    ) -> Ending | None:
        """How the connection ends now, or None. Idleness ends silently (RFC 9000 section 10.1)."""
        give_up = self.give_up_deadline(unacknowledged_since)
        probes = self._config.give_up_probes
        if (give_up is not None and now >= give_up) or (probes is not None and pto_count >= probes):
            seconds = now - (unacknowledged_since if unacknowledged_since is not None else self.last_received)
            text = (
                f"the peer acknowledged nothing for {seconds:.1f} s, {pto_count} probe timeouts in a row; it or the "
                "network between is gone. Connect again, or raise give_up_timeout"
            )
            frame = Close(ErrorCode.UNRESPONSIVE, "no acknowledgement came", application=False)
            return Ending(frame, PeerUnresponsive(text, seconds=seconds, probes=pto_count))
        idle = self.idle_deadline(probe_timeout)
        if idle is not None and now >= idle:
            quiet, unanswered = now - self.last_received, unacknowledged_since is not None
            advice = "the peer or the network is gone: connect again"
            if not unanswered and self._config.keepalive is None:
                advice = "set keepalive to hold an idle connection open"
            text = (
                f"nothing arrived for {quiet:.1f} s, and idle_timeout is {self._idle_timeout:g} s (the smaller of both "
                f"sides'); {advice}"
            )
            return Ending(None, IdleTimeout(text))
        closing = self.close_deadline()
        if closing is not None and now >= closing:
            seconds = self._config.close_timeout
            text = f"the peer did not close its side within close_timeout, {seconds:g} s; all that was sent had arrived"
            frame = Close(ErrorCode.CLOSE_TIMEOUT, "close_timeout passed", application=False)
            return Ending(frame, PeerUnresponsive(text, seconds=seconds))
        return None
