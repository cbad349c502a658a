"""Hosts and routes: what a driver does after each input, causality on shared nodes, determinism."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import nan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.errors import ConfigurationError
from rudp.sim import (
    Batch,
    BurstLoss,
    CoDel,
    Corrupt,
    Datagram,
    Delay,
    Duplicate,
    During,
    Filter,
    Freeze,
    Jitter,
    Loss,
    Mtu,
    Nat,
    Network,
    Node,
    Outage,
    Rate,
    Rebind,
    Reorder,
    SimulationError,
    Stalled,
    Tap,
)
from rudp.sim.clock import Clock
from rudp.sim.route import Inbox
from rudp.train import Train
from tests.sim_fakes import A, B, C, Echo, Fake, Pair

ROOT = Path(__file__).resolve().parent.parent


def test_a_train_crosses_and_keeps_bytes_addresses_size_and_mark() -> None:
    pair = Pair([Delay(0.25)])
    pair.send_at(1.0, bytes(range(250)), segment_size=100, ecn=2)
    pair.network.run()
    (arrival,) = pair.b.arrivals
    assert arrival == (bytes(range(250)), 100, A, B, 2, 1.25)
    assert pair.host_a.datagrams_sent == 3
    host = pair.host_b
    assert host.datagrams_received == 3


def test_an_answer_leaves_at_the_instant_of_arrival() -> None:
    pair = Pair([Delay(0.25)], [Delay(0.5)], echo=True)
    pair.send_at(1.0, b"ping")
    pair.network.run()
    assert [(arrival.data, arrival.remote, arrival.now) for arrival in pair.a.arrivals] == [(b"ping", B, 1.75)]
    assert pair.network.now == 1.75


def test_arrivals_on_a_line_come_one_by_one_and_in_a_window_together() -> None:
    for window, expected in ((0.0, 20), (0.01, 10), (0.055, 4), (1.0, 1)):
        pair = Pair([Rate(10_000, overhead=0)], window=window)
        pair.send_at(0.0, bytes(2_000), segment_size=100)
        pair.network.run()
        assert len(pair.b.arrivals) == expected
        assert b"".join(arrival.data for arrival in pair.b.arrivals) == bytes(2_000)
        assert pair.b.arrivals[0].now == pytest.approx(0.01 + window)


def test_merging_is_drawn_unless_told() -> None:
    for merging, buffers in ((1.0, {1}), (0.0, {20}), (None, {1, 20})):
        seen = set()
        for seed in range(30):
            pair = Pair([Delay(0.1)], seed=seed, merging=merging)
            pair.send_at(0.0, bytes(2_000), segment_size=100)
            pair.network.run()
            assert pair.b.datagrams == [bytes(100)] * 20
            seen.add(len(pair.b.arrivals))
        assert seen >= buffers
        assert (len(seen) > 4) == (merging is None)


def test_timer_is_armed_lazily_and_fires_when_due() -> None:
    pair = Pair()
    endpoint, host = pair.a, pair.host_a
    for due in (5.0, 3.0, 4.0):
        endpoint.timeout = due
        host.service()
    pair.network.run(until=3.5)
    assert endpoint.timeouts_handled == []
    pair.network.run()
    assert endpoint.timeouts_handled == [4.0]
    endpoint.timeout = 1.0
    host.service()
    pair.network.run()
    assert endpoint.timeouts_handled == [4.0, 5.0]


def test_a_cancelled_timer_does_not_fire() -> None:
    pair = Pair()
    pair.a.timeout = 5.0
    pair.host_a.service()
    pair.a.timeout = None
    pair.host_a.service()
    pair.network.run()
    assert pair.a.timeouts_handled == []


def test_a_timer_that_comes_and_goes_before_a_far_one_is_one_event_each_time() -> None:
    """As a pacer's before a probe timeout: what waits for the far one is not asked for again and again."""

    class Paced(Fake):
        def handle_timeout(self, now: float) -> None:
            super().handle_timeout(now)
            if now < 1.0:
                network.call_at(now + 0.01, go_on)
            self.timeout = 5.0 if now < 5.0 else None

    def go_on() -> None:
        paced.timeout = network.now + 0.09
        host.service()

    network = Network()
    paced = Paced()
    host = network.add_host(A, paced)
    go_on()
    network.run()
    handled = len(paced.timeouts_handled)
    assert handled > 10
    assert paced.timeouts_handled[-1] == 5.0
    assert network.events == handled + (handled - 2)  # and the calls of go_on


