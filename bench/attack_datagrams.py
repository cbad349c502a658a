"""What attacks are made of: datagrams, one by one and without end, for a victim that is ready for them.

Knows: what an attacker would send. Refuses to know: which attack it is and what stands against it (`attack_list`), what
it costs (`attacks`), what is right (the tests).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Final, TypeAlias

from rudp import wire
from rudp.config import Config
from rudp.half_open import HalfOpen
from rudp.train import Address

from .hostile import GENEROUS, PEER, Peer, forged_syn, spoofed

Datagram: TypeAlias = tuple[bytes, Address]
FULL: Final = 1372
MOST: Final = wire.MAX_FRAMES
# SYNs sent before the first answer: more than come in a wake-up.
ROUND_TRIP: Final = 32
# Packets from one that an ACK names to the next.
STRIDE: Final = 16
# What an application writes at a time to send 1 Gbit/s, and datagrams of an attack from one write to the next.
WRITES: Final = 16
PIECE: Final = bytes(125_000_000 // 20_000 * WRITES)


def honest_data(peer: Peer) -> Iterator[Datagram]:
    """What all is compared with: full packets of one stream, each received alone."""
    for index in count():
        yield peer.data(0, index * FULL, bytes(FULL)), PEER


def packets(frames: Callable[[int], list[wire.Frame]], gap: int = 0) -> Callable[[Peer], Iterator[Datagram]]:
    """Packets of what `frames` says for each, with so many numbers left out before each."""

    def make(peer: Peer) -> Iterator[Datagram]:
        for index in count():
            peer.number += gap
            yield peer.packet(*frames(index)), PEER

    return make


def datagrams(make: Callable[[Random, int], bytes], *, spoof: bool = False) -> Callable[[Peer], Iterator[Datagram]]:
    """Datagrams that need no connection, from one address or ever others."""

    def run(_peer: Peer) -> Iterator[Datagram]:
        random = Random(7)
        for index in count():
            yield make(random, index), spoofed(index) if spoof else PEER

    return run


# -- a peer that follows no rule --------------------------------------------------------------------------------


def talking() -> Peer:
    """A server that has much to say."""
    peer = Peer(Config(congestion="cubic"))
    peer.server.send(0, bytes(8 << 20))
    peer.answers()
    return peer


def honest_acks(peer: Peer) -> Iterator[Datagram]:
    """All that came acknowledged: what lets the server send on."""
    server = peer.server
    while True:
        sent = server._recovery.next_packet_number
        parts = server._recovery._unresolved.skipped.missing(0, sent)
        yield peer.packet(wire.Ack(parts[-1][1] - 1, 0.0, tuple(reversed(parts))[:128], None)), PEER


def early_acks(peer: Peer) -> Iterator[Datagram]:
    """Everything acknowledged at once, skipped or not."""
    server = peer.server
    while True:
        newest = server._recovery.next_packet_number - 1
        yield peer.packet(wire.Ack(newest, 0.0, ((0, newest + 1),), None)), PEER


def tiny_ack_ranges(peer: Peer) -> Iterator[Datagram]:
    """Every second packet acknowledged, each in a range of its own; then the others, and from the first on again."""
    server = peer.server
    for turn in count():
        skipped = server._recovery._unresolved.skipped
        newest = server._recovery.next_packet_number - 1 - turn % 2
        numbers = [number for number in range(newest, max(0, newest - 256), -2) if number not in skipped]
        ranges = tuple((number, number + 1) for number in numbers)
        newest = numbers[0]
        yield peer.packet(wire.Ack(newest, 0.0, ranges, None)), PEER


def strided_ack_ranges(peer: Peer) -> Iterator[Datagram]:
    """Every 16th packet in a range of its own, and with each ACK others: all arrive, none with its neighbour."""
    recovery = peer.server._recovery
    for turn in count():
        skipped = recovery._unresolved.skipped
        newest = recovery.next_packet_number - 1
        first = newest - (newest - turn) % STRIDE
        numbers = [number for number in range(first, -1, -STRIDE)[:128] if number not in skipped] or [newest]
        yield peer.packet(wire.Ack(numbers[0], 0.0, tuple((number, number + 1) for number in numbers), None)), PEER


def late_ack_ranges(peer: Peer) -> Iterator[Datagram]:
    """The newest packet alone, so that all before it is declared lost; then every second of those, and the others."""
    unresolved = peer.server._recovery._unresolved
    while True:
        newest = unresolved.next_packet_number - 1
        newest -= newest in unresolved.skipped
        for late in (range(0), range(0, 254, 2), range(1, 254, 2)):
            lost = [number for train in unresolved.remembered for number in range(train.first, train.stop)]
            told = [number for place, number in enumerate(reversed(lost)) if place in late and number < newest - 1]
            ranges = [(newest, newest + 1)]
            for number in told:
                if number + 1 < ranges[-1][0]:
                    ranges.append((number, number + 1))
            yield peer.packet(wire.Ack(newest, 0.0, tuple(ranges), None)), PEER


def always_sending(make: Callable[[Peer], Iterator[Datagram]]) -> Callable[[Peer], Iterator[Datagram]]:
    """The same, while the victim's application writes 1 Gbit/s."""

    def run(peer: Peer) -> Iterator[Datagram]:
        for index, datagram in enumerate(make(peer)):
            if index % WRITES == 0 and peer.server.unsent(0) < len(PIECE):
                peer.server.send(0, PIECE)
            yield datagram

    return run


