"""Laws of `rudp.send_buffer`: what is written comes out, again when lost, and costs nothing while queued."""

from __future__ import annotations

import re
import sys
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rudp.send_buffer import SMALL_WRITE, TAIL_SIZE, TAIL_WRITES, SendBuffer
from tests.measure import footprint, steps

NO_LIMIT = 2**62
PACKET = 1400
TRAIN = 46 * PACKET
# Every byte of a stream in the model is in one of these states.
NEW, FLYING, LOST, ACKED = b"N", b"F", b"L", b"A"


def pattern(offset: int, size: int) -> bytes:
    """Bytes that tell their own offset."""
    first = offset // 4
    words = b"".join(i.to_bytes(4, "big") for i in range(first, first + size // 4 + 2))
    return words[offset % 4 : offset % 4 + size]


def send_all(buffer: SendBuffer, train: int = TRAIN) -> list[tuple[int, int, bool]]:
    sent = []
    while (found := buffer.next_range(train, NO_LIMIT)) is not None:
        buffer.slices(found[0], found[1], PACKET)
        sent.append(found)
    return sent


class AgainstBytes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.buffer = SendBuffer()
        self.content = b""
        self.states = bytearray()
        self.sent: list[tuple[int, int, bool]] = []
        self.fin_written = self.fin_pending = self.fin_acked = self.is_reset = False

    @property
    def sent_up_to(self) -> int:
        return len(self.states.rstrip(NEW))

    @precondition(lambda self: not self.fin_written and not self.is_reset)
    @rule(
        size=st.sampled_from((0, 1, 2, 30, 700, 4096, SMALL_WRITE - 1, SMALL_WRITE, 30_000, TAIL_SIZE + 1)),
        kind=st.sampled_from((bytes, bytearray, memoryview)),
    )
    def write(self, size: int, kind: type) -> None:
        data = pattern(len(self.content), size)
        if kind is memoryview:
            shared = bytearray(data)
            self.buffer.write(memoryview(shared))
            shared[:] = bytes(size)
        elif kind is bytearray:
            changed = bytearray(data)
            self.buffer.write(changed)
            changed.clear()
        else:
            self.buffer.write(data)
        self.content += data
        self.states += NEW * size

    @precondition(lambda self: not self.fin_written and not self.is_reset)
    @rule(count=st.integers(1, 40))
    def write_byte_by_byte(self, count: int) -> None:
        for _ in range(count):
            self.write(1, bytes)

    @rule(
        max_length=st.sampled_from((0, 1, 29, PACKET, 5000, TRAIN, 200_000)),
        credit=st.sampled_from((-10, 0, 1, 1000, NO_LIMIT)),
        payload_size=st.sampled_from((1000, PACKET, 9000)),
    )
    def send(self, max_length: int, credit: int, payload_size: int) -> None:
        max_offset = self.sent_up_to + credit
        expected = self.expected_range(max_length, max_offset)
        assert self.buffer.can_send(max_offset) == (self.expected_range(NO_LIMIT, max_offset) is not None)
        found = self.buffer.next_range(max_length, max_offset)
        assert found == expected
        if found is None:
            return
        offset, length, fin = found
        payloads = self.buffer.slices(offset, length, payload_size)
        assert b"".join(payloads) == self.content[offset : offset + length]
        assert len(payloads) == max(1, -(-length // payload_size))
        assert all(len(payload) == payload_size for payload in payloads[:-1])
        self.states[offset : offset + length] = FLYING * length
        self.fin_pending = self.fin_pending and not fin
        packets = [
            (at, min(at + payload_size, offset + length), False)
            for at in range(offset, offset + max(length, 1), payload_size)
        ]
        packets[-1] = (packets[-1][0], offset + length, fin)
        self.sent += packets

    def expected_range(self, max_length: int, max_offset: int) -> tuple[int, int, bool] | None:
        if self.is_reset:
            return None
        end = len(self.content)
        start = self.states.find(LOST)
        if start >= 0 and max_length > 0:
            run = len(self.states) - start - len(self.states[start:].lstrip(LOST))
            stop = start + min(run, max_length)
        elif start >= 0:
            return None
        else:
            start = self.sent_up_to
            stop = max(start, min(end, max_offset, start + max_length))
            if start == stop and not (self.fin_pending and stop == end):
                return None
        return start, stop - start, self.fin_pending and stop == end

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), count=st.integers(1, 50))
    def acknowledge(self, data: st.DataObject, count: int) -> None:
        """A run of packets as they were sent, lost or not, acknowledged before or not."""
        first = data.draw(st.integers(0, len(self.sent) - 1))
        run = self.sent[first : first + count]
        run = [packet for i, packet in enumerate(run) if i == 0 or packet[0] == run[i - 1][1]]
        for offset, stop, fin in run if count % 2 else [(run[0][0], run[0][1], run[0][2])]:
            news = 0 if self.is_reset else stop - offset - self.states.count(ACKED, offset, stop)
            assert self.buffer.on_acked(offset, stop, fin) == news
            if not self.is_reset:
                self.states[offset:stop] = ACKED * (stop - offset)
                if fin:
                    self.fin_acked, self.fin_pending = True, False

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), count=st.integers(1, 50))
    def lose(self, data: st.DataObject, count: int) -> None:
        first = data.draw(st.integers(0, len(self.sent) - 1))
        for offset, stop, fin in self.sent[first : first + count]:
            self.buffer.on_lost(offset, stop, fin)
            if not self.is_reset:
                self.states[offset:stop] = self.states[offset:stop].replace(FLYING, LOST)
                self.fin_pending = self.fin_pending or (fin and not self.fin_acked)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), lost=st.booleans())
    def resolve_many(self, data: st.DataObject, lost: bool) -> None:
        """Packets here and there at once: what each of them would change."""
        which = st.sets(st.integers(0, len(self.sent) - 1), min_size=1, max_size=12)
        ranges = [self.sent[index] for index in sorted(data.draw(which))]
        (self.buffer.on_lost_all if lost else self.buffer.on_acked_all)(ranges)
        for offset, stop, fin in ranges if not self.is_reset else ():
            if lost:
                self.states[offset:stop] = self.states[offset:stop].replace(FLYING, LOST)
                self.fin_pending = self.fin_pending or (fin and not self.fin_acked)
            else:
                self.states[offset:stop] = ACKED * (stop - offset)
                if fin:
                    self.fin_acked, self.fin_pending = True, False

    @rule(size=st.sampled_from((1000, PACKET)), most=st.integers(1, 12))
    def send_scattered(self, size: int, most: int) -> None:
        """Packets of lost ranges that are whole packets, the lowest first; nothing of a single range."""
        end = len(self.content)
        ranges = [match.span() for match in re.finditer(LOST + b"+", self.states)]
        with_fin = end if self.fin_pending else -1
        whole = takewhile(lambda span: (span[1] - span[0]) % size == 0 and span[1] != with_fin, ranges)
        expected = [at for start, stop in whole for at in range(start, stop, size)][:most] if len(ranges) > 1 else []
        found = self.buffer.next_scattered(size, most)
        assert found == expected
        assert list(map(bytes, self.buffer.payloads(found, size))) == [self.content[at : at + size] for at in found]
        for at in found:
            self.states[at : at + size] = FLYING * size
            self.sent.append((at, at + size, False))

    @rule()
    def finish(self) -> None:
        self.buffer.finish()
        if not self.fin_written and not self.is_reset:
            self.fin_written = self.fin_pending = True

    @precondition(lambda self: self.sent_up_to > 50_000)
    @rule()
    def reset(self) -> None:
        self.buffer.reset()
        self.is_reset = True
        self.fin_pending = False
        self.content = self.content[: self.sent_up_to]
        self.states = bytearray(ACKED * self.sent_up_to)

    @invariant()
    def tells_its_state(self) -> None:
        buffer, states = self.buffer, self.states
        assert buffer.written == len(self.content)
        assert buffer.sent_up_to == self.sent_up_to
        assert buffer.pending == states.count(NEW) + states.count(LOST)
        assert buffer.lost == states.count(LOST)
        assert buffer.buffered == len(states.lstrip(ACKED))
        assert buffer.acked_up_to == len(states) - len(states.lstrip(ACKED))
        assert buffer.fin_pending == self.fin_pending
        assert buffer.pieces == len(re.findall(LOST + b"+", states)) + (NEW in states)
        assert list(buffer._lost) == [match.span() for match in re.finditer(LOST + b"+", states)]
        assert all(buffer.acked_up_to < start < stop for start, stop in buffer._acked)
        all_acked = states.count(ACKED) == len(states)
        assert buffer.finished == (self.fin_acked and all_acked and not self.is_reset)


