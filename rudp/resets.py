"""Stateless resets: how a side that has lost a connection ends it.

Knows: which connection a peer's RESET ends, by its token, and how many RESETs may be sent. Refuses to know: which
connections there are; who calls has looked.

Source: RFC 9000 section 10.3. Every operation is O(1).
"""

from __future__ import annotations

from typing import Final

from rudp import wire
from rudp.admission import Secrets
from rudp.connection import Connection
from rudp.rate_limit import RateLimit

__all__ = ["Resets"]

# Stateless resets a second, and at once: enough to end a restarted server's old connections, too few to be a weapon.
RESETS_PER_SECOND: Final = 1000.0
RESET_BURST: Final = 1000.0
# Bytes of a RESET; what provokes one must be longer (RFC 9000 section 10.3.3).
RESET_SIZE: Final = len(wire.encode_opening(wire.Reset(0, bytes(wire.RESET_TOKEN_SIZE))))


class Resets:
    """The tokens of one endpoint's peers, and its own RESETs, of which `sent` were made."""

    __slots__ = ("_by_token", "_limit", "_secrets", "sent")

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        # By a keyed hash of the peer's id and token: how long a look-up takes tells nothing about tokens.
        self._by_token: dict[bytes, Connection] = {}
        self._limit = RateLimit(RESETS_PER_SECOND, RESET_BURST)
        self.sent = 0

    def know(self, connection: Connection) -> None:
        """Find a connection by what its peer's RESET will say."""
        if connection.peer_reset_token is not None:
            key = self._secrets.fingerprint(connection.peer_id, connection.peer_reset_token)
            self._by_token[key] = connection
            connection.reset_by = key

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        if connection.reset_by is not None:
            self._by_token.pop(connection.reset_by, None)

    def ended_by(self, packet: wire.Reset) -> Connection | None:
        """The connection that a RESET ends."""
        return self._by_token.get(self._secrets.fingerprint(packet.connection_id, packet.token))

    def allows(self, now: float) -> bool:
        """Whether one more may be sent, or handed on, which counts then."""
        return self._limit.allows(now)

    def answer(self, connection_id: int, longest: int, now: float) -> bytes | None:
        """The RESET for DATA of which the longest packet has `longest` bytes, of a connection that nobody knows."""
        if longest <= RESET_SIZE or not self.allows(now):
            return None
        self.sent += 1
        return wire.encode_opening(wire.Reset(connection_id, self._secrets.reset_token(connection_id)))
