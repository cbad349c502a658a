"""What the system calls alone allow: a sender and a receiver without a protocol worth the name.

bare-gso is the limit that rudp is measured against: trains over GSO and GRO sockets, a header packed for each packet,
a sequence check at the receiver, an ACK a batch, a fixed window. Nothing is ever repeated: a lost packet is an error.
bare-udp sends one datagram a call, without any header, and neither orders nor checks a sequence.
"""

from __future__ import annotations

import asyncio
import socket
from functools import lru_cache
from struct import Struct
from typing import Final

from rudp import udp_options

from ..interface import HOST, Channel, Contender, Handler, Peer, Setup

__all__ = ["CONTENDERS"]

SOL_UDP: Final = udp_options.SOL_UDP
# Numbers of options; on a system without them the first train is an error, and this contender is named as failed.
UDP_SEGMENT: Final = udp_options.UDP_SEGMENT or 0
UDP_GRO: Final = udp_options.UDP_GRO or 0
BUFFER: Final = 4 << 20  # bytes of either socket's buffers
SECONDS: Final = 10.0  # of silence
HEADER: Final = Struct("!IQ")  # connection, packet number
COUNT: Final = Struct("!Q")
CONNECTION: Final = 0x72756470
# Segments the kernel takes in one call, and bytes.
MAX_SEGMENTS: Final = 46
# Trains under way: what fits into the receiver's socket buffer.
WINDOW_TRAINS: Final = 16
# The same for datagrams that go alone.
WINDOW_DATAGRAMS: Final = 128


@lru_cache(maxsize=4)
def headers(stride: int) -> Struct:
    """The headers of packets that lie `stride` bytes apart."""
    return Struct(f"{HEADER.format}{stride - HEADER.size}x")


def bare_socket() -> socket.socket:
    """A blocking UDP socket with large buffers."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.settimeout(SECONDS)
    return sock


class GsoChannel(Channel):
    """One direction of trains, the other of ACKs; whoever sends first is the sender."""

    def __init__(self, sock: socket.socket, datagram: int) -> None:
        self.sock = sock
        self.payload = datagram - HEADER.size
        self.datagram = datagram
        self.train = self.payload * min(MAX_SEGMENTS, 65_000 // datagram)
        self.segment = [(SOL_UDP, UDP_SEGMENT, datagram.to_bytes(2, "little"))]
        self.tail: bytes | memoryview = b""
        self.number = 0  # of the next packet to go
        self.acknowledged = 0
        self.window = WINDOW_TRAINS * self.train // self.payload
        self.expected = 0  # the next packet to come
        self.address: tuple[str, int] | None = None
        self.buffer = bytearray(65_535)
        self.view = memoryview(self.buffer)

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        at = 0
        if self.tail:
            at = self.train - len(self.tail)
            self.send_train(memoryview(b"".join((self.tail, view[:at]))))
        while len(view) - at >= self.train:
            self.send_train(view[at : at + self.train])
            at += self.train
        self.tail = view[at:]

    def send_train(self, data: memoryview) -> None:
        pack, payload, number = HEADER.pack, self.payload, self.number
        buffers: list[bytes | memoryview] = []
        for at in range(0, len(data), payload):
            buffers.append(pack(CONNECTION, number))
            buffers.append(data[at : at + payload])
            number += 1
        while number - self.acknowledged > self.window:
            self.acknowledged = COUNT.unpack(self.sock.recv(COUNT.size))[0]
        if self.address is None:
            self.sock.sendmsg(buffers, self.segment)
        else:
            self.sock.sendmsg(buffers, self.segment, 0, self.address)
        self.number = number

    async def receive(self) -> bytes:
        if self.tail:
            self.send_train(memoryview(self.tail))
            self.tail = b""
        while True:
            size, _, _, self.address = self.sock.recvmsg_into([self.buffer], 64)
            if size > COUNT.size:
                break
            self.acknowledged = COUNT.unpack_from(self.buffer)[0]  # an ACK for the other direction
        # All but the last packet are of full size, and their headers are read in one sweep.
        whole, rest = divmod(size, self.datagram)
        found = [number for _, number in headers(self.datagram).iter_unpack(self.view[: whole * self.datagram])]
        if rest:
            found.append(HEADER.unpack_from(self.buffer, whole * self.datagram)[1])
        if found != list(range(self.expected, self.expected + len(found))):
            raise RuntimeError(f"packet {self.expected} is missing, and nothing here would send it again")
        self.expected += len(found)
        assert self.address is not None
        self.sock.sendto(COUNT.pack(self.expected), self.address)
        view, stride = self.view, self.datagram
        return b"".join([view[at + HEADER.size : min(at + stride, size)] for at in range(0, size, stride)])

    async def close(self) -> None:
        if self.tail:
            self.send_train(memoryview(self.tail))
        self.sock.close()


class UdpChannel(Channel):
    """Datagrams one way, at most a window ahead of what the receiver has counted."""

    def __init__(self, sock: socket.socket, datagram: int) -> None:
        self.sock = sock
        self.datagram = datagram
        self.sent = 0
        self.told = 0
        self.received = 0

    async def send(self, data: bytes) -> None:
        view, size, sock = memoryview(data), self.datagram, self.sock
        for at in range(0, len(view), size):
            while self.sent - self.told >= WINDOW_DATAGRAMS:
                self.told = COUNT.unpack(sock.recv(COUNT.size))[0]
            sock.send(view[at : at + size])
            self.sent += 1

    async def receive(self) -> bytes:
        while True:
            data, address = self.sock.recvfrom(self.datagram)
            if not self.sent or len(data) != COUNT.size:
                break
            self.told = COUNT.unpack(data)[0]
        if not self.received:
            self.sock.connect(address)
        self.received += 1
        if self.received % (WINDOW_DATAGRAMS // 2) == 0:
            self.sock.send(COUNT.pack(self.received))
        return data

    async def close(self) -> None:
        self.sock.close()


class BarePeer(Peer):
    """One connection. The calls block: nothing else runs in such a process."""

    def __init__(self, setup: Setup) -> None:
        self.datagram = setup.datagram
        self.sock = bare_socket()
        self.serving: asyncio.Task[None] | None = None

    def channel(self) -> Channel:
        return UdpChannel(self.sock, self.datagram)

    async def serve(self, handler: Handler) -> int:
        self.sock.bind((HOST, 0))

        async def serve_one() -> None:
            channel = self.channel()
            await handler(channel)
            await channel.close()

        self.serving = asyncio.ensure_future(serve_one())
        port: int = self.sock.getsockname()[1]
        return port

    async def connect(self, port: int) -> Channel:
        self.sock.connect((HOST, port))
        return self.channel()

    async def close(self) -> None:
        self.sock.close()


class GsoPeer(BarePeer):
    """The same with GSO and GRO."""

    def channel(self) -> Channel:
        self.sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        return GsoChannel(self.sock, self.datagram)


BULK: Final = "bulk only: it has no connections"
WITHOUT: Final = {"rpc": BULK, "handshakes": BULK, "idle": BULK, "held": BULK}
CONTENDERS: Final = {
    "bare-gso": Contender(
        GsoPeer, "Python, no protocol", "chosen", "UDP's checksum", without=WITHOUT, note="the limit: no recovery"
    ),
    "bare-udp": Contender(
        BarePeer, "Python, no protocol", "chosen", "UDP's checksum", without=WITHOUT, note="one datagram a call"
    ),
}