AgainstBytes.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgainstBytes = AgainstBytes.TestCase


def test_a_large_write_is_sent_as_views_of_the_object_written() -> None:
    data = pattern(0, 100_000)
    buffer = SendBuffer()
    buffer.write(data)
    found = buffer.next_range(TRAIN, NO_LIMIT)
    assert found == (0, TRAIN, False)
    payloads = buffer.slices(0, TRAIN, PACKET)
    assert len(payloads) == 46
    assert all(isinstance(payload, memoryview) and payload.obj is data for payload in payloads)


def test_a_small_write_sent_at_once_is_not_copied() -> None:
    data = pattern(0, 100)
    buffer = SendBuffer()
    buffer.write(data)
    assert buffer.next_range(PACKET, NO_LIMIT) == (0, 100, False)
    assert buffer.slices(0, 100, PACKET)[0] is data


def test_one_packet_across_two_large_writes_is_the_only_one_copied() -> None:
    first, second = pattern(0, 10 * PACKET + 2500), pattern(0, 40 * PACKET)
    buffer = SendBuffer()
    buffer.write(first)
    buffer.write(second)
    assert buffer.next_range(TRAIN, NO_LIMIT) == (0, TRAIN, False)
    payloads = buffer.slices(0, TRAIN, PACKET)
    assert b"".join(payloads) == (first + second)[:TRAIN]
    copied = [i for i, payload in enumerate(payloads) if not isinstance(payload, memoryview)]
    assert copied == [11]