def slow_acks(peer: Peer) -> Iterator[Datagram]:
    """Nothing acknowledged but the newest packet, and that said to be an hour late."""
    server = peer.server
    while True:
        newest = server._recovery.next_packet_number - 1
        yield peer.packet(wire.Ack(newest, 3600.0, ((newest, newest + 1),), None)), PEER


def ecn_lies(peer: Peer) -> Iterator[Datagram]:
    """Ever more packets said to have come marked."""
    server = peer.server
    for marks in count(1):
        newest = server._recovery.next_packet_number - 1
        yield peer.packet(wire.Ack(newest, 0.0, ((newest, newest + 1),), (0, marks, marks))), PEER


def replayed_syn_acks(peer: Peer) -> Iterator[Datagram]:
    """SYN_ACKs for a connection that isn't a client's."""
    datagram = wire.encode_opening(wire.SynAck(peer.server_id, 1, 0, GENEROUS))
    while True:
        yield datagram, PEER


def replayed_data(peer: Peer) -> Iterator[Datagram]:
    """One packet again and again, from everywhere."""
    datagram = peer.packet(wire.Ping())
    for index in count():
        yield datagram, spoofed(index)


def challenges_from_everywhere(peer: Peer) -> Iterator[Datagram]:
    """Each packet from another address, with challenges to answer."""
    for index in count():
        yield peer.packet(*[wire.PathChallenge(bytes(8))] * MOST), spoofed(index)


def hops(peer: Peer) -> Iterator[Datagram]:
    """Each packet from another of two hosts that both answer their challenges; nothing is acknowledged."""
    for index in count():
        host = (f"10.1.1.{index % 2}", 999)
        yield peer.packet(wire.Ping()), host
        candidate = peer.server._paths.candidate
        if candidate is not None and candidate.challenge is not None:
            yield peer.packet(wire.PathResponse(candidate.challenge)), host


def marked_bad(peer: Peer) -> Iterator[Datagram]:
    """Packets of the connection with a wrong checksum."""
    good = bytearray(peer.packet(wire.Ping()))
    good[-1] ^= 1
    while True:
        yield bytes(good), PEER


def truncated(peer: Peer) -> Iterator[Datagram]:
    """A packet cut at every length, resealed so that its frames are read."""
    body = wire.encode_frame(wire.Stream(0, 0, bytes(200), fin=False)) + wire.encode_frame(wire.MaxData(5))
    for index in count():
        yield peer.raw(body[: 1 + index % (len(body) - 1)]), PEER


def admitted(frame: Callable[[int], wire.Frame]) -> Callable[[Peer], Iterator[Datagram]]:
    """A frame on each stream that the victim admits, as many a packet as may be, and acknowledgements of its credit."""

    def make(peer: Peer) -> Iterator[Datagram]:
        acks, opened, server = honest_acks(peer), 0, peer.server
        while True:
            stop = min(opened + MOST, server._streams.limits.max_streams_mine[1])
            if stop - opened == MOST:
                yield peer.packet(*[frame(number << 2 | 2) for number in range(opened, stop)]), PEER
                opened = stop
            else:
                yield next(acks)

    return make


reset_loop = admitted(lambda stream_id: wire.ResetStream(stream_id, 1, 0))
ended_streams = admitted(lambda stream_id: wire.Stream(stream_id, 0, b"x", fin=True))


def wishes(peer: Peer) -> Iterator[Datagram]:
    """Ever other wishes about acknowledgements, absurd ones, and an acknowledgement at once."""
    for index in count():
        frames: list[wire.Frame] = [
            wire.AckFrequency(index * MOST + n, (0, 2**32 - 1)[n % 2], (0.0, 4294.0)[n // 2 % 2], n % 3)
            for n in range(MOST - 1)
        ]
        yield peer.packet(*frames, wire.ImmediateAck()), PEER


def stingy() -> Peer:
    """A server that has much to say, by the byte."""
    peer = Peer(parameters=GENEROUS._replace(initial_max_data=1, initial_max_stream_data=1))
    peer.server.send(0, bytes(1 << 20))
    peer.answers()
    return peer


def replayed_cookie(peer: Peer) -> Iterator[Datagram]:
    """One SYN with a cookie that was good once, and ever other cookies that never were."""
    random = Random(7)
    retry = wire.decode_opening(memoryview(peer.syn()[0]))
    assert isinstance(retry, wire.Retry)
    good = forged_syn(5, 1, cookie=retry.cookie)
    for index in count():
        yield good if index % 2 else forged_syn(random.getrandbits(64), 1, cookie=random.randbytes(24)), PEER


def whole_connections(peer: Peer) -> Iterator[Datagram]:
    """Connections opened and ended at once, from one host, as many as it admits."""
    asked: deque[tuple[bytes, int]] = deque()
    for source_id in count(100):
        syn = forged_syn(source_id)
        yield syn, PEER
        asked.append((syn, source_id))
        if len(asked) > ROUND_TRIP:
            client = peer.endpoint._clients.get((PEER, asked.popleft()[1]))
            if isinstance(client, HalfOpen):
                peer.server_id = client.id
                yield peer.packet(wire.Close(0, "", application=True), number=0), PEER


def colliding_syns(_peer: Peer) -> Iterator[Datagram]:
    """Ids that differ by what Python's hash of an int leaves out, and by the multiplier of its hash of a tuple."""
    step = pow(11400714785074694791, -1, 1 << 64)
    for index in count():
        yield forged_syn((index * step + (index % 7) * ((1 << 61) - 1)) % (1 << 64)), PEER


def stream(number: int, offset: int, data: bytes) -> wire.Stream:
    return wire.Stream(number, offset, data, fin=False)
