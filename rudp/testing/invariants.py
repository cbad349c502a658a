"""What must hold of a connection between any two calls, whatever has happened to it.

Knows: the inner names of a connection's parts; nothing else outside of them does.
Refuses to know: how it came there. All of it is for tests:

    check(connection)       its parts agree and hold no more than they may; O(all that it holds)
    agree(one, other)       what each side believes of the other is so, or the news is under way; O(all that both hold)
    trains(endpoint, now)   `endpoint.datagrams_to_send(now)`, each train held against the congestion window and the
                            amplification limit; O(connections) a train

Sources: RFC 9002 sections 7 (bytes in flight stay within the window) and 7.5 (probes are exempt), RFC 9000 section 8.1
(amplification) and 13.3 (what is repeated until acknowledged).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from operator import le
from typing import NamedTuple

from rudp import wire
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.outbound import PROBE_SHARE
from rudp.pacer import SLACK, SLACK_TIME
from rudp.packetizer import StreamRange
from rudp.path import AMPLIFICATION_FACTOR
from rudp.ranges import RangeSet
from rudp.receive_buffer import FRAGMENT_OVERHEAD, LEAST_FRAGMENT_SPACE, MAX_FRAGMENTS, ReceiveBuffer
from rudp.received_packets import MAX_RANGES
from rudp.sent_packets import MAX_QUIET, SentTrain
from rudp.state import CLOSED_STATES, OPEN_STATES
from rudp.stream import Stream
from rudp.train import Train

__all__ = ["agree", "check", "trains"]


def check(connection: Connection) -> None:
    """Raise AssertionError if an open connection's parts contradict each other or hold more than they may.

    In flight: what is counted is what is held. Sending: every byte that was sent and not acknowledged is on its way
    or waits to go again, within the peer's credit, and who has something to send has a turn. Receiving: credit is
    neither lost nor given twice, and what waits out of order is bounded. Timers: the soonest is what is answered. An
    address that is not validated, in any state, got no more than three times what came from it.
    """
    _check_amplification(connection)
    if connection.state in CLOSED_STATES or connection.state not in OPEN_STATES:
        return
    _check_in_flight(connection)
    _check_sending(connection)
    _check_receiving(connection)
    _check_bounds(connection)
    _check_deadlines(connection)


def _check_deadlines(connection: Connection) -> None:
    """The connection answers the soonest of all parts' deadlines, asked one by one, or when it asks them again."""
    recovery, liveness, now = connection._recovery, connection._liveness, connection.now
    waiting_since = recovery.unacknowledged_since()
    acting = [
        recovery.next_timeout(),
        liveness.idle_deadline(recovery.rtt.probe_timeout()),
        liveness.ping_deadline(connection._streams.turns.flow_blocked, waiting_since),
        None if waiting_since is None else waiting_since + connection.config.give_up_timeout,
        None if liveness.closing_since is None else liveness.closing_since + connection.config.close_timeout,
        connection._streams.limits.due,
    ]
    due = [at for at in (*acting, connection._outbound.next_timeout(now)) if at is not None]
    told, soonest = connection.next_timeout(), min(due, default=None)
    if told != soonest:
        assert told is not None, "nobody looks for what is due"
        assert soonest is None or told < soonest, "a timer would be slept through"
        assert now < told == connection._deadlines.acts_at, "it is woken for nothing"
    if now < connection._deadlines.acts_at:
        assert all(at is None or at > now for at in acting), "a timer would be slept through"
    outbound = connection._outbound
    if now < outbound.quiet_until:
        if connection._control.pending or connection._streams.turns.ready:
            # Rounding may let it go a moment before the pacer's own time.
            rate = recovery.pacer.rate or 0.0
            rounding = (outbound.quiet_until - now) * rate <= 2 * max(SLACK, SLACK_TIME * rate)
            assert rounding or outbound._release_time(now) > now, "nobody looks for a train that could go"
        else:
            assert recovery.app_limited, "nobody tells the controller that there is nothing to send"


def _check_in_flight(connection: Connection) -> None:
    sent = connection._recovery.sent_packets
    trains = list(sent)
    assert sent.bytes_in_flight == sum(t.size for t in trains if t.in_flight)
    assert sent.ack_eliciting_in_flight == sum(t.count for t in trains if t.ack_eliciting)
    assert connection._recovery.largest_acknowledged < connection._recovery.next_packet_number, "it was never sent"
    assert all(a.stop <= b.first for a, b in pairwise(trains))
    if sent.ack_eliciting_in_flight:
        assert connection._recovery.next_timeout() is not None, "unacknowledged data and no timer"


