"""Kernel TCP through asyncio: streams, a BufferedProtocol, TLS, and uvloop.

The congestion controller is set on every socket (CUBIC, where the system can), so that a machine's default doesn't
decide. Loopback has an MTU of 64 KB, and TCP's packets are that large.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial
from typing import Any, Final

from ..interface import HOST, Channel, Contender, Data, Handler, Peer, Setup
from .loops import uvloop
from .streams import LIMIT, StreamsChannel

__all__ = ["CONTENDERS"]

CONTROLLER: Final = b"cubic"
# Connections that the kernel completes before the server has accepted them.
BACKLOG: Final = 4096


def tcp_socket() -> socket.socket:
    """A TCP socket that doesn't block, with its controller set."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if hasattr(socket, "TCP_CONGESTION"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONTROLLER)
    sock.setblocking(False)
    return sock


def listening() -> socket.socket:
    """A socket bound to a free port of loopback; what it accepts inherits its controller."""
    sock = tcp_socket()
    sock.bind((HOST, 0))
    return sock


async def connected(port: int) -> socket.socket:
    """A connected socket."""
    sock = tcp_socket()
    await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
    return sock


class StreamsPeer(Peer):
    """asyncio.start_server and open_connection, with or without TLS."""

    def __init__(self, setup: Setup, *, tls: bool = False) -> None:
        self.server: asyncio.Server | None = None
        self.server_context: ssl.SSLContext | None = None
        self.client: dict[str, Any] = {}
        if tls:
            self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.server_context.load_cert_chain(setup.certificate, setup.key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.client = {"ssl": context, "server_hostname": "localhost"}

    async def serve(self, handler: Handler) -> int:
        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await handler(StreamsChannel(reader, writer))
            writer.close()

        self.server = await asyncio.start_server(
            serve_one, sock=listening(), limit=LIMIT, ssl=self.server_context, backlog=BACKLOG
        )
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def connect(self, port: int) -> Channel:
        reader, writer = await asyncio.open_connection(sock=await connected(port), limit=LIMIT, **self.client)
        return StreamsChannel(reader, writer)

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()


class BufferedChannel(Channel, asyncio.BufferedProtocol):
    """The least that asyncio can do: the socket is read into one buffer, and written without a stream."""

    buffer = bytearray(LIMIT)  # one for all: each call is done with it before it returns
    view = memoryview(buffer)

    def __init__(self, handler: Handler | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.handler = handler
        self.take: Any = None
        self.pieces: list[bytes] = []
        self.ended = False
        self.waiting: asyncio.Future[None] | None = None
        self.writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        if self.handler is not None:
            self.task = self.loop.create_task(self.run(self.handler))

    async def run(self, handler: Handler) -> None:
        await handler(self)
        self.transport.close()

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.take is None:
            self.pieces.append(bytes(self.view[:nbytes]))
            self.wake()
        elif self.take(self.view[:nbytes]):
            self.take = None
            self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.wake(exc)
        self.resume_writing()

    def wake(self, error: Exception | None = None) -> None:
        if self.waiting is not None and not self.waiting.done():
            if error is None:
                self.waiting.set_result(None)
            else:
                self.waiting.set_exception(error)

    def pause_writing(self) -> None:
        self.writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)
        self.writable = None

    async def send(self, data: bytes) -> None:
        self.transport.write(data)
        if self.writable is not None:
            await self.writable

    async def receive(self) -> Data:
        while not self.pieces and not self.ended:
            self.waiting = self.loop.create_future()
            await self.waiting
        pieces, self.pieces = self.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def receive_into(self, take: Any) -> None:
        for piece in self.pieces:
            if take(piece):
                return
        self.pieces = []
        self.take = take
        self.waiting = self.loop.create_future()
        await self.waiting

    async def close(self) -> None:
        self.transport.close()


class BufferedPeer(Peer):
    """loop.create_server and create_connection."""

    def __init__(self, setup: Setup) -> None:  # noqa: ARG002
        self.server: Any = None

    async def serve(self, handler: Handler) -> int:
        loop = asyncio.get_running_loop()
        sock = listening()
        self.server = await loop.create_server(lambda: BufferedChannel(handler), sock=sock, backlog=BACKLOG)
        port: int = sock.getsockname()[1]
        return port

    async def connect(self, port: int) -> Channel:
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: BufferedChannel(None), sock=await connected(port))
        return channel

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()


KIND: Final = "kernel TCP, asyncio"
PACKET: Final = "64 KB, the MTU of loopback"
RUDP_ONLY: Final = "asked of rudp only"
CONTENDERS: Final = {
    "tcp-buffered": Contender(
        BufferedPeer, KIND, PACKET, "TCP's checksum", "TCP", without={"held": RUDP_ONLY}, note="BufferedProtocol"
    ),
    "tcp-streams": Contender(StreamsPeer, KIND, PACKET, "TCP's checksum", "TCP", note="StreamReader and StreamWriter"),
    "tcp-uvloop": Contender(
        BufferedPeer, "kernel TCP, uvloop (C)", PACKET, "TCP's checksum", "TCP", needs=("uvloop",), loop=uvloop,
        without={"held": RUDP_ONLY}, note="BufferedProtocol",
    ),
    "tls-streams": Contender(
        partial(StreamsPeer, tls=True), "kernel TCP, OpenSSL (C)", PACKET, "TLS 1.3", "TCP",
        without={"idle-many": "300 kB each: 3 GB", "held": RUDP_ONLY},
    ),
}  # fmt: skip
