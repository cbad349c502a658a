"""A malicious peer and its victim, in memory: completes the handshake, then sends whatever the wire can say, and more.

Knows: how packets are laid out (by `rudp.wire`), the ids and numbers of one connection, what a driver does after each
input. Refuses to know: rules of the protocol beyond the layout, sockets, clocks (`now` is moved by who uses it).

    Peer(config, parameters)     a server, and a client of it that is the attacker's
    arrive(datagram, remote)     bytes come in, from any address
    packet(*frames, number=...)  a sealed packet of any frames under any number;  data(...) a canonical one
    send(*frames)                packet, arrive, answers
    answers()                    do as a driver does; the datagrams that leave. `read`: what the application takes

It is in `bench` since both the tests and the measurements need it, and the benchmarks are shipped without the tests.
"""

from __future__ import annotations

from random import Random
from typing import Final
from zlib import crc32

from rudp import wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import StreamError
from rudp.events import StreamReadable, StreamReset, Terminated
from rudp.train import Address

__all__ = ["GENEROUS", "PEER", "SERVER", "Peer", "forged_syn", "spoofed"]

PEER: Address = ("10.9.9.9", 999)
SERVER: Address = ("10.0.0.2", 2222)
LARGEST: Final = wire.POSITION_LIMIT - 1
# Parameters that hold the server back in nothing.
GENEROUS = wire.Parameters(
    initial_max_data=LARGEST,
    initial_max_stream_data=LARGEST,
    initial_max_streams_bidi=LARGEST,
    initial_max_streams_uni=LARGEST,
    protection=1,
)
# An input may make something due at once, and that again; never for long.
ROUNDS: Final = 4
READ_SIZE: Final = 65_536
# A tuple that is made once: a union made for each event took a tenth of what the bench measured.
TO_READ: Final = (StreamReadable, StreamReset)


def spoofed(number: int) -> Address:
    """One of 2^24 addresses that are not the attacker's."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1024 + number % 60_000


def forged_syn(
    source_id: int,
    try_counter: int = 0,
    parameters: wire.Parameters = GENEROUS,
    *,
    destination_id: int = 7,
    cookie: bytes = b"",
) -> bytes:
    """The datagram of a SYN."""
    return wire.encode_opening(wire.Syn(destination_id, source_id, try_counter, parameters, cookie))


class Peer:
    """A hostile client of one server. `read`: whether the server's application reads what comes."""

    def __init__(
        self,
        config: Config | None = None,
        parameters: wire.Parameters = GENEROUS,
        *,
        opened: bool = True,
        read: bool = False,
        seed: int = 1,
    ) -> None:
        self.endpoint = Endpoint(config or Config(), random=Random(seed), accept=True)
        self.parameters = parameters
        self.read = read
        self.now = 0.0
        self.number = 0
        self.server_id = 0
        # Errors with which connections ended, oldest first.
        self.ends: list[Exception | None] = []
        if opened:
            self.open()

    def open(self) -> None:
        """Open a connection, its first packet included."""
        answer = wire.decode_opening(memoryview(self.syn()[0]))
        assert isinstance(answer, wire.SynAck)
        self.server_id = answer.source_id
        self.send(wire.Ping())

    def syn(
        self, source_id: int = 5, try_counter: int = 0, remote: Address = PEER, cookie: bytes = b""
    ) -> list[bytes]:
        """Send a SYN; what comes back."""
        self.arrive(forged_syn(source_id, try_counter, self.parameters, cookie=cookie), remote)
        return self.answers()

    @property
    def server(self) -> Connection:
        """The server's side of the newest connection."""
        return self.endpoint.connections[-1]

    def arrive(self, datagram: bytes, remote: Address = PEER, segment_size: int = 0, ecn: int = 0) -> None:
        """Have bytes arrive, as one datagram or several of `segment_size`."""
        view = memoryview(datagram)
        self.endpoint.receive(view, segment_size or len(datagram), remote, SERVER, ecn, self.now)

    def answers(self) -> list[bytes]:
        """Do as a driver does; the datagrams that leave."""
        found: list[bytes] = []
        for _ in range(ROUNDS):
            self._drain_events()
            for train in self.endpoint.datagrams_to_send(self.now):
                data = b"".join(train.buffers)
                found += [data[at : at + train.segment_size] for at in range(0, len(data), train.segment_size)]
            self._drain_events()
            due = self.endpoint.next_timeout()
            if due is None or due > self.now:
                return found
            self.endpoint.handle_timeout(self.now)
        raise AssertionError("the server stays due")

    def _drain_events(self) -> None:
        while (item := self.endpoint.next_event()) is not None:
            connection, event = item
            if isinstance(event, Terminated):
                self.ends.append(event.error)
            elif self.read and isinstance(event, TO_READ):
                try:
                    # As much as a call gives: less than that is all there is.
                    while len(connection.receive(event.stream_id, READ_SIZE)) == READ_SIZE:
                        pass
                except StreamError:
                    pass

    def packet(self, *frames: wire.Frame, number: int | None = None) -> bytes:
        """A packet of these frames, sealed; under the next number unless one is given."""
        body = b"".join(
            wire.encode_ack(frame, 60000) if isinstance(frame, wire.Ack) else wire.encode_frame(frame)
            for frame in frames
        )
        return self.raw(body, number)

    def raw(self, body: bytes, number: int | None = None) -> bytes:
        """A packet of any bytes between header and trailer, sealed."""
        if number is None:
            number, self.number = self.number, self.number + 1
        return self._sealed(wire.data_header(wire.data_type(canonical=False), self.server_id, number) + body)

    def data(self, stream_id: int, offset: int, data: bytes, fin: bool = False) -> bytes:
        """A canonical packet."""
        number, self.number = self.number, self.number + 1
        size = len(data)
        return self._sealed(
            wire.canonical_headers(self.server_id, number, 1, stream_id, offset, size, fin)[0] + data
        )

    def _sealed(self, data: bytes) -> bytes:
        return data + crc32(data).to_bytes(4, "big") if self.parameters.protection else data

    def send(self, *frames: wire.Frame, number: int | None = None, remote: Address = PEER) -> list[bytes]:
        """Send a packet; what comes back."""
        self.arrive(self.packet(*frames, number=number), remote)
        return self.answers()

    @property
    def ended(self) -> Exception | None:
        """The error with which the newest connection ended. AssertionError while it has not."""
        assert self.ends, "the connection goes on"
        return self.ends[-1]
