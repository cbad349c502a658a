"""Trains that were sent and not yet resolved, and the data they carried.

Knows: runs of packet numbers, when and how big they were sent, what to send again if they are lost.
Refuses to know: why a packet is taken out (acknowledged, lost), what a control frame means, and time.

A train is one entry however many packets it has. Taking out a part of it leaves at most two smaller entries, made by
arithmetic: packet i of a train carries `payload_size` bytes from `offset + i * payload_size`, or from `offsets[i]`
where scattered losses are sent again. A cut makes one new train; the one that is cut becomes its lower part. A train
with control frames is a single packet and is never split.

    add       O(1)
    take      O(log n + entries touched), and a memmove of the list's tail (8 bytes an entry)
    take_all  the same of many ranges in one pass, with one memmove
    oldest    O(1);  iteration is oldest first

One plain list, no deque: an idle connection should cost an empty list. Its front goes by memmove too, which
for the thousand entries of the largest window is less than making one entry.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

__all__ = ["PathState", "SentPackets", "SentTrain"]

# Entries that ask for no acknowledgement (mostly bare ACKs). A peer that never acknowledges could otherwise
# make us collect them without end; the newest ones tell enough.
MAX_QUIET: Final = 256

_FIRST: Final = attrgetter("first")


class PathState(NamedTuple):
    """The state of the path when a train was sent; all pieces of a train share it.

    draft-cheng-iccrg-delivery-rate-estimation section 3.1.2; the last two are draft-ietf-ccwg-bbr's RS.lost, bytes lost
    so far, and RS.tx_in_flight, bytes in flight with the train.
    """

    delivered: int
    delivered_time: float
    first_sent_time: float
    is_app_limited: bool
    lost: int
    tx_in_flight: int


_UNKNOWN: Final = PathState(0, 0.0, 0.0, False, 0, 0)


@dataclass(slots=True, eq=False)
class SentTrain:
    """A run of consecutive packet numbers sent at one time, with what they carried.

    Every packet has `packet_size` bytes of UDP payload but the last one, which may have less; all have `size`.
    `stream_id` is -1 when the packets carried no run of one stream; then offset, payload_size, end_offset and fin mean
    nothing. `fin` rides on the last packet. `offsets` are those of packets that don't follow one another in the stream:
    then all are full, the lowest comes first, and none has the fin. `frames` is opaque here and belongs to a single
    packet. `ecn` is the mark it was sent with. `mtu_probe` marks a probe of the path MTU, whose loss says nothing of
    congestion (RFC 9000 section 14.4, RFC 8899 section 3).
    """

    first: int
    count: int
    time_sent: float
    packet_size: int
    size: int
    ack_eliciting: bool = True
    in_flight: bool = True
    stream_id: int = -1
    offset: int = 0
    payload_size: int = 0
    end_offset: int = 0
    fin: bool = False
    offsets: tuple[int, ...] = ()
    frames: tuple[Any, ...] = ()
    ecn: int = 0
    mtu_probe: bool = False
    path_state: PathState = _UNKNOWN
    # When it was declared lost, while it is remembered for that.
    time_lost: float = 0.0

    @property
    def stop(self) -> int:
        """One past the last packet number."""
        return self.first + self.count

    @property
    def last_size(self) -> int:
        """Bytes of UDP payload of the last packet."""
        return self.size - self.packet_size * (self.count - 1)

    def piece(self, first: int, stop: int) -> SentTrain:
        """Return packets [first, stop) of this train as a train of their own; O(1), O(packets) of scattered ones."""
        assert self.first <= first < stop <= self.stop, f"[{first}, {stop}) of [{self.first}, {self.stop})"
        has_last, count = stop == self.stop, stop - first
        offsets = self.offsets
        if offsets:
            offsets = offsets[first - self.first : stop - self.first]
            offset, end_offset = offsets[0], offsets[-1] + self.payload_size
            offsets = offsets if len(offsets) > 1 else ()
        else:
            offset = self.offset + (first - self.first) * self.payload_size
            end_offset = self.end_offset if has_last else self.offset + (stop - self.first) * self.payload_size
        return SentTrain(
            first,
            count,
            self.time_sent,
            self.packet_size,
            self.size - self.packet_size * (self.count - count) if has_last else self.packet_size * count,
            self.ack_eliciting,
            self.in_flight,
            self.stream_id,
            offset,
            self.payload_size,
            end_offset,
            self.fin and has_last,
            offsets,
            self.frames,
            self.ecn,
            self.mtu_probe,
            self.path_state,
            self.time_lost,
        )

    def split(self, at: int) -> SentTrain:
        """Keep the packets below number `at` and return the others as a train; O(1), O(packets) of scattered ones."""
        assert 0 < at - self.first < self.count, f"{at} does not cut [{self.first}, {self.stop})"
        rest = self.piece(at, self.first + self.count)
        kept = self.count = at - self.first
        self.size = self.packet_size * kept
        self.end_offset = rest.offset
        if self.offsets:
            self.end_offset = self.offsets[kept - 1] + self.payload_size
            self.offsets = self.offsets[:kept] if kept > 1 else ()
        self.fin = False
        return rest

    def ranges(self) -> list[tuple[int, int, bool]]:
        """What it carried of its stream, (start, stop, fin), ascending; O(1), O(packets) of scattered ones."""
        if not self.offsets:
            return [(self.offset, self.end_offset, self.fin)]
        size, found = self.payload_size, []
        start = stop = self.offset
        for offset in self.offsets:
            if offset != stop:
                found.append((start, stop, False))
                start = offset
            stop = offset + size
        found.append((start, stop, False))
        return found


# The list of what holds nothing yet, as what remembers losses does for most connections' whole life.
_NOTHING: Final[Any] = ()


class SentPackets:
    """Trains by packet number, ascending and without overlap; numbers may be skipped between them.

    `bytes_in_flight` sums the sizes of what counts as in flight, `ack_eliciting_in_flight` counts the packets
    that must be acknowledged, `quiet` the entries that are neither. `cuts`: how often a train was split so far.
    `trains` are for others to look at.
    """

    __slots__ = ("ack_eliciting_in_flight", "bytes_in_flight", "cuts", "quiet", "trains")

    def __init__(self) -> None:
        self.trains: list[SentTrain] = _NOTHING
        self.bytes_in_flight = 0
        self.ack_eliciting_in_flight = 0
        self.quiet = 0
        self.cuts = 0

    def add(self, train: SentTrain) -> None:
        """Append a train; its numbers lie above all others'."""
        trains, count = self.trains, train.count
        assert count == 1 or (count > 1 and not train.frames), "frames belong to a single packet"
        if trains:
            last = trains[-1]
            assert train.first >= last.first + last.count, "packet numbers only grow"
            trains.append(train)
        else:
            self.trains = [train]
        if train.in_flight:
            self.bytes_in_flight += train.size
        if train.ack_eliciting:
            self.ack_eliciting_in_flight += count
        elif not train.in_flight:
            self.quiet += 1
            if self.quiet > MAX_QUIET:
                self._forget_quiet()

    def take(self, start: int, stop: int) -> list[SentTrain]:
        """Remove and return, ascending, all that is held of [start, stop); trains at its ends are split."""
        trains = self.trains
        if not trains or stop <= trains[0].first:
            return []
        low = 0
        if trains[0].first < start:
            low = bisect_right(trains, start, key=_FIRST)
            if trains[low - 1].stop > start:
                low -= 1
        high = len(trains)
        if trains[-1].first >= stop:
            high = bisect_left(trains, stop, lo=low, key=_FIRST)
        if low == high:
            return []
        taken = trains[low:high]
        kept: list[SentTrain] = []
        head = taken[0]
        if head.first < start:
            taken[0] = self._cut(head, start)
            kept.append(head)
        tail = taken[-1]
        if tail.first + tail.count > stop:
            kept.append(self._cut(tail, stop))
        self._replace(low, high, kept)
        self._uncount(taken)
        return taken

    def take_all(self, ranges: Sequence[tuple[int, int]]) -> list[SentTrain]:
        """`take` of many ranges, which descend and don't overlap, as those of an ACK; what is taken ascends."""
        trains = self.trains
        count = len(trains)
        if not (trains and ranges):
            return []
        low = bisect_right(trains, ranges[-1][0], key=_FIRST)
        # The one before may reach into the lowest range.
        low = at = low - 1 if low else 0
        taken: list[SentTrain] = []
        kept: list[SentTrain] = []
        current: SentTrain | None = trains[at]
        for start, stop in reversed(ranges):
            if current is not None and current.first + current.count <= start:
                kept.append(current)
                at = self._next_met(at + 1, start, kept)
                current = trains[at] if at < count else None
            while current is not None and current.first < stop:
                if current.first < start:
                    kept.append(current)
                    current = self._cut(current, start)
                taken.append(current)
                if current.first + current.count > stop:
                    current = self._cut(current, stop)
                    break
                at += 1
                current = trains[at] if at < count else None
            if current is None:
                break
        if current is not None:
            kept.append(current)
            at += 1
        self._replace(low, at, kept)
        self._uncount(taken)
        return taken

    def _replace(self, low: int, high: int, kept: list[SentTrain]) -> None:
        """Have `kept` in place of the entries [low, high)."""
        self.trains[low:high] = kept
        if not self.trains:
            self.trains = _NOTHING

    def _next_met(self, at: int, start: int, passed: list[SentTrain]) -> int:
        """The first place from `at` on whose entry doesn't end before `start`; those before it go to `passed`."""
        trains = self.trains
        if at == len(trains) or trains[at].first + trains[at].count > start:
            return at
        found = bisect_right(trains, start, lo=at, key=_FIRST)
        if trains[found - 1].first + trains[found - 1].count > start:
            found -= 1
        passed += trains[at:found]
        return found

    def _cut(self, train: SentTrain, number: int) -> SentTrain:
        """`split`, after which there is an entry more."""
        self.cuts += 1
        self.quiet += not (train.ack_eliciting or train.in_flight)
        return train.split(number)

    def drop_oldest(self, number: int) -> None:
        """Forget the `number` oldest entries."""
        if number > 0:
            self._uncount(self.trains[:number])
            del self.trains[:number]

    def leave_path(self) -> None:
        """Stop counting what is held as in flight: it was sent on a path no longer used. O(n)."""
        for train in self.trains:
            if train.in_flight:
                train.in_flight = False
                if not train.ack_eliciting:
                    self.quiet += 1
        self.bytes_in_flight = 0

    def oldest_unacknowledged(self, packets: int) -> list[SentTrain]:
        """The oldest ack-eliciting packets, at most so many: what probes may repeat. All stay.

        Probes of the path MTU are left out: whoever sends them repeats them when they are due.
        """
        found = []
        for train in self.trains:
            if packets <= 0:
                break
            if train.ack_eliciting and not train.mtu_probe:
                found.append(train.piece(train.first, min(train.stop, train.first + packets)))
                packets -= train.count
        return found

    @property
    def oldest(self) -> SentTrain | None:
        """The entry with the lowest packet numbers."""
        return self.trains[0] if self.trains else None

    def __iter__(self) -> Iterator[SentTrain]:
        return iter(self.trains)

    def __len__(self) -> int:
        """How many entries are held."""
        return len(self.trains)

    def __repr__(self) -> str:
        return f"SentPackets({[(train.first, train.stop) for train in self.trains]})"

    def _uncount(self, taken: list[SentTrain]) -> None:
        size = asking = quiet = 0
        for train in taken:
            if train.in_flight:
                size += train.size
            if train.ack_eliciting:
                asking += train.count
            elif not train.in_flight:
                quiet += 1
        self.bytes_in_flight -= size
        self.ack_eliciting_in_flight -= asking
        self.quiet -= quiet

    def _forget_quiet(self) -> None:
        trains = self.trains
        quiet = [train.first for train in trains if not (train.ack_eliciting or train.in_flight)]
        keep_from = quiet[-(MAX_QUIET // 2)]
        self.trains = [t for t in trains if t.ack_eliciting or t.in_flight or t.first >= keep_from]
        self.quiet = MAX_QUIET // 2
