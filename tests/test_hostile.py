"""A server against a peer that follows no rule but the wire's: nothing escapes, nothing grows, nothing waits for ever.

The peer is that of `bench.hostile`: it knows how packets are laid out, and says what it likes. Everything is counted
in bytes and objects, never in seconds of a real clock.
"""

from __future__ import annotations

from itertools import islice
from zlib import crc32

import pytest

from bench.hostile import GENEROUS, PEER, SERVER, Peer, forged_syn
from rudp import packet_number, wire
from rudp.aio.driver import BUFFERS_PER_WAKEUP, TRAINS_PER_WAKEUP
from rudp.config import Config
from rudp.congestion import RandomBits
from rudp.congestion.new_reno import NewReno
from rudp.endpoint import MAX_REPLIES, TURN_SIZE
from rudp.errors import ErrorCode
from rudp.events import Terminated
from rudp.lingering import KEPT_SECONDS
from rudp.opening import MAX_ACK_DELAY
from rudp.receive_buffer import FRAGMENT_OVERHEAD, LEAST_FRAGMENT_SPACE
from rudp.state import State
from rudp.timers import STALE_TIMERS
from rudp.train import Address
from rudp.turns import UNACKNOWLEDGED_WINDOWS
from tests.pair import Pair

IP_AND_UDP = 28  # bytes before each datagram
LARGEST = wire.POSITION_LIMIT - 1


def fragments(peer: Peer) -> int:
    """Fragments the server holds, on all streams."""
    streams = peer.server._streams.held.values()
    return sum(stream.receive.fragments for stream in streams if stream.receive is not None)


# -- opening ----------------------------------------------------------------------------------------------------


def test_more_protocol_names_than_a_reason_has_room_for_are_refused_like_any() -> None:
    names = tuple(f"{number:025}" for number in range(wire.MAX_PROTOCOLS))
    parameters = GENEROUS._replace(application_protocols=names)
    accepted = tuple(f"{number:015}" for number in range(wire.MAX_PROTOCOLS))
    peer = Peer(Config(application_protocol=accepted), parameters, opened=False)
    answer = wire.decode_opening(memoryview(peer.syn()[0]))
    assert isinstance(answer, wire.SynAck)
    assert answer.parameters.refused is not None
    assert answer.parameters.refused.code == ErrorCode.NO_APPLICATION_PROTOCOL
    assert len(answer.parameters.refused.reason.encode()) <= wire.MAX_REASON_SIZE


def test_syns_with_ever_other_try_counters_amplify_nothing() -> None:
    peer = Peer(opened=False)
    sent = received = 0
    for counter in range(256):
        sent += wire.OPENING_SIZE
        received += sum(map(len, peer.syn(try_counter=counter)))
        peer.now += 0.001
        assert received <= 3 * sent
    assert received <= sent
    peer.now += 100
    assert sum(map(len, peer.answers())) + received <= 3 * sent


def test_spoofed_syns_are_held_to_the_limit_and_answered_by_less_than_they_are() -> None:
    peer = Peer(Config(max_half_open=16), opened=False)
    for number in range(200):
        remote = (f"192.0.2.{number}", 53)
        answers = peer.syn(remote=remote)
        assert sum(map(len, answers)) <= wire.OPENING_SIZE
    assert peer.endpoint.stats().half_open == 16
    assert peer.endpoint.stats().retries_sent == 184


def test_until_its_address_is_proven_a_flood_of_syns_costs_no_look_at_their_parameters() -> None:
    peer = Peer(Config(max_half_open=1), opened=False)
    peer.syn()
    unread = wire.UnreadSyn(7, 6, 0, b"nonsense", b"")
    fields = [b"\x50", (7).to_bytes(8), (1).to_bytes(4), (6).to_bytes(8), b"\0", (8).to_bytes(2), unread.parameters]

    def datagram(cookie: bytes) -> bytes:
        body = b"".join([*fields, len(cookie).to_bytes(2), cookie]).ljust(wire.OPENING_SIZE - 4, b"\0")
        return body + crc32(body).to_bytes(4)

    peer.arrive(datagram(b""))
    retry = wire.decode_opening(memoryview(peer.answers()[0]))
    assert isinstance(retry, wire.Retry)
    dropped = peer.endpoint.stats().datagrams_dropped
    peer.arrive(datagram(retry.cookie))
    assert peer.answers() == []
    assert peer.endpoint.stats().datagrams_dropped == dropped + 1