def _carried(connection: Connection) -> dict[int, RangeSet]:
    """Stream id -> what packets in flight carry of it."""
    carried: dict[int, RangeSet] = {}
    for train in connection._recovery.sent_packets:
        if train.stream_id >= 0:
            held = carried.setdefault(train.stream_id, RangeSet())
            for start, stop, _ in train.ranges():
                held.add(start, stop)
        for item in train.frames:
            if isinstance(item, StreamRange):
                carried.setdefault(item.stream_id, RangeSet()).add(item.start, item.stop)
    return carried


def _check_sending(connection: Connection) -> None:
    streams = connection._streams
    turns = streams.turns
    carried = _carried(connection)
    ready = list(turns.ready or ())
    assert len({id(s) for s in ready}) == len(ready)
    assert all(s.queued for s in ready)
    assert 0 <= turns.send_window.used <= turns.send_window.limit
    unsent = 0
    for stream in streams.held.values():
        send, window = stream.send, stream.send_window
        if send is None:
            continue
        assert window is not None
        unsent += send.written - send.sent_up_to
        assert send.acked_up_to <= send.sent_up_to <= max(window.limit, 0)
        blocked = stream.id in (turns._stream_blocked or ()) or stream.id in (turns._credit_blocked or ())
        assert stream.queued == any(s is stream for s in ready)
        assert not (stream.queued and blocked)
        assert not stream.has_pending() or stream.queued or blocked, f"stream {stream.id} lost its turn"
        if stream.reset_code is not None:
            continue
        for start, stop in send._acked.missing(send.acked_up_to, send.sent_up_to):
            for low, high in send._lost.missing(start, stop):
                held = carried.get(stream.id, RangeSet())
                assert held.covers(low, high), f"bytes {low} to {high} of stream {stream.id} are forgotten"
    assert turns.unsent == unsent
    assert turns.send_window.used <= turns.acknowledged + turns._max_unacknowledged, "more is kept than may be"


def _check_receiving(connection: Connection) -> None:
    streams = connection._streams
    window = streams.receive_window
    assert window.consumed <= streams.received_total <= streams.received_highest <= window.max_data
    assert window.max_data <= window.consumed + window.maximum
    unread = 0
    beyond = 0
    for stream in streams.held.values():
        receive, own = stream.receive, stream.receive_window
        if receive is None:
            continue
        assert own is not None
        assert receive.read_offset <= receive.contiguous <= receive.highest <= own.max_data
        if receive.final_size is not None:
            assert receive.highest <= receive.final_size
        _check_fragments(receive)
        unread += receive.contiguous - receive.read_offset
        beyond += receive.highest - receive.contiguous
    assert streams.received_total - window.consumed == unread, "credit is lost or given twice"
    assert streams.received_highest - streams.received_total == beyond


def _check_fragments(receive: ReceiveBuffer) -> None:
    """What is readable is all there, and what waits beyond it lies in order, apart from each other."""
    ready = sum(map(len, receive._ready[receive._ready_head :])) - receive._skip
    assert receive.is_discarded or ready == receive.readable, "bytes in order are lost or doubled"
    at = receive.contiguous + 1
    for offset, data in zip(
        receive.offsets[receive._fragments_head :], receive._fragments[receive._fragments_head :], strict=True
    ):
        assert offset >= at, f"a fragment begins at {offset}, before {at}"
        at = offset + len(data)
        assert at <= receive.highest


