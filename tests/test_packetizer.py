"""Trains from what is due: their sizes, numbers and records, held against what the receiver's codec reads."""

from __future__ import annotations

from itertools import chain, starmap
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rudp import packetizer as packetizer_module
from rudp import protection, wire
from rudp.config import Config
from rudp.control import ControlQueue
from rudp.events import Event
from rudp.packetizer import LARGE_PACKETS, MAX_SEGMENTS, MAX_TRAIN_SIZE, MAX_TRAINS, Packetizer, StreamRange
from rudp.sent_packets import SentTrain
from rudp.streams import Streams
from rudp.train import Buffer

SIZE = 1200
PLENTY = 1 << 30


class Packets(NamedTuple):
    """What the packetizer makes at once."""

    trains: list[list[Buffer]]
    number: int
    size: int
    fields: list[tuple[Any, ...]]

    @property
    def records(self) -> list[SentTrain]:
        """The records that are made of it."""
        return [SentTrain(*fields) for fields in self.fields]


class Sender:
    """Streams and a packetizer, without a connection."""

    def __init__(self, kind: str = "none", size: int = SIZE, credit: int = PLENTY) -> None:
        self.events: list[Event] = []
        self.control = ControlQueue()
        self.streams = Streams(Config(), self.control, self.events, is_client=True)
        self.streams.on_peer_parameters(
            wire.Parameters(
                initial_max_data=credit,
                initial_max_stream_data=PLENTY,
                initial_max_streams_bidi=1000,
                initial_max_streams_uni=1000,
            )
        )
        self.packetizer = Packetizer(7, protection.by_name(kind), size, self.streams.turns, self.control)

    def fill(self, allowance: int = PLENTY, **given: Any) -> Packets | None:
        given = {"ack": None, "urgent": []} | given
        made = self.packetizer.fill(1.0, allowance=allowance, **given)
        return made and Packets(*made)

    def train(self, allowance: int = PLENTY, **given: Any) -> Packets:
        packets = self.fill(allowance, **given)
        assert packets is not None
        self.check(packets)
        return packets

    def datagrams(self, packets: Packets) -> list[memoryview]:
        size = self.packetizer.datagram_size if packets.number > 1 else packets.size
        joined = memoryview(b"".join(chain.from_iterable(packets.trains)))
        return [joined[at : at + size] for at in range(0, len(joined), size)]

    def check(self, packets: Packets) -> None:
        """Records and bytes tell the same: numbers, sizes, content."""
        datagrams = self.datagrams(packets)
        assert len(datagrams) == packets.number == sum(record.count for record in packets.records)
        assert packets.size == sum(map(len, datagrams))
        assert len(packets.trains) <= MAX_TRAINS
        whole = self.packetizer.packets_per_train * self.packetizer.datagram_size
        if self.packetizer.packets_per_train == 1:
            assert len(packets.trains) == 1, "what goes by a call each goes together"
            whole *= packetizer_module.LARGE_PACKETS
        for buffers in packets.trains:
            size = sum(map(len, buffers))
            assert size == whole if buffers is not packets.trains[-1] else 0 < size <= whole
        index = 0
        for record in packets.records:
            for number in range(record.first, record.stop):
                piece = record.piece(number, number + 1)
                datagram = datagrams[index]
                index += 1
                assert wire.read_headers(datagram, len(datagram))[2] == (number,)
                assert piece.size == len(datagram)
                sent = [
                    (f.stream_id, f.offset, f.offset + len(f.data), f.fin) for f in self.frames(datagram, wire.Stream)
                ]
                if piece.stream_id >= 0:
                    assert sent == [(piece.stream_id, piece.offset, piece.end_offset, piece.fin)]
                else:
                    ranges = [tuple(frame) for frame in piece.frames if isinstance(frame, StreamRange)]
                    assert [item for item in sent if item in ranges] == ranges

    def frames(self, datagram: memoryview, kind: type = object) -> list[Any]:
        overhead = self.packetizer.protection.overhead
        if wire.DATA_TYPES[datagram[0]].canonical:
            found: list[Any] = list(starmap(wire.Stream, wire.read_canonical(datagram, len(datagram), overhead)))
        else:
            found = list(wire.decode_frames(datagram[wire.DATA_HEADER_SIZE : len(datagram) - overhead]))
        return [frame for frame in found if isinstance(frame, kind)]


