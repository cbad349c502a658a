"""quic-portal: quinn (Rust) behind blocking calls: one connection, whole messages.

The calls release the interpreter, and its runtime has threads of its own. It makes its own certificate, and its client
verifies none.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from quic_portal import Portal

from ..interface import HOST, Channel, Contender, Handler, Peer, Setup

__all__ = ["CONTENDERS"]

MILLISECONDS: Final = 60_000


def free_port() -> int:
    """It takes a number only, and tells none that it would have been given for 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
    return port


class PortalChannel(Channel):
    """A portal's messages as a stream."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    async def send(self, data: bytes) -> None:
        self.portal.send(data)

    async def receive(self) -> bytes:
        try:
            return self.portal.recv(timeout_ms=MILLISECONDS) or b""
        except RuntimeError:
            return b""  # so it tells that the other side has closed

    async def close(self) -> None:
        self.portal.close()


class PortalPeer(Peer):
    """One portal."""

    def __init__(self, setup: Setup) -> None:  # noqa: ARG002
        self.portal = Portal()
        self.serving: asyncio.Task[None] | None = None

    async def serve(self, handler: Handler) -> int:
        port = free_port()

        async def serve_one() -> None:
            self.portal.listen(port)  # returns when a client has come
            await handler(PortalChannel(self.portal))

        self.serving = asyncio.ensure_future(serve_one())
        return port

    async def connect(self, port: int) -> Channel:
        self.portal.connect(HOST, port, free_port())
        return PortalChannel(self.portal)

    async def close(self) -> None:
        self.portal.close()


ONE: Final = "one connection a socket"
CONTENDERS: Final = {
    "quic-portal": Contender(
        PortalPeer, "quinn (Rust)", "its own: 1,200", "TLS 1.3",
        without={"handshakes": ONE, "idle": ONE, "idle-many": ONE, "held": ONE}, note="blocking calls, CUBIC",
    ),
}  # fmt: skip
