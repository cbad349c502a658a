"""rudp: as it comes, with the packet size of the others unless path MTU discovery is asked for."""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import Any, Final

import rudp
from rudp.udp_options import UDP_GRO, UDP_SEGMENT

from ..interface import HOST, Channel, Contender, Handler, Peer, Setup
from .loops import uvloop

__all__ = ["CONTENDERS"]


class RudpChannel(Channel):
    """A connection's main stream."""

    __slots__ = ("connection", "stream")

    def __init__(self, connection: rudp.Connection) -> None:
        self.connection = connection
        self.stream = connection.main_stream

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def receive(self) -> bytes:
        return await self.stream.receive(1 << 20)

    async def close(self) -> None:
        await self.connection.close()


class WithoutOffload(socket.socket):
    """A UDP socket of a kernel that knows neither GSO nor GRO."""

    def setsockopt(self, *arguments: Any) -> None:
        """Refuse both options, as such a kernel does."""
        if arguments[0] == socket.IPPROTO_UDP and arguments[1] in (UDP_SEGMENT, UDP_GRO):
            raise OSError(errno.ENOPROTOOPT, "no offload in this benchmark")
        super().setsockopt(*arguments)


class RudpPeer(Peer):
    """rudp's asyncio front end; thousands of client connections share one socket."""

    def __init__(self, setup: Setup, protection: str, *, discovery: bool = False, offload: bool = True) -> None:
        size: dict[str, Any] = {} if discovery else {"max_datagram_size": setup.datagram, "path_mtu_discovery": False}
        # Thousands of clients a second come from one host, as they hardly do elsewhere. No other peer limits that.
        self.config = rudp.Config(protection=protection, idle_timeout=300.0, max_opens_per_host=None, **size)
        self.offload = offload
        self.many = setup.many
        self.server: rudp.Server | None = None
        self.endpoint: rudp.Endpoint | None = None

    def socket(self) -> socket.socket | None:
        return None if self.offload else WithoutOffload(socket.AF_INET, socket.SOCK_DGRAM)

    async def serve(self, handler: Handler) -> int:
        async def serve_one(connection: rudp.Connection) -> None:
            await handler(RudpChannel(connection))

        sock = self.socket()
        if sock is not None:
            sock.bind((HOST, 0))
            self.server = await rudp.serve(serve_one, config=self.config, sock=sock)
        else:
            self.server = await rudp.serve(serve_one, HOST, 0, config=self.config)
        port: int = self.server.local_address[1]
        return port

    async def connect(self, port: int) -> Channel:
        if not self.many:
            return RudpChannel(await rudp.connect(HOST, port, config=self.config, sock=self.socket()))
        if self.endpoint is None:
            self.endpoint = await rudp.Endpoint.bind(HOST, 0, config=self.config)
        return RudpChannel(await self.endpoint.connect(HOST, port))

    async def close(self) -> None:
        if self.endpoint is not None:
            await self.endpoint.close()
        if self.server is not None:
            self.server.close()
            self.server.abort_clients()
            await self.server.wait_closed()


KIND: Final = "pure Python"
BULK: Final = "as rudp-none here"
CONTENDERS: Final = {
    "rudp-none": Contender(
        partial(RudpPeer, protection="none"), KIND, "chosen", "UDP's checksum", note="protection none"
    ),
    "rudp-crc32": Contender(
        partial(RudpPeer, protection="crc32"), KIND, "chosen", "CRC-32",
        without={"idle-many": BULK, "held": BULK}, note="the default",
    ),
    "rudp-pmtud": Contender(
        partial(RudpPeer, protection="none", discovery=True),
        KIND,
        "found: 65,507 at most",
        "UDP's checksum",
        without={"rpc": BULK, "handshakes": BULK, "idle": BULK, "held": BULK},
        note="path MTU discovery, as it comes",
    ),
    "rudp-uvloop": Contender(
        partial(RudpPeer, protection="none"), KIND, "chosen", "UDP's checksum", needs=("uvloop",), loop=uvloop,
        without={"idle-many": BULK, "held": BULK},
    ),
    "rudp-portable": Contender(
        partial(RudpPeer, protection="none", offload=False), KIND, "chosen", "UDP's checksum",
        without={"handshakes": BULK, "idle": BULK, "held": BULK}, note="one datagram a call, no GSO or GRO",
    ),
}  # fmt: skip
