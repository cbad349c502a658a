"""Each attack of docs/SECURITY.md and what it comes to: an error with a name, a count, or nothing at all.

Attackers are off the path (any address, sees nothing), on it (sees and repeats packets) or the peer itself, that of
`bench.hostile`. What attacks cost is counted in bytes, objects and calls; `bench.attacks` has seconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import tracemalloc
from itertools import islice
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest

import rudp
from bench import attacks
from bench.attack_datagrams import honest_acks
from bench.attack_list import ATTACKS, Attack
from bench.hostile import GENEROUS, PEER, SERVER, Peer, forged_syn, spoofed
from rudp import stream_limits, wire
from rudp.aio.driver import BUFFERS_PER_WAKEUP
from rudp.config import Config
from rudp.ecn import EcnState
from rudp.endpoint import Endpoint
from rudp.errors import ConnectionAborted, ConnectionReset, ErrorCode
from rudp.resets import RESET_BURST, RESETS_PER_SECOND
from rudp.state import State
from tests.pair import Pair

ROOT = Path(__file__).resolve().parent.parent
STRANGER = ("198.51.100.7", 7)


def broke(peer: Peer, code: ErrorCode, *words: str) -> None:
    """The connection has ended because its peer broke that rule; the error names it."""
    error = peer.ended
    assert isinstance(error, ConnectionAborted), error
    assert error.code == code, error
    for word in words:
        assert word in str(error)
    assert not peer.endpoint.connections
    assert peer.endpoint.stats().violations == 1


# -- off the path -----------------------------------------------------------------------------------------------


def test_a_refusal_is_no_longer_than_what_it_refuses_and_keeps_nothing() -> None:
    peer = Peer(opened=False, parameters=GENEROUS._replace(protection=0))
    for number in range(100):
        answers = peer.syn(number, remote=spoofed(number))
        assert sum(map(len, answers)) <= wire.OPENING_SIZE
    peer.now += 60
    assert peer.answers() == []
    stats = peer.endpoint.stats()
    assert (stats.refused, stats.connections, stats.half_open) == (100, 0, 0)


def test_an_answer_about_versions_is_a_small_part_of_the_question() -> None:
    peer = Peer(opened=False)
    syn = bytearray(forged_syn(5))
    syn[9:13] = (99).to_bytes(4)
    peer.arrive(bytes(syn), STRANGER)
    (answer,) = peer.answers()
    assert isinstance(wire.decode_opening(memoryview(answer)), wire.Version)
    assert len(answer) < len(syn) / 20
    peer.arrive(bytes(syn[:1199]), STRANGER)
    assert peer.answers() == []
    # What could answer an answer doesn't.
    peer.arrive(answer, STRANGER)
    assert peer.answers() == []


def test_guessed_ids_meet_nothing_and_are_answered_by_so_many_resets_a_second() -> None:
    peer = Peer()
    random = Random(1)
    resets = 0
    for number in range(5000):
        peer.arrive(b"\x61" + random.randbytes(40), spoofed(number))
        answers = peer.answers()
        assert sum(map(len, answers)) <= 41
        resets += len(answers)
        peer.now += 2e-4
    assert resets <= RESET_BURST + RESETS_PER_SECOND
    assert peer.endpoint.stats().resets_sent == resets
    assert peer.endpoint.stats().datagrams_dropped == 5000
    assert peer.server.stats(peer.now).packets_received == 1


def test_a_reset_with_any_but_the_right_token_does_nothing() -> None:
    network = Pair()
    token = network.server.peer_reset_token
    assert token is not None
    endpoint, own = network.endpoints["s"], network.server.peer_id
    dropped = endpoint.stats().datagrams_dropped
    for bit in range(128):
        wrong = (int.from_bytes(token) ^ 1 << bit).to_bytes(16)
        datagram = wire.encode_opening(wire.Reset(own, wrong))
        endpoint.receive(memoryview(datagram), len(datagram), STRANGER, None, 0, network.now)
    elsewhere = wire.encode_opening(wire.Reset(own ^ 1, token))
    endpoint.receive(memoryview(elsewhere), len(elsewhere), STRANGER, None, 0, network.now)
    assert network.server.is_open
    assert endpoint.stats().datagrams_dropped == dropped + 129
    # Who sees packets sees tokens: plain mode doesn't withstand that.
    right = wire.encode_opening(wire.Reset(own, token))
    endpoint.receive(memoryview(right), len(right), STRANGER, None, 0, network.now)
    assert list(endpoint.datagrams_to_send(network.now)) == []
    assert not endpoint.connections
    # Once, and no answer to a repetition.
    endpoint.receive(memoryview(right), len(right), STRANGER, None, 0, network.now)
    assert list(endpoint.datagrams_to_send(network.now)) == []


def test_two_endpoints_that_know_nothing_do_not_reset_each_other_for_ever() -> None:
    ends = [Endpoint(Config(), random=Random(seed), accept=True) for seed in (1, 2)]
    for size in (13, 25, 26, 60, 1400, 65_507):
        datagrams = [b"\x61" + Random(size).randbytes(size - 1)]
        for turn in range(10):
            for datagram in datagrams:
                ends[turn % 2].receive(memoryview(datagram), len(datagram), STRANGER, None, 0, 0.0)
            datagrams = [b"".join(train.buffers) for train in ends[turn % 2].datagrams_to_send(0.0)]
            if not datagrams:
                break
        assert turn <= 1


def test_forged_answers_to_a_syn_without_its_id_do_nothing() -> None:
    network = Pair(opened=False)
    network.flush()
    client, endpoint = network.client, network.endpoints["c"]
    (syn,) = network.packets("c", "SYN")
    forgeries: list[wire.Opening] = []
    for wrong in (client.id ^ 1, 0, syn.opening.destination_id):
        refused = GENEROUS._replace(refused=wire.Refusal(ErrorCode.SERVER_BUSY, "go away"))
        forgeries += [
            wire.SynAck(wrong, 1, 0, GENEROUS),
            wire.SynAck(wrong, 1, 0, refused),
            wire.Retry(wrong, syn.opening.destination_id, b"cookie"),
            wire.Version(wrong, syn.opening.destination_id, (9,)),
        ]
    # With the id, but not the number that a SYN went out under.
    forgeries += [wire.Retry(client.id, 1, b"cookie"), wire.Version(client.id, 1, (9,))]
    for packet in forgeries:
        datagram = wire.encode_opening(packet)
        endpoint.receive(memoryview(datagram), len(datagram), STRANGER, None, 0, network.now)
    assert client.state is State.SYN_SENT
    network.open()
    # And once it is open, no RETRY, VERSION or refusal counts, whoever sends it.
    late = (
        wire.Retry(client.id, syn.opening.destination_id, b"cookie"),
        wire.Version(client.id, syn.opening.destination_id, (9,)),
        wire.SynAck(client.id, 1, 0, GENEROUS._replace(refused=wire.Refusal(1, "go away"))),
    )
    for packet in late:
        datagram = wire.encode_opening(packet)
        endpoint.receive(memoryview(datagram), len(datagram), STRANGER, None, 0, network.now)
    assert client.is_open
    assert not network.ends("c")


def test_empty_datagrams_are_counted_and_do_nothing() -> None:
    peer = Peer()
    for number in range(1000):
        peer.arrive(b"", spoofed(number))
    assert not peer.endpoint.has_work
    assert peer.endpoint.stats().datagrams_dropped == 1000


def test_datagrams_of_every_size_and_past_it_leave_a_connection_alone() -> None:
    peer = Peer()
    random = Random(3)
    header = wire.data_header(wire.data_type(canonical=False), peer.server_id, 9)
    for size in [*range(60), 1199, 1200, 1201, 1472, 9000, 65_507, 65_535, 65_536, 200_000]:
        for start in (b"", b"\x50", b"\x51", b"\x54", b"\x61", header):
            datagram = (start + random.randbytes(size))[:size]
            for segment in {len(datagram), 1, 13, 17, 30, 1200}:
                if len(datagram) <= 2000 or segment >= 1200:
                    peer.arrive(datagram, STRANGER, max(1, segment))
        peer.answers()
    peer.read = True
    peer.arrive(peer.data(0, 0, b"all is well"))
    peer.answers()
    assert peer.server.state is State.ESTABLISHED
    assert peer.server.stats(0.0).stream_bytes_received == 11
    assert not peer.ends


def test_a_flood_leaves_the_loop_to_others() -> None:
    async def main() -> None:
        endpoint = await rudp.Endpoint.bind("127.0.0.1", 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(300):
                # Of sizes that hardly merge, and empty ones between them.
                sender.sendto(bytes(30 + number % 2), endpoint.local_address)
                sender.sendto(b"", endpoint.local_address)
            received, turns = 0, 0
            while received < 300:
                await asyncio.sleep(0)
                turns += 1
                before, received = received, endpoint.stats().datagrams_received
                # A wake-up, and one more for what was read ahead; two datagrams, the second shorter, make a buffer.
                assert received - before <= 2 * 2 * BUFFERS_PER_WAKEUP
                assert turns < 100_000
        await endpoint.close()

    asyncio.run(main())


@pytest.mark.parametrize("crowded", [False, True])
def test_ids_made_to_collide_cost_no_more_than_others(crowded: bool) -> None:
    """Equal residues of Python's hash of an int, and ids that differ by the inverse of its hash of a tuple's prime."""
    attack = next(attack for attack in ATTACKS if "collide" in attack.name)
    plain = next(attack for attack in ATTACKS if attack.name.startswith("SYN flood"))

    def seconds(of: Attack) -> float:
        best = float("inf")
        for _ in range(3):
            peer = Peer(Config(max_half_open=1 if crowded else 5000), opened=False)
            best = min(best, attacks.singly(peer, of.datagrams(peer), 1500))
        return best

    assert seconds(attack) < 3 * seconds(plain) + 20e-6


def opened_in(peer: Peer, seconds: float, *, host: str = "10.9.9.9", first_id: int = 1) -> int:
    """Connections that a host opens and ends at once in so many seconds, when it asks 4,000 times a second."""
    before = len(peer.ends)
    for number in range(round(seconds * 4000)):
        remote = (host, 1024 + number)
        for datagram in peer.syn(first_id + number, remote=remote):
            answer = wire.decode_opening(memoryview(datagram))
            if isinstance(answer, wire.Retry):
                (datagram,) = peer.syn(first_id + number, remote=remote, cookie=answer.cookie)
                answer = wire.decode_opening(memoryview(datagram))
            assert isinstance(answer, wire.SynAck)
            peer.server_id = answer.source_id
            peer.send(wire.Close(0, "", application=True), number=0, remote=remote)
        peer.now += 1 / 4000
    return len(peer.ends) - before


@pytest.mark.parametrize("retry", ["auto", "always"])
def test_a_host_opens_connections_no_faster_than_so_many_a_second(retry: str) -> None:
    peer = Peer(Config(max_opens_per_host=400, retry=retry), opened=False)
    assert opened_in(peer, 2.0) == pytest.approx(2.5 * 400, abs=2)
    limited = peer.endpoint.stats().opens_limited
    assert limited == pytest.approx(8000 - 1000, abs=2)
    assert peer.endpoint.stats().datagrams_dropped == limited
    while peer.endpoint.stats().opens_limited == limited:
        opened_in(peer, 1 / 4000)
    peer.now -= 1 / 4000
    assert peer.syn(5, remote=("10.9.9.9", 9)) == []
    assert len(peer.syn(5, remote=("10.9.9.8", 9))) == 1, "others are not held back"


def test_a_host_without_limit_opens_as_many_as_it_likes() -> None:
    peer = Peer(Config(max_opens_per_host=None), opened=False)
    assert opened_in(peer, 1.0) == 4000
    assert peer.endpoint.stats().opens_limited == 0


@pytest.mark.parametrize("retry", ["auto", "always"])
def test_syns_that_claim_a_host_s_address_take_nothing_of_what_it_may_open(retry: str) -> None:
    peer = Peer(Config(max_opens_per_host=10, retry=retry, max_half_open=16), opened=False)
    for number in range(1000):
        peer.arrive(forged_syn(1000 + number), PEER)
        peer.answers()
    damaged = bytearray(peer.packet(wire.Ping()))
    peer.arrive(bytes(damaged))
    peer.now += 60.0
    peer.answers()
    assert peer.endpoint.stats().half_open == 0
    assert opened_in(peer, 0.01) == pytest.approx(5, abs=1)
    assert peer.endpoint.stats().opens_limited > 0


def test_a_client_that_has_to_wait_opens_its_connection_a_little_later() -> None:
    """It sees a lost SYN, and tries again."""
    pair = Pair(opened=False, server=Config(max_opens_per_host=2), delay=0.01)
    clients = [pair.client]
    for _ in range(3):
        pair.run(0.05)
        clients.append(pair.connect("c", "s"))
    pair.run(0.1)
    assert pair.endpoints["s"].stats().opens_limited
    pair.until(lambda: all(client.is_open for client in clients))
    assert pair.now < 3.0


def test_what_a_host_may_open_is_not_asked_of_a_client_that_was_answered() -> None:
    peer = Peer(Config(max_opens_per_host=2), opened=False)
    answers = [peer.syn(number, remote=(PEER[0], number)) for number in range(1, 9)]
    assert all(len(found) == 1 for found in answers), "nobody has proven anything"
    for number, (datagram,) in enumerate(answers, 1):
        answer = wire.decode_opening(memoryview(datagram))
        assert isinstance(answer, wire.SynAck)
        peer.server_id = answer.source_id
        peer.send(wire.Ping(), number=0, remote=(PEER[0], number))
    assert len(peer.endpoint.connections) == 8
    assert peer.syn(9, remote=(PEER[0], 9)) == []
    peer.now += 3.0
    assert peer.syn(9, remote=(PEER[0], 9)) == []
    peer.now += 1.0
    assert len(peer.syn(9, remote=(PEER[0], 9))) == 1, "eight are paid for, half a second's worth came for free"


# -- on the path ------------------------------------------------------------------------------------------------


def test_a_packet_repeated_from_elsewhere_changes_nothing() -> None:
    peer = Peer(read=True)
    packets = [peer.data(0, 10 * number, b"0123456789") for number in range(10)]
    for packet in packets:
        peer.arrive(packet)
        peer.answers()
        peer.now += 0.1
    peer.answers()
    before = peer.server.stats(peer.now)
    for number in range(300):
        peer.arrive(packets[number % 10], spoofed(number))
        assert peer.answers() == []
    after = peer.server.stats(peer.now)
    assert after.packets_duplicate - before.packets_duplicate == 300
    assert after.stream_bytes_received == before.stream_bytes_received == 100
    assert peer.server.remote_address == PEER


def test_damaged_packets_are_counted_and_change_nothing() -> None:
    peer = Peer()
    before = peer.server.stats(0.0)
    good = peer.packet(wire.ResetStream(0, 1, 0), number=1)
    for place in range(9, len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        peer.arrive(bytes(damaged))
        assert peer.answers() == []
    after = peer.server.stats(0.0)
    assert after.datagrams_corrupt - before.datagrams_corrupt == len(good) - 9
    assert after.packets_received == before.packets_received


# -- the peer ---------------------------------------------------------------------------------------------------


def test_acknowledging_a_packet_never_sent_ends_the_connection_and_is_named() -> None:
    peer = Peer()
    peer.send(wire.Ack(1 << 40, 0.0, ((1 << 40, (1 << 40) + 1),), None))
    broke(peer, ErrorCode.PROTOCOL_VIOLATION, str(1 << 40), "never sent")


def test_ranges_that_were_told_before_are_not_looked_at_again() -> None:
    peer = Peer(Config(congestion="new_reno"))
    server = peer.server
    server.send(0, bytes(1 << 20))
    peer.answers()
    looked: list[tuple[int, int]] = []
    take = type(server._recovery.sent_packets).take

    def counted(self: Any, start: int, stop: int) -> Any:
        looked.append((start, stop))
        return take(self, start, stop)

    for _ in range(12):
        peer.now += 0.05
        newest = server._recovery.next_packet_number - 1
        ranges = tuple((number, number + 1) for number in range(newest, max(-1, newest - 256), -2))
        peer.send(wire.Ack(newest, 0.0, ranges, None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(server._recovery.sent_packets), "take", counted)
        for _ in range(50):
            peer.arrive(peer.packet(wire.Ack(newest, 0.0, ranges, None)))
    assert len(looked) <= 2 * len(ranges)


def test_a_peer_that_acknowledges_late_makes_us_keep_no_more_than_the_mark() -> None:
    peer = Peer()
    server, mark = peer.server, Config().send_buffer
    for _ in range(200):
        while server.can_send(0):
            server.send(0, bytes(16_384))
        peer.answers()
        newest = server._recovery.next_packet_number - 1
        peer.now += 2.0
        if not peer.endpoint.connections:
            break
        peer.endpoint.handle_timeout(peer.now)
        peer.send(wire.Ack(newest, 3600.0, ((newest, newest + 1),), None))
        window = server.stats(peer.now).congestion_window
        assert server.buffered(0) <= mark + 16_384 + 4 * window + (1 << 18)
    assert server._recovery.rtt.smoothed_rtt <= 3.0


def test_marks_that_cannot_be_true_are_not_believed() -> None:
    for counts in [(0, 0, 1 << 60), (0, 5, 0), (1 << 63, 0, 0)]:
        peer = Peer()
        server = peer.server
        server.send(0, bytes(20_000))
        peer.answers()
        window = server.stats(peer.now).congestion_window
        newest = server._recovery.next_packet_number - 1
        peer.now += 0.02
        peer.send(wire.Ack(newest, 0.0, ((0, newest + 1),), counts))
        assert server._recovery.ecn.state is EcnState.FAILED
        assert server.stats(peer.now).congestion_window >= window
        assert not server.stats(peer.now).ecn_capable


def test_a_datagram_full_of_small_frames_ends_the_connection() -> None:
    peer = Peer()
    peer.arrive(peer.packet(*[wire.MaxData(number) for number in range(7000)]))
    peer.answers()
    broke(peer, ErrorCode.FRAME_ENCODING_ERROR, "8 frames")


def traced(fill: Any) -> int:
    """Bytes that a victim holds after `fill(peer)`."""
    tracemalloc.start()
    try:
        peer = Peer()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        fill(peer)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_a_window_full_of_fragments_holds_no_more_than_one_full_of_data() -> None:
    def honest(peer: Peer) -> None:
        for number in range(Config().initial_receive_window // 1000):
            peer.arrive(peer.data(0, 1000 * number, bytes(1000)))
            peer.answers()

    def fragments(peer: Peer) -> None:
        for number in range(1200):
            at = 2 + 3 * number * wire.MAX_FRAMES
            frames = [wire.Stream(0, at + 3 * n, bytes([n, 1]), fin=False) for n in range(wire.MAX_FRAMES)]
            peer.send(*frames)
        assert peer.server.stats(0.0).packets_refused > 0

    assert traced(fragments) <= traced(honest)


def test_a_stream_beyond_the_limit_ends_the_connection_and_makes_none() -> None:
    far: list[wire.Frame] = [
        wire.Stream(1 << 62, 0, b"", fin=False),
        wire.ResetStream(1 << 62 | 2, 0, 0),
        wire.StopSending(1 << 40, 0),
        wire.MaxStreamData(128 << 2, 5),
    ]
    for frame in far:
        peer = Peer()
        peer.send(frame)
        broke(peer, ErrorCode.STREAM_LIMIT_ERROR, "128 admitted")
    # Streams that are ours alone.
    for frame in (wire.Stream(1 << 62 | 1, 0, b"x", fin=False), wire.ResetStream(1 << 62 | 3, 0, 0)):
        peer = Peer()
        peer.send(frame)
        broke(peer, ErrorCode.STREAM_STATE_ERROR, "never opened")


class Opener(Peer):
    """A peer that opens streams as fast as it is let, and heeds its limit. `opened`: how many so far."""

    def __init__(self, config: Config, *, reset: bool) -> None:
        super().__init__(config, read=True)
        self.reset, self.opened, self.limit = reset, 0, config.max_streams_uni
        self.acks = honest_acks(self)

    def answers(self) -> list[bytes]:
        found = super().answers()
        for datagram in found:
            if datagram[0] in wire.DATA_TYPES and not wire.DATA_TYPES[datagram[0]].canonical:
                for frame in wire.decode_frames(memoryview(datagram)[wire.DATA_HEADER_SIZE : -4]):
                    if isinstance(frame, wire.MaxStreams) and frame.unidirectional:
                        self.limit = max(self.limit, frame.maximum)
        return found

    def spend(self) -> None:
        """Open, and end, as many as are admitted, and acknowledge what came."""
        self.arrive(*next(self.acks))
        self.answers()
        while self.opened < self.limit and self.endpoint.connections:
            stream_id = self.opened << 2 | 2
            self.opened += 1
            self.send(wire.ResetStream(stream_id, 1, 0) if self.reset else wire.Stream(stream_id, 0, b"x", fin=True))

    def wait(self, seconds: float) -> None:
        """Let time pass; nothing but timers wakes the server, and what it says then is answered by more streams."""
        until = self.now + seconds
        while (due := self.endpoint.next_timeout()) is not None and due <= until:
            self.now = max(self.now, due)
            self.spend()
            self.answers()
        self.now = until


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("most", [2, 50, 1000])
def test_a_peer_is_admitted_streams_no_faster_than_so_many_a_second_and_not_cut_off(most: int, reset: bool) -> None:
    """However fast it ends or resets those it has; and it is admitted no fewer, without asking."""
    limits = {"max_stream_resets": most} if reset else {"max_stream_opens": most}
    at_a_time = Config().max_streams_uni
    peer = Opener(Config(idle_timeout=0.0, give_up_timeout=10_000.0, **limits), reset=reset)
    burst = at_a_time + 2 * max(1, most * stream_limits.BURST)
    for second in range(1, 6):
        peer.spend()
        peer.wait(1.0)
        assert peer.opened <= burst + most * second + 1
    assert peer.server.state is State.ESTABLISHED
    # What is reset costs what is admitted afterwards.
    assert peer.opened >= most * 5 - (at_a_time if reset else 0)
    # An hour without any isn't saved up.
    peer.now += 3600.0
    peer.answers()
    before = peer.opened
    peer.spend()
    assert most * stream_limits.BURST - 1 <= peer.opened - before <= burst + 1


def test_a_peer_that_opens_streams_beyond_its_limit_while_it_waits_ends_its_connection() -> None:
    peer = Opener(Config(max_stream_opens=2), reset=False)
    peer.spend()
    peer.send(wire.Stream(peer.opened << 2 | 2, 0, b"x", fin=True))
    broke(peer, ErrorCode.STREAM_LIMIT_ERROR, f"{peer.limit} admitted")


def test_resets_that_we_asked_for_and_repeated_ones_are_no_attack() -> None:
    """A server that ends thousands of streams a second before it saw their ends asks for as many resets."""
    peer = Peer(read=True)
    for number in range(2 * Config().max_stream_resets):
        stream_id = number << 2 | 2
        peer.send(wire.Stream(stream_id, 0, b"request", False))
        peer.server.stop_sending(stream_id, 0)
        peer.send(wire.ResetStream(stream_id, 0, 7))
        peer.send(wire.ResetStream(stream_id, 0, 7))
        peer.now += 1e-5
    assert peer.server.state is State.ESTABLISHED
    assert peer.server._streams.limits.owed == (0, 0)


def test_data_beyond_the_credit_ends_the_connection_before_it_is_kept() -> None:
    window = Config().initial_receive_window
    for frame in (
        wire.Stream(0, window, b"x", fin=False),
        wire.Stream(0, wire.POSITION_LIMIT - 2, b"x", fin=True),
        wire.ResetStream(0, 0, window + 1),
    ):
        peer = Peer()
        peer.send(frame)
        broke(peer, ErrorCode.FLOW_CONTROL_ERROR, f"granted {window}")
    peer = Peer()
    whole = peer.server._streams.receive_window.window
    peer.send(wire.Stream(0, window - 1, b"x", fin=False))
    peer.send(wire.Stream(4, whole - window - 1, b"x", fin=False))
    assert peer.server.is_open
    peer.send(wire.Stream(8, 0, b"x", fin=False))
    broke(peer, ErrorCode.FLOW_CONTROL_ERROR, f"granted {whole}")


def test_of_bytes_that_come_twice_the_first_are_kept() -> None:
    random = Random(5)
    for _ in range(50):
        peer = Peer()
        kept: dict[int, int] = {}
        pieces = [(random.randrange(200), random.randrange(1, 40)) for _ in range(60)] + [(0, 240)]
        for value, (offset, size) in enumerate(pieces):
            peer.send(wire.Stream(0, offset, bytes([value]) * size, fin=False))
            for place in range(offset, offset + size):
                kept.setdefault(place, value)
        read = bytearray()
        while data := peer.server.receive(0):
            read += data
        assert list(read) == [kept[place] for place in range(240)]


def test_frames_cut_at_every_length_end_the_connection_with_one_error() -> None:
    frames: list[wire.Frame] = [
        wire.Stream(0, 0, bytes(20), fin=True),
        wire.ResetStream(0, 1, 2),
        wire.MaxStreamData(0, 9),
        wire.Close(1, "words", application=True),
        wire.AckFrequency(1, 1, 0.1, 1),
        wire.PathChallenge(bytes(8)),
        wire.Fin(1, 0, 0),
        wire.Ack(0, 0.0, ((0, 1),), (1, 2, 3)),
    ]
    for frame in frames:
        body = wire.encode_ack(frame, 100) if isinstance(frame, wire.Ack) else wire.encode_frame(frame)
        for size in range(1, len(body)):
            peer = Peer()
            peer.arrive(peer.raw(body[:size]))
            peer.answers()
            broke(peer, ErrorCode.FRAME_ENCODING_ERROR)
    # Lengths that say more than is there, and none at all.
    for body in (b"", b"\x0a" + bytes(16) + b"\xff\xff" + bytes(9), b"\x1c" + bytes(4) + b"\x04\x00" + bytes(9)):
        peer = Peer()
        peer.arrive(peer.raw(body))
        peer.answers()
        broke(peer, ErrorCode.FRAME_ENCODING_ERROR)


def test_legal_frames_in_the_wrong_state_end_it_by_name_or_do_nothing() -> None:
    harmless: list[wire.Frame] = [
        wire.PathResponse(b"unasked!"),
        wire.AckFrequency(0, 1, 0.0, 0),
        wire.MaxData(0),
        wire.MaxStreamData(0, 0),
        wire.MaxStreams(0, unidirectional=True),
    ]
    peer = Peer()
    for frame in harmless * 3:
        peer.send(frame)
    assert peer.server.state is State.ESTABLISHED
    wrong: list[tuple[list[wire.Frame], ErrorCode, str]] = [
        ([wire.Fin(1, 0, 5), wire.Fin(1, 0, 6)], ErrorCode.FINAL_SIZE_ERROR, "an earlier one said"),
        ([wire.Fin(1, 0, 5), wire.Stream(0, 0, bytes(6), fin=False)], ErrorCode.FINAL_SIZE_ERROR, "FIN spoke of"),
        ([wire.Fin(1, 0, 0), wire.Stream(4, 0, b"", fin=False)], ErrorCode.FINAL_SIZE_ERROR, "FIN spoke of"),
        ([wire.Fin(1 << 50, 0, 0)], ErrorCode.STREAM_LIMIT_ERROR, "128 admitted"),
        ([wire.Stream(0, 0, b"ab", fin=True), wire.Stream(0, 2, b"c", fin=False)], ErrorCode.FINAL_SIZE_ERROR, "ended"),
        ([wire.Stream(0, 0, b"ab", fin=False), wire.Stream(0, 0, b"a", fin=True)], ErrorCode.FINAL_SIZE_ERROR, "ends"),
        ([wire.Stream(0, 5, b"ab", fin=False), wire.ResetStream(0, 0, 3)], ErrorCode.FINAL_SIZE_ERROR, "ends"),
        ([wire.Stream(1, 0, b"ab", fin=False)], ErrorCode.STREAM_STATE_ERROR, "never opened"),
        ([wire.MaxStreamData(2, 5)], ErrorCode.STREAM_STATE_ERROR, "our sending"),
        ([wire.StopSending(2, 5)], ErrorCode.STREAM_STATE_ERROR, "our sending"),
    ]
    for frames, code, words in wrong:
        peer = Peer()
        for frame in frames:
            peer.send(frame)
        broke(peer, code, words)
    # DATA before SYN_ACK, and after the end.
    peer = Peer(opened=False)
    peer.send(wire.Ping())
    assert not peer.endpoint.connections
    peer = Peer()
    peer.send(wire.Close(0, "", application=True))
    for _ in range(100):
        assert peer.send(wire.Ping()) == []


def hop(peer: Peer, number: int, hosts: int = 2) -> int:
    """A packet from the next of so many hosts, and the answer to the challenge it brings, if any; bytes that come."""
    host = (f"10.1.1.{number % hosts}", 999)
    came = sum(map(len, peer.send(wire.Ping(), remote=host)))
    candidate = peer.server._paths.candidate
    if candidate is not None and candidate.challenge is not None:
        came += sum(map(len, peer.send(wire.PathResponse(candidate.challenge), remote=host)))
    return came


def test_a_peer_that_hops_between_its_hosts_is_sent_no_window_for_each_hop() -> None:
    """Each path begins with a window of its own, and nothing of the last one needs to be acknowledged for that."""
    peer = Peer(Config(congestion="cubic"))
    peer.server.send(0, bytes(16 << 20))
    peer.answers()
    first = peer.server.stats(0.0).congestion_window
    came, hops = 0, 0
    while peer.now < 5.0:
        came += hop(peer, hops)
        hops += 1
        peer.now += 0.002
        peer.endpoint.handle_timeout(peer.now)
        came += sum(map(len, peer.answers()))
    # A window for each probe timeout of a path without a sample, at most, and its probes.
    assert came <= 12 * first
    assert peer.server.state is State.ESTABLISHED
    assert len(peer.server._recovery.sent_packets) < 200


def test_a_peer_that_moves_on_soon_is_followed_a_probe_timeout_later() -> None:
    peer = Peer()
    hop(peer, 1, 250)
    assert peer.server.remote_address[0] == "10.1.1.1"
    hop(peer, 2, 250)
    assert peer.server.remote_address[0] == "10.1.1.1"
    peer.now += peer.server._recovery.rtt.probe_timeout()
    hop(peer, 2, 250)
    assert peer.server.remote_address[0] == "10.1.1.2"
    # Another port is the same host, and what a NAT does; no window goes with it.
    peer.send(wire.Ping(), remote=("10.1.1.2", 1000))
    candidate = peer.server._paths.candidate
    assert candidate is not None
    assert candidate.remote == ("10.1.1.2", 1000)


def test_a_reader_that_grants_nothing_holds_the_mark_and_no_more() -> None:
    peer = Peer(parameters=GENEROUS._replace(initial_max_data=0))
    server, mark = peer.server, Config().send_buffer
    ids = [server.open_stream() for _ in range(8)]
    for _ in range(50):
        for stream_id in ids:
            while server.can_send(stream_id):
                server.send(stream_id, bytes(65_536))
        peer.now += 1.0
        peer.endpoint.handle_timeout(peer.now)
        newest = server._recovery.next_packet_number - 1
        peer.send(wire.Ack(newest, 0.0, ((0, newest + 1),), None), wire.MaxData(1))
    assert server.send_buffered <= len(ids) * (mark + 65_536)


# -- all of them ------------------------------------------------------------------------------------------------


def calls(peer: Peer, datagrams: Any, number: int) -> float:
    """Calls of Python functions and of C ones that a datagram takes: what CPU time is made of, the same in each run."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    for data, remote in islice(datagrams, number):
        sys.setprofile(note)
        peer.arrive(data, remote)
        peer.answers()
        sys.setprofile(None)
        peer.now += 1 / attacks.RATE
    return count / number


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_datagram_of_an_attack_takes_so_many_calls_and_no_more(attack: Attack) -> None:
    peer = attack.prepare()
    assert calls(peer, attack.datagrams(peer), 200) <= attack.most_calls


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_goes_on_unless_ending_the_connection_is_what_stands_against_it(attack: Attack) -> None:
    peer = attack.prepare()
    for data, remote in islice(attack.datagrams(peer), 1_500):
        peer.arrive(data, remote)
        peer.answers()
        peer.now += 1 / attacks.RATE
    assert (peer.endpoint.stats().violations > 0) == attack.ends
    ended = [error for error in peer.ends if not isinstance(error, ConnectionReset)]
    assert bool(ended) == attack.ends, "what the peer ends itself is its own affair"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_holds_no_more_than_twice_what_honest_load_does(
    attack: Attack, honest_memory: dict[str, int]
) -> None:
    assert attacks.attack_memory(attack, 300) <= attacks.MEMORY_GOAL * honest_memory[attack.per]


