"""The laws of every node: what it does to packets, how often, and that it counts what it does."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.errors import ConfigurationError
from rudp.sim import (
    IP_UDP_OVERHEAD,
    BurstLoss,
    CoDel,
    Corrupt,
    Delay,
    Duplicate,
    During,
    Filter,
    Freeze,
    GilbertElliott,
    Jitter,
    Loss,
    Mtu,
    Nat,
    Node,
    Outage,
    Rate,
    Rebind,
    Reorder,
    Tap,
)
from rudp.sim.clock import SimulationError
from rudp.sim.node import RandomNode
from tests.sim_fakes import A, B, C, attached, numbers, packets, through

COUNT = 40_000


def every_node() -> list[Node]:
    return [
        Loss(0.1),
        BurstLoss(0.1, 3),
        GilbertElliott(0.02, 0.3),
        GilbertElliott(0.02, 0.3, 0.01, 0.6),
        Delay(0.01),
        Jitter(0.01),
        Jitter(0.01, keep_order=True),
        Reorder(0.1, 0.01),
        Duplicate(0.1),
        Duplicate(0.1, 0.01),
        Corrupt(0.1),
        During(Loss(0.1), 0.1, 0.2),
        During(Duplicate(0.1, 0.01), 0.01, 0.02, every=0.05, times=3),
        Rate(100_000, 10_000),
        Rate(100_000, 10_000, changes=[(0.05, 10_000), (0.1, 0), (0.11, 200_000)]),
        CoDel(100_000, 10_000),
        CoDel(100_000, 10_000, target=0.001, interval=0.01, mtu=300),
        Freeze(0.01, 0.03, 5_000),
        Freeze(0.01, 0.03, queue_packets=20, every=0.04, times=3),
        Mtu(100 + IP_UDP_OVERHEAD),
        Mtu(99 + IP_UDP_OVERHEAD, start=0.1, stop=0.2),
        Outage(0.01, 0.02),
        Outage(0.01, 0.02, every=0.05),
        Nat([C, ("10.0.0.3", 4)], timeout=1.0, rebinds=[0.1, 0.2]),
        Rebind(0.01, C),
        Filter(lambda time, datagram: datagram.data[3] % 7 != 0),
        Tap(lambda time, datagram: None),
    ]


@pytest.mark.parametrize("index", range(len(every_node())))
@pytest.mark.parametrize("train", [1, 7, 40])
def test_counts_what_it_does_and_sends_nothing_back_in_time(index: int, train: int) -> None:
    node = attached(every_node()[index])
    sent = packets(3_000, gap=0.0001)
    out = through(node, 3_000, train=train, gap=0.0001)
    assert all(value >= 0 for value in node.counters().values())
    sent_at = {number: time for number, (time, _) in enumerate(sent)}
    if not isinstance(node, Corrupt):
        assert all(time >= sent_at[number] for (time, _), number in zip(out, numbers(out), strict=True))
    if node.keeps_order:
        assert [time for time, _ in out] == sorted(time for time, _ in out)
    if node.keeps_time and not isinstance(node, Corrupt):
        assert all(time == sent_at[number] for (time, _), number in zip(out, numbers(out), strict=True))


@pytest.mark.parametrize("index", range(len(every_node())))
def test_the_same_seed_does_the_same_however_packets_are_batched(index: int) -> None:
    one, other = attached(every_node()[index]), attached(every_node()[index])
    out = through(one, 3_000, train=1, gap=0.0001)
    assert through(other, 3_000, train=40, gap=0.0001) == out
    different = through(attached(every_node()[index], seed=2), 3_000, gap=0.0001)
    inner = one.node if isinstance(one, During) else one
    by_chance = isinstance(inner, RandomNode | BurstLoss | GilbertElliott | Jitter)
    assert (different != out) == by_chance


@pytest.mark.parametrize("probability", [0.001, 0.02, 0.3, 0.9])
def test_loss_is_random_at_its_rate(probability: float) -> None:
    node = attached(Loss(probability))
    out = through(node, COUNT)
    deviation = (COUNT * probability * (1 - probability)) ** 0.5
    assert abs(node.dropped - COUNT * probability) < 5 * deviation
    assert numbers(out) == sorted(set(numbers(out)))
    # Independent: a loss follows a loss as often as anything.
    lost = set(range(COUNT)) - set(numbers(out))
    pairs = sum(number + 1 in lost for number in lost)
    expected = COUNT * probability**2
    assert abs(pairs - expected) < 6 * (expected + 1) ** 0.5


@pytest.mark.parametrize("make", [Loss, Duplicate, Corrupt, lambda p: Reorder(p, 1.0)])
def test_probability_zero_never_and_one_always(make: type[Loss]) -> None:
    never, always = attached(make(0.0)), attached(make(1.0))
    assert through(never, 500) == packets(500)
    out = through(always, 500)
    untouched = [one for one, other in zip(out, packets(500), strict=False) if one == other]
    assert len(out) == 1_000 if make is Duplicate else not untouched


def runs_of_losses(received: list[int], count: int) -> Counter[int]:
    got = set(received)
    return Counter(len(list(run)) for kept, run in groupby(range(count), got.__contains__) if not kept)


@pytest.mark.parametrize(("rate", "longest"), [(0.02, 3), (0.1, 8), (0.5, 3), (0.3, 1), (0.0, 5)])
def test_burst_loss_keeps_mean_and_lengths(rate: float, longest: int) -> None:
    node = attached(BurstLoss(rate, longest))
    out = through(node, COUNT)
    assert abs(node.dropped / COUNT - rate) <= 0.15 * rate
    bursts = runs_of_losses(numbers(out), COUNT)
    assert set(bursts) <= set(range(1, longest + 1))
    for length in range(1, longest + 1):
        share = bursts[length] / max(1, sum(bursts.values()))
        assert rate == 0 or abs(share - 1 / longest) < 0.06


@pytest.mark.parametrize(("loss", "burst"), [(0.02, 3.0), (0.2, 10.0), (0.5, 2.0)])
def test_gilbert_elliott_keeps_mean_and_burst(loss: float, burst: float) -> None:
    node = attached(GilbertElliott.from_mean(loss, burst))
    out = through(node, COUNT)
    assert abs(node.dropped / COUNT - loss) < 0.15 * loss
    bursts = runs_of_losses(numbers(out), COUNT)
    mean = sum(length * times for length, times in bursts.items()) / sum(bursts.values())
    assert abs(mean - burst) < 0.15 * burst


@given(st.floats(1.0, 1e6))
def test_gilbert_elliott_may_lose_all_that_its_bursts_can(burst: float) -> None:
    GilbertElliott.from_mean(burst / (burst + 1), burst)


def test_gilbert_elliott_loses_in_both_states() -> None:
    node = attached(GilbertElliott(0.1, 0.1, loss_good=0.1, loss_bad=0.5))
    through(node, COUNT)
    assert abs(node.dropped / COUNT - 0.3) < 0.02


def test_gilbert_elliott_starts_good() -> None:
    assert numbers(attached(GilbertElliott(1.0, 1.0)).process(packets(6))) == [0, 2, 4]


def test_delay_shifts_all_by_the_same() -> None:
    out = through(attached(Delay(0.25)), 100, gap=0.5)
    assert [time for time, _ in out] == [0.5 * i + 0.25 for i in range(100)]


def test_jitter_is_uniform_and_overtakes() -> None:
    out = through(attached(Jitter(0.03)), COUNT)
    late = [time for time, _ in out]
    assert 0.0 <= min(late) < 0.001
    assert 0.029 < max(late) <= 0.03
    assert abs(sum(late) / COUNT - 0.015) < 0.0005
    assert late != sorted(late)


def test_jitter_can_keep_order() -> None:
    out = through(attached(Jitter(0.03, keep_order=True)), 2_000, gap=0.001)
    assert [time for time, _ in out] == sorted(time for time, _ in out)
    assert all(0 <= time - 0.001 * number <= 0.0301 for (time, _), number in zip(out, numbers(out), strict=True))


def test_reorder_holds_some_back() -> None:
    node = attached(Reorder(0.1, 0.005))
    assert isinstance(node, Reorder)
    late = [time for time, _ in through(node, COUNT)]
    assert set(late) == {0.0, 0.005}
    assert late.count(0.005) == node.delayed
    assert abs(node.delayed - COUNT * 0.1) < 5 * 60


def test_duplicate_adds_equal_copies_behind() -> None:
    node = attached(Duplicate(0.1))
    seen = Counter(numbers(through(node, COUNT)))
    assert set(seen.values()) == {1, 2}
    assert len(seen) == COUNT
    assert abs(node.duplicated - COUNT * 0.1) < 5 * 60
    delayed = attached(Duplicate(1.0, 0.25)).process(packets(2))
    assert [(time, number) for (time, _), number in zip(delayed, numbers(delayed), strict=True)] == [
        (0.0, 0),
        (0.25, 0),
        (0.0, 1),
        (0.25, 1),
    ]


@given(st.binary(max_size=50), st.integers(1, 60), st.integers(0, 1_000))
def test_corrupt_changes_bytes_never_length(data: bytes, most: int, seed: int) -> None:
    node = attached(Corrupt(1.0, most), seed)
    assert isinstance(node, Corrupt)
    (time, datagram), *_ = packets(1)
    ((_, changed),) = node.process([(time, datagram._replace(data=data))])
    assert len(changed.data) == len(data)
    differing = sum(one != other for one, other in zip(changed.data, data, strict=True))
    assert min(1, len(data)) <= differing <= min(most, len(data))
    assert node.corrupted == min(1, len(data))
    assert changed[1:] == datagram[1:]


def test_rate_is_exact() -> None:
    # 100 bytes of payload and 28 of headers at 12,800 bytes a second: one packet every 10 ms.
    out = through(attached(Rate(12_800)), 1_000)
    assert [time for time, _ in out] == pytest.approx([0.01 * (i + 1) for i in range(1_000)], rel=1e-9)


def test_rate_counts_only_what_it_takes() -> None:
    node = attached(Rate(12_800, queue_packets=10))
    assert isinstance(node, Rate)
    through(node, 100, train=100)
    assert (node.passed, node.dropped, node.passed_bytes) == (10, 90, 1_280)
    assert node.largest_queue_bytes == 1_280


def test_rate_idles_and_starts_anew() -> None:
    out = through(attached(Rate(12_800)), 5, gap=1.0)
    assert [time for time, _ in out] == pytest.approx([i + 0.01 for i in range(5)])


def test_rate_takes_a_packet_when_empty_even_if_the_queue_is_smaller() -> None:
    node = attached(Rate(12_800, queue_bytes=100))
    assert numbers(node.process(packets(3))) == [0]
    assert numbers(node.process(packets(3, start=1.0))) == [0]


def test_rate_frees_room_as_packets_leave() -> None:
    node = attached(Rate(12_800, queue_bytes=3 * 128))
    assert numbers(node.process(packets(5))) == [0, 1, 2]
    assert numbers(node.process(packets(5, start=0.015))) == [0]
    assert numbers(node.process(packets(5, start=0.030001))) == [0, 1]


@given(
    st.lists(st.tuples(st.floats(0, 0.05), st.integers(4, 1_472)), max_size=60),
    st.integers(0, 20_000),
    st.integers(1, 12),
)
def test_drop_tail_bound_holds_at_every_instant(
    arrivals: list[tuple[float, int]], queue_bytes: int, queue_packets: int
) -> None:
    node = attached(Rate(100_000, queue_bytes, queue_packets))
    now = 0.0
    taken: list[tuple[float, float, int]] = []  # came, left, size
    for gap, size in arrivals:
        now += gap
        out = node.process(packets(1, start=now, size=size))
        inside = [item for item in taken if item[1] > now]
        room = sum(item[2] for item in inside) + size + 28 <= queue_bytes and len(inside) < queue_packets
        assert bool(out) == (room or not inside)
        if out:
            before = max([now, *(left for _, left, _ in taken)])
            assert out[0][0] == pytest.approx(before + (size + 28) / 100_000)
            taken.append((now, out[0][0], size + 28))
    assert [left for _, left, _ in taken] == sorted(left for _, left, _ in taken)


def test_a_packet_has_left_at_the_instant_its_last_bit_does() -> None:
    node = attached(Rate(128, queue_packets=1))
    assert numbers(node.process(packets(5, gap=0.5))) == [0, 2, 4]


def test_mtu_counts_headers() -> None:
    batch = packets(1, size=1_472) + packets(1, size=1_473) + packets(1, size=100)
    node = attached(Mtu(1_500))
    assert [len(datagram.data) for _, datagram in node.process(batch)] == [1_472, 100]
    assert node.dropped == 1


def test_outage_is_half_open() -> None:
    assert numbers(attached(Outage(2.0, 4.0)).process(packets(6, gap=1.0))) == [0, 1, 4, 5]


def test_a_node_can_come_and_go() -> None:
    node = attached(During(Loss(1.0), 1.0, 2.0, every=3.0, times=2))
    assert numbers(through(node, 10, gap=0.75)) == [0, 1, 3, 4, 5, 7, 8, 9]
    late = attached(During(Delay(1.0), 1.0, 2.0))
    assert not late.keeps_order
    assert [time for time, _ in late.process(packets(4, gap=0.75))] == [0.0, 0.75, 2.5, 2.25]
    with pytest.raises(ConfigurationError, match="come and go"):
        During(CoDel(1_000), 1.0, 2.0)


def test_rebind_changes_the_source_and_its_reverse_undoes_it() -> None:
    rebind = Rebind(2.0, C)
    sources = [datagram.source for _, datagram in attached(rebind).process(packets(4, gap=1.0))]
    assert sources == [A, A, C, C]
    assert rebind.rebound == 2
    assert rebind.counters()["rebound"] == 2
    answers = [
        (time, datagram._replace(source=B, destination=destination))
        for destination in (A, C)
        for time, datagram in packets(4, gap=1.0)
    ]
    out = attached(rebind.reverse).process(answers)
    assert [(time, datagram.destination) for time, datagram in out] == [
        (0.0, A),
        (1.0, A),
        (2.0, A),
        (3.0, A),
    ]
    assert numbers(out) == [0, 1, 2, 3]
    assert rebind.reverse.dropped == 4


def test_rebind_is_for_one_socket() -> None:
    """A second one's answers went to whichever had sent last."""
    rebind = attached(Rebind(1.0, C))
    other = [(0.0, packets(1)[0][1]._replace(source=B))]
    assert numbers(rebind.process(other)) == numbers(rebind.process(packets(1))) == [0]
    rebind.process([(1.0, packets(1)[0][1])])
    with pytest.raises(SimulationError, match=r"one socket.*take a Nat"):
        rebind.process([(1.5, other[0][1])])


