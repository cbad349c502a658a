"""The attacks: who can make each, what stands against it, which test shows that, and the datagrams it is made of.

Knows: what an attacker would send. Refuses to know: what it costs (`attacks` measures) and what is right (the tests).

Each of ATTACKS gives datagrams, (bytes, address) each, one by one and without end, to a victim that `prepare` made.
"off-path" sends from any address and sees nothing; "on-path" sees packets, repeats, changes and drops them; "peer" is
the other end of a connection and follows no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from random import Random
from typing import Final, NamedTuple, TypeAlias

from rudp import wire
from rudp.config import Config
from rudp.train import Address

from .hostile import GENEROUS, PEER, Peer, forged_syn, spoofed

__all__ = ["ATTACKS", "FULL", "RATE", "Attack", "Datagram", "honest_data"]

Datagram: TypeAlias = tuple[bytes, Address]
FULL: Final = 1372
MOST: Final = wire.MAX_FRAMES
RATE: Final = 20_000  # attack datagrams a second


class Attack(NamedTuple):
    """One row of the table; `per` says whose memory it is after, a connection's or the endpoint's."""

    name: str
    by: str
    defence: str
    tests: tuple[str, ...]
    datagrams: Callable[[Peer], Iterator[Datagram]]
    prepare: Callable[[], Peer] = partial(Peer, read=True)
    per: str = "connection"
    # What it is compared with, by a victim of the same kind.
    like: Callable[[Peer], Iterator[Datagram]] | None = None
    # Function calls that a datagram may take, by a test; an honest one takes 190.
    most_calls: int = 650
    # Datagrams after which its cost is that of all further ones.
    least: int = 0


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
    skipped = server._recovery._unresolved.skipped
    for turn in count():
        newest = server._recovery.next_packet_number - 1 - turn % 2
        numbers = [number for number in range(newest, max(0, newest - 256), -2) if number not in skipped]
        ranges = tuple((number, number + 1) for number in numbers)
        newest = numbers[0]
        yield peer.packet(wire.Ack(newest, 0.0, ranges, None)), PEER


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


def reset_loop(peer: Peer) -> Iterator[Datagram]:
    """Streams opened by being reset, as many a packet as may be."""
    for index in count():
        ids = range(index * MOST, (index + 1) * MOST)
        yield peer.packet(*[wire.ResetStream(number << 2 | 2, 1, 0) for number in ids]), PEER


def ended_streams(peer: Peer) -> Iterator[Datagram]:
    """Streams opened by a byte and ended by it, as many a packet as may be."""
    for index in count():
        ids = range(index * MOST, (index + 1) * MOST)
        yield peer.packet(*[wire.Stream(number << 2 | 2, 0, b"x", fin=True) for number in ids]), PEER


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


def colliding_syns(_peer: Peer) -> Iterator[Datagram]:
    """Ids that differ by what Python's hash of an int leaves out, and by the multiplier of its hash of a tuple."""
    step = pow(11400714785074694791, -1, 1 << 64)
    for index in count():
        yield forged_syn((index * step + (index % 7) * ((1 << 61) - 1)) % (1 << 64)), PEER


def stream(number: int, offset: int, data: bytes) -> wire.Stream:
    return wire.Stream(number, offset, data, fin=False)


_NEVER_SENT: Final = wire.Ack(1 << 40, 0.0, ((1 << 40, (1 << 40) + 1),), None)

