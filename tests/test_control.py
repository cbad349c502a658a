"""The queue of control frames: one of a kind and stream, oldest kind first, repeated when lost unless outdated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp import wire
from rudp.control import ControlQueue

FRAMES = [
    wire.MaxData(1),
    wire.MaxStreamData(4, 1),
    wire.MaxStreamData(8, 1),
    wire.MaxStreams(3, False),
    wire.MaxStreams(3, True),
    wire.ResetStream(4, 1, 0),
    wire.StopSending(4, 1),
    wire.Stream(4, 0, b"", False),
    wire.AckFrequency(1, 2, 0.025, 1),
    wire.Fin(1, 0, 10),
]


def drain(queue: ControlQueue, room: int = 1000) -> list[wire.Frame]:
    return [frame for frame, _ in queue.take(room, len(FRAMES))]


def test_frames_of_different_kinds_and_streams_wait_side_by_side_in_order() -> None:
    queue = ControlQueue()
    assert not queue
    for frame in FRAMES:
        queue.put(frame)
    assert queue
    assert drain(queue) == FRAMES
    assert not queue
    assert drain(queue) == []


def test_a_newer_frame_takes_the_place_of_an_older_one() -> None:
    queue = ControlQueue()
    queue.put(wire.MaxData(1))
    queue.put(wire.MaxStreamData(4, 7))
    queue.put(wire.MaxData(2))
    assert drain(queue) == [wire.MaxData(2), wire.MaxStreamData(4, 7)]


def test_what_does_not_fit_waits() -> None:
    queue = ControlQueue()
    for frame in FRAMES:
        queue.put(frame)
    taken: list[wire.Frame] = []
    rounds = 0
    while queue:
        pairs = queue.take(40)
        assert sum(len(encoded) for _, encoded in pairs) <= 40
        assert [wire.encode_frame(frame) for frame, _ in pairs] == [encoded for _, encoded in pairs]
        taken += [frame for frame, _ in pairs]
        rounds += 1
    assert taken == FRAMES
    assert rounds > 2


def test_no_room_takes_nothing() -> None:
    queue = ControlQueue()
    queue.put(wire.MaxData(1))
    assert drain(queue, 0) == []
    assert queue


def test_lost_frames_return_unless_a_newer_one_waits() -> None:
    queue = ControlQueue()
    queue.on_lost(wire.MaxData(5))
    assert drain(queue) == [wire.MaxData(5)]
    queue.put(wire.MaxData(6))
    queue.on_lost(wire.MaxData(5))
    assert drain(queue) == [wire.MaxData(6)]


def test_what_is_not_reliable_is_not_repeated() -> None:
    queue = ControlQueue()
    for frame in (wire.Ping(), wire.ImmediateAck(), wire.PathChallenge(bytes(8)), wire.PathResponse(bytes(8))):
        queue.on_lost(frame)
    queue.on_lost(wire.Ack(1, 0.0, ((0, 2),), None))
    assert not queue


def test_a_discarded_frame_is_gone() -> None:
    queue = ControlQueue()
    queue.discard(wire.Stream, 4)
    queue.put(wire.Stream(4, 0, b"", False))
    queue.put(wire.Stream(8, 0, b"", False))
    queue.discard(wire.Stream, 4)
    assert drain(queue) == [wire.Stream(8, 0, b"", False)]
    queue.put(wire.Stream(4, 0, b"", False))
    queue.discard(wire.Stream, 4)
    assert queue.pending is None


@given(st.lists(st.sampled_from(FRAMES), max_size=40), st.integers(0, 200))
def test_memory_is_one_frame_a_kind_and_stream(puts: list[wire.Frame], room: int) -> None:
    queue = ControlQueue()
    for frame in puts:
        queue.put(frame)
    first = [frame for frame, _ in queue.take(room)]
    rest = drain(queue, 10_000)
    assert sorted(map(repr, first + rest)) == sorted({repr(frame) for frame in puts})


AGING = [
    (wire.MaxData(10), wire.MaxData(20)),
    (wire.MaxStreamData(4, 10), wire.MaxStreamData(4, 20)),
    (wire.MaxStreams(10, False), wire.MaxStreams(20, False)),
    (wire.AckFrequency(1, 2, 0.025, 1), wire.AckFrequency(2, 20, 0.025, 1)),
]


@pytest.mark.parametrize(("old", "new"), AGING)
def test_of_two_lost_frames_the_newer_is_sent_again(old: wire.Frame, new: wire.Frame) -> None:
    """Losses are told oldest first; were the older one to stay, the credit in the newer would be gone for good."""
    for order in ((old, new), (new, old)):
        queue = ControlQueue()
        for frame in order:
            queue.on_lost(frame)
        assert [frame for frame, _ in queue.take(1000)] == [new]
