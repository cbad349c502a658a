"""Whose turn it is to send, and the credit of the connection that senders share.

Knows: the streams that have something to send, in the order of their turns; those that wait for credit, their
own or the connection's; how many bytes were never handed out yet. Refuses to know: why a stream has something
to send, who may open one, packets: whoever fills packets says when a turn is over.

Turns rotate, over streams that can send only: 10,000 idle streams cost nothing. Trains differ in size, so a turn is
a number of bytes, what is taken beyond it is owed (deficit round robin), and equals share equally. Every operation is
O(1), but for `end_turn`, O(1) amortised over the bytes taken, `raise_limit`, O(streams that the new credit will do
for), `prefer`, O(streams that wait) in C, and `mends`, O(streams that wait).

Source: Shreedhar and Varghese, "Efficient Fair Queuing using Deficit Round Robin" (SIGCOMM 1995).
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

from rudp.events import Event, StreamWritable
from rudp.flow_control import COMMON_PACKET, SendWindow
from rudp.stream import Stream

__all__ = ["Turns"]

# Bytes sent on all streams and kept because not everything up to them was acknowledged, in parts of our own receive
# window: a receiver grants its window from what it has read, and twice that leaves time for its acknowledgements. One
# that grants any amount and never acknowledges a first byte would make us keep all that follows.
UNACKNOWLEDGED_WINDOWS: Final = 2
# Bytes of a turn: a few packets, so that little waits for a turn of others; a train of 64 KiB skips seven turns.
QUANTUM: Final = 8192


class Turns:
    """The senders of one connection.

    `unsent`: bytes written and never handed out yet. `retransmitted`: bytes handed out again. `acknowledged`: bytes
    handed out that need not be kept any more.
    """

    __slots__ = (
        "_credit_blocked",
        "_events",
        "_max_unacknowledged",
        "_stream_blocked",
        "acknowledged",
        "ready",
        "retransmitted",
        "send_window",
        "unsent",
    )

    def __init__(self, events: list[Event], receive_window: int) -> None:
        self._events = events
        self._max_unacknowledged = UNACKNOWLEDGED_WINDOWS * receive_window
        self.ready: deque[Stream] | None = None
        # Streams with data that the connection's credit, or their own, holds back; None until there is one.
        self._credit_blocked: dict[int, Stream] | None = None
        self._stream_blocked: dict[int, Stream] | None = None
        self.retransmitted = 0
        self.unsent = 0
        self.acknowledged = 0
        self.send_window = SendWindow(0)

    def raise_limit(self, maximum: int) -> None:
        """The connection's credit reaches to `maximum`; streams held back take their turns again."""
        if self.send_window.raise_to(maximum):
            self._take_up_again()

    def on_acknowledged(self, size: int) -> None:
        """`size` bytes that were handed out need not be kept any more."""
        full = self._credit_blocked and size and self._available <= 0
        self.acknowledged += size
        if full:
            self._take_up_again()

    @property
    def _available(self) -> int:
        """New bytes that may be handed out, on all streams together."""
        window = self.send_window
        credit, room = window.limit, self._max_unacknowledged + self.acknowledged
        return (credit if credit < room else room) - window.used

    def _take_up_again(self) -> None:
        """Streams that credit held back, as many as it will do for; the others when these are through."""
        blocked = self._credit_blocked
        if not blocked or self._available <= 0:
            return
        for stream in list(islice(blocked.values(), 1 + self._available // COMMON_PACKET)):
            self.enqueue(stream)

    def enqueue(self, stream: Stream) -> None:
        """Give the stream a turn if it has anything to send and has none yet."""
        if stream.queued or not stream.has_pending():
            return
        stream.queued = True
        stream.turn_left = QUANTUM
        if self._stream_blocked or self._credit_blocked:
            self._unblock(stream)
        if self.ready is None:
            self.ready = deque((stream,))
        else:
            self.ready.append(stream)

    def enqueue_first(self, stream: Stream) -> None:
        """The same for a stream with lost data, before all others: what was sent first should arrive first.

        A stream that waits for its turn keeps its place, so none can push in again and again.
        """
        if not stream.queued and stream.has_pending():
            self.enqueue(stream)
            assert self.ready is not None
            self.ready.rotate(1)

    def prefer(self, stream: Stream) -> None:
        """Let a stream that waits for a turn have the next one, and its first bytes go first: for probes.

        A receiver that holds all it may beyond a gap takes nothing but what fills the gap, whichever packet is the
        oldest. O(streams that wait) in C.
        """
        if stream.queued:
            assert self.ready is not None
            assert stream.send is not None
            stream.send.repeat_first(COMMON_PACKET)
            self.ready.remove(stream)
            self.ready.appendleft(stream)

    def withdraw(self, stream: Stream, unsent: int) -> None:
        """The stream was reset with `unsent` bytes not handed out: it waits for no credit any more."""
        self.unsent -= unsent
        self._unblock(stream)
        if stream.send is not None:
            self.on_acknowledged(stream.send.sent_up_to - stream.send.acked_up_to)

    def next_ready(self) -> Stream | None:
        """The stream whose turn it is, or None."""
        return self.ready[0] if self.ready else None

    @property
    def ready_count(self) -> int:
        """Streams that wait for a turn."""
        return len(self.ready) if self.ready else 0

    @property
    def mends(self) -> bool:
        """Whether anything waits to be sent again; O(streams that wait for a turn)."""
        return any(stream.send is not None and stream.send.lost for stream in self.ready or ())

    @property
    def flow_blocked(self) -> bool:
        """Whether data waits for the peer's credit and nothing else can be sent."""
        return not self.ready and bool(self._credit_blocked or self._stream_blocked)

    def take(self, stream: Stream, room: int) -> tuple[int, int, bool] | None:
        """Take (offset, length, fin), up to `room` bytes, of the stream whose turn it is; None: credit holds
        it.

        A stream that cannot go on for want of credit leaves the turns until credit comes.
        """
        send, window, whole = stream.send, stream.send_window, self.send_window
        assert send is not None
        assert window is not None
        sent, limit = send.sent_up_to, whole.limit
        room_up_to = self._max_unacknowledged + self.acknowledged
        limit = sent - whole.used + (limit if limit < room_up_to else room_up_to)
        taken = send.next_range(room, limit if limit < window.limit else window.limit)
        if taken is None:
            self._leave(stream)
            if stream.has_pending():
                self._block(stream, by_connection=window.limit > sent)
            return None
        length, new = taken[1], send.sent_up_to - sent
        whole.used += new
        assert whole.used <= whole.limit, "sent beyond the peer's credit"
        self.unsent -= new
        if new != length:
            self.retransmitted += length - new
        stream.turn_left -= length
        low = stream.writable_at
        if low is not None and send.written - send.sent_up_to <= low:  # most trains leave far more
            self.tell_writable(stream)
        return taken

    def take_scattered(self, stream: Stream, size: int, most: int) -> list[int]:
        """Take what the stream whose turn it is has lost here and there: offsets of at most `most` full packets."""
        send = stream.send
        assert send is not None
        offsets = send.next_scattered(size, most)
        taken = len(offsets) * size
        self.retransmitted += taken
        stream.turn_left -= taken
        if stream.writable_at is not None:
            self.tell_writable(stream)
        return offsets

    def tell_writable(self, stream: Stream) -> None:
        """Have the application told, if it asked, once no more than it named waits to be sent."""
        assert stream.send is not None
        if stream.writable_at is not None and stream.send.pending <= stream.writable_at:
            stream.writable_at = None
            self._events.append(StreamWritable(stream.id))

    def end_turn(self, stream: Stream) -> None:
        """The stream sent something. It goes out of the line if that was all, to its end if its turn is used up."""
        ready = self.ready
        assert ready is not None
        if not stream.has_pending():
            self._leave(stream)
        elif len(ready) == 1:
            stream.turn_left = QUANTUM  # nobody is owed anything
        else:
            while ready[0].turn_left <= 0:
                ready[0].turn_left += QUANTUM
                ready.rotate(-1)

    def _leave(self, stream: Stream) -> None:
        ready = self.ready
        assert ready is not None
        first = ready.popleft()
        assert first is stream
        stream.queued = False
        if not ready:
            self.ready = None
            if self._credit_blocked:
                self._take_up_again()

    def _block(self, stream: Stream, *, by_connection: bool) -> None:
        if self._credit_blocked is None or self._stream_blocked is None:
            self._credit_blocked, self._stream_blocked = {}, {}
        (self._credit_blocked if by_connection else self._stream_blocked)[stream.id] = stream

    def _unblock(self, stream: Stream) -> None:
        if self._stream_blocked:
            self._stream_blocked.pop(stream.id, None)
        if self._credit_blocked:
            self._credit_blocked.pop(stream.id, None)
