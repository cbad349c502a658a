"""The trace of a run: what every packet met, and how connections and queues were while it ran.

Knows: what a record of a packet, a connection and a queue says, in which order records come.
Refuses to know: how a record is written (`rudp.trace`), how packets get along (`route` tells, if it is asked to).

Nodes work ahead of the clock, so a packet's fate may be known before its time; records wait until the clock is
there. A traced run is the same run: same bytes, same instants, same digest. Untraced ones pay nothing: routes
are built without the calls that are made from here.

Cost: a traced node takes packets one by one, so that it shows which it drops; one record a packet at either end and
at a drop, one a sample for each connection and queue that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from math import inf
from types import TracebackType
from typing import Any, Final

from rudp import trace, wire
from rudp.errors import DecodeError
from rudp.sim.clock import Clock, SimulationError
from rudp.sim.host import Host
from rudp.sim.line import Rate
from rudp.sim.node import Batch, Datagram, Node
from rudp.stats import Stats
from rudp.train import Address

__all__ = ["Trace", "check_interval"]

# qlog's names for packets of the same purpose; the rest has qlog's "unknown".
_KINDS: Final = {
    wire.PacketType.SYN: "initial",
    wire.PacketType.SYN_ACK: "handshake",
    wire.PacketType.RETRY: "retry",
    wire.PacketType.VERSION: "version_negotiation",
    wire.PacketType.RESET: "stateless_reset",
}
_ECN: Final = ("Not-ECT", "ECT(1)", "ECT(0)", "CE")


class Trace:
    """Made by `Network.trace`. Writes what is due as the run goes on; what is yet to come at its end is not told."""

    __slots__ = ("_armed", "_clock", "_close", "_hosts", "_interval", "_last", "_names", "_nodes", "_open", "_packets",
                 "_pending", "_sequence", "_writer")  # fmt: skip

    def __init__(  # noqa: PLR0917
        self,
        clock: Clock,
        hosts: Iterable[Host],
        nodes: Mapping[Node, int],
        writer: trace.Writer,
        close: Callable[[], object],
        interval: float,
        packets: bool,
        names: Mapping[Node, str],
    ) -> None:
        self._clock, self._hosts, self._nodes, self._names = clock, hosts, nodes, names
        self._writer, self._close, self._interval, self._packets = writer, close, interval, packets
        self._pending: list[tuple[float, int, str, Datagram, Node | None]] = []
        self._sequence = 0
        self._last: dict[str, dict[str, Any]] = {}
        self._armed = False
        self._open = True

    def close(self) -> None:
        """Take a last sample, write what is left and close the file, if the network opened it."""
        if self._open:
            self._sample(self._clock.now)
            self.flush(self._clock.now)
            self._open = False
            self._close()

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What routes tell

    def sent(self, batch: Batch) -> None:
        """A host sends a batch."""
        self._note(trace.PACKET_SENT, batch, None)
        if not self._armed and self._open:
            self._armed = True
            self._clock.call_at(self._clock.now, self._on_event)

    def received(self, batch: Batch) -> None:
        """A batch gets to a host."""
        self._note(trace.PACKET_RECEIVED, batch, None)

    def dropped(self, node: Node, batch: Batch) -> None:
        """A node drops the packets of a batch at their times."""
        self._note(trace.PACKET_DROPPED, batch, node)

    def watched(self, node: Node) -> Callable[[Batch], Batch]:
        """The node's `process`, one packet a call, so that it shows which one it drops."""
        process = node.process

        def watched(batch: Batch) -> Batch:
            out: Batch = []
            for item in batch:
                before = node.dropped
                out += process([item])
                if node.dropped != before:
                    self.dropped(node, [item])
            return out

        return watched

    # Samples and records

    def _on_event(self, now: float) -> None:
        self._clock.events -= 1  # no event of the run
        self._armed = False
        if not self._open:
            return
        self._sample(now)
        following = self._clock.next_event_at()
        if following is not None:
            self._armed = True
            self._clock.call_at(max(following, now + self._interval), self._on_event)

    def _sample(self, now: float) -> None:
        self.flush(now)
        for host in self._hosts:
            for connection in getattr(host.endpoint, "connections", ()):
                if connection.is_open:
                    group = f"{_text(host.address)} {connection.id:016x}"
                    self._update(now, trace.METRICS_UPDATED, _metrics(connection.stats(now)), group)
        for node in self._nodes:
            if isinstance(node, Rate):
                name = self._name(node)
                packets, size = node.queued(now)
                figures = {
                    "node": name,
                    "queued_packets": packets,
                    "queued_bytes": size,
                    "waiting": trace.milliseconds(node.waiting(now)),
                    "dropped": node.dropped,
                }
                self._update(now, trace.QUEUE_UPDATED, figures, name)

    def _update(self, now: float, name: str, data: dict[str, Any], group: str) -> None:
        if self._last.get(group) != data:
            self._last[group] = data
            self._writer.event(trace.Event(now, name, data, group))

    def _note(self, name: str, batch: Batch, node: Node | None) -> None:
        if self._packets and self._open:
            for time, datagram in batch:
                self._sequence += 1
                heappush(self._pending, (time, self._sequence, name, datagram, node))

    def flush(self, now: float) -> None:
        """Write the packets' records up to `now`."""
        pending = self._pending
        while pending and pending[0][0] <= now:
            time, _, name, datagram, node = heappop(pending)
            data = _packet(datagram)
            group = datagram.destination if name == trace.PACKET_RECEIVED else datagram.source
            if node is not None:
                data["node"] = self._name(node)
            self._writer.event(trace.Event(time, name, data, _text(group)))

    def _name(self, node: Node) -> str:
        return self._names.get(node) or f"{type(node).__name__} {self._nodes[node]}"


