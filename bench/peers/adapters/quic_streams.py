"""What aioquic and its fork qh3 have in common: connections whose streams are StreamReader and StreamWriter.

Their writers never ask to wait. So that 256 MB don't lie in memory at once, the adapter waits while a stream holds more
than HIGH bytes, as a program with much to send would have to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..interface import HOST, Channel, Handler, Peer, Setup
from .streams import StreamsChannel

__all__ = ["Library", "QuicPeer"]

HIGH: Final = 1 << 20
WINDOW: Final = 16 << 20


class Library(NamedTuple):
    """The names that differ."""

    connect: Any
    serve: Any
    configuration: Any
    protocol: Any  # with an asyncio.Event `heard`, set when acknowledgements may have come
    unsent: Callable[[Any, int], int]  # of a connection and a stream: bytes it holds
    options: dict[str, Any]


class QuicChannel(StreamsChannel):
    """A stream of a connection; `context` is what `connect` gave, on the client's side."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: Any, peer: QuicPeer,
        context: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(reader, writer)
        self.protocol = protocol
        self.peer = peer
        self.context = context
        self.stream_id: int = writer.get_extra_info("stream_id")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        while self.peer.library.unsent(self.protocol._quic, self.stream_id) > HIGH:
            self.protocol.heard.clear()
            await self.protocol.heard.wait()

    async def close(self) -> None:
        """Send CONNECTION_CLOSE; the closing period that follows passes behind."""
        if self.context is not None:
            task = asyncio.ensure_future(self.context.__aexit__(None, None, None))
            self.peer.closing[task] = None
            task.add_done_callback(self.peer.closing.pop)
            await asyncio.sleep(0)


class QuicPeer(Peer):
    """Server and clients; each client connection has a socket of its own."""

    library: Library

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.server: Any = None
        self.closing: dict[asyncio.Task[Any], None] = {}

    def configuration(self, *, is_client: bool) -> Any:
        configuration = self.library.configuration(
            is_client=is_client, alpn_protocols=["bench"], max_datagram_size=self.setup.datagram, idle_timeout=300.0,
            max_data=WINDOW, max_stream_data=WINDOW, **self.library.options,
        )  # fmt: skip
        if is_client:
            configuration.verify_mode = 0
            configuration.server_name = "localhost"
        else:
            configuration.load_cert_chain(self.setup.certificate, self.setup.key)
        return configuration

    async def serve(self, handler: Handler) -> int:
        serving: dict[asyncio.Future[None], None] = {}

        def stream_opened(reader: asyncio.StreamReader, writer: Any) -> None:
            channel = QuicChannel(reader, writer, writer.transport.protocol, self)
            task = asyncio.ensure_future(handler(channel))
            serving[task] = None
            task.add_done_callback(serving.pop)

        self.server = await self.library.serve(
            HOST, 0, configuration=self.configuration(is_client=False), create_protocol=self.library.protocol,
            stream_handler=stream_opened,
        )  # fmt: skip
        port: int = self.server._transport.get_extra_info("sockname")[1]
        return port

    async def connect(self, port: int) -> Channel:
        configuration = self.configuration(is_client=True)
        context = self.library.connect(
            HOST, port, configuration=configuration, create_protocol=self.library.protocol
        )
        protocol = await context.__aenter__()
        reader, writer = await protocol.create_stream()
        return QuicChannel(reader, writer, protocol, self, context)

    async def close(self) -> None:
        for task in list(self.closing):
            task.cancel()
        if self.server is not None:
            self.server.close()
