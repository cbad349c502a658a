"""How fast the simulator is: packets and events per second of CPU time, without the cost of a protocol.

Run: python -m bench.sim_speed [--megabytes 20] [--json]

Each scenario moves so many megabytes of 1,200-byte packets in trains of 40 from one to several senders to a
receiver that counts them (and in two scenarios acknowledges each received buffer with a packet). `us/packet`
is all that the simulator costs a packet, be it of data or an acknowledgement: cutting the train, every node, the wait
for its time, merging, delivery and the digest of it. `data/s` are packets of data alone.
"""

# ruff: noqa: ARG002 (the endpoints below take what the contract gives them)
from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rudp.sim import CoDel, Corrupt, Delay, Duplicate, Host, Jitter, Loss, Network, Node, Rate, Reorder
from rudp.train import Address, Train

from .arguments import amount

PACKET = 1_200
TRAIN = 40
RECEIVER: Address = ("10.0.0.1", 1)
RATE = 12_500_000  # bytes per second, 100 Mbit/s


class Sender:
    """Sends a train every `interval` seconds until so many are sent."""

    def __init__(self, trains: int, interval: float) -> None:
        self.left = trains
        self.interval = interval
        self.due: float | None = 0.0
        self.payload = bytes(PACKET * TRAIN)
        self.pending = 0
        self.events: deque[tuple[object, object]] = deque()

    def datagrams_to_send(self, now: float) -> Iterator[Train]:
        for _ in range(self.pending):
            yield Train([self.payload], PACKET, len(self.payload), None, RECEIVER, 0)
        self.pending = 0

    def next_timeout(self) -> float | None:
        return self.due

    def handle_timeout(self, now: float) -> None:
        self.pending += 1
        self.left -= 1
        self.due = now + self.interval if self.left else None

    def receive(self, data: memoryview, segment_size: int, remote: Address, *_: object) -> None:
        raise AssertionError("nobody answers")


class Receiver:
    """Counts what comes."""

    def __init__(self) -> None:
        self.bytes = 0
        self.events: deque[tuple[object, object]] = deque()

    def datagrams_to_send(self, now: float) -> tuple[Train, ...]:
        return ()

    def next_timeout(self) -> None:
        return None

    def handle_timeout(self, now: float) -> None:
        raise AssertionError("no timer is set")

    def receive(self, data: memoryview, segment_size: int, remote: Address, *_: object) -> None:
        self.bytes += len(data)


class WindowedSender(Sender):
    """Keeps a window of 10 trains in flight: what is acknowledged, in bytes, lets as much follow."""

    def __init__(self, trains: int) -> None:
        super().__init__(trains, 0.0)
        self.due = None
        self.credit = 0
        self.pending = min(10, trains)
        self.left -= self.pending

    def receive(self, data: memoryview, segment_size: int, remote: Address, *_: object) -> None:
        for start in range(0, len(data), segment_size):
            self.credit += int.from_bytes(data[start : start + 4])
        trains = min(self.left, self.credit // (PACKET * TRAIN))
        self.credit -= trains * PACKET * TRAIN
        self.left -= trains
        self.pending += trains


class Acknowledger(Receiver):
    """Answers every received buffer with one packet of 40 bytes that says how much it was."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Train] = []

    def receive(self, data: memoryview, segment_size: int, remote: Address, *_: object) -> None:
        super().receive(data, segment_size, remote)
        self.answers.append(Train([len(data).to_bytes(4) + bytes(36)], 40, 40, None, remote, 0))

    def datagrams_to_send(self, now: float) -> tuple[Train, ...]:
        answers, self.answers = self.answers, []
        return tuple(answers)


class Scenario(NamedTuple):
    name: str
    nodes: Callable[[], list[Node]]
    window: float = 0.0
    senders: int = 1
    shared: Callable[[], list[Node]] = list
    digest: bool = True
    acknowledged: bool = False


SCENARIOS = (
    Scenario("no nodes", list),
    Scenario("delay, loss", lambda: [Delay(0.02), Loss(0.02)]),
    Scenario("the same, no digest", lambda: [Delay(0.02), Loss(0.02)], digest=False),
    Scenario("rate, delay, loss", lambda: [Rate(RATE, 250_000), Delay(0.02), Loss(0.02)]),
    Scenario("the same, 1 ms receive window", lambda: [Rate(RATE, 250_000), Delay(0.02), Loss(0.02)], 1e-3),
    Scenario("CoDel, delay, loss", lambda: [CoDel(RATE, 250_000), Delay(0.02), Loss(0.02)]),
    Scenario("rate, delay and ACKs back", lambda: [Rate(RATE), Delay(0.02)], acknowledged=True),
    Scenario(
        "the same, 1 ms receive window", lambda: [Rate(RATE), Delay(0.02)], window=1e-3, acknowledged=True
    ),
    Scenario("jitter to 10 ms", lambda: [Delay(0.02), Jitter(0.01)]),
    Scenario(
        "loss, reorder, duplicate, corrupt",
        lambda: [Delay(0.02), Loss(0.02), Reorder(0.02, 0.005), Duplicate(0.02), Corrupt(0.02)],
    ),
    Scenario(
        "4 senders, one bottleneck",
        lambda: [Delay(0.005)],
        senders=4,
        shared=lambda: [Rate(4 * RATE, 1_000_000), Delay(0.02)],
    ),
)


class Result(NamedTuple):
    name: str
    packets: int
    events: int
    seconds: float
    data_packets: int


def run(scenario: Scenario, megabytes: float) -> Result:
    network = Network(1, digest=scenario.digest)
    receiver = Acknowledger() if scenario.acknowledged else Receiver()
    sink = network.add_host(RECEIVER, receiver, window=scenario.window)
    trains = max(1, int(megabytes * 1e6 / (PACKET * TRAIN * scenario.senders)))
    shared = scenario.shared()
    hosts: list[Host] = []
    for index in range(scenario.senders):
        interval = PACKET * TRAIN / RATE * 1.05
        sender = WindowedSender(trains) if scenario.acknowledged else Sender(trains, interval)
        hosts.append(network.add_host((f"10.0.1.{index}", 1), sender))
        network.add_link(hosts[-1], sink, scenario.nodes() + shared)
        network.add_link(sink, hosts[-1], [Delay(0.02)])
    started = time.process_time()
    for host in hosts:
        host.service()
    network.run()
    seconds = time.process_time() - started
    assert receiver.bytes > 0.9 * trains * PACKET * TRAIN * scenario.senders
    data = sum(host.datagrams_sent for host in hosts)
    return Result(scenario.name, data + sink.datagrams_sent, network.events, seconds, data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the simulator.")
    parser.add_argument("--megabytes", type=amount(0.1, 1e6), default=20.0, help="payload to move in each scenario")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of the table")
    arguments = parser.parse_args()
    results = [run(scenario, arguments.megabytes) for scenario in SCENARIOS]
    if arguments.json:
        print(json.dumps([result._asdict() for result in results]))
        return
    columns = f"{'packets/s':>12}{'us/packet':>11}{'events/s':>12}{'packets/event':>15}{'data/s':>12}"
    print(f"{'scenario':34}{columns}")
    for name, packets, events, seconds, data in results:
        print(
            f"{name:34}{packets / seconds:12,.0f}{seconds / packets * 1e6:11.2f}{events / seconds:12,.0f}"
            f"{packets / events:15.1f}{data / seconds:12,.0f}"
        )


if __name__ == "__main__":
    main()
