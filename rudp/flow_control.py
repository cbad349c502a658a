"""Credit: how far the peer may send, and how far this side may.

Knows: byte totals, the window and its bounds, how fast the application reads.
Refuses to know: what the totals are of. A stream's total is its highest offset, a connection's is the sum
over its streams, kept by the caller; one pair of classes serves both.

    ReceiveWindow   check a total that arrived, grow with the reader, say when to tell the peer of new credit
    SendWindow      credit granted by the peer, and how much of it is used

Everything is O(1). The receive window is sized as in dynamic right-sizing (Fisk and Feng, 2001): what the
application reads in one round trip is bandwidth times delay as it is now. While that is more than a quarter of
the window, the window doubles: new credit takes a round trip to show, and a sender in slow start doubles in that time,
and again in the next, so that with less it would wait for credit. So a window ends at four to eight times bandwidth
times delay. What waits beyond a gap counts as well: where much is lost, a packet is lost again when it is repeated, and
a window that holds less than some round trips is full while the gap is mended. An application that reads slowly gets no
larger one, nor does a path that the window doesn't limit.

Whom the window limits stands still when the frame that tells of more is lost, for the round trips that it takes to
notice. So while less has been read than a window holds that has room to grow, as at the start of a transfer, the peer
is told at each sixteenth that arrives, two to four times a round trip. Later a quarter is news enough, but where
something is missing, all that was granted is told again at each sixteenth that arrives beyond it: 1 Gbit/s at 200 ms
with 20 % lost both ways stood still for half a second, over and over, and carried 0.88 of what passes, and 0.94 now.

How many calls bytes come by makes no difference: a path may merge and split what it carries, and a reader take it in
pieces. So it doubles by what there is in all, not by a call, and a round begins after all that is read at one instant.

Sources: RFC 9000 section 4 (flow control), RFC 9293 section 3.8.6.2.2 (receiver's silly window avoidance).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from rudp.errors import ErrorCode, ProtocolError
from rudp.never import NEVER_YET

__all__ = ["LEAST_ROUND", "ReceiveWindow", "SendWindow", "connection_window", "stream_maximum"]

# Seconds. Event loops wake, read and answer in batches of about this grain: credit can't turn around faster,
# however short the path, so a shorter round trip says nothing about the window needed.
LEAST_ROUND: Final = 0.004
# Parts of a window that are news, at the start and later.
START_PART: Final = 16
PART: Final = 4
# Bytes. Less new credit than half a window and than a common packet is a silly window (RFC 9293 3.8.6.2.2).
COMMON_PACKET: Final = 1200
# Times all that was read that is granted at most beyond a gap: six round trips of doubling. With half of it one in
# three starts at 1 Gbit/s and 200 ms stood still with 20 % lost both ways.
AHEAD: Final = 64


class ReceiveWindow:
    """Credit granted to the peer.

    `max_data`: total the peer may send, as told to it. `window`: bytes granted beyond what is consumed.
    `maximum`: bound of `window`. `consumed`: total the application has read, or that was dropped on its
    behalf. Below `quiet_up_to`, with what has arrived beyond a gap, and within a round trip (LEAST_ROUND at least)
    from `round_start` on, what is read adds to `consumed` and changes nothing else: that is nearly all, and who counts
    it needs no call.
    """

    # fmt: off
    __slots__ = (
        "_next_round", "_round_consumed", "_round_window", "consumed", "max_data", "maximum", "quiet_up_to",
        "round_start", "window",
    )
    # fmt: on

    def __init__(self, initial: int, maximum: int) -> None:
        assert 0 <= initial <= maximum, "the first window lies within its bound"
        self.max_data = initial
        self.window = initial
        self.maximum = maximum
        self.consumed = 0
        # When the round being measured began, seconds; `consumed` and `window` then.
        self.round_start = NEVER_YET
        self._round_consumed = 0
        self._round_window = initial
        # The instant after which the next one begins.
        self._next_round: float | None = None
        self._set_quiet()

    def check(self, total: int) -> None:
        """Raise ProtocolError(FLOW_CONTROL_ERROR) if `total` exceeds the grant (RFC 9000 section 4.1)."""
        if total > self.max_data:
            raise ProtocolError(
                ErrorCode.FLOW_CONTROL_ERROR, f"peer sent up to {total} and was granted {self.max_data}"
            )

    def on_consumed(self, size: int, now: float, rtt: float, ahead: int = 0) -> bool:
        """The application has read `size` bytes at `now`; whether the window grew.

        `rtt` is the smoothed round trip (seconds). `ahead`: bytes that have arrived beyond a gap and so can't be read.
        """
        begins = self._next_round
        if begins is not None and now > begins:
            self.round_start, self._round_consumed, self._round_window = begins, self.consumed, self.window
            self._next_round = None
            self._set_quiet()
        self.consumed += size
        if self.round_start == NEVER_YET:
            self._next_round = now
            return False
        elapsed = now - self.round_start
        least = rtt if rtt > LEAST_ROUND else LEAST_ROUND
        if elapsed < least / 2:
            return False
        # What was read before the round is over is bandwidth times delay at least. A backlog read at once would be
        # taken for it too, so half of the round has to have passed.
        needed: float = self.consumed - self._round_consumed
        if elapsed >= least:
            needed *= least / elapsed
            self._next_round, self.quiet_up_to = now, 0
        needed += ahead
        return needed * 4 > self.window and self._grow(needed, self._round_window * 4)

    def on_ahead(self, ahead: int) -> bool:
        """So many bytes have arrived beyond a gap, and all before it is read; whether the window grew.

        A sender that doubles each round trip would otherwise stand still until the gap is mended, a round trip or two.
        An application that was given little to read is not known to read: it is granted AHEAD times what it has read.
        """
        return ahead * 4 > self.window and self._grow(ahead, self.consumed * AHEAD)

    def repeats(self, ahead: int, news: int) -> bool:
        """Whether to tell the peer once more, of credit that it was told already; the last `news` of `ahead` are new.

        Beyond a gap nothing is read, so that no other grant follows, if the one that was told is lost.
        """
        if not self.window < self.max_data:
            return False
        step, total = self._news(START_PART), self.consumed + ahead
        return total // step > (total - news) // step

    def _grow(self, needed: float, most: int) -> bool:
        """Double the window until what is needed is no more than a quarter of it, up to `most`; whether it grew."""
        before = window = self.window
        most = min(most, self.maximum)
        while needed * 4 > window < most:
            window = min(window * 2, most)
        if window == before:
            return False
        self.window = window
        self._set_quiet()
        return True

    def on_discarded(self, size: int) -> None:
        """`size` bytes were dropped unread: credit for them comes back, and the window doesn't grow by it."""
        self.consumed += size
        self._round_consumed += size

    def update_due(self) -> int | None:
        """The new `max_data` to tell the peer, granted by this call; None while it would be a silly update."""
        return None if self.consumed < self._due_at() else self.grant()

    def grant(self) -> int:
        """All the credit there is, granted by this call, be it little: for who tells the peer in any case."""
        self.max_data = self.consumed + self.window
        self._set_quiet()
        return self.max_data

    def _set_quiet(self) -> None:
        """Up to which total no credit is due, and the window won't grow in the round that is measured."""
        due, much = self._due_at(), self._round_consumed + self.window // 4 + 1
        self.quiet_up_to = 0 if self._next_round is not None else due if due < much else much

    def _due_at(self) -> int:
        """New credit is due when it is a quarter of the window more than the peer was told, and no silly little.

        That is at least half the window or a packet. At the start it is a sixteenth.
        """
        window = self.window
        part = START_PART if self.max_data <= 2 * window < 2 * self.maximum else PART
        return self.max_data - window + self._news(part)

    def _news(self, part: int) -> int:
        """That part of the window, but no silly little."""
        least = self.window // part
        return least if least >= COMMON_PACKET else max(min(self.window // 2, COMMON_PACKET), 1)


class SendWindow:
    """Credit granted by the peer. `limit`: total this side may send. `used`: total it has sent."""

    __slots__ = ("limit", "used")

    def __init__(self, initial: int) -> None:
        self.limit = initial
        self.used = 0

    @property
    def available(self) -> int:
        """Bytes that may still be sent."""
        return self.limit - self.used

    def raise_to(self, maximum: int) -> bool:
        """The peer grants up to `maximum`. A smaller one arrived late and is ignored (RFC 9000 section 4.1).

        Returns whether there is more credit than before.
        """
        if maximum <= self.limit:
            return False
        self.limit = maximum
        return True


@lru_cache(maxsize=16)
def connection_window(initial: int, maximum: int) -> int:
    """Bytes of credit a connection starts with, from a stream's and the bound.

    One and a half times a stream's, so that one stalled stream does not hold up the others. Connections share the
    number, as they do the next.
    """
    return min(initial * 3 // 2, maximum)


@lru_cache(maxsize=16)
def stream_maximum(initial: int, maximum: int) -> int:
    """Bytes that a stream's window may grow to: two thirds of the connection's."""
    return max(initial, maximum * 2 // 3)