def test_a_timer_that_stays_in_the_past_is_an_error() -> None:
    class Stuck(Fake):
        def handle_timeout(self, now: float) -> None:
            pass

    network = Network()
    stuck = Stuck()
    host = network.add_host(A, stuck)
    stuck.timeout = 1.0
    host.service()
    with pytest.raises(Stalled, match=r"Host .*next_timeout"):
        network.run(until=2.0)


def test_events_are_kept_or_given_to_the_application_whose_packets_leave_at_once() -> None:
    network = Network()
    silent, talking = Fake(), Fake()
    seen: list[object] = []

    def on_event(connection: object, event: object) -> None:
        seen.append((connection, event, network.now))
        talking.send(b"because of " + str(event).encode(), A)
        talking_host.service()

    silent_host = network.add_host(A, silent)
    talking_host = network.add_host(B, talking, on_event=on_event)
    network.add_link(talking_host, silent_host, [Delay(1.0)])
    silent.events.append(("connection", "event"))
    silent_host.service()
    assert silent_host.events == [("connection", "event")]
    talking.events.extend([("connection", 1), ("connection", 2)])
    talking_host.service()
    network.run()
    assert seen == [("connection", 1, 0.0), ("connection", 2, 0.0)]
    assert silent.datagrams == [b"because of 1", b"because of 2"]


def test_an_application_that_answers_events_with_events_is_an_error() -> None:
    class Endless(Fake):
        """Has one event after each round of sending."""

        def datagrams_to_send(self, now: float) -> Iterator[Train]:
            self.events.append((0, 0))
            return super().datagrams_to_send(now)

    network = Network()
    host = network.add_host(A, Endless(), on_event=lambda connection, event: None)
    with pytest.raises(Stalled, match="every answer"):
        host.service()


def test_an_endpoint_that_keeps_the_receive_buffer_is_found_out() -> None:
    class Keeper(Fake):
        def receive(self, data: memoryview, *rest: object) -> None:  # type: ignore[override]
            self.kept = data[1:3]

    network = Network()
    sender = Fake()
    host = network.add_host(A, sender)
    network.add_link(host, network.add_host(B, Keeper()))
    sender.send(b"hello", B)
    host.service()
    with pytest.raises(SimulationError, match="kept a view"):
        network.run()


def test_the_receive_buffer_is_writable_as_a_sockets_is() -> None:
    class Writer(Fake):
        def receive(self, data: memoryview, *rest: object) -> None:  # type: ignore[override]
            data[0] = 0
            self.kept = bytes(data)

    network = Network()
    sender, writer = Fake(), Writer()
    host = network.add_host(A, sender)
    network.add_link(host, network.add_host(B, writer))
    sender.send(b"hello", B)
    host.service()
    network.run()
    assert writer.kept == b"\0ello"


def test_packets_to_nowhere_are_counted() -> None:
    network = Network()
    fake = Fake()
    host = network.add_host(A, fake)
    network.add_host(B, Fake())
    fake.send(b"no link", B)
    fake.send(b"no host", C)
    host.service()
    network.run()
    assert host.unroutable == 2


def test_a_sender_may_use_another_source_address() -> None:
    pair = Pair()
    pair.a.send(b"spoofed", B, local=C)
    pair.host_a.service()
    pair.network.run()
    assert pair.b.arrivals[0].remote == C


