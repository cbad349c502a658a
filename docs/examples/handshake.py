"""The three-way handshake and the four-way close, packet by packet.

Two endpoints on a simulated network, 20 ms each way; nothing is lost, and no socket and no clock is needed.
The same endpoints run on real sockets: see own_loop.py. Run it: python docs/examples/handshake.py
"""

from __future__ import annotations

from collections.abc import Callable

from _packets import in_words

from rudp import events
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.sim import Datagram, Delay, Network

network = Network(seed=1)
client_endpoint = Endpoint(random=network.random("client"))
server_endpoint = Endpoint(random=network.random("server"), accept=True)
connections: dict[str, Connection] = {}


def show(arrow: str) -> Callable[[float, Datagram], None]:
    """Print each packet when it leaves, with the states of both sides at that moment."""

    def tap(now: float, datagram: Datagram) -> None:
        for accepted in server_endpoint.connections:
            connections["server"] = accepted
        client = connections["client"].state.value
        waiting = "SYN-RECEIVED" if server_endpoint.stats().half_open else "LISTEN"
        server = connections["server"].state.value if "server" in connections else waiting
        line = f"{now * 1000:5.0f} ms  {client:11} {arrow} {server:12} {len(datagram.data):5} bytes  "
        print(line + in_words(datagram.data))

    return tap


def on_client_event(connection: Connection, event: events.Event) -> None:
    """The client says hello, and closes when the answer's end is there."""
    if isinstance(event, events.Connected):
        connection.send(0, b"hello", fin=True)
    elif isinstance(event, events.StreamReadable):
        print(f"          the client reads {connection.receive(0)!r} and closes")
        if connection.at_eof(0):
            connection.close()


def on_server_event(connection: Connection, event: events.Event) -> None:
    """The server echoes, and closes its side 50 ms after the client has closed its own."""
    if isinstance(event, events.StreamReadable):
        data = connection.receive(0)
        connection.send(0, data, fin=connection.at_eof(0))
    elif isinstance(event, events.PeerFinished):
        server.call_at(network.now + 0.050, connection.close)


client = network.add_host(("192.0.2.1", 50000), client_endpoint, on_event=on_client_event)
server = network.add_host(("192.0.2.2", 10000), server_endpoint, on_event=on_server_event)
network.add_link(client, server, [Delay(0.020)], tap=show("-->"))
network.add_link(server, client, [Delay(0.020)], tap=show("<--"))

print("     time  client          server")
connections["client"] = client_endpoint.connect(server.address, network.now)
client.service()
network.run(until=1.0)
for who, connection in connections.items():
    print(f"the {who} ends in {connection.state.value}")