def test_a_packet_may_straddle_many_chunks() -> None:
    data = pattern(0, 20 * SMALL_WRITE)
    buffer = SendBuffer()
    for at in range(0, len(data), SMALL_WRITE):
        buffer.write(data[at : at + SMALL_WRITE])
    assert buffer.next_range(NO_LIMIT, NO_LIMIT) == (0, len(data), False)
    for payload_size in (1, 100, SMALL_WRITE, 60_000, len(data)):
        payloads = buffer.slices(0, len(data), payload_size)
        assert b"".join(payloads) == data
        assert {len(payload) for payload in payloads[:-1]} <= {payload_size}
    # From within one chunk to within another, in packets longer than a chunk but a run of many packets.
    payloads = buffer.slices(5, 15 * SMALL_WRITE, 2 * SMALL_WRITE + 1)
    assert b"".join(payloads) == data[5 : 5 + 15 * SMALL_WRITE]


def test_a_packet_may_straddle_a_tiny_chunk_between_large_ones() -> None:
    first, last = pattern(0, SMALL_WRITE), pattern(7, SMALL_WRITE)
    buffer = SendBuffer()
    for data in (first, b"tiny", last):
        buffer.write(data)
    assert buffer.next_range(NO_LIMIT, NO_LIMIT) == (0, 2 * SMALL_WRITE + 4, False)
    payloads = buffer.slices(100, 2 * SMALL_WRITE - 200, PACKET)
    assert b"".join(payloads) == (first + b"tiny" + last)[100 : 2 * SMALL_WRITE - 100]
    assert sum(isinstance(payload, bytes) for payload in payloads) == 1


def test_what_is_not_bytes_is_refused() -> None:
    buffer = SendBuffer()
    for wrong in (3, "text", None):
        with pytest.raises(TypeError):
            buffer.write(wrong)  # type: ignore[arg-type]
    assert buffer.written == 0


def test_a_view_of_wider_items_is_written_byte_by_byte() -> None:
    buffer = SendBuffer()
    buffer.write(memoryview(bytes(range(16))).cast("I")[::2])
    assert buffer.written == 8
    assert buffer.next_range(PACKET, NO_LIMIT) == (0, 8, False)
    assert bytes(buffer.slices(0, 8, PACKET)[0]) == bytes((0, 1, 2, 3, 8, 9, 10, 11))


def queue_all(writes: list[bytes]) -> SendBuffer:
    buffer = SendBuffer()
    for data in writes:
        buffer.write(data)
    send_all(buffer)
    return buffer


def test_acknowledged_prefix_is_let_go() -> None:
    writes = [bytes([i]) * SMALL_WRITE for i in range(20)]
    idle = [sys.getrefcount(writes[i]) for i in range(20)]
    buffer = queue_all(writes)
    buffer.on_acked(2 * SMALL_WRITE, 10 * SMALL_WRITE, False)
    assert [sys.getrefcount(writes[i]) - idle[i] for i in range(20)] == [1] * 20
    buffer.on_acked(0, 2 * SMALL_WRITE, False)
    held = [sys.getrefcount(writes[i]) - idle[i] for i in range(20)]
    assert held == [0] * 10 + [1] * 10
    buffer.reset()
    assert [sys.getrefcount(writes[i]) for i in range(20)] == idle


@pytest.mark.parametrize("count", [3, 30, 300])
def test_chunks_are_let_go_one_by_one(count: int) -> None:
    writes = [bytes([i % 250]) * SMALL_WRITE for i in range(count)]
    buffer = queue_all(writes)
    for i in range(count):
        buffer.on_acked(i * SMALL_WRITE, (i + 1) * SMALL_WRITE, False)
        held = [sys.getrefcount(data) for data in writes]
        assert max(held[: i + 1]) < min(held[i + 1 :], default=99)
        if i + 1 < count:
            assert b"".join(buffer.slices((i + 1) * SMALL_WRITE, SMALL_WRITE, PACKET)) == writes[i + 1]


def test_lost_data_goes_before_new_data_lowest_first() -> None:
    buffer = SendBuffer()
    buffer.write(pattern(0, 100_000))
    assert buffer.next_range(50_000, NO_LIMIT) == (0, 50_000, False)
    buffer.on_lost(30_000, 31_000, False)
    buffer.on_lost(10_000, 12_000, False)
    assert buffer.pending == 50_000 + 3_000
    assert buffer.next_range(1_500, 0) == (10_000, 1_500, False)
    assert buffer.next_range(1_500, 0) == (11_500, 500, False)
    assert buffer.next_range(1_500, 0) == (30_000, 1_000, False)
    assert buffer.next_range(1_500, 0) is None
    assert buffer.next_range(1_500, NO_LIMIT) == (50_000, 1_500, False)


def test_a_late_ack_takes_lost_data_out_of_the_queue() -> None:
    buffer = SendBuffer()
    buffer.write(pattern(0, 10_000))
    assert buffer.next_range(10_000, NO_LIMIT) == (0, 10_000, False)
    buffer.on_lost(0, 10_000, False)
    assert buffer.on_acked(2_000, 4_000, False) == 2_000
    assert buffer.pending == 8_000
    assert buffer.next_range(10_000, 0) == (0, 2_000, False)
    assert buffer.next_range(10_000, 0) == (4_000, 6_000, False)
    assert buffer.on_acked(0, 2_000, False) == 2_000
    assert buffer.acked_up_to == 4_000


