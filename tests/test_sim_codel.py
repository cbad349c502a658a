"""CoDel against a queue that does everything at its instant, after the pseudocode of RFC 8289 section 5.5."""

from __future__ import annotations

from collections import deque
from math import inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.sim import IP_UDP_OVERHEAD, Batch, CoDel, Datagram, Delay, Network, Rate
from tests.sim_fakes import A, B, C, Fake, attached, numbers, packets, through

MTU = 1_500


class AtItsInstant:
    """Arrivals, ends of sending and nothing else, one by one in order of time; a packet is judged when taken."""

    def __init__(  # noqa: PLR0917
        self, rate: float, queue_bytes: float, queue_packets: float, ecn: bool, target: float, interval: float
    ) -> None:
        self.rate, self.queue_bytes, self.queue_packets, self.ecn = rate, queue_bytes, queue_packets, ecn
        self.target, self.interval = target, interval
        self.queue: deque[tuple[float, int, Datagram]] = deque()
        self.on_line = 0
        self.busy_until = -inf
        self.out: Batch = []
        self.first_above = self.drop_next = 0.0
        self.count = self.last_count = 0
        self.dropping = self.ok = False

    def waiting(self) -> int:
        return sum(size for _, size, _ in self.queue)

    def run(self, batch: Batch) -> Batch:
        for time, datagram in batch:
            self.advance(time)
            size = len(datagram.data) + IP_UDP_OVERHEAD
            full = self.on_line + self.waiting() + size > self.queue_bytes or len(self.queue) + 1 >= self.queue_packets
            if self.on_line and full:
                continue
            self.queue.append((time, size, datagram))
            if not self.on_line:
                self.send(time)
        self.advance(inf)
        return self.out

    def advance(self, time: float) -> None:
        while self.on_line and self.busy_until <= time:
            self.on_line = 0
            self.send(self.busy_until)

    def send(self, now: float) -> None:
        packet = self.dequeue(now)
        if packet is not None:
            _, size, datagram = packet
            self.on_line = size
            self.busy_until = now + size * (1.0 / self.rate)
            self.out.append((self.busy_until, datagram))

    def take(self, now: float) -> tuple[float, int, Datagram] | None:
        self.ok = False
        if not self.queue:
            self.first_above = 0.0
            return None
        packet = self.queue.popleft()
        if now - packet[0] < self.target or self.waiting() <= MTU:
            self.first_above = 0.0
        elif self.first_above == 0.0:
            self.first_above = now + self.interval
        elif now >= self.first_above:
            self.ok = True
        return packet

    def law(self, time: float) -> float:
        return time + self.interval / sqrt(self.count)

    def marks(self, packet: tuple[float, int, Datagram] | None) -> bool:
        return self.ecn and packet is not None and packet[2].ecn != 0

    def dequeue(self, now: float) -> tuple[float, int, Datagram] | None:
        packet = self.take(now)
        if self.dropping:
            if not self.ok:
                self.dropping = False
            while now >= self.drop_next and self.dropping:
                self.count += 1
                if self.marks(packet):
                    assert packet is not None
                    self.drop_next = self.law(self.drop_next)
                    return (*packet[:2], packet[2]._replace(ecn=3))
                packet = self.take(now)
                if self.ok:
                    self.drop_next = self.law(self.drop_next)
                else:
                    self.dropping = False
        elif self.ok:
            marked = self.marks(packet)
            if marked:
                assert packet is not None
                packet = (*packet[:2], packet[2]._replace(ecn=3))
            else:
                packet = self.take(now)
            self.dropping = True
            delta = self.count - self.last_count
            self.count = delta if delta > 1 and now - self.drop_next < 16 * self.interval else 1
            self.drop_next = self.law(now)
            self.last_count = self.count
        return packet


# Runs of packets: the pause before, how many, how far apart, payload, ECN codepoint.
RUNS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 0.02, 0.3, 2.0]),
        st.integers(1, 60),
        st.sampled_from([0.0, 0.0005, 0.001, 0.002, 0.012]),
        st.sampled_from([4, 40, 700, 1_472]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=20,
)


def batch_of(runs: list[tuple[float, int, float, int, int]]) -> Batch:
    batch: Batch = []
    now = 1.0
    for pause, count, gap, size, ecn in runs:
        now += pause
        for _ in range(count):
            data = len(batch).to_bytes(4) + bytes(size - 4)
            batch.append((now, Datagram(data, A, B, ecn)))
            now += gap
    return batch


# What falls on powers of two meets at one instant, to the last bit: 128 bytes with headers take 1/1024 s at 2**17.
EVEN_RUNS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1 / 1024, 3 / 1024, 1 / 4]),
        st.integers(1, 60),
        st.sampled_from([0.0, 1 / 2048, 1 / 1024, 3 / 1024]),
        st.sampled_from([100, 100, 228, 1_472]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=20,
)


@given(
    st.tuples(RUNS, st.sampled_from([20_000, 125_000, 1_250_000]), st.just(0.005), st.just(0.1))
    | st.tuples(EVEN_RUNS, st.just(1 << 17), st.sampled_from([1 / 1024, 5 / 1024]), st.sampled_from([1 / 128, 1 / 64])),
    st.sampled_from([4_000, 30_000, 10**9]),
    st.sampled_from([5, 60, 10**9]),
    st.booleans(),
)
def test_it_decides_as_if_at_each_instant(
    drawn: tuple[list[tuple[float, int, float, int, int]], int, float, float],
    queue_bytes: int,
    queue_packets: int,
    ecn: bool,
) -> None:
    runs, rate, target, interval = drawn
    batch = batch_of(runs)
    expected = AtItsInstant(rate, queue_bytes, queue_packets, ecn, target, interval).run(batch)
    node = attached(CoDel(rate, queue_bytes, queue_packets, ecn=ecn, target=target, interval=interval))
    assert isinstance(node, CoDel)
    out = node.process(batch)
    assert out == expected[: len(out)]
    out += [(time, datagram) for time, datagram, _ in node.release(inf)]
    assert out == expected
    assert numbers(out) == sorted(numbers(out))
    assert (node.received, node.passed) == (len(batch), len(out)) == (len(batch), node.received - node.dropped)
    assert node.marked == sum(new.ecn == 3 for _, new in out) - sum(
        batch[number][1].ecn == 3 for number in numbers(out)
    )


