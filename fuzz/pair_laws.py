"""The model of `test_connection_pair`, and those of its laws that need nothing else.

Knows: the bytes that belong at each place of a stream, what a probe timeout may not be put off by, what counts as
progress. Refuses to know: which rules there are, and the network.
"""

from __future__ import annotations

from random import Random
from typing import Any

from rudp import wire
from rudp.connection import Connection
from rudp.packetizer import StreamRange
from rudp.probe_timeout import probe_delay
from rudp.state import OPEN_STATES
from tests.core_pair import Pair

__all__ = ["Direction", "check_probes", "next_probe", "pattern", "progress"]

# Long enough for the longest stream of an example at any salt.
_BYTES = Random(0).randbytes(1 << 23)


def pattern(stream_id: int, sender: str, start: int, stop: int) -> bytes:
    """Bytes that tell where they belong: each stream and direction has its own place in a block of random ones."""
    at = stream_id * 4099 + (2_000_003 if sender == "client" else 0)
    return _BYTES[at + start : at + stop]


class Direction:
    """What the model knows of one direction of a stream."""

    def __init__(self) -> None:
        self.written = 0
        self.read = 0
        self.finished = False
        self.reset = False
        self.stopped = False
        self.eof = False
        self.broken = False


def check_probes(connection: Connection) -> None:
    """The next probe comes a probe timeout after the last packet that isn't there for keepalive alone."""
    recovery: Any = connection._recovery
    if connection.state not in OPEN_STATES or recovery._detection.loss_time is not None:
        return
    if recovery.largest_acknowledged < 0:
        return  # a repeated SYN_ACK may be answered by a PING
    waiting = [train.time_sent for train in recovery.sent_packets if train.ack_eliciting and not _is_ping(train)]
    if waiting:
        latest = waiting[-1] + probe_delay(recovery.rtt.probe_timeout(), recovery.pto_count)
        assert recovery.next_timeout() <= latest + 1e-9, "the probe timeout was put off"


def _is_ping(train: Any) -> bool:
    """Whether the packet says nothing but that somebody is there. A probe asks for an ACK at once."""
    if train.mtu_probe or train.stream_id >= 0:
        return False
    return not any(isinstance(f, StreamRange) or not isinstance(f, wire.Ping | wire.Ack) for f in train.frames)


def next_probe(connection: Connection) -> float:
    """When the side asks again for what it misses, which it does ever more rarely; 0 if it misses nothing."""
    due = connection._recovery.next_timeout() if connection.state in OPEN_STATES else None
    return due or 0.0


def progress(pair: Pair) -> list[object]:
    """What changes when something arrives that isn't a mere sign of life."""
    found: list[object] = []
    for side in ("client", "server"):
        connection = pair.client if side == "client" else pair.server
        streams: Any = connection._streams
        turns = streams.turns
        found += [turns.acknowledged, turns.send_window.limit, streams.received_highest, streams.received_total]
        found += [streams.receive_window.consumed, len(streams.held), streams.resets_unacknowledged]
        found += [*streams.limits.max_streams_peer, connection._closing.fin_acked, len(pair.events[side])]
    return found
