"""Three hosts send to one server over one bottleneck; what each gets, second by second.

A line of 20 Mbit/s with CoDel, that all three share, and paths of 20, 40 and 80 ms behind it; the third starts
5 s late. Every node is made once and named in each link that passes it. Run it: python docs/examples/sim_flows.py
"""

from __future__ import annotations

from rudp import events
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.sim import CoDel, Delay, Host, Network

RATE = 2_500_000  # bytes a second
PIECE = bytes(100_000)
SECONDS = 10

network = Network(seed=1)
bottleneck = CoDel(RATE, queue_bytes=250_000)
server_endpoint = Endpoint(random=network.random("server"), accept=True)
received = [0, 0, 0]
# Which sender is behind a connection: the server knows the addresses.
index_of = {f"10.0.0.{index + 1}": index for index in range(3)}


def on_server_event(connection: Connection, event: events.Event) -> None:
    """Read and count."""
    if isinstance(event, events.StreamReadable):
        while data := connection.receive(0):
            received[index_of[connection.remote_address[0]]] += len(data)


def on_client_event(connection: Connection, event: events.Event) -> None:
    """Write for as long as the connection takes it."""
    if isinstance(event, (events.Connected, events.StreamWritable)):
        while connection.can_send(0):
            connection.send(0, PIECE)


server = network.add_host(("10.0.0.9", 10000), server_endpoint, on_event=on_server_event)


def add_sender(index: int, one_way: float, start: float) -> Host:
    """A host of its own, behind the shared bottleneck."""
    endpoint = Endpoint(random=network.random(f"client {index}"))
    host = network.add_host((f"10.0.0.{index + 1}", 50000), endpoint, on_event=on_client_event)
    network.add_link(host, server, [bottleneck, Delay(one_way)])
    network.add_link(server, host, [Delay(one_way)])
    host.call_at(start, lambda: endpoint.connect(server.address, network.now))
    return host


for index, (one_way, start) in enumerate([(0.010, 0.0), (0.020, 0.0), (0.040, 5.0)]):
    add_sender(index, one_way, start)

print("second  Mbit/s of each        waiting in the bottleneck")
for second in range(1, SECONDS + 1):
    before = list(received)
    network.run(until=float(second))
    rates = [f"{(now - then) * 8 / 1e6:5.1f}" for now, then in zip(received, before, strict=True)]
    print(f"{second:4}    {'  '.join(rates)}    {bottleneck.waiting(network.now) * 1000:5.1f} ms")
print(f"marked {bottleneck.marked} packets, dropped {bottleneck.dropped}")