def test_syns_repeated_faster_than_any_client_does_are_answered_no_faster_than_it_needs() -> None:
    peer = Peer(opened=False)
    answers = 0
    for counter in range(200):
        answers += len(peer.syn(try_counter=counter))
        peer.now += 0.001
    assert 2 <= answers <= 3


# -- time -------------------------------------------------------------------------------------------------------


def test_a_peer_that_says_it_delays_acknowledgements_for_an_hour_is_held_no_longer_for_it() -> None:
    peer = Peer(parameters=GENEROUS._replace(max_ack_delay=4000.0))
    connection = peer.server
    connection.send(0, b"unanswered")
    peer.answers()
    silence = 0.0
    while peer.endpoint.connections:
        due = peer.endpoint.next_timeout()
        assert due is not None
        silence = peer.now = due
        peer.endpoint.handle_timeout(due)
        peer.answers()
    assert silence < 3 * (MAX_ACK_DELAY + 2)


def test_the_memory_of_a_connection_that_ended_is_not_as_long_as_its_peer_would_have_it() -> None:
    peer = Peer(parameters=GENEROUS._replace(max_ack_delay=4000.0))
    peer.send(wire.Close(0, "", application=False))
    assert not peer.endpoint.connections
    assert not peer.endpoint.is_idle
    peer.now = 3 * (MAX_ACK_DELAY + 2)
    peer.endpoint.handle_timeout(peer.now)
    assert peer.endpoint.is_idle


# -- numbers ----------------------------------------------------------------------------------------------------


def test_numbers_may_jump_and_the_server_goes_on() -> None:
    peer = Peer()
    number = peer.number
    for _ in range(1000):
        number += (1 << 31) - 1
        peer.send(wire.Ping(), number=number)
        peer.now += 0.01
    assert peer.server.state is State.ESTABLISHED
    assert len(peer.server._received.ranges) <= 256


def test_after_the_last_packet_number_nothing_more_is_taken() -> None:
    peer = Peer()
    received = peer.server._received
    # As after 2^33 jumps, the largest a peer can make.
    received.on_received(packet_number.LIMIT - 3, packet_number.LIMIT - 2, 0.0, True, 0)
    for number in range(packet_number.LIMIT - 2, packet_number.LIMIT + 3):
        peer.send(wire.Ping(), number=number)
    assert received.largest == packet_number.LIMIT - 1
    assert peer.server.state is State.ESTABLISHED
    assert peer.server.stats(peer.now).datagrams_corrupt == 3


# -- memory -----------------------------------------------------------------------------------------------------


def test_fragments_are_bounded_over_all_streams_together() -> None:
    config = Config()
    peer = Peer(config)
    window = peer.server._streams.receive_window.window
    most = max(window, LEAST_FRAGMENT_SPACE) // FRAGMENT_OVERHEAD + 1
    for at in range(2, 400, 34):
        for number in range(config.max_streams_bidi):
            frames = [wire.Stream(number << 2, at + 2 * i, b"x", fin=False) for i in range(wire.MAX_FRAMES)]
            peer.send(*frames)
    assert peer.server.state is State.ESTABLISHED
    assert most - 50 <= fragments(peer) <= most
    # What closes a gap is taken all the same, and makes room.
    for at in range(0, 400, 40):
        peer.send(wire.Stream(0, at, bytes(40), fin=False))
    first = peer.server._streams.find(0)
    assert first is not None
    assert first.receive is not None
    assert (first.receive.contiguous, first.receive.fragments) == (400, 0)
    assert peer.server._streams._fragments.held == fragments(peer) < most
    # So does what is given up.
    for number in range(config.max_streams_bidi):
        peer.server.stop_sending(number << 2, 0)
    assert peer.server._streams._fragments.held == 0


def test_fragments_given_up_by_the_peer_count_no_more() -> None:
    peer = Peer()
    peer.send(*[wire.Stream(4, 2 + 2 * i, b"x", fin=False) for i in range(wire.MAX_FRAMES)])
    assert peer.server._streams._fragments.held == wire.MAX_FRAMES
    peer.send(wire.ResetStream(4, 1, 81))
    assert peer.server._streams._fragments.held == 0


