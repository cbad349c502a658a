"""asyncio's streams over rudp: `open_connection`, servers that call back, asyncio's own StreamReader and StreamWriter.

Knows: asyncio's transport contract (pause and resume either way, write_eof, close, abort, connection_lost exactly once)
and how a stream of a connection keeps it. Refuses to know: packets, and how readers and writers work; asyncio's
StreamReaderProtocol does that.

Stream 0 serves the pair that `open_connection` returns. A server's callback gets a pair for stream 0 of each
connection, and for each further stream that the peer opens. When the last pair of a connection is closed, so is the
connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from rudp.aio.client import connect
from rudp.aio.connection import Connection
from rudp.aio.endpoint import Server, extra_info
from rudp.aio.forwarding import Forwarding
from rudp.aio.system import TrainSocket
from rudp.config import Config
from rudp.errors import StreamReset, StreamStopped
from rudp.stream import is_client_initiated, is_unidirectional

__all__ = ["LIMIT", "StreamTransport", "open_connection", "stream_server"]

# asyncio.streams' own default of a reader's buffer, bytes.
LIMIT: Final = 2**16
# Bytes handed to the protocol at a time.
CHUNK: Final = 2**18


class StreamTransport(asyncio.Transport):
    """A stream as an asyncio transport."""

    def __init__(self, connection: Connection, stream_id: int, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._connection = connection
        self._core = connection.core
        self._stream_id = stream_id
        self._protocol = protocol
        self._reading = True
        self._closing = False
        self._lost = False
        self._eof_received = False
        self._eof_sent = False
        self._stopped: StreamStopped | None = None
        self._writing_paused = False
        self._high = connection.core.config.send_buffer
        self._low = self._high // 2
        connection.adopt(stream_id, self)
        protocol.connection_made(self)
        connection.loop.call_soon(self.on_readable)

    # -- what is known ------------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """ "peername", "sockname", "socket", "connection" (the rudp.Connection), "stream_id", "stats"."""
        return self._stream_id if name == "stream_id" else extra_info(self._connection, name, default)

    def is_closing(self) -> bool:
        """Whether close or abort was called, or the connection ended."""
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol in use."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Use another protocol from now on."""
        self._protocol = protocol

    # -- reading ------------------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether received data is handed to the protocol."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Leave received data in the window, which holds back the peer when it is full."""
        self._reading = False

    def resume_reading(self) -> None:
        """Hand received data to the protocol again."""
        if not self._reading:
            self._reading = True
            self._connection.loop.call_soon(self.on_readable)

    def on_readable(self) -> None:
        """Bytes or the end arrived: hand them on, as long as the protocol wants them."""
        protocol: Any = self._protocol
        while self._reading and not self._closing and not self._eof_received:
            try:
                data = self._core.receive(self._stream_id, CHUNK)
            except StreamReset as error:
                self._fail(error)
                break
            if data:
                protocol.data_received(data)
                continue
            if self._core.at_eof(self._stream_id):
                self._eof_received = True
                if not protocol.eof_received():
                    self.close()
            break
        self._connection.driver.wake_if_ready()

    # -- writing ------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes to be sent."""
        if self._stopped is not None:
            # As TCP, whose peer answers what it will not read by a reset.
            self._fail(self._stopped)
            return
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not len(data) or not self._core.is_writable:
            # As asyncio: what is written once the connection is closing goes nowhere, and connection_lost tells.
            return
        self._core.send(self._stream_id, data)
        self._connection.driver.wake()
        if not self._writing_paused and self.get_write_buffer_size() > self._high:
            self._writing_paused = True
            self._protocol.pause_writing()
            self._core.notify_writable(self._stream_id, self._low)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Queue all of these; they share packets."""
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        """A stream can be half-closed, unless it is unidirectional and the peer's: then there is nothing to write."""
        stream_id = self._stream_id
        return not is_unidirectional(stream_id) or is_client_initiated(stream_id) == self._core.is_client

    def write_eof(self) -> None:
        """End the writing direction; reading goes on."""
        if not self._eof_sent and not self._closing:
            self._finish()

    def _finish(self) -> None:
        self._eof_sent = True
        if self._core.is_writable and self.can_write_eof():
            self._core.send(self._stream_id, b"", fin=True)
            self._connection.driver.wake()

    def get_write_buffer_size(self) -> int:
        """Bytes written that wait to be sent. What is on its way does not count, as with TCP."""
        return self._core.unsent(self._stream_id)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high) in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's: pause_writing above `high`, resume_writing at `low`."""
        if high is None:
            high = self._core.config.send_buffer if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    def on_writable(self) -> None:
        """The send buffer fell to the low-water mark."""
        if self._writing_paused:
            self._writing_paused = False
            self._protocol.resume_writing()

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what was written, then close; with the last stream of its connection the connection."""
        if self._closing:
            return
        self._closing = True
        if not self._eof_sent:
            self._finish()
        if not self._connection.release_stream(self._stream_id):
            self._lose(None)

    def abort(self) -> None:
        """End the connection at once."""
        self._closing = True
        self._lose(None)
        self._connection.abort(0, "aborted")

    def on_reset(self, code: int) -> None:
        """The peer reset the stream."""
        with suppress(StreamReset):
            # The core must hear that this was told, or the stream would never count as ended.
            self._core.receive(self._stream_id)
        self._fail(StreamReset(f"the peer reset the stream, code {code}", code=code))

    def on_stopped(self, code: int) -> None:
        """The peer wants nothing more on the stream: to write is an error from now on, what it sent can be read."""
        self._stopped = StreamStopped(f"the peer asked to stop sending, code {code}", code=code)
        self._eof_sent = True
        self.on_writable()

    def _fail(self, error: Exception) -> None:
        if not self._closing:
            self._closing = True
            if not self._eof_sent:
                self._core.reset_stream(self._stream_id, 0)
            self._connection.release_stream(self._stream_id)
        self._lose(error)

    def on_terminated(self, error: Exception | None) -> bool:
        """The connection ended, and need not know this any more."""
        if error is None and not self._closing:
            self.on_readable()
        self._closing = True
        self._lose(error)
        return False

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._connection.loop.call_soon(self._protocol.connection_lost, error)


async def open_connection(
    host: str,
    port: int,
    *,
    limit: int = LIMIT,
    config: Config | None = None,
    local_addr: tuple[str, int] | None = None,
    sock: socket.socket | None = None,
    family: int = 0,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As asyncio.open_connection: a reader and a writer for stream 0 of a new connection. Raises as `connect`.

    `writer.close()` sends what was written and closes the connection; await `writer.wait_closed()` before the loop
    ends, or a ResourceWarning says what may be lost.
    """
    connection = await connect(
        host, port, config=config, local_addr=local_addr, sock=sock, family=family
    )
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = StreamTransport(connection, 0, protocol)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def stream_server(
    client_connected_cb: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    limit: int,
    sock: TrainSocket,
    config: Config,
    forwarding: Forwarding | None = None,
) -> Server:
    """A server that calls back with a reader and a writer. To be called on the loop that it is to run on."""
    loop = asyncio.get_running_loop()

    def start(connection: Connection, stream_id: int) -> None:
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, client_connected_cb, loop=loop)
        StreamTransport(connection, stream_id, protocol)

    def accept(connection: Connection) -> None:
        connection.on_stream = start
        start(connection, 0)

    return Server(sock, config, accept, forwarding)
