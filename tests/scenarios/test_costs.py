"""Work in proportion to what happens, not to what is queued or open: counted in calls, never timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from bench.costs_beds import Bulk, Crowd
from bench.wakeups import requests
from rudp.config import Config
from rudp.pacer import Pacer
from tests.core_pair import CLIENT, SERVER, Pair, read_all


def calls(work: Callable[[], object]) -> int:
    """How many Python functions `work()` calls."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def window(pair: Pair) -> int:
    """Calls that it takes to send what the window allows."""
    return calls(pair.flush)


def prepared(**settings: Any) -> Pair:
    return Pair(client=Config(protection="none", **settings))


def test_a_train_costs_the_same_however_much_is_queued() -> None:
    few, many = prepared(), prepared()
    few.client.send(0, bytes(100_000))
    for _ in range(100_000):
        many.client.send(0, b"0123456789")
    assert window(many) <= window(few) * 1.5 + 50


def test_a_train_costs_the_same_however_many_streams_are_open() -> None:
    few, many = prepared(), prepared(max_streams_uni=10_000)
    for _ in range(9_000):
        many.client.open_stream(True)
    many.run(1.0)
    for pair in (few, many):
        pair.client.send(0, bytes(100_000))
    assert window(many) <= window(few) * 2 + 50


def test_an_acknowledgement_and_a_timer_cost_the_same_however_many_streams_are_open() -> None:
    def work(pair: Pair) -> int:
        pair.run(1.0)
        pair.client.send(0, bytes(100_000))
        pair.flush()
        return calls(lambda: (pair.run(0.2), read_all(pair.server, 0), pair.client.next_timeout()))

    few, many = prepared(), prepared(max_streams_uni=10_000)
    for _ in range(9_000):
        many.client.open_stream(True)
    base = work(few)
    assert work(many) <= base * 1.5


def test_a_packet_costs_the_same_however_many_connections_are_open() -> None:
    few, many = Bulk(), Bulk(connections=300)
    for bed in (few, many):
        bed.sample(1000)
    assert calls(lambda: many.sample(5000)) <= calls(lambda: few.sample(5000)) * 1.05


def test_a_packet_costs_the_same_however_many_connections_send() -> None:
    alone, crowd = Crowd(1), Crowd(300)
    for bed in (alone, crowd):
        bed.sample(300)
    assert calls(lambda: crowd.sample(300)) <= calls(lambda: alone.sample(300)) * 1.05


def test_a_packet_in_a_train_costs_hardly_a_call() -> None:
    """From write to train, and from buffer to read: a train of many packets takes the calls of one of few."""

    def work(size: int) -> tuple[int, int]:
        pair = Pair(client=Config(protection="none", max_datagram_size=size))
        recovery: Any = pair.client._recovery
        recovery.congestion.congestion_window = 1 << 20
        recovery.pacer = Pacer(size)
        endpoint = pair.endpoints["client"]
        pair.client.send(0, bytes(50_000))
        trains: list[Any] = []
        sending = calls(lambda: trains.append(next(endpoint.datagrams_to_send(pair.now))))
        assert trains[0].size > 50_000
        data = memoryview(b"".join(trains[0].buffers))
        server = pair.endpoints["server"]
        receiving = calls(lambda: server.receive(data, size, CLIENT, SERVER, 0, pair.now))
        assert len(read_all(pair.server, 0)) == 50_000
        return sending, receiving

    small, large = work(1200), work(6000)
    # A size met for the first time has its codec made.
    assert small[0] <= large[0] + 4
    assert small[1] <= large[1] + 4


def test_a_request_and_its_answer_cost_few_calls() -> None:
    """Both sides of the core and the benchmark's driver: what a small message does that is alone."""
    few, many = calls(lambda: requests(200)), calls(lambda: requests(700))
    assert many - few <= 500 * 177