def test_what_is_lost_twice_is_sent_once_more() -> None:
    buffer = SendBuffer()
    buffer.write(pattern(0, 10_000))
    assert buffer.next_range(10_000, NO_LIMIT) == (0, 10_000, False)
    buffer.on_lost(0, 6_000, False)
    buffer.on_lost(5_000, 10_000, False)
    assert buffer.pending == 10_000
    assert buffer.next_range(20_000, 0) == (0, 10_000, False)
    assert not buffer.can_send(NO_LIMIT)


def test_fin_rides_on_the_last_byte() -> None:
    buffer = SendBuffer()
    buffer.write(b"last words")
    buffer.finish()
    assert buffer.next_range(4, NO_LIMIT) == (0, 4, False)
    assert buffer.next_range(100, NO_LIMIT) == (4, 6, True)
    assert buffer.next_range(100, NO_LIMIT) is None
    buffer.on_acked(4, 10, True)
    assert not buffer.finished
    buffer.on_acked(0, 4, False)
    assert buffer.finished


def test_fin_alone_needs_no_credit_and_can_be_lost_alone() -> None:
    buffer = SendBuffer()
    buffer.write(b"data")
    assert buffer.next_range(100, 4) == (0, 4, False)
    buffer.finish()
    assert buffer.can_send(0)
    assert buffer.next_range(0, 0) == (4, 0, True)
    assert buffer.slices(4, 0, PACKET) == [b""]
    buffer.on_acked(0, 4, False)
    assert not buffer.finished
    buffer.on_lost(4, 4, True)
    assert buffer.next_range(100, 4) == (4, 0, True)
    buffer.on_acked(4, 4, True)
    assert buffer.finished
    buffer.on_lost(4, 4, True)
    assert not buffer.can_send(NO_LIMIT)


def test_lost_fin_rides_again_on_the_lost_last_byte() -> None:
    buffer = SendBuffer()
    buffer.write(bytes(3000))
    buffer.finish()
    assert buffer.next_range(3000, NO_LIMIT) == (0, 3000, True)
    buffer.on_lost(0, 1000, False)
    buffer.on_lost(2000, 3000, True)
    assert buffer.next_range(PACKET, NO_LIMIT) == (0, 1000, False)
    assert buffer.next_range(PACKET, NO_LIMIT) == (2000, 1000, True)


def test_fin_waits_while_credit_holds_data_back() -> None:
    buffer = SendBuffer()
    buffer.write(bytes(1000))
    buffer.finish()
    assert buffer.next_range(PACKET, 400) == (0, 400, False)
    assert not buffer.can_send(400)
    assert buffer.next_range(PACKET, 400) is None
    assert buffer.next_range(PACKET, 1000) == (400, 600, True)


def test_empty_stream_is_one_fin() -> None:
    buffer = SendBuffer()
    assert not buffer.can_send(NO_LIMIT)
    buffer.finish()
    assert buffer.next_range(PACKET, 0) == (0, 0, True)
    buffer.on_acked(0, 0, True)
    assert buffer.finished


def test_nothing_follows_the_fin_or_a_reset() -> None:
    finished, cut = SendBuffer(), SendBuffer()
    finished.finish()
    cut.reset()
    for buffer in (finished, cut):
        with pytest.raises(AssertionError):
            buffer.write(b"more")


def test_reset_keeps_only_the_final_size() -> None:
    buffer = SendBuffer()
    buffer.write(bytes(100_000))
    buffer.write(b"small")
    buffer.finish()
    assert buffer.next_range(60_000, NO_LIMIT) == (0, 60_000, False)
    buffer.on_lost(0, 20_000, False)
    buffer.reset()
    assert (buffer.sent_up_to, buffer.buffered, buffer.pending) == (60_000, 0, 0)
    assert not buffer.can_send(NO_LIMIT)
    assert buffer.next_range(PACKET, NO_LIMIT) is None
    assert buffer.on_acked(20_000, 60_000, False) == 0
    buffer.on_lost(20_000, 60_000, False)
    assert buffer.pending == 0
    assert not buffer.finished
    assert footprint(buffer) < 1_000


def test_a_stream_reset_after_its_fin_arrived_is_not_finished() -> None:
    buffer = SendBuffer()
    buffer.write(bytes(2 * PACKET))
    buffer.finish()
    assert buffer.next_range(TRAIN, NO_LIMIT) == (0, 2 * PACKET, True)
    buffer.on_acked(PACKET, 2 * PACKET, True)
    buffer.reset()
    assert not buffer.finished