def acknowledge_all_but_the_first(peer: Peer, datagrams: list[bytes], stream_id: int) -> list[bytes]:
    """Acknowledge what came, but for packets with the first bytes of a stream; what comes back."""
    overhead = 4
    ranges: list[tuple[int, int]] = []
    for data in datagrams:
        view = memoryview(data)
        number = wire.read_headers(view, len(view))[2][0]
        kind = wire.DATA_TYPES[data[0]]
        frames = (
            [wire.Stream(*fields) for fields in wire.read_canonical(view, len(view), overhead)]
            if kind.canonical
            else wire.decode_frames(view[wire.DATA_HEADER_SIZE : len(view) - overhead])
        )
        if any(isinstance(f, wire.Stream) and f.stream_id == stream_id and not f.offset for f in frames):
            continue
        if ranges and ranges[0][1] == number:
            ranges[0] = (ranges[0][0], number + 1)
        else:
            ranges.insert(0, (number, number + 1))
    return peer.send(wire.Ack(ranges[0][1] - 1, 0.0, tuple(ranges[:128]), None)) if ranges else []


def test_a_first_byte_never_acknowledged_makes_the_server_keep_only_so_much() -> None:
    peer = Peer(Config(max_datagram_size=65507), GENEROUS._replace(max_datagram_size=65507))
    server = peer.server
    chunk = bytes(1 << 20)
    server.send(0, chunk)
    most = UNACKNOWLEDGED_WINDOWS * server.config.receive_window
    stalled = 0
    datagrams: list[bytes] = []
    while stalled < 20:
        before = server._streams.turns.send_window.used
        while server.can_send(0):
            server.send(0, chunk)
        datagrams += peer.answers()
        peer.now += 0.02
        peer.endpoint.handle_timeout(peer.now)
        datagrams = acknowledge_all_but_the_first(peer, datagrams, 0)
        stalled = stalled + 1 if server._streams.turns.send_window.used == before else 0
    assert server._streams.turns.send_window.used == most
    # One that does acknowledge it is sent the rest.
    sent = server._recovery.next_packet_number
    peer.send(wire.Ack(sent - 1, 0.0, ((0, sent),), None))
    peer.now += 1
    peer.endpoint.handle_timeout(peer.now)
    peer.answers()
    assert server._streams.turns.send_window.used > most


def test_a_server_that_repeats_its_syn_ack_is_answered_no_more_often_than_a_probe_timeout_lets() -> None:
    network = Pair()
    client = network.client
    repeated = network.packets("s", "SYN_ACK")[0].data
    sent = client.stats(network.now).packets_sent
    for _ in range(2000):
        network.endpoints["c"].receive(memoryview(repeated), len(repeated), SERVER, None, 0, network.now)
        for _ in network.endpoints["c"].datagrams_to_send(network.now):
            pass
        network.now += 0.0005
    assert 1 <= client.stats(network.now).packets_sent - sent <= 20
    assert len(client._recovery.sent_packets) <= 20


def test_a_peer_that_answers_late_is_not_waited_for_at_the_end() -> None:
    peer = Peer()
    connection = peer.server
    for _ in range(12):
        connection.send(0, b"x")
        peer.answers()
        newest = connection._recovery.next_packet_number - 1
        peer.now += 20.0
        peer.send(wire.Ack(newest, 0.0, ((newest, newest + 1),), None))
    assert connection._recovery.rtt.probe_timeout() > 20
    peer.send(wire.Close(0, "", application=False))
    peer.now += KEPT_SECONDS
    peer.endpoint.handle_timeout(peer.now)
    assert peer.endpoint.is_idle


# -- floods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reordering", [0, 1, 3])
def test_acknowledgements_of_tiny_packets_with_gaps_are_no_larger_than_what_came(reordering: int) -> None:
    peer = Peer()
    peer.send(wire.AckFrequency(1, 1, 0.0, reordering))
    sent = received = 0
    for _ in range(2000):
        peer.number += 1
        packet = peer.packet(wire.Ping(), wire.ImmediateAck())
        peer.arrive(packet)
        answers = peer.answers()
        sent += len(packet) + IP_AND_UDP
        received += sum(len(data) + IP_AND_UDP for data in answers)
        peer.now += 5e-5
    assert received <= 3 * sent
    # What is new is told, however many packets come at once.
    first = peer.number
    for _ in range(60):
        peer.number += 1
        peer.arrive(peer.packet(wire.Ping()))
    told = [frame for data in peer.answers() for frame in wire.decode_frames(memoryview(data)[13:-4])]
    ack = next(frame for frame in told if isinstance(frame, wire.Ack))
    assert {(number, number + 1) for number in range(first + 1, peer.number, 2)} <= set(ack.ranges)