def test_nothing_to_send_makes_no_train() -> None:
    assert Sender().fill() is None


@pytest.mark.parametrize("kind", ["none", "crc32"])
@pytest.mark.parametrize("size", [1200, 1400, 1472, 9000, 65507])
def test_bulk_fills_trains_to_the_brim(kind: str, size: int) -> None:
    sender = Sender(kind, size)
    sender.streams.write(0, bytes(1_000_000), False)
    packets = sender.train(MAX_TRAIN_SIZE)
    assert len(packets.trains) == 1
    assert packets.number == sender.packetizer.packets_per_train == min(MAX_SEGMENTS, MAX_TRAIN_SIZE // size)
    assert packets.size <= MAX_TRAIN_SIZE
    assert {len(datagram) for datagram in sender.datagrams(packets)} == {size}
    assert all(wire.DATA_TYPES[datagram[0]].canonical for datagram in sender.datagrams(packets))
    assert len(packets.records) == 1


@pytest.mark.parametrize("kind", ["none", "crc32"])
@pytest.mark.parametrize("size", [1200, 1472, 9000])
def test_a_stream_alone_gets_several_trains_with_one_record(kind: str, size: int) -> None:
    sender = Sender(kind, size)
    sender.streams.write(0, bytes(3_000_000), False)
    packets = sender.train()
    assert len(packets.trains) == MAX_TRAINS
    assert [record.count for record in packets.records] == [packets.number]
    assert packets.number == MAX_TRAINS * sender.packetizer.packets_per_train


@pytest.mark.parametrize("kind", ["none", "crc32"])
@pytest.mark.parametrize("size", [32_754, 65_507])
def test_packets_of_which_no_two_fit_into_one_call_make_one_train(kind: str, size: int) -> None:
    sender = Sender(kind, size)
    sender.streams.write(0, bytes((LARGE_PACKETS + 1) * size), False)
    packets = sender.train()
    assert packets.number == LARGE_PACKETS
    assert [record.count for record in packets.records] == [LARGE_PACKETS]
    (buffers,) = packets.trains
    each = len(buffers) // LARGE_PACKETS
    sizes = [sum(map(len, buffers[at : at + each])) for at in range(0, len(buffers), each)]
    assert sizes == [size] * LARGE_PACKETS, "each packet lies in buffers of its own"


def test_what_would_leave_a_train_begun_waits_for_the_next_call() -> None:
    sender = Sender()
    sender.streams.write(0, bytes(1_000_000), False)
    train = sender.packetizer.packets_per_train
    assert sender.train((2 * train + 5) * SIZE).number == 2 * train
    assert sender.train((train + 5) * SIZE).number == train


@pytest.mark.parametrize("with_ack", [False, True])
def test_trains_made_at_once_are_of_the_streams_that_wait_by_turns(with_ack: bool) -> None:
    sender = Sender()
    waiting = [0, *[sender.streams.open(True) for _ in range(MAX_TRAINS // 2)]]
    for stream in waiting:
        sender.streams.write(stream, bytes(1_000_000), False)
    sender.control.pending = None
    packets = sender.train(ack=wire.Ack(9, 0.001, ((0, 10),), None) if with_ack else None)
    assert len(packets.trains) == MAX_TRAINS
    trains = sender.packetizer.packets_per_train
    records = packets.records[with_ack:]
    assert [record.stream_id for record in records] == [*waiting, *waiting][:MAX_TRAINS]
    assert [record.count for record in records] == [trains - with_ack] + [trains] * (MAX_TRAINS - 1)


def test_a_stream_that_has_less_than_a_train_is_left_to_the_next_call() -> None:
    sender = Sender()
    first, second = sender.streams.open(True), sender.streams.open(True)
    for stream, size in ((0, 1_000_000), (first, 30_000), (second, 1_000_000)):
        sender.streams.write(stream, bytes(size), False)
    sender.control.pending = None
    assert {record.stream_id for record in sender.train().records} == {0}
    assert {record.stream_id for record in sender.train().records} == {first}


@pytest.mark.parametrize("skip_at", [1, 53, 54, 55, 108, 109, 1000])
def test_no_train_begins_where_a_number_may_be_skipped(skip_at: int) -> None:
    sender = Sender()
    sender.streams.write(0, bytes(1_000_000), False)
    train = sender.packetizer.packets_per_train
    assert train == 54
    starts = range(0, sender.train(skip_at=skip_at).number, train)
    assert max(starts) < skip_at <= starts.stop or len(starts) == MAX_TRAINS


@given(
    writes=st.lists(st.integers(1, 300_000), min_size=1, max_size=6),
    allowances=st.lists(st.integers(0, 600_000), min_size=1, max_size=6),
    losses=st.lists(st.tuples(st.integers(0, 400_000), st.integers(1, 100_000)), max_size=4),
    first_skip=st.integers(1, 2000),
    with_ack=st.booleans(),
    streams=st.integers(1, 3),
    large=st.booleans(),
)
# What the first stream has left is a whole train but for a few bytes, and another stream has as much.
@example(
    writes=[125_929], allowances=[194_400], losses=[], first_skip=1, with_ack=False, streams=1, large=False
)
@example(
    writes=[1, 1, 72_290, 61_798],
    allowances=[9_600, 129_600],
    losses=[],
    first_skip=1,
    with_ack=False,
    streams=2,
    large=False,
)
def test_several_trains_are_what_one_call_each_makes(
    *,
    writes: list[int],
    allowances: list[int],
    losses: list[tuple[int, int]],
    first_skip: int,
    with_ack: bool,
    streams: int,
    large: bool,
) -> None:
    told = []
    limit, at_once = ("LARGE_PACKETS", LARGE_PACKETS) if large else ("MAX_TRAINS", MAX_TRAINS)
    for most in (1, at_once):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packetizer_module, limit, most)
            sender = Sender("none", 33_000) if large else Sender("crc32")
            ids = [0, *[sender.streams.open(True) for _ in range(streams - 1)]]
            for number, size in enumerate(writes):
                sender.streams.write(ids[number % streams], bytes([number + 1]) * size, False)
            trains: list[bytes] = []
            skip_at = first_skip
            ack = wire.Ack(9, 0.001, ((0, 10),), None) if with_ack else None
            for allowance in allowances:
                while (packets := sender.fill(allowance, ack=ack, skip_at=skip_at)) is not None:
                    ack = None
                    assert packets.number <= most * sender.packetizer.packets_per_train
                    sender.check(packets)
                    allowance -= packets.size
                    # Frames that others follow are padded to full size, and alone they aren't.
                    apart = [bytes(datagram).rstrip(b"\0") for datagram in sender.datagrams(packets)]
                    trains += apart if large else map(b"".join, packets.trains)
                    while sender.packetizer.next_packet_number >= skip_at:
                        skip_at += 700
                if losses:
                    start, length = losses[0]
                    stream = sender.streams.find(0)
                    assert stream is not None
                    sent = stream.send
                    assert sent is not None
                    if start < (stop := min(start + length, sent.sent_up_to)):
                        sender.streams.on_lost(0, [(start, stop, False)])
        told.append(trains)
    assert told[0] == told[1]


def test_the_allowance_bounds_a_train_in_whole_packets() -> None:
    sender = Sender()
    sender.streams.write(0, bytes(100_000), False)
    assert sender.train(5 * SIZE + 17).number == 5
    assert sender.fill(SIZE - 1) is None


def test_frames_open_the_first_packet_and_data_fills_it() -> None:
    sender = Sender()
    sender.streams.write(0, bytes(100_000), False)
    sender.control.put(wire.MaxData(5))
    ack = wire.Ack(9, 0.001, ((0, 10),), None)
    packets = sender.train(ack=ack, urgent=[wire.Ping()])
    first = sender.frames(sender.datagrams(packets)[0])
    assert [type(frame) for frame in first] == [wire.Ack, wire.Ping, wire.MaxData, wire.Stream]
    assert {len(datagram) for datagram in sender.datagrams(packets)[:-1]} == {SIZE}
    assert len(packets.records) == 2


def test_an_ack_goes_without_allowance_and_asks_for_nothing() -> None:
    sender = Sender()
    sender.streams.write(0, bytes(100_000), False)
    packets = sender.train(0, ack=wire.Ack(9, 0.001, ((0, 10),), None))
    assert packets.number == 1
    assert not packets.records[0].ack_eliciting
    assert not packets.records[0].in_flight


def test_scattered_losses_share_a_train() -> None:
    sender = Sender()
    sender.streams.write(0, bytes(500_000), False)
    record = sender.train(MAX_TRAIN_SIZE).records[0]
    lost = [record.piece(number, number + 1) for number in range(record.first, record.stop, 3)]
    for piece in lost:
        sender.streams.on_lost(0, [(piece.offset, piece.end_offset, piece.fin)])
    packets = sender.train(MAX_TRAIN_SIZE)
    again, new = packets.records
    ranges = [(start, stop) for start, stop, _ in again.ranges()]
    assert ranges == [(piece.offset, piece.end_offset) for piece in lost]
    assert (again.count, new.offset, new.count) == (len(lost), record.end_offset, packets.number - len(lost))
    assert packets.number == MAX_TRAIN_SIZE // SIZE, "new data fills the rest"
    joined = b"".join(packets.trains[0])
    runs = wire.read_canonical(memoryview(joined), SIZE, 0)
    assert [(offset, offset + len(data)) for _, offset, data, _ in runs][: len(lost)] == ranges


def test_a_short_range_ends_its_train() -> None:
    sender = Sender()
    sender.streams.write(0, bytes(20_000), False)
    sender.train()
    sender.streams.on_lost(0, [(100, 200, False), (5000, 10_000, False)])
    packets = sender.train()
    assert [(item.offset, item.end_offset) for item in packets.records] == [(100, 200)]
    rest = sender.train()
    assert [(item.offset, item.end_offset) for item in rest.records] == [(5000, 10_000)]


def test_small_writes_of_streams_share_a_packet_and_a_bulk_stream_goes_on() -> None:
    sender = Sender()
    ids = [sender.streams.open(True) for _ in range(5)]
    for stream_id in ids:
        sender.streams.write(stream_id, b"small", True)
    sender.streams.write(0, bytes(100_000), False)
    packets = sender.train()
    first = sender.frames(sender.datagrams(packets)[0], wire.Stream)
    assert [frame.stream_id for frame in first] == [*ids, 0]
    assert packets.records[1].stream_id == 0
    assert packets.number > 10


def test_a_stream_reset_in_its_turn_gives_way() -> None:
    sender = Sender()
    doomed = sender.streams.open(True)
    sender.streams.write(doomed, bytes(50_000), False)
    sender.streams.write(0, bytes(50_000), False)
    sender.streams.reset(doomed, 1)
    packets = sender.train()
    sent = {frame.stream_id for datagram in sender.datagrams(packets) for frame in sender.frames(datagram, wire.Stream)}
    assert sent == {0}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4000), st.booleans()), max_size=20),
    st.lists(st.integers(0, 20_000), max_size=10),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3999), st.integers(1, 2000)), max_size=10),
    st.booleans(),
)
def test_whatever_is_due_leaves_in_consistent_trains(
    writes: list[tuple[int, int, bool]], allowances: list[int], losses: list[tuple[int, int, int]], with_ack: bool
) -> None:
    sender = Sender("crc32")
    ids = [0, *(sender.streams.open(True) for _ in range(5))]
    ended = set()
    for index, size, fin in writes:
        if index not in ended:
            sender.streams.write(ids[index], bytes(size), fin)
            if fin:
                ended.add(index)
    ack = wire.Ack(9, 0.001, ((0, 10),), None) if with_ack else None
    number = 0
    for allowance in [*allowances, *[PLENTY] * 200]:
        packets = sender.fill(allowance, ack=ack if number == 0 else None)
        if packets is None:
            if allowance == PLENTY:
                break
            continue
        sender.check(packets)
        assert packets.records[0].first == number
        number = packets.records[-1].stop
        if losses:
            index, start, length = losses.pop()
            stream = sender.streams.find(ids[index])
            if stream is not None and stream.send is not None:
                stop = min(start + length, stream.send.sent_up_to)
                if start < stop:
                    sender.streams.on_lost(ids[index], [(start, stop, False)])
    else:
        raise AssertionError("there is no end of trains")
    assert sender.streams.turns.unsent == 0
    assert sender.streams.turns.ready_count == 0
    assert not sender.control


