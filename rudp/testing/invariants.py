"""What must hold of a connection between any two calls, whatever has happened to it.

Knows: the inner names of a connection's parts; nothing else outside of them does.
Refuses to know: how it came there. `check` is for tests: O(all that the connection holds).
"""

from __future__ import annotations

from itertools import pairwise

from rudp.connection import Connection
from rudp.packetizer import StreamRange
from rudp.ranges import RangeSet
from rudp.receive_buffer import FRAGMENT_OVERHEAD, LEAST_FRAGMENT_SPACE, MAX_FRAGMENTS
from rudp.received_packets import MAX_RANGES
from rudp.sent_packets import MAX_QUIET
from rudp.state import CLOSED_STATES, OPEN_STATES

__all__ = ["check"]


def check(connection: Connection) -> None:
    """Raise AssertionError if an open connection's parts contradict each other or hold more than they may.

    In flight: what is counted is what is held. Sending: every byte that was sent and not acknowledged is on its way
    or waits to go again, within the peer's credit, and who has something to send has a turn. Receiving: credit is
    neither lost nor given twice, and what waits out of order is bounded. Timers: the soonest is what is answered.
    """
    if connection.state in CLOSED_STATES or connection.state not in OPEN_STATES:
        return
    _check_in_flight(connection)
    _check_sending(connection)
    _check_receiving(connection)
    _check_bounds(connection)
    _check_deadlines(connection)


def _check_deadlines(connection: Connection) -> None:
    """The soonest of all parts' deadlines, asked one by one, is what the connection answers."""
    recovery, liveness, now = connection._recovery, connection._liveness, connection._now
    waiting_since = recovery.unacknowledged_since()
    acting = [
        recovery.next_timeout(),
        liveness.idle_deadline(recovery.rtt.probe_timeout()),
        liveness.ping_deadline(connection._streams.turns.flow_blocked, waiting_since),
        None if waiting_since is None else waiting_since + connection.config.give_up_timeout,
        None if liveness.closing_since is None else liveness.closing_since + connection.config.close_timeout,
    ]
    due = [at for at in (*acting, connection._outbound.next_timeout(now)) if at is not None]
    assert connection.next_timeout() == min(due, default=None)
    if connection._deadlines.lets_go_only(now):
        assert all(at is None or at > now for at in acting), "a timer would be slept through"


def _check_in_flight(connection: Connection) -> None:
    sent = connection._recovery.sent_packets
    trains = list(sent)
    assert sent.bytes_in_flight == sum(t.size for t in trains if t.in_flight)
    assert sent.ack_eliciting_in_flight == sum(t.count for t in trains if t.ack_eliciting)
    assert all(a.stop <= b.first for a, b in pairwise(trains))
    if sent.ack_eliciting_in_flight:
        assert connection._recovery.next_timeout() is not None, "unacknowledged data and no timer"


def _carried(connection: Connection) -> dict[int, RangeSet]:
    """Stream id -> what packets in flight carry of it."""
    carried: dict[int, RangeSet] = {}
    for train in connection._recovery.sent_packets:
        if train.stream_id >= 0:
            carried.setdefault(train.stream_id, RangeSet()).add(train.offset, train.end_offset)
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
    for stream in streams._streams.values():
        send, window = stream.send, stream.send_window
        if send is None:
            continue
        assert window is not None
        unsent += send.written - send.sent_up_to
        assert send.acked_up_to <= send.sent_up_to <= max(window.limit, 0)
        blocked = stream.id in turns._stream_blocked or stream.id in turns._credit_blocked
        assert stream.queued == any(s is stream for s in ready)
        assert not (stream.queued and blocked)
        assert not stream.has_pending or stream.queued or blocked, f"stream {stream.id} lost its turn"
        if stream.reset_code is not None:
            continue
        for start, stop in send._acked.missing(send.acked_up_to, send.sent_up_to):
            for low, high in send._lost.missing(start, stop):
                held = carried.get(stream.id, RangeSet())
                assert held.covers(low, high), f"bytes {low} to {high} of stream {stream.id} are forgotten"
    assert turns.unsent == unsent


def _check_receiving(connection: Connection) -> None:
    streams = connection._streams
    window = streams.receive_window
    assert window.consumed <= streams.received_total <= streams.received_highest <= window.max_data
    assert window.max_data <= window.consumed + window.maximum
    unread = 0
    beyond = 0
    for stream in streams._streams.values():
        receive, own = stream.receive, stream.receive_window
        if receive is None:
            continue
        assert own is not None
        assert receive.read_offset <= receive.contiguous <= receive.highest <= own.max_data
        if receive.final_size is not None:
            assert receive.highest <= receive.final_size
        unread += receive.contiguous - receive.read_offset
        beyond += receive.highest - receive.contiguous
    assert streams.received_total - window.consumed == unread, "credit is lost or given twice"
    assert streams.received_highest - streams.received_total == beyond


def _check_bounds(connection: Connection) -> None:
    """What a peer can make us hold (docs/DESIGN.md, bounds)."""
    streams, received = connection._streams, connection._received
    assert len(received.ranges) <= MAX_RANGES
    assert connection._recovery.sent_packets.quiet <= MAX_QUIET
    space = streams._fragments
    receiving = [stream.receive for stream in streams._streams.values() if stream.receive is not None]
    assert space.held == sum(receive.fragments for receive in receiving), "fragments are counted wrong"
    # One more than fits may be held: what is full is asked before, not after.
    assert space.held <= max(space.window, LEAST_FRAGMENT_SPACE) // FRAGMENT_OVERHEAD + 1
    for receive in receiving:
        assert receive.fragments <= max(MAX_FRAGMENTS, receive.window // 8192)
    config = connection.config
    assert streams.receive_window.window <= config.receive_window
