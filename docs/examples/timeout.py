"""Retransmission that gives up: what is sent into a black hole, when, and how it ends.

First a SYN that nobody answers, then data after the network has gone away in mid-connection. The clock is
simulated, so a minute takes no time. Run it: python docs/examples/timeout.py
"""

from __future__ import annotations

from math import inf

from _packets import in_words

from rudp import events
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import ConnectTimeout, PeerUnresponsive
from rudp.sim import Datagram, Delay, Network, Outage


def show(now: float, datagram: Datagram) -> None:
    """Print each packet that leaves the client while the network is gone."""
    if now >= gone:
        print(f"  {now - gone:7.3f} s  {in_words(datagram.data)}")


def run(config: Config, outage: float) -> Exception | None:
    """Connect, send, and lose the network after `outage` seconds; what the connection ended with."""
    endings: list[Exception | None] = []

    def on_event(_connection: Connection, event: events.Event) -> None:
        if isinstance(event, events.Terminated):
            endings.append(event.error)

    network = Network(seed=1)
    client_endpoint = Endpoint(config, random=network.random("client"))
    server_endpoint = Endpoint(config, random=network.random("server"), accept=True)
    client = network.add_host(("192.0.2.1", 50000), client_endpoint, on_event=on_event)
    server = network.add_host(("192.0.2.2", 10000), server_endpoint)
    network.add_link(client, server, [Delay(0.020), Outage(outage, inf)], tap=show)
    network.add_link(server, client, [Delay(0.020), Outage(outage, inf)])
    connection = client_endpoint.connect(server.address, network.now)
    client.service()
    client.call_at(1.0, lambda: connection.send(0, b"is anybody there?") if connection.is_open else None)
    network.run(stop=lambda: bool(endings))
    return endings[0]


gone = 0.0
print("a SYN that nobody answers, connect_timeout 10 s:")
error = run(Config(), outage=gone)
assert isinstance(error, ConnectTimeout)
print(f"  {type(error).__name__}: {error}")

gone = 0.5
print("data after the network has gone, give_up_timeout 20 s (gone at 0 s, written at 0.5 s):")
error = run(Config(give_up_timeout=20.0), outage=gone)
assert isinstance(error, PeerUnresponsive)
print(f"  {type(error).__name__}: {error}")
