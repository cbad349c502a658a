"""A trace of a run, and what can be read out of it: a window, an RTT and a queue over time.

The file is in qlog's form (JSON text sequences), so tools for that read it too. The seed comes from RUDP_SEED if that
is set. Run it: python docs/examples/sim_trace.py
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from rudp import events, trace
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.sim import Delay, Loss, Network, Rate, seed

network = Network(seed(default=5))
client_endpoint = Endpoint(random=network.random("client"))
server_endpoint = Endpoint(random=network.random("server"), accept=True)


def on_client_event(connection: Connection, event: events.Event) -> None:
    """Send 2 MB."""
    if isinstance(event, events.Connected):
        connection.send(0, bytes(2_000_000), fin=True)


def on_server_event(connection: Connection, event: events.Event) -> None:
    """Read and forget."""
    if isinstance(event, events.StreamReadable):
        while connection.receive(0):
            pass


client = network.add_host(("10.0.0.1", 50000), client_endpoint, on_event=on_client_event)
server = network.add_host(("10.0.0.2", 10000), server_endpoint, on_event=on_server_event)
bottleneck, radio = Rate(1_250_000, queue_bytes=62_500), Loss(0.01)
network.add_link(client, server, [bottleneck, Delay(0.025), radio])
network.add_link(server, client, [Delay(0.025)])

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "run.sqlog"
    names = {bottleneck: "bottleneck", radio: "radio"}
    with network.trace(path, interval=0.05, names=names):
        client_endpoint.connect(server.address, network.now)
        client.service()
        network.run(until=2.5)
    with path.open(encoding="utf-8") as file:
        found = list(trace.read(file))

counts = Counter(event.name for event in found)
lost = Counter(event.data["node"] for event in found if event.name == trace.PACKET_DROPPED)
print(f"{counts[trace.PACKET_SENT]} packets sent, {counts[trace.PACKET_RECEIVED]} received, dropped: {dict(lost)}")

times, windows = trace.series(found, trace.METRICS_UPDATED, "congestion_window", "10.0.0.1")
_, rtts = trace.series(found, trace.METRICS_UPDATED, "smoothed_rtt", "10.0.0.1")
waited = dict(zip(*trace.series(found, trace.QUEUE_UPDATED, "waiting"), strict=True))
for at, window, rtt in list(zip(times, windows, rtts, strict=True))[1:24:2]:
    print(f"{at:6.3f} s  window {window:7} B  RTT {rtt:5.1f} ms  queue {waited.get(at, 0.0):5.1f} ms")
