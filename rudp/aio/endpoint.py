"""Sockets that accept and connect, for asyncio: `Endpoint` and `Server`.

Knows: opening a socket and closing it, the connections a peer opens, handlers and their ends.
Refuses to know: what connections carry.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from rudp.aio.connection import Connection
from rudp.aio.driver import Driver, Sink
from rudp.aio.forwarding import Forwarding
from rudp.aio.resolve import check_port, resolve
from rudp.aio.system import TrainSocket, current_system
from rudp.config import Config
from rudp.connection import Connection as CoreConnection
from rudp.errors import ConnectionClosed, ConnectionLost
from rudp.stats import EndpointStats
from rudp.train import Address

__all__ = ["Endpoint", "Handler", "Server", "handler_server", "open_socket"]

Handler: TypeAlias = Callable[[Connection], Awaitable[object]]

logger = logging.getLogger("rudp")

# Connections that ended before they were accepted and may be held.
SPARE_CONNECTIONS: Final = 16


async def open_socket(
    host: str | None, port: int, config: Config, sock: socket.socket | None, family: int
) -> TrainSocket:
    """The socket to use: the user's own, or one bound to host and port. Raises SocketError."""
    if sock is not None:
        return current_system().wrap_socket(sock, buffer_size=config.socket_buffer)
    check_port(port)
    if not host:
        return current_system().open_socket((host, port), family=family, buffer_size=config.socket_buffer)
    addresses = await resolve(host, port, family)
    return current_system().open_socket(addresses[0], family=family, buffer_size=config.socket_buffer)


class _AcceptingDriver(Driver):
    """A driver that hands each connection a peer opens to a callback."""

    def __init__(
        self,
        sock: TrainSocket,
        config: Config,
        on_accept: Callable[[Connection], None],
        forwarding: Forwarding | None = None,
    ) -> None:
        super().__init__(sock, config, accept=True, forwarding=forwarding)
        self._on_accept = on_accept

    def accepted(self, core: CoreConnection) -> Sink | None:
        # Before the callback, which may fail: the connection must hear of its end all the same.
        connection = self.sinks[core.id] = Connection(self, core)
        self._on_accept(connection)
        return connection


class Endpoint:
    """One UDP socket that both accepts and connects: for peers, and for thousands of client connections.

    `Endpoint.bind` makes it. Usable as `async with`, which closes it.
    """

    def __init__(self, sock: TrainSocket, config: Config) -> None:
        self._accepted: list[Connection] = []
        # How many of them there may be before it is worth looking for those that have ended.
        self._look_at = SPARE_CONNECTIONS
        self._waiters: list[asyncio.Future[None]] = []
        self._driver = _AcceptingDriver(sock, config, self._on_accept)

    @classmethod
    async def bind(
        cls,
        host: str | None = None,
        port: int = 0,
        *,
        config: Config | None = None,
        sock: socket.socket | None = None,
        family: int = 0,
    ) -> Self:
        """Open a UDP socket and an endpoint on it. `host` None or "" is every address, port 0 any free one.

        Raises SocketError (an OSError) with the system's errno, and socket.gaierror for an unknown host.
        """
        config = config or Config()
        return cls(await open_socket(host, port, config, sock, family), config)

    @property
    def local_address(self) -> Address:
        """The address the socket is bound to."""
        return self._driver.socket.local_address

    @property
    def udp(self) -> TrainSocket:
        """The UDP socket: its `capabilities`, the `buffer_sizes` asked for and granted, its `counters`."""
        return self._driver.socket

    @property
    def sock(self) -> socket.socket:
        """The UDP socket."""
        sock: socket.socket = self._driver.socket.sock
        return sock

    def stats(self) -> EndpointStats:
        """The endpoint's figures."""
        return self._driver.core.stats()

    async def connect(self, host: str, port: int, *, config: Config | None = None) -> Connection:
        """Open a connection from this socket. Raises as `rudp.connect`."""
        sock = self._driver.socket
        addresses = await resolve(host, port, sock.sock.family if sock.sock.family == socket.AF_INET else 0)
        return await open_connection_on(self._driver, addresses[0], config)

    async def accept(self) -> Connection:
        """The next connection that a peer opened. Raises ConnectionClosed when the endpoint is closed."""
        while True:
            while self._accepted:
                connection = self._accepted.pop(0)
                if not connection.is_closed:
                    return connection
            if self._driver.closed.done():
                raise ConnectionClosed("the endpoint is closed: no further connection will come")
            waiter = self._driver.loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)

    async def connections(self) -> AsyncIterator[Connection]:
        """The connections that peers open, until the endpoint is closed."""
        while True:
            try:
                connection = await self.accept()
            except ConnectionClosed:
                return
            yield connection

    def _on_accept(self, connection: Connection) -> None:
        self._accepted.append(connection)
        if len(self._accepted) > self._look_at:
            self._accepted = [waiting for waiting in self._accepted if not waiting.is_closed]
            self._look_at = 2 * len(self._accepted) + SPARE_CONNECTIONS
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def close(self) -> None:
        """End every connection at once and close the socket. Close connections first to end them in good order."""
        self._driver.abort("the endpoint was closed")
        self._wake()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open_connection_on(driver: Driver, remote: Address, config: Config | None) -> Connection:
    """Open a connection over a driver and wait until it is established."""
    core = driver.connect(remote, config)
    connection = Connection(driver, core)
    driver.sinks[core.id] = connection
    await connection.wait_connected()
    return connection


