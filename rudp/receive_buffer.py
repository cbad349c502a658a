"""What arrived of one stream: bytes in order for the application, fragments out of order, the final size.

Knows: offsets, the bytes, where they end, and how many fragments it may hold.
Refuses to know: packets, credit (the caller compares `highest` with what it granted), stream ids, who waits.

    insert   O(1) in order or behind all there is, and keeps the object given; else O(log n + fragments touched)
    insert_all   O(pieces + fragments between the first and the last) in C: what fills many gaps comes in one run
    read     O(chunks taken): one large chunk as it is, or small ones joined
    discard  O(1)

Bytes in order wait in `_ready`, a list of chunks with a head index. Bytes out of order wait in
`_fragments`, sorted by offset, never overlapping; of bytes that arrive twice the first are kept. A fragment
costs far more than one byte, so the window bounds how many may be held, and small chunks in order are
joined. Data that begins at or before `contiguous` is always taken, so a full buffer never stands in the way
of its own progress.

Sources: RFC 9000 sections 2.2 (stream data), 3.2 (receiving part of a stream), 4.5 (final size).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import le
from typing import Any, Final, TypeAlias

from rudp.errors import BufferFull, ErrorCode, ProtocolError

__all__ = ["FragmentSpace", "Pieces", "ReceiveBuffer"]

Pieces: TypeAlias = tuple[Sequence[int], Sequence[bytes], Sequence[int]]
"""Where several pieces of a stream begin, the pieces, and where they end; at least one."""

# What a fragment is taken to cost beside its bytes (bytes), and how much of that is granted to any stream, and to all
# of a connection.
FRAGMENT_OVERHEAD: Final = 200
LEAST_FRAGMENT_SPACE: Final = 256 * 1024
# Fragments of all streams of a connection up to which no bound can be met.
FEW_FRAGMENTS: Final = LEAST_FRAGMENT_SPACE // FRAGMENT_OVERHEAD
# Fragments of a stream, or one for so many bytes of its window: one that comes in between moves all those behind it. At
# 20 % loss a fragment is five packets on average, and those of five round trips wait for a packet lost five times.
MAX_FRAGMENTS: Final = 8192
FRAGMENT_WINDOW: Final = 2048
# A chunk from this size on (bytes) is handed to the reader as it is, smaller ones are joined.
LARGE_CHUNK: Final = 16 * 1024
# So many chunks in order in a row that are each smaller than TINY_CHUNK become one.
TINY_CHUNK: Final = 512
TINY_RUN: Final = 64
# A chunk so joined is joined again until it has this size; a tiny fragment joins its neighbour up to this
# size.
JOINED_CHUNK: Final = 4096
# Lists of what came in and out of order, where nothing did: one for all. It is known by identity: another empty one may
# be in use.
_NOTHING: Final[Any] = ()


class FragmentSpace:
    """What all streams of a connection hold out of order: `held` fragments. `window`: the connection's, in bytes.

    A window of credit has room for a fragment every two bytes: without a sum over the streams a peer could have many
    times its credit held.
    """

    __slots__ = ("held", "window")

    def __init__(self, window: int) -> None:
        self.held = 0
        self.window = window

    def has_room(self, more: int) -> bool:
        """Whether so many fragments may be added."""
        return (self.held + more - 1) * FRAGMENT_OVERHEAD < max(self.window, LEAST_FRAGMENT_SPACE)


class ReceiveBuffer:
    """The receiving half of one stream.

    `contiguous`: offset up to which everything arrived. `highest`: offset up to which bytes are known to
    exist, for flow control. `read_offset`: offset up to which the application has read. `final_size`: None
    until known. `window`: bytes of credit the peer gets, by which the number of fragments held is bounded. `offsets`:
    where fragments begin that wait, and some that no longer do; empty if none waits.
    """

    __slots__ = (
        "_fragments",
        "_fragments_head",
        "_ready",
        "_ready_head",
        "_shared",
        "_skip",
        "_tiny_run",
        "contiguous",
        "final_size",
        "highest",
        "is_discarded",
        "offsets",
        "read_offset",
        "window",
    )

    def __init__(self, window: int = 0, shared: FragmentSpace | None = None) -> None:
        self._shared = shared or FragmentSpace(window)
        self.contiguous = 0
        self.highest = 0
        self.read_offset = 0
        self.final_size: int | None = None
        self.window = window
        self.is_discarded = False
        # Chunks in order; those before the head are read and empty; of the head `_skip` bytes are read.
        self._ready: list[bytes] = _NOTHING
        self._ready_head = 0
        self._skip = 0
        # How many of the last chunks are tiny.
        self._tiny_run = 0
        # fragments[i] begins at offsets[i] > contiguous; those before the head have moved to the chunks in
        # order.
        self.offsets: list[int] = _NOTHING
        self._fragments: list[bytes] = _NOTHING
        self._fragments_head = 0

    @property
    def readable(self) -> int:
        """Bytes that `read` can return now."""
        return self.contiguous - self.read_offset

    @property
    def fragments(self) -> int:
        """How many pieces wait out of order."""
        return len(self._fragments) - self._fragments_head

    @property
    def complete(self) -> bool:
        """Whether all bytes up to the final size arrived ("Data Recvd" of RFC 9000 section 3.2)."""
        return self.contiguous == self.final_size

    @property
    def at_eof(self) -> bool:
        """Whether all bytes up to the final size were read ("Data Read" of RFC 9000 section 3.2)."""
        return self.read_offset == self.final_size

    def insert(self, offset: int, data: bytes, fin: bool) -> None:
        """Take `data` at `offset`; with `fin` the stream ends after it.

        Raises ProtocolError(FINAL_SIZE_ERROR) when that contradicts the final size, BufferFull when it
        would take too many fragments; nothing has changed then.
        """
        stop = offset + len(data)
        if fin or self.final_size is not None:
            self._check_final_size(stop, fin)
        contiguous = self.contiguous
        if stop > contiguous and not self.is_discarded:
            offsets = self.offsets
            if offset == contiguous and not offsets:
                self._append(data)
            else:
                self._insert_ahead(offset, stop, data)
        if stop > self.highest:
            self.highest = stop
            if self.is_discarded:
                self.contiguous = self.read_offset = stop
        if fin:
            self.final_size = stop

    def append(self, data: bytes) -> None:
        """`insert` of what is next in order, where nothing waits out of order, no end is known and somebody reads."""
        assert not self.offsets
        assert self.final_size is None
        assert not self.is_discarded
        self._append(data)
        self.highest = self.contiguous

    def _insert_ahead(self, offset: int, stop: int, data: bytes) -> None:
        """Put in what isn't the next in order, or mends a gap."""
        offsets, held = self.offsets, len(self._fragments) - self._fragments_head
        if data and offset > (offsets[-1] + len(self._fragments[-1]) if offsets else self.contiguous):
            # Behind a gap, as it comes in order after a loss.
            if self._shared.held >= FEW_FRAGMENTS:
                self._check_space(held)
            self._hold_last(offset, data)
            self._shared.held += 1
        else:
            self._insert_out_of_order(offset, stop, data)
            self._shared.held += len(self._fragments) - self._fragments_head - held

    def insert_all(self, offsets: Sequence[int], pieces: Sequence[bytes], stops: Sequence[int]) -> None:
        """`insert` of several pieces without fin, each of which ends at its place in `stops`.

        Raises as that does; those before the one that it concerns have been put in then.
        """
        held, fragments, head = self.offsets, self._fragments, self._fragments_head
        number = len(fragments) - head
        # What is sent again comes before the end of what is held, and new data of the same train behind it.
        before = bisect_left(offsets, held[-1] + len(fragments[-1])) if number else 0
        if not (
            offsets[0] >= self.contiguous
            and all(map(le, stops, offsets[1:]))
            and min(map(len, pieces)) >= TINY_CHUNK
            and (self._shared.held + len(pieces) <= FEW_FRAGMENTS or self._has_room(len(pieces)))
            and self.final_size is None
            and not self.is_discarded
            and (not before or self._are_new(offsets[:before], stops))
        ):
            for offset, data in zip(offsets, pieces, strict=True):
                self.insert(offset, data, False)
            return
        at = head
        for offset, piece in zip(offsets[:before], pieces, strict=False):
            at = bisect_left(held, offset, at)
            held.insert(at, offset)
            fragments.insert(at, piece)
        if not held:
            self.offsets, self._fragments = list(offsets), list(pieces)
        elif before < len(offsets):
            held += offsets[before:]
            fragments += pieces[before:]
        if offsets[0] == self.contiguous:
            self._drain(head)
        self._shared.held += len(self._fragments) - self._fragments_head - number
        self.highest = max(self.highest, stops[-1])

    def _are_new(self, offsets: Sequence[int], stops: Sequence[int]) -> bool:
        """Whether pieces between those places would meet none of the fragments held."""
        held, fragments, head = self.offsets, self._fragments, self._fragments_head
        at = head
        for offset, stop in zip(offsets, stops, strict=False):
            at = bisect_right(held, offset, at)
            if (at > head and held[at - 1] + len(fragments[at - 1]) > offset) or (at < len(held) and held[at] < stop):
                return False
        return True

    def finish_at(self, size: int) -> None:
        """The stream ends at offset `size` (RESET_STREAM). Raises ProtocolError(FINAL_SIZE_ERROR)."""
        self._check_final_size(size, fin=True)
        self.final_size = self.highest = size
        if self.is_discarded:
            self.contiguous = self.read_offset = size

    def read(self, max_bytes: int) -> bytes:
        """Up to `max_bytes` bytes in order, b"" if there are none.

        A chunk of 16 KiB or more that fits comes as the object that arrived, smaller ones come joined.
        """
        assert max_bytes > 0, "a read asks for at least one byte"
        ready = self._ready
        if len(ready) == 1 and not self._skip and (size := len(data := ready[0])) <= max_bytes:
            # A single chunk that fits, as who reads all that comes has it.
            self.read_offset += size
            self._ready = _NOTHING
            self._tiny_run = 0
            return data
        head = self._ready_head
        if head == len(ready):
            return b""
        data = ready[head]
        size = len(data) - self._skip
        if size > max_bytes:
            data = data[self._skip : self._skip + max_bytes]
            self._skip += max_bytes
            self.read_offset += max_bytes
            return data
        if self._skip:
            data = data[self._skip :]
            self._skip = 0
        stop = head + 1
        if size < LARGE_CHUNK:
            while (
                stop < len(ready) and len(ready[stop]) < LARGE_CHUNK and size + len(ready[stop]) <= max_bytes
            ):
                size += len(ready[stop])
                stop += 1
            if stop > head + 1:
                data = b"".join([data, *ready[head + 1 : stop]])
        self.read_offset += size
        if stop == len(ready):
            self._ready = _NOTHING
            self._ready_head = self._tiny_run = 0
        else:
            self._drop_ready(stop)
        return data

    def discard(self) -> int:
        """Drop what is held and whatever still arrives; offsets and the final size are tracked on.

        Returns how many bytes up to `highest` the application had not read: they count as consumed now.
        """
        unread = self.highest - self.read_offset
        self._shared.held -= self.fragments
        self.is_discarded = True
        self.contiguous = self.read_offset = self.highest
        self._ready = _NOTHING
        self._ready_head = self._skip = self._tiny_run = self._fragments_head = 0
        self.offsets = _NOTHING
        self._fragments = _NOTHING
        return unread

    def _check_final_size(self, stop: int, fin: bool) -> None:
        known = self.final_size
        if known is not None and (stop > known or (fin and stop != known)):
            raise ProtocolError(
                ErrorCode.FINAL_SIZE_ERROR, f"stream ended at offset {known}, and then had offset {stop}"
            )
        if fin and stop < self.highest:
            raise ProtocolError(
                ErrorCode.FINAL_SIZE_ERROR,
                f"stream ends at offset {stop}, and had offset {self.highest} before",
            )

    def _append(self, data: bytes) -> None:
        self.contiguous += len(data)
        ready = self._ready
        if ready is _NOTHING:
            self._ready = [data]
            return
        ready.append(data)
        self._tiny_run = self._tiny_run + 1 if len(data) < TINY_CHUNK else 0
        if self._tiny_run >= TINY_RUN:
            first = len(ready) - TINY_RUN
            if first <= self._ready_head:
                ready[self._ready_head] = ready[self._ready_head][self._skip :]
                self._skip = 0
            joined = b"".join(ready[first:])
            ready[first:] = (joined,)
            self._tiny_run = 1 if len(joined) < JOINED_CHUNK else 0

    def _hold_last(self, offset: int, data: bytes) -> None:
        if self.offsets:
            self.offsets.append(offset)
            self._fragments.append(data)
        else:
            self.offsets, self._fragments = [offset], [data]

    def _insert_out_of_order(self, offset: int, stop: int, data: bytes) -> None:
        """Put in what is new of [offset, stop), between the fragments held."""
        offsets, fragments, head = self.offsets, self._fragments, self._fragments_head
        base = offset
        offset = max(offset, self.contiguous)
        first = bisect_right(offsets, offset, head)
        if first > head and (end := offsets[first - 1] + len(fragments[first - 1])) > offset:
            offset = end
        last = bisect_left(offsets, stop, first)
        if last > first and offsets[last - 1] + len(fragments[last - 1]) > stop:
            # This fragment reaches beyond; the new data ends where it begins.
            last -= 1
            stop = offsets[last]
        if offset >= stop:
            return
        if last > first:
            fragment = self._fill_gaps(offset, first, last, data[offset - base : stop - base])
        else:
            fragment = data[offset - base : stop - base]
        if offset == self.contiguous:
            self._append(fragment)
            self._drain(last)
            return
        if first > head and len(fragment) < TINY_CHUNK and self._join_tiny(first - 1, offset, fragment):
            del offsets[first:last], fragments[first:last]
            return
        if last == first and self._shared.held >= FEW_FRAGMENTS:
            self._check_space(len(fragments) - head)
        offsets[first:last] = (offset,)
        fragments[first:last] = (fragment,)

    def _check_space(self, held: int) -> None:
        """Raise BufferFull when there is no room for one more than `held` fragments."""
        if not self._has_room(1):
            raise BufferFull(f"{held} fragments out of order are held already, {self._shared.held} by all streams")

    def _has_room(self, more: int) -> bool:
        """Whether so many fragments may be held beside those that are."""
        held = len(self._fragments) - self._fragments_head + more
        space = max(self.window, LEAST_FRAGMENT_SPACE)
        most = max(MAX_FRAGMENTS, self.window // FRAGMENT_WINDOW)
        return held * FRAGMENT_OVERHEAD <= space and held <= most and self._shared.has_room(more)

    def _join_tiny(self, index: int, offset: int, fragment: bytes) -> bool:
        """Whether `fragment` was tiny and followed fragment `index` so closely that it became part of it."""
        before = self._fragments[index]
        if offset != self.offsets[index] + len(before):
            return False
        if len(before) + len(fragment) > JOINED_CHUNK:
            return False
        self._fragments[index] = before + fragment
        return True

    def _fill_gaps(self, offset: int, first: int, last: int, data: bytes) -> bytes:
        """`data` at `offset` with the bytes of the fragments [first, last), which lie inside it, in place."""
        pieces: list[bytes] = []
        at = offset
        for i in range(first, last):
            pieces += (data[at - offset : self.offsets[i] - offset], self._fragments[i])
            at = self.offsets[i] + len(self._fragments[i])
        pieces.append(data[at - offset :])
        return b"".join(pieces)

    def _drain(self, stop: int) -> None:
        """Drop the fragments before index `stop`, make those that follow in order now ready chunks."""
        offsets, fragments = self.offsets, self._fragments
        if not offsets:
            return
        ready = self._ready = [] if self._ready is _NOTHING else self._ready
        while stop < len(offsets) and offsets[stop] == self.contiguous:
            fragment = fragments[stop]
            if len(fragment) >= TINY_CHUNK:
                ready.append(fragment)
                self.contiguous += len(fragment)
                self._tiny_run = 0
            else:
                self._append(fragment)
            stop += 1
        if stop * 2 >= len(offsets):
            del offsets[:stop], fragments[:stop]
            self._fragments_head = 0
        else:
            head = self._fragments_head
            fragments[head:stop] = [b""] * (stop - head)
            self._fragments_head = stop

    def _drop_ready(self, stop: int) -> None:
        """Let go of the ready chunks before index `stop`."""
        ready = self._ready
        left = len(ready) - stop
        if self._tiny_run > left:  # noqa: PLR1730 (a call of min() is dearer)
            self._tiny_run = left
        if stop >= left:
            del ready[:stop]
            self._ready_head = 0
        else:
            head = self._ready_head
            ready[head:stop] = [b""] * (stop - head)
            self._ready_head = stop
