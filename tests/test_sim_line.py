"""Lines whose rate changes and links that stand still, against exact sums; what comes and goes by time."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.errors import ConfigurationError
from rudp.sim import Batch, Delay, Freeze, Mtu, Nat, Network, Outage, Rate
from tests.sim_fakes import A, B, C, Echo, Fake, attached, numbers, packets, through

D = ("10.0.0.4", 1004)


def test_the_rest_of_a_packet_goes_on_at_the_new_rate() -> None:
    # Packets of 100 bytes with headers. The second has sent 50 bytes when the rate falls to a tenth.
    node = attached(Rate(1_000, changes=[(0.15, 100), (1.15, 2_000)]))
    out = node.process(packets(4, size=72))
    assert [time for time, _ in out] == pytest.approx([0.1, 0.65, 1.15 + 50 / 2_000, 1.15 + 150 / 2_000])


def test_a_line_that_stands_still_sends_nothing_and_goes_on_where_it_was() -> None:
    node = attached(Rate(1_000, changes=[(0.15, 0), (2.15, 1_000)]))
    assert isinstance(node, Rate)
    out = node.process(packets(3, size=72))
    assert [time for time, _ in out] == pytest.approx([0.1, 2.2, 2.3])
    assert node.waiting(1.0) == pytest.approx(1.3)
    idle = attached(Rate(1_000, changes=[(0.15, 0), (2.15, 1_000)]))
    assert isinstance(idle, Rate)
    assert idle.waiting(1.0) == pytest.approx(1.15)
    assert idle.process(packets(1, start=1.0, size=72))[0][0] == pytest.approx(2.25)


class Counted(list[float]):
    """Counts what stays behind deleted items, and so is moved."""

    moved = 0

    def __delitem__(self, index: object) -> None:
        super().__delitem__(index)  # type: ignore[arg-type]
        self.moved += len(self)


@pytest.mark.parametrize("room", [10, 1_000])
def test_a_packet_of_a_full_queue_costs_the_same_however_long_that_is(room: int) -> None:
    node = attached(Rate(800, queue_packets=room))
    assert isinstance(node, Rate)
    leaves = node._leaves = Counted()
    node.process(packets(2 * room, size=72))
    dropped = node.dropped
    for number in range(4 * room):
        node.process(packets(1, start=(number + 1) * 0.125, size=72))
        assert node.queued((number + 1) * 0.125) == (room, room * 100)
    assert dropped == room
    assert node.dropped == dropped
    assert leaves.moved <= 2 * 4 * room


def test_the_queue_fills_while_the_line_stands_still() -> None:
    node = attached(Rate(10_000, queue_packets=5, changes=[(0.0, 0), (1.0, 10_000)]))
    assert numbers(node.process(packets(50, gap=0.01))) == [0, 1, 2, 3, 4]
    assert node.dropped == 45


RATES = st.sampled_from([0, 100, 1_000, 1_024, 50_000])
CHANGES = st.lists(st.tuples(st.floats(0.001, 1.0), RATES), max_size=6)
ARRIVALS = st.lists(st.tuples(st.floats(0, 0.2), st.integers(4, 1_472)), min_size=1, max_size=40)


def arrivals(drawn: list[tuple[float, int]]) -> Batch:
    batch: Batch = []
    now = 0.0
    for gap, size in drawn:
        now += gap
        batch += packets(1, start=now, size=size)
    return batch


def capacity(changes: list[tuple[float, float]], first: float, start: float, stop: float) -> Fraction:
    """The bytes that a line can send from `start` to `stop`, as a sum over its pieces."""
    edges = [(-inf, first), *changes, (inf, 0)]
    total = Fraction(0)
    for (begin, rate), (end, _) in pairwise(edges):
        low, high = max(start, begin), min(stop, end)
        if low < high:
            total += (Fraction(high) - Fraction(low)) * Fraction(rate)
    return total


@given(CHANGES, ARRIVALS, st.sampled_from([None, 2_000, 20_000]))
def test_bytes_sent_are_what_the_schedule_allows(
    drawn: list[tuple[float, float]], came: list[tuple[float, int]], queue_bytes: int | None
) -> None:
    changes = []
    at = 0.0
    for gap, rate in drawn:
        at += gap
        changes.append((at, rate))
    changes.append((at + 0.1, 2_000))
    node = attached(Rate(5_000, queue_bytes, changes=changes))
    batch = arrivals(came)
    out = node.process(list(batch))
    came_at = {id(datagram): time for time, datagram in batch}
    free_at = -inf
    for left, datagram in out:
        start = max(free_at, came_at[id(datagram)])
        size = len(datagram.data) + 28
        assert float(capacity(changes, 5_000, start, left)) == pytest.approx(size, rel=1e-6, abs=1e-6)
        free_at = left
    assert node.received == len(batch) == len(out) + node.dropped


@given(ARRIVALS, st.lists(st.floats(0, 10), max_size=5, unique=True), st.sampled_from([None, 3_000]))
def test_a_schedule_of_a_constant_rate_is_the_rate(
    came: list[tuple[float, int]], times: list[float], queue_bytes: int | None
) -> None:
    plain = attached(Rate(12_345, queue_bytes))
    scheduled = attached(Rate(12_345, queue_bytes, changes=[(at, 12_345) for at in sorted(times)]))
    later = attached(Rate(12_345, queue_bytes, changes=[(1e6, 1)]))
    batch = arrivals(came)
    out = plain.process(list(batch))
    assert scheduled.process(list(batch)) == out
    assert later.process(list(batch)) == out
    assert plain.counters() == scheduled.counters() == later.counters()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([(1.0, 5), (1.0, 6)], "ascend"),
        ([(2.0, 5), (1.0, 6)], "ascend"),
        ([(inf, 5)], "ascend"),
        ([(1.0, 0)], "for ever"),
    ],
)
def test_schedules_without_a_meaning_are_refused(changes: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Rate(1_000, changes=changes)


def test_a_frozen_link_releases_what_waited_in_order_and_drops_what_found_no_room() -> None:
    node = attached(Freeze(0.25, 0.5, queue_packets=3))
    assert isinstance(node, Freeze)
    out = node.process(packets(8, gap=0.1))
    assert [(round(time, 3), number) for (time, _), number in zip(out, numbers(out), strict=True)] == [
        (0.0, 0),
        (0.1, 1),
        (0.2, 2),
        (0.5, 3),
        (0.5, 4),
        (0.5, 5),
        (0.6, 6),
        (0.7, 7),
    ]
    assert (node.held, node.dropped) == (2, 0)
    assert numbers(attached(Freeze(0.05, 0.65, queue_packets=3)).process(packets(8, gap=0.1))) == [0, 1, 2, 3, 7]
    assert numbers(attached(Freeze(0.05, 0.65, queue_bytes=300)).process(packets(8, gap=0.1))) == [0, 1, 2, 7]


def test_each_freeze_has_room_of_its_own() -> None:
    node = attached(Freeze(0.05, 0.45, queue_packets=2, every=1.0))
    assert numbers(node.process(packets(20, gap=0.1))) == [0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 18, 19]


def test_spans_come_again_so_often() -> None:
    flapping = Outage(0.1, 0.2, every=1.0, times=2)
    lost = set(range(40)) - set(numbers(through(attached(flapping), 40, gap=0.1)))
    assert lost == {1, 11}
    for_ever = Outage(0.1, 0.2, every=1.0)
    assert set(range(40)) - set(numbers(through(attached(for_ever), 40, gap=0.1))) == {1, 11, 21, 31}


@given(
    st.floats(0, 2),
    st.floats(0.001, 0.8),
    st.floats(0.9, 3),
    st.integers(1, 5) | st.none(),
    st.lists(st.floats(0, 20), min_size=1, max_size=40),
)
def test_a_frozen_link_and_an_outage_have_the_same_spans(
    start: float, length: float, every: float, times: int | None, sent: list[float]
) -> None:
    batch = [packets(1, start=at)[0] for at in sorted(sent)]
    frozen = attached(Freeze(start, start + length, every=every, times=times))
    down = attached(Outage(start, start + length, every=every, times=times))
    assert isinstance(frozen, Freeze)
    out = frozen.process(list(batch))
    passed = down.process(list(batch))
    assert down.dropped == frozen.held
    kept = {id(datagram) for _, datagram in passed}
    assert [item for item in out if id(item[1]) in kept] == passed
    ends = [start + k * every + length for k in range(times or 30)]
    for (came, datagram), (left, same) in zip(batch, out, strict=True):
        assert datagram is same
        assert left == came or any(left == pytest.approx(end) for end in ends)
    assert [time for time, _ in out] == sorted(time for time, _ in out)


def test_a_black_hole_opens_and_closes() -> None:
    node = attached(Mtu(128, start=1.0, stop=2.0))
    large = packets(6, gap=0.5, size=101)
    assert numbers(node.process(large)) == [0, 1, 4, 5]
    assert numbers(attached(Mtu(128, start=1.0)).process(packets(6, gap=0.5, size=100))) == list(range(6))


def nat_pair(nat: Nat) -> tuple[Network, Fake, Echo]:
    network = Network(1)
    inside, outside = Fake(), Echo()
    here, there = network.add_host(A, inside), network.add_host(B, outside)
    network.add_link(here, there, [nat, Delay(0.1)])
    network.add_link(there, here, [Delay(0.1), nat.reverse])
    for at in (0.0, 1.0, 5.0, 5.5, 6.0):
        here.call_at(at, lambda at=at: inside.send(b"%.1f" % at, B))
    return network, inside, outside


def test_a_mapping_that_nobody_uses_ends_and_the_next_packet_makes_another() -> None:
    network, inside, outside = nat_pair(nat := Nat([C, D], timeout=2.0))
    network.call_at(4.0, lambda: outside.send(b"late", C))
    network.call_at(4.0, network.hosts[1].service)
    network.run()
    assert [arrival.remote for arrival in outside.arrivals] == [C, C, D, D, D]
    assert inside.datagrams == [b"0.0", b"1.0", b"5.0", b"5.5", b"6.0"]
    assert (nat.rebound, nat.reverse.dropped) == (1, 1)


def test_several_rebinds_each_lose_what_was_on_its_way_back() -> None:
    network, inside, outside = nat_pair(nat := Nat([C, D], rebinds=[0.5, 5.15, 5.7, 5.8]))
    network.run()
    assert [arrival.remote for arrival in outside.arrivals] == [C, D, D, C, D]
    # The answer to the packet of 5.0 s came 50 ms too late.
    assert inside.datagrams == [b"0.0", b"1.0", b"5.5", b"6.0"]
    assert nat.counters()["rebound"] == 3


def test_each_port_inside_has_an_address_of_its_own_as_long_as_there_are_any() -> None:
    nat = attached(Nat([C, D], timeout=1.0))
    assert isinstance(nat, Nat)

    def out(port: int, time: float) -> object:
        batch = [(at, datagram._replace(source=(A[0], port))) for at, datagram in packets(1, start=time)]
        return [datagram.source for _, datagram in nat.process(batch)]

    assert [out(1, 0.0), out(2, 0.1), out(1, 0.2), out(3, 0.3)] == [[C], [D], [C], []]
    assert (nat.inside(C, 0.4), nat.inside(D, 0.4), nat.dropped) == ((A[0], 1), (A[0], 2), 1)
    # Port 2 is silent for too long: a third one gets its address, and it none until another is free.
    assert [out(1, 1.15), out(3, 1.2), out(2, 1.3)] == [[C], [D], []]
    assert (nat.inside(C, 1.3), nat.inside(D, 1.3)) == ((A[0], 1), (A[0], 3))
    assert out(2, 2.25) == [C] == out(2, 2.3)
    assert [nat.inside(C, 2.3), nat.inside(D, 2.3)] == [(A[0], 2), None]


def test_a_nat_needs_an_address_and_times_in_order() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        Nat([])
    with pytest.raises(ConfigurationError, match="ascend"):
        Nat([C], rebinds=[2.0, 1.0])