class Server:
    """What `serve` and `start_server` return; has what asyncio.Server has. Usable as `async with`."""

    def __init__(
        self,
        sock: TrainSocket,
        config: Config,
        on_accept: Callable[[Connection], None],
        forwarding: Forwarding | None = None,
    ) -> None:
        self._driver = _AcceptingDriver(sock, config, self._on_accept, forwarding)
        self._started = on_accept
        # Of handlers that haven't returned; one that was cancelled before it began stays.
        self._tasks: dict[Connection, asyncio.Task[None]] = {}
        self._closing = False

    def _on_accept(self, connection: Connection) -> None:
        self._started(connection)

    @property
    def udp(self) -> TrainSocket:
        """The UDP socket: its `capabilities`, the `buffer_sizes` asked for and granted, its `counters`."""
        return self._driver.socket

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The UDP socket, as long as it is open."""
        return () if self._driver.closed.done() else (self._driver.socket.sock,)

    @property
    def local_address(self) -> Address:
        """The address the server is bound to; with port 0, this tells which was given."""
        return self._driver.socket.local_address

    def is_serving(self) -> bool:
        """Whether further connections are accepted."""
        return not self._closing

    def stats(self) -> EndpointStats:
        """The figures of the server's endpoint."""
        return self._driver.core.stats()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop the server runs on."""
        return self._driver.loop

    def close(self) -> None:
        """Accept no further connection. Open ones go on; the socket is closed after the last."""
        self._closing = True
        self._driver.release()

    def abort_clients(self) -> None:
        """End every connection at once."""
        self._driver.core.refuse_half_open(0, "the server shut down")
        for core in self._driver.core.connections:
            core.abort(0, "the server shut down")
        self._driver.wake()

    def close_clients(self) -> None:
        """Close every connection in good order."""
        self._driver.core.refuse_half_open(0, "the server shut down")
        for core in self._driver.core.connections:
            core.close()
        self._driver.wake()

    async def wait_closed(self) -> None:
        """Wait until `close` was called, every handler has returned and the socket is closed."""
        await asyncio.shield(self._driver.closed)
        while running := [task for task in self._tasks.values() if not task.done()]:
            await asyncio.wait(running)

    async def aclose(self, timeout: float | None = None) -> None:
        """Accept no further connection, close the open ones in good order, and wait for the end of it all.

        After `timeout` seconds (None: however long it takes) what is still open is aborted, and handlers cancelled.
        """
        self.close()
        self.close_clients()
        try:
            await asyncio.wait_for(self.wait_closed(), timeout)
        except TimeoutError:
            self.abort_clients()
            for task in list(self._tasks.values()):
                task.cancel()
            await self.wait_closed()

    async def start_serving(self) -> None:
        """Nothing: a server serves from the start. Here because asyncio.Server has it."""

    async def serve_forever(self) -> None:
        """Serve until cancelled; then the server is closed and its connections aborted."""
        try:
            await asyncio.shield(self._driver.closed)
        except asyncio.CancelledError:
            self.close()
            self.abort_clients()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is not None:
            self.abort_clients()
        await self.wait_closed()

    def run(self, connection: Connection, handler: Handler) -> None:
        """Start a handler's task; the server waits for it in `wait_closed`."""
        coroutine = _run_handler(connection, handler, self._tasks)
        task = self._driver.loop.create_task(coroutine, name="rudp handler")
        if not task.done():  # an eager one may be
            self._tasks[connection] = task


async def _run_handler(
    connection: Connection, handler: Handler, running: dict[Connection, asyncio.Task[None]]
) -> None:
    """One connection's handler: returns, and the connection is closed; raises, and it is aborted with a log line.

    The line is of level ERROR with a traceback, or INFO when the connection itself ended under the handler.
    """
    try:
        try:
            await handler(connection)
        except asyncio.CancelledError:
            connection.abort(0, "the server shut down")
            raise
        except (ConnectionLost, ConnectionClosed) as error:
            # The connection's own end, which a handler need not catch.
            logger.info("%r ended: %s", connection, error)
            connection.abort(1, "internal error")
            return
        except Exception:
            logger.exception("the handler of %r failed: the connection is aborted", connection)
            connection.abort(1, "internal error")
            return
        try:
            await connection.close()
        except OSError as error:
            logger.info("%r did not close in good order: %s", connection, error)
    finally:
        # Not by a callback of the task's, which would take a turn of the loop more.
        running.pop(connection, None)


def handler_server(
    handler: Handler, sock: TrainSocket, config: Config, forwarding: Forwarding | None = None
) -> Server:
    """A server that runs `handler` for each connection. To be called on the loop that it is to run on."""
    server: Server

    def start(connection: Connection) -> None:
        server.run(connection, handler)

    server = Server(sock, config, start, forwarding)
    return server


def extra_info(connection: Connection, name: str, default: Any = None) -> Any:
    """What a transport tells of its connection: see the table in docs/API.md."""
    if name == "connection":
        return connection
    if name == "peername":
        return connection.remote_address
    if name == "sockname":
        return connection.local_address
    if name == "stats":
        return connection.stats()
    return connection.driver.extra_info(name, default)
