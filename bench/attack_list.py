"""The attacks: who can make each, what stands against it, which test shows that, and the datagrams it is made of.

Knows: names and words. Refuses to know: how datagrams are made (`attack_datagrams`), what they cost (`attacks`) and
what is right (the tests).

Each of ATTACKS gives datagrams, (bytes, address) each, one by one and without end, to a victim that `prepare` made.
"off-path" sends from any address and sees nothing; "on-path" sees packets, repeats, changes and drops them; "peer" is
the other end of a connection and follows no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from rudp import wire
from rudp.config import Config

from .attack_datagrams import (
    FULL,
    MOST,
    Datagram,
    always_sending,
    challenges_from_everywhere,
    colliding_syns,
    datagrams,
    early_acks,
    ecn_lies,
    ended_streams,
    honest_acks,
    honest_data,
    hops,
    late_ack_ranges,
    marked_bad,
    packets,
    replayed_cookie,
    replayed_data,
    replayed_syn_acks,
    reset_loop,
    slow_acks,
    stingy,
    stream,
    strided_ack_ranges,
    talking,
    tiny_ack_ranges,
    truncated,
    whole_connections,
    wishes,
)
from .hostile import GENEROUS, Peer, forged_syn

__all__ = ["ATTACKS", "FULL", "RATE", "Attack", "Datagram", "honest_data"]

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
    # Datagrams of it that may come in a second: what comes beyond them is another attack.
    a_second: int = RATE
    # Whether it ends the connection: a row whose attacker is found out by accident measures nothing.
    ends: bool = False


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
        "a burst of SYNs that all are held",
        "off-path",
        "until its first DATA a client is a handful of objects and no connection",
        (
            "test_a_client_half_open_holds_a_fraction_of_what_a_connection_does",
            "test_a_damaged_first_packet_makes_no_connection_and_the_next_one_does",
        ),
        datagrams(lambda random, _: forged_syn(random.getrandbits(64)), spoof=True),
        lambda: Peer(Config(max_half_open=RATE)),
        per="endpoint",
        most_calls=300,
        a_second=Config().max_half_open,
    ),
    Attack(
        "whole connections, opened and closed in a loop",
        "peer",
        "`max_opens_per_host` a second of a host that proved its address; SYNs beyond it are dropped",
        (
            "test_a_host_opens_connections_no_faster_than_so_many_a_second",
            "test_syns_that_claim_a_host_s_address_take_nothing_of_what_it_may_open",
        ),
        whole_connections,
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
        ends=True,
    ),
    Attack(
        "acknowledging early",
        "peer",
        "numbers skipped at random: found out within 1,535 packets",
        ("test_a_peer_that_acknowledges_whatever_is_sent_is_found_out",),
        early_acks,
        talking,
        like=honest_acks,
        ends=True,
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
        "tiny ACK ranges, against a sender that always sends",
        "peer",
        "what cuts trains more often than loss can is paid for in time: it is sent less",
        (
            "test_a_peer_that_shatters_what_it_acknowledges_is_sent_less",
            "test_no_share_of_random_loss_slows_anybody",
        ),
        always_sending(strided_ack_ranges),
        talking,
        like=always_sending(honest_acks),
        most_calls=1000,
        least=RATE,
    ),
    Attack(
        "ACKs of what was let be declared lost, against the same",
        "peer",
        "each cut of what is remembered of lost packets counts for three",
        ("test_so_is_one_that_names_alone_what_it_let_be_declared_lost",),
        always_sending(late_ack_ranges),
        talking,
        like=always_sending(honest_acks),
        most_calls=1000,
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
        ends=True,
    ),
    Attack(
        "open-and-reset loops",
        "peer",
        "a stream counts until it was read; further ones are admitted as fast as `max_stream_resets` says",
        (
            "test_streams_opened_and_reset_again_and_again_are_held_to_their_limit_until_read",
            "test_a_peer_is_admitted_streams_no_faster_than_so_many_a_second_and_not_cut_off",
        ),
        reset_loop,
        least=RATE,
    ),
    Attack(
        "open-and-end loops",
        "peer",
        "a stream counts until it was read; further ones are admitted as fast as `max_stream_opens` says",
        (
            "test_a_peer_is_admitted_streams_no_faster_than_so_many_a_second_and_not_cut_off",
            "test_a_peer_that_opens_streams_beyond_its_limit_while_it_waits_ends_its_connection",
        ),
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
        ends=True,
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
        ends=True,
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
