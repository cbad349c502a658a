"""Control frames that wait to be sent, and which of them are sent again when lost.

Knows: at most one pending frame of a kind and stream (a newer MAX_DATA replaces an older one), in the order
in which the kinds became due. Refuses to know: why a frame is due, and packets.

put, take a frame, on_lost: O(1). Memory: one frame a kind and stream, so bounded by the streams that are
open.
"""

from __future__ import annotations

from itertools import islice
from typing import TypeAlias

from rudp import wire
from rudp.wire import (
    AckFrequency,
    Fin,
    Frame,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    Stream,
)

__all__ = ["ControlQueue"]

_Key: TypeAlias = tuple[type, int]

# RFC 9000 section 13.3: what is repeated until acknowledged. PING, IMMEDIATE_ACK, ACK and path frames are
# not: the loss of one is mended by the next or by a timer of its own.
_RELIABLE = (
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    Stream,
    Fin,
    AckFrequency,
)


def _key(frame: Frame) -> _Key:
    if isinstance(frame, MaxStreams):
        return MaxStreams, int(frame.unidirectional)
    return type(frame), getattr(frame, "stream_id", -1)


def _age(frame: Frame) -> int:
    """What grows from one frame of a kind and stream to the next; 0 where all say the same."""
    if isinstance(frame, MaxData | MaxStreamData | MaxStreams):
        return frame.maximum
    return frame.sequence if isinstance(frame, AckFrequency) else 0


class ControlQueue:
    """Pending control frames of one connection."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        # By kind and stream, oldest first; None when empty.
        self.pending: dict[_Key, Frame] | None = None

    def __bool__(self) -> bool:
        return bool(self.pending)

    def put(self, frame: Frame) -> None:
        """Queue `frame`, in place of an older one of its kind and stream."""
        if self.pending is None:
            self.pending = {}
        self.pending[_key(frame)] = frame

    def holds(self, kind: type, stream_id: int = -1) -> bool:
        """Whether a frame of this kind and stream is pending."""
        return self.pending is not None and (kind, stream_id) in self.pending

    def discard(self, kind: type, stream_id: int = -1) -> bool:
        """Forget the pending frame of this kind and stream; whether there was one."""
        if self.pending is None or self.pending.pop((kind, stream_id), None) is None:
            return False
        if not self.pending:
            self.pending = None
        return True

    def take(self, room: int, most: int = wire.MAX_FRAMES) -> list[tuple[Frame, bytes]]:
        """Remove and return, with their encoding, the `most` oldest frames that fit into `room` bytes together."""
        taken: list[tuple[Frame, bytes]] = []
        if not self.pending:
            return taken
        for key in list(islice(self.pending, most)):
            encoded = wire.encode_frame(self.pending[key])
            if len(encoded) > room:
                break
            room -= len(encoded)
            taken.append((self.pending.pop(key), encoded))
        if not self.pending:
            self.pending = None
        return taken

    def on_lost(self, frame: Frame) -> None:
        """A packet that carried `frame` is lost: queue it again unless a newer one of its kind already waits."""
        if isinstance(frame, _RELIABLE):
            waiting = self.pending.get(_key(frame)) if self.pending else None
            if waiting is None or _age(frame) > _age(waiting):
                self.put(frame)
