"""How many streams of each kind either side may open, and how soon the peer may open more than it has.

Knows: streams opened by both sides, the limits on them, how fast the peer opened and reset streams lately, the credit
that it is owed and when it is due.
Refuses to know: single streams; time, but for what `pay` is told.

A stream costs who opens it a few bytes, and this side a stream, its events and whatever the application begins for it.
So MAX_STREAMS, which admits another stream for each that has ended, comes no faster than `max_stream_opens` a second:
beyond that it is owed, and paid in time. A peer that is faster than that is slowed, whatever it means, and none is cut
off but one that doesn't heed its limit. A stream that the peer resets unasked costs more (CVE-2023-44487, "rapid
reset", in HTTP/2): as many as there are to one of `max_stream_resets`. Who has said FIN opens no more, so nothing is
owed to it.

Sources: RFC 9000 sections 2.1, 4.6, 19.11. Every operation is O(1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from rudp.config import Config
from rudp.control import ControlQueue
from rudp.errors import ErrorCode, ProtocolError, StreamLimitReached
from rudp.stream import with_kind
from rudp.wire import MaxStreams

__all__ = ["BIDI", "UNI", "StreamLimits"]

BIDI: Final = 0
UNI: Final = 1
KINDS: Final = ("bidirectional", "unidirectional")
# Seconds. What is granted in this time is granted without a look at the clock, so twice as much comes at once after a
# pause: the first is held against the pause as well.
BURST: Final = 0.05
# Seconds. What is owed is paid in parts of about this much: timers have a grain, and a frame for each stream is dear.
GRAIN: Final = 0.004


@lru_cache(maxsize=256)
def _pair(bidirectional: int, unidirectional: int) -> tuple[int, int]:
    """One for all connections whose peers say the same, as most do."""
    return bidirectional, unidirectional


class StreamLimits:
    """Limits on the number of streams of one connection; pairs are (bidirectional, unidirectional).

    `owed`: streams that have ended and that the peer may not yet replace. `due`: when some of them are paid, seconds;
    None while none are owed.
    """

    # fmt: off
    __slots__ = (
        "_config", "_control", "_finished", "_limit_met", "_spent", "_spent_at", "due", "max_streams_mine",
        "max_streams_peer", "opened_by_me", "opened_by_peer", "owed",
    )
    # fmt: on

    def __init__(self, config: Config, control: ControlQueue, *, is_client: bool) -> None:
        self._config, self._control = config, control
        # Stream 0 is open on both sides from the start: one client-initiated bidirectional stream is counted already.
        self.opened_by_me, self.opened_by_peer = ((1, 0), (0, 0)) if is_client else ((0, 0), (1, 0))
        self.max_streams_peer = (0, 0)
        self.max_streams_mine = _pair(config.max_streams_bidi, config.max_streams_uni)
        self._limit_met = (False, False)
        self.owed = (0, 0)
        self.due: float | None = None
        # Streams' worth of what was granted and not yet made up for by time, as of `_spent_at` (seconds).
        self._spent = 0.0
        self._spent_at = 0.0
        # The peer opens no more.
        self._finished = False

    # -- this side's -------------------------------------------------------------------------------------------

    def open(self, kind: int) -> int:
        """The number of a stream that this side opens. Raises StreamLimitReached when the peer admits none now."""
        count = self.opened_by_me[kind]
        if count >= self.max_streams_peer[kind]:
            self._limit_met = with_kind(self._limit_met, kind, True)
            raise StreamLimitReached(
                f"the peer admits {self.max_streams_peer[kind]} {KINDS[kind]} streams at a time and all are in use; "
                "wait until one has ended, or let the peer's configuration admit more"
            )
        self.opened_by_me = with_kind(self.opened_by_me, kind, count + 1)
        return count

    def on_max_streams(self, kind: int, maximum: int) -> bool:
        """MAX_STREAMS received; whether an application waits for it."""
        if maximum <= self.max_streams_peer[kind]:
            return False
        self.max_streams_peer = _pair(*with_kind(self.max_streams_peer, kind, maximum))
        waited = self._limit_met[kind]
        if waited:
            self._limit_met = with_kind(self._limit_met, kind, False)
        return waited

    # -- the peer's --------------------------------------------------------------------------------------------

    def open_by_peer(self, kind: int, count: int) -> range:
        """The peer has opened `count` streams of a kind in all; the numbers of those that are new."""
        most = self.max_streams_mine[kind]
        if count > most:
            raise ProtocolError(ErrorCode.STREAM_LIMIT_ERROR, f"{count} streams, {most} admitted")
        known = self.opened_by_peer[kind]
        if count > known:
            self.opened_by_peer = with_kind(self.opened_by_peer, kind, count)
        return range(known, count)

    def on_reset(self) -> None:
        """The peer reset a stream of its own without being asked to."""
        config = self._config
        self._spent += max(1.0, config.max_stream_opens / config.max_stream_resets) - 1.0
        self._note_due()

    def on_ended(self, kind: int) -> None:
        """A stream of the peer's has ended: it may open another, now or in time."""
        if self._finished:
            return
        if self.due is None and self._spent + 1 <= self._burst:
            self._grant(kind, 1)
        else:
            self.owed = with_kind(self.owed, kind, self.owed[kind] + 1)
            self._note_due()

    def finish(self) -> None:
        """The peer has said FIN and so opens no more streams: it is admitted no more, nor is any owed."""
        self._finished = True
        self.owed, self.due = (0, 0), None

    def pay(self, now: float) -> None:
        """Grant what is due of what is owed."""
        due = self.due
        if due is None or now < due:
            return
        self._spent = max(0.0, self._spent - (now - self._spent_at) * self._config.max_stream_opens)
        self._spent_at = now
        bidi, uni = self.owed
        # At the time that was reckoned for a part all of it goes, whatever rounding makes of that.
        count = min(bidi + uni, max(self._part, int(self._burst - self._spent)))
        half = (count + (sum(self.max_streams_mine) & 1)) // 2
        first = min(bidi, max(half, count - uni))
        self.owed = (bidi - first, uni - (count - first))
        self._grant(BIDI, first)
        self._grant(UNI, count - first)
        self._note_due()

    @property
    def _burst(self) -> float:
        """Streams' worth that may be spent without a look at the clock."""
        return max(1.0, self._config.max_stream_opens * BURST)

    @property
    def _part(self) -> int:
        """Streams of those owed that are paid together."""
        return min(sum(self.owed), max(1, int(self._config.max_stream_opens * GRAIN)))

    def _note_due(self) -> None:
        part = self._part
        missing = self._spent + part - self._burst
        self.due = self._spent_at + max(0.0, missing) / self._config.max_stream_opens if part else None

    def _grant(self, kind: int, count: int) -> None:
        if count:
            self._spent += count
            self.max_streams_mine = with_kind(self.max_streams_mine, kind, self.max_streams_mine[kind] + count)
            self._control.put(MaxStreams(self.max_streams_mine[kind], bool(kind)))
