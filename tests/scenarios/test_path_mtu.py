"""Path MTU discovery between real endpoints, through paths that silently drop what is too large."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from bench.simulated import Outcome, Pair
from rudp.config import Config
from rudp.path_mtu import BASE_PLPMTU, LOOPBACK_LIMIT, PMTU_RAISE_TIMER, SEARCH_STEP, PathMtu
from rudp.sim import Delay, Loss, Mtu, Node, Rate
from rudp.sim.node import Batch
from rudp.testing import invariants
from rudp.train import Train
from tests import core_pair
from tests.core_pair import Datagram, read_all
from tests.core_pair import Pair as CorePair
from tests.sender import Recorder

RATE = 2_000_000.0
QUEUE = 100_000
ONE_WAY = 0.025
IP_UDP = 28


class Shrinking(Node):
    """A path that carries packets of any size, and such of `mtu` bytes from `at` (seconds) on."""

    def __init__(self, at: float, mtu: int) -> None:
        super().__init__()
        self._at, self._largest = at, mtu - IP_UDP

    def process(self, batch: Batch) -> Batch:
        kept = [item for item in batch if item[0] < self._at or len(item[1].data) <= self._largest]
        self.received += len(batch)
        self.dropped += len(batch) - len(kept)
        return kept


def transfer(
    seed: int, hole: Node, *, loss: float = 0.0, size: int = 3_000_000, config: Config | None = None
) -> Outcome:
    forth = [Rate(RATE, QUEUE), hole, Loss(loss), Delay(ONE_WAY)]
    outcome = Pair(seed, forth=forth, back=[Loss(loss), Delay(ONE_WAY)], size=size, config=config).run()
    assert outcome.delivered == 1, outcome
    assert not outcome.problems
    return outcome


@pytest.mark.parametrize("loss", [0.0, 0.15])
@pytest.mark.parametrize("mtu", [1280, 1452, 1472, 1500, 9000])
def test_what_a_path_carries_is_found_with_and_without_loss(mtu: int, loss: float) -> None:
    """Loss goes both ways. Up to 9,000 only who says so searches."""
    config = Config(datagram_size_limit=65507 if mtu == 9000 else None)
    stats = transfer(mtu, Mtu(mtu), loss=loss, config=config).stats
    assert stats is not None
    truth = mtu - IP_UDP
    assert truth - SEARCH_STEP < stats.max_datagram_size <= truth, stats
    assert stats.path_mtu_black_holes == 0


def test_an_internet_path_is_not_asked_for_more_than_ethernet_has() -> None:
    stats = transfer(1, Mtu(65_000)).stats
    assert stats is not None
    assert stats.max_datagram_size == 1472
    assert stats.path_mtu_state == "SEARCH_COMPLETE"


@pytest.mark.parametrize("congestion", ["new_reno", "model"])
def test_lost_probes_cut_no_window_and_count_as_no_loss(congestion: str) -> None:
    """A line too fast and a queue too long for any other loss."""
    config = Config(congestion=congestion)
    hole = Mtu(1400)
    pair = Pair(1, forth=[hole, Delay(ONE_WAY)], back=[Delay(ONE_WAY)], size=40_000_000, config=config)
    stats = pair.run().stats
    assert stats is not None
    assert stats.path_mtu_probes_lost == hole.dropped > 3
    assert stats.packets_lost == stats.packets_retransmitted == 0
    assert stats.max_datagram_size == 1372
    assert congestion != "new_reno" or stats.ssthresh is None


@pytest.mark.parametrize("seed", [1, 2])
def test_loss_that_makes_windows_small_is_no_black_hole(seed: int) -> None:
    """With a window of a few packets a whole flight, and the probes after it, are often lost by chance."""
    stats = transfer(seed, Mtu(1500), loss=0.2, size=300_000, config=Config(congestion="cubic")).stats
    assert stats is not None
    assert (stats.path_mtu_black_holes, stats.max_datagram_size) == (0, 1472)


def test_a_window_that_loss_made_small_carries_packets_that_became_large() -> None:
    """A probe leaves while the window has room for it, and is acknowledged when it has none any more."""
    config = Config(datagram_size_limit=16000, congestion="new_reno")
    transfer(10, Mtu(20000), loss=0.2, size=400_000, config=config)


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize("mtu", [1280, 1400])
def test_a_black_hole_in_mid_transfer_is_left_within_some_probe_timeouts(mtu: int, loss: float) -> None:
    forth = [Rate(RATE, QUEUE), Shrinking(1.0, mtu), Loss(loss), Delay(ONE_WAY)]
    pair = Pair(3, forth=forth, back=[Loss(loss), Delay(ONE_WAY)], size=4_000_000)
    outcome = pair.run()
    assert outcome.delivered == 1, outcome
    stats = outcome.stats
    assert stats is not None
    assert 1 <= stats.path_mtu_black_holes <= 2
    assert BASE_PLPMTU <= stats.max_datagram_size <= mtu - IP_UDP
    silences = [later - earlier for (earlier, _), (later, _) in pairwise(pair.received_at)]
    # Two probe timeouts of 0.1 to 0.2 s, the second doubled, and what is in the queue.
    assert max(silences) < 1.0, max(silences)


def test_small_packets_that_pass_do_not_hide_a_black_hole() -> None:
    """Every 20 ms a small message, on its own stream, keeps the probe timeout from counting up."""
    pair = CorePair(
        client=Config(protection="none", max_streams_uni=1000), server=Config(max_streams_uni=1000, protection="none")
    )
    pair.client.send(0, bytes(200_000))
    pair.run(2.0)
    assert pair.client.stats(pair.now).max_datagram_size == 1472
    usual = pair.fate
    pair.fate = lambda datagram: usual(datagram) if len(datagram.data) <= 1300 else []
    read_all(pair.server, 0)
    pair.client.send(0, bytes(20_000), fin=True)
    for _ in range(100):
        stream = pair.client.open_stream(True)
        pair.client.send(stream, b"tick", fin=True)
        pair.run(0.02)
    assert len(read_all(pair.server, 0)) == 20_000
    assert pair.client.stats(pair.now).path_mtu_black_holes == 1


def sizes(pair: CorePair, since: float) -> set[int]:
    return {len(datagram.data) for datagram in pair.log if datagram.sender == "client" and datagram.time >= since}


def limited(pair: CorePair, mtu: list[int]) -> None:
    def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
        return [(pair.delay, datagram.data)] if len(datagram.data) <= mtu[0] - IP_UDP else []

    pair.fate = fate


def send(pair: CorePair, size: int) -> None:
    """Send so much, half a window at a time, and read it."""
    for at in range(0, size, 500_000):
        piece = min(500_000, size - at)
        pair.client.send(0, bytes(piece))
        pair.run(10.0)
        assert len(read_all(pair.server, 0)) == piece


def test_a_path_that_grew_is_asked_after_the_raise_timer_once_there_is_something_to_send() -> None:
    pair = CorePair(client=Config(protection="none", idle_timeout=0), server=Config(protection="none", idle_timeout=0))
    mtu = [1400]
    limited(pair, mtu)
    for _ in range(8):
        send(pair, 1_000_000)
    stats = pair.client.stats(pair.now)
    assert (stats.max_datagram_size, stats.path_mtu_state) == (1372, "SEARCH_COMPLETE")
    assert pair.endpoints["client"].next_timeout() is None, "an idle connection wakes nobody"
    mtu[0] = 1500
    before = pair.now
    send(pair, 1_000_000)
    assert pair.client.stats(pair.now).max_datagram_size == 1372
    pair.run(PMTU_RAISE_TIMER)
    assert max(sizes(pair, before)) == 1372, "nothing is probed without data"
    send(pair, 1_000_000)
    assert pair.client.stats(pair.now).max_datagram_size == 1472


def test_what_this_machine_refuses_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a VPN's interface: the right size is found in one instant."""
    pair = CorePair(client=Config(protection="none"))
    endpoint = pair.endpoints["client"]
    usual = endpoint.datagrams_to_send

    def refusing(now: float) -> Iterator[Train]:
        for train in usual(now):
            if train.segment_size <= 1392:
                yield train
            else:
                endpoint.on_datagram_too_big(train, now)

    monkeypatch.setattr(endpoint, "datagrams_to_send", refusing)
    send(pair, 100_000)
    stats = pair.client.stats(pair.now)
    assert (stats.max_datagram_size, stats.path_mtu_state) == (1392, "SEARCH_COMPLETE")
    assert stats.packets_lost == stats.path_mtu_black_holes == 0


