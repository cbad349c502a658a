"""Laws of clients that were answered and not heard of since."""

import gc
import tracemalloc
from random import Random

import pytest

from bench.hostile import GENEROUS, PEER, Peer, forged_syn, spoofed
from rudp import protection, wire
from rudp.config import Config
from rudp.events import Connected
from rudp.half_open import HalfOpen, HalfOpens
from rudp.handshake import LONGEST_RETRY, ServerHandshake
from rudp.path import Path
from rudp.state import State

PATIENCE = 10.0


def client(number: int = 1, now: float = 0.0, *, size: int = wire.OPENING_SIZE, proven: bool = False) -> HalfOpen:
    """A client whose SYN of `size` bytes was answered at `now`."""
    syn = wire.Syn(7, 5, 0, GENEROUS, b"")
    path = Path(spoofed(number), None, validated=proven)
    half = HalfOpen(number, syn, None, ServerHandshake(syn, number, GENEROUS, now), path)
    half.on_syn(syn, size, now)
    assert half.next_datagram(now) is not None
    return half


def test_a_syn_ack_is_repeated_as_often_as_the_bytes_that_came_allow() -> None:
    held = HalfOpens(PATIENCE)
    held.add(client())
    times = []
    while (now := held.next_timeout()) is not None:
        repeated, over = held.due(now)
        times += [now for _ in repeated]
    assert times == [0.25, 0.75], "three times the bytes of the SYN, and the first is out"
    assert now is None
    assert not held
    assert over[0].id == 1


def test_to_a_proven_address_it_goes_until_the_client_is_forgotten() -> None:
    held = HalfOpens(PATIENCE)
    held.add(client(proven=True))
    times = []
    while (now := held.next_timeout()) is not None:
        times += [now for _ in held.due(now)[0]]
    assert times == [0.25, 0.75, 1.75, 3.75, 5.75, 7.75, 9.75]


def test_a_further_syn_brings_what_had_to_wait_for_it() -> None:
    held = HalfOpens(PATIENCE)
    half = client()
    held.add(half)
    while (now := held.next_timeout()) is not None and now < 1.75:
        held.due(now)
    assert held.due(1.75) == ([], []), "no byte may go"
    assert held.next_timeout() == 1.75 + LONGEST_RETRY
    half.on_syn(wire.Syn(7, 5, 1, GENEROUS, b""), wire.OPENING_SIZE, 2.0)
    datagram = half.next_datagram(2.0)
    assert datagram is not None
    answer = wire.decode_opening(memoryview(datagram))
    assert isinstance(answer, wire.SynAck)
    assert answer.try_counter == 1


def test_each_has_one_wake_up_and_none_is_left_behind() -> None:
    seed = Random().getrandbits(32)
    print(f"seed {seed}")
    random = Random(seed)
    held, now = HalfOpens(PATIENCE), 0.0
    for number in range(1, 500):
        held.add(client(number, now))
        now += random.random() * 0.02
        if random.random() < 0.3:
            half = held.get(random.randint(1, number))
            if half is not None:
                held.remove(half)
                assert held.get(half.id) is None
        if random.random() < 0.5:
            held.due(now)
        assert len(held._timers) <= number
        first = held.next_timeout()
        assert (first is None) == (len(held) == 0), "nobody is woken for one that is gone"
    for _ in range(100_000):
        due = held.next_timeout()
        if due is None:
            break
        held.due(due)
    assert len(held) == len(held._timers) == 0


@pytest.mark.parametrize("count", [1, 3])
def test_only_an_intact_packet_proves_an_address(count: int) -> None:
    crc = protection.by_name("crc32")
    half = client()
    kind = wire.DATA_TYPES[wire.data_type(canonical=False)]
    header = wire.data_header(wire.data_type(canonical=False), 1, 0)
    body = wire.encode_frame(wire.Ping())
    packet = b"".join(map(bytes, crc.seal(0, [header], [body])))
    damaged = packet[:-1] + bytes([packet[-1] ^ 1])
    size = len(packet)
    assert half.proved_by(memoryview(packet * count), size, kind, 0, crc)
    assert not half.proved_by(memoryview(damaged * count), size, kind, 0, crc)
    assert half.proved_by(memoryview(damaged * count + packet), size, kind, 0, crc)
    assert not half.proved_by(memoryview(packet * count), size, kind._replace(epoch=1), 0, crc)
    assert not half.proved_by(memoryview(packet * count), size, kind._replace(key_phase=True), 0, crc)


def opening() -> Peer:
    """A server that has answered a SYN."""
    peer = Peer(opened=False)
    answer = wire.decode_opening(memoryview(peer.syn()[0]))
    assert isinstance(answer, wire.SynAck)
    peer.server_id = answer.source_id
    return peer