def test_rebinding_is_seen_by_the_peer_and_answers_find_the_way_back() -> None:
    rebind = Rebind(1.0, C)
    pair = Pair([rebind, Delay(0.1)], [Delay(0.1), rebind.reverse], echo=True)
    for time in (0.0, 0.85, 2.0):
        pair.send_at(time, str(time).encode())
    pair.network.run()
    assert [arrival.remote for arrival in pair.b.arrivals] == [A, A, C]
    # The answer to the second one met a mapping that was gone.
    assert [(arrival.data, arrival.local) for arrival in pair.a.arrivals] == [(b"0.0", A), (b"2.0", A)]


class HoldBack(Node):
    """Delays packets that start with "a" by a second."""

    def __init__(self) -> None:
        super().__init__()
        self.keeps_order = self.keeps_time = False

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        return [(time + (datagram.data[:1] == b"a"), datagram) for time, datagram in batch]


def test_a_filter_drops_the_second_packet_in_time_not_in_sending() -> None:
    numbers = iter(range(100))
    pair = Pair([HoldBack(), Filter(lambda time, datagram: next(numbers) != 1)])
    pair.send_at(0.0, b"abc", segment_size=1)
    pair.network.run()
    assert pair.b.datagrams == [b"b", b"a"]


def test_a_line_serves_overtaking_packets_first() -> None:
    pair = Pair([HoldBack(), Rate(100, overhead=0)])
    pair.send_at(0.0, b"abc", segment_size=1)
    pair.network.run()
    assert [arrival.data for arrival in pair.b.arrivals] == [b"b", b"c", b"a"]
    assert [arrival.now for arrival in pair.b.arrivals] == pytest.approx([0.01, 0.02, 1.01])


def test_a_filter_may_change_a_packet_on_its_way() -> None:
    pair = Pair([Delay(0.5), Filter(lambda time, datagram: datagram._replace(ecn=3))])
    pair.send_at(0.0, b"abc", ecn=2)
    pair.network.run()
    assert [(arrival.data, arrival.ecn) for arrival in pair.b.arrivals] == [(b"abc", 3)]


def test_taps_and_filters_see_packets_at_clock_time_and_in_order() -> None:
    seen: list[tuple[float, float]] = []
    network = Network(3)
    sender, receiver = Fake(), Fake()
    host = network.add_host(A, sender)
    tap = Tap(lambda time, datagram: seen.append((time, network.now)))
    first: list[float] = []
    network.add_link(
        host,
        network.add_host(B, receiver),
        [Jitter(0.1), tap, Rate(100_000), Delay(0.1), Tap(tap.function)],
        tap=lambda time, datagram: first.append(time),
    )
    for i in range(20):
        host.call_at(i * 0.01, lambda: sender.send(bytes(500), B, segment_size=100))
    network.run()
    assert len(seen) == 200
    assert all(time == now for time, now in seen)
    assert seen == sorted(seen)
    assert first == [i * 0.01 for i in range(20) for _ in range(5)]
    assert tap.received == tap.passed == 100


def contend(delays: tuple[float, float], trains: int, shared: list[Node], seed: int = 1) -> Fake:
    """Two senders of numbered trains of three, through links of their own into shared nodes."""
    network = Network(seed)
    receiver = Fake()
    sink = network.add_host(B, receiver)
    for address, delay in zip((A, C), delays, strict=True):
        fake = Fake()
        host = network.add_host(address, fake)
        network.add_link(host, sink, [Delay(delay), *shared])
        for i in range(trains):
            data = b"".join(bytes([3 * i + k]) * 72 for k in range(3))
            host.call_at(i * 0.01, lambda data=data, fake=fake: fake.send(data, B, segment_size=72))
    network.run()
    return receiver


def test_a_shared_bottleneck_serves_in_order_of_arrival() -> None:
    # Packets of 100 bytes at 10,000 bytes per second: 10 ms each. C's come 5 ms before A's.
    seen: list[tuple[float, str]] = []
    rate = Rate(10_000)
    tap = Tap(lambda time, datagram: seen.append((round(time, 6), datagram.source[0])))
    receiver = contend((0.055, 0.05), 3, [tap, rate])
    assert seen == sorted(seen)
    order = [arrival.remote for arrival in receiver.arrivals]
    assert order == [C, C, C, A, A, A] * 3
    left = [arrival.now for arrival in receiver.arrivals]
    assert left == pytest.approx([0.05 + 0.01 * (i + 1) for i in range(18)])
    assert rate.received == 18