def per_train(writes: int, size: int) -> float:
    """Steps for handing out, cutting and acknowledging ten trains, from a queue of `writes` writes."""
    buffer = SendBuffer()
    data = bytes(size)
    for _ in range(writes):
        buffer.write(data)
    assert buffer.buffered >= 12 * TRAIN

    def work() -> None:
        for _ in range(10):
            found = buffer.next_range(TRAIN, NO_LIMIT)
            assert found is not None
            offset, length, _ = found
            assert length == TRAIN
            buffer.slices(offset, length, PACKET)
            buffer.on_acked(offset, offset + length, False)

    return steps(work) / 10


def test_cost_of_a_train_is_independent_of_what_is_queued() -> None:
    per_train(1, 10_000_000)  # where trains of this size are cut is worked out once
    one_large = per_train(1, 10_000_000)
    per_train(10_000, 100)
    few_small = per_train(10_000, 100)
    many_small = per_train(100_000, 100)
    assert many_small == few_small
    # A few dozen lines more where chunks of about a train's size meet.
    assert one_large < 60
    assert many_small < one_large + 60


def test_cost_of_a_write_is_independent_of_what_is_queued() -> None:
    buffer = SendBuffer()

    def write_many() -> None:
        for _ in range(10_000):
            buffer.write(b"some data")

    first = steps(write_many)
    for _ in range(100_000):
        buffer.write(b"some data")
    assert steps(write_many) <= first * 1.01


def test_cost_of_losses_is_independent_of_what_is_queued() -> None:
    def lose_and_send(queued: int) -> int:
        buffer = SendBuffer()
        for _ in range(queued):
            buffer.write(bytes(SMALL_WRITE))
        assert buffer.next_range(TRAIN, NO_LIMIT) is not None

        def work() -> None:
            buffer.on_lost(PACKET, 2 * PACKET, False)
            buffer.on_acked(3 * PACKET, 5 * PACKET, False)
            assert buffer.next_range(TRAIN, 0) == (PACKET, PACKET, False)
            buffer.on_acked(0, 3 * PACKET, False)

        return steps(work)

    assert lose_and_send(10_000) == lose_and_send(10)


def test_cost_of_a_train_across_small_chunks_is_that_of_its_packets_and_chunks() -> None:
    buffer = SendBuffer()
    for at in range(0, TRAIN, 1000):
        # Sent one by one, so never joined while they waited.
        buffer.write(pattern(at, min(1000, TRAIN - at)))
        assert buffer.next_range(1000, NO_LIMIT) is not None
    buffer.on_lost(0, TRAIN, False)
    assert buffer.next_range(TRAIN, 0) == (0, TRAIN, False)
    assert steps(lambda: buffer.slices(0, TRAIN, PACKET)) < TRAIN // 1000 + 46 + 40
    content = b"".join(pattern(at, min(1000, TRAIN - at)) for at in range(0, TRAIN, 1000))
    assert b"".join(buffer.slices(0, TRAIN, PACKET)) == content


