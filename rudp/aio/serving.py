"""`rudp.serve` and `rudp.start_server`: a server in this process, or in several.

Knows: which of the two was asked for. Refuses to know: how either works.
"""

from __future__ import annotations

import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from functools import partial
from typing import Any, overload

from rudp.aio.endpoint import Handler, Server, handler_server, open_socket
from rudp.aio.transport import LIMIT, stream_server
from rudp.aio.worker_options import Workers
from rudp.aio.workers import WorkerServer, serve_by_workers
from rudp.config import Config

__all__ = ["serve", "start_server"]


@overload
async def serve(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    config: Config | None = None,
    sock: socket.socket | None = None,
    family: int = 0,
    workers: None = None,
) -> Server: ...


@overload
async def serve(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    config: Config | None = None,
    sock: socket.socket | None = None,
    family: int = 0,
    workers: int | Workers,
) -> WorkerServer: ...


async def serve(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    config: Config | None = None,
    sock: socket.socket | None = None,
    family: int = 0,
    workers: int | Workers | None = None,
) -> Server | WorkerServer:
    """Serve: `handler(connection)`, a coroutine function, runs once for each connection that a client opens.

    When it returns the connection is closed; when it raises the connection is aborted and a line is logged. `host` None
    or "" is every address. Raises SocketError (an OSError) with the system's errno, and socket.gaierror.

    With `workers` that many processes serve the port, each with a loop of its own: see `WorkerServer`. Then `handler`
    must be one that pickle can name, such as a function of a module, and WorkerError is raised if they don't start.
    """
    config = config or Config()
    if workers is not None:
        start = partial(handler_server, handler)
        return await serve_by_workers(start, host, port, config=config, sock=sock, family=family, workers=workers)
    return handler_server(handler, await open_socket(host, port, config, sock, family), config)


@overload
async def start_server(
    client_connected_cb: Callable[[StreamReader, StreamWriter], Any],
    host: str | None = None,
    port: int = 0,
    *,
    limit: int = LIMIT,
    config: Config | None = None,
    sock: socket.socket | None = None,
    family: int = 0,
    workers: None = None,
) -> Server: ...


@overload
async def start_server(
    client_connected_cb: Callable[[StreamReader, StreamWriter], Any],
    host: str | None = None,
    port: int = 0,
    *,
    limit: int = LIMIT,
    config: Config | None = None,
    sock: socket.socket | None = None,
    family: int = 0,
    workers: int | Workers,
) -> WorkerServer: ...


async def start_server(
    client_connected_cb: Callable[[StreamReader, StreamWriter], Any],
    host: str | None = None,
    port: int = 0,
    *,
    limit: int = LIMIT,
    config: Config | None = None,
    sock: socket.socket | None = None,
    family: int = 0,
    workers: int | Workers | None = None,
) -> Server | WorkerServer:
    """As asyncio.start_server: `client_connected_cb(reader, writer)` for stream 0 of each connection, at once, and for
    each further stream that the peer opens. Raises as `serve`; `workers` as there."""
    config = config or Config()
    if workers is not None:
        start = partial(stream_server, client_connected_cb, limit)
        return await serve_by_workers(start, host, port, config=config, sock=sock, family=family, workers=workers)
    return stream_server(client_connected_cb, limit, await open_socket(host, port, config, sock, family), config)
