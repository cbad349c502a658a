"""qh3: a fork of aioquic with its core in Rust, and GSO and GRO."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from qh3.asyncio import QuicConnectionProtocol, connect, serve
from qh3.quic.configuration import QuicConfiguration

from ..interface import Contender
from .quic_streams import Library, QuicPeer

__all__ = ["CONTENDERS"]


class Protocol(QuicConnectionProtocol):
    """One connection; tells when acknowledgements may have come."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.heard.set()

    def datagrams_received(self, data: list[bytes], addr: Any) -> None:
        super().datagrams_received(data, addr)
        self.heard.set()


def unsent(quic: Any, stream_id: int) -> int:
    """Bytes of the stream that were never sent."""
    size: int = quic.get_send_buffer_size(stream_id)
    return size


class Qh3Peer(QuicPeer):
    """qh3; its own path MTU discovery is off, so that packets have the size of the others'."""

    library = Library(connect, serve, QuicConfiguration, Protocol, unsent, {"probe_datagram_size": False})


SLOW: Final = "would take minutes to open"
CONTENDERS: Final = {
    "qh3": Contender(
        Qh3Peer, "Rust under Python", "chosen, sends 1,371", "TLS 1.3",
        without={"idle-many": SLOW, "held": "asked of rudp only"},
    ),
}  # fmt: skip
