"""Which connection a datagram is for, stateless RESET, hostile bytes, and timers that don't spin."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp import wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import ConnectionAborted, ConnectionRefused, ConnectionReset
from rudp.events import Connected, StreamReadable
from rudp.flow_control import ReceiveWindow
from rudp.protection import by_name
from rudp.resets import RESET_BURST, RESET_SIZE
from rudp.state import State
from tests.pair import CLIENT, SERVER, Net, Pair

KEY = b"a key of at least 16 bytes"
ELSEWHERE = ("192.0.2.1", 99)


def restart(pair: Pair, config: Config | None = None) -> None:
    """The server's process is gone, and a new one has its place."""
    pair.add("s", SERVER, accept=True, config=config)


# -- RESET ------------------------------------------------------------------------------------------------------


def test_a_restarted_server_with_its_key_ends_old_connections_at_once() -> None:
    config = Config(reset_key=KEY)
    pair = Pair(server=config)
    restart(pair, config)
    start = pair.now
    pair.client.send(0, b"still there?")
    pair.until(lambda: bool(pair.ends("c")))
    error = pair.ends("c")[0]
    assert isinstance(error, ConnectionReset)
    assert isinstance(error, ConnectionResetError)
    assert pair.now - start == pytest.approx(2 * pair.delay)
    assert pair.client.state is State.DRAINING


def test_without_its_key_a_restarted_server_ends_nothing() -> None:
    pair = Pair(client=Config(give_up_timeout=5))
    restart(pair)
    pair.client.send(0, b"still there?")
    pair.run(4)
    assert not pair.ends("c"), "whoever can send a RESET without the key could end any connection"


def reset_sizes(pair: Pair) -> list[int]:
    return [len(p.data) for p in pair.log if p.kind == "RESET"]


@pytest.mark.parametrize("size", range(1, 60))
def test_a_reset_is_shorter_than_what_provokes_it(size: int) -> None:
    pair = Pair()
    start = len(pair.log)
    header = wire.data_header(wire.data_type(canonical=False), 12345, 0)
    pair.inject((header + bytes(60))[:size], ELSEWHERE, SERVER)
    pair.run(1)
    sizes = [len(p.data) for p in pair.log[start:]]
    assert sizes == ([RESET_SIZE] if size > RESET_SIZE else [])


@pytest.mark.parametrize("head", [kind.value for kind in wire.PacketType])
def test_only_data_provokes_a_reset(head: int) -> None:
    pair = Pair()
    start = len(pair.log)
    pair.inject(bytes([head]) + bytes(1199), ELSEWHERE, SERVER)
    pair.inject(wire.encode_opening(wire.Reset(5, bytes(16))), ELSEWHERE, SERVER)
    pair.run(1)
    assert not [p for p in pair.log[start:] if p.kind == "RESET"]


def test_resets_are_limited_by_rate() -> None:
    pair = Pair()
    pair.merge = False
    for number in range(int(RESET_BURST) + 500):
        packet = wire.data_header(wire.data_type(canonical=False), number, 0) + bytes(40)
        pair.inject(packet, ELSEWHERE, SERVER)
    pair.run(0.001)
    assert len(reset_sizes(pair)) == RESET_BURST


def test_a_reset_with_a_wrong_token_changes_nothing() -> None:
    pair = Pair(config=Config(reset_key=KEY))
    token = pair.client.peer_reset_token
    assert token is not None
    wrong = [bytes(16), token[:-1] + bytes([token[-1] ^ 1]), b""]
    for value in wrong[:2]:
        pair.inject(wire.encode_opening(wire.Reset(pair.client.peer_id, value)), SERVER, CLIENT)
    pair.inject(wire.encode_opening(wire.Reset(pair.client.peer_id ^ 1, token)), SERVER, CLIENT)
    pair.run(1)
    assert pair.client.state is State.ESTABLISHED
    pair.inject(wire.encode_opening(wire.Reset(pair.client.peer_id, token)), ELSEWHERE, CLIENT)
    pair.run(1)
    assert pair.client.state is State.DRAINING, "the token alone counts, from wherever it comes"


# -- ICMP -------------------------------------------------------------------------------------------------------


