"""What one stream has to send: written bytes, what of them is lost, what is acknowledged.

Knows: offsets, chunks of bytes, which ranges were handed out, lost and acknowledged, and the fin.
Refuses to know: packets, credit (the caller passes the offset it may go up to), streams' ids, when to send.

    write       O(1): a large `bytes` is kept as it is, a small one waits in the tail; the rest is copied
    next_range  O(1) amortised: lost ranges first, lowest first, then new data; hands each range out once
    next_scattered, payloads   O(packets): the same of lost ranges, many at once
    slices      O(packets) in one comprehension inside a chunk, O(packets + chunks touched) across chunks
    on_acked    O(log n + ranges touched), frees the chunks of the acknowledged prefix
    on_lost     O(log n + ranges touched), puts back what is not acknowledged
    on_acked_all, on_lost_all  the same of all ranges that an ACK resolves, with little more for each than a comparison

Nothing costs in proportion to what is queued. Small writes are joined once: when they are handed out, or when
they amount to a large chunk, so that no packet collects its payload from many small pieces. Acknowledged
chunks stay behind a head index, empty, and are cut off when they are half of the list.

Sources: RFC 9000 sections 2.2 (stream data), 3.1 (sending part of a stream), 13.3 (what is sent again).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Final

from rudp.cuts import cut
from rudp.ranges import RangeSet

__all__ = ["SendBuffer"]

# Writes shorter than this (bytes) are joined: copying them costs less than cutting packets across their ends.
SMALL_WRITE: Final = 16 * 1024
# The tail of small writes becomes one chunk at this size (bytes), about a train, or at this many writes.
TAIL_SIZE: Final = 64 * 1024
TAIL_WRITES: Final = 4096
# A list that holds nothing, as most of an idle stream's: one for all.
_NOTHING: Final[Any] = ()
# Nor has most streams' ever lost anything.
_NO_RANGES: Final = RangeSet()


class SendBuffer:
    """The sending half of one stream.

    `written`: end of what the application wrote. `sent_up_to`: end of what was ever handed out, which is
    the final size of a reset stream. `acked_up_to`: end of the acknowledged prefix. All three are offsets
    in bytes. `fin_pending`: the fin waits to be handed out. `lost`: bytes that wait to be handed out again.
    """

    __slots__ = (
        "_acked",
        "_chunks",
        "_head",
        "_lost",
        "_starts",
        "_tail",
        "_tail_size",
        "acked_up_to",
        "fin_acked",
        "fin_pending",
        "fin_written",
        "is_reset",
        "lost",
        "sent_up_to",
        "written",
    )

    def __init__(self) -> None:
        self.written = 0
        self.sent_up_to = 0
        self.acked_up_to = 0
        self.fin_written = False
        self.fin_pending = False
        self.fin_acked = False
        self.is_reset = False
        self._lost = _NO_RANGES
        self.lost = 0
        # Acknowledged ranges above `acked_up_to`.
        self._acked = _NO_RANGES
        # chunks[i] holds the bytes from offset starts[i] on; those before `_head` are acknowledged and empty.
        self._chunks: list[bytes] = _NOTHING
        self._starts: list[int] = _NOTHING
        self._head = 0
        # Small writes not yet joined into a chunk, and not handed out: the last bytes before `written`.
        self._tail: list[bytes] = _NOTHING
        self._tail_size = 0

    @property
    def buffered(self) -> int:
        """Bytes held for the application: written and not in the acknowledged prefix."""
        return self.written - self.acked_up_to

    @property
    def pending(self) -> int:
        """Bytes waiting to be handed out, lost and new, ignoring the peer's credit."""
        return self.written - self.sent_up_to + self.lost

    @property
    def pieces(self) -> int:
        """Ranges waiting to be handed out, lost and new."""
        return len(self._lost) + (self.sent_up_to < self.written)

    @property
    def finished(self) -> bool:
        """Whether everything including the fin is acknowledged ("Data Recvd" of RFC 9000 section 3.1)."""
        return self.fin_acked and self.acked_up_to == self.written

    def can_send(self, max_offset: int) -> bool:
        """Whether `next_range` has something to hand out, given the offset the peer's credit reaches to."""
        if self.lost or self.sent_up_to < min(self.written, max_offset):
            return True
        return self.fin_pending and self.sent_up_to == self.written

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append to the stream; how many bytes. `bytes` are kept, others are copied: they may change afterwards."""
        assert not self.fin_written, "nothing can be written after the fin"
        assert not self.is_reset, "nothing can be written after a reset"
        chunk = data if type(data) is bytes else bytes(memoryview(data))
        size = len(chunk)
        # The first that waits is a chunk at once: mostly it goes alone.
        if self.sent_up_to < self.written and 0 < size < SMALL_WRITE:
            self.written += size
            if self._tail:
                self._tail.append(chunk)
                self._tail_size += size
                if self._tail_size >= TAIL_SIZE or len(self._tail) >= TAIL_WRITES:
                    self._close_tail()
            else:
                self._open_tail()
                self._tail.append(chunk)
                self._tail_size += size
        elif size:
            if self._tail:
                self._close_tail()
            self._append(chunk, self.written)
            self.written += size
        return size

    def finish(self) -> None:
        """End the stream where it is: the fin is sent with the last byte, or alone. Again: no effect."""
        if not self.fin_written and not self.is_reset:
            self.fin_written = self.fin_pending = True

    def finish_elsewhere(self) -> None:
        """The peer knows by other means (the connection's FIN) that the stream ends with what was written."""
        self.fin_written = self.fin_acked = True
        self.fin_pending = False

    def reset(self) -> None:
        """Drop everything but `sent_up_to`, the final size for RESET_STREAM (RFC 9000 section 4.5)."""
        self.is_reset = True
        self.fin_pending = self.fin_acked = False
        self.written = self.acked_up_to = self.sent_up_to
        self._lost = _NO_RANGES
        self.lost = 0
        self._acked = _NO_RANGES
        self._tail = _NOTHING
        self._tail_size = 0
        self._drop_chunks()

    def next_range(self, max_length: int, max_offset: int) -> tuple[int, int, bool] | None:
        """Hand out (offset, length, fin) to send now, or None.

        Lost ranges come first, lowest first, then new data, the latter not beyond `max_offset`. A range is
        all lost or all new: `sent_up_to` grows by the new bytes. A fin needs no credit: (offset, 0, True) is
        a bare one, and with `max_length` 0 nothing else can come.
        """
        if self.lost and max_length > 0:
            start, stop = self._lost.pop_first(max_length)
            self.lost -= stop - start
        else:
            start = self.sent_up_to
            stop = start + max_length
            if stop > self.written or stop > max_offset:
                most = self.written if self.written < max_offset else max_offset
                stop = most if most > start else start
            if start == stop and (self.lost or start != self.written or not self.fin_pending):
                return None
            self.sent_up_to = stop
            if stop > self.written - self._tail_size:
                self._close_tail()
        fin = self.fin_pending and stop == self.written
        if fin:
            self.fin_pending = False
        return start, stop - start, fin

    def next_scattered(self, size: int, most: int) -> list[int]:
        """Hand out lost ranges, lowest first, as the offsets of at most `most` packets of `size` bytes.

        Those that are whole packets; nothing where a single range is lost, which `next_range` hands out as well.
        """
        lost = self._lost
        if len(lost.starts) < 2:
            return []
        offsets: list[int] = []
        for start, stop in lost:
            if (stop - start) % size or len(offsets) >= most or (self.fin_pending and stop == self.written):
                break
            end = start + (most - len(offsets)) * size
            offsets += range(start, stop if stop < end else end, size)
        if offsets:
            lost.remove_below(offsets[-1] + size)
            self.lost -= len(offsets) * size
        return offsets

    def payloads(self, offsets: Sequence[int], size: int) -> list[memoryview | bytes]:
        """`size` bytes from each of `offsets`, as `slices` has them; O(offsets), which ascend."""
        found: list[memoryview | bytes] = []
        begin = end = 0
        for offset in offsets:
            if offset + size > end:
                index = bisect_right(self._starts, offset, self._head) - 1
                view = memoryview(self._chunks[index])
                begin = self._starts[index]
                end = begin + len(view)
                if offset + size > end:
                    found += self.slices(offset, size, size)
                    continue
            found.append(view[offset - begin : offset - begin + size])
        return found

    def slices(self, offset: int, length: int, payload_size: int) -> Sequence[memoryview | bytes]:
        """Payloads of consecutive packets that carry [offset, offset + length), `payload_size` bytes each.

        The last may be shorter; a bare fin (length 0) is one empty payload. They are views into the chunks,
        or copies where a packet straddles chunks.
        """
        assert payload_size > 0, "a packet carries at least one byte"
        if not length:
            return [b""]
        assert self.acked_up_to <= offset, "acknowledged bytes are gone"
        assert offset + length <= self.sent_up_to, "bytes must be handed out before they are sent"
        first = bisect_right(self._starts, offset, self._head) - 1
        chunk = self._chunks[first]
        base = offset - self._starts[first]
        if base + length > len(chunk):
            return self._slices_across(first, base, length, payload_size)
        if length <= payload_size:
            return [chunk if length == len(chunk) else memoryview(chunk)[base : base + length]]
        return cut(memoryview(chunk)[base : base + length], payload_size, 0, payload_size, -(-length // payload_size))

    def on_acked(self, offset: int, stop: int, fin: bool) -> int:
        """[offset, stop), and the fin if `fin`, arrived. Returns how many bytes that is news of."""
        if self.is_reset:
            return 0
        assert offset <= stop <= self.sent_up_to, "only what was sent can be acknowledged"
        if fin:
            assert self.fin_written, "the fin was never sent"
            assert stop == self.written, "the fin ends the stream"
            self.fin_acked = True
            self.fin_pending = False
        prefix = self.acked_up_to
        offset = offset if offset > prefix else prefix
        if stop <= offset:
            return 0
        if self.lost:
            self._take_off_lost(offset, stop)
        acked = self._acked
        if offset > prefix and (not acked.starts or offset > acked.stops[-1]):
            # Behind a gap, as it comes in order after a loss.
            if acked.starts:
                acked.starts.append(offset)
                acked.stops.append(stop)
            else:
                self._acked = RangeSet(((offset, stop),))
            return stop - offset
        if acked.starts:
            newly_acked = sum([high - low for low, high in acked.missing(offset, stop)])
            acked.add(offset, stop)
            if acked.starts[0] > prefix:
                return newly_acked
            prefix = acked.stops[0]
            acked.remove_below(prefix)
        else:
            newly_acked = stop - prefix
            prefix = stop
        self.acked_up_to = prefix
        self._free_chunks()
        return newly_acked

    def on_lost(self, offset: int, stop: int, fin: bool) -> None:
        """[offset, stop), and the fin if `fin`, must be sent again, unless it is acknowledged already."""
        if self.is_reset:
            return
        assert offset <= stop <= self.sent_up_to, "only what was sent can be lost"
        if fin and not self.fin_acked:
            assert self.fin_written, "the fin was never sent"
            self.fin_pending = True
        if self._lost is _NO_RANGES:
            self._lost = RangeSet()
        lost, prefix = self._lost, self.acked_up_to
        for low, high in self._acked.missing(offset if offset > prefix else prefix, stop):
            if not lost.stops or low >= lost.stops[-1]:
                self.lost += high - low
            else:
                self.lost += sum([b - a for a, b in lost.missing(low, high)])
            lost.add(low, high)

    def on_acked_all(self, ranges: Sequence[tuple[int, int, bool]]) -> None:
        """`on_acked` of many ranges, (offset, stop, fin), in one pass."""
        if len(ranges) == 1:
            offset, stop, fin = ranges[0]
            self.on_acked(offset, stop, fin)
            return
        for item in ranges:
            if item[2]:
                self.on_acked(*item)
        prefix = self.acked_up_to
        # None of them empty, as a bare fin is.
        news = [item for item in ranges if prefix < item[1] > item[0] and not item[2]]
        if self.is_reset or not news:
            return
        if self.lost:
            for offset, stop, _ in news:
                self._take_off_lost(offset, stop)
        starts, stops, _ = map(list, zip(*news, strict=True))
        assert max(stops) <= self.sent_up_to, "only what was sent can be acknowledged"
        if self._acked is _NO_RANGES:
            self._acked = RangeSet()
        acked = self._acked
        acked.unite(starts, stops)
        if acked.starts[0] <= prefix:
            self.acked_up_to = acked.stops[0]
            acked.remove_below(self.acked_up_to)
            self._free_chunks()

    def on_lost_all(self, ranges: Sequence[tuple[int, int, bool]]) -> None:
        """`on_lost` of many ranges, (offset, stop, fin), in one pass."""
        acked, prefix = self._acked, self.acked_up_to
        starts: list[int] = []
        stops: list[int] = []
        for offset, stop, fin in ranges:
            at = bisect_right(acked.stops, offset)
            if fin or offset < prefix or offset == stop or (at < len(acked.starts) and acked.starts[at] < stop):
                self.on_lost(offset, stop, fin)
            else:
                starts.append(offset)
                stops.append(stop)
        if not starts or self.is_reset:
            return
        assert max(stops) <= self.sent_up_to, "only what was sent can be lost"
        if self._lost is _NO_RANGES:
            self._lost = RangeSet()
        self._lost.unite(starts, stops)
        self.lost = self._lost.total()

    def repeat_first(self, size: int) -> None:
        """The first `size` bytes that are not acknowledged are sent again, if they were sent."""
        self.on_lost(self.acked_up_to, min(self.acked_up_to + size, self.sent_up_to), False)

    def _take_off_lost(self, offset: int, stop: int) -> None:
        """What arrived after all need not be sent again."""
        for low, high in self._lost.overlap(offset, stop):
            self.lost -= high - low
            self._lost.remove(low, high)

    def _open_tail(self) -> None:
        """Begin to gather small writes, with the one before if nothing of it was handed out."""
        self._tail = []
        if self._starts[-1] == self.sent_up_to and len(self._chunks[-1]) < SMALL_WRITE:
            del self._starts[-1]
            self._tail.append(self._chunks.pop())
            self._tail_size = len(self._tail[0])

    def _close_tail(self) -> None:
        tail = self._tail
        chunk = tail[0] if len(tail) == 1 else b"".join(tail)
        self._append(chunk, self.written - len(chunk))
        self._tail, self._tail_size = _NOTHING, 0

    def _append(self, chunk: bytes, start: int) -> None:
        if self._chunks:
            self._chunks.append(chunk)
            self._starts.append(start)
        else:
            self._chunks, self._starts = [chunk], [start]

    def _slices_across(self, first: int, base: int, length: int, size: int) -> Sequence[memoryview | bytes]:
        """`slices` of a run that begins at `base` in chunk `first` and ends in a later one."""
        chunks, starts = self._chunks, self._starts
        end = starts[first] + base + length
        last = bisect_left(starts, end, first) - 1
        pieces = [memoryview(chunk) for chunk in chunks[first : last + 1]]
        pieces[0] = pieces[0][base:]
        pieces[-1] = pieces[-1][: end - starts[last]]
        if len(pieces) * size * 2 > length:
            # Hardly a packet lies inside one chunk: join once, then cut.
            joined = memoryview(b"".join(pieces))
            return cut(joined, size, 0, size, -(-length // size))
        payloads: list[memoryview | bytes] = []
        rest: list[memoryview] = []
        lacking = 0
        for view in pieces:
            if rest:
                # The packet that the previous chunks left unfinished.
                rest.append(view[:lacking])
                if len(view) < lacking:
                    lacking -= len(view)
                    continue
                payloads.append(b"".join(rest))
                rest, view = [], view[lacking:]
            whole = len(view) - len(view) % size
            payloads += cut(view, size, 0, size, whole // size)
            if whole < len(view):
                rest = [view[whole:]]
                lacking = size - (len(view) - whole)
        if rest:
            payloads.append(rest[0] if len(rest) == 1 else b"".join(rest))
        return payloads

    def _free_chunks(self) -> None:
        """Let go of the chunks that end in the acknowledged prefix."""
        chunks, starts, head = self._chunks, self._starts, self._head
        prefix = self.acked_up_to
        if prefix == self.written - self._tail_size:
            self._drop_chunks()
            return
        keep = bisect_right(starts, prefix, head) - 1
        if keep == head:
            return
        if keep * 2 >= len(chunks):
            del chunks[:keep], starts[:keep]
            self._head = 0
        else:
            chunks[head:keep] = [b""] * (keep - head)
            self._head = keep

    def _drop_chunks(self) -> None:
        self._chunks = _NOTHING
        self._starts = _NOTHING
        self._head = 0
