"""How `rudp send` and `rudp receive` talk on their stream.

Knows: length-prefixed messages (JSON) and length-prefixed pieces of the file. Refuses to know: what they
are about.

    sender    -> {"name": ..., "size": bytes or null, "resumable": true}
    receiver  -> {"offset": bytes it has already, "sha256": of those} or {"error": why not}
    sender    -> {"offset": where the data begins: the receiver's offset, or 0}
    sender    -> pieces, then an empty piece
    sender    -> {"size": bytes in all, "sha256": of all}
    receiver  -> {"saved": name} or {"error": why not}; an error may come at any time

A length is four bytes, big-endian. Everything a peer sends is checked before use.
"""

from __future__ import annotations

import json
from typing import Any, Final

import rudp
from rudp.cli.common import Failure, printable

__all__ = ["PIECE", "PROTOCOL", "Channel", "StrangePeer", "check_offset", "check_text"]

PROTOCOL: Final = "rudp-file/1"
PIECE: Final = 262_144
LONGEST_MESSAGE: Final = 16_384
LARGEST_SIZE: Final = 2**62
NOT_SPOKEN: Final = "does not speak the protocol of rudp send and receive"


class StrangePeer(Failure):
    """The peer does not speak this protocol; `did` is what shows it, as a verb and what follows."""

    def __init__(self, did: str) -> None:
        super().__init__(f"the peer {did}")
        self.did = did


class Channel:
    """Messages and pieces over one stream."""

    def __init__(self, stream: rudp.Stream) -> None:
        self._stream = stream

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        data = json.dumps(message).encode()
        await self._stream.send(len(data).to_bytes(4, "big") + data)

    async def receive(self) -> dict[str, Any]:
        """Return the next message. Raises Failure for an error the peer tells, and for what is no message."""
        data = await self._receive_block(LONGEST_MESSAGE)
        try:
            message = json.loads(data)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise StrangePeer(NOT_SPOKEN)
        if "error" in message:
            raise Failure(f"the peer says: {printable(str(message['error']), 300)}")
        return message

    async def send_piece(self, data: bytes) -> None:
        """Send a piece of the file; an empty one is its end."""
        await self._stream.send(len(data).to_bytes(4, "big"))
        if data:
            await self._stream.send(data)

    async def receive_piece(self) -> bytes:
        """Return the next piece, b"" at the end of the file."""
        return await self._receive_block(PIECE)

    async def finish(self) -> None:
        """Nothing more comes from this side."""
        await self._stream.send_eof()

    async def _receive_block(self, limit: int) -> bytes:
        size = int.from_bytes(await self._stream.receive_exactly(4), "big")
        if size > limit:
            raise StrangePeer(NOT_SPOKEN)
        return await self._stream.receive_exactly(size) if size else b""


def check_offset(message: dict[str, Any], key: str) -> int:
    """A number of bytes out of a peer's message."""
    value = message.get(key)
    if type(value) is not int or not 0 <= value <= LARGEST_SIZE:
        raise StrangePeer(f"sent no valid {key}")
    return value


def check_text(message: dict[str, Any], key: str) -> str:
    """A text out of a peer's message."""
    value = message.get(key)
    if not isinstance(value, str):
        raise StrangePeer(f"sent no valid {key}")
    return value
