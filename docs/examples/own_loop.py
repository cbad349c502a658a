"""An event loop of one's own: a `select()` loop that drives rudp's sans-IO core over real UDP sockets.

An echo server and a client in one thread, each with a socket on a free port of 127.0.0.1. `Driver` is all
that an integration needs; docs/SANS_IO.md explains it. Run it: python docs/examples/own_loop.py
"""

from __future__ import annotations

import random
import select
import time
from collections.abc import Callable

from rudp import events
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import StreamError
from rudp.train import Train
from rudp.udp import UdpSocket

# Received buffers taken before packets go out again: acknowledgements must not wait for an empty socket.
BUFFERS_A_ROUND = 16
OnEvent = Callable[[Connection, events.Event], None]


class Driver:
    """One endpoint on one socket: what to call when. `on_event` is the application."""

    def __init__(self, endpoint: Endpoint, sock: UdpSocket, on_event: OnEvent) -> None:
        self.endpoint = endpoint
        self.sock = sock
        self.on_event = on_event
        self.held: Train | None = None  # the one train that a full socket buffer refused

    def fileno(self) -> int:
        """What select() waits for."""
        return self.sock.fileno()

    def receive(self, now: float) -> None:
        """The socket is readable (or has an error to tell)."""
        for _ in range(BUFFERS_A_ROUND):
            received = self.sock.receive()
            if received is None:
                break
            data, segment_size, remote, local, ecn = received
            self.endpoint.receive(data, segment_size, remote, local, ecn, now)

    def service(self, now: float) -> None:
        """After every input and every command: errors, trains, events, until there is nothing more to do."""
        for error in self.sock.read_errors():
            # Only "nobody listens on that port" ends an attempt to connect; other errors may pass.
            if error.remote is not None and isinstance(error.error, ConnectionRefusedError):
                self.endpoint.on_icmp_error(error.remote, error.error)
        while True:
            self._send(now)
            item = self.endpoint.next_event()
            if item is None:
                return
            while item is not None:
                self.on_event(*item)
                item = self.endpoint.next_event()

    def _send(self, now: float) -> None:
        if self.held is not None:
            if not self.sock.send(self.held):
                return
            self.held = None
        for train in self.endpoint.datagrams_to_send(now):
            if not self.sock.send(train):
                self.held = train  # ask for no more until the socket is writable
                return

    def handle_timeout(self, now: float) -> None:
        """Call when the earliest deadline may have come; harmless when it hasn't."""
        due = self.endpoint.next_timeout()
        if due is not None and due <= now:
            self.endpoint.handle_timeout(now)


def drive(drivers: list[Driver], until: Callable[[], bool]) -> None:
    """Run until `until()` holds."""
    for driver in drivers:
        driver.service(time.monotonic())
    while not until():
        deadlines = [due for driver in drivers if (due := driver.endpoint.next_timeout()) is not None]
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        blocked = [driver for driver in drivers if driver.held is not None]
        readable, _, _ = select.select(drivers, blocked, [], wait)
        now = time.monotonic()
        for driver in drivers:
            if driver in readable:
                driver.receive(now)
            driver.handle_timeout(now)
            driver.service(now)


class EchoServer:
    """Sends back what comes on any stream, no faster than the client takes it."""

    def __init__(self) -> None:
        self.finished: set[tuple[int, int]] = set()

    def __call__(self, connection: Connection, event: events.Event) -> None:
        if isinstance(event, events.StreamReadable | events.StreamWritable):
            try:
                self.echo(connection, event.stream_id)
            except StreamError as error:
                print(f"server: {error}")
        elif isinstance(event, events.PeerFinished):
            connection.close()

    def echo(self, connection: Connection, stream_id: int) -> None:
        """Read until the stream is empty, or until so much waits to be sent that reading must wait, too."""
        while connection.can_send(stream_id):
            data = connection.receive(stream_id)
            if data:
                connection.send(stream_id, data)
                continue
            if connection.at_eof(stream_id) and (connection.id, stream_id) not in self.finished:
                self.finished.add((connection.id, stream_id))
                connection.send(stream_id, b"", fin=True)
            return


class EchoClient:
    """Sends `data` on stream 0, reads the echo, closes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.echo = bytearray()
        self.error: Exception | None = None
        self.ended = False

    def __call__(self, connection: Connection, event: events.Event) -> None:
        if isinstance(event, events.Connected):
            connection.send(0, self.data, fin=True)
        elif isinstance(event, events.StreamReadable):
            while data := connection.receive(0):
                self.echo += data
            if connection.at_eof(0):
                connection.close()
        elif isinstance(event, events.Terminated):
            self.error = event.error
            self.ended = True


def main() -> None:
    """One round of echo, and its figures."""
    source = random.SystemRandom()
    server_socket = UdpSocket.open(("127.0.0.1", 0))
    client_socket = UdpSocket.open(("127.0.0.1", 0))
    server = Driver(Endpoint(random=source, accept=True), server_socket, EchoServer())
    application = EchoClient(random.randbytes(4_000_000))
    client = Driver(Endpoint(random=source), client_socket, application)
    start = time.monotonic()
    connection = client.endpoint.connect(server_socket.local_address, start)
    drive([server, client], until=lambda: application.ended and not server.endpoint.connections)
    seconds = time.monotonic() - start
    stats = connection.stats(time.monotonic())
    print(f"{len(application.echo)} bytes came back, equal: {application.echo == application.data}")
    print(f"ended with error {application.error}, in {seconds:.3f} s")
    rtt = stats.smoothed_rtt * 1000
    print(f"RTT {rtt:.2f} ms, {stats.packets_sent} packets sent, {stats.packets_lost} lost")
    server_socket.close()
    client_socket.close()


if __name__ == "__main__":
    main()