def test_challenges_and_hops_hold_one_candidate_and_amplify_nothing() -> None:
    peer = Peer()
    for number in range(300):
        remote = (f"192.0.2.{number % 250}", 1000 + number)
        datagram = peer.packet(*[wire.PathChallenge(bytes(8))] * wire.MAX_FRAMES)
        peer.arrive(datagram, remote)
        assert sum(map(len, peer.answers())) <= 3 * len(datagram)
        peer.now += 0.001
    assert peer.server.remote_address == PEER
    assert peer.server.state is State.ESTABLISHED


def test_streams_opened_and_reset_again_and_again_are_held_to_their_limit_until_read() -> None:
    peer = Peer()
    for number in range(128):
        stream_id = number << 2 | 2
        peer.send(wire.ResetStream(stream_id, 1, 0))
    assert peer.server.stream_count == 128
    peer.send(wire.ResetStream(128 << 2 | 2, 1, 0))
    assert not peer.endpoint.connections, "beyond the limit the connection ends"


def test_wishes_about_acknowledgements_move_them_no_further_than_a_share_of_a_round_trip() -> None:
    peer = Peer()
    for sequence, (threshold, delay, reordering) in enumerate(
        [(0, 0.0, 0), (2**32 - 1, 4294.0, 2**32 - 1), (1, 0.0, 1), (2**32 - 1, 4294.0, 0)]
    ):
        peer.send(wire.AckFrequency(sequence, threshold, delay, reordering))
        peer.now += 0.5
        peer.send(wire.Ping())
        due = peer.server._received.deadline
        assert due is None or due <= peer.now + peer.server._recovery.rtt.smoothed_rtt
        peer.now += 0.5
        peer.endpoint.handle_timeout(peer.now)
        peer.answers()
    assert peer.server.state is State.ESTABLISHED


def test_credit_handed_out_byte_by_byte_wakes_one_stream_not_all() -> None:
    peer = Peer(parameters=GENEROUS._replace(initial_max_data=0))
    server = peer.server
    turns = server._streams.turns
    ids = [server.open_stream() for _ in range(500)]
    for stream_id in ids:
        server.send(stream_id, bytes(1000))
    for _ in range(20):
        peer.answers()
        peer.now += 0.1
        sent = server._recovery.next_packet_number
        peer.send(wire.Ack(sent - 1, 0.0, ((0, sent),), None))
    assert turns.flow_blocked
    served: set[int] = set()
    for maximum in range(1, 30):
        peer.arrive(peer.packet(wire.MaxData(maximum)))
        assert turns.ready_count == 1
        stream = turns.next_ready()
        assert stream is not None
        served.add(stream.id)
        peer.answers()
        assert turns.send_window.used == maximum
    assert len(served) == 29, "each has its turn"
    # With credit for all, all go.
    peer.send(wire.MaxData(LARGEST))
    for _ in range(150):
        peer.now += 0.1
        sent = server._recovery.next_packet_number
        peer.send(wire.Ack(sent - 1, 0.0, ((0, sent),), None))
    assert turns.send_window.used == 1000 * len(ids)
    assert server.send_buffered == 0


def test_a_fin_that_speaks_of_more_streams_than_were_admitted_is_no_clean_end() -> None:
    for fin in (wire.Fin(1 << 50, 0, 0), wire.Fin(1, 129, 0)):
        peer = Peer()
        peer.arrive(peer.packet(fin))
        events = []
        while (item := peer.endpoint.next_event()) is not None:
            events.append(item[1])
        assert [type(event) for event in events] == [Terminated]
        assert "128 admitted" in str(events[0].error)
        assert not list(peer.endpoint.connections) or not peer.server.is_open


