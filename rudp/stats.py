"""What can be asked of a connection, as one frozen value.

Knows: the figures and their units. Refuses to know: where they are kept; `Connection.stats` gathers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf
from typing import Final

from rudp.packetizer import Packetizer
from rudp.path_mtu import PathMtu
from rudp.recovery import Recovery
from rudp.streams import Streams

__all__ = ["Counters", "EndpointStats", "Stats", "gather"]

_LIMITS: Final = {"congestion_window": "congestion", "pacer": "pacing"}


class Counters:
    """Running counts of one connection that no part keeps for its own work."""

    __slots__ = (
        "bytes_lost",
        "bytes_received",
        "bytes_sent",
        "datagrams_corrupt",
        "mtu_probes_lost",
        "packets_duplicate",
        "packets_lost",
        "packets_received",
        "packets_refused",
        "packets_sent",
        "packets_spurious",
    )

    def __init__(self) -> None:
        self.bytes_lost = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.datagrams_corrupt = 0
        self.mtu_probes_lost = 0
        self.packets_duplicate = 0
        self.packets_lost = 0
        self.packets_received = 0
        self.packets_refused = 0
        self.packets_sent = 0
        self.packets_spurious = 0


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
    path_mtu_state: str
    path_mtu_black_holes: int
    path_mtu_probes_lost: int
    packets_sent: int
    packets_received: int
    packets_lost: int
    packets_retransmitted: int
    packets_spurious: int
    packets_duplicate: int
    packets_refused: int
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
    opens_limited: int
    violations: int
    strays: int


def gather(  # noqa: PLR0917
    state: str,
    counters: Counters,
    recovery: Recovery,
    streams: Streams,
    packetizer: Packetizer,
    path_mtu: PathMtu,
    now: float,
) -> Stats:
    """Collect a connection's figures from its parts."""
    limited_by = "application"
    if streams.turns.next_ready() is not None:
        limited_by = _LIMITS.get(recovery.limited_by(now) or "", "application")
    elif streams.turns.flow_blocked:
        limited_by = "flow_control"
    rtt, controller = recovery.rtt, recovery.congestion
    return Stats(
        state=state,
        latest_rtt=rtt.latest_rtt,
        min_rtt=rtt.min_rtt,
        smoothed_rtt=rtt.smoothed_rtt,
        rttvar=rtt.rttvar,
        congestion=controller.name,
        congestion_window=controller.congestion_window,
        ssthresh=None if isinf(controller.ssthresh) else int(controller.ssthresh),
        bytes_in_flight=recovery.sent_packets.bytes_in_flight,
        pacing_rate=controller.pacing_rate,
        pto_count=recovery.pto_count,
        max_datagram_size=path_mtu.size,
        path_mtu_state=path_mtu.state.value,
        path_mtu_black_holes=path_mtu.black_holes,
        path_mtu_probes_lost=counters.mtu_probes_lost,
        packets_sent=counters.packets_sent,
        packets_received=counters.packets_received,
        packets_lost=counters.packets_lost,
        packets_retransmitted=packetizer.packets_retransmitted,
        packets_spurious=counters.packets_spurious,
        packets_duplicate=counters.packets_duplicate,
        packets_refused=counters.packets_refused,
        datagrams_corrupt=counters.datagrams_corrupt,
        bytes_sent=counters.bytes_sent,
        bytes_received=counters.bytes_received,
        bytes_lost=counters.bytes_lost,
        stream_bytes_sent=streams.turns.send_window.used,
        stream_bytes_received=streams.received_total,
        stream_bytes_retransmitted=streams.turns.retransmitted,
        send_buffered=streams.buffered,
        receive_window=streams.receive_window.window,
        send_window_available=streams.turns.send_window.available,
        streams_open=len(streams.held),
        limited_by=limited_by,
        ecn_capable=recovery.ecn.codepoint != 0,
    )
