"""Laws of `rudp.receive_buffer`: bytes come out in order, once, as they first arrived, whatever is sent."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rudp.errors import BufferFull, ErrorCode, ProtocolError
from rudp.receive_buffer import (
    FEW_FRAGMENTS,
    FRAGMENT_OVERHEAD,
    JOINED_CHUNK,
    LARGE_CHUNK,
    LEAST_FRAGMENT_SPACE,
    MAX_FRAGMENTS,
    TINY_CHUNK,
    FragmentSpace,
    ReceiveBuffer,
)
from tests.measure import footprint, steps

MOST_FRAGMENTS = LEAST_FRAGMENT_SPACE // FRAGMENT_OVERHEAD
SIZES = st.one_of(st.integers(0, 8), st.sampled_from((100, TINY_CHUNK, 3000, LARGE_CHUNK, 40_000)))


def read_all(buffer: ReceiveBuffer, max_bytes: int = 65536) -> bytes:
    return b"".join(iter(lambda: buffer.read(max_bytes), b""))


@contextmanager
def final_size_refused() -> Iterator[None]:
    with pytest.raises(ProtocolError) as caught:
        yield
    assert caught.value.code is ErrorCode.FINAL_SIZE_ERROR


def test_what_becomes_ready_goes_to_one_list_be_it_tiny_or_large() -> None:
    """Though nothing was ready before, and the first that is has another way in than the next."""
    tiny, large = bytes(TINY_CHUNK - 1), bytes(TINY_CHUNK)
    buffer = ReceiveBuffer()
    buffer.insert(1, tiny, False)
    buffer.insert(TINY_CHUNK, large, False)
    buffer.contiguous = buffer.read_offset = 1
    buffer._drain(0)
    assert read_all(buffer) == tiny + large


class AgainstBytes(RuleBasedStateMachine):
    """The model: every byte that arrived, first come first kept, and a mark for each."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = ReceiveBuffer()
        self.content = bytearray()
        self.arrived = bytearray()
        self.highest = self.read_offset = self.inserts = 0
        self.final_size: int | None = None
        self.is_discarded = False

    @property
    def contiguous(self) -> int:
        hole = self.arrived.find(0)
        return self.highest if self.is_discarded else len(self.arrived) if hole < 0 else hole

    def refused(self, stop: int, fin: bool) -> bool:
        if self.final_size is not None and (stop > self.final_size or (fin and stop != self.final_size)):
            return True
        return fin and stop < self.highest

    def store(self, offset: int, data: bytes) -> None:
        stop = offset + len(data)
        grow = max(0, stop - len(self.content))
        self.content += bytes(grow)
        self.arrived += bytes(grow)
        while (start := self.arrived.find(0, offset, stop)) >= 0:
            end = self.arrived.find(1, start, stop)
            end = stop if end < 0 else end
            self.content[start:end] = data[start - offset : end - offset]
            self.arrived[start:end] = b"\1" * (end - start)

    @rule(
        anchor=st.sampled_from(("contiguous", "highest", "start", "within")),
        shift=st.integers(-6, 6),
        share=st.floats(0, 1),
        size=SIZES,
        fin=st.sampled_from((False,) * 12 + (True,)),
    )
    def insert(self, anchor: str, shift: int, share: float, size: int, fin: bool) -> None:
        bases = {
            "contiguous": self.contiguous,
            "highest": self.highest,
            "start": 0,
            "within": int(self.highest * share),
        }
        offset = max(0, bases[anchor] + shift)
        if self.final_size is not None and not fin:
            size = max(0, min(size, self.final_size - offset))
        # Each packet has bytes of its own, so that a byte tells which packet it came by.
        self.inserts += 1
        data = bytes([self.inserts % 251]) * size
        stop = offset + size
        if self.refused(stop, fin):
            with final_size_refused():
                self.buffer.insert(offset, data, fin)
            return
        try:
            self.buffer.insert(offset, data, fin)
        except BufferFull:
            assert self.buffer.fragments == MOST_FRAGMENTS
            assert offset > self.contiguous
            return
        self.highest = max(self.highest, stop)
        if not self.is_discarded:
            self.store(offset, data)
        else:
            self.read_offset = self.highest
        if fin:
            self.final_size = stop

    @rule(count=st.integers(1, 150), gap=st.integers(0, 1))
    def insert_tiny_ones(self, count: int, gap: int) -> None:
        for _ in range(count):
            self.insert("highest", gap, 0.0, 1, False)

    @rule(max_bytes=st.one_of(st.integers(1, 10), st.sampled_from((5000, LARGE_CHUNK, 65536))))
    def read(self, max_bytes: int) -> None:
        found = self.buffer.read(max_bytes)
        assert len(found) <= max_bytes
        assert bool(found) == (self.contiguous > self.read_offset)
        assert found == self.content[self.read_offset : self.read_offset + len(found)]
        self.read_offset += len(found)
        assert self.read_offset <= self.contiguous

    @rule(shift=st.integers(-1, 2))
    def finish(self, shift: int) -> None:
        size = max(0, self.highest + shift)
        if self.refused(size, fin=True):
            with final_size_refused():
                self.buffer.finish_at(size)
            return
        self.buffer.finish_at(size)
        self.final_size = self.highest = size
        if self.is_discarded:
            self.read_offset = size

    @precondition(lambda self: self.highest > 30_000)
    @rule()
    def discard(self) -> None:
        assert self.buffer.discard() == self.highest - self.read_offset
        self.is_discarded = True
        self.read_offset = self.highest

    @invariant()
    def tells_its_state(self) -> None:
        buffer = self.buffer
        assert buffer.contiguous == self.contiguous
        assert buffer.highest == self.highest
        assert buffer.read_offset == self.read_offset
        assert buffer.readable == self.contiguous - self.read_offset
        assert buffer.final_size == self.final_size
        assert buffer.complete == (self.contiguous == self.final_size)
        assert buffer.at_eof == (self.read_offset == self.final_size)
        assert buffer._shared.held == buffer.fragments


