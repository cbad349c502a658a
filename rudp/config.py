"""What a user may set, checked when it is set.

Knows: every setting with its default, unit and bounds, and which of them travel in the SYN parameters.
Refuses to know: how a setting is used. A `Config` is frozen and shared by any number of connections; to vary one,
`dataclasses.replace(config, ...)`. `docs/CONFIGURATION.md` is generated from `FIELDS` below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from rudp.errors import ConfigurationError
from rudp.wire import MAX_PROTOCOLS

__all__ = ["Config"]

KIB: Final = 1024
MIB: Final = 1024 * 1024


def _setting(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    optional: bool = False,
    parameter: str = "",
) -> Any:
    """A dataclass field that carries its own row of the table in the docs."""
    row = {"meaning": meaning, "unit": unit, "low": low, "high": high, "optional": optional, "parameter": parameter}
    return field(default=default, metadata=row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of an endpoint and its connections.

    Raises:
        ConfigurationError: a value is of the wrong type or outside its bounds; the message names all three.
    """

    connect_timeout: float = _setting(
        10.0, "the opening ends in ConnectTimeout after this long", unit="s", low=0.01, high=3600
    )
    idle_timeout: float = _setting(
        30.0,
        "the connection ends in IdleTimeout when nothing arrives for this long; the smaller of both sides' counts, "
        "0 is none",
        unit="s",
        low=0,
        high=4_000_000,
        parameter="idle_timeout",
    )
    give_up_timeout: float = _setting(
        60.0,
        "the connection ends in PeerUnresponsive when something sent stays unacknowledged and nothing at all is "
        "acknowledged for this long",
        unit="s",
        low=0.01,
        high=4_000_000,
    )
    give_up_probes: int | None = _setting(
        None, "the same after this many probe timeouts in a row", unit="probes", low=1, high=100, optional=True
    )
    close_timeout: float = _setting(
        60.0,
        "after close(), how long the peer may take to close its side (as TCP's FIN-WAIT-2 limit)",
        unit="s",
        low=0.01,
        high=4_000_000,
    )
    keepalive: float | None = _setting(
        None, "a PING goes out when nothing arrived for this long", unit="s", low=0.01, high=4_000_000, optional=True
    )
    max_datagram_size: int = _setting(
        1200,
        "UDP payload bytes of a full packet to begin with, and for good without path_mtu_discovery; 1,200 passes every "
        "path (RFC 9000 section 14)",
        unit="bytes",
        low=1200,
        high=65507,
    )
    path_mtu_discovery: bool = _setting(
        True,
        "find out how large packets the path carries, and fall back to 1,200 where they vanish (RFC 8899)",
    )
    datagram_size_limit: int | None = _setting(
        None,
        "UDP payload bytes up to which path MTU discovery searches; None is what suits the path: 1,472 (IPv4) or 1,452 "
        "(IPv6) as on Ethernet, 65,507 on loopback",
        unit="bytes",
        low=1200,
        high=65507,
        optional=True,
    )
    max_ack_delay: float = _setting(
        0.025,
        "the longest an acknowledgement is held back (RFC 9000 section 18.2)",
        unit="s",
        low=0.0,
        high=16.0,
        parameter="max_ack_delay",
    )
    max_streams_bidi: int = _setting(
        128,
        "bidirectional streams the peer may have open at a time, stream 0 included",
        unit="streams",
        low=1,
        high=2**32,
        parameter="initial_max_streams_bidi",
    )
    max_streams_uni: int = _setting(
        128,
        "unidirectional streams the peer may have open at a time",
        unit="streams",
        low=0,
        high=2**32,
        parameter="initial_max_streams_uni",
    )
    initial_receive_window: int = _setting(
        1 * MIB,
        "credit a new stream starts with; the connection starts with one and a half times that",
        unit="bytes",
        low=4 * KIB,
        high=64 * MIB,
        parameter="initial_max_stream_data, initial_max_data",
    )
    receive_window: int = _setting(
        64 * MIB,
        "bound up to which the receive window grows by measured bandwidth x delay: the connection's; a stream's is "
        "two thirds of it. Twice as much of what is sent is kept for want of acknowledgements",
        unit="bytes",
        low=4 * KIB,
        high=1024 * MIB,
    )
    send_buffer: int = _setting(
        2 * MIB,
        "high-water mark of what a stream has written and not yet sent: send() and drain() wait above it, and go on at "
        "half of it (what is on its way is bounded by the peer's receive window)",
        unit="bytes",
        low=1,
        high=1024 * MIB,
    )
    congestion: str | type = _setting("model", "congestion controller: a name (CONGESTION.md has them) or a class")  # noqa: RUF009
    protection: str = _setting(
        "crc32",
        "packet protection, equal on both sides: 'none' trusts UDP's checksum, 'crc32' adds four bytes",
        parameter="protection",
    )
    application_protocol: str | tuple[str, ...] = _setting(
        (),
        "names offered (client) or accepted (server), in order of preference, as ALPN (RFC 7301)",
        parameter="application_protocols",
    )
    security: None = _setting(None, "reserved: None is plain; encryption becomes the default before 1.0")
    ecn: bool = _setting(True, "mark packets ECT(0) and react to CE marks (RFC 9000 section 13.4)")
    retry: str = _setting(
        "auto", "RETRY cookies: 'auto' when half-open connections pass max_half_open, 'always' or 'never'"
    )
    max_half_open: int = _setting(
        1024, "half-open connections beyond which a SYN is answered by a stateless cookie", low=0, high=2**32
    )
    max_connections: int = _setting(
        100_000, "connections an endpoint holds; a SYN beyond that is refused", low=1, high=2**32
    )
    max_opens_per_host: int | None = _setting(
        1500,
        "connections a second that one host (an IPv4 address, or 64 bits of an IPv6 one) may open, and half as many at "
        "once; its SYNs beyond that are dropped, as if lost. None is no limit: for clients that a proxy hides behind "
        "one address, and for load tests",
        unit="connections/s",
        low=1,
        high=2**32,
        optional=True,
    )
    max_stream_opens: int = _setting(
        30_000,
        "streams a second that the peer is admitted in place of those that have ended, and a tenth as many at once; a "
        "faster one waits",
        unit="streams/s",
        low=1,
        high=2**32,
    )
    max_stream_resets: int = _setting(
        1000,
        "the same in place of those that the peer reset without being asked to: one counts as max_stream_opens / "
        "max_stream_resets others",
        unit="streams/s",
        low=1,
        high=2**32,
    )
    reset_key: bytes | None = _setting(
        None,
        "secret of at least 16 bytes shared by workers and kept across restarts, for stateless RESET and cookies; "
        "without one a restarted server cannot end old connections",
        unit="bytes",
        optional=True,
        parameter="reset_token",
    )
    worker: int = _setting(0, "index of this worker, the top byte of the connection ids it draws", low=0, high=255)
    socket_buffer: int = _setting(
        8 * MIB,
        "kernel socket buffer asked for, each way; the grant is reported",
        unit="bytes",
        low=4 * KIB,
        high=2**30,
    )

    def __post_init__(self) -> None:
        for name, spec in self.__dataclass_fields__.items():
            _check_bounds(name, getattr(self, name), spec.metadata)
        _check_choice("protection", self.protection, ("none", "crc32"))
        _check_choice("retry", self.retry, ("auto", "always", "never"))
        if self.security is not None:
            raise ConfigurationError(f"security={self.security!r}: only None exists in this version; leave it out")
        if not isinstance(self.congestion, str | type):
            raise ConfigurationError(f"congestion={self.congestion!r}: must be a controller's name or class")
        if self.reset_key is not None and (not isinstance(self.reset_key, bytes) or len(self.reset_key) < 16):
            raise ConfigurationError("reset_key: must be None or 16 secret bytes or more, as secrets.token_bytes(32)")
        if self.datagram_size_limit is not None and self.max_datagram_size > self.datagram_size_limit:
            raise ConfigurationError(
                f"max_datagram_size={self.max_datagram_size} is larger than "
                f"datagram_size_limit={self.datagram_size_limit}; raise the second or lower the first"
            )
        if self.initial_receive_window > self.receive_window:
            raise ConfigurationError(
                f"initial_receive_window={self.initial_receive_window} is larger than "
                f"receive_window={self.receive_window}; raise the second or lower the first"
            )
        object.__setattr__(self, "application_protocol", _protocol_names(self.application_protocol))

    @property
    def application_protocols(self) -> tuple[str, ...]:
        """`application_protocol` as a tuple, whichever way it was given."""
        names = self.application_protocol
        return (names,) if isinstance(names, str) else names


def _check_bounds(name: str, value: Any, row: Any) -> None:
    low, high = row["low"], row["high"]
    if low is None or (value is None and row["optional"]):
        return
    whole = row["unit"] not in ("s",)
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        wanted = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{name}={value!r}: must be {wanted} from {low} to {high} {row['unit']}".rstrip())
    if not low <= value <= high:
        raise ConfigurationError(f"{name}={value!r}: must be from {low} to {high} {row['unit']}".rstrip())


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name}={value!r}: must be one of {', '.join(map(repr, choices))}")


def _protocol_names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name.encode()) <= 255:
            raise ConfigurationError(f"application_protocol: {name!r} must be a string of 1 to 255 bytes")
    if len(names) > MAX_PROTOCOLS:
        raise ConfigurationError(f"application_protocol: {len(names)} names; at most {MAX_PROTOCOLS} go")
    if sum(len(name.encode()) + 1 for name in names) > 512:
        raise ConfigurationError("application_protocol: the names together must stay within 512 bytes")
    return names