ATTACKS: Final = (
    Attack(
        "SYN flood from spoofed addresses",
        "off-path",
        "`max_half_open`; beyond it RETRY with a cookie and no state, before parameters are read",
        (
            "test_spoofed_syns_are_held_to_the_limit_and_answered_by_less_than_they_are",
            "test_until_its_address_is_proven_a_flood_of_syns_costs_no_look_at_their_parameters",
        ),
        datagrams(lambda random, _: forged_syn(random.getrandbits(64)), spoof=True),
        per="endpoint",
        least=RATE,
    ),
    Attack(
        "SYNs repeated under other counters",
        "off-path",
        "one answer in 0.1 s; at most three times the bytes that came go to an unproven address",
        (
            "test_syns_repeated_faster_than_any_client_does_are_answered_no_faster_than_it_needs",
            "test_syns_with_ever_other_try_counters_amplify_nothing",
        ),
        datagrams(lambda _, index: forged_syn(99, index % 256)),
        per="endpoint",
    ),
    Attack(
        "SYNs to be refused",
        "off-path",
        "the refusal is no longer than the SYN, is sent once, and keeps nothing",
        ("test_a_refusal_is_no_longer_than_what_it_refuses_and_keeps_nothing",),
        datagrams(
            lambda random, _: forged_syn(random.getrandbits(64), 0, GENEROUS._replace(protection=0)), spoof=True
        ),
        per="endpoint",
    ),
    Attack(
        "cookies repeated and guessed",
        "off-path, on-path",
        "a cookie is a keyed hash of address, ids, parameters and time; a repeated SYN finds its connection",
        ("test_a_cookie_is_bound_to_what_it_was_given_for", "test_no_bit_of_a_cookie_may_change"),
        replayed_cookie,
        lambda: Peer(Config(retry="always"), opened=False),
        per="endpoint",
    ),
    Attack(
        "SYNs of other versions",
        "off-path",
        "VERSION is shorter than any SYN it answers",
        ("test_an_answer_about_versions_is_a_small_part_of_the_question",),
        datagrams(lambda random, _: b"\x50" + random.randbytes(1199), spoof=True),
        per="endpoint",
    ),
    Attack(
        "ids that collide in hash tables",
        "off-path",
        "ids are the receiver's own random ones; clients are found by an address, whose hash is keyed, and their id",
        ("test_ids_made_to_collide_cost_no_more_than_others",),
        colliding_syns,
        per="endpoint",
        least=RATE,
    ),
    Attack(
        "guessed connection ids",
        "off-path",
        "56 random bits; a miss costs a look-up, and RESETs are 1,000 a second at most",
        ("test_guessed_ids_meet_nothing_and_are_answered_by_so_many_resets_a_second",),
        datagrams(lambda random, _: b"\x61" + random.randbytes(60), spoof=True),
        per="endpoint",
    ),
    Attack(
        "forged RESET",
        "off-path",
        "a token of 128 bits, looked up by a keyed hash",
        ("test_a_reset_with_any_but_the_right_token_does_nothing",),
        datagrams(lambda random, _: wire.encode_opening(wire.Reset(random.getrandbits(64), random.randbytes(16)))),
        per="endpoint",
    ),
    Attack(
        "stateless resets that answer each other",
        "off-path",
        "a RESET has 25 bytes and answers only what is longer",
        ("test_two_endpoints_that_know_nothing_do_not_reset_each_other_for_ever",),
        datagrams(lambda random, _: wire.encode_opening(wire.Reset(random.getrandbits(64), bytes(16)))),
        per="endpoint",
    ),
    Attack(
        "forged and repeated SYN_ACK, RETRY, VERSION",
        "off-path, on-path",
        "they count only with the client's 56 random bits, once; a repeated SYN_ACK brings a PING a probe timeout",
        (
            "test_forged_answers_to_a_syn_without_its_id_do_nothing",
            "test_a_server_that_repeats_its_syn_ack_is_answered_no_more_often_than_a_probe_timeout_lets",
        ),
        replayed_syn_acks,
    ),
    Attack(
        "empty datagrams",
        "off-path",
        "stepped over; 16 buffers a turn of the loop",
        ("test_empty_datagrams_are_counted_and_do_nothing", "test_a_flood_leaves_the_loop_to_others"),
        datagrams(lambda _random, _index: b""),
        per="endpoint",
    ),
    Attack(
        "noise of any size",
        "off-path",
        "decoding has one error and takes linear time",
        ("test_datagrams_of_every_size_and_past_it_leave_a_connection_alone",),
        datagrams(lambda random, index: random.randbytes(index % 1500), spoof=True),
        per="endpoint",
    ),
    Attack(
        "repeated DATA, from other addresses too",
        "on-path",
        "a packet number counts once; only the newest number moves a path",
        ("test_a_packet_repeated_from_elsewhere_changes_nothing",),
        replayed_data,
    ),
    Attack(
        "damaged DATA",
        "on-path",
        "the trailer is checked before anything is read (`crc32`: damage, not malice)",
        ("test_damaged_packets_are_counted_and_change_nothing",),
        marked_bad,
    ),
    Attack(
        "acknowledging what was never sent",
        "peer",
        "PROTOCOL_VIOLATION, with the number",
        ("test_acknowledging_a_packet_never_sent_ends_the_connection_and_is_named",),
        packets(lambda _: [_NEVER_SENT]),
    ),
    Attack(
        "acknowledging early",
        "peer",
        "numbers skipped at random: found out within 1,535 packets",
        ("test_a_peer_that_acknowledges_whatever_is_sent_is_found_out",),
        early_acks,
        talking,
        like=honest_acks,
    ),
    Attack(
        "tiny ACK ranges",
        "peer",
        "128 ranges and one ACK a packet; the 32 newest are read once 2,048 told nothing",
        (
            "test_ranges_that_were_told_before_are_not_looked_at_again",
            "test_ranges_told_in_vain_are_read_no_more_until_something_is_resolved",
            "test_a_packet_has_one_ack_at_most",
        ),
        tiny_ack_ranges,
        talking,
        like=honest_acks,
        most_calls=4000,
        least=RATE,
    ),
    Attack(
        "slow ACKs that lie about their delay",
        "peer",
        "data kept is bounded by window and mark; the delay believed by 16 s, RTT is measured by our clock",
        ("test_a_peer_that_acknowledges_late_makes_us_keep_no_more_than_the_mark",),
        slow_acks,
        talking,
        like=honest_acks,
    ),
    Attack(
        "ECN lies",
        "peer",
        "counts that can't be true end ECN on the path",
        ("test_marks_that_cannot_be_true_are_not_believed",),
        ecn_lies,
        talking,
        like=honest_acks,
    ),
    Attack(
        "packets of as many frames as fit",
        "peer",
        "8 frames a packet, whatever its size",
        ("test_a_packet_has_so_many_frames_and_no_more", "test_a_datagram_full_of_small_frames_ends_the_connection"),
        packets(lambda index: [wire.MaxStreamData(0, index * MOST + n) for n in range(MOST)]),
    ),
    Attack(
        "data on ever other streams, a byte each",
        "peer",
        "8 frames a packet",
        ("test_a_packet_has_so_many_frames_and_no_more",),
        packets(lambda index: [stream((index * MOST + n) % 128 << 2, index * MOST // 128, b"x") for n in range(MOST)]),
    ),
    Attack(
        "credit by the byte (silly window)",
        "peer",
        "credit is a number, however it is cut; one stream wakes for it",
        ("test_credit_handed_out_byte_by_byte_wakes_one_stream_not_all",),
        packets(lambda index: [wire.MaxData(index + 2), wire.MaxStreamData(0, index + 2)]),
        stingy,
    ),
    Attack(
        "absurd wishes about acknowledgements",
        "peer",
        "they move an ACK within a share of a round trip; a connection has 16 timers at most",
        (
            "test_wishes_about_acknowledgements_move_them_no_further_than_a_share_of_a_round_trip",
            "test_deadlines_that_come_nearer_with_each_packet_leave_few_timers_behind",
        ),
        wishes,
    ),
    Attack(
        "tiny packets with gaps",
        "peer",
        "an ACK has ranges by the bytes that came: at most three times those",
        ("test_acknowledgements_of_tiny_packets_with_gaps_are_no_larger_than_what_came",),
        packets(lambda _: [wire.Ping(), wire.ImmediateAck()], gap=1),
    ),
    Attack(
        "one-byte fragments, the first withheld",
        "peer",
        "200 bytes counted for each, out of the window; beyond it packets are not acknowledged",
        (
            "test_fragments_are_bounded_over_all_streams_together",
            "test_a_window_full_of_fragments_holds_no_more_than_one_full_of_data",
        ),
        packets(lambda index: [stream(0, 2 + 3 * (index * MOST + n), b"xx") for n in range(MOST)]),
        most_calls=850,
    ),
    Attack(
        "far stream ids, resets past the limit",
        "peer",
        "STREAM_LIMIT_ERROR before anything is made",
        ("test_a_stream_beyond_the_limit_ends_the_connection_and_makes_none",),
        packets(lambda _: [wire.ResetStream(1 << 60, 0, 0)]),
    ),
    Attack(
        "open-and-reset loops",
        "peer",
        "a stream counts until it was read; 1,000 resets a second that nobody asked for, then PROTOCOL_VIOLATION",
        (
            "test_streams_opened_and_reset_again_and_again_are_held_to_their_limit_until_read",
            "test_a_peer_that_resets_streams_faster_than_any_use_ends_its_connection",
        ),
        reset_loop,
    ),
    Attack(
        "open-and-end loops",
        "peer",
        "a stream counts until it was read; `max_stream_opens` a second, then PROTOCOL_VIOLATION",
        ("test_a_peer_that_opens_streams_faster_than_any_use_ends_its_connection",),
        ended_streams,
        most_calls=850,
        least=RATE,
    ),
    Attack(
        "credit overruns",
        "peer",
        "FLOW_CONTROL_ERROR before a byte is kept",
        ("test_data_beyond_the_credit_ends_the_connection_before_it_is_kept",),
        packets(lambda _: [stream(0, 1 << 40, b"x")]),
    ),
    Attack(
        "overlapping data with other bytes",
        "peer",
        "the bytes that came first are kept",
        ("test_of_bytes_that_come_twice_the_first_are_kept",),
        packets(lambda index: [stream(0, n, bytes([index & 255]) * 40) for n in range(MOST)]),
    ),
    Attack(
        "PATH_CHALLENGE floods, from everywhere",
        "peer",
        "one answer a buffer, no longer than the question; one candidate path",
        ("test_challenges_and_hops_hold_one_candidate_and_amplify_nothing",),
        challenges_from_everywhere,
    ),
    Attack(
        "hops between hosts of its own",
        "peer",
        "one move to another host a probe timeout: each begins with a window that nothing has been acknowledged of",
        (
            "test_a_peer_that_hops_between_its_hosts_is_sent_no_window_for_each_hop",
            "test_a_peer_that_moves_on_soon_is_followed_a_probe_timeout_later",
        ),
        hops,
        talking,
    ),
    Attack(
        "truncated frames and lying lengths",
        "peer",
        "FRAME_ENCODING_ERROR, whatever the bytes",
        ("test_frames_cut_at_every_length_end_the_connection_with_one_error",),
        truncated,
    ),
    Attack(
        "legal frames in the wrong state",
        "peer",
        "a typed error that names the rule, or nothing",
        ("test_legal_frames_in_the_wrong_state_end_it_by_name_or_do_nothing",),
        packets(lambda _: [wire.PathResponse(bytes(8)), wire.StopSending(0, 1), wire.Fin(1, 0, 5)]),
    ),
    Attack(
        "slow readers",
        "peer",
        "`send_buffer` a stream waits, and what credit admits; `drain()` waits",
        ("test_a_reader_that_grants_nothing_holds_the_mark_and_no_more",),
        packets(lambda index: [wire.MaxData(index), wire.MaxStreamData(0, index)]),
        lambda: Peer(parameters=GENEROUS._replace(initial_max_data=0)),
    ),
)
