"""Reliability from acknowledgements: a lossy network, ACKs that show the gaps, and the same bytes sent again.

20 ms each way, 10 % of the packets lost in both directions, decided by the seed. No packet is sent twice: the
bytes of a lost one go again under a new packet number. Run it: python docs/examples/loss.py
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from _packets import in_words

from rudp import events
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.sim import Datagram, Delay, Filter, Network

DATA = bytes(range(256)) * 120
LOSS = 0.10

network = Network(seed=3)
client_endpoint = Endpoint(random=network.random("client"))
server_endpoint = Endpoint(random=network.random("server"), accept=True)
received = bytearray()
ended: list[Connection] = []


def lossy(arrow: str) -> Callable[[float, Datagram], bool]:
    """A link that prints what passes it and what it loses."""
    dice = network.random(arrow)

    def decide(now: float, datagram: Datagram) -> bool:
        passes = dice.random() >= LOSS
        print(f"{now * 1000:6.1f} ms {arrow if passes else ' X '} {in_words(datagram.data)}")
        return passes

    return decide


def on_client_event(connection: Connection, event: events.Event) -> None:
    """Send all at once; close when the server has closed."""
    if isinstance(event, events.Connected):
        connection.send(0, DATA, fin=True)
    elif isinstance(event, events.PeerFinished):
        connection.receive(0)
        connection.close()
    elif isinstance(event, events.Terminated):
        ended.append(connection)


def on_server_event(connection: Connection, event: events.Event) -> None:
    """Collect; close at the end of the stream."""
    if isinstance(event, events.StreamReadable):
        while data := connection.receive(0):
            received.extend(data)
        if connection.at_eof(0):
            connection.send(0, b"", fin=True)
            connection.close()


client = network.add_host(("192.0.2.1", 50000), client_endpoint, on_event=on_client_event)
server = network.add_host(("192.0.2.2", 10000), server_endpoint, on_event=on_server_event)
network.add_link(client, server, [Filter(lossy("-->")), Delay(0.020)])
network.add_link(server, client, [Filter(lossy("<--")), Delay(0.020)])
connection = client_endpoint.connect(server.address, network.now)
client.service()
network.run(stop=lambda: bool(ended))

stats = connection.stats(network.now)
equal = sha256(received).digest() == sha256(DATA).digest()
print(f"{len(received)} of {len(DATA)} bytes arrived, SHA-256 equal: {equal}")
print(f"packets sent {stats.packets_sent}, found lost {stats.packets_lost}, wrongly {stats.packets_spurious}")
print(f"stream bytes sent {stats.stream_bytes_sent}, of which again {stats.stream_bytes_retransmitted}")
print(f"RTT {stats.smoothed_rtt * 1000:.1f} ms, smallest {stats.min_rtt * 1000:.1f} ms")
