"""What can be asked of a connection, as one frozen value.

Knows: the figures and their units. Refuses to know: where they are kept; `Connection.stats` gathers them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters", "EndpointStats", "Stats"]


class Counters:
    """Running counts of one connection that no part keeps for its own work."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "datagrams_corrupt",
        "packets_duplicate",
        "packets_lost",
        "packets_received",
        "packets_sent",
        "bytes_lost",
        "packets_spurious",
        "stream_bytes_retransmitted",
        "packets_retransmitted",
        "packets_refused",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)


@dataclass(frozen=True, slots=True)
class Stats:
    """A connection's figures at one instant. Times in seconds, sizes in bytes of UDP payload."""

    state: str
    latest_rtt: float
    min_rtt: float
    smoothed_rtt: float
    rttvar: float
    congestion: str
    congestion_window: int
    ssthresh: int | None
    bytes_in_flight: int
    pacing_rate: float | None
    pto_count: int
    max_datagram_size: int
    packets_sent: int
    packets_received: int
    packets_lost: int
    packets_retransmitted: int
    packets_spurious: int
    packets_duplicate: int
    datagrams_corrupt: int
    bytes_sent: int
    bytes_received: int
    bytes_lost: int
    stream_bytes_sent: int
    stream_bytes_received: int
    stream_bytes_retransmitted: int
    send_buffered: int
    receive_window: int
    send_window_available: int
    streams_open: int
    limited_by: str
    ecn_capable: bool


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """An endpoint's figures at one instant."""

    connections: int
    half_open: int
    lingering: int
    datagrams_received: int
    datagrams_dropped: int
    retries_sent: int
    resets_sent: int
    refused: int
