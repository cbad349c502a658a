"""Bulk: one stream, one way, every byte compared.

goodput is by the receiver's wall clock from its first byte to its last; CPU seconds are each process's own, the
sender's from its first write until it knows that all has arrived.
"""

from __future__ import annotations

from typing import Final

from ..load import Meter, Span, chunks, peak_memory
from .interface import Channel, Peer
from .work import Figures, Server, Talk

__all__ = ["BulkServer", "client"]

DONE: Final = b"done"


class BulkServer(Server):
    """Receives, and says so."""

    def __init__(self, size: int) -> None:
        self.meter = Meter(size)

    async def handle(self, channel: Channel) -> None:
        await channel.receive_into(self.meter.take)
        await channel.send(DONE)

    def figures(self) -> Figures:
        return {"seconds": self.meter.span.seconds, "cpu_receiver": self.meter.span.cpu}


async def client(peer: Peer, talk: Talk, *, size: int) -> Figures:
    """Send `size` bytes."""
    channel = await peer.connect(await talk.port())
    span = Span()
    span.start()
    for chunk in chunks(size):
        await channel.send(chunk)
    answer = bytes(await channel.receive())
    span.stop()
    if answer != DONE:
        raise RuntimeError(f"the receiver said {answer!r}")
    server = await talk.ask()
    await channel.close()
    return {
        "bytes": size,
        "seconds": server["seconds"],
        "cpu_sender": span.cpu,
        "cpu_receiver": server["cpu_receiver"],
        "peak_sender": peak_memory(),
        "peak_receiver": server["peak"],
    }
