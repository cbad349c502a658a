"""Everything rudp raises, in one tree.

Knows: which builtin exception each failure also is (`ConnectionError` family, `TimeoutError`, `OSError`), so that
code written for TCP sockets catches what it expects; the transport error codes that travel in CLOSE frames.
Refuses to know: how an error came about; whoever raises it says what happened, why and what to do.

    RudpError
    |- ConnectionLost ...          the connection is gone or never came to be
    |- StreamError ...             one stream failed, the connection lives
    `- DecodeError                 bytes that are no rudp packet (never reaches an application)
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "BufferFull",
    "ConfigurationError",
    "ConnectTimeout",
    "ConnectionAborted",
    "ConnectionClosed",
    "ConnectionLost",
    "ConnectionRefused",
    "ConnectionReset",
    "DecodeError",
    "ErrorCode",
    "FileTransferError",
    "IdleTimeout",
    "MissingExtra",
    "PeerUnresponsive",
    "ProtocolError",
    "RudpError",
    "SocketError",
    "StreamClosed",
    "StreamError",
    "StreamLimitReached",
    "StreamReset",
    "StreamStopped",
    "VersionMismatch",
    "WorkerError",
]


class ErrorCode(IntEnum):
    """Transport error codes of a CLOSE frame; names and numbers follow RFC 9000 section 20.1 where it has them."""

    NO_ERROR = 0x00
    FLOW_CONTROL_ERROR = 0x03
    STREAM_LIMIT_ERROR = 0x04
    STREAM_STATE_ERROR = 0x05
    FINAL_SIZE_ERROR = 0x06
    FRAME_ENCODING_ERROR = 0x07
    PROTOCOL_VIOLATION = 0x0A
    # rudp's own, from 0x100 on.
    UNREAD_DATA = 0x100
    CLOSE_TIMEOUT = 0x101
    UNRESPONSIVE = 0x102
    PROTECTION_MISMATCH = 0x103
    NO_APPLICATION_PROTOCOL = 0x104
    SERVER_BUSY = 0x105


LARGEST_ERROR_CODE: Final = 2**32 - 1


class RudpError(Exception):
    """Base of everything rudp raises."""


class ConfigurationError(RudpError, ValueError):
    """A configuration value is outside its bounds; the message names the field, the value and the bounds."""


class MissingExtra(RudpError, ImportError):
    """A package that only a part of rudp needs is not installed; the message says which extra has it."""


class SocketError(RudpError, OSError):
    """The UDP socket could not be opened or used; `errno` is the operating system's."""


class WorkerError(RudpError, ChildProcessError):
    """The worker processes of a server could not be started, or one ended at once again and again."""


class ConnectionLost(RudpError, ConnectionError):
    """The connection ended before both sides had closed it. Base of every way that can happen."""


class ConnectTimeout(ConnectionLost, TimeoutError):
    """The three-way handshake got no answer within `connect_timeout`."""

    def __init__(self, message: str, *, tries: int = 0, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.tries = tries
        self.seconds = seconds


class IdleTimeout(ConnectionLost, TimeoutError):
    """Nothing arrived for `idle_timeout` seconds (RFC 9000 section 10.1)."""


class PeerUnresponsive(ConnectionLost, TimeoutError):
    """Data was sent and resent, and nothing was acknowledged for `give_up_timeout` seconds."""

    def __init__(self, message: str, *, seconds: float = 0.0, probes: int = 0) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.probes = probes


class ConnectionRefused(ConnectionLost, ConnectionRefusedError):
    """The peer's host or the peer itself declined the connection."""


class VersionMismatch(ConnectionRefused):
    """The server speaks no version of the protocol that this client speaks."""


class ConnectionReset(ConnectionLost, ConnectionResetError):
    """The peer has no such connection any more (stateless RESET), or closed it with an error (CLOSE)."""

    def __init__(self, message: str, *, code: int = 0, reason: str = "", application: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.application = application


class ConnectionAborted(ConnectionLost, ConnectionAbortedError):
    """This side ended the connection at once, by `abort()` or because the peer broke the protocol."""

    def __init__(self, message: str, *, code: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class ConnectionClosed(RudpError, BrokenPipeError):
    """The operation needs an open connection, and this one was closed in good order (or is being closed)."""


class StreamError(RudpError, ConnectionError):
    """One stream failed; the connection and its other streams go on."""


class StreamReset(StreamError, ConnectionResetError):
    """The peer reset the stream: what it had not yet delivered is gone. `code` is the peer's."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StreamStopped(StreamError, BrokenPipeError):
    """The peer asked us to stop sending on the stream. `code` is the peer's."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StreamClosed(StreamError, BrokenPipeError):
    """The stream's direction is already finished or reset by this side, or does not exist."""


class StreamLimitReached(StreamError):
    """The peer admits no further stream of this kind now; wait for one to end."""


class FileTransferError(RudpError, OSError):
    """A file could not be sent or received whole."""


class DecodeError(RudpError, ValueError):
    """The bytes are not a packet of this protocol. The one error decoding raises, for every malformed input."""


class ProtocolError(RudpError):
    """The peer broke a rule; raised inside the core and turned into a CLOSE with `code` by the connection."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class BufferFull(RudpError):
    """A packet's data is not taken now, for memory's sake; the packet stays unacknowledged and will be sent again."""
