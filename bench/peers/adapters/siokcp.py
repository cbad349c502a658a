"""siokcp: KCP (C), with its segments over a socket of our own.

Its own asyncio layer wakes each connection every few milliseconds; this is KCP driven by what arrives and by one timer,
with the settings its authors call fastest, no congestion control and a window large enough for loopback.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import Any, Final

from siokcp import KCPConnection

from ..interface import HOST, Channel, Contender, Handler, Peer, Setup

__all__ = ["CONTENDERS"]

CONVERSATION: Final = 1
INTERVAL: Final = 10  # milliseconds between updates
WINDOW: Final = 512  # segments
BUFFER: Final = 4 << 20
PIECE: Final = 1 << 16  # bytes of one call: KCP takes at most 127 segments at a time


class KcpChannel(Channel):
    """One conversation. KCP has no handshake and no end."""

    def __init__(self, sock: socket.socket, address: Any, datagram: int) -> None:
        self.sock = sock
        self.address = address
        self.loop = asyncio.get_running_loop()
        self.kcp = KCPConnection(CONVERSATION, self.output, print)
        self.kcp.stream = 1
        self.kcp.setmtu(datagram)
        self.kcp.wndsize(WINDOW, WINDOW)
        self.kcp.nodelay(1, INTERVAL, 2, 1)
        self.pieces: list[bytes] = []
        self.heard = asyncio.Event()
        self.timer = self.loop.call_soon(self.tick)

    def output(self, datagram: bytes) -> int:
        with suppress(BlockingIOError):  # lost: KCP sends it again
            self.sock.sendto(datagram, self.address)
        return 0

    def tick(self) -> None:
        now = time.monotonic_ns() // 1_000_000
        self.kcp.update(now & 0xFFFFFFFF)
        self.timer = self.loop.call_later(INTERVAL / 1000, self.tick)

    def datagrams_received(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self.kcp.receive_data(datagram)
        while (piece := self.kcp.next_event()) is not None:
            self.pieces.append(piece)
        self.kcp.flush()  # acknowledgements now, not at the next tick
        self.heard.set()

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        for at in range(0, len(view), PIECE):
            while self.kcp.waitsnd() > 2 * WINDOW:
                self.heard.clear()
                await self.heard.wait()
            self.kcp.send(view[at : at + PIECE])
        self.kcp.flush()

    async def receive(self) -> bytes:
        while not self.pieces:
            self.heard.clear()
            await self.heard.wait()
        pieces, self.pieces = self.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def close(self) -> None:
        self.kcp.flush()
        self.timer.cancel()


class KcpPeer(Peer):
    """One socket, one conversation."""

    def __init__(self, setup: Setup) -> None:
        self.datagram = setup.datagram
        self.handler: Handler | None = None
        self.channel: KcpChannel | None = None
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self.sock.setblocking(False)

    def readable(self) -> None:
        datagrams: list[bytes] = []
        with suppress(BlockingIOError):
            while len(datagrams) < WINDOW // 4:
                data, address = self.sock.recvfrom(self.datagram)
                datagrams.append(data)
        if not datagrams:
            return
        if self.channel is None:
            self.channel = KcpChannel(self.sock, address, self.datagram)
            assert self.handler is not None
            self.serving = asyncio.ensure_future(self.handler(self.channel))
        self.channel.datagrams_received(datagrams)

    async def serve(self, handler: Handler) -> int:
        self.handler = handler
        self.sock.bind((HOST, 0))
        asyncio.get_running_loop().add_reader(self.sock, self.readable)
        port: int = self.sock.getsockname()[1]
        return port

    async def connect(self, port: int) -> Channel:
        self.channel = KcpChannel(self.sock, (HOST, port), self.datagram)
        self.sock.bind((HOST, 0))
        asyncio.get_running_loop().add_reader(self.sock, self.readable)
        return self.channel

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()


NO_HANDSHAKE: Final = "KCP has neither handshake nor end"
CONTENDERS: Final = {
    "siokcp": Contender(
        KcpPeer, "KCP (C)", "chosen", "UDP's checksum",
        without={"handshakes": NO_HANDSHAKE, "idle": NO_HANDSHAKE, "idle-many": NO_HANDSHAKE, "held": NO_HANDSHAKE},
        note="no congestion control",
    ),
}  # fmt: skip
