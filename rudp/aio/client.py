"""`rudp.connect`: a connection with a socket of its own.

Knows: resolving a name, trying its addresses, whose socket is whose. Refuses to know: what happens on the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from types import TracebackType
from typing import Any, Final

from rudp.aio.connection import Connection
from rudp.aio.driver import Driver
from rudp.aio.endpoint import open_connection_on
from rudp.aio.resolve import resolve
from rudp.aio.system import current_system
from rudp.config import Config
from rudp.train import Address

__all__ = ["Connecting", "connect"]

# Seconds between the tries of a name's addresses: "Connection Attempt Delay" of RFC 8305 section 5.
ATTEMPT_DELAY: Final = 0.25


class Connecting:
    """What `connect` returns: await it for the connection, or use it as `async with`, which closes the connection."""

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return _connect(**self._arguments).__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await _connect(**self._arguments)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection is not None
        await self._connection.__aexit__(kind, error, trace)


def connect(
    host: str,
    port: int,
    *,
    config: Config | None = None,
    local_addr: tuple[str, int] | None = None,
    sock: socket.socket | None = None,
    family: int = 0,
) -> Connecting:
    """Connect to a rudp server: `connection = await connect(...)`, or `async with connect(...) as connection`.

    A name with several addresses is tried address by address, a quarter of a second apart, and the first to answer
    wins (RFC 8305). `local_addr` binds the socket; `sock` is one of your own, which the connection owns from then on.

    Raises ConnectTimeout (a TimeoutError), ConnectionRefused (a ConnectionRefusedError), VersionMismatch, SocketError
    (an OSError) and socket.gaierror (an unknown host).
    """
    return Connecting(host=host, port=port, config=config, local_addr=local_addr, sock=sock, family=family)


async def _connect(
    *,
    host: str,
    port: int,
    config: Config | None,
    local_addr: tuple[str, int] | None,
    sock: socket.socket | None,
    family: int,
) -> Connection:
    config = config or Config()
    if sock is not None and not family:
        family = sock.family if sock.family == socket.AF_INET else 0
    addresses = await resolve(host, port, family)
    if sock is not None or len(addresses) == 1:
        return await _try(addresses[0], config, local_addr, sock)
    return await _race(addresses, config, local_addr)


async def _try(
    remote: Address, config: Config, local_addr: tuple[str, int] | None, sock: socket.socket | None, delay: float = 0.0
) -> Connection:
    """One address, from a socket of its own."""
    if delay:
        await asyncio.sleep(delay)
    if sock is not None:
        udp = current_system().wrap_socket(sock, buffer_size=config.socket_buffer)
    else:
        family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
        local = local_addr or ("::" if family == socket.AF_INET6 else "0.0.0.0", 0)
        udp = current_system().open_socket(local, family=family, buffer_size=config.socket_buffer)
    driver = Driver(udp, config, accept=False)
    try:
        connection = await open_connection_on(driver, remote, config)
    except BaseException:
        driver.release()
        raise
    driver.release()
    return connection


async def _race(addresses: list[Address], config: Config, local_addr: tuple[str, int] | None) -> Connection:
    """All addresses, each a little later than the one before; the first to answer wins."""
    tries = [
        asyncio.ensure_future(_try(address, config, local_addr, None, index * ATTEMPT_DELAY))
        for index, address in enumerate(addresses)
    ]
    error: BaseException | None = None
    winner: Connection | None = None
    try:
        pending = set(tries)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            # In the order of the addresses: that of a set is not the same in every run.
            for task in filter(done.__contains__, tries):
                if task.exception() is None:
                    winner = task.result()
                    return winner
                error = task.exception()
        assert error is not None
        raise error
    finally:
        for task in tries:
            task.cancel()
        for result in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(result, Connection) and result is not winner:
                result.begin_close()