def test_what_needs_more_frames_than_a_packet_may_have_goes_in_several() -> None:
    sender = Sender(size=9000)
    ids = [sender.streams.open(False) for _ in range(3 * wire.MAX_FRAMES)]
    for stream_id in ids:
        sender.streams.write(stream_id, b"little", False)
    for number in range(40):
        sender.control.put(wire.StopSending(1 + 4 * number, 0))
    seen: list[int] = []
    while (packets := sender.fill()) is not None:
        sender.check(packets)
        for datagram in sender.datagrams(packets):
            found = wire.decode_frames(datagram[wire.DATA_HEADER_SIZE :]) if not datagram[0] & 1 else []
            seen += [frame.stream_id for frame in found if isinstance(frame, wire.Stream | wire.StopSending)]
            if datagram[0] & 1:
                seen += [stream_id for stream_id, *_ in wire.read_canonical(datagram, len(datagram), 0)]
    assert sorted(seen) == sorted([*ids, *range(1, 161, 4)])


def test_behind_a_stream_that_was_given_up_no_more_goes_than_there_is_room_for() -> None:
    """Found by the swarm: nothing waits on a stream that was reset, which fits; but behind it waited another."""
    sender = Sender(credit=1000)
    ids = [sender.streams.open(True) for _ in range(2)]
    for stream_id in ids:
        sender.streams.write(stream_id, bytes(5000), False)
    while sender.fill() is not None:
        pass
    # Credit for a part of what waits wakes one of the two.
    sender.streams.on_max_data(1511)
    first = sender.streams.turns.next_ready()
    assert first is not None
    sender.streams.reset(first.id, 0)
    sender.control.take(1000)
    assert sender.fill(268) is None
    packets = sender.train(SIZE)
    assert packets.size < SIZE
    assert sender.streams.turns.send_window.used == 1511


def test_the_end_of_a_stream_alone_goes_with_the_last_of_a_window() -> None:
    sender = Sender()
    sender.streams.write(0, b"all", False)
    sender.train()
    sender.streams.write(0, b"", True)
    assert sender.train(100).size < 100


def test_each_of_many_small_losses_needs_a_header_and_room_for_it() -> None:
    """Found by the swarm: room for all that waits was room for one header, and five ranges waited."""
    sender = Sender()
    sender.streams.write(0, bytes(700), False)
    sender.train()
    sender.streams.on_lost(0, [(start, start + 8, False) for start in range(100, 600, 100)])
    ack = wire.Ack(8, 0.0, ((0, 9),), None)
    size = len(wire.encode_ack(ack, 100))
    least = wire.DATA_HEADER_SIZE + 5 * (wire.STREAM_HEADER_SIZE + 8)
    assert sender.train(least - 1, ack=ack).size == wire.DATA_HEADER_SIZE + size
    packets = sender.train(least, ack=ack)
    assert packets.size == least + size
    assert sender.fill() is None
