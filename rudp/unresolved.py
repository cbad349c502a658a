"""Packet numbers that an ACK could still tell something about.

Knows: what is outstanding, what was declared lost lately and may yet be acknowledged, which numbers were skipped, and
which ranges the last ACK had. Refuses to know: why a packet is lost, and whom it concerns.

    on_sent     O(1)
    skips       O(1)
    take        O(new ACK ranges + pieces resolved); ranges below all unresolved are skipped, so are repeated ones.
                `ranges_wanted` bounds the ranges while they resolve nothing
    forget      O(entries forgotten)

Sources: RFC 9000 section 13.1 (an ACK of what was never sent) and 21.4 (skipped numbers).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from rudp.congestion import RandomBits
from rudp.errors import ErrorCode, ProtocolError
from rudp.ranges import RangeSet
from rudp.sent_packets import SentPackets, SentTrain
from rudp.wire import MAX_ACK_RANGES, Ack

__all__ = ["Unresolved"]

# Trains declared lost are remembered for this many probe timeouts, and no more of them than this, fewer when
# nothing is outstanding: an idle connection should be small.
REMEMBERED_PROBE_TIMEOUTS: Final = 3
MAX_REMEMBERED: Final = 512
MAX_REMEMBERED_IDLE: Final = 16
# Runs of skipped packet numbers the peer is checked against (RFC 9000 section 21.4).
MAX_SKIPPED: Final = 32
# Bits of the packets between two skipped numbers: 512 to 1,023. A peer that acknowledges what never came, to be sent
# more than the path carries, can't know which to leave out. A connection of less than 512 packets skips none.
SKIP_BITS: Final = 9
# One for all, as an integer of this size is an object.
_FIRST_SKIP: Final = 1 << SKIP_BITS

# Ranges of ACKs that may be read for nothing, what each ACK and each piece it resolves make up for, and the newest
# ranges of an ACK that are read beyond that. ACKs repeat ranges, and late ones tell nothing; but one of 128 ranges that
# are never the same costs as much as five packets of data, and resolves nothing. What is new is among the newest of an
# honest receiver's ranges and resolves something, so it is heard in full; soon again, too, if it ever wasn't, since no
# more than MOST_VAIN is remembered.
MAX_VAIN: Final = 2048
MOST_VAIN: Final = MAX_VAIN + 256
RANGES_PER_ACK: Final = 16
RANGES_PER_PIECE: Final = 8
NEWEST_RANGES: Final = 32

_NO_RANGES: Final[tuple[tuple[int, int], ...]] = ()
# Until there is something to put in, all connections share these.
_NOTHING: Final = SentPackets()
_NONE_SKIPPED: Final = RangeSet()


class Unresolved:
    """The packet numbers of one connection whose fate is open. `outstanding` and `remembered` hold the trains."""

    __slots__ = (
        "_seen_ranges",
        "_skip_drawn",
        "_vain",
        "next_packet_number",
        "outstanding",
        "ranges_wanted",
        "remembered",
        "skip_at",
        "skipped",
    )

    def __init__(self) -> None:
        self.next_packet_number = 0
        self.outstanding = SentPackets()
        self.remembered = _NOTHING
        self.skipped = _NONE_SKIPPED
        self._seen_ranges = _NO_RANGES
        self._vain = 0
        # How many of its newest ranges the next ACK is to be read with.
        self.ranges_wanted = MAX_ACK_RANGES
        # The number that is skipped next, or at which that is drawn first.
        self.skip_at = _FIRST_SKIP
        self._skip_drawn = False

    def skips(self, packet_number: int, random: RandomBits) -> bool:
        """Whether `packet_number`, the next in line, is to be skipped (RFC 9000 section 21.4)."""
        if packet_number < self.skip_at:
            return False
        # The first time it only draws which.
        skips, self._skip_drawn = self._skip_drawn, True
        self.skip_at = packet_number + (1 << SKIP_BITS) + random.getrandbits(SKIP_BITS)
        return skips

    def on_sent(self, train: SentTrain) -> None:
        """File a train; the numbers left out since the one before count as skipped."""
        first, expected = train.first, self.next_packet_number
        if first != expected:
            assert first > expected, "packet numbers are never reused"
            if self.skipped is _NONE_SKIPPED:
                self.skipped = RangeSet()
            self.skipped.add(expected, first)
            if len(self.skipped) > MAX_SKIPPED:
                self.skipped.remove_below(self.skipped.first()[1])
        self.next_packet_number = first + train.count
        self.outstanding.add(train)

    def take(self, ack: Ack) -> tuple[list[SentTrain], list[SentTrain]]:
        """Remove what `ack` covers: of what is outstanding, and of what had been declared lost; both ascend.

        Raises ProtocolError when it acknowledges a packet number that was never sent.
        """
        if ack.largest_acknowledged >= self.next_packet_number:
            raise _never_sent(ack.largest_acknowledged)
        ranges = ack.ranges
        fresh: Sequence[tuple[int, int]] = ranges
        if len(ranges) > 1:
            fresh = self._news(ranges)
        if self.skipped.starts:
            self._refuse_skipped(fresh)
        spurious: list[SentTrain] = []
        outstanding = self.outstanding
        acked = outstanding.take(*fresh[0]) if len(fresh) == 1 else outstanding.take_all(fresh)
        if fresh and self.remembered.trains:
            spurious = self.remembered.take_all(fresh)
        # The next ACK repeats most of these ranges; what they cover is resolved.
        self._seen_ranges = ranges if len(ranges) > 1 and outstanding.trains else _NO_RANGES
        if self._vain or len(ranges) > RANGES_PER_ACK:
            made_up = RANGES_PER_ACK + RANGES_PER_PIECE * (len(acked) + len(spurious))
            self._vain = min(max(0, self._vain + len(ranges) - made_up), MOST_VAIN)
            self.ranges_wanted = MAX_ACK_RANGES if self._vain <= MAX_VAIN else NEWEST_RANGES
        return acked, spurious

    def _news(self, ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        """Those of an ACK's ranges that may resolve anything."""
        floor, seen = self._lowest(), self._seen_ranges
        if ranges[-1][1] <= floor:
            ranges = ranges[: bisect_left(ranges, -floor, key=_minus_stop)]
        if len(seen) > 1 and seen[1] in ranges:
            # Nearly always all that was told then, but for the newest of them, is told again, in a row.
            at = ranges.index(seen[1])
            stop = min(at + len(seen) - 1, len(ranges))
            if ranges[at:stop] == seen[1 : 1 + stop - at]:
                return [*ranges[:at], *ranges[stop:]]
        told = frozenset(seen)
        return [item for item in ranges if item not in told]

    def remember(self, lost: Iterable[SentTrain], now: float) -> None:
        """Keep what was declared lost and asked for an acknowledgement: one may come yet."""
        for train in lost:
            if train.ack_eliciting:
                train.time_lost = now
                if self.remembered is _NOTHING:
                    self.remembered = SentPackets()
                self.remembered.add(train)

    @property
    def remembers(self) -> bool:
        """Whether `forget` may have anything to do."""
        return bool(self.remembered.trains or self.skipped.starts)

    def forget(self, now: float, probe_timeout: float, largest_acknowledged: int) -> None:
        """Drop remembered trains that are too many or too old, and skipped numbers no ACK will meet."""
        remembered = self.remembered
        if remembered.oldest is not None:
            excess = len(remembered) - (MAX_REMEMBERED if len(self.outstanding) else MAX_REMEMBERED_IDLE)
            expiry = now - REMEMBERED_PROBE_TIMEOUTS * probe_timeout
            number = 0
            for train in remembered:
                if number >= excess and train.time_lost >= expiry:
                    break
                number += 1
            if number:
                remembered.drop_oldest(number)
        if self.skipped.starts:
            below = largest_acknowledged + 1
            for entry in (self.outstanding.oldest, remembered.oldest):
                if entry is not None and entry.first < below:
                    below = entry.first
            self.skipped.remove_below(below)

    def _refuse_skipped(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Raise for an ACK of a number that was skipped; `ranges` descend."""
        if not ranges:
            return
        # Those skipped are few, one in 512 at most: none lies beyond the newest range, and most ACKs end there.
        stop = ranges[0][1]
        if stop <= self.skipped.starts[0]:
            return
        for first, end in reversed(self.skipped.overlap(ranges[-1][0], stop)):
            # The newest range that begins below the end of those skipped is the one that may have some of them; the
            # oldest does at least.
            start, stop = ranges[bisect_left(ranges, 1 - end, key=_minus_start)]
            if stop > first:
                raise _never_sent(max(first, start))

    def _lowest(self) -> int:
        """The lowest packet number an ACK could still tell something about."""
        lowest = self.next_packet_number
        for train in (self.outstanding.oldest, self.remembered.oldest):
            if train is not None and train.first < lowest:
                lowest = train.first
        if self.skipped and self.skipped.starts[0] < lowest:
            lowest = self.skipped.starts[0]
        return lowest


def _minus_start(item: tuple[int, int]) -> int:
    """By this, and by the next, a sequence of ranges that descend ascends."""
    return -item[0]


def _minus_stop(item: tuple[int, int]) -> int:
    return -item[1]


def _never_sent(packet_number: int) -> ProtocolError:
    return ProtocolError(
        ErrorCode.PROTOCOL_VIOLATION, f"the peer acknowledged packet {packet_number}, which was never sent"
    )
