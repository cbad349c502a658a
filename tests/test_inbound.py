"""What arrives, packet by packet: acknowledged once taken, refused without harm, told in types when it is wrong."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from rudp import wire
from rudp.config import Config
from rudp.errors import ConnectionAborted, ConnectionReset, ErrorCode
from rudp.receive_buffer import FRAGMENT_OVERHEAD, LEAST_FRAGMENT_SPACE
from tests.core_pair import CLIENT, SERVER, Datagram, Pair, read_all


def inject(pair: Pair, payload: bytes, number: int, *, canonical: bool = False) -> None:
    """A DATA packet of the client's, made by hand."""
    header = wire.data_header(wire.data_type(canonical=canonical), pair.server.id, number)
    packet = bytearray(header + payload)
    pair.endpoints["server"].receive(memoryview(packet), len(packet), CLIENT, SERVER, 0, pair.now)
    pair.flush()


def received(pair: Pair) -> list[tuple[int, int]]:
    return list(pair.server._received.ranges)


class TestMalformed:
    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\xff",
            bytes([0x31]),
            wire.encode_frame(wire.MaxData(5))[:-1],
            wire.encode_frame(wire.Ping()) + b"\x7f",
        ],
        ids=["no frame", "unknown frame", "reserved frame", "cut short", "rubbish behind"],
    )
    def test_ends_in_an_encoding_error_on_both_sides(self, payload: bytes) -> None:
        pair = Pair()
        inject(pair, payload, 100)
        pair.run(0.1)
        errors = pair.errors()
        assert isinstance(errors["server"], ConnectionAborted)
        assert errors["server"].code == ErrorCode.FRAME_ENCODING_ERROR
        assert isinstance(errors["client"], ConnectionReset)
        assert errors["client"].code == ErrorCode.FRAME_ENCODING_ERROR

    def test_an_acknowledgement_of_what_was_never_sent(self) -> None:
        pair = Pair()
        inject(pair, wire.encode_frame(wire.Ack(1000, 0.0, ((1000, 1001),), None)), 100)
        pair.run(0.1)
        error = pair.errors()["server"]
        assert isinstance(error, ConnectionAborted)
        assert error.code == ErrorCode.PROTOCOL_VIOLATION

    def test_frames_before_the_malformed_one_do_no_harm(self) -> None:
        pair = Pair()
        good = wire.encode_frame(wire.Stream(0, 0, b"abc", False))
        inject(pair, good + b"\xff", 100)
        assert pair.errors()


class TestDuplicates:
    def test_a_packet_counts_once(self) -> None:
        pair = Pair()
        usual = pair.fate
        pair.fate = lambda datagram: usual(datagram) * 3
        data = Random(1).randbytes(300_000)
        pair.client.send(0, data, fin=True)
        got = b""
        while not pair.server.at_eof(0):
            assert pair.step(pair.now + 5)
            got += read_all(pair.server, 0)
            pair.check()
        assert got == data
        stats = pair.server.stats(pair.now)
        assert stats.packets_duplicate >= 2 * (300_000 // 1472)
        assert stats.stream_bytes_received == 300_000


class TestBufferFull:
    def test_what_memory_has_no_room_for_stays_unacknowledged_and_comes_again(self) -> None:
        pair = Pair()
        fragments = LEAST_FRAGMENT_SPACE // FRAGMENT_OVERHEAD
        stream = pair.server._streams.find(0)
        assert stream is not None
        assert stream.receive is not None
        stream.receive.window = 0
        # Every second byte: each is a fragment of its own.
        first = 10
        for index in range(fragments + 20):
            inject(pair, wire.encode_frame(wire.Stream(0, 2 * index + 1, b"x", False)), first + index)
        assert stream.receive.fragments <= fragments
        refused = pair.server._counters.packets_refused
        assert refused >= 20
        last = first + fragments + 19
        assert not pair.server._received.ranges.contains(last)
        highest = stream.receive.highest
        assert pair.server._streams.received_highest == highest
        # The bytes between make room, and what was refused is taken under a new number.
        inject(pair, wire.encode_frame(wire.Stream(0, 0, b"y" * highest, False)), last + 1)
        inject(pair, wire.encode_frame(wire.Stream(0, 2 * (fragments + 19) + 1, b"x", False)), last + 2)
        assert pair.server._received.ranges.contains(last + 2)
        assert len(read_all(pair.server, 0)) == highest
        pair.check()

    def test_of_a_run_with_gaps_what_there_was_room_for_is_counted(self) -> None:
        """Credit and the end of the connection are reckoned from these sums, of what one packet after the other left.
        """
        pair = Pair()
        others = [pair.client.open_stream() for _ in range(2)]
        pair.flush()
        most = LEAST_FRAGMENT_SPACE // FRAGMENT_OVERHEAD + 1
        pair.server._streams._fragments.window = 0
        for index in range(most):
            inject(pair, wire.encode_frame(wire.Stream(others[index % 2], index | 1, b"x", False)), 10 + index)
        before = pair.server._streams.received_highest
        # The first goes on where nothing is missing; behind it is a gap, for which there is no room.
        size, first = 600, 10 + most
        packets = bytearray()
        for number, offset in ((first, 0), (first + 1, 10 * size)):
            head = wire.canonical_headers(pair.server.id, number, 1, 0, offset, size, False)[0]
            packets += head + bytes(size)
        view = memoryview(packets)
        pair.endpoints["server"].receive(view, len(packets) // 2, CLIENT, SERVER, 0, pair.now)
        assert pair.server._received.ranges.contains(first)
        assert not pair.server._received.ranges.contains(first + 1)
        assert pair.server._streams.received_total == size
        assert pair.server._streams.received_highest == before + size


class TestAnySplitOfABuffer:
    @pytest.mark.parametrize("seed", range(10))
    def test_leaves_the_same_state(self, seed: int) -> None:
        """Merged as GRO may or one by one: the same packets accepted, the same bytes read."""
        outcomes = []
        for merge in (False, True):
            pair = Pair(seed=seed, merge=merge)
            random = Random(seed)

            def fate(datagram: Datagram, pair: Pair = pair, random: Random = random) -> list[tuple[float, bytes]]:
                delay = pair.delay + random.choice([0.0, 0.0, 0.0, 0.001])
                return [] if random.random() < 0.1 else [(delay, datagram.data)]

            data = Random(seed).randbytes(8_000)
            pair.client.send(0, data)
            pair.client.send(pair.client.open_stream(), data, fin=True)
            pair.fate = fate
            pair.flush()
            pair.deliver(pair.now + 0.0115)
            streams: Any = pair.server._streams
            outcomes.append(
                (received(pair), streams.received_total, streams.received_highest, read_all(pair.server, 0))
            )
        assert outcomes[0] == outcomes[1]


class TestCorruption:
    def test_a_damaged_packet_is_as_good_as_lost(self) -> None:
        pair = Pair(client=Config(protection="crc32"))
        random = Random(3)

        def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
            data = bytearray(datagram.data)
            if random.random() < 0.1:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            return [(pair.delay, bytes(data))]

        pair.fate = fate
        data = Random(4).randbytes(400_000)
        pair.client.send(0, data, fin=True)
        got = b""
        while not pair.server.at_eof(0):
            assert pair.step(pair.now + 20)
            got += read_all(pair.server, 0)
            pair.check()
        assert got == data
        assert pair.server.stats(pair.now).datagrams_corrupt > 0
        assert pair.errors() == {}
