"""Who may connect, and what an endpoint can say without holding state: cookies and tokens for stateless RESET.

Knows: one secret key, the keyed hashes made from it, what becomes of a SYN from an unknown client, how many connections
each host opened (`host_limit`).
Refuses to know: connections. Every operation costs one hash of a few hundred bytes (BLAKE2b, RFC 7693, keyed), `judge`
also a pass over the client's parameters, once a cookie proved its address or while few are half open.

A cookie proves that a client received what was sent to its address: it is bound to address, port, both ids, the
parameters and the time (RFC 9293 has none; RFC 9000 section 8.1.2 and RFC 4987 section 3.6 describe the idea).
A reset token proves that who resets a connection owns the key that its id was made under (RFC 9000 section 10.3).
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from struct import Struct
from typing import Final, NamedTuple

from rudp.config import Config
from rudp.errors import DecodeError, ErrorCode
from rudp.half_open import HalfOpen
from rudp.handshake import ServerHandshake, chosen_protocol, local_parameters, refusal
from rudp.host_limit import HostLimit
from rudp.path import Path
from rudp.train import Address
from rudp.wire import (
    OPENING_SIZE,
    RESET_TOKEN_SIZE,
    VERSION_1,
    Parameters,
    Refusal,
    Retry,
    Syn,
    SynAck,
    UnreadSyn,
    Version,
    decode_syn,
    encode_opening,
    read_version_invariants,
)

__all__ = ["Admission", "Admitted", "Secrets", "other_version"]

# Seconds for which a cookie is good: longer than the longest pause between two SYNs and a slow round trip.
COOKIE_LIFETIME: Final = 15.0
_COOKIE_TIME: Final = Struct(">Q")
_COOKIE_MAC_SIZE: Final = 16
_IDS: Final = Struct(">QQH")


class Secrets:
    """Cookies and reset tokens under one key of 16 to 64 bytes."""

    __slots__ = ("_cookie_key", "_fingerprint_key", "_reset_key", "host_key")

    def __init__(self, key: bytes) -> None:
        self._cookie_key = blake2b(b"cookie", key=key[:64], digest_size=32).digest()
        self._fingerprint_key = blake2b(b"fingerprint", key=key[:64], digest_size=32).digest()
        self._reset_key = blake2b(b"reset", key=key[:64], digest_size=32).digest()
        self.host_key = blake2b(b"host", key=key[:64], digest_size=32).digest()

    def reset_token(self, connection_id: int) -> bytes:
        """The token with which the owner of `connection_id` may reset the connection."""
        data = connection_id.to_bytes(8, "big")
        return blake2b(data, key=self._reset_key, digest_size=RESET_TOKEN_SIZE).digest()

    def fingerprint(self, connection_id: int, token: bytes) -> bytes:
        """What a peer's token is looked up by."""
        data = connection_id.to_bytes(8, "big") + token
        return blake2b(data, key=self._fingerprint_key, digest_size=RESET_TOKEN_SIZE).digest()

    def cookie(self, syn: UnreadSyn, remote: Address, now: float) -> bytes:
        """A cookie for this SYN from this address."""
        stamp = _COOKIE_TIME.pack(int(now * 1000))
        return stamp + self._mac(stamp, syn, remote)

    def accepts(self, syn: UnreadSyn, remote: Address, now: float) -> bool:
        """Whether the SYN carries a cookie of ours, for that address, and still good."""
        stamp = syn.cookie[: _COOKIE_TIME.size]
        if len(syn.cookie) != _COOKIE_TIME.size + _COOKIE_MAC_SIZE:
            return False
        age = now - _COOKIE_TIME.unpack(stamp)[0] / 1000
        # The clock is read in whole milliseconds.
        fresh = -0.001 <= age <= COOKIE_LIFETIME
        return compare_digest(syn.cookie[_COOKIE_TIME.size :], self._mac(stamp, syn, remote)) and fresh

    def _mac(self, stamp: bytes, syn: UnreadSyn, remote: Address) -> bytes:
        mac = blake2b(key=self._cookie_key, digest_size=_COOKIE_MAC_SIZE)
        host = remote[0].encode()
        mac.update(stamp)
        mac.update(_IDS.pack(syn.destination_id, syn.source_id, remote[1]))
        mac.update(bytes([len(host)]))
        mac.update(host)
        mac.update(syn.parameters)
        return mac.digest()