def test_icmp_errors_end_openings_only() -> None:
    pair = Pair()
    opening = pair.connect("c", "s")
    pair.drop(lambda p: p.kind == "SYN")
    pair.run(0.1)
    error = ConnectionRefusedError(111, "Connection refused")
    endpoint = pair.endpoints["c"]
    endpoint.on_icmp_error(ELSEWHERE, error)
    assert opening.state is State.SYN_SENT
    endpoint.on_icmp_error(SERVER, error)
    pair.run(1)
    assert opening.state is State.CLOSED
    assert isinstance(pair.ends("c")[0], ConnectionRefused)
    assert "Connection refused" in str(pair.ends("c")[0])
    assert pair.client.state is State.ESTABLISHED
    pair.endpoints["s"].on_icmp_error(CLIENT, error)
    pair.run(1)
    assert pair.server.state is State.ESTABLISHED


# -- many connections -------------------------------------------------------------------------------------------


def test_one_endpoint_accepts_and_connects() -> None:
    net = Net()
    net.add("a", CLIENT, accept=True)
    net.add("b", SERVER, accept=True)
    ours = net.connect("a", "b")
    theirs = net.connect("b", "a")
    net.run(1)
    assert ours.is_open
    assert theirs.is_open
    assert len(net.events_of("a", Connected)) == len(net.events_of("b", Connected)) == 2
    ours.send(0, b"from a")
    theirs.send(0, b"from b")
    net.run(1)
    assert len(net.endpoints["a"].connections) == len(net.endpoints["b"].connections) == 2


def test_ended_connections_leave_no_timers_behind() -> None:
    pair = Pair(config=Config(idle_timeout=100_000))
    endpoint = pair.endpoints["c"]
    for _ in range(300):
        connection = pair.connect("c", "s")
        pair.run(0.3)
        connection.abort()
        pair.run(0.1)
    assert len(endpoint._timers) < 200
    assert len(pair.endpoints["s"]._timers) < 200
    assert len(endpoint.connections) == 1
    assert endpoint.next_timeout() is not None


def test_stop_accepting() -> None:
    pair = Pair()
    pair.endpoints["s"].stop_accepting()
    second = pair.connect("c", "s", config=Config(connect_timeout=1))
    pair.run(2)
    assert second.state is State.CLOSED
    assert pair.client.state is State.ESTABLISHED


def test_abort_all() -> None:
    pair = Pair()
    pair.connect("c", "s")
    pair.run(0.06)
    pair.endpoints["s"].abort_all("going away")
    pair.run(1)
    assert len(pair.ends("c")) == 2
    assert not pair.endpoints["s"].connections


def test_an_unknown_controller_is_found_out_at_once() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Endpoint(Config(congestion="nonsense"), random=Random(1), accept=True)
    pair = Pair()
    with pytest.raises(ValueError, match="nonsense"):
        pair.connect("c", "s", config=Config(congestion="nonsense"))
    assert len(pair.endpoints["c"].connections) == 1


# -- hostile bytes ----------------------------------------------------------------------------------------------


@given(st.binary(max_size=1300), st.integers(-1, 1400), st.booleans())
def test_no_bytes_make_it_raise(data: bytes, segment_size: int, to_server: bool) -> None:
    pair = Pair(opened=True)
    name = "s" if to_server else "c"
    source = CLIENT if to_server else SERVER
    with memoryview(data) as view:
        pair.endpoints[name].receive(view, segment_size, source, None, 0, pair.now)
    pair.run(1)
    pair.client.send(0, b"all well")
    pair.run(1)
    assert pair.received["s", 0] == b"all well"


Change = tuple[int, list[tuple[int, int]], int]
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.lists(st.tuples(st.integers(0, 45), st.integers(0, 255)), max_size=3),
        st.integers(-1, 1200),
    ),
    max_size=8,
)


