"""pyenet: ENet (C), its host polled when its socket is readable and by a timer.

ENet has no backpressure: this adapter counts what is under way by the callback of each packet it sends. Its packets are
whole messages of at most PIECE bytes, which ENet cuts into fragments and puts together again.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import enet

from ..interface import HOST, Channel, Contender, Handler, Peer, Setup

__all__ = ["CONTENDERS"]

CHANNELS: Final = 1
MAX_PEERS: Final = 4095  # ENet's own limit
TICK: Final = 0.005  # seconds between looks at its timers
PIECE: Final = 1 << 15
WINDOW: Final = 1 << 20  # bytes given to ENet and not acknowledged


class EnetChannel(Channel):
    """A peer of an ENet host."""

    def __init__(self, owner: EnetPeer, peer: Any) -> None:
        self.owner = owner
        self.peer = peer
        self.pieces: list[bytes] = []
        self.ended = False
        self.under_way = 0
        self.heard = asyncio.Event()
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            while self.under_way >= WINDOW:
                self.heard.clear()
                await self.heard.wait()
            piece = data[at : at + PIECE] if len(data) > PIECE else data
            packet = enet.Packet(piece, enet.PACKET_FLAG_RELIABLE)
            packet.set_free_callback(partial(self.acknowledged, len(piece)))
            self.under_way += len(piece)
            if self.peer.send(0, packet) < 0:
                raise RuntimeError("ENet refused a packet")
        self.owner.flush_soon()

    def acknowledged(self, size: int) -> None:
        self.under_way -= size
        self.heard.set()

    async def receive(self) -> bytes:
        while not self.pieces and not self.ended:
            self.heard.clear()
            await self.heard.wait()
        pieces, self.pieces = self.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def close(self) -> None:
        self.peer.disconnect()
        self.owner.flush_soon()
        await self.closed.wait()


class EnetPeer(Peer):
    """One ENet host."""

    def __init__(self, setup: Setup) -> None:
        self.many = setup.many
        self.loop = asyncio.get_running_loop()
        self.host: Any = None
        self.handler: Handler | None = None
        self.channels: dict[int, EnetChannel] = {}
        self.serving: dict[asyncio.Future[None], None] = {}
        self.flushing = False

    def open(self) -> None:
        self.host = enet.Host(enet.Address(HOST.encode(), 0), MAX_PEERS, CHANNELS, 0, 0)
        self.loop.add_reader(self.host.socket.fileno(), self.work)
        self.timer = self.loop.call_later(TICK, self.tick)

    def tick(self) -> None:
        self.work()
        self.timer = self.loop.call_later(TICK, self.tick)

    def flush_soon(self) -> None:
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self.flushing = False
        self.host.flush()

    def work(self) -> None:
        event = self.host.service(0)
        while event.type != enet.EVENT_TYPE_NONE:
            key = event.peer.incomingPeerID
            if event.type == enet.EVENT_TYPE_RECEIVE:
                channel = self.channels[key]
                channel.pieces.append(event.packet.data)
                channel.heard.set()
            elif event.type == enet.EVENT_TYPE_CONNECT:
                self.connected(key, event.peer)
            else:
                self.disconnected(key)
            event = self.host.service(0)

    def connected(self, key: int, peer: Any) -> None:
        if self.handler is None:
            self.channels[key].opened.set()
            return
        channel = self.channels[key] = EnetChannel(self, peer)
        task = asyncio.ensure_future(self.handler(channel))
        self.serving[task] = None
        task.add_done_callback(self.serving.pop)

    def disconnected(self, key: int) -> None:
        channel = self.channels.pop(key, None)
        if channel is not None:
            channel.ended = True
            for event in (channel.heard, channel.opened, channel.closed):
                event.set()

    async def serve(self, handler: Handler) -> int:
        self.handler = handler
        self.open()
        port: int = self.host.address.port
        return port

    async def connect(self, port: int) -> Channel:
        if self.host is None:
            self.open()
        peer = self.host.connect(enet.Address(HOST.encode(), port), CHANNELS, 0)
        channel = self.channels[peer.incomingPeerID] = EnetChannel(self, peer)
        self.flush_soon()
        await channel.opened.wait()
        if channel.ended:
            raise ConnectionError("ENet could not connect")
        return channel

    async def close(self) -> None:
        self.timer.cancel()
        self.loop.remove_reader(self.host.socket.fileno())
        self.host = None


CONTENDERS: Final = {
    "pyenet": Contender(
        EnetPeer, "ENet (C)", "its own: 1,400", "UDP's checksum",
        without={"idle-many": "4,095 connections at most", "held": "asked of rudp only"},
    ),
}  # fmt: skip
