"""A stream of a connection for asyncio.

Knows: who waits to read and who waits to write, and how a direction ended. Refuses to know: bytes; they stay in the
core's buffers, so a reader that does not read holds back the writer on the other side.

Cancelling any of these coroutines leaves the stream as it was: `send` has then written nothing, `receive` has taken
nothing.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rudp.aio.waiter import Waiter, wake
from rudp.errors import StreamClosed, StreamReset, StreamStopped
from rudp.stream import is_client_initiated, is_unidirectional

if TYPE_CHECKING:
    from rudp.aio.connection import Connection

__all__ = ["Stream"]


class Stream:
    """One stream. Made by `Connection.open_stream`, `accept_stream` and `main_stream`."""

    __slots__ = ("_connection", "_discards", "_eof_sent", "_held", "_reader", "_reset", "_stopped", "_writers", "id")

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self._connection = connection
        self.id = stream_id
        self._reader: Waiter | None = None
        self._writers: list[Waiter] | None = None
        self._reset: int | None = None
        self._stopped: int | None = None
        self._eof_sent = False
        # Receiving was ended by stop_sending.
        self._discards = False
        # What a cancelled receive_exactly had taken.
        self._held = b""

    def __repr__(self) -> str:
        return f"<rudp.Stream {self.id} of {self._connection!r}>"

    @property
    def connection(self) -> Connection:
        """The connection the stream belongs to."""
        return self._connection

    @property
    def can_receive(self) -> bool:
        """Whether the stream has a direction towards this side."""
        return not is_unidirectional(self.id) or not self._mine

    @property
    def can_send(self) -> bool:
        """Whether the stream has a direction away from this side."""
        return not is_unidirectional(self.id) or self._mine

    @property
    def _mine(self) -> bool:
        return is_client_initiated(self.id) == self._connection.core.is_client

    # -- sending ------------------------------------------------------------------------------------------------

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data`, after waiting until the send buffer is below its high-water mark (`Config.send_buffer`).

        Raises StreamStopped (the peer wants no more), StreamClosed (this direction has ended), ConnectionClosed, or
        the error that ended the connection.
        """
        connection = self._connection
        core = connection.core
        while True:
            if self._stopped is not None or connection.is_closed:
                self._check_sending()
            if core.send_within(self.id, data):
                break
            waiter: Waiter = asyncio.Future(loop=connection.loop)
            self._writers = [*(self._writers or ()), waiter]
            try:
                await waiter
            finally:
                self._writers = [other for other in self._writers if other is not waiter] or None
        connection.driver.wake()

    async def send_eof(self) -> None:
        """End this direction: the peer reads everything, then the end. No effect when it has ended already.

        Raises ConnectionClosed, or the error that ended the connection.
        """
        self._connection.check()
        self.finish()

    def finish(self) -> None:
        """`send_eof` without a coroutine."""
        if not self._eof_sent:
            self._eof_sent = True
            self._connection.core.send(self.id, b"", fin=True)
            self._connection.driver.wake()

    def reset(self, code: int = 0) -> None:
        """Give up sending: what has not arrived is dropped, the peer's reader gets StreamReset with `code`.

        A peer that didn't ask for it by `stop_sending` admits further streams in place of 1,000 such a second.
        """
        self._eof_sent = True
        self._connection.core.reset_stream(self.id, code)
        self._connection.driver.wake()

    def _check_sending(self) -> None:
        if self._stopped is not None:
            raise StreamStopped(
                f"the peer asked to stop sending on stream {self.id}, code {self._stopped}", code=self._stopped
            )
        self._connection.check()

    # -- receiving ----------------------------------------------------------------------------------------------

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes in order, at least one and at most `max_bytes`; b"" at the end of the stream.

        Raises StreamReset (the peer gave up the stream), StreamClosed (nothing is to be received on it), ValueError
        (max_bytes below 1), or the error that ended the connection, after all that had arrived was read.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes={max_bytes}: must be at least 1")
        if self._held:
            data, self._held = self._held[:max_bytes], self._held[max_bytes:]
            return data
        connection = self._connection
        core = connection.core
        waits = core.waits(self.id)
        if waits:
            connection.driver.send_before_wait()
        while True:
            if self._discards or self.id & 0x2:
                self._check_receiving()
            if not waits:
                try:
                    # Of a reset the core must hear that it was told, or the stream would never count as ended.
                    data = core.receive(self.id, max_bytes)
                finally:
                    connection.driver.wake_if_ready()
                if data:
                    return data
                if core.at_eof(self.id):
                    return b""
            if self._reset is not None:
                raise StreamReset(f"the peer reset stream {self.id}, code {self._reset}", code=self._reset)
            await self._readable()
            waits = False

    def _check_receiving(self) -> None:
        if not self.can_receive:
            raise StreamClosed(f"stream {self.id} is unidirectional and this side's: there is nothing to receive on it")
        if self._discards:
            raise StreamClosed(f"receiving on stream {self.id} was stopped by stop_sending()")

    async def receive_exactly(self, n: int) -> bytes:
        """Exactly `n` bytes. Raises asyncio.IncompleteReadError, with what there was, if the stream ends before."""
        parts: list[bytes] = []
        missing = n
        while missing > 0:
            try:
                data = await self.receive(missing)
            except BaseException:
                self._held = b"".join(parts)
                self._connection.keep(self)
                raise
            if not data:
                raise asyncio.IncompleteReadError(b"".join(parts), n)
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def stop_sending(self, code: int = 0) -> None:
        """Ask the peer to stop: what arrives from now on is dropped, and `receive` raises StreamClosed."""
        core = self._connection.core
        if self._reset is None and self.can_receive and not core.at_eof(self.id):
            self._discards = True
        core.stop_sending(self.id, code)
        self._connection.driver.wake()
        self.on_readable()

    def _readable(self) -> Waiter:
        connection = self._connection
        if connection.is_closed:
            connection.check()
        if self._reader is not None and not self._reader.done():
            raise RuntimeError(f"another coroutine is already waiting to receive on stream {self.id}")
        waiter: Waiter = asyncio.Future(loop=connection.loop)
        self._reader = waiter
        return waiter

    # -- ending -------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End both directions: what was written still arrives, what was not read is dropped. Safe to repeat."""
        core = self._connection.core
        if self._connection.is_closed:
            return
        if self.can_receive and not core.at_eof(self.id):
            self.stop_sending(0)
        if self.can_send and self._stopped is None and core.is_writable:
            self.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self._connection.is_closed and self.can_send:
            self.reset(0)
        await self.aclose()

    # -- events -------------------------------------------------------------------------------------------------

    def on_readable(self) -> bool:
        """Bytes or the end arrived: whether everyone who waited for them has gone on."""
        return self._reader is None or wake(self._reader)

    def on_writable(self) -> bool:
        """The send buffer fell to its low-water mark: whether everyone who waited for that has gone on."""
        done = True
        for waiter in self._writers or ():
            done = wake(waiter) and done
        return done

    def on_reset(self, code: int) -> None:
        """The peer reset the stream."""
        self._reset = code
        self.on_readable()

    def on_stopped(self, code: int) -> None:
        """The peer asked to stop sending."""
        self._stopped = code
        self._eof_sent = True
        self.on_writable()

    def on_terminated(self, error: Exception | None) -> bool:  # noqa: ARG002 (a transport hands it on)
        """The connection ended: whoever waits looks again and finds out how. Whether this knows what a new one
        wouldn't."""
        self.on_readable()
        self.on_writable()
        return bool(self._held or self._discards) or self._reset is not None or self._stopped is not None
