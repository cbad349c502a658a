"""Each lossy scenario by both ways of recovery: by what later packets show, and by the probe timeout alone."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from rudp import wire
from rudp.events import Terminated
from tests.core_pair import Datagram, Pair, read_all

Loser = Callable[[Datagram, Random], bool]


def at_random(datagram: Datagram, random: Random) -> bool:
    return random.random() < 0.1


def in_bursts(datagram: Datagram, random: Random) -> bool:
    return int(datagram.time * 200) % 8 == 0


def data_only(datagram: Datagram, random: Random) -> bool:
    return datagram.sender == "client" and random.random() < 0.2


def acks_only(datagram: Datagram, random: Random) -> bool:
    return datagram.sender == "server" and random.random() < 0.5


def credit_and_acks(datagram: Datagram, random: Random) -> bool:
    credit = any(isinstance(frame, wire.MaxData | wire.MaxStreamData) for frame in datagram.frames())
    return datagram.sender == "server" and (credit or random.random() < 0.2) and random.random() < 0.7


def a_black_hole(datagram: Datagram, random: Random) -> bool:
    return 0.1 < datagram.time < 2.1


SCENARIOS: list[Loser] = [at_random, in_bursts, data_only, acks_only, credit_and_acks, a_black_hole]


def lossy(loser: Loser, seed: int) -> Pair:
    pair = Pair(seed=seed)
    random = Random(seed)

    def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
        return [] if loser(datagram, random) else [(pair.delay, datagram.data)]

    pair.fate = fate
    return pair


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loser", SCENARIOS, ids=lambda loser: loser.__name__)
class TestBothWays:
    def test_bulk_by_what_later_packets_show(self, loser: Loser, seed: int) -> None:
        print(f"seed {seed}")
        pair = lossy(loser, seed)
        data = Random(seed).randbytes(1 << 20)
        pair.client.send(0, data, fin=True)
        got = b""
        while not pair.server.at_eof(0):
            assert pair.step(60.0)
            got += read_all(pair.server, 0)
            pair.check()
        assert got == data
        if loser not in (acks_only, credit_and_acks):
            assert pair.client.stats(pair.now).packets_lost > 0

    def test_one_small_message_at_a_time_by_the_probe_timeout(self, loser: Loser, seed: int) -> None:
        """Nothing follows a message, or its acknowledgement, that could show its loss: the probe timeout must."""
        print(f"seed {seed}")
        pair = lossy(loser, seed)
        got = b""
        probes = 0
        for index in range(60):
            message = f"message {index};".encode()
            pair.client.send(0, message)
            expected = got + message
            while got != expected or pair.client.buffered(0):
                assert pair.step(120.0)
                got += read_all(pair.server, 0)
                probes = max(probes, pair.client._recovery.pto_count)
                pair.check()
        assert probes > 0

    def test_request_and_answer_on_streams_of_their_own(self, loser: Loser, seed: int) -> None:
        print(f"seed {seed}")
        pair = lossy(loser, seed)
        for index in range(20):
            stream_id = pair.client.open_stream()
            pair.client.send(stream_id, b"?" * (index * 97), fin=True)
            asked = answer = b""
            replied = False
            while not pair.client.at_eof(stream_id):
                assert pair.step(120.0)
                if not replied:
                    asked += read_all(pair.server, stream_id)
                    if pair.server._streams.holds(stream_id) and pair.server.at_eof(stream_id):
                        pair.server.send(stream_id, asked.replace(b"?", b"!"), fin=True)
                        replied = True
                answer += read_all(pair.client, stream_id)
                pair.check()
            assert answer == b"!" * (index * 97)
        pair.fate = lambda datagram: [(pair.delay, datagram.data)]
        pair.run(3.0)
        assert pair.client.stats(pair.now).streams_open <= 1

    def test_closing(self, loser: Loser, seed: int) -> None:
        print(f"seed {seed}")
        pair = lossy(loser, seed)
        data = Random(seed).randbytes(50_000)
        pair.client.send(0, data)
        pair.client.send_eof()
        got = b""
        while not pair.server.at_eof(0):
            assert pair.step(60.0)
            got += read_all(pair.server, 0)
        assert got == data
        pair.client.close()
        pair.server.close()
        pair.until(lambda: len(pair.errors()) == 2, 120.0)
        ends: list[Any] = [event.error for side in pair.events for event in pair.of(side, Terminated)]
        assert ends == [None, None]


@pytest.mark.parametrize("more", [False, True])
def test_probes_repeat_the_oldest_and_carry_what_waits(more: bool) -> None:
    """RFC 9002 section 6.2.4: the one repairs what was lost, the other isn't sent in vain if nothing was."""
    pair = Pair()
    pair.client.send(0, bytes(2_000))
    pair.run(1.0)
    pair.fate = lambda datagram: []
    start = pair.now
    # The initial window is ten packets.
    pair.client.send(0, bytes(50_000 if more else 5_000))
    pair.until(lambda: pair.client._recovery.pto_count > 0)
    sent = [datagram for datagram in pair.log if datagram.sender == "client" and datagram.time >= start]
    flight = streams_in(pair, [datagram for datagram in sent if datagram.time < pair.now])
    probes = [datagram for datagram in sent if datagram.time == pair.now]
    repeated = streams_in(pair, probes)
    # A probe's own frames leave less room than a full packet of data had: the rest of the two makes a third.
    assert len(probes) == (2 if more else 3)
    assert repeated[0].offset == flight[0].offset
    if more:
        assert end_of(repeated) > end_of(flight)
    else:
        assert end_of(repeated) == end_of(flight[:2])


def streams_in(pair: Pair, datagrams: list[Datagram]) -> list[wire.Stream]:
    frames = [frame for datagram in datagrams for frame in datagram.frames(pair.overhead)]
    return [frame for frame in frames if isinstance(frame, wire.Stream)]


def end_of(frames: list[wire.Stream]) -> int:
    return max(frame.offset + len(frame.data) for frame in frames)


def test_a_probe_carries_what_fills_the_gap() -> None:
    """The receiver took nothing more beyond the gap, and what would fill it isn't the oldest packet on its way."""
    pair = Pair()
    sent: list[int] = []
    probed: list[float] = []

    def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
        if pair.client.stats(pair.now).pto_count:
            probed.append(pair.now)
        if datagram.sender == "server" or not datagram.is_data:
            return [(pair.delay, datagram.data)]
        sent.append(datagram.number)
        # The first is lost, the next five tell so, and nothing that is sent before the probe timeout arrives.
        return [(pair.delay, datagram.data)] if 2 <= len(sent) <= 6 or probed else []

    pair.fate = fate
    pair.client.send(0, bytes(30_000))
    pair.run(2.0)
    assert pair.client.stats(pair.now).packets_lost
    assert pair.sent("client", wire.Stream, probed[0])[0].offset == 0
    assert len(read_all(pair.server, 0)) == 30_000