@settings(max_examples=300)
@given(CHANGES, st.booleans(), st.sampled_from(["none", "crc32"]), st.integers(1, 1200))
def test_mutated_real_packets_never_make_it_raise(
    changes: list[Change], to_server: bool, protection: str, size: int
) -> None:
    """Packets that were lost come with other bytes; they may end the connection, and all that is left is bounded."""
    pair = Pair(config=Config(protection=protection))
    name, peer = ("s", "c") if to_server else ("c", "s")
    here, there = (pair.server, pair.client) if to_server else (pair.client, pair.server)
    pair.drop(lambda p: p.sender == peer)
    there.send(there.open_stream(), b"another")
    there.send(0, bytes(9000))
    there.reset_stream(there.open_stream(), 5)
    there.send_eof()
    pair.run(0.4)
    there.abort(3, "end")
    pair.run(0.1)
    real = pair.packets(peer)
    buffers: list[bytes] = []
    for which, edits, cut in changes:
        data = bytearray(real[which % len(real)].data)
        for at, value in edits:
            data[at % len(data)] = value
        buffers.append(bytes(data[: cut if cut >= 0 else None]))
    for data in [*buffers, b"".join(buffers)]:
        with memoryview(data) as view:
            source = pair.address[peer]
            pair.endpoints[name].receive(view, len(data) if data in buffers else size, source, None, 0, pair.now)
        pair.flush()
    if here.is_open:
        assert here._streams.receive_window.max_data <= 1 << 26
        assert len(here._received.ranges) <= 256
    pair.run(300)
    assert not pair.endpoints[name].connections
    assert pair.next_instant() is None


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_with_crc32_corrupted_packets_are_as_good_as_lost(changes: list[tuple[int, int, int]], seed: int) -> None:
    """In the middle of a transfer."""
    pair = Pair(seed=seed)
    random = Random(seed)

    def damage(data: bytes) -> bytes:
        at = random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ random.randrange(1, 256)]) + data[at + 1 :]

    for skip, _, _ in changes:
        pair.alter(lambda p: p.kind == "DATA", damage, times=1, skip=skip % 30)
    pair.client.send(0, bytes(range(256)) * 200, fin=True)
    pair.until(lambda: len(pair.received.get(("s", 0), b"")) == 256 * 200)
    assert pair.received["s", 0] == bytes(range(256)) * 200


def test_junk_costs_no_memory() -> None:
    endpoint = Endpoint(Config(), random=Random(1), accept=True)
    random = Random(2)
    junk = [random.randbytes(random.randrange(0, 1300)) for _ in range(500)]
    junk += [bytes([head]) + random.randbytes(1199) for head in range(256)]
    junk += [wire.data_header(wire.data_type(canonical=True), n, n) + bytes(100) for n in range(500)]

    def feed(now: float) -> None:
        for data in junk:
            endpoint.receive(memoryview(data), max(1, len(data)), ELSEWHERE, None, 0, now)
            for _ in endpoint.datagrams_to_send(now):
                pass

    feed(0.0)
    gc.collect()
    tracemalloc.start()
    try:
        for round_ in range(5):
            feed(1.0 + round_)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 50_000
    assert not endpoint.connections
    assert endpoint.next_timeout() is None


# -- splitting --------------------------------------------------------------------------------------------------


