"""A day in the life of a path, in twelve seconds: what a transfer of 4 MB goes through and how it ends.

The line loses nine tenths of its rate for a while, freezes, loses packets in bursts, the NAT gives the sender another
address, nothing passes at all for a second, large packets vanish. Run it: python docs/examples/sim_trouble.py
"""

from __future__ import annotations

from hashlib import sha256

from rudp import events
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.sim import BurstLoss, Delay, During, Freeze, Mtu, Nat, Network, Outage, Rate

network = Network(seed=11)
client_endpoint = Endpoint(random=network.random("client"))
server_endpoint = Endpoint(random=network.random("server"), accept=True)
DATA = network.random("data").randbytes(4_000_000)
received = bytearray()
ended: list[events.Terminated] = []


def say(what: str) -> None:
    """A line with the time of the network."""
    print(f"{network.now:7.3f} s  {what}")


def on_client_event(connection: Connection, event: events.Event) -> None:
    """Send all at once; close when the server has closed."""
    if isinstance(event, events.Connected):
        connection.send(0, DATA, fin=True)
    elif isinstance(event, events.PeerFinished):
        connection.close()
    elif isinstance(event, events.Terminated):
        ended.append(event)


def on_server_event(connection: Connection, event: events.Event) -> None:
    """Collect; close at the end of the stream."""
    if isinstance(event, events.StreamReadable):
        while data := connection.receive(0):
            if len(received) // 500_000 != (len(received) + len(data)) // 500_000:
                say(f"{(len(received) + len(data)) / 1e6:.1f} MB from {connection.remote_address[0]}")
            received.extend(data)
        if connection.at_eof(0):
            connection.close()


client = network.add_host(("192.168.1.2", 50000), client_endpoint, on_event=on_client_event)
server = network.add_host(("192.0.2.2", 10000), server_endpoint, on_event=on_server_event)

nat = Nat([("198.51.100.1", 1024), ("198.51.100.2", 1024)], rebinds=[4.0])
line = Rate(625_000, queue_bytes=31_250, changes=[(1.0, 62_500), (2.0, 625_000)])  # 5 Mbit/s, 0.5, 5 again
trouble = [
    Freeze(2.5, 3.0, queue_bytes=50_000),
    During(BurstLoss(0.1, 5), 5.0, 6.0),
    Outage(7.0, 8.0),
    Mtu(1_400, start=9.0),
]
network.add_link(client, server, [nat, line, Delay(0.02), *trouble])
network.add_link(server, client, [Delay(0.02), Outage(7.0, 8.0), nat.reverse])

connection = client_endpoint.connect(server.address, network.now)
client.service()
network.run(stop=lambda: bool(ended))
say(f"ended, error {ended[0].error}")
print(f"SHA-256 equal: {sha256(received).digest() == sha256(DATA).digest()}")
for node in (line, *trouble):
    print(f"{type(node).__name__}: {node.counters()}")