AgainstBytes.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgainstBytes = AgainstBytes.TestCase


@given(
    cuts=st.lists(st.integers(0, 300), min_size=1, max_size=30),
    seed=st.integers(0, 2**32),
)
def test_any_order_with_duplicates_gives_the_stream(cuts: list[int], seed: int) -> None:
    data = bytes(i % 251 for i in range(sum(cuts)))
    pieces = []
    offset = 0
    for size in cuts:
        pieces.append((offset, data[offset : offset + size], offset + size == len(data)))
        offset += size
    pieces += pieces[::3]
    random.Random(seed).shuffle(pieces)
    buffer = ReceiveBuffer()
    for piece in pieces:
        buffer.insert(*piece)
    assert read_all(buffer) == data
    assert buffer.at_eof
    assert buffer.fragments == 0


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8)), min_size=2, max_size=12), max_size=8),
    st.sampled_from((TINY_CHUNK // 4, TINY_CHUNK, 3 * TINY_CHUNK)),
    st.booleans(),
    st.integers(0, 3),
)
def test_pieces_at_once_are_each_of_them_one_after_the_other(
    runs: list[list[tuple[int, int]]], unit: int, ascending: bool, reads: int
) -> None:
    content = b"".join(i.to_bytes(4, "big") for i in range(70 * unit // 4))
    together, singly = ReceiveBuffer(1 << 20), ReceiveBuffer(1 << 20)
    for run in runs:
        places = sorted(run) if ascending else run
        offsets = [at * unit for at, _ in places]
        pieces = [content[at * unit : (at + size) * unit] for at, size in places]
        stops = [offset + len(piece) for offset, piece in zip(offsets, pieces, strict=True)]
        together.insert_all(offsets, pieces, stops)
        for offset, piece in zip(offsets, pieces, strict=True):
            singly.insert(offset, piece, False)
        for buffer in (together, singly):
            state = (buffer.contiguous, buffer.highest, buffer._shared.held)
            assert state == (singly.contiguous, singly.highest, singly._shared.held)
            assert buffer._shared.held == buffer.fragments
        assert reads == 0 or together.read(unit * reads) == singly.read(unit * reads)
    start = together.read_offset
    assert read_all(together) == content[start : together.contiguous]


def outcome(buffer: ReceiveBuffer, offsets: list[int], pieces: list[bytes], *, at_once: bool) -> str:
    """Put in pieces; what was raised, if anything was."""
    try:
        if at_once:
            buffer.insert_all(offsets, pieces, [at + len(piece) for at, piece in zip(offsets, pieces, strict=True)])
        else:
            for at, piece in zip(offsets, pieces, strict=True):
                buffer.insert(at, piece, False)
    except (ProtocolError, BufferFull) as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize("seed", range(60))
def test_pieces_at_once_leave_what_they_leave_one_by_one(seed: int) -> None:
    """Beside gaps that are filled from the front, with an end that is known, after discarding, beyond the room."""
    draw = random.Random(seed)
    unit = TINY_CHUNK
    content = b"".join(i.to_bytes(4, "big") for i in range(400 * unit // 4))
    space = draw.choice((1 << 40, 1 << 40, 0))
    twins = [ReceiveBuffer(draw.choice((0, 1 << 20)), FragmentSpace(space)) for _ in range(2)]
    twins[1].window = twins[0].window
    if seed % 3 == 0:
        # So much is held elsewhere that a few more meet the bound.
        for twin in twins:
            twin._shared.held = FEW_FRAGMENTS - draw.choice((0, 5)) if twin is twins[0] else twins[0]._shared.held
    for step in range(30):
        if step == 20 and seed % 4 == 1:
            for twin in twins:
                with suppress(BufferFull):
                    twin.insert(330 * unit, content[330 * unit : 340 * unit], True)
        if step == 25 and seed % 4 == 2:
            assert twins[0].discard() == twins[1].discard()
        at, places = draw.choice((twins[0].contiguous // unit, draw.randrange(300))), []
        for _ in range(draw.randrange(1, 9)):
            size = draw.randrange(1, 4)
            places.append((at, size))
            at += size + draw.choice((0, 1, 1, 2, 5)) if draw.random() < 0.95 else -min(at, 3)
        offsets = [at * unit for at, _ in places]
        pieces = [content[at * unit : (at + size) * unit] for at, size in places]
        whole = outcome(twins[0], offsets, pieces, at_once=True)
        assert whole == outcome(twins[1], offsets, pieces, at_once=False)
        one, other = twins
        for twin in twins:
            assert [*twin.offsets[twin._fragments_head :]] == [*other.offsets[other._fragments_head :]]
            assert [*twin._fragments[twin._fragments_head :]] == [*other._fragments[other._fragments_head :]]
        assert (one.contiguous, one.highest, one._shared.held) == (other.contiguous, other.highest, other._shared.held)
        if draw.random() < 0.3 and not one.is_discarded:
            assert one.read(10 * unit) == other.read(10 * unit)


@pytest.mark.parametrize("where", ["first", "front", "behind", "between", "crowded", "drained"])
def test_pieces_at_once_cost_a_part_of_what_they_cost_one_by_one(where: str) -> None:
    def filled() -> ReceiveBuffer:
        buffer = ReceiveBuffer(1 << 30, FragmentSpace(1 << 30))
        if where != "first":
            for i in range(300):
                buffer.insert((1 + i if where == "drained" else 4 * i + 1) * TINY_CHUNK, bytes(TINY_CHUNK), False)
        if where == "crowded":
            buffer._shared.held += FEW_FRAGMENTS
        return buffer

    first = {"first": 1, "front": 0, "between": 3, "drained": 0}.get(where, 5000)
    offsets = [(first + 4 * i) * TINY_CHUNK for i in range(200)]
    pieces = [bytes(TINY_CHUNK)] * 200
    stops = [offset + TINY_CHUNK for offset in offsets]
    if where == "drained":
        offsets, stops = [0, *(o + 2000 * TINY_CHUNK for o in offsets[1:])], [TINY_CHUNK, *stops[1:]]
        stops = [offset + TINY_CHUNK for offset in offsets]
    together, singly = filled(), filled()
    at_once = steps(lambda: together.insert_all(offsets, pieces, stops))
    one_by_one = steps(lambda: outcome(singly, offsets, pieces, at_once=False))
    assert together.fragments == singly.fragments
    assert together.contiguous == singly.contiguous
    assert at_once * 1.5 < one_by_one


def test_pieces_beyond_the_room_are_refused_as_one_by_one() -> None:
    window = MAX_FRAGMENTS * FRAGMENT_OVERHEAD
    buffer = ReceiveBuffer(window, FragmentSpace(2 * window))
    offsets = [2 * TINY_CHUNK * (i + 1) for i in range(MAX_FRAGMENTS + 1)]
    pieces, stops = [bytes(TINY_CHUNK)] * len(offsets), [offset + TINY_CHUNK for offset in offsets]
    buffer.insert_all(offsets[:-1], pieces[:-1], stops[:-1])
    with pytest.raises(BufferFull):
        buffer.insert_all(offsets[-1:], pieces[-1:], stops[-1:])
    assert buffer.fragments == MAX_FRAGMENTS


@given(
    st.lists(st.tuples(st.sampled_from(["next", "ahead", "read", "end", "discard"]), st.integers(1, 900)), max_size=30)
)
@settings(max_examples=400)
def test_what_is_appended_is_inserted(story: list[tuple[str, int]]) -> None:
    buffers = [ReceiveBuffer(), ReceiveBuffer()]
    for what, much in story:
        for index, buffer in enumerate(buffers):
            with suppress(ProtocolError):
                if what == "read":
                    buffer.read(much)
                elif what == "discard":
                    buffer.discard()
                elif what == "end":
                    buffer.finish_at(buffer.highest + much)
                elif what == "ahead":
                    buffer.insert(buffer.contiguous + much, bytes(much), False)
                elif index or buffer.offsets or buffer.final_size is not None or buffer.is_discarded:
                    buffer.insert(buffer.contiguous, bytes(much), False)
                else:
                    assert not buffer.fragments
                    buffer.append(bytes(much))
        assert kept(buffers[0]) == kept(buffers[1])


def kept(buffer: ReceiveBuffer) -> dict[str, object]:
    return {name: getattr(buffer, name) for name in ReceiveBuffer.__slots__ if name != "_shared"}


def test_in_order_data_comes_out_as_the_object_that_arrived() -> None:
    buffer = ReceiveBuffer()
    first, second = bytes(LARGE_CHUNK), bytes(64_400)
    buffer.insert(0, first, False)
    buffer.insert(len(first), second, False)
    assert buffer.read(65536) is first
    assert buffer.read(65536) is second
    assert buffer.read(65536) == b""


def test_a_lone_small_chunk_comes_out_as_the_object_that_arrived() -> None:
    buffer = ReceiveBuffer()
    data = b"hello"
    buffer.insert(0, data, False)
    assert buffer.read(65536) is data


def test_a_large_fragment_comes_out_as_the_object_that_arrived() -> None:
    buffer = ReceiveBuffer()
    data = bytes(50_000)
    buffer.insert(10, data, False)
    buffer.insert(0, b"0123456789", False)
    assert buffer.read(10) == b"0123456789"
    assert buffer.read(65536) is data


def test_small_chunks_are_joined_up_to_what_is_asked() -> None:
    buffer = ReceiveBuffer()
    for i in range(100):
        buffer.insert(i * 1400, bytes([i]) * 1400, False)
    sizes = [len(data) for data in iter(lambda: buffer.read(65536), b"")]
    assert sizes == [46 * 1400, 46 * 1400, 8 * 1400]


def test_a_small_chunk_is_not_joined_to_a_large_one() -> None:
    buffer = ReceiveBuffer()
    large = bytes(LARGE_CHUNK)
    buffer.insert(0, b"ab", False)
    buffer.insert(2, large, False)
    buffer.insert(2 + LARGE_CHUNK, b"cd", False)
    assert [buffer.read(65536), buffer.read(65536) is large, buffer.read(65536)] == [b"ab", True, b"cd"]


def test_a_chunk_larger_than_asked_comes_in_parts() -> None:
    data = bytes(i % 256 for i in range(1000))
    buffer = ReceiveBuffer()
    buffer.insert(0, data, False)
    buffer.insert(1000, b"tail", False)
    assert buffer.read(1) == data[:1]
    assert buffer.read(998) == data[1:999]
    assert buffer.read(10) == data[999:] + b"tail"
    assert buffer.readable == 0


def test_bytes_that_arrived_first_stay() -> None:
    buffer = ReceiveBuffer()
    buffer.insert(2, b"BB", False)
    buffer.insert(6, b"CC", False)
    buffer.insert(0, b"aaaaaaaaaa", False)
    assert buffer.read(100) == b"aaBBaaCCaa"
    buffer.insert(8, b"xxyy", False)
    assert buffer.read(100) == b"yy"


def test_tiny_fragments_in_a_row_become_one() -> None:
    buffer = ReceiveBuffer()
    data = bytes(i % 256 for i in range(8 * MOST_FRAGMENTS))
    for offset in range(1, len(data)):
        buffer.insert(offset, data[offset : offset + 1], False)
    # As large as makes them cheap, no larger: each byte more would copy all of them again.
    assert buffer.fragments == 1 + (len(data) - 1) // JOINED_CHUNK
    buffer.insert(0, data[:1], False)
    assert read_all(buffer) == data


def test_data_over_fragments_leaves_one_fragment() -> None:
    buffer = ReceiveBuffer()
    for offset in range(10, 1000, 10):
        buffer.insert(offset, b"x", False)
    assert buffer.fragments == 99
    buffer.insert(5, b"." * 1000, False)
    assert buffer.fragments == 1
    buffer.insert(0, b"-----", False)
    data = buffer.read(65536)
    assert data == b"-----" + b".....x...." * 99 + b"....." * 2


@pytest.mark.parametrize("window", [0, LEAST_FRAGMENT_SPACE, 16 * 1024 * 1024])
def test_one_byte_fragments_are_bounded(window: int) -> None:
    buffer = ReceiveBuffer(window)
    most = min(max(window, LEAST_FRAGMENT_SPACE) // FRAGMENT_OVERHEAD, MAX_FRAGMENTS)
    for i in range(most):
        buffer.insert(2 + 2 * i, b"x", False)
    assert buffer.fragments == most
    before = buffer.highest
    with pytest.raises(BufferFull):
        buffer.insert(2 + 2 * most, b"x", True)
    assert (buffer.fragments, buffer.highest, buffer.final_size) == (most, before, None)
    # One byte costs the byte, its object, its offset and two list entries.
    assert footprint(buffer) < 2 * max(window, LEAST_FRAGMENT_SPACE)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_few_fragments_are_within_every_bound(window: int, whole: int) -> None:
    shared = FragmentSpace(whole)
    shared.held = FEW_FRAGMENTS - 1
    ReceiveBuffer(window, shared)._check_space(shared.held)


def test_a_full_buffer_takes_what_makes_it_emptier() -> None:
    buffer = ReceiveBuffer()
    for i in range(MOST_FRAGMENTS):
        buffer.insert(2 + 2 * i, b"x", False)
    # Over fragments held, out of order: makes them fewer.
    buffer.insert(1001, b"." * TINY_CHUNK, False)
    assert buffer.fragments < MOST_FRAGMENTS
    buffer.insert(4000, b"yy", False)
    # In order: always taken.
    for i in range(MOST_FRAGMENTS + 1):
        buffer.insert(2 * i, b"ab", False)
    assert buffer.fragments == 1
    assert buffer.contiguous == 2 * MOST_FRAGMENTS + 2


def test_small_chunks_that_nobody_reads_cost_little_more_than_their_bytes() -> None:
    for size in (1, 10, 100, TINY_CHUNK - 1):
        buffer = ReceiveBuffer()
        data = bytes(size)
        count = max(3000, 100_000 // size)
        for offset in range(0, count * size, size):
            # A copy: equal objects would be counted again and again, but held once.
            buffer.insert(offset, bytes(bytearray(data)), False)
        assert buffer.readable == count * size
        assert footprint(buffer) < 1.1 * buffer.readable + 8_000


def test_tiny_chunks_are_joined_around_a_head_that_is_half_read() -> None:
    buffer = ReceiveBuffer()
    data = bytes(i % 256 for i in range(2000))
    read = bytearray()
    for at in range(0, 2000, 10):
        buffer.insert(at, data[at : at + 10], False)
        read += buffer.read(7)
    assert read + read_all(buffer) == data


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 700)), max_size=12))
def test_tiny_chunks_survive_any_reading(turns: list[tuple[int, int]]) -> None:
    buffer = ReceiveBuffer()
    arrived, read = bytearray(), bytearray()
    for count, max_bytes in turns:
        for _ in range(count):
            data = bytes((len(arrived) + i) % 251 for i in range(10))
            buffer.insert(len(arrived), data, False)
            arrived += data
        read += buffer.read(max_bytes)
    assert read + read_all(buffer) == arrived


def test_tiny_chunks_are_joined_behind_a_head_that_moved() -> None:
    buffer = ReceiveBuffer()
    data = bytes(i % 251 for i in range(1000))
    for at in range(0, 600, 10):
        buffer.insert(at, data[at : at + 10], False)
    read = buffer.read(100)
    for at in range(600, 1000, 10):
        buffer.insert(at, data[at : at + 10], False)
    assert read + read_all(buffer) == data


def test_data_that_runs_into_a_large_fragment_leaves_it_uncopied() -> None:
    buffer = ReceiveBuffer()
    large = bytes(60_000)
    buffer.insert(1000, large, False)
    buffer.insert(500, bytes(501), False)
    buffer.insert(100, bytes(1000), False)
    buffer.insert(0, bytes(100), False)
    assert buffer.read(1000) == bytes(1000)
    assert buffer.read(65536) is large


def test_data_that_runs_into_a_large_fragment_leaves_it_uncopied_whatever_lies_before() -> None:
    buffer = ReceiveBuffer()
    large = bytes(LARGE_CHUNK)
    buffer.insert(10, b"ab", False)
    buffer.insert(50_000, large, False)
    buffer.insert(5, bytes(5) + b"xx" + bytes(49_990), False)
    buffer.insert(0, bytes(5), False)
    assert buffer.read(5) + buffer.read(50_000) == bytes(10) + b"ab" + bytes(49_988)
    assert buffer.read(65536) is large


def test_data_reaches_over_a_short_fragment_behind_a_long_one() -> None:
    buffer = ReceiveBuffer()
    buffer.insert(10, b"a" * 30, False)
    buffer.insert(50, b"bb", False)
    buffer.insert(5, b"." * 55, False)
    buffer.insert(0, b"-" * 5, False)
    assert read_all(buffer) == b"-" * 5 + b"." * 5 + b"a" * 30 + b"." * 10 + b"bb" + b"." * 8


def references(chunks: list[bytes]) -> list[int]:
    return [sys.getrefcount(chunks[i]) for i in range(len(chunks))]


def test_what_was_read_is_let_go() -> None:
    chunks = [bytes([i]) * LARGE_CHUNK for i in range(40)]
    idle = references(chunks)
    in_order, behind_holes = ReceiveBuffer(), ReceiveBuffer()
    for i in range(40):
        in_order.insert(i * LARGE_CHUNK, chunks[i], False)
        behind_holes.insert(i * (LARGE_CHUNK + 1) + 1, chunks[i], False)
    assert references(chunks) == [count + 2 for count in idle]
    for i in range(40):
        behind_holes.insert(i * (LARGE_CHUNK + 1), b"x", False)
        assert behind_holes.read(1) == b"x"
        assert behind_holes.read(65536) is chunks[i]
        assert in_order.read(65536) is chunks[i]
        assert references(chunks)[: i + 1] == idle[: i + 1]


def final_size_conflicts() -> list[tuple[str, list[tuple[int, bytes, bool]], tuple[int, bytes, bool]]]:
    return [
        ("data beyond the end", [(0, b"abc", True)], (2, b"xx", False)),
        ("another end", [(0, b"abc", True)], (0, b"ab", True)),
        ("an end after the end", [(0, b"abc", True)], (4, b"", True)),
        ("an end before data held", [(5, b"x", False)], (0, b"abc", True)),
        ("an end before data read", [(0, b"abcdef", False)], (0, b"abc", True)),
        ("a bare end before data", [(0, b"abcdef", False)], (3, b"", True)),
        ("data after an empty stream", [(0, b"", True)], (0, b"x", False)),
    ]


@pytest.mark.parametrize(("name", "before", "conflict"), final_size_conflicts())
def test_final_size_conflicts_are_refused(
    name: str, before: list[tuple[int, bytes, bool]], conflict: tuple[int, bytes, bool]
) -> None:
    for discard in (False, True):
        buffer = ReceiveBuffer()
        for insert in before:
            buffer.insert(*insert)
        if discard:
            buffer.discard()
        state = (buffer.highest, buffer.final_size, buffer.contiguous)
        with final_size_refused():
            buffer.insert(*conflict)
        assert (buffer.highest, buffer.final_size, buffer.contiguous) == state


def test_a_reset_below_what_arrived_is_refused() -> None:
    buffer = ReceiveBuffer()
    buffer.insert(10, b"x", False)
    with final_size_refused():
        buffer.finish_at(10)
    buffer.finish_at(20)
    assert buffer.highest == 20
    with final_size_refused():
        buffer.finish_at(21)
    buffer.finish_at(20)
    assert not buffer.complete


def test_the_same_end_may_be_told_again() -> None:
    buffer = ReceiveBuffer()
    buffer.insert(3, b"", True)
    assert (buffer.complete, buffer.at_eof) == (False, False)
    buffer.insert(0, b"abc", True)
    buffer.insert(1, b"bc", True)
    assert (buffer.complete, buffer.at_eof) == (True, False)
    assert buffer.read(10) == b"abc"
    assert buffer.at_eof


def test_discarding_returns_the_unread_and_tracks_on() -> None:
    buffer = ReceiveBuffer()
    buffer.insert(0, bytes(100), False)
    buffer.insert(200, bytes(100), False)
    buffer.read(30)
    assert buffer.discard() == 270
    assert buffer.discard() == 0
    buffer.insert(300, bytes(50), False)
    buffer.insert(100, bytes(50), False)
    assert (buffer.highest, buffer.readable, buffer.fragments) == (350, 0, 0)
    assert buffer.read(100) == b""
    buffer.insert(400, b"", True)
    assert buffer.complete
    assert buffer.at_eof
    assert footprint(buffer) < 500


def test_a_reset_after_discarding_completes_the_stream() -> None:
    buffer = ReceiveBuffer()
    buffer.insert(5, b"x", False)
    assert buffer.discard() == 6
    buffer.finish_at(10)
    assert (buffer.highest, buffer.complete, buffer.at_eof) == (10, True, True)


def test_cost_in_order_is_independent_of_what_is_unread() -> None:
    buffer = ReceiveBuffer()
    data = bytes(1400)

    def insert_many() -> None:
        for _ in range(100):
            buffer.insert(buffer.contiguous, data, False)

    buffer.insert(0, data, False)
    first = steps(insert_many)
    for _ in range(300):
        insert_many()
    assert steps(insert_many) == first
    assert first <= 100 * 20


def test_cost_of_a_read_is_independent_of_what_is_unread() -> None:
    def reading(count: int) -> int:
        buffer = ReceiveBuffer()
        for i in range(count):
            buffer.insert(i * 1400, bytes(1400), False)
        return steps(lambda: [buffer.read(14_000) for _ in range(10)])

    assert abs(reading(10_000) - reading(1_000)) < 20


def test_cost_of_filling_a_hole_is_independent_of_the_other_holes() -> None:
    def filling(holes: int) -> int:
        buffer = ReceiveBuffer(window=2**26)
        for i in range(holes):
            buffer.insert(20_000 * i + 10_000, bytes(10_000), False)

        def fill() -> None:
            for i in range(10):
                buffer.insert(20_000 * i, bytes(10_000), False)
            # In the middle, and a duplicate.
            buffer.insert(20_000 * (holes // 2), bytes(10_000), False)
            buffer.insert(20_000 * (holes // 2) + 10_000, bytes(10_000), False)

        return steps(fill)

    assert abs(filling(5_000) - filling(50)) < 20


def test_an_idle_buffer_is_tiny_before_and_after_use() -> None:
    buffer = ReceiveBuffer()
    assert footprint(buffer) < 400
    for i in range(1000):
        buffer.insert((i ^ 3) * 100, bytes(100), False)
    assert len(read_all(buffer)) == 100_000
    assert footprint(buffer) < 600


@pytest.mark.parametrize(("window", "most"), [(0, LEAST_FRAGMENT_SPACE // FRAGMENT_OVERHEAD + 1), (1_000_000, 5_000)])
def test_streams_of_a_connection_share_the_room_for_fragments(window: int, most: int) -> None:
    shared = FragmentSpace(window)
    first, second = ReceiveBuffer(2 * window, shared), ReceiveBuffer(2 * window, shared)
    for i in range(most // 2):
        first.insert(2 + 2 * i, b"x", False)
    for i in range(most - most // 2):
        assert shared.has_room(1)
        second.insert(2 + 2 * i, b"x", False)
    assert not shared.has_room(1)
    assert shared.held == first.fragments + second.fragments == most
    for buffer in (first, second):
        with pytest.raises(BufferFull, match=f"{buffer.fragments} fragments .* {most} by all streams"):
            buffer.insert(2 * most, b"x", False)
        with pytest.raises(BufferFull):
            buffer.insert(2 * most, b"x" * TINY_CHUNK, False)
    # In order is always taken, and makes room.
    first.insert(0, b"ab", False)
    assert (shared.has_room(1), shared.held, first.contiguous) == (True, most - 1, 3)
    second.insert(2 * most, b"x", False)
    assert not shared.has_room(1)
    assert first.discard() > 0
    assert shared.held == second.fragments


@pytest.mark.parametrize("kind", ["behind", "between"])
def test_room_is_for_so_many_fragments_wherever_they_lie(kind: str) -> None:
    """As `_check_space` says: bytes of overhead within the window, and one in 2 KiB of it from 8,192 on."""
    for window, most in ((400_000, 2_000), (399_999, 1_999), (10 << 20, 8_192), (25 << 20, 12_800)):
        buffer = ReceiveBuffer(window, FragmentSpace(1 << 40))
        # One far behind, so that all others lie between.
        buffer.insert(10_000_000, b"x", False)
        at = range(10_000_002, 10_100_000, 2) if kind == "behind" else range(2, 100_000, 2)
        for _, offset in zip(range(most - 1), at, strict=False):
            buffer.insert(offset, b"x", False)
        assert buffer.fragments == most
        with pytest.raises(BufferFull):
            buffer.insert(2 * most if kind == "between" else 10_000_000 + 2 * most, b"x", False)
        assert buffer.fragments == most


def test_a_read_asks_for_something() -> None:
    buffer = ReceiveBuffer()
    for wrong in (0, -1):
        with pytest.raises(AssertionError):
            buffer.read(wrong)


@pytest.mark.parametrize(("size", "count", "fragments"), [(256, 16, 1), (256, 17, 2), (500, 9, 2), (TINY_CHUNK, 2, 2)])
def test_tiny_fragments_are_joined_up_to_a_size_and_others_not(size: int, count: int, fragments: int) -> None:
    buffer = ReceiveBuffer()
    for i in range(count):
        buffer.insert(10 + i * size, bytes([i]) * size, False)
    assert buffer.fragments == fragments
    buffer.insert(0, bytes(10), False)
    assert read_all(buffer)[10:] == b"".join(bytes([i]) * size for i in range(count))


def test_a_joined_chunk_is_joined_no_further() -> None:
    """Or each byte would be copied as often as it has successors."""
    for size in (1, 50, TINY_CHUNK - 1):
        buffer = ReceiveBuffer()
        for i in range(2000):
            buffer.insert(i * size, bytes(size), False)
        largest = max(len(chunk) for chunk in buffer._ready)
        assert largest < JOINED_CHUNK + 64 * size


@pytest.mark.parametrize(("window", "most"), [(0, MOST_FRAGMENTS), (400_000, 2_000)])
def test_room_comes_back_fragment_by_fragment_as_gaps_are_filled(window: int, most: int) -> None:
    buffer = ReceiveBuffer(window, FragmentSpace(1 << 40))
    for i in range(most):
        buffer.insert(2 + 4 * i, b"x", False)
    for i in range(100):
        buffer.insert(4 * i, b"ab", False)
        buffer.insert(3 + 4 * i, b"c", False)
        assert buffer.fragments == most - i - 1
    # Half of the room by what comes behind all, half by what comes between.
    for i in range(50):
        buffer.insert(4 * most + 2 * i, b"y", False)
    for i in range(50):
        buffer.insert(4 + 4 * (most - 100 + i), b"z", False)
    assert buffer.fragments == most
    for offset in (4 * most + 200, 4 + 4 * (most - 200)):
        with pytest.raises(BufferFull):
            buffer.insert(offset, b"y", False)


def test_a_frame_without_data_is_held_nowhere() -> None:
    """Neither its place in memory, nor an empty read while there is more."""
    shared = FragmentSpace(1 << 20)
    buffer = ReceiveBuffer(1 << 20, shared)
    buffer.insert(LARGE_CHUNK, b"", False)
    assert buffer.fragments == shared.held == 0
    buffer.insert(LARGE_CHUNK, b"b" * LARGE_CHUNK, False)
    buffer.insert(0, b"a" * LARGE_CHUNK, False)
    assert buffer.read(1 << 20) == b"a" * LARGE_CHUNK
    assert buffer.read(1 << 20) == b"b" * LARGE_CHUNK