def cut(random: Random, data: bytes, size: int) -> list[bytes]:
    """A buffer cut between packets at random places."""
    count = -(-len(data) // size)
    edges = sorted({0, count, *(random.randrange(count + 1) for _ in range(random.randrange(4)))})
    return [data[a * size : b * size] for a, b in pairwise(edges)]


def credit(connection: Connection) -> list[object]:
    """All that flow control knows of what comes in."""
    streams = connection._streams
    windows = [streams.receive_window]
    found: list[object] = [streams._fragments.window, connection._control.pending]
    for stream in streams.held.values():
        if (receive := stream.receive) is not None and stream.receive_window is not None:
            windows.append(stream.receive_window)
            found += stream.id, receive.window, receive.contiguous, receive.highest, receive.final_size
    for window in windows:
        found += [(name, getattr(window, name)) for name in ReceiveWindow.__slots__]
    return found


def figures(endpoint: Endpoint, now: float) -> list[object]:
    found: list[object] = []
    for connection in endpoint.connections:
        received = connection._received
        found.append(credit(connection))
        found.append(
            (
                connection.state,
                list(received.ranges),
                received.largest,
                received.deadline,
                connection._streams.received_total,
                connection._streams.received_highest,
                connection.remote_address,
                connection.next_timeout(),
                connection.stats(now),
            )
        )
    return found


Buffers = list[tuple[bytes, int]]


class Twin:
    """A server that gets all buffers as they come, or cut at random places."""

    def __init__(self, seed: int, *, cutting: bool) -> None:
        # A small window grows by what is read, and by what waits beyond gaps.
        small = Random(seed).choice([{}, {"initial_receive_window": 20_000}])
        self.endpoint = Endpoint(Config(**small), random=Random(seed), accept=True)
        self.random = Random(seed)
        self.cutting = cutting
        self.reads_first = bool(seed & 1)
        self.events: list[object] = []

    def turn(self, buffers: Buffers, now: float) -> list[bytes]:
        """Take buffers, act, send, read."""
        endpoint = self.endpoint
        for data, size in buffers:
            for part in cut(self.random, data, size) if self.cutting else [data]:
                endpoint.receive(memoryview(part), size, CLIENT, None, 0, now)
        due = endpoint.next_timeout()
        if due is not None and due <= now:
            endpoint.handle_timeout(now)
        if self.reads_first:
            self.read()
        sent = [b"".join(train.buffers) for train in endpoint.datagrams_to_send(now)]
        self.read()
        return sent

    def read(self) -> None:
        while (item := self.endpoint.next_event()) is not None:
            connection, event = item
            self.events.append(event)
            while isinstance(event, StreamReadable) and connection.receive(event.stream_id):
                pass


def trains(client: Endpoint, random: Random, now: float) -> Buffers:
    """What a client sends, some of it without packets in the middle, out of order, or with a bad one."""
    buffers: Buffers = []
    for train in client.datagrams_to_send(now):
        data, size = b"".join(train.buffers), train.segment_size
        draw = random.random()
        count = -(-len(data) // size)
        at = random.randrange(count) * size
        if draw < 0.1:
            data = data[:at] + data[at + size :]
        elif draw < 0.2:
            data = b"".join(data[n * size : (n + 1) * size] for n in range(count) if random.random() < 0.7)
        elif draw < 0.25:
            data = b"".join(random.sample([data[n * size : (n + 1) * size] for n in range(count - 1)], count - 1))
        elif draw < 0.35:
            data = data[: at + 20] + b"\0\1" + data[at + 22 :]
        if data:
            buffers.append((data, size))
    return buffers


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_any_split_of_a_buffer_leaves_the_same_state(seed: int) -> None:
    random = Random(seed)
    whole, split = Twin(seed, cutting=False), Twin(seed, cutting=True)
    # Of large packets no two fit into one call, but a buffer holds many all the same.
    large = random.random() < 0.25
    size = {"max_datagram_size": random.randrange(32_754, 65_508), "path_mtu_discovery": False} if large else {}
    client = Endpoint(Config(**size), random=Random(seed + 1))
    connection = client.connect(SERVER, 0.0)
    buffers: Buffers = []
    now = 0.0
    for _ in range(20):
        now += 0.05
        replies = whole.turn(buffers, now)
        assert split.turn(buffers, now) == replies
        assert whole.events == split.events
        assert figures(whole.endpoint, now) == figures(split.endpoint, now)
        now += 0.05
        for reply in replies:
            client.receive(memoryview(reply), 1200, SERVER, None, 0, now)
        if connection.is_open and connection.is_writable:
            connection.send(0, random.randbytes(random.randrange(1, 800_000 if large else 40_000)))
            if random.random() < 0.3:
                stream_id = connection.open_stream()
                connection.send(stream_id, random.randbytes(random.choice([5, 50_000])), fin=True)
                if random.random() < 0.1:
                    connection.reset_stream(stream_id, 1)
            if random.random() < 0.05:
                connection.send_eof()
        due = client.next_timeout()
        if due is not None and due <= now:
            client.handle_timeout(now)
        buffers = trains(client, random, now)


MALFORMED = {
    "a stream beyond 2^62": (True, b"\x08" + bytes(8) + (2**62).to_bytes(8, "big")),
    "another frame in a canonical packet": (True, b"\x02" + bytes(16)),
    "an unknown frame": (False, b"\xff"),
    "credit for a stream of ours": (False, wire.encode_frame(wire.MaxStreamData(1, 1))),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_malformed_packet_in_a_buffer(name: str, whole: bool, place: int) -> None:
    """Intact, and nothing a peer may send: it ends the connection, and only what came before it counts."""
    pair = Pair()
    server = pair.server
    pair.drop(lambda p: p.has(wire.Stream))
    pair.client.send(0, bytes(1153 * 3))
    pair.flush()
    sent = [p for p in pair.packets("c", "DATA", wire.Stream) if len(p.data) == 1200][:2]
    assert len(sent) == 2
    number = sent[0].number + place
    packets = [p.data for p in sent]
    canonical, frames = MALFORMED[name]
    seal = by_name("crc32").seal
    header = wire.data_header(wire.data_type(canonical=canonical), server.id, number)
    packets.insert(place, b"".join(seal(number, [header], [frames.ljust(1183, b"\0")])))
    for later in range(place + 1, 3):
        head = packets[later][:9] + (sent[0].number + later).to_bytes(4, "big")
        packets[later] = b"".join(seal(sent[0].number + later, [head], [packets[later][13:1196]]))
    for part in [b"".join(packets)] if whole else packets:
        pair.endpoints["s"].receive(memoryview(part), 1200, CLIENT, None, 0, pair.now)
    assert server.state is State.ABORTED
    ends = [p.frames[0].offset + len(p.frames[0].data) for p in sent[:place]]
    assert server._streams.received_highest == max([0, *ends])
    pair.run(1)
    error, there = pair.ends("s")[0], pair.ends("c")[0]
    assert isinstance(error, ConnectionAborted)
    assert "broke the protocol" in str(error)
    assert isinstance(there, ConnectionReset)
    assert (there.code, there.application) == (error.code, False)


# -- timers -----------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_timers_never_spin(seed: int) -> None:
    """Pair asserts after each instant that nothing is due any more; here everything goes wrong at once."""
    random = Random(seed)
    config = Config(
        keepalive=random.choice([None, 0.5]),
        idle_timeout=random.choice([0, 3.0]),
        give_up_timeout=5.0,
        close_timeout=2.0,
        congestion=random.choice(["model", "new_reno"]),
        receive_window=random.choice([8192, 1 << 20]),
        initial_receive_window=8192,
        max_datagram_size=random.choice([1200, 1452]),
    )
    pair = Pair(seed=seed, config=config, opened=False, delay=random.choice([0.0, 0.0001, 0.01, 0.3]))
    loss = random.choice([0.0, 0.1, 0.6])
    pair.drop(lambda _: random.random() < loss)
    pair.hold(lambda _: random.random() < 0.1, random.random())
    pair.reading["s"] = random.random() < 0.7
    for _ in range(30):
        for connection in [*pair.endpoints["c"].connections, *pair.endpoints["s"].connections]:
            act(random, connection)
        if random.random() < 0.1:
            pair.move("c", ("10.0.0.7", random.randrange(1, 5)))
        pair.run(random.choice([0.0, 0.01, 0.3, 2.0]))


def act(random: Random, connection: Connection) -> None:
    """Something an application may do."""
    draw = random.random()
    if draw < 0.01:
        connection.abort(1, "x")
    elif draw < 0.03:
        connection.close()
    elif draw < 0.05:
        connection.send_eof()
    elif draw < 0.1:
        connection.ping()
    elif draw < 0.6 and connection.is_open and connection.is_writable:
        connection.send(0, bytes(random.choice([1, 1000, 50_000])))


def refused_by_the_peer() -> Net:
    return Pair(client=Config(protection="none"), server=Config(), opened=False)


def refused_by_the_network() -> Net:
    net = Net()
    net.add("c", CLIENT)
    net.address["s"] = SERVER
    net.connect("c", "s")
    net.run(0.1)
    net.endpoints["c"].on_icmp_error(SERVER, ConnectionRefusedError(111, "refused"))
    return net


def reset_by_a_restarted_peer() -> Net:
    config = Config(reset_key=KEY)
    pair = Pair(server=config)
    restart(pair, config)
    pair.client.send(0, b"x")
    return pair


@pytest.mark.parametrize("end", [refused_by_the_peer, refused_by_the_network, reset_by_a_restarted_peer])
def test_a_connection_that_others_ended_is_not_held(end: Callable[[], Net]) -> None:
    net = end()
    net.run(3)
    client = net.endpoints["c"]
    assert len(net.ends("c")) == 1
    assert not client.connections
    assert client.is_idle
    net.run(100)
    assert client.next_timeout() is None


def test_time_that_was_slept_through_counts_as_one_probe_timeout() -> None:
    config = Config(give_up_probes=2)
    pair = Pair(config=config)
    pair.drop(lambda packet: packet.sender == "c")
    pair.server.send(0, b"asks for an acknowledgement soon")
    pair.run(pair.delay / 2)
    pair.client.send(0, b"and this for one from the peer")
    pair.flush()
    pair.run(pair.delay / 2)
    client = pair.endpoints["c"]
    assert len(pair.client.timers) > 1
    now = pair.now + 1
    client.handle_timeout(now)
    assert pair.client.is_open
    assert pair.client.stats(now).pto_count == 1


# -- memory -----------------------------------------------------------------------------------------------------


def test_an_idle_connection_is_small() -> None:
    pair = Pair()
    count = 200
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(count):
            pair.connect("c", "s")
        pair.run(2)
        pair.log.clear()
        for found in pair.events.values():
            found.clear()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pair.endpoints["s"].connections) == count + 1
    per_side = kept / count / 2
    assert per_side < 10_000, f"{per_side:.0f} bytes a connection and side"


def test_plain_data_that_makes_nothing_due_asks_for_nothing() -> None:
    """The first packet after an ACK sets the timer for the next, a later one brings it about: all others are free."""
    pair = Pair(config=Config(path_mtu_discovery=False))
    client, server = pair.endpoints["c"], pair.endpoints["s"]
    pair.client.send(0, bytes(140_000))
    pair.run(3)
    now, free, acks = pair.now, 0, 0
    for _ in range(25):
        now += 0.002
        pair.client.send(0, bytes(1_160))
        for train in client.datagrams_to_send(now):
            packet = b"".join(train.buffers)
            server.receive(memoryview(packet), len(packet), CLIENT, SERVER, 0, now)
            asked = server.has_work
            answers = list(server.datagrams_to_send(now))
            assert asked == bool(answers)
            free += not asked
            due, wanted = server.next_timeout(), server.connections[0].next_timeout()
            assert due is not None
            assert wanted is not None
            assert due <= wanted, "an ACK is slept through"
            if due <= now:
                server.handle_timeout(now)
                answers += server.datagrams_to_send(now)
            acks += len(answers)
    assert acks >= 1
    assert free >= 8


def test_each_datagram_of_a_buffer_is_counted_once_be_it_shorter_than_a_header() -> None:
    pair = Pair()
    endpoint = pair.endpoints["s"]
    before = endpoint.stats()
    for size, segment_size, datagrams in ((3, 3, 1), (30, 10, 3), (25, 10, 3)):
        received, dropped = endpoint.stats().datagrams_received, endpoint.stats().datagrams_dropped
        endpoint.receive(memoryview(bytes(size)), segment_size, CLIENT, SERVER, 0, pair.now)
        assert endpoint.stats().datagrams_received == received + datagrams
        assert endpoint.stats().datagrams_dropped == dropped + datagrams
    assert endpoint.stats().connections == before.connections


def test_a_buffer_in_which_two_connections_alternate_makes_one_ack_of_each() -> None:
    """A card may merge what comes from one address and port, whoever of its connections sent it."""
    config = Config(path_mtu_discovery=False)
    client, server = Endpoint(config, random=Random(1)), Endpoint(config, random=Random(2), accept=True)
    connections = [client.connect(SERVER, 0.0) for _ in range(2)]
    now = 0.0

    def datagrams(endpoint: Endpoint) -> list[bytes]:
        return [
            data[at : at + train.segment_size]
            for train in endpoint.datagrams_to_send(now)
            for data in [b"".join(train.buffers)]
            for at in range(0, len(data), train.segment_size)
        ]

    def cross(source: Endpoint, target: Endpoint, address: tuple[str, int]) -> None:
        for data in datagrams(source):
            target.receive(memoryview(data), len(data), address, None, 0, now)

    for _ in range(6):
        now += 0.02
        cross(client, server, CLIENT)
        cross(server, client, SERVER)
    for connection in connections:
        connection.send(0, bytes(8_000))
    now += 0.02
    sent = [data for data in datagrams(client) if len(data) == 1_200]
    by_connection = [[data for data in sent if data[1:9] == one] for one in sorted({data[1:9] for data in sent})]
    assert len(by_connection) == 2
    mixed = [data for both in zip(*by_connection, strict=False) for data in both]
    assert len(mixed) >= 8
    # The last but one of each is missing, so that an ACK is due at once.
    mixed = mixed[:-4] + mixed[-2:]
    server.receive(memoryview(b"".join(mixed)), 1_200, CLIENT, None, 0, now)
    answers = datagrams(server)
    assert len(answers) == 2
    assert len({data[1:9] for data in answers}) == 2
    before = connections[0].stats(now).bytes_in_flight
    for data in answers:
        client.receive(memoryview(data), len(data), SERVER, None, 0, now)
    assert [connection.stats(now).bytes_in_flight < before / 2 for connection in connections] == [True, True]
