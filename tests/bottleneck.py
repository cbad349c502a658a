"""A closed loop around one congestion controller: endless data, one bottleneck, packet by packet.

Knows a link (rate, RTT, drop-tail queue, random loss before or after it, CE marks above a threshold), a
receiver that acknowledges every so many packets or after a delay, and of loss recovery what a path that never
reorders needs. Deterministic: virtual time, and a generator seeded by the scenario.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from rudp.congestion import AckSample, CongestionController, LossEvent
from rudp.pacer import Pacer

PACKET = 1_400
TRAIN = 46 * PACKET


@dataclass(slots=True)
class Path:
    """A bottleneck: `rate` in bytes a second, `rtt` in seconds without queue, the others in bytes."""

    rate: float
    rtt: float
    queue: float
    loss: float = 0.0
    loss_first: bool = False
    mark_above: float = float("inf")
    busy_until: float = 0.0

    def bdp(self) -> float:
        return self.rate * self.rtt


@dataclass(slots=True)
class Sent:
    time: float
    delivered: int
    delivered_time: float
    first_sent_time: float
    app_limited: bool
    lost: int
    tx_in_flight: int


@dataclass(slots=True)
class Flow:
    """One sender and its receiver. `results` are read by tests; times in seconds, amounts in bytes."""

    path: Path
    controller: CongestionController
    random: random.Random
    ack_every: int = 10
    ack_delay: float = 0.005
    app_rate: float | None = None
    start: float = 0.0

    pacer: Pacer = field(init=False)
    sent: dict[int, Sent] = field(default_factory=dict)
    next_number: int = 0
    delivered: int = 0
    delivered_time: float = 0.0
    first_sent_time: float = 0.0
    app_limited_until: int = 0
    app_sent: int = 0
    smoothed_rtt: float = 0.0
    min_rtt: float = float("inf")
    progress: float = 0.0
    pending: list[int] = field(default_factory=list)
    pending_marks: int = 0
    wake: float = float("inf")
    received: int = 0
    lost: int = 0
    total_sent: int = 0
    log: list[tuple[float, int, float]] = field(default_factory=list)
    """(time, bytes received so far, bytes queued at the bottleneck), one entry a packet sent."""

    def __post_init__(self) -> None:
        self.pacer = Pacer(PACKET, self.controller.burst_packets)

    @property
    def in_flight(self) -> int:
        return len(self.sent) * PACKET


class World:
    """Runs flows through one path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 0.0
        self.flows: list[Flow] = []
        self._events: list[tuple[float, int, str, Flow, Sequence[int], int]] = []
        self._sequence = 0

    def add(self, controller: CongestionController, seed: int, **settings: float) -> Flow:
        flow = Flow(self.path, controller, random.Random(seed), **settings)  # type: ignore[arg-type]
        self.flows.append(flow)
        self._at(flow.start, "send", flow)
        self._at(flow.start + 1.0, "timer", flow)
        return flow

    def run(self, until: float) -> None:
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, kind, flow, numbers, marks = heapq.heappop(events)
            if kind == "arrive":
                self._arrive(flow, numbers, marks)
            elif kind == "flush":
                self._flush(flow)
            elif kind == "ack":
                self._acknowledge(flow, numbers, marks)
                self._send(flow)
            elif kind == "send":
                if flow.wake <= self.now:
                    flow.wake = float("inf")
                self._send(flow)
            else:
                self._timer(flow)
        self.now = until

    def _at(self, time: float, kind: str, flow: Flow, numbers: Sequence[int] = (), marks: int = 0) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (time, self._sequence, kind, flow, numbers, marks))

    def _send(self, flow: Flow) -> None:
        now, controller = self.now, flow.controller
        while True:
            flow.pacer.set_rate(controller.pacing_rate, PACKET, now)
            room = controller.congestion_window - flow.in_flight
            if flow.app_rate is not None:
                ready = int(flow.app_rate * (now - flow.start)) - flow.app_sent
                if ready < PACKET <= room:
                    flow.app_limited_until = flow.delivered + flow.in_flight or 1
                    controller.on_app_limited(now)
                    self._wake(flow, now + (PACKET - ready) / flow.app_rate)
                    return
                room = min(room, ready)
            if room < PACKET:
                return
            allowance = min(flow.pacer.allowance(now), TRAIN)
            if allowance < PACKET:
                self._wake(flow, flow.pacer.release_time(now) or now)
                return
            self._send_train(flow, min(room, allowance) // PACKET)

    def _wake(self, flow: Flow, time: float) -> None:
        time = max(time, self.now + 1e-9)
        if time < flow.wake:
            flow.wake = time
            self._at(time, "send", flow)

    def _send_train(self, flow: Flow, count: int) -> None:
        now, path = self.now, self.path
        if not flow.sent:
            flow.first_sent_time = flow.delivered_time = flow.progress = now
        flow.controller.on_sent(count * PACKET, flow.in_flight, now)
        flow.pacer.on_sent(count * PACKET, now)
        flow.app_sent += count * PACKET
        flow.total_sent += count * PACKET
        snapshot = Sent(
            now,
            flow.delivered,
            flow.delivered_time,
            flow.first_sent_time,
            flow.app_limited_until > 0,
            flow.lost,
            flow.in_flight + count * PACKET,
        )
        queued = max(path.busy_until - now, 0.0) * path.rate
        flow.log.append((now, flow.received, queued))
        arrivals: list[int] = []
        marks = 0
        for number in range(flow.next_number, flow.next_number + count):
            flow.sent[number] = snapshot
            dropped = path.loss > 0.0 and flow.random.random() < path.loss
            if dropped and path.loss_first:
                continue
            queued = max(path.busy_until - now, 0.0) * path.rate
            if queued + PACKET > path.queue + PACKET:
                continue
            marks += queued > path.mark_above
            path.busy_until = max(path.busy_until, now) + PACKET / path.rate
            if not dropped:
                arrivals.append(number)
        flow.next_number += count
        if arrivals:
            self._at(path.busy_until + path.rtt / 2, "arrive", flow, arrivals, marks)

    def _arrive(self, flow: Flow, numbers: Sequence[int], marks: int) -> None:
        flow.received += len(numbers) * PACKET
        if not flow.pending:
            self._at(self.now + flow.ack_delay, "flush", flow)
        flow.pending += numbers
        flow.pending_marks += marks
        if len(flow.pending) >= flow.ack_every:
            self._flush(flow)

    def _flush(self, flow: Flow) -> None:
        if flow.pending:
            self._at(self.now + self.path.rtt / 2, "ack", flow, flow.pending, flow.pending_marks)
            flow.pending, flow.pending_marks = [], 0

    def _acknowledge(self, flow: Flow, numbers: Sequence[int], marks: int) -> None:
        now, prior = self.now, flow.in_flight
        acked = [number for number in numbers if number in flow.sent]
        if not acked:
            return
        oldest, newest = flow.sent[acked[0]], flow.sent[acked[-1]]
        for number in acked:
            del flow.sent[number]
        flow.delivered += len(acked) * PACKET
        flow.delivered_time = flow.progress = now
        rtt = now - newest.time
        flow.min_rtt = min(flow.min_rtt, rtt)
        flow.smoothed_rtt = rtt if not flow.smoothed_rtt else 0.875 * flow.smoothed_rtt + 0.125 * rtt
        flow.first_sent_time = newest.time
        interval = max(newest.time - newest.first_sent_time, now - newest.delivered_time)
        valid = interval >= flow.min_rtt
        lost = self._lose(flow, acked[-1] - 2, prior - len(acked) * PACKET)
        sample = AckSample(
            now=now,
            acked_bytes=len(acked) * PACKET,
            lost_bytes=lost,
            bytes_in_flight=flow.in_flight,
            prior_in_flight=prior,
            oldest_time_sent=oldest.time,
            newest_time_sent=newest.time,
            latest_rtt=rtt,
            smoothed_rtt=flow.smoothed_rtt,
            min_rtt=flow.min_rtt,
            delivered=flow.delivered,
            prior_delivered=newest.delivered,
            delivery_rate=(flow.delivered - newest.delivered) / interval if valid else None,
            is_app_limited=newest.app_limited,
            ecn_ce=marks,
            lost_since_sent=flow.lost - newest.lost,
            tx_in_flight=newest.tx_in_flight,
        )
        if flow.app_limited_until and flow.delivered > flow.app_limited_until:
            flow.app_limited_until = 0
        flow.controller.on_ack(sample)

    def _lose(self, flow: Flow, below: int, prior: int) -> int:
        lost = []
        for number in flow.sent:
            if number >= below:
                break
            lost.append(number)
        if lost:
            newest = flow.sent[lost[-1]]
            for number in lost:
                del flow.sent[number]
            flow.lost += len(lost) * PACKET
            event = LossEvent(
                now=self.now,
                lost_bytes=len(lost) * PACKET,
                newest_time_sent=newest.time,
                bytes_in_flight=flow.in_flight,
                prior_in_flight=prior,
                lost_since_sent=flow.lost - newest.lost,
                tx_in_flight=newest.tx_in_flight,
                is_app_limited=newest.app_limited,
            )
            flow.controller.on_loss(event)
        return len(lost) * PACKET

    def _timer(self, flow: Flow) -> None:
        """Stands in for the probe timeout: gives up a flight that nothing was heard of for long."""
        patience = 3 * max(flow.smoothed_rtt or 0.3, flow.ack_delay)
        if flow.sent and self.now - flow.progress > patience:
            flow.progress = self.now
            self._lose(flow, flow.next_number, flow.in_flight)
            self._send(flow)
        self._at(self.now + patience / 2, "timer", flow)


def goodput(flow: Flow, start: float, stop: float) -> float:
    """Return bytes a second received between two times."""
    window = [received for time, received, _ in flow.log if start <= time <= stop]
    return (window[-1] - window[0]) / (stop - start)


def queue_seen(flow: Flow, start: float, stop: float) -> tuple[float, float]:
    """Return the mean and the highest queue, in bytes, that trains met between two times."""
    queued = [queue for time, _, queue in flow.log if start <= time <= stop]
    return sum(queued) / len(queued), max(queued)
