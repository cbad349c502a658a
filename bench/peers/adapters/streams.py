"""A Channel over asyncio's StreamReader and StreamWriter, for the libraries that give those."""

from __future__ import annotations

import asyncio

from ..interface import Channel

# Bytes that a reader buffers and gives at a time.
LIMIT = 1 << 20


class StreamsChannel(Channel):
    """Reader and writer of one connection."""

    __slots__ = ("reader", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> bytes:
        return await self.reader.read(LIMIT)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()