def _check_bounds(connection: Connection) -> None:
    """What a peer can make us hold (docs/DESIGN.md, bounds)."""
    streams, received = connection._streams, connection._received
    assert len(received.ranges) <= MAX_RANGES
    assert connection._recovery.sent_packets.quiet <= MAX_QUIET
    _check_stream_credit(connection)
    space = streams._fragments
    receiving = [stream.receive for stream in streams.held.values() if stream.receive is not None]
    assert space.held == sum(receive.fragments for receive in receiving), "fragments are counted wrong"
    # One more than fits may be held: what is full is asked before, not after.
    assert space.held <= max(space.window, LEAST_FRAGMENT_SPACE) // FRAGMENT_OVERHEAD + 1
    for receive in receiving:
        assert receive.fragments <= max(MAX_FRAGMENTS, receive.window // 8192)
    config = connection.config
    assert streams.receive_window.window <= config.receive_window


def _check_stream_credit(connection: Connection) -> None:
    """For each stream of the peer's that has ended it may open another, now or in time, until it has said FIN."""
    streams, config = connection._streams, connection.config
    limits, mine = streams.limits, int(connection.is_client)
    assert all(map(le, limits.opened_by_peer, limits.max_streams_mine)), "more streams than were admitted"
    assert (limits.due is None) == (limits.owed == (0, 0)), "nobody looks for the streams that are owed"
    held = Counter((stream_id >> 1) & 1 for stream_id in streams.held if stream_id & 1 == mine)
    held[0] += not mine and 0 not in streams.held and not streams._zero_ended
    for kind, most in enumerate((config.max_streams_bidi, config.max_streams_uni)):
        ended = limits.opened_by_peer[kind] - held[kind]
        admitted = limits.max_streams_mine[kind] + limits.owed[kind]
        if connection._closing.peer_fin is None:
            assert admitted == most + ended, "streams are counted wrong"
        else:
            assert limits.owed == (0, 0), "streams are owed to who opens no more"
            assert admitted <= most + ended, "more streams than have ended are admitted"


# -- what leaves ------------------------------------------------------------------------------------------------------


class _Before(NamedTuple):
    """A connection before a train: bytes in flight, the window, probes that are due, the next packet number."""

    in_flight: int
    window: int
    probes: int
    number: int


def _before(connection: Connection) -> _Before:
    recovery, outbound = connection._recovery, connection._outbound
    window = recovery.congestion.congestion_window
    return _Before(recovery.sent_packets.bytes_in_flight, window, outbound.probes, recovery.next_packet_number)


def trains(endpoint: Endpoint, now: float) -> Iterator[Train]:
    """`endpoint.datagrams_to_send(now)`. Raises AssertionError at a train that may not go.

    Bytes in flight stay within the congestion window, but for probes and what asks for a sign of life (a packet), for
    control frames alone (half a packet), for an ACK beside data and for probes of the path MTU (a packet or an eighth
    of the window).
    """
    connections = endpoint.connections
    before = [_before(connection) for connection in connections]
    for train in endpoint.datagrams_to_send(now):
        for index, connection in enumerate(connections):
            connection._outbound.account()
            _check_sent(connection, before[index])
            before[index] = _before(connection)
        yield train


def _check_sent(connection: Connection, before: _Before) -> None:
    _check_amplification(connection)
    sent, window = connection._recovery.sent_packets, connection._recovery.congestion.congestion_window
    in_flight = sent.bytes_in_flight
    over = in_flight - max(before.in_flight, before.window, window)
    if over <= 0:
        return
    new = [train for train in sent if train.first >= before.number]
    size = connection._outbound.packetizer.datagram_size
    # An ACK goes with the last small data whatever the window is.
    allowed = sum(len(wire.encode_frame(f)) for train in new for f in train.frames if isinstance(f, wire.Ack))
    if any(train.mtu_probe for train in new):
        overdraws = connection._paths.mtu.may_overdraw
        allowed = max(train.size for train in new) if overdraws else max(size, window // PROBE_SHARE)
    elif before.probes or any(isinstance(frame, wire.Ping) for train in new for frame in train.frames):
        allowed = size
    elif not any(_has_stream_data(train) for train in new):
        allowed = size // 2
    assert over <= allowed, f"{in_flight} bytes in flight, {over} beyond the window and before, {allowed} allowed"


def _has_stream_data(train: SentTrain) -> bool:
    return train.stream_id >= 0 or any(isinstance(frame, StreamRange) for frame in train.frames)


def _check_amplification(connection: Connection) -> None:
    for path in (connection._paths.active, connection._paths.candidate):
        if path is not None and not path.validated:
            assert path.bytes_sent <= AMPLIFICATION_FACTOR * path.bytes_received, "amplification"


# -- two sides --------------------------------------------------------------------------------------------------------


def agree(one: Connection, other: Connection) -> None:
    """Raise AssertionError if a side of a connection believes what is not so, or keeps what the other must know.

    What is acknowledged has arrived. What one side said and the other doesn't know yet (credit, stream limits,
    resets, requests to stop, ends) waits to be sent or is outstanding, so its loss will be noticed.
    """
    if one.state in OPEN_STATES and other.state in OPEN_STATES:
        for sender, receiver in ((one, other), (other, one)):
            _check_acknowledged(sender, receiver)
            _check_limits(sender, receiver)
            _check_ends(sender, receiver)


def _under_way(connection: Connection) -> list[object]:
    """Control frames and stream ranges of a connection that wait or are outstanding."""
    found: list[object] = [*(connection._control.pending or {}).values()]
    for train in connection._recovery.sent_packets:
        found += train.frames
    return found


def _check_acknowledged(sender: Connection, receiver: Connection) -> None:
    assert sender._recovery.largest_acknowledged <= receiver._received.largest
    for stream in sender._streams.held.values():
        peer = receiver._streams.held.get(stream.id)
        send = stream.send
        if send is None or stream.reset_code is not None or peer is None or peer.receive is None:
            continue
        arrived = peer.receive.contiguous
        assert send.acked_up_to <= arrived, f"stream {stream.id}: {send.acked_up_to} acknowledged, {arrived} arrived"
        if send.fin_acked and not sender._streams._sending_finished:
            assert peer.receive.final_size == send.written, f"the end of stream {stream.id} never arrived"
    if sender._closing.fin_acked:
        assert receiver._closing.peer_fin is not None, "the FIN never arrived"


def _check_limits(sender: Connection, receiver: Connection) -> None:
    """What the receiver granted is what the sender goes by, or under way."""
    news = _under_way(receiver)
    theirs, mine = sender._streams, receiver._streams
    _check_grant(theirs.turns.send_window.limit, mine.receive_window.max_data, wire.MaxData, news)
    for kind in (0, 1):
        granted = mine.limits.max_streams_mine[kind]
        known = theirs.limits.max_streams_peer[kind]
        assert known <= granted
        assert known == granted or wire.MaxStreams(granted, bool(kind)) in news, "MAX_STREAMS is forgotten"
    for stream in mine.held.values():
        peer = theirs.held.get(stream.id)
        if peer is None or peer.send_window is None or stream.receive_window is None or peer.send_done:
            continue
        own = [frame for frame in news if getattr(frame, "stream_id", None) == stream.id]
        _check_grant(peer.send_window.limit, stream.receive_window.max_data, wire.MaxStreamData, own)


def _check_grant(
    known: int, granted: int, kind: type[wire.MaxData | wire.MaxStreamData], news: list[object]
) -> None:
    assert known <= granted, "credit that nobody gave"
    told = known == granted or any(isinstance(frame, kind) and frame.maximum == granted for frame in news)
    assert told, f"{kind.__name__} {granted} is forgotten, the peer knows {known}"


def _check_ends(sender: Connection, receiver: Connection) -> None:
    news = _under_way(sender)
    for stream in sender._streams.held.values():
        peer = receiver._streams.held.get(stream.id)
        if stream.reset_code is not None and not stream.reset_acknowledged:
            told = any(isinstance(frame, wire.ResetStream) and frame.stream_id == stream.id for frame in news)
            assert told, f"RESET_STREAM of {stream.id} is forgotten"
        elif stream.reset_code is not None and peer is not None and peer.receive is not None:
            assert peer.receive.final_size is not None, f"the reset of stream {stream.id} never arrived"
        _check_fin(sender, stream)
        if stream.discarding and stream.receive is not None and stream.receive.final_size is None:
            known = peer is None or peer.send_done or peer.reset_code is not None
            asked = any(isinstance(frame, wire.StopSending) and frame.stream_id == stream.id for frame in news)
            assert known or asked, f"STOP_SENDING of {stream.id} is forgotten"
    closing = sender._closing
    if closing.fin_queued and not closing.fin_acked:
        assert any(isinstance(frame, wire.Fin) for frame in news), "the FIN is forgotten"


def _check_fin(sender: Connection, stream: Stream) -> None:
    """A stream's end that was sent is outstanding, acknowledged or waits to go again."""
    send = stream.send
    if send is None or stream.reset_code is not None or not send.fin_written or send.fin_pending or send.fin_acked:
        return
    for train in sender._recovery.sent_packets:
        if train.stream_id == stream.id and train.fin:
            return
        if any(isinstance(f, StreamRange) and f.stream_id == stream.id and f.fin for f in train.frames):
            return
    raise AssertionError(f"the end of stream {stream.id} is forgotten")
