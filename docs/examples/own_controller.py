"""A congestion controller of one's own: a background transfer that gives way as soon as a queue builds (RFC 6817).

Two transfers of 10 MB, one after the other, over 10 Mbit/s with 40 ms RTT and a long queue: CUBIC fills the queue, the
class below holds it at 25 ms. Run it: python docs/examples/own_controller.py
"""

from __future__ import annotations

from rudp import Config, CongestionController, events
from rudp.congestion import AckSample, LossEvent, RandomBits
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.sim import Delay, Network, Rate

SIZE = 10_000_000
TARGET = 0.025
"""Seconds of queueing delay to aim at."""


class Background(CongestionController):
    """Grows by a packet a round trip while there is no queue, less the longer it is, and shrinks beyond TARGET."""

    __slots__ = ("_reduced_at", "_window")

    name = "background"

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self._window = float(self.congestion_window)
        self._reduced_at = float("-inf")

    def on_ack(self, sample: AckSample) -> None:
        if sample.latest_rtt is not None and not sample.is_app_limited:
            off_target = 1 - (sample.latest_rtt - sample.min_rtt) / TARGET
            self._window += off_target * sample.acked_bytes * self.max_datagram_size / self._window
        self._answer(sample.smoothed_rtt)

    def on_loss(self, event: LossEvent) -> None:
        # Once a round trip: what was sent before the last reduction says nothing new.
        if event.newest_time_sent > self._reduced_at:
            self._reduced_at = event.now
            self._window /= 2
            self._answer(None)

    def on_persistent_congestion(self, now: float) -> None:  # noqa: ARG002
        self._window = 0.0
        self._answer(None)

    def _answer(self, smoothed_rtt: float | None) -> None:
        self._window = max(self._window, float(self.minimum_window))
        self.congestion_window = int(self._window)
        if smoothed_rtt:
            self.pacing_rate = 1.25 * self._window / smoothed_rtt


def transfer(congestion: str | type[CongestionController]) -> None:
    """Send SIZE bytes and print how it went."""
    network = Network(seed=1)
    client_endpoint = Endpoint(Config(congestion=congestion), random=network.random("client"))
    server_endpoint = Endpoint(random=network.random("server"), accept=True)
    line = Rate(1_250_000, queue_bytes=400_000)
    delays: list[float] = []
    arrived: list[float] = []

    def on_client_event(connection: Connection, event: events.Event) -> None:
        if isinstance(event, events.Connected):
            connection.send(0, bytes(SIZE), fin=True)

    def on_server_event(connection: Connection, event: events.Event) -> None:
        if isinstance(event, events.StreamReadable):
            while connection.receive(0):
                pass
            delays.append(line.waiting(network.now))
            if connection.at_eof(0):
                arrived.append(network.now)

    client = network.add_host(("10.0.0.1", 1), client_endpoint, on_event=on_client_event)
    server = network.add_host(("10.0.0.2", 2), server_endpoint, on_event=on_server_event)
    network.add_link(client, server, [line, Delay(0.02)])
    network.add_link(server, client, [Delay(0.02)])
    connection = client_endpoint.connect(("10.0.0.2", 2), now=network.now)
    client.service()
    network.run(until=60.0, stop=lambda: bool(arrived))
    stats = connection.stats(network.now)
    median = sorted(delays)[len(delays) // 2]
    print(
        f"{stats.congestion:<11}{SIZE / arrived[0] / 125_000:5.1f} Mbit/s, median queueing delay "
        f"{median * 1000:3.0f} ms, {stats.packets_lost} packets lost"
    )


transfer("cubic")
transfer(Background)
