"""The four-way close: FIN and its acknowledgement in each direction, with half-close.

Knows: whether this side has finished, whether its FIN was sent and acknowledged; what the peer's FIN says and whether
all that it speaks of has arrived. Refuses to know: states (connection, by the table in `state`) and streams one by one.

A FIN says how many streams of each kind its sender opened and how many bytes it sent in all (docs/WIRE.md): it is
complete when exactly that has arrived, in whatever order. Every operation is O(1).
"""

from __future__ import annotations

from typing import NamedTuple

from rudp.errors import LARGEST_ERROR_CODE, ConnectionAborted, ConnectionReset, ErrorCode, ProtocolError
from rudp.wire import MAX_REASON_SIZE, Close, Fin

__all__ = ["Closing", "Ending", "aborted", "broken", "check_code", "closed_by_peer", "farewell", "unread"]


class Ending(NamedTuple):
    """An end without handshake: what the peer is told, and the application. None: nothing, or that all is well."""

    frame: Close | None
    error: Exception | None


def check_code(code: int) -> None:
    """Raises ValueError for an application's code that doesn't fit its field."""
    if not 0 <= code <= LARGEST_ERROR_CODE:
        raise ValueError(f"code={code}: must be from 0 to {LARGEST_ERROR_CODE}")


def aborted(code: int, reason: str) -> Ending:
    """The application's abort. A reason too long for its field is cut. Raises ValueError for a code out of bounds."""
    frame = farewell(code, reason)
    text = f"aborted by this side, code {code}: {frame.reason or 'no reason given'}"
    return Ending(frame, ConnectionAborted(text, code=code, reason=frame.reason))


def farewell(code: int, reason: str) -> Close:
    """The application's CLOSE. A reason too long for its field is cut. Raises ValueError for a code out of bounds."""
    check_code(code)
    return Close(code, reason.encode(errors="replace")[:MAX_REASON_SIZE].decode(errors="ignore"), application=True)


def unread() -> Ending:
    """A close with received data that nobody will read: no clean end (RFC 2525 section 2.17)."""
    text = "closed while received data was unread: the peer is told so and drops the rest; read to the end first"
    frame = Close(ErrorCode.UNREAD_DATA, "closed with unread data", application=False)
    return Ending(frame, ConnectionAborted(text, code=ErrorCode.UNREAD_DATA))


def broken(error: ProtocolError) -> Ending:
    """The peer broke the protocol."""
    text = f"the peer broke the protocol: {error} ({error.code.name})"
    frame = Close(error.code, str(error)[: MAX_REASON_SIZE // 4], application=False)
    return Ending(frame, ConnectionAborted(text, code=error.code))


def closed_by_peer(frame: Close) -> ConnectionReset:
    """The error for a CLOSE that is not the end of a close in good order."""
    who = "application" if frame.application else "transport"
    return ConnectionReset(
        f"the peer closed the connection: {frame.reason or 'no reason given'} ({who} code {frame.code})",
        code=frame.code,
        reason=frame.reason,
        application=frame.application,
    )


class Closing:
    """How far a connection's close has come."""

    # fmt: off
    __slots__ = (
        "begun", "farewell", "fin_acked", "fin_queued", "finished", "peer_fin", "peer_finished", "receiving_ended",
    )
    # fmt: on

    def __init__(self) -> None:
        # Either side has said that it writes no more, or all has ended.
        self.begun = False
        # The application will write no more; and, after a full close, read no more either.
        self.finished = False
        self.receiving_ended = False
        # What the peer is told once it has everything.
        self.farewell: Close | None = None
        self.fin_queued = False
        self.fin_acked = False
        self.peer_fin: Fin | None = None
        self.peer_finished = False

    def finish(self) -> None:
        """The application writes no more."""
        self.finished = self.begun = True

    def on_fin(self, fin: Fin) -> None:
        """The peer's FIN arrived. Raises ProtocolError when it contradicts an earlier one."""
        if self.peer_fin is not None and self.peer_fin != fin:
            raise ProtocolError(ErrorCode.FINAL_SIZE_ERROR, f"FIN says {fin}, an earlier one said {self.peer_fin}")
        self.peer_fin = fin
        self.begun = True

    def check(self, opened: tuple[int, int], highest: int) -> None:
        """Hold what arrived against the FIN. Raises ProtocolError when the peer went beyond it."""
        fin = self.peer_fin
        if fin is not None and (
            opened[0] > fin.streams_bidi or opened[1] > fin.streams_uni or highest > fin.total_size
        ):
            raise ProtocolError(
                ErrorCode.FINAL_SIZE_ERROR,
                f"{opened[0]} + {opened[1]} streams and {highest} bytes came, FIN spoke of "
                f"{fin.streams_bidi} + {fin.streams_uni} and {fin.total_size}",
            )

    def is_complete(self, received_total: int) -> bool:
        """Whether all that the peer's FIN speaks of has just become complete."""
        return not self.peer_finished and self.peer_fin is not None and received_total == self.peer_fin.total_size
