"""asyncio's datagram transport on a simulated socket: plain UDP beside rudp, on the same links.

Knows: asyncio's contract of datagram transports and protocols. Refuses to know: what datagrams mean, when they arrive.
Nothing is buffered on the way out: a simulated socket always takes what it is given.
"""

from __future__ import annotations

import asyncio
import errno
import warnings
from collections.abc import Callable
from typing import Any, Final, Protocol

from rudp.sim.aio.sockets import ANY_IPV4, ANY_IPV6, SimulatedSocket, is_ipv6
from rudp.sim.gro import MAX_PAYLOAD
from rudp.train import Address, Train
from rudp.udp import DEFAULT_BUFFER_SIZE
from rudp.udp_options import normalise_address

__all__ = ["DatagramTransport", "open_endpoint"]

# Received buffers a turn of the loop.
BUFFERS_PER_WAKEUP: Final = 16


class SocketLoop(Protocol):
    """What is needed of the loop."""

    def open_socket(self, local_addr: Any, *, family: int = 0, buffer_size: int) -> SimulatedSocket:
        """A socket on the running task's machine."""

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """As asyncio's."""

    def remove_reader(self, fd: Any) -> bool:
        """As asyncio's."""

    def call_soon(self, callback: Any, *args: Any) -> asyncio.Handle:
        """As asyncio's."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As asyncio's."""

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, flags: int = 0) -> list[Any]:  # noqa: A002
        """As asyncio's."""


class DatagramTransport(asyncio.DatagramTransport):
    """A simulated UDP socket for a protocol."""

    def __init__(self, loop: SocketLoop, sock: SimulatedSocket, protocol: Any, remote: Address | None) -> None:
        super().__init__({"socket": sock, "sockname": sock.local_address, "peername": remote})
        self._loop = loop
        self._sock = sock
        self._protocol = protocol
        self._remote = remote
        self._closing = False
        if remote is not None:
            sock.connect(remote)
        self._tell(protocol.connection_made, self)
        loop.add_reader(sock.fileno(), self._on_readable)

    def __del__(self) -> None:
        if not self._closing:
            warnings.warn(f"unclosed transport of {self._sock!r}", ResourceWarning, source=self, stacklevel=2)
            self._sock.close()

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram to `addr`, a numeric address; to the endpoint's remote one without."""
        if self._remote is not None and addr not in (None, self._remote):
            raise ValueError(f"Invalid address: must be None or {self._remote}")
        to = self._remote if addr is None else normalise_address(addr)
        if to is None:
            raise ValueError("no address: the endpoint was opened without remote_addr")
        if self._closing:
            return
        size = len(data)
        if size > MAX_PAYLOAD:
            self._protocol.error_received(OSError(errno.EMSGSIZE, f"{size} bytes don't fit a datagram"))
            return
        self._sock.send(Train([bytes(data)], max(1, size), size, None, to, 0))

    def _on_readable(self) -> None:
        for _ in range(BUFFERS_PER_WAKEUP):
            if self._closing or (received := self._sock.receive()) is None:
                break
            data, step = bytes(received.data), max(1, received.segment_size)
            for start in range(0, len(data) or 1, step):
                if not self._closing:
                    self._tell(self._protocol.datagram_received, data[start : start + step], received.remote)
        for _, error in () if self._closing else self._sock.read_errors():
            # As Linux, which tells unconnected sockets nothing of the network's errors.
            if self._remote is not None or error.errno != errno.ECONNREFUSED:
                self._protocol.error_received(error)

    def _tell(self, method: Callable[..., object], *arguments: object) -> None:
        """Call a method of the protocol as a callback of its own: what it raises goes to the loop's handler."""
        try:
            method(*arguments)
        except Exception as error:
            context = {"message": f"Exception in {method!r}", "exception": error, "transport": self}
            self._loop.call_exception_handler(context)

    def is_closing(self) -> bool:
        """Whether close or abort was called."""
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol in use."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Use another protocol from now on."""
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        """0: nothing waits."""
        return 0

    def close(self) -> None:
        """Close the socket, and tell the protocol in the next turn."""
        if not self._closing:
            self._closing = True
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close


async def open_endpoint(
    loop: SocketLoop, protocol_factory: Any, local_addr: Any, remote_addr: Any, family: int
) -> tuple[DatagramTransport, Any]:
    """What `loop.create_datagram_endpoint` does. Raises SocketError, socket.gaierror."""

    async def resolved(address: Any) -> Address:
        found = await loop.getaddrinfo(*address[:2], family=family)
        result: Address = found[0][4]
        return result

    remote = None if remote_addr is None else await resolved(remote_addr)
    if local_addr is not None:
        local: Any = await resolved(local_addr) if local_addr[0] else local_addr
    else:
        local = (ANY_IPV6 if remote is not None and is_ipv6(remote[0]) else ANY_IPV4, 0)
    sock = loop.open_socket(local, family=family, buffer_size=DEFAULT_BUFFER_SIZE)
    try:
        protocol = protocol_factory()
        return DatagramTransport(loop, sock, protocol, remote), protocol
    except BaseException:
        sock.close()
        raise