def test_a_damaged_first_packet_makes_no_connection_and_the_next_one_does() -> None:
    peer = opening()
    damaged = bytearray(peer.packet(wire.Ping()))
    damaged[-1] ^= 1
    peer.arrive(bytes(damaged))
    assert peer.answers() == []
    stats = peer.endpoint.stats()
    assert (stats.half_open, stats.datagrams_dropped, peer.endpoint.connections) == (1, 1, ())
    peer.arrive(peer.packet(wire.Ping()))
    assert isinstance(peer.endpoint.events[0][1], Connected)
    assert peer.answers()
    assert peer.server.state is State.ESTABLISHED
    stats = peer.endpoint.stats()
    assert (stats.half_open, stats.connections) == (0, 1)


LONG_NAMES = tuple(f"{number:024}" for number in range(32))
UNKNOWN = tuple((40_000 + number, bytes(16)) for number in range(32))


@pytest.mark.parametrize(
    ("parameters", "cookie"),
    [
        (GENEROUS, b""),
        (GENEROUS._replace(application_protocols=LONG_NAMES), b""),
        (GENEROUS._replace(unknown=UNKNOWN), b""),
        (GENEROUS, bytes(200)),
    ],
    ids=["plain", "names", "unknown", "cookie"],
)
def test_a_client_half_open_holds_a_fraction_of_what_a_connection_does(
    parameters: wire.Parameters, cookie: bytes
) -> None:
    """2,000 bytes, what makes it known by address and id included, whatever it states; nothing is a connection's."""
    peer = Peer(opened=False)
    count = 500
    syns = [forged_syn(number, 0, parameters, cookie=cookie) for number in range(count)]
    tracemalloc.start()
    try:
        for number in range(count):
            peer.arrive(syns[number], spoofed(number))
            assert len(peer.answers()) == 1
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peer.endpoint.stats().half_open == count
    assert held / count < 2_000
    assert not peer.endpoint.connections


def test_a_syn_that_comes_after_the_first_data_is_an_old_one() -> None:
    peer = opening()
    peer.send(wire.Ping())
    sent = peer.server.stats(peer.now).bytes_sent
    peer.now += 1
    peer.arrive(forged_syn(5, 3))
    assert peer.answers() == []
    assert peer.server.stats(peer.now).bytes_sent == sent
    assert peer.endpoint.stats().connections == 1


def test_what_went_to_an_address_before_counts_until_it_is_proven() -> None:
    peer = opening()
    half = peer.endpoint._half_open.get(peer.server_id)
    assert half is not None
    assert (half.path.bytes_received, half.path.bytes_sent) == (wire.OPENING_SIZE, wire.OPENING_SIZE)
    assert half.client == (PEER, 5)
    peer.send(wire.Ping())
    assert peer.server._paths.active is half.path
    assert half.path.validated


def test_as_many_as_connections_may_be_are_held_those_half_open_included() -> None:
    peer = Peer(Config(max_connections=3, retry="never"), opened=False)
    for number in range(5):
        peer.syn(number, remote=spoofed(number))
    stats = peer.endpoint.stats()
    assert (stats.connections, stats.half_open, stats.refused) == (3, 3, 2)


def test_syns_from_addresses_that_nobody_proved_leave_room_for_those_who_do() -> None:
    """However few connections there may be: nobody is kept out by who sends a few SYNs from anywhere."""
    for most in (1, 2, 8, 100):
        peer = Peer(Config(max_connections=most), opened=False)
        for number in range(2 * most):
            peer.syn(number, remote=spoofed(number))
        stats = peer.endpoint.stats()
        assert (stats.half_open, stats.refused) == (most // 2, 0)
        for number in range(most - most // 2):
            answer = wire.decode_opening(memoryview(peer.syn(number)[0]))
            assert isinstance(answer, wire.Retry)
            answer = wire.decode_opening(memoryview(peer.syn(number, cookie=answer.cookie)[0]))
            assert isinstance(answer, wire.SynAck)
            assert answer.parameters.refused is None
            peer.server_id, peer.number = answer.source_id, 0
            peer.send(wire.Ping())
        assert len(peer.endpoint.connections) == most - most // 2


@pytest.mark.parametrize("retry", ["auto", "never"])
def test_who_comes_when_all_connections_are_there_is_told_so_at_once(retry: str) -> None:
    peer = Peer(Config(max_connections=2, retry=retry))
    assert peer.endpoint.stats().connections == 1
    peer.endpoint.connect(spoofed(1), peer.now)
    peer.answers()
    answer = wire.decode_opening(memoryview(peer.syn(6)[0]))
    assert isinstance(answer, wire.SynAck)
    assert answer.parameters.refused is not None
