"""The same data by UDP alone: numbered datagrams, sent at the link's rate, never sent again.

Knows: how many came out at the other end, in what order. Refuses to know: how to get back what did not.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from rudp.cli.relay import IP_AND_UDP_HEADER

__all__ = ["BareResult", "send_bare"]

PAYLOAD: Final = 1371  # data bytes of a 1,400-byte rudp packet
NUMBER_SIZE: Final = 8
BURST_INTERVAL: Final = 0.005
LARGEST_BURST: Final = 64  # datagrams that a socket's buffer takes while nobody reads
LINK_SHARE: Final = 0.97  # of the link's rate, so that its queue does not fill
QUIET: Final = 0.5  # seconds without a datagram after which nothing more is expected


class BareResult(NamedTuple):
    """What became of the datagrams."""

    sent: int
    arrived: int
    duplicates: int
    out_of_order: int
    bytes_sent: int
    bytes_arrived: int
    identical: bool
    seconds: float


class _Counter(asyncio.DatagramProtocol):
    def __init__(self, count: int) -> None:
        self._seen = bytearray(count)
        # Of what a program has that writes down what comes.
        self.digest = hashlib.sha256()
        self.arrived = self.duplicates = self.out_of_order = self.bytes_arrived = 0
        self.highest = -1

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr
        number = int.from_bytes(data[:NUMBER_SIZE], "big")
        if len(data) <= NUMBER_SIZE or number >= len(self._seen):
            return
        self.digest.update(memoryview(data)[NUMBER_SIZE:])
        if self._seen[number]:
            self.duplicates += 1
            return
        self._seen[number] = 1
        self.arrived += 1
        self.bytes_arrived += len(data) - NUMBER_SIZE
        self.out_of_order += number < self.highest
        self.highest = max(self.highest, number)


async def send_bare(
    data: bytes,
    relay_address: tuple[str, int],
    lead_to: Callable[[tuple[str, int]], None],
    *,
    rate: float,
    time_limit: float,
    progress: Callable[[int, int], None],
    quiet: float = QUIET,
) -> BareResult:
    """Send `data` through the relay, or as much of it as fits `time_limit` seconds; count what arrives."""
    loop = asyncio.get_running_loop()
    pieces = [data[offset : offset + PAYLOAD] for offset in range(0, len(data), PAYLOAD)]
    receiver, counter = await loop.create_datagram_endpoint(
        lambda: _Counter(len(pieces)), local_addr=("127.0.0.1", 0), family=socket.AF_INET
    )
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=relay_address)
    try:
        lead_to(receiver.get_extra_info("sockname")[:2])
        start = loop.time()
        per_second = rate * LINK_SHARE / (PAYLOAD + NUMBER_SIZE + IP_AND_UDP_HEADER)
        sent = await _send_paced(
            pieces, sender, per_second, start + time_limit, lambda size: progress(size, counter.bytes_arrived)
        )
        seconds = loop.time() - start
        await _wait_until_quiet(counter, quiet)
    finally:
        sender.close()
        receiver.close()
    return BareResult(
        sent=sent,
        arrived=counter.arrived,
        duplicates=counter.duplicates,
        out_of_order=counter.out_of_order,
        bytes_sent=min(sent * PAYLOAD, len(data)),
        bytes_arrived=counter.bytes_arrived,
        identical=counter.digest.digest() == hashlib.sha256(data).digest(),
        seconds=seconds,
    )


async def _send_paced(
    pieces: list[bytes],
    sender: asyncio.DatagramTransport,
    per_second: float,
    deadline: float,
    progress: Callable[[int], None],
) -> int:
    """Send all pieces, or those that the deadline allows; return how many went out."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    sent = 0
    while sent < len(pieces) and loop.time() < deadline:
        due = int((loop.time() - start + BURST_INTERVAL) * per_second) + 1
        due = min(len(pieces), due, sent + LARGEST_BURST)
        for number in range(sent, due):
            sender.sendto(number.to_bytes(NUMBER_SIZE, "big") + pieces[number])
        sent = max(sent, due)
        progress(min(sent, len(pieces) - 1) * PAYLOAD + len(pieces[-1]) * (sent == len(pieces)))
        await asyncio.sleep(BURST_INTERVAL)
    return sent


async def _wait_until_quiet(counter: _Counter, quiet: float) -> None:
    before = -1
    while before != counter.arrived + counter.duplicates:
        before = counter.arrived + counter.duplicates
        await asyncio.sleep(quiet)