@given(RUNS, st.integers(1, 9))
def test_when_it_is_asked_changes_nothing(runs: list[tuple[float, int, float, int, int]], train: int) -> None:
    """Ahead of the clock in one call, or packet by packet with every verdict given as soon as it is due."""
    batch = batch_of(runs)
    ahead, slow = attached(CoDel(125_000, 20_000)), attached(CoDel(125_000, 20_000))
    assert isinstance(ahead, CoDel)
    assert isinstance(slow, CoDel)
    out = ahead.process(list(batch))
    late: Batch = []
    for start in range(0, len(batch), train):
        piece = batch[start : start + train]
        late += [(time, datagram) for time, datagram, _ in slow.release(piece[0][0])]
        late += slow.process(piece)
    last = [[(time, datagram) for time, datagram, _ in node.release(inf)] for node in (ahead, slow)]
    assert out + last[0] == late + last[1]
    assert ahead.counters() == slow.counters()


@given(RUNS)
def test_without_a_target_it_is_a_rate(runs: list[tuple[float, int, float, int, int]]) -> None:
    batch = batch_of(runs)
    codel, rate = attached(CoDel(125_000, 20_000, 12, target=1e9)), attached(Rate(125_000, 20_000, 12))
    assert codel.process(list(batch)) == rate.process(batch)
    assert codel.counters() == {**rate.counters(), "marked": 0, "dropped_by_codel": 0}


def overload(ecn: int, seconds: float = 10.0) -> tuple[CoDel, Batch]:
    """A line of 1,000 packets a second that gets 1,100 a second."""
    node = attached(CoDel(1_500_000))
    assert isinstance(node, CoDel)
    batch = packets(int(1_100 * seconds), gap=1 / 1_100, size=1_472)
    batch = [(time, datagram._replace(ecn=ecn)) for time, datagram in batch]
    return node, node.process(batch)


def test_it_drops_what_can_not_be_marked_and_marks_the_rest() -> None:
    dropping, passed = overload(ecn=0)
    assert (dropping.marked, dropping.dropped) == (0, dropping.dropped_by_codel)
    assert dropping.dropped > 100
    assert {datagram.ecn for _, datagram in passed} == {0}
    marking, passed = overload(ecn=2)
    assert (marking.dropped, marking.dropped_by_codel) == (0, 0)
    assert marking.marked == sum(datagram.ecn == 3 for _, datagram in passed) > 100
    assert overload(ecn=2)[1] == passed


def test_a_burst_shorter_than_an_interval_loses_nothing() -> None:
    node = attached(CoDel(1_500_000))
    assert len(through(node, 100, train=40, size=1_472)) == 100


def test_at_a_low_rate_one_packet_behind_is_no_standing_queue() -> None:
    # 12 ms a packet, above the target, but never more than one MTU behind the one that is taken.
    node = attached(CoDel(125_000, mtu=1_500))
    assert len(through(node, 1_000, train=1, gap=0.012, size=1_472)) == 1_000


def test_waiting_is_what_a_packet_would_wait() -> None:
    node = attached(CoDel(12_800))
    assert isinstance(node, CoDel)
    assert node.waiting(0.5) == 0.0
    node.process(packets(10))
    assert node.waiting(0.0) == pytest.approx(0.1)
    assert node.waiting(0.05) == pytest.approx(0.05)
    assert node.waiting(0.2) == 0.0


def test_flows_that_share_it_get_their_own_packets_and_no_one_waits_for_an_arrival() -> None:
    network = Network(1)
    shared = CoDel(12_800)
    fakes = {address: Fake() for address in (A, B, C)}
    hosts = {address: network.add_host(address, fake) for address, fake in fakes.items()}
    sink = ("10.0.0.9", 9)
    last = network.add_host(sink, Fake())
    for address, delay in ((A, 0.002), (B, 0.001)):
        network.add_link(hosts[address], hosts[C], [Delay(delay), shared, Delay(0.5)])
        network.add_link(hosts[address], last, [Delay(delay), shared, Delay(0.25)])
    for address, to in ((A, C), (B, sink), (B, C), (A, sink)):
        fakes[address].send(bytes(300), to, segment_size=100)
        hosts[address].service()
    network.run()
    arrived = [(round(a.now - 0.501, 6), a.remote) for a in fakes[C].arrivals]
    # B's six packets come first: three for the sink, three for C; then A's.
    assert arrived == [(i / 100, B) for i in (4, 5, 6)] + [(i / 100, A) for i in (7, 8, 9)]
    assert last.datagrams_received == 6
    assert shared.passed == 12


def test_to_have_waited_for_just_the_target_is_to_have_waited_too_long() -> None:
    # 1/1024 s a packet: the second has waited for the target, and an interval of four packets begins.
    node = attached(CoDel(1 << 17, target=1 / 1024, interval=4 / 1024, mtu=0))
    assert min(set(range(20)) - set(numbers(through(node, 20, size=100)))) == 5