def check_interval(interval: float) -> None:
    """Raises SimulationError if samples can't be `interval` seconds apart."""
    if not 0.0 < interval < inf:
        raise SimulationError(f"a trace's interval is {interval} s, but must be above 0 and finite")


def _text(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _packet(datagram: Datagram) -> dict[str, Any]:
    data = datagram.data
    header: dict[str, Any] = {"packet_type": "unknown"}
    kind = data[0] if data else -1
    try:
        if kind in wire.DATA_TYPES:
            _, (destination_id,), (number,) = wire.read_headers(memoryview(data), len(data))
            header = {"packet_type": "1RTT", "packet_number": number, "dcid": f"{destination_id:016x}"}
        elif kind in _KINDS:
            header = {"packet_type": _KINDS[wire.PacketType(kind)]}
    except DecodeError:
        pass  # corrupt on its way: a packet of unknown type is what it is
    return {
        "header": header,
        "raw": {"length": len(data)},
        "ecn": _ECN[datagram.ecn],
        "source": _text(datagram.source),
        "destination": _text(datagram.destination),
    }


def _metrics(stats: Stats) -> dict[str, Any]:
    milliseconds = trace.milliseconds
    data: dict[str, Any] = {
        "min_rtt": milliseconds(stats.min_rtt) if stats.min_rtt < inf else None,
        "smoothed_rtt": milliseconds(stats.smoothed_rtt),
        "latest_rtt": milliseconds(stats.latest_rtt),
        "rtt_variance": milliseconds(stats.rttvar),
        "pto_count": stats.pto_count,
        "congestion_window": stats.congestion_window,
        "bytes_in_flight": stats.bytes_in_flight,
        "ssthresh": stats.ssthresh,
        "pacing_rate": None if stats.pacing_rate is None else round(stats.pacing_rate * 8),
        "packets_lost": stats.packets_lost,
        "packets_spurious": stats.packets_spurious,
    }
    return {name: value for name, value in data.items() if value is not None}
