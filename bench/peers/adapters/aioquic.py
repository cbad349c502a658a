"""aioquic: QUIC in pure Python, the ciphers in C."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration

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


def unsent(quic: Any, stream_id: int) -> int:
    """Bytes of the stream that aren't acknowledged; nothing public tells."""
    return len(quic._streams[stream_id].sender._buffer)


class AioquicPeer(QuicPeer):
    """aioquic, CUBIC in place of its default Reno."""

    library = Library(
        connect, serve, QuicConfiguration, Protocol, unsent, {"congestion_control_algorithm": "cubic"}
    )


SLOW: Final = "would take minutes to open"
CONTENDERS: Final = {
    "aioquic": Contender(
        AioquicPeer, "pure Python, ciphers in C", "chosen", "TLS 1.3",
        without={"idle-many": SLOW, "held": "asked of rudp only"}, note="CUBIC",
    ),
}  # fmt: skip