def test_deadlines_that_come_nearer_with_each_packet_leave_few_timers_behind() -> None:
    peer = Peer()
    connection = peer.server
    connection.send(0, b"x")
    peer.answers()
    newest = connection._recovery.next_packet_number - 1
    peer.now += 25.0
    peer.send(wire.Ack(newest, 0.0, ((newest, newest + 1),), None))
    delay = connection._recovery.rtt.smoothed_rtt / 4
    assert delay > 0.3
    for sequence in range(1500):
        delay -= 2e-4
        peer.send(wire.AckFrequency(sequence, 2**32 - 1, max(0.0, delay), 0))
        peer.now += 1e-4
    assert peer.server.state is State.ESTABLISHED
    assert len(peer.endpoint._timers) <= 2 * STALE_TIMERS
    # What is due is done in time all the same.
    due = peer.endpoint.next_timeout()
    assert due is not None
    assert due <= peer.now + 0.5
    peer.now = due
    peer.endpoint.handle_timeout(due)
    assert peer.answers()


def test_a_syn_is_answered_though_the_server_has_just_repeated_its_answer_by_itself() -> None:
    peer = Peer(opened=False)
    assert len(peer.syn()) == 1
    peer.now = 0.25
    peer.endpoint.handle_timeout(peer.now)
    assert len(peer.answers()) == 1
    peer.now = 0.2501
    assert len(peer.syn(try_counter=1)) == 1


# -- turns ------------------------------------------------------------------------------------------------------


class Unlimited(NewReno):
    """As if acknowledgements came faster than anything can be sent."""

    name = "unlimited"

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self.congestion_window = 1 << 40


def open_another(peer: Peer, remote: Address) -> None:
    """A further connection to the same server, from another address."""
    answer = wire.decode_opening(memoryview(peer.syn(6, remote=remote)[0]))
    assert isinstance(answer, wire.SynAck)
    peer.server_id, peer.number = answer.source_id, 0
    peer.send(wire.Ping(), remote=remote)


def sent_to(peer: Peer, trains: int) -> dict[Address, int]:
    """Bytes to each address in a driver's wake-up, which sends so many trains and leaves the rest."""
    sizes: dict[Address, int] = {}
    for train in islice(peer.endpoint.datagrams_to_send(peer.now), trains):
        sizes[train.remote] = sizes.get(train.remote, 0) + train.size
    return sizes


OTHER: Address = ("10.9.9.8", 888)


@pytest.mark.parametrize("trains", [1, 3, TRAINS_PER_WAKEUP])
def test_a_connection_that_may_always_send_leaves_the_others_their_share(trains: int) -> None:
    peer = Peer(Config(congestion=Unlimited))
    open_another(peer, OTHER)
    for connection in peer.endpoint.connections:
        connection.send(0, bytes(20 << 20))
    totals = {PEER: 0, OTHER: 0}
    for _ in range(60 // trains + 2):
        for remote, size in sent_to(peer, trains).items():
            totals[remote] += size
        assert abs(totals[PEER] - totals[OTHER]) <= 2 * TURN_SIZE
    assert min(totals.values()) > TURN_SIZE


def test_a_flood_of_syns_leaves_connections_what_they_send() -> None:
    peer = Peer(Config(congestion=Unlimited, retry="always"), opened=False)
    retry = wire.decode_opening(memoryview(peer.syn()[0]))
    assert isinstance(retry, wire.Retry)
    peer.arrive(forged_syn(5, 1, peer.parameters, cookie=retry.cookie))
    answer = wire.decode_opening(memoryview(peer.answers()[0]))
    assert isinstance(answer, wire.SynAck)
    peer.server_id = answer.source_id
    peer.send(wire.Ping())
    peer.server.send(0, bytes(40 << 20))
    number = 0
    for _ in range(20):
        for _ in range(BUFFERS_PER_WAKEUP):
            # As a socket merges what one sender sends.
            syns = b"".join(forged_syn(number + 10 + n) for n in range(50))
            number += 50
            peer.arrive(syns, OTHER, wire.OPENING_SIZE)
        sizes = sent_to(peer, TRAINS_PER_WAKEUP)
        assert sizes[PEER] > 20 * 60_000
        assert sizes[OTHER] > 0
        assert len(peer.endpoint._replies) <= MAX_REPLIES
    stats = peer.endpoint.stats()
    assert stats.datagrams_received == stats.retries_sent + 2
    assert stats.datagrams_dropped > 10_000, "answers beyond those that wait are not kept"