class Admitted(NamedTuple):
    """A SYN to be answered by a connection; `proven`: its cookie shows that the client has its address."""

    syn: Syn
    proven: bool


class Admission:
    """What becomes of SYNs from clients that are not known yet.

    `retries` and `refused` count answers, `limited` SYNs dropped since their host opens connections too fast.
    """

    __slots__ = ("_config", "_hosts", "_secrets", "limited", "refused", "retries")

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._config = config
        self._secrets = secrets
        rate = config.max_opens_per_host
        self._hosts = None if rate is None else HostLimit(rate, secrets.host_key)
        self.retries = 0
        self.refused = 0
        self.limited = 0

    def judge(
        self, unread: UnreadSyn, remote: Address, now: float, *, half_open: int, connections: int
    ) -> Admitted | bytes | None:
        """The SYN to open a connection for, or the datagram to answer with; None: nothing.

        While there are many half-open connections a SYN costs a hash and no more until its sender has a cookie. Many
        are `max_half_open`, and half of those that may still be had: the others are for who proves an address.
        Raises DecodeError for malformed parameters.
        """
        config = self._config
        if self._hosts is not None and not self._hosts.allows(remote[0], now):
            self.limited += 1
            return None
        proven = bool(unread.cookie) and self._secrets.accepts(unread, remote, now)
        free = config.max_connections - (connections - half_open)
        # Of a server that holds all it may, it is told at once.
        crowded = half_open >= config.max_half_open or (free > 0 and config.retry == "auto" and half_open >= free // 2)
        if not proven and (config.retry == "always" or crowded):
            if config.retry == "never":
                return None
            self.retries += 1
            cookie = self._secrets.cookie(unread, remote, now)
            return encode_opening(Retry(unread.source_id, unread.destination_id, cookie))
        syn = decode_syn(unread)
        problem = refusal(config, syn.parameters)
        if problem is None and connections >= config.max_connections:
            problem = Refusal(ErrorCode.SERVER_BUSY, "the server holds as many connections as it may; try later")
        if problem is None:
            if proven:
                self.on_opened(remote, now)
            return Admitted(syn, proven)
        self.refused += 1
        parameters = Parameters(protection=syn.parameters.protection, refused=problem)
        return encode_opening(SynAck(syn.source_id, 0, syn.try_counter, parameters))

    def on_opened(self, remote: Address, now: float) -> None:
        """A client that proved its address opens a connection: its host has one less to open. Nobody else's has."""
        if self._hosts is not None:
            self._hosts.charge(remote[0], now)

    def admit(self, packet: Syn, connection_id: int, path: Path, now: float) -> HalfOpen:
        """What is kept of a client until it is heard of again: its SYN was admitted, and we call it `connection_id`.

        Of what it stated, what the connection is made with: not what may have any size.
        """
        config = self._config
        protocol = chosen_protocol(config, packet.parameters.application_protocols)
        names = (protocol,) if protocol else ()
        parameters = local_parameters(config, self._secrets.reset_token(connection_id), names)
        stated = packet.parameters
        if stated.application_protocols or stated.unknown or packet.cookie:
            packet = packet._replace(parameters=stated._replace(application_protocols=(), unknown=()), cookie=b"")
        return HalfOpen(connection_id, packet, protocol, ServerHandshake(packet, connection_id, parameters, now), path)


def other_version(view: memoryview) -> bytes | None:
    """The answer to a SYN of another version, as long as any SYN must be: which versions there are."""
    if len(view) < OPENING_SIZE:
        return None
    try:
        destination_id, version, source_id = read_version_invariants(view)
    except DecodeError:
        return None
    if version == VERSION_1:
        return None
    return encode_opening(Version(source_id, destination_id, (VERSION_1,)))