def test_a_shared_queue_drops_from_whoever_comes_when_it_is_full() -> None:
    rate = Rate(10_000, queue_packets=4)
    receiver = contend((0.055, 0.05), 1, [rate])
    assert [arrival.remote for arrival in receiver.arrivals] == [C, C, C, A]
    assert rate.dropped == 2


@settings(max_examples=40)
@given(
    st.tuples(st.floats(0, 0.05), st.floats(0, 0.05)),
    st.sampled_from([None, 0.03]),
    st.integers(1, 8),
    st.integers(0, 1_000),
)
def test_a_shared_line_never_sends_two_packets_at_once(
    delays: tuple[float, float], jitter: float | None, trains: int, seed: int
) -> None:
    arrivals: list[float] = []
    before: list[Node] = [] if jitter is None else [Jitter(jitter)]
    rate = Rate(10_000)
    receiver = contend(delays, trains, [*before, Tap(lambda time, _: arrivals.append(time)), rate], seed)
    left = [arrival.now for arrival in receiver.arrivals for _ in arrival.datagrams]
    assert arrivals == sorted(arrivals)
    free_at = 0.0
    for came, gone in zip(arrivals, left, strict=True):
        free_at = max(free_at, came) + 0.01
        assert gone == pytest.approx(free_at, abs=1e-9)


def test_working_ahead_of_the_clock_changes_nothing() -> None:
    def run(between: Callable[[], Node]) -> list[tuple[float, bytes]]:
        nodes = [
            Rate(100_000, 3_000),
            Delay(0.02),
            Loss(0.1),
            Rate(60_000, 2_000),
            Duplicate(0.1),
            Delay(0.01),
        ]
        pair = Pair([each for node in nodes for each in (between(), node)])
        for i in range(50):
            pair.send_at(i * 0.007, bytes([i]) * 800, segment_size=100)
        pair.network.run()
        assert min(nodes[0].dropped, nodes[3].dropped) > 0
        return [(arrival.now, datagram) for arrival in pair.b.arrivals for datagram in arrival.datagrams]

    # A tap makes packets wait for the clock before every node, a delay of nothing doesn't.
    assert run(lambda: Tap(lambda time, datagram: None)) == run(lambda: Delay(0.0))


def test_nodes_draw_by_their_place_not_by_their_neighbours() -> None:
    def lost(back: list[Node]) -> list[bytes]:
        pair = Pair([Loss(0.3)], back, echo=True)
        for i in range(50):
            pair.send_at(i * 0.1, bytes([i]))
        pair.network.run()
        return pair.b.datagrams

    assert lost([]) == lost([Jitter(0.01), Loss(0.5)])


def test_nodes_draw_independently() -> None:
    pair = Pair([Jitter(1.0)], [Jitter(1.0)], echo=True)
    for i in range(10):
        pair.send_at(i * 10.0, b"x")
    pair.network.run()
    forth = [arrival.now - i * 10.0 for i, arrival in enumerate(pair.b.arrivals)]
    back = [arrival.now - there.now for arrival, there in zip(pair.a.arrivals, pair.b.arrivals, strict=True)]
    assert forth != pytest.approx(back)


def test_a_node_in_use_takes_no_further_link() -> None:
    network = Network()
    rate = Rate(1_000)
    fake = Fake()
    a, b, c = (network.add_host(address, fake) for address in (A, B, C))
    network.add_link(a, b, [rate])
    network.add_link(c, b, [rate])
    fake.send(b"x", B)
    a.service()
    with pytest.raises(SimulationError, match="in use"):
        network.add_link(b, c, [rate])