def test_unjoined_small_writes_are_bounded_in_number_and_size() -> None:
    for size in (2, 100, SMALL_WRITE - 1):
        buffer = SendBuffer()
        for _ in range(3 * TAIL_WRITES):
            buffer.write(bytes(size))
        # What is held beside the bytes: one list entry a chunk, and the tail.
        overhead = footprint(buffer) - buffer.written
        assert overhead < 64 * TAIL_WRITES + TAIL_SIZE + 200 * (buffer.written // TAIL_SIZE)


def test_an_idle_buffer_is_tiny_before_and_after_use() -> None:
    buffer = SendBuffer()
    assert footprint(buffer) < 800
    for _ in range(3_000):
        buffer.write(bytes(1000))
    for offset, length, fin in send_all(buffer):
        buffer.on_acked(offset, offset + length, fin)
    assert buffer.buffered == 0
    assert footprint(buffer) < 800


def test_packets_across_chunks_of_any_size_are_all_full_but_the_last() -> None:
    sizes = (20_000, 4, 3, 20_000, 700, 990, 30_000, 5, 6, 7)
    data = pattern(0, sum(sizes))
    buffer = SendBuffer()
    at = 0
    for size in sizes:
        # Sent one by one, so never joined while they waited.
        buffer.write(data[at : at + size])
        assert buffer.next_range(size, NO_LIMIT) == (at, size, False)
        at += size
    for offset in (*range(0, 3_000, 97), 19_999, 20_003, 20_007):
        for stop in (*range(at - 30, at + 1), at - 900):
            payloads = [bytes(payload) for payload in buffer.slices(offset, stop - offset, 1000)]
            assert payloads == [data[i : min(i + 1000, stop)] for i in range(offset, stop, 1000)]


def test_two_small_writes_are_sent_as_one() -> None:
    for count in (1, 2, 3):
        buffer = SendBuffer()
        for i in range(count):
            buffer.write(bytes([i]) * 10)
        assert buffer.next_range(PACKET, NO_LIMIT) == (0, 10 * count, False)
        assert bytes(buffer.slices(0, 10 * count, PACKET)[0]) == b"".join(bytes([i]) * 10 for i in range(count))


def test_a_small_write_behind_a_large_one_is_not_joined_with_it() -> None:
    for first, second in ((b"a" * SMALL_WRITE, b"b"), (b"a", b"b")):
        buffer = SendBuffer()
        buffer.write(b"sent")
        assert buffer.next_range(PACKET, NO_LIMIT) == (0, 4, False)
        buffer.write(first)
        buffer.write(second)
        assert buffer.next_range(1 << 20, NO_LIMIT) == (4, len(first) + len(second), False)
        assert buffer._chunks == ([b"sent", first, second] if len(first) == SMALL_WRITE else [b"sent", first + second])
        joined = b"".join(map(bytes, buffer.slices(4, len(first) + len(second), PACKET)))
        assert joined == first + second
        assert bytes(buffer.slices(0, 4, PACKET)[0]) == b"sent"


def test_a_stream_that_ends_by_other_means_sends_its_data_and_no_fin() -> None:
    buffer = SendBuffer()
    buffer.write(bytes(100))
    buffer.finish()
    buffer.finish_elsewhere()
    assert (buffer.fin_pending, buffer.finished) == (False, False)
    assert buffer.next_range(PACKET, NO_LIMIT) == (0, 100, False)
    assert not buffer.can_send(NO_LIMIT)
    buffer.on_acked(0, 100, False)
    assert buffer.finished
    with pytest.raises(AssertionError):
        buffer.write(b"more")


def test_the_first_unacknowledged_bytes_are_repeated_as_far_as_they_were_sent() -> None:
    buffer = SendBuffer()
    buffer.write(bytes(10_000))
    assert buffer.next_range(6_000, NO_LIMIT) == (0, 6_000, False)
    buffer.on_acked(0, 2_000, False)
    buffer.repeat_first(1_500)
    assert buffer.next_range(PACKET, 0) == (2_000, PACKET, False)
    assert buffer.next_range(PACKET, 0) == (3_400, 100, False)
    buffer.repeat_first(100_000)
    assert buffer.next_range(TRAIN, 0) == (2_000, 4_000, False)
    assert not buffer.fin_pending


def test_a_lost_byte_goes_alone_and_none_goes_where_there_is_no_room() -> None:
    buffer = SendBuffer()
    buffer.write(bytes(100))
    assert buffer.next_range(PACKET, NO_LIMIT) == (0, 100, False)
    buffer.on_lost(10, 20, False)
    assert buffer.next_range(0, NO_LIMIT) is None
    assert buffer.next_range(1, 0) == (10, 1, False)
    assert buffer.lost == 9


def test_only_what_was_handed_out_is_cut_and_into_packets_of_some_size() -> None:
    buffer = SendBuffer()
    buffer.write(bytes(100_000))
    assert buffer.next_range(50_000, NO_LIMIT) == (0, 50_000, False)
    for offset, length, payload_size in ((40_000, 10_001, PACKET), (0, 10, 0)):
        with pytest.raises(AssertionError):
            buffer.slices(offset, length, payload_size)
    buffer.on_acked(0, 1_000, False)
    with pytest.raises(AssertionError):
        buffer.slices(999, 10, PACKET)


def test_a_stream_that_is_never_empty_keeps_no_trace_of_what_was_acknowledged() -> None:
    buffer = SendBuffer()
    for i in range(500):
        buffer.write(bytes(SMALL_WRITE))
        assert buffer.next_range(SMALL_WRITE, NO_LIMIT) == (i * SMALL_WRITE, SMALL_WRITE, False)
        if i:
            buffer.on_acked((i - 1) * SMALL_WRITE, i * SMALL_WRITE, False)
    assert len(buffer._chunks) <= 4


def flying(packets: int, size: int = 10, *, fin: bool = False) -> SendBuffer:
    """A stream of `packets` packets, all of them sent, and `size` bytes that were not."""
    buffer = SendBuffer()
    buffer.write(pattern(0, packets * size))
    if fin:
        buffer.finish()
    assert buffer.next_range(packets * size, NO_LIMIT) == (0, packets * size, fin)
    if not fin:
        buffer.write(pattern(packets * size, size))
    return buffer


def described(buffer: SendBuffer) -> tuple[object, ...]:
    told = (buffer.acked_up_to, buffer.lost, buffer.pending, buffer.pieces, buffer.fin_pending, buffer.finished)
    return (*told, list(buffer._lost), list(buffer._acked))


@given(data=st.data(), fin=st.booleans())
@settings(max_examples=200, deadline=None)
def test_ranges_at_once_change_what_they_change_one_by_one(data: st.DataObject, fin: bool) -> None:
    """Whatever overlaps, is repeated, is empty, or was resolved before."""
    one_by_one, at_once = flying(8, 3, fin=fin), flying(8, 3, fin=fin)
    offsets = st.integers(0, 24)
    ranges = st.tuples(offsets, offsets, st.booleans()).map(
        lambda drawn: (min(drawn[:2]), max(drawn[:2]), fin and drawn[2] and max(drawn[:2]) == 24)
    )
    for lost, some in data.draw(st.lists(st.tuples(st.booleans(), st.lists(ranges, max_size=6)), max_size=6)):
        for item in some:
            (one_by_one.on_lost if lost else one_by_one.on_acked)(*item)
        (at_once.on_lost_all if lost else at_once.on_acked_all)(some)
        assert described(at_once) == described(one_by_one)
    assert send_all(at_once) == send_all(one_by_one)


def test_ranges_acknowledged_at_once_close_gaps_and_are_not_sent_again() -> None:
    buffer = flying(6)
    buffer.on_lost_all([(0, 10, False), (20, 30, False), (40, 50, False)])
    assert (buffer.lost, buffer.pieces) == (30, 4)
    buffer.on_acked_all([(20, 30, False), (40, 50, False)])
    assert (buffer.acked_up_to, buffer.lost, list(buffer._acked)) == (0, 10, [(20, 30), (40, 50)])
    buffer.on_acked_all([(0, 10, False), (10, 20, False), (50, 60, False)])
    assert (buffer.acked_up_to, buffer.lost, list(buffer._acked)) == (30, 0, [(40, 60)])
    buffer.on_acked_all([(30, 40, False), (0, 10, False)])
    assert (buffer.acked_up_to, buffer.buffered, list(buffer._acked)) == (60, 10, [])
    assert buffer.next_range(PACKET, NO_LIMIT) == (60, 10, False)


def test_what_follows_a_range_behind_a_gap_joins_it_and_each_is_news_once() -> None:
    buffer = flying(6)
    assert [buffer.on_acked(at, at + 10, False) for at in (20, 30, 0, 10, 40, 40)] == [10, 10, 10, 10, 10, 0]
    buffer = flying(6)
    for at in (20, 30):
        buffer.on_acked(at, at + 10, False)
    assert list(buffer._acked) == [(20, 40)]


def test_a_stream_that_was_all_acknowledged_goes_on() -> None:
    buffer = SendBuffer()
    for at in range(0, 200, 20):
        for offset in (at, at + 10):
            buffer.write(pattern(offset, 10))
            assert buffer.next_range(PACKET, NO_LIMIT) == (offset, 10, False)
        assert b"".join(buffer.slices(at, 20, 7)) == pattern(at, 20)
        assert list(map(bytes, buffer.payloads([at + 5, at + 12], 7))) == [pattern(at + 5, 7), pattern(at + 12, 7)]
        buffer.on_acked(at, at + 20, False)
        assert buffer.buffered == 0


def test_packets_that_end_with_their_chunks_are_all_views_and_there_is_no_empty_one() -> None:
    writes = [pattern(at, SMALL_WRITE) for at in range(0, 3 * SMALL_WRITE, SMALL_WRITE)]
    buffer = queue_all(writes)
    payloads = buffer.slices(0, 3 * SMALL_WRITE, 1024)
    assert [len(payload) for payload in payloads] == [1024] * (3 * SMALL_WRITE // 1024)
    assert all(any(memoryview(payload).obj is data for data in writes) for payload in payloads)


def test_a_bare_fin_among_ranges_acknowledged_at_once_is_no_range() -> None:
    buffer = flying(3)
    buffer.finish()
    assert buffer.next_range(PACKET, NO_LIMIT) == (30, 10, True)
    buffer.on_acked_all([(10, 20, False), (40, 40, True)])
    assert (list(buffer._acked), buffer.fin_acked, buffer.finished) == ([(10, 20)], True, False)
    buffer.on_acked_all([(0, 10, False), (20, 40, False)])
    assert buffer.finished
    buffer.on_acked_all([(20, 40, False), (40, 40, True)])
    assert buffer.finished


def test_only_what_was_sent_can_be_resolved_one_by_one_or_at_once() -> None:
    good = (0, 10, False)
    for wrong in ((20, 31, False), (40, 50, False)):
        for ranges in ([wrong], [good, wrong], [wrong, good]):
            for resolve in (SendBuffer.on_acked_all, SendBuffer.on_lost_all):
                with pytest.raises(AssertionError):
                    resolve(flying(3), ranges)
    for resolve_one in (SendBuffer.on_acked, SendBuffer.on_lost):
        with pytest.raises(AssertionError):
            resolve_one(flying(3), 20, 10, False)
        with pytest.raises(AssertionError, match="the fin was never sent"):
            resolve_one(flying(3), 20, 30, True)
        resolve_one(flying(3), 30, 30, False)


def test_ranges_of_a_reset_stream_change_nothing() -> None:
    for ranges in ([(0, 10, False), (20, 30, False)], [(0, 10, False)], [(20, 30, False), (30, 30, True)]):
        buffer = flying(3)
        buffer.reset()
        before = described(buffer)
        buffer.on_lost_all(ranges)
        buffer.on_acked_all(ranges)
        assert described(buffer) == before == (30, 0, 0, 0, False, False, [], [])


def test_what_is_acknowledged_is_no_more_lost_at_once_than_one_by_one() -> None:
    buffer = flying(6)
    buffer.on_acked_all([(0, 10, False), (24, 26, False)])
    buffer.on_lost_all([(5, 15, False), (20, 30, False), (50, 60, False)])
    assert list(buffer._lost) == [(10, 15), (20, 24), (26, 30), (50, 60)]
    assert buffer.lost == 23


def test_scattered_packets_go_lowest_first_and_no_more_than_asked() -> None:
    buffer = flying(12)
    buffer.on_lost_all([(80, 110, False), (0, 10, False), (30, 50, False)])
    assert buffer.next_scattered(10, 0) == []
    assert buffer.next_scattered(10, 2) == [0, 30]
    assert (buffer.lost, list(buffer._lost)) == (40, [(40, 50), (80, 110)])
    assert buffer.next_scattered(10, 3) == [40, 80, 90]
    assert (buffer.lost, list(buffer._lost)) == (10, [(100, 110)])
    # A single range is a run, as any other.
    assert buffer.next_scattered(10, 3) == []
    assert buffer.next_range(PACKET, 0) == (100, 10, False)
    assert not buffer.lost


def test_of_scattered_ranges_all_may_go() -> None:
    buffer = flying(6)
    buffer.on_lost_all([(0, 10, False), (20, 40, False)])
    assert buffer.next_scattered(10, 3) == [0, 20, 30]
    assert (buffer.lost, buffer.pieces) == (0, 1)
    assert buffer.next_scattered(10, 3) == []


def test_a_range_that_is_no_whole_packets_ends_the_scattered_ones() -> None:
    buffer = flying(9)
    buffer.on_lost_all([(0, 10, False), (20, 35, False), (50, 60, False)])
    assert buffer.next_scattered(10, 9) == [0]
    assert buffer.next_scattered(10, 9) == []
    assert buffer.next_range(10, 0) == (20, 10, False)
    assert buffer.next_range(10, 0) == (30, 5, False)
    assert buffer.next_range(10, 0) == (50, 10, False)
    assert buffer.next_range(10, 0) is None


def test_scattered_packets_begin_anywhere_and_may_have_one_byte() -> None:
    buffer = flying(9)
    buffer.on_lost_all([(3, 13, False), (26, 46, False), (58, 59, False)])
    assert buffer.next_scattered(10, 9) == [3, 26, 36]
    buffer.on_lost_all([(0, 1, False), (4, 6, False)])
    offsets = buffer.next_scattered(1, 9)
    assert offsets == [0, 4, 5, 58]
    assert b"".join(buffer.payloads(offsets, 1)) == bytes(pattern(0, 90)[at] for at in offsets)


def test_the_fin_rides_on_no_scattered_packet() -> None:
    buffer = flying(5, fin=True)
    buffer.on_lost_all([(0, 10, False), (20, 30, False), (40, 50, True)])
    assert buffer.next_scattered(10, 9) == [0, 20]
    assert buffer.next_range(10, 0) == (40, 10, True)
    # Lost without the fin, which is on its way, the last packet is as any other.
    buffer.on_lost_all([(0, 10, False), (40, 50, False)])
    assert buffer.next_scattered(10, 9) == [0, 40]
    assert not buffer.fin_pending


def test_scattered_packets_are_views_but_where_they_straddle_chunks() -> None:
    """From a chunk's first byte, to its last one, and across one, two and three ends."""
    sizes = (SMALL_WRITE, SMALL_WRITE + 1, 5, SMALL_WRITE)
    writes = [pattern(100_000 * i, size) for i, size in enumerate(sizes)]
    buffer = SendBuffer()
    for data in writes:
        buffer.write(data)
    assert len(send_all(buffer, NO_LIMIT)) == 1
    whole = b"".join(writes)
    first, second, third = SMALL_WRITE, 2 * SMALL_WRITE + 1, 2 * SMALL_WRITE + 6
    offsets = [0, 100, first - 20, first - 10, first, first + 10, first + 25, second - 3, third, third + 12]
    payloads = buffer.payloads(offsets, 10)
    assert list(map(bytes, payloads)) == [whole[at : at + 10] for at in offsets]
    owners = [memoryview(payload).obj for payload in payloads]
    sources = [[data is owner for data in writes] for owner in owners]
    assert [source.index(True) for source in sources if any(source)] == [0] * 4 + [1] * 3 + [3] * 2
    offsets = [first - 9, first + 1, second - 1]
    assert list(map(bytes, buffer.payloads(offsets, 10))) == [whole[at : at + 10] for at in offsets]
    # When earlier chunks are gone.
    buffer.on_acked(0, first + 30, False)
    offsets = [first + 30, second - 5, third + 10]
    assert list(map(bytes, buffer.payloads(offsets, 10))) == [whole[at : at + 10] for at in offsets]
    assert buffer.payloads([], 10) == []


def test_cost_of_ranges_at_once_is_a_few_lines_each() -> None:
    def per_range(count: int) -> tuple[int, int]:
        buffer = flying(2 * count)
        ranges = [(at, at + 10, False) for at in range(10, 20 * count, 20)]

        def work() -> None:
            buffer.on_lost_all(ranges)
            assert len(buffer.next_scattered(10, count)) == count
            buffer.on_acked_all(ranges)

        offsets = [at for at, _, _ in ranges]
        cutting = steps(lambda: buffer.payloads(offsets, 10))
        return steps(work), cutting

    few, many = per_range(100), per_range(1_100)
    assert many[0] - few[0] <= 1_000 * 15
    assert many[1] - few[1] <= 1_000 * 4