def test_rebind_reverse_knows_nobody_before_the_first_packet() -> None:
    rebind = Rebind(0.0, C)
    (time, datagram), *_ = packets(1)
    assert not attached(rebind.reverse).process([(time, datagram._replace(destination=C))])


def test_filter_passes_drops_and_replaces() -> None:
    def judge(time: float, datagram: object) -> object:
        return (True, False, packets(8)[7][1])[int(time)]

    assert numbers(attached(Filter(judge)).process(packets(3, gap=1.0))) == [0, 7]  # type: ignore[arg-type]


def test_tap_sees_every_packet() -> None:
    seen = []
    through(attached(Tap(lambda time, datagram: seen.append((time, datagram)))), 100, gap=0.1)
    assert seen == packets(100, gap=0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Loss(-0.1),
        lambda: Loss(1.1),
        lambda: Loss(nan),
        lambda: BurstLoss(0.6, 1),
        lambda: BurstLoss(0.1, 0),
        lambda: GilbertElliott(2, 0),
        lambda: GilbertElliott.from_mean(0.9, 2),
        lambda: GilbertElliott.from_mean(0.1, 0.5),
        lambda: Delay(-1),
        lambda: Delay(inf),
        lambda: Jitter(-1),
        lambda: Reorder(0.1, -1),
        lambda: Duplicate(0.1, -1),
        lambda: Corrupt(0.1, 0),
        lambda: Rate(0),
        lambda: Rate(1, -1),
        lambda: Rate(1, None, 0),
        lambda: Rate(1, changes=[(1.0, -1)]),
        lambda: CoDel(1, target=-1),
        lambda: CoDel(1, interval=0),
        lambda: CoDel(1, mtu=-1),
        lambda: Freeze(2, 1),
        lambda: Freeze(1, inf),
        lambda: Freeze(1, 3, every=1),
        lambda: Freeze(1, 2, every=1, times=0),
        lambda: Mtu(20),
        lambda: Mtu(100, start=2, stop=1),
        lambda: Outage(2, 1),
        lambda: Outage(1, 3, every=1),
        lambda: Nat([C], timeout=-1),
        lambda: Nat([C], rebinds=[nan]),
        lambda: Rebind(nan, C),
        lambda: Rate(1, overhead=-21),
        lambda: Freeze(1, 2, overhead=-1),
        lambda: Mtu(20, overhead=-1),
    ],
)
def test_settings_out_of_bounds_are_refused(make: type[Node]) -> None:
    with pytest.raises(ConfigurationError, match="must be from"):
        make()


@given(st.floats(0, 1), st.integers(0, 2**32), st.lists(st.integers(1, 50), max_size=20))
def test_loss_of_any_probability_conserves(probability: float, seed: int, trains: list[int]) -> None:
    node = attached(Loss(probability), seed)
    out = sum(len(node.process(packets(train))) for train in trains)
    assert node.received == sum(trains) == out + node.dropped