def test_networks_have_no_host_and_no_node_in_common() -> None:
    delay = Delay(0.1)
    one, other = Pair([delay]), Pair([])
    with pytest.raises(SimulationError, match="not part of this network"):
        one.network.add_link(one.host_a, other.host_b)
    with pytest.raises(SimulationError, match="not part of this network"):
        one.network.add_link(other.host_a, one.host_b)
    with pytest.raises(SimulationError, match="part of another network"):
        other.network.add_link(other.host_a, other.host_b, [Loss(0.1), delay])


@given(
    st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 9), min_size=1, max_size=6)), max_size=12),
    st.sampled_from([0.0, 2.5]),
)
def test_packets_leave_an_inbox_in_order_of_time_and_of_arrival(arrivals: list[tuple[int, list[int]]], window: float):
    """Each is (when, for how long each of a batch waits); those of one instant are handed over together."""
    clock = Clock()
    left: list[tuple[float, Datagram]] = []
    times: list[float] = []

    def receive(batch: Batch, now: float) -> None:
        assert batch[0][0] + window == now
        assert all(time <= now for time, _ in batch)
        assert not times or times[-1] <= now
        times.append(now)
        left.extend(batch)

    inbox = Inbox(clock, receive, window)
    came: list[tuple[float, Datagram]] = []
    for at, waits in sorted(arrivals, key=lambda item: item[0]):
        clock.run(at)
        first = len(came)
        came += [(at + wait, Datagram(bytes([first + i]), A, B, 0)) for i, wait in enumerate(waits)]
        accept = inbox.accept_in_order if waits == sorted(waits) else inbox.accept
        accept(came[first:])
        assert len(inbox) == len(came) - len(left)
    clock.run()
    assert left == sorted(came, key=lambda item: item[0])


@pytest.mark.parametrize("first", [True, False])
def test_a_node_that_comes_and_goes_is_part_of_nothing_else(first: bool) -> None:
    """It would draw anew for each, and count and keep order as if it were part of one."""
    loss = Loss(0.5)
    network = Network()
    a, b = (network.add_host(address, Fake()) for address in (A, B))
    if first:
        network.add_link(a, b, [loss])
        with pytest.raises(ConfigurationError, match="part of a link"):
            During(loss, 1.0, 2.0)
        return
    during = During(loss, 1.0, 2.0)
    with pytest.raises(ConfigurationError, match="comes and goes already"):
        During(loss, 3.0, 4.0)
    with pytest.raises(SimulationError, match="comes and goes"):
        network.add_link(b, a, [loss])
    network.add_link(a, b, [during])
    network.add_link(b, a, [during])


@pytest.mark.parametrize("setting", [{"merging": 7.0}, {"merging": -1.0}, {"window": -1.0}, {"window": nan}])
def test_a_host_s_settings_out_of_bounds_are_refused(setting: dict[str, float]) -> None:
    network = Network()
    with pytest.raises(ConfigurationError, match="must be from"):
        network.add_host(A, Fake(), **setting)
    with pytest.raises(ConfigurationError, match="must be from"):
        network.add_machine("machine", **setting)
    network.add_host(A, Fake())
    network.add_machine("machine")


@pytest.mark.parametrize("thing", [0.1, Delay, None])
def test_what_is_no_node_is_refused(thing: Node) -> None:
    pair = Pair([])
    with pytest.raises(SimulationError, match="is no node"):
        pair.network.add_link(pair.host_a, pair.host_b, [thing])


def test_a_new_link_replaces_the_old_and_what_is_under_way_arrives() -> None:
    pair = Pair([Delay(1.0)])
    pair.send_at(0.0, b"slow")
    pair.network.call_at(0.5, lambda: pair.network.add_link(pair.host_a, pair.host_b, [Delay(0.1)]))
    pair.send_at(0.6, b"fast")
    pair.network.run()
    assert pair.b.datagrams == [b"fast", b"slow"]


