"""Proportional rate reduction: how much may be in flight while a loss is being answered (RFC 9937).

Knows, of one recovery period: the bytes it began with, those delivered and those sent since. Refuses to know
when a period begins and ends, and what the target is: its owner says so. Every operation costs O(1).

A window that falls to `ssthresh` at once stops the sender for half a round trip and then lets it go on in a burst.
PRR spreads the reduction over the round trip: of what is delivered, the share `ssthresh / RecoverFS` is sent. When
losses took more than the reduction would have, it sends as much as is delivered (the conservative reduction bound).

Not taken over: PRR-SSRB, one packet more for every ACK that moves SND.UNA and reveals no loss (section 6.2). That
is an ACK of a retransmission (section 9). Here the acknowledgement of anything sent during recovery ends the period
(RFC 9002 section 7.3.2), and the window is `ssthresh` at that moment.

Added: a loss timer may take bytes out of flight without an ACK. `window` then admits nothing but what was due
before, where an unchanged window would let a burst go in their place.
"""

from __future__ import annotations

__all__ = ["Prr"]


class Prr:
    """The state of RFC 9937 section 6, all of it bytes. It starts inactive."""

    __slots__ = ("_delivered", "_recover_flight", "_sent")

    def __init__(self) -> None:
        self._recover_flight = 0
        self._delivered = 0
        self._sent = 0

    @property
    def active(self) -> bool:
        """Whether a period is under way."""
        return self._recover_flight > 0

    def begin(self, recover_flight: int) -> None:
        """Start a period (section 6.1). `recover_flight`: bytes in flight before the ACK or timer that began it."""
        self._recover_flight = max(recover_flight, 1)
        self._delivered = 0
        self._sent = 0

    def end(self) -> None:
        """End it (section 6.4); the owner sets its window to its threshold."""
        self._recover_flight = 0

    def on_sent(self, sent_bytes: int) -> None:
        """Count what was sent (section 6.3)."""
        self._sent += sent_bytes

    def on_delivered(self, delivered_bytes: int) -> None:
        """Count what turned out to be delivered without having been in flight: it had been declared lost."""
        self._delivered += delivered_bytes

    def window(self, delivered_bytes: int, bytes_in_flight: int, ssthresh: int, packet: int) -> int:
        """Return the congestion window after an ACK that delivered so much, or after a loss timer (section 6.2).

        `packet` is the size of a full packet.
        """
        self._delivered += delivered_bytes
        if bytes_in_flight > ssthresh:
            share = -(-self._delivered * ssthresh // self._recover_flight)
            send = share - self._sent
        else:
            send = min(max(self._delivered - self._sent, delivered_bytes), ssthresh - bytes_in_flight)
        if not self._sent:
            # A first packet at once: what was lost goes out again without waiting for the share to grow to one.
            send = max(send, packet)
        return bytes_in_flight + send
