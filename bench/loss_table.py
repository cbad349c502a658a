"""Goodput under random loss, on a simulated bottleneck: what share of (1 - p) C arrives.

Run: python -m bench.loss_table [--seeds 3] [--megabytes 60] [--congestion model] [--json]

The path: 100 Mbit/s, 50 ms, a queue of one BDP, loss p in the data direction only and behind the queue. C is the link
rate times payload over IP packet bytes. `steady` leaves out the first two seconds. `start-up` counts the packets
lost of those sent in the first second, the path's own share p included.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from statistics import mean
from typing import NamedTuple

from bench.simulated import Pair
from rudp import wire
from rudp.config import Config
from rudp.sim import IP_UDP_OVERHEAD, Delay, Loss, Rate
from rudp.stats import Stats

RATE = 12_500_000
DELAY = 0.025
QUEUE = int(RATE * 2 * DELAY)
LOSSES = (0.0, 0.01, 0.02, 0.05, 0.10, 0.20)
START_UP = 1.0
STEADY_FROM = 2.0


class Row(NamedTuple):
    """Means over the seeds. Shares are of (1 - p) C."""

    loss: float
    whole: float
    steady: float
    start_up_lost: float
    lost: float
    queue_ms: float


def capacity(config: Config) -> float:
    """Payload bytes a second that full packets carry over the link."""
    size = config.max_datagram_size
    overhead = wire.CANONICAL_HEADER_SIZE + (4 if config.protection == "crc32" else 0)
    return RATE * (size - overhead) / (size + IP_UDP_OVERHEAD)


def measure(loss: float, seed: int, size: int, config: Config) -> Row:
    """One transfer, by packets of one size, or C would change on the way."""
    config = replace(config, path_mtu_discovery=False)
    bottleneck = Rate(RATE, queue_bytes=QUEUE)
    pair = Pair(
        seed,
        forth=[bottleneck, Delay(DELAY), Loss(loss)],
        back=[Delay(DELAY)],
        size=size,
        config=config,
        window=0.0002,
    )
    early: list[Stats] = []
    pair.network.call_at(
        START_UP, lambda: early.extend(c.stats(pair.network.now) for c in pair.client.connections)
    )
    outcome = pair.run()
    assert outcome.delivered == 1, outcome
    assert outcome.stats is not None
    bound = capacity(config) * (1 - loss)
    end = outcome.stats
    start = early[0]
    received = pair.received_at
    steady_from = next(i for i, (time, _) in enumerate(received) if time >= STEADY_FROM)
    (from_time, from_bytes), (to_time, to_bytes) = received[steady_from], received[-1]
    return Row(
        loss=loss,
        whole=size / outcome.transfer_seconds / bound,
        steady=(to_bytes - from_bytes) / (to_time - from_time) / bound,
        start_up_lost=start.packets_lost / start.packets_sent,
        lost=end.packets_lost / end.packets_sent,
        queue_ms=bottleneck.largest_queue_bytes / RATE * 1000,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Goodput under random loss on a simulated bottleneck.")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each loss rate (3)")
    parser.add_argument("--megabytes", type=float, default=60.0, help="size of a transfer (60)")
    parser.add_argument("--congestion", default="model", help="controller (model)")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of the table")
    arguments = parser.parse_args()
    config = Config(congestion=arguments.congestion)
    rows = []
    if not arguments.json:
        print(f"C = {capacity(config) * 8 / 1e6:.1f} Mbit/s of payload; data direction loses p, ACKs get through")
        print(f"{'p':>6}{'whole':>9}{'steady':>9}{'start-up lost':>15}{'lost in all':>13}{'largest queue':>15}")
    for loss in LOSSES:
        runs = [
            measure(loss, seed, int(arguments.megabytes * 1e6), config) for seed in range(arguments.seeds)
        ]
        row = Row(*(mean(column) for column in zip(*runs, strict=True)))
        rows.append(row)
        if not arguments.json:
            print(
                f"{row.loss:6.0%}{row.whole:9.3f}{row.steady:9.3f}{row.start_up_lost:15.1%}{row.lost:13.1%}"
                f"{row.queue_ms:12.1f} ms",
                flush=True,
            )
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows]))


if __name__ == "__main__":
    main()