def test_addresses_have_one_owner() -> None:
    network = Network()
    host = network.add_host(A, Fake())
    other = network.add_host(B, Fake())
    with pytest.raises(SimulationError, match="already"):
        network.add_host(A, Fake())
    with pytest.raises(SimulationError, match="belongs to"):
        network.add_link(host, other, [Rebind(1.0, B)])
    nat = Nat([C])
    network.add_link(host, other, [nat])
    with pytest.raises(SimulationError, match="each need one of their own"):
        network.add_link(other, host, [nat])


def test_a_network_without_digest_says_so() -> None:
    network = Network(digest=False)
    network.add_host(A, Fake())
    with pytest.raises(SimulationError, match="digest=True"):
        network.digest()


def scenario(seed: int, prepare: Callable[[Network], object] = id) -> str:
    """Everything at once: both ways, shared nodes, drawn merging; returns the digest."""
    network = Network(seed)
    prepare(network)
    echo = Echo()
    server = network.add_host(B, echo, window=0.002)
    bottleneck = Rate(200_000, queue_bytes=20_000, changes=[(0.5, 0), (0.6, 20_000), (0.9, 150_000)])
    managed = CoDel(120_000, target=0.001, interval=0.02)
    for index, address in enumerate((A, C)):
        fake = Fake()
        client = network.add_host(address, fake)
        nat = Nat([("10.0.1.1", 50 + index), ("10.0.1.1", 60 + index)], timeout=0.3, rebinds=[0.7])
        way = [Jitter(0.003), bottleneck, managed, BurstLoss(0.05, 3), Duplicate(0.02), Corrupt(0.02), Delay(0.01)]
        network.add_link(client, server, [nat, *way, Mtu(700, start=0.3, stop=0.4)])
        way_back = [Delay(0.01), Reorder(0.1, 0.004), Freeze(0.2, 0.25, every=0.5), Outage(0.8, 0.81, every=0.1)]
        network.add_link(server, client, [*way_back, Loss(0.05), nat.reverse])
        for i in range(60):
            data = network.random(f"data {i}").randbytes(3_100)
            client.call_at(i * 0.02, lambda data=data, fake=fake: fake.send(data, B, segment_size=700))
    network.run()
    counts = f"{bottleneck.counters()} {managed.counters()}"
    return f"{network.digest()} {network.events} {network.now!r} {len(echo.arrivals)} {counts}"


def test_the_same_seed_gives_the_same_bytes_at_the_same_instants() -> None:
    assert scenario(1) == scenario(1)
    assert len({scenario(seed) for seed in range(5)}) == 5


def test_the_hash_seed_of_the_interpreter_changes_nothing() -> None:
    outputs = set()
    for hash_seed in ("0", "1", "4242"):
        run = subprocess.run(
            [sys.executable, "-c", "from tests.test_sim_network import scenario; print(scenario(7))"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(run.stdout)
    assert outputs == {scenario(7) + "\n"}


@pytest.mark.parametrize("window", [0.0, 0.001])
def test_conservation_over_a_whole_network(window: float) -> None:
    chain = [Jitter(0.003), Rate(200_000, 20_000), BurstLoss(0.05, 3), Duplicate(0.05), Loss(0.1)]
    chain += [Reorder(0.1, 0.1), Outage(0.4, 0.5), CoDel(150_000, 6_000, target=0.001, interval=0.02), Mtu(700)]
    chain += [Freeze(0.3, 0.4, 5_000), Nat([C], rebinds=[0.5]), Outage(0.1, 0.15, every=0.2)]
    pair = Pair(chain, merging=None, window=window)
    for i in range(60):
        pair.send_at(i * 0.02, bytes(5_000), segment_size=700)
    pair.network.run()
    before = pair.host_a.datagrams_sent
    for node in chain:
        assert node.received == before
        before = node.passed
        assert node.dropped + node.duplicated > 0 or node.keeps_time is False or isinstance(node, Nat)
    assert pair.host_b.datagrams_received == before == len(pair.b.datagrams)
    assert len(pair.host_b.inbox) == 0


def test_a_datagram_is_plain_data() -> None:
    assert Datagram(b"x", A, B, 1)._replace(ecn=3) == (b"x", A, B, 3)
