"""aiopquic: picoquic (C) in a thread of its own, behind asyncio.

Each client connection starts such a thread and a socket, so this adapter opens no thousands of them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import Any, Final

from aiopquic.asyncio import QuicConnectionProtocol, connect, serve
from aiopquic.quic.configuration import QuicConfiguration
from aiopquic.quic.events import ConnectionTerminated, StreamDataReceived

from ..interface import HOST, Channel, Contender, Data, Handler, Peer, Setup

__all__ = ["CONTENDERS"]


class PicoChannel(Channel):
    """One stream of a connection."""

    def __init__(self, quic: Any, stream_id: int, context: Any = None) -> None:
        self.quic = quic
        self.stream_id = stream_id
        self.context = context
        self.pieces: deque[memoryview] = deque()
        self.ended = False
        self.heard = asyncio.Event()

    async def send(self, data: bytes) -> None:
        await self.quic.send_stream_data_drained(self.stream_id, data)

    async def receive(self) -> Data:
        while not self.pieces and not self.ended:
            self.heard.clear()
            await self.heard.wait()
        return self.pieces.popleft() if self.pieces else b""

    async def close(self) -> None:
        if self.context is not None:
            await self.context.__aexit__(None, None, None)


class Protocol(QuicConnectionProtocol):
    """Sorts what arrives into channels."""

    def __init__(self, quic: Any, stream_handler: Any = None) -> None:
        super().__init__(quic, stream_handler)
        self.quic = quic
        self.channels: dict[int, PicoChannel] = {}
        self.handler: Handler | None = None

    def quic_event_received(self, event: Any) -> None:
        if isinstance(event, StreamDataReceived):
            channel = self.channels.get(event.stream_id)
            if channel is None:
                channel = self.channels[event.stream_id] = PicoChannel(self.quic, event.stream_id)
                assert self.handler is not None
                self.serving = asyncio.ensure_future(self.handler(channel))
            if len(event.data):
                channel.pieces.append(event.data)
            channel.ended = event.end_stream
            channel.heard.set()
        elif isinstance(event, ConnectionTerminated):
            for channel in self.channels.values():
                channel.ended = True
                channel.heard.set()


class PicoPeer(Peer):
    """Server and clients."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.server: Any = None

    def configuration(self, *, is_client: bool) -> Any:
        configuration = QuicConfiguration(
            is_client=is_client, alpn_protocols=["bench"], idle_timeout=300.0, max_connections=20_000,
            congestion_control_algorithm="cubic", ip_family=socket.AF_INET,
        )  # fmt: skip
        if is_client:
            configuration.verify_mode = ssl.CERT_NONE
            configuration.server_name = "localhost"
        else:
            configuration.load_cert_chain(self.setup.certificate, self.setup.key)
        return configuration

    async def serve(self, handler: Handler) -> int:
        def accepted(quic: Any, stream_handler: Any = None) -> Protocol:
            protocol = Protocol(quic, stream_handler)
            protocol.handler = handler
            return protocol

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((HOST, 0))
            port: int = free.getsockname()[1]  # it can't tell which port it has been given for 0
        configuration = self.configuration(is_client=False)
        self.server = await serve(HOST, port, configuration=configuration, create_protocol=accepted)
        return port

    async def connect(self, port: int) -> Channel:
        context = connect(HOST, port, configuration=self.configuration(is_client=True), create_protocol=Protocol)
        protocol = await context.__aenter__()
        quic = protocol._quic
        channel = PicoChannel(quic, quic.get_next_available_stream_id(), context)
        protocol.channels[channel.stream_id] = channel
        return channel

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()


THREADS: Final = "each client connection is a thread and a socket of its own"
CONTENDERS: Final = {
    "aiopquic": Contender(
        PicoPeer, "picoquic (C)", "its own: 1,440 found", "TLS 1.3",
        without={"idle": THREADS, "idle-many": THREADS, "held": THREADS}, note="its controller set to CUBIC",
    ),
}  # fmt: skip