@pytest.mark.parametrize("passes", [0, 1, 5])
def test_when_this_machine_s_limit_falls_what_was_made_for_the_old_goes_at_once_in_smaller_packets(
    monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    """Eight trains are made together: of those the first that is refused is the last, and nobody waits for any."""
    pair = CorePair(client=Config(protection="none", max_datagram_size=1472, congestion=Recorder))
    endpoint = pair.endpoints["client"]
    log: list[int] = []
    usual = endpoint.datagrams_to_send

    def refusing(now: float) -> Iterator[Train]:
        for train in usual(now):
            if train.segment_size <= 1400 or len(log) < passes:
                log.append(train.segment_size)
                yield train
            else:
                log.append(-train.segment_size)
                endpoint.on_datagram_too_big(train, now)
                invariants.check(pair.client)

    data = Random(passes).randbytes(900_000)
    monkeypatch.setattr(endpoint, "datagrams_to_send", refusing)
    pair.client.send(0, data)
    controller, began = pair.client._recovery.congestion, pair.now
    assert isinstance(controller, Recorder)
    pair.run(pair.delay)
    assert [size for size in log if size < 0] == [-1472], "once is enough"
    assert read_all(pair.server, 0) == data, "all in one flight"
    pair.run(1.0)
    pair.check()
    stats = pair.client.stats(pair.now)
    assert stats.packets_lost == stats.packets_spurious == stats.bytes_in_flight == 0
    assert stats.path_mtu_black_holes == 1
    assert controller.losses == []
    assert pair.client.send_buffered == 0
    assert max(sizes(pair, began)) == (1472 if passes else BASE_PLPMTU)


def test_small_messages_never_probe() -> None:
    pair = CorePair()
    for _ in range(100):
        send(pair, 300)
    assert max(sizes(pair, 0.1)) < BASE_PLPMTU


def test_one_window_is_not_delayed_by_a_probe() -> None:
    """What fits the initial window leaves at once, all of it data."""
    pair = CorePair(client=Config(protection="none"))
    start = pair.now
    pair.client.send(0, bytes(10_000))
    pair.run(1.0)
    assert max(sizes(pair, start)) <= BASE_PLPMTU
    assert len(read_all(pair.server, 0)) == 10_000


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides are on one machine."""
    monkeypatch.setattr(core_pair, "CLIENT", ("127.0.0.1", 1))
    monkeypatch.setattr(core_pair, "SERVER", ("127.0.0.1", 2))


@pytest.mark.usefixtures("near")
def test_within_a_machine_what_fills_a_large_packet_begins_with_the_probe() -> None:
    """So a round trip later the window is that of large packets, and doubles from there."""
    pair = CorePair(client=Config(protection="none"), delay=0.0001)
    start = pair.now
    pair.client.send(0, bytes(1_000_000))
    pair.run(0.1)
    assert len(read_all(pair.server, 0)) == 1_000_000
    data = [item for item in pair.log if item.sender == "client" and item.time >= start and len(item.data) > 100]
    assert {len(item.data) for item in data[:-1]} == {LOOPBACK_LIMIT}
    assert [item.time for item in data[:3]] == pytest.approx([start, start + 2 * pair.delay, start + 2 * pair.delay])
    assert data[-1].time < start + 4 * 2 * pair.delay


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("limit", [None, 1400])
def test_within_a_machine_small_messages_never_probe_either(
    limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are they asked about it, each time that a train is made: that would be a tenth of what a request costs."""
    monkeypatch.setattr(PathMtu, "next_probe", lambda *_: pytest.fail("asked for a probe"))
    pair = CorePair(client=Config(protection="none", datagram_size_limit=limit))
    start = pair.now
    for _ in range(100):
        send(pair, 300)
    assert max(sizes(pair, start)) < BASE_PLPMTU


@pytest.mark.usefixtures("near")
def test_within_a_machine_what_does_not_fill_a_large_packet_finds_its_size_in_time() -> None:
    """As on any other path: once the window has room for the probe beside it."""
    pair = CorePair(client=Config(protection="none"))
    start = pair.now
    send(pair, 60_000)
    for _ in range(10):
        send(pair, 60_000)
    assert max(sizes(pair, start)) == LOOPBACK_LIMIT


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize(("delay", "most"), [(0.0001, 0.04), (0.05, 1.1)])
def test_a_forwarder_within_the_machine_that_drops_large_packets_costs_one_probe_timeout(
    delay: float, most: float
) -> None:
    """Nothing may follow a probe beyond the window. Each later try did so as well: 80 ms, and 1.5 s."""
    pair = CorePair(client=Config(protection="none"), delay=delay)
    limited(pair, [1472])
    start = pair.now
    pair.client.send(0, bytes(300_000))
    got = 0
    while got < 300_000 and pair.now < start + 5.0:
        pair.run(delay)
        got += len(read_all(pair.server, 0))
    assert got == 300_000
    assert pair.now - start < most


def test_every_probe_is_alone_and_says_nothing() -> None:
    pair = CorePair(client=Config(protection="none"))
    limited(pair, [1400])
    send(pair, 1_000_000)
    probes = [datagram for datagram in pair.log if datagram.sender == "client" and len(datagram.data) > 1372]
    assert len(probes) > 3
    for probe in probes:
        assert [type(frame).__name__ for frame in probe.frames()] == ["Ping"]


def test_a_limit_that_is_set_is_searched_up_to() -> None:
    pair = CorePair(client=Config(protection="none", datagram_size_limit=9000))
    send(pair, 1_000_000)
    assert max(sizes(pair, 0.0)) == 9000
