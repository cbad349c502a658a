"""A connection for asyncio.

Knows: who waits for what on a connection, its streams by id, how it ended. Refuses to know: packets and time (core),
sockets (driver). An idle connection holds no task and no timer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Final, Self

from rudp.aio.driver import Driver
from rudp.aio.stream import Stream
from rudp.aio.system import TrainSocket
from rudp.aio.waiter import Waiter, wake
from rudp.connection import Connection as CoreConnection
from rudp.errors import ConnectionClosed, StreamLimitReached
from rudp.events import (
    Connected,
    Event,
    PathChanged,
    PeerFinished,
    SendingStopped,
    StreamOpened,
    StreamReadable,
    StreamReset,
    StreamsAvailable,
    StreamWritable,
    Terminated,
)
from rudp.stats import Stats
from rudp.train import Address

__all__ = ["Connection"]

# Ended streams that may be remembered before it is worth looking for them.
SPARE_STREAMS: Final = 16


class Connection:
    """A rudp connection. Made by `rudp.connect`, handed to a server's handler, or by an `Endpoint`."""

    __slots__ = (
        "__weakref__",
        "_aborted",
        "_error",
        "_incoming",
        "_main",
        "_opening",
        "_peer_finished",
        "_streams",
        "_transports",
        "_waiters",
        "core",
        "driver",
        "is_closed",
        "loop",
        "on_stream",
    )

    def __init__(self, driver: Driver, core: CoreConnection) -> None:
        self.driver = driver
        self.core = core
        self.loop = driver.loop
        # Stream 0's Stream or transport, and those of the others: a dictionary is as large as all else of this.
        self._main: Any = None
        self._streams: dict[int, Any] | None = None
        # None while empty, as in an idle connection.
        self._incoming: list[Stream] | None = None
        self._waiters: list[Waiter] | None = None
        self._opening: Waiter | None = None
        self._peer_finished = False
        # Whether the connection has ended, in whatever way.
        self.is_closed = False
        # Open pairs of reader and writer, and who makes them for streams that the peer opens.
        self._transports = 0
        self.on_stream: Callable[[Connection, int], None] | None = None
        self._error: Exception | None = None
        self._aborted = False

    def __repr__(self) -> str:
        host, port = self.core.remote_address[:2]
        return f"<rudp.Connection to {host} port {port}, {self.core.state.value}>"

    # -- what is known ------------------------------------------------------------------------------------------

    @property
    def remote_address(self) -> Address:
        """The peer's address now; it may change when the peer moves."""
        return self.core.remote_address

    @property
    def local_address(self) -> Address:
        """This side's address."""
        return self.core.local_address or self.driver.socket.local_address

    @property
    def udp(self) -> TrainSocket:
        """The UDP socket: its `capabilities`, the `buffer_sizes` asked for and granted, its `counters`."""
        return self.driver.socket

    @property
    def application_protocol(self) -> str | None:
        """The application protocol both sides agreed on, if any."""
        return self.core.application_protocol

    def stats(self) -> Stats:
        """The connection's figures now."""
        return self.core.stats(self.driver.now())

    def check(self) -> None:
        """Raise what keeps the connection from being used: its error, or ConnectionClosed."""
        if self.is_closed:
            raise self._error if self._error is not None else ConnectionClosed("the connection is closed")

    # -- streams ------------------------------------------------------------------------------------------------

    @property
    def main_stream(self) -> Stream:
        """Stream 0, open on both sides from the start, so that either may speak first without opening one.

        Who takes it here doesn't get it from `accept_stream` again.
        """
        stream = self._stream(0)
        if self._incoming is not None and stream in self._incoming:
            self._incoming.remove(stream)
            self._incoming = self._incoming or None
        return stream

    def _sink(self, stream_id: int) -> Any:
        """The Stream or transport of a stream; None if it has none yet."""
        if not stream_id:
            return self._main
        return self._streams.get(stream_id) if self._streams is not None else None

    def _put(self, stream_id: int, sink: Any) -> None:
        if not stream_id:
            self._main = sink
        elif self._streams is None:
            self._streams = {stream_id: sink}
        else:
            # Let go of streams that have ended, whenever there may be more of them than of others.
            if len(self._streams) > 2 * self.core.stream_count + SPARE_STREAMS:
                self._streams = {key: one for key, one in self._streams.items() if self.core.has_stream(key)}
            self._streams[stream_id] = sink

    def keep(self, stream: Stream) -> None:
        """Have a stream with bytes that nobody got found again, though the connection may have let go of it."""
        if self._sink(stream.id) is None:
            self._put(stream.id, stream)

    def _stream(self, stream_id: int) -> Stream:
        stream = self._sink(stream_id)
        if stream is None:
            stream = Stream(self, stream_id)
            self._put(stream_id, stream)
        assert isinstance(stream, Stream), f"stream {stream_id} belongs to a StreamWriter"
        return stream

    async def open_stream(self, unidirectional: bool = False) -> Stream:
        """Open a stream; the peer sees it at once. Waits while the peer admits no further stream of the kind.

        Raises ConnectionClosed, or the error that ended the connection.
        """
        while True:
            self.check()
            try:
                stream_id = self.core.open_stream(unidirectional)
            except StreamLimitReached:
                await self._wait()
                continue
            self.driver.wake()
            return self._stream(stream_id)

    async def accept_stream(self) -> Stream:
        """The next stream that the peer opened.

        Raises ConnectionClosed when the peer will open no more, or the error that ended the connection.
        """
        while not self._incoming:
            if self._peer_finished or self.is_closed:
                raise self._error or ConnectionClosed("the peer has closed the connection: no further stream will come")
            await self._wait()
        stream = self._incoming.pop(0)
        self._incoming = self._incoming or None
        return stream

    async def streams(self) -> AsyncIterator[Stream]:
        """The streams that the peer opens, until it closes the connection. Raises the error that ended it otherwise."""
        while True:
            try:
                stream = await self.accept_stream()
            except ConnectionClosed:
                return
            yield stream

    def _wait(self) -> Waiter:
        """To be awaited: what ends when anything changes that concerns the connection as a whole."""
        waiter: Waiter = asyncio.Future(loop=self.loop)
        self._waiters = [old for old in self._waiters or () if not old.done()]
        self._waiters.append(waiter)
        return waiter

    def adopt(self, stream_id: int, sink: Any) -> None:
        """Have a stream's events go to `sink`, a transport, instead of a `Stream`."""
        self._put(stream_id, sink)
        self._transports += 1

    def release_stream(self, stream_id: int) -> bool:
        """A transport was closed. Closes the connection with the last one, and tells whether it did."""
        self._transports -= 1
        if not self._transports:
            self.begin_close()
            return True
        if not self.is_closed and not self.core.at_eof(stream_id):
            self.core.stop_sending(stream_id, 0)
            self.driver.wake()
        return False

    # -- the end ------------------------------------------------------------------------------------------------

    async def send_eof(self) -> None:
        """Half-close the connection: nothing more is written on any stream; reading goes on."""
        self.check()
        self.core.send_eof()
        self.driver.wake()
        self._notify()

    async def close(self, code: int = 0, reason: str = "") -> None:
        """Close in good order and wait for the end: all that was written arrives first.

        With a code or a reason the peer is told them once everything has arrived, and is not waited for further.
        Raises the error if the connection ends in one: then what was written may not have arrived. That includes
        ConnectionAborted when data received is unread: read to the end, or `abort`.
        """
        self.begin_close(code, reason)
        await self.wait_closed()

    def begin_close(self, code: int = 0, reason: str = "") -> None:
        """`close` without waiting for the end."""
        if not self.is_closed:
            self.core.close(code, reason)
            self.driver.wake()
            self._notify()

    def abort(self, code: int = 0, reason: str = "") -> None:
        """End the connection at once: what has not arrived is dropped on both sides."""
        if not self.is_closed:
            self.core.abort(code, reason)
            self._aborted = True
            self.driver.wake()

    async def wait_closed(self) -> None:
        """Wait until the connection has ended. Raises the error it ended in, if any."""
        while not self.is_closed:
            await self._wait()
        if self._error is not None:
            raise self._error

    async def wait_connected(self) -> None:
        """Wait for the end of the three-way handshake. Raises the error it ended in."""
        if self.core.is_open:
            return
        opened: Waiter = asyncio.Future(loop=self.loop)
        self._opening = opened
        try:
            await opened
        except asyncio.CancelledError:
            self.begin_close()
            raise
        self.check()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            if not self._aborted:
                await self.close()
            return
        self.abort(0, "left by an exception" if not issubclass(kind, asyncio.CancelledError) else "cancelled")

    # -- events -------------------------------------------------------------------------------------------------

    def on_event(self, event: Event) -> bool:
        """Take one event of the core. Whether all that it leads to has happened; else it does in the next turn."""
        if type(event) is StreamReadable:
            sink = self._sink(event.stream_id) if event.stream_id else self._main
            if sink is not None:
                done: bool = sink.on_readable()
                return done
            self._for_reading(event.stream_id).on_readable()
            return False
        return bool(_HANDLERS[type(event)](self, event))

    def _on_writable(self, event: StreamWritable) -> bool:
        sink = self._sink(event.stream_id)
        return sink is None or bool(sink.on_writable())

    def _on_reset(self, event: StreamReset) -> None:
        self._for_reading(event.stream_id).on_reset(event.code)

    def _on_stopped(self, event: SendingStopped) -> None:
        self._for_reading(event.stream_id).on_stopped(event.code)

    def _on_change(self, event: Event) -> bool:
        """The peer finished, admits more streams, or moved: whoever waits for the connection looks again."""
        self._peer_finished = self._peer_finished or isinstance(event, PeerFinished)
        return self._notify()

    def _for_reading(self, stream_id: int) -> Any:
        """The stream an event is for. Stream 0 comes out of accept_stream when the peer uses it and nobody here did."""
        if stream_id == 0 and self._main is None and not self._peer_finished and not self.core.is_client:
            self._offer(self._stream(0))
        return self._sink(stream_id) or self._stream(stream_id)

    def _on_opened(self, event: StreamOpened) -> bool:
        if self.on_stream is not None:
            self.on_stream(self, event.stream_id)
            return False
        return self._offer(self._stream(event.stream_id))

    def _offer(self, stream: Stream) -> bool:
        """A stream for `accept_stream`."""
        if self._incoming is None:
            self._incoming = []
        self._incoming.append(stream)
        return self._notify()

    def _on_connected(self, _: Event) -> bool:
        return self._opening is None or wake(self._opening)

    def _on_terminated(self, event: Terminated) -> bool:
        self.is_closed = True
        self._error = event.error
        self.driver.sinks.pop(self.core.id, None)
        self._on_connected(event)
        if self._main is not None and not self._main.on_terminated(event.error):
            # Were each to hold the other, all of the connection would be there until the garbage collector comes.
            self._main = None
        for sink in list((self._streams or {}).values()):
            sink.on_terminated(event.error)
        self._notify()
        return True  # nobody can send on it any more, so nothing waits for company

    def _notify(self) -> bool:
        """Have whoever waits look again. Whether all have; else they do in the loop's next turn."""
        waiters, self._waiters = self._waiters, None
        done = True
        for waiter in waiters or ():
            done = wake(waiter) and done
        return done


_HANDLERS: Final[dict[type, Callable[[Connection, Any], bool | None]]] = {
    Connected: Connection._on_connected,
    StreamOpened: Connection._on_opened,
    StreamWritable: Connection._on_writable,
    StreamReset: Connection._on_reset,
    SendingStopped: Connection._on_stopped,
    StreamsAvailable: Connection._on_change,
    PeerFinished: Connection._on_change,
    PathChanged: Connection._on_change,
    Terminated: Connection._on_terminated,
}
