"""Turns: rotation, credit that holds streams back and lets them go, what is withdrawn or preferred."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rudp.stream import Stream
from rudp.turns import QUANTUM, Turns


def stream(stream_id: int, data: int = 0, limit: int = 1 << 20) -> Stream:
    made = Stream(stream_id, send_limit=limit, receive_limits=(1, 1))
    assert made.send is not None
    made.send.write(bytes(data))
    return made


def turns_of(*streams: Stream, credit: int = 1 << 20) -> Turns:
    turns = Turns([], 64 << 20)
    turns.raise_limit(credit)
    for item in streams:
        assert item.send is not None
        turns.unsent += item.send.written
        turns.enqueue(item)
    return turns


def order(turns: Turns, room: int) -> list[int]:
    """Whose turns come, until none is left."""
    found = []
    while (item := turns.next_ready()) is not None:
        if turns.take(item, room) is not None:
            found.append(item.id)
            turns.end_turn(item)
    return found


def test_turns_rotate_by_what_each_takes() -> None:
    turns = turns_of(stream(0, 3 * QUANTUM), stream(4, QUANTUM), stream(8, 2 * QUANTUM))
    assert order(turns, QUANTUM) == [0, 4, 8, 0, 8, 0]
    assert turns.unsent == 0
    assert turns.send_window.used == 6 * QUANTUM


def test_a_turn_is_bytes_not_trains() -> None:
    turns = turns_of(stream(0, 2 * QUANTUM), stream(4, 2 * QUANTUM))
    assert order(turns, QUANTUM // 2) == [0, 0, 4, 4, 0, 0, 4, 4]


@given(st.lists(st.integers(1, 65_000), min_size=20, max_size=80), st.integers(2, 6))
def test_equals_share_equally_however_trains_differ(rooms: list[int], count: int) -> None:
    streams = [stream(4 * index, 10_000_000, limit=1 << 40) for index in range(count)]
    turns = turns_of(*streams, credit=1 << 40)
    served = dict.fromkeys([item.id for item in streams], 0)
    for room in rooms:
        item = turns.next_ready()
        assert item is not None
        taken = turns.take(item, room)
        assert taken is not None
        served[item.id] += taken[1]
        turns.end_turn(item)
    assert max(served.values()) - min(served.values()) <= max(rooms) + 2 * QUANTUM


def test_a_stream_has_one_turn_however_often_it_asks() -> None:
    one = stream(0, 10)
    turns = turns_of(one)
    turns.enqueue(one)
    assert turns.ready_count == 1
    idle = stream(4)
    turns.enqueue(idle)
    assert turns.ready_count == 1


def test_streams_without_credit_leave_and_come_back() -> None:
    held, free = stream(0, 10, limit=4), stream(4, 10)
    turns = turns_of(held, free)
    assert order(turns, 100) == [0, 4]
    assert held.send is not None
    assert held.send.sent_up_to == 4
    assert turns.flow_blocked
    assert held.send_window is not None
    held.send_window.raise_to(10)
    turns.enqueue(held)
    assert not turns.flow_blocked
    assert order(turns, 100) == [0]
    assert not turns.flow_blocked


def test_the_connections_credit_holds_all_and_lets_all_go() -> None:
    streams = [stream(4 * i, 10) for i in range(5)]
    turns = turns_of(*streams, credit=25)
    assert order(turns, 10) == [0, 4, 8]
    assert turns.flow_blocked
    assert turns.unsent == 25
    turns.raise_limit(20)
    assert turns.ready_count == 0
    turns.raise_limit(50)
    assert order(turns, 10) == [8, 12, 16]
    assert turns.unsent == 0
    assert not turns.flow_blocked


def test_lost_data_needs_no_credit_and_goes_first() -> None:
    old, new = stream(0, 10), stream(4, 10)
    turns = turns_of(old, new, credit=10)
    assert order(turns, 10) == [0]
    assert old.send is not None
    old.send.on_lost(0, 10, False)
    turns.raise_limit(20)
    turns.enqueue_first(old)
    assert order(turns, 10) == [0, 4]
    assert turns.retransmitted == 10


def test_who_waits_already_keeps_the_place() -> None:
    first, second = stream(0, 10), stream(4, 10)
    turns = turns_of(first, second)
    turns.enqueue_first(second)
    assert order(turns, 10) == [0, 4]


def test_the_preferred_stream_is_next() -> None:
    streams = [stream(4 * i, 10) for i in range(4)]
    turns = turns_of(*streams)
    turns.prefer(streams[2])
    turns.prefer(stream(100))
    assert order(turns, 10) == [8, 0, 4, 12]


def test_a_reset_stream_waits_for_nothing() -> None:
    held = stream(0, 10, limit=0)
    turns = turns_of(held)
    assert order(turns, 10) == []
    assert turns.flow_blocked
    assert held.send is not None
    turns.withdraw(held, held.send.written - held.send.sent_up_to)
    held.send.reset()
    assert not turns.flow_blocked
    assert turns.unsent == 0


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=8),
    st.lists(st.integers(1, 400), max_size=8),
    st.integers(1, 50),
)
def test_every_byte_that_credit_allows_goes_and_none_else(
    sizes: list[tuple[int, int]], grants: list[int], room: int
) -> None:
    streams = [stream(4 * i, size, limit) for i, (size, limit) in enumerate(sizes)]
    turns = turns_of(*streams, credit=0)
    allowed = sum(min(size, limit) for size, limit in sizes)
    total = 0
    for grant in grants:
        total += grant
        turns.raise_limit(total)
        order(turns, room)
        assert turns.send_window.used == min(total, allowed)
        assert turns.unsent == sum(size for size, _ in sizes) - turns.send_window.used
        for item, (_, limit) in zip(streams, sizes, strict=True):
            assert item.send is not None
            assert item.send.sent_up_to <= limit
