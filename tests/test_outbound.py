"""What leaves, when and in which order: acknowledgements, probes, turns, over a pair in memory."""

from __future__ import annotations

from typing import Any

import pytest

from rudp import wire
from rudp.config import Config
from rudp.outbound import ack_threshold
from tests.core_pair import CLIENT, SERVER, Datagram, Pair, read_all

PAYLOAD = 1200 - wire.CANONICAL_HEADER_SIZE


def in_flight(pair: Pair, side: str = "client") -> int:
    connection: Any = getattr(pair, side)
    size: int = connection._recovery.sent_packets.bytes_in_flight
    return size


def streams_of(datagram: Datagram) -> list[int]:
    return [frame.stream_id for frame in datagram.frames() if isinstance(frame, wire.Stream)]


class TestAcknowledging:
    def test_one_acknowledgement_a_buffer_at_most(self) -> None:
        pair = Pair()
        pair.buffers["server"] = 0
        pair.client.send(0, bytes(3_000_000))
        pair.run(0.5)
        assert len(pair.sent("server", wire.Ack)) <= pair.buffers["server"] + 1

    def test_at_least_four_a_round_trip(self) -> None:
        pair = Pair(delay=0.05)
        pair.client.send(0, bytes(400_000))
        pair.run(0.3)
        start = pair.now
        while pair.now < start + 1.0:
            # An application that always has a little to send, all the time.
            pair.client.send(0, bytes(500))
            pair.run(0.004)
        acks = len(pair.sent("server", wire.Ack, since=start))
        assert acks >= 4 * 10 * 0.9, f"{acks} in ten round trips"

    def test_large_windows_ask_for_fewer(self) -> None:
        config = Config(protection="none", send_buffer=1 << 24, initial_receive_window=1 << 24)
        pair = Pair(client=config)
        pair.client.send(0, bytes(20_000_000))
        done = 0
        while done < 20_000_000:
            assert pair.step(pair.now + 10)
            done += len(read_all(pair.server, 0))
        asked = pair.sent("client", wire.AckFrequency)
        assert asked
        assert [frame.sequence for frame in asked] == sorted(frame.sequence for frame in asked)
        assert asked[-1].ack_eliciting_threshold > 10
        packets = sum(datagram.sender == "client" for datagram in pair.log)
        assert len(pair.sent("server", wire.Ack)) < packets / 20

    @pytest.mark.parametrize(
        ("packets", "rtt", "threshold"),
        [
            (0, 0.0, 2),
            (0, 0.01, 2),
            (160, 0.0039, 40),
            (160, 0.004, 40),
            (160, 0.006, 160 // 6),
            (160, 0.008, 20),
            (17_000, 0.0039, 17_000 // 4),
            (160, 0.2, 20),
            (255, 0.2, 31),
            (256, 0.2, 32),
            (1000, 0.2, 32),
            (17_000, 0.0, 17_000 // 4),
            (17_000, 0.004, 17_000 // 4),
            (17_000, 0.006, 17_000 // 6),
            (17_000, 0.008, 17_000 // 8),
            (17_000, 0.012, 17_000 // 8),
            (17_000, 0.024, 17_000 // 16),
            (17_000, 0.050, 17_000 // 32),
            (17_000, 0.2, 17_000 // 32),
            (17_000, 5.0, 17_000 // 32),
            (1 << 2000, 0.2, (1 << 32) - 1),
        ],
    )
    def test_long_paths_are_told_of_little_at_once(self, packets: int, rtt: float, threshold: int) -> None:
        """An eighth of the window, less where that lasts longer, though not few packets nor for more than 32 ACKs.

        Of a round trip of four grains of a timer and less a quarter, and no more ACKs than grains from there on.
        """
        assert ack_threshold(packets, rtt) == threshold

    @pytest.mark.parametrize(
        ("packets", "rtt", "threshold"),
        [
            (0, 0.01, 2),
            (160, 0.0025, 40),
            (160, 0.004, 160 // 6),
            (160, 0.008, 160 // 12),
            (160, 0.012, 15),
            (350, 0.012, 350 // 18),
            (160, 0.03, 20),
            (430, 0.05, 32),
            (17_000, 0.0025, 17_000 // 4),
            (17_000, 0.006, 17_000 // 9),
            (17_000, 0.012, 17_000 // 18),
            (17_000, 0.024, 17_000 // 20),
            (17_000, 0.2, 17_000 // 32),
        ],
    )
    def test_who_tells_queues_by_samples_has_more_on_near_paths(self, packets: int, rtt: float, threshold: int) -> None:
        """One in 0.65 ms, up to 20 a round trip, and none for fewer than ten packets; elsewhere as any other."""
        assert ack_threshold(packets, rtt, 20) == threshold

    @pytest.mark.parametrize("near", [0, 20])
    @pytest.mark.parametrize("packets", [160, 200, 207, 255, 256, 263, 17_000, 17_007])
    def test_no_small_change_of_the_rtt_is_news(self, packets: int, near: int) -> None:
        """Nor with one of the window: one that wavers about any RTT would have the frame sent each time."""
        for grains in range(1, 600):
            rtt = grains * 0.0005
            before = ack_threshold(packets, rtt * 0.95, near)
            after = ack_threshold(packets * 7 // 8, rtt * 1.05, near)
            assert before < after * 2, f"{rtt} s"
            assert after < before * 2, f"{rtt} s"

    def test_acknowledgements_do_not_ride_on_what_cannot_leave(self) -> None:
        """A writer that waits for its window doesn't answer every packet that comes with an ACK of its own."""
        pair = Pair(delay=0.1)
        pair.client.send(0, bytes(2_000_000))
        pair.run(0.001)
        assert in_flight(pair) > 10_000
        pair.run(0.05)
        start = pair.now
        for _ in range(40):
            pair.server.send(0, b"small")
            pair.run(0.001)
        pair.run(0.06)
        acks = pair.sent("client", wire.Ack, since=start)
        assert len(acks) < 20

    def test_who_only_acknowledges_asks_for_acknowledgement_once_a_round_trip(self) -> None:
        pair = Pair()
        start = pair.now
        for _ in range(200):
            pair.client.send(0, bytes(3000))
            pair.run(0.01)
            read_all(pair.server, 0)
        pings = pair.sent("server", wire.Ping, since=start)
        assert 10 <= len(pings) <= 110, "a hundred round trips"
        assert len(pair.server._received.ranges) <= 4
        assert pair.server._received.floor > pair.server._received.largest - 100

    def test_idle_peers_fall_silent(self) -> None:
        pair = Pair(client=Config(protection="none", idle_timeout=0.0))
        for _ in range(50):
            pair.client.send(0, bytes(3000))
            pair.server.send(0, bytes(2000))
            pair.run(0.005)
        pair.run(2.0)
        before = len(pair.log)
        pair.run(100.0)
        assert len(pair.log) == before


class TestProbes:
    def test_a_lost_tail_is_repeated_oldest_bytes_first(self) -> None:
        pair = Pair()
        pair.client.send(0, b"a" * 3000)
        sent: list[Datagram] = []
        usual = pair.fate

        def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
            if datagram.sender == "client" and streams_of(datagram):
                sent.append(datagram)
                return []
            return usual(datagram)

        pair.fate = fate
        pair.flush()
        first = len(sent)
        assert first == 3
        pair.until(lambda: len(sent) > first)
        probe = sent[first]
        frames = [frame for frame in probe.frames() if isinstance(frame, wire.Stream)]
        assert frames[0].offset == 0
        assert any(isinstance(frame, wire.ImmediateAck) for frame in probe.frames())
        repeated = sum(len(f.data) for d in sent[first:] for f in d.frames() if isinstance(f, wire.Stream))
        assert repeated <= 2 * PAYLOAD

    def test_a_probe_takes_the_oldest_data_before_other_streams_new_data(self) -> None:
        pair = Pair()
        old = pair.client.open_stream()
        pair.run(0.1)
        dead = True
        sent: list[Datagram] = []
        usual = pair.fate

        def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
            if datagram.sender == "client" and dead:
                sent.append(datagram)
                return []
            return usual(datagram)

        pair.fate = fate
        pair.client.send(old, b"o" * 500)
        pair.flush()
        # Other streams fill the window and have more to send.
        for _ in range(5):
            pair.client.send(pair.client.open_stream(), bytes(200_000))
        pair.flush()
        first = len(sent)
        pair.until(lambda: len(sent) > first)
        assert streams_of(sent[first])[0] == old

    @pytest.mark.parametrize("side", ["client", "server"])
    def test_a_spurious_retransmission_is_counted_and_harmless(self, side: str) -> None:
        """Packets overtaken by so many that they are declared lost, and that arrive after all."""
        pair = Pair()
        writer: Any = getattr(pair, side)
        reader: Any = getattr(pair, pair.other(side))
        count = 0

        def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
            nonlocal count
            # An ACK alone that comes late is not acknowledged for itself, so nobody learns that it came.
            count += datagram.sender == side and len(datagram.data) > 1_000
            return [(pair.delay + (0.015 if count % 50 == 0 else 0.0), datagram.data)]

        pair.fate = fate
        data = bytes(range(256)) * 4000
        writer.send(0, data, True)
        got = b""
        while len(got) < len(data):
            assert pair.step(pair.now + 10)
            got += read_all(reader, 0)
            pair.check()
        pair.run(1.0)
        assert got == data
        stats = writer.stats(pair.now)
        assert stats.packets_spurious > 0
        assert stats.packets_spurious == stats.packets_lost
        assert stats.stream_bytes_retransmitted > 0
        assert stats.packets_retransmitted > 0
        assert stats.stream_bytes_sent == len(data)
        assert reader.stats(pair.now).stream_bytes_received == len(data)


class TestPacketNumbers:
    def test_a_retransmission_has_a_number_of_its_own(self) -> None:
        pair = Pair()
        usual = pair.fate
        count = 0

        def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
            nonlocal count
            count += 1
            return [] if count % 5 == 0 else usual(datagram)

        pair.fate = fate
        pair.client.send(0, bytes(500_000), fin=True)
        pair.run(5.0)
        assert pair.client.stats(pair.now).packets_lost > 50
        for side in ("client", "server"):
            numbers = [d.number for d in pair.log if d.sender == side and d.is_data]
            assert numbers == sorted(set(numbers))


class TestTurns:
    def test_a_bulk_stream_does_not_starve_a_small_one(self) -> None:
        pair = Pair()
        bulk, small = pair.client.open_stream(), pair.client.open_stream()
        pair.client.send(bulk, bytes(5_000_000))
        pair.run(0.1)
        for _ in range(20):
            asked = pair.now
            pair.client.send(small, b"are you there?")
            pair.until(lambda: bool(pair.server.receive(small)), 5.0)
            read_all(pair.server, bulk)
            read_all(pair.server, 0)
            # One window is in flight before it, and at most one train of the other stream.
            assert pair.now - asked < 0.045
        assert pair.client.stats(pair.now).send_buffered > 0

    def test_equals_share_equally(self) -> None:
        pair = Pair()
        ids = [pair.client.open_stream() for _ in range(4)]
        for stream_id in ids:
            pair.client.send(stream_id, bytes(1_000_000))
        pair.until(lambda: sum(len(d.data) for d in pair.log) > 1_500_000)
        shares = dict.fromkeys(ids, 0)
        for frame in pair.sent("client", wire.Stream):
            if frame.stream_id in shares:
                shares[frame.stream_id] += len(frame.data)
        assert max(shares.values()) - min(shares.values()) <= 2 * 65_507

    def test_small_writes_of_many_streams_share_a_packet(self) -> None:
        pair = Pair()
        ids = [pair.client.open_stream() for _ in range(wire.MAX_FRAMES)]
        pair.run(0.1)
        before = len(pair.log)
        for stream_id in ids:
            pair.client.send(stream_id, b"twenty bytes of data")
        pair.flush()
        leaving = pair.log[before:]
        assert len(leaving) == 1
        assert sorted(streams_of(leaving[0])) == sorted(ids)

    def test_ten_thousand_streams_wait_without_cost_to_others(self) -> None:
        """No look at those that can't send: each train takes about as long as with one stream (counted, not timed)."""
        config = Config(protection="none", max_streams_uni=20_000)
        pair = Pair(client=config)
        ids = [pair.client.open_stream(True) for _ in range(10_000)]
        pair.run(1.0)
        turns = pair.client._streams.turns
        assert turns.ready_count == 0
        pair.client.send(ids[5000], bytes(1000))
        assert turns.ready_count == 1
        pair.run(0.1)
        assert pair.server.receive(ids[5000]) == bytes(1000)


class TestWindowTail:
    def test_the_last_bytes_of_a_window_carry_what_fits(self) -> None:
        pair = Pair(delay=0.2)
        recovery: Any = pair.client._recovery
        pair.client.send(0, bytes(100))
        pair.flush()
        room = 300
        recovery.congestion.congestion_window = recovery.sent_packets.bytes_in_flight + room
        before = len(pair.log)
        pair.client.send(0, bytes(200))
        pair.flush()
        assert len(pair.log) == before + 1
        pair.client.send(0, bytes(200))
        pair.flush()
        assert len(pair.log) == before + 1

    def test_nobody_wakes_up_for_what_is_left_of_a_window_and_too_little(self) -> None:
        pair = Pair(delay=0.2)
        recovery: Any = pair.client._recovery
        pair.client.send(0, bytes(100))
        pair.flush()
        assert 0 < recovery.congestion.congestion_window - in_flight(pair) < 10 * 1200
        pair.client.send(0, bytes(100_000))
        # The ACKs of what goes now will be on their way.
        pair.run(0.15)
        room = recovery.congestion.congestion_window - in_flight(pair)
        assert 0 < room < 1200
        assert pair.client.next_timeout() == recovery.next_timeout()


class TestAccounts:
    """A train is accounted for after it has been handed out: whatever comes next finds that done."""

    SENT = Config(protection="none", path_mtu_discovery=False)

    def handed_out(self) -> tuple[Pair, Any]:
        """A client that has handed out a packet, whose driver has asked for nothing since."""
        pair = Pair(client=self.SENT)
        assert in_flight(pair) == 0
        pair.client.send(0, bytes(100))
        train = next(pair.endpoints["client"].datagrams_to_send(pair.now))
        assert in_flight(pair) == 0, "the accounts come afterwards"
        return pair, train

    def test_figures_have_it(self) -> None:
        pair, train = self.handed_out()
        before = pair.client._counters.packets_sent
        stats = pair.client.stats(pair.now)
        assert stats.packets_sent == before + 1
        assert stats.bytes_in_flight == in_flight(pair) == train.size
        assert pair.client.stats(pair.now) == stats, "it is noted once"

    def test_so_has_the_next_train(self) -> None:
        pair, train = self.handed_out()
        pair.client.send(0, bytes(50))
        (other,) = pair.endpoints["client"].datagrams_to_send(pair.now)
        assert in_flight(pair) == train.size + other.size

    def test_so_has_its_acknowledgement(self) -> None:
        pair, train = self.handed_out()
        pair.now += 0.01
        server, client = pair.endpoints["server"], pair.endpoints["client"]
        server.receive(memoryview(b"".join(train.buffers)), train.size, CLIENT, SERVER, 0, pair.now)
        pair.now += 1.0
        server.handle_timeout(pair.now)
        (ack,) = server.datagrams_to_send(pair.now)
        assert in_flight(pair) == 0
        client.receive(memoryview(b"".join(ack.buffers)), ack.size, SERVER, CLIENT, 0, pair.now)
        assert in_flight(pair) == 0
        assert pair.client.is_open, "it is not one of a packet that was never sent"
        assert pair.client.send_buffered == 0

    def test_so_have_its_timers(self) -> None:
        pair, train = self.handed_out()
        due = pair.client.next_timeout()
        assert due is not None
        assert due <= pair.now + pair.client._recovery.rtt.probe_timeout()
        pair.client.handle_timeout(due)
        assert in_flight(pair) == train.size
        assert pair.client._recovery.pto_count == 1


class TestSeveralTrains:
    """A driver may leave off after any train, also of those that were made at once."""

    def opened(self) -> Pair:
        config = Config(protection="none", initial_receive_window=1 << 22, send_buffer=1 << 22)
        pair = Pair(client=config, server=config)
        recovery: Any = pair.client._recovery
        for size in (1000, 900_000):
            # The first lets the client say how often it wants to hear of a window that large.
            recovery.congestion.congestion_window = 1 << 20
            recovery.congestion.pacing_rate = None
            recovery.pacer.set_rate(None, 1200, pair.now)
            pair.client.send(0, bytes(size))
            if size == 1000:
                pair.run(0.2)
                assert read_all(pair.server, 0) == bytes(size)
        return pair

    def test_the_rest_comes_when_it_is_asked_for(self) -> None:
        pair = self.opened()
        endpoint: Any = pair.endpoints["client"]
        taken = []
        while endpoint.has_work:
            for train in endpoint.datagrams_to_send(pair.now):
                taken.append(b"".join(train.buffers))
                assert len(taken[-1]) == train.size
                break
        assert len(taken) > 8, "several times several"
        numbers: list[int] = []
        for data in taken:
            numbers += wire.read_headers(memoryview(data), 1200)[2]
        skipped = numbers[-1] + 1 - numbers[0] - len(numbers)
        assert numbers == sorted(set(numbers))
        assert skipped <= 1
        runs = [run for data in taken for run in wire.read_canonical(memoryview(data), 1200, 0)]
        stops = [offset + len(payload) for _, offset, payload, _ in runs]
        assert [offset for _, offset, _, _ in runs[1:]] == stops[:-1]
        assert stops[-1] == 901_000

    def test_an_acknowledgement_in_between_changes_nothing_about_the_rest(self) -> None:
        pair = self.opened()
        endpoint: Any = pair.endpoints["client"]
        first = next(endpoint.datagrams_to_send(pair.now))
        pair.endpoints["server"].receive(memoryview(b"".join(first.buffers)), 1200, CLIENT, SERVER, 0, pair.now)
        pair.run(1.0)
        assert read_all(pair.server, 0) == bytes(900_000)
        pair.check()

    def test_nothing_of_the_rest_follows_an_end(self) -> None:
        pair = self.opened()
        endpoint: Any = pair.endpoints["client"]
        next(endpoint.datagrams_to_send(pair.now))
        pair.client.abort(7, "enough")
        (last,) = endpoint.datagrams_to_send(pair.now)
        (close,) = Datagram(pair.now, "client", b"".join(last.buffers)).frames()
        assert isinstance(close, wire.Close)


@pytest.mark.parametrize("loses", [False, True])
def test_a_close_with_losses_to_mend_is_not_the_end(loses: bool) -> None:
    """Recovery is told that nothing follows what is in flight only if nothing does."""
    pair = Pair()
    usual, sent = pair.fate, []

    def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
        if datagram.sender == "client":
            sent.append(datagram)
        return [] if loses and len(sent) == 1 else usual(datagram)

    pair.fate = fate
    pair.client.send(0, bytes(8_000), fin=True)
    pair.flush()
    stream: Any = pair.client._streams.find(0)
    while not (stream.send.lost if loses else stream.send.acked_up_to):
        pair.now = pair._air[0][0]  # timers may wait: the first ACK would be repeated
        pair._arrive()
        if not stream.send.lost:
            pair.flush()
    pair.client.close()
    pair.flush()
    assert pair.client._closing.fin_queued
    assert pair.client._recovery.winding_up is not loses
    pair.run(1.0)
    assert len(read_all(pair.server, 0)) == 8_000