@pytest.fixture(scope="module")
def honest_memory() -> dict[str, int]:
    return attacks.honest_memory()


def test_each_test_that_is_named_exists() -> None:
    found = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").glob("test_*.py")))
    for attack in ATTACKS:
        for name in attack.tests:
            assert f"def {name}(" in found, f"{attack.name}: no test is called {name}"


def test_victims_answer_strangers_with_no_more_than_three_times_what_came() -> None:
    for attack in ATTACKS:
        if "off-path" not in attack.by:
            continue
        peer = attack.prepare()
        sent = received = 0
        for data, remote in islice(attack.datagrams(peer), 300):
            peer.arrive(data, remote)
            sent += len(data)
            received += sum(map(len, peer.answers()))
            peer.now += 1e-4
        peer.now += 100
        received += sum(map(len, peer.answers()))
        assert received <= 3 * sent, attack.name
    assert SERVER != PEER


def test_the_page_on_security_shows_what_was_kept_and_every_attack() -> None:
    page = attacks.PAGE.read_text(encoding="utf-8")
    figures = json.loads(attacks.RESULTS.read_text(encoding="utf-8"))
    assert attacks.written(page, figures) == page, "run: python -m bench.attacks --write"
    assert {row["attack"] for row in figures["rows"]} == {attack.name for attack in ATTACKS}


def test_the_command_measures_and_says_which_bounds_do_not_hold() -> None:
    figures = attacks.measure(40, 1, ATTACKS[:2])
    assert [row["attack"] for row in figures["rows"]] == [attack.name for attack in ATTACKS[:2]]
    for row in figures["rows"]:
        row.update(cpu_factor=1.0, memory_factor=1.0, kept_core=1.0)
    assert attacks.missed(figures) == []
    figures["rows"][1]["memory_factor"] = 2.5
    assert attacks.missed(figures) == [f"{ATTACKS[1].name}: memory_factor 2.5"]
