"""What must work over a bad network, on the simulated one: each scenario over many seeds.

Run: python -m bench.scenarios [--seeds 200] [--only NAME] [--seed N] [--workers N] [--json]

All content must be delivered and equal (SHA-256); any error is a failure. Of handshakes 99 % must complete
within `connect_timeout`; where half or a third is lost on close, one side of a connection may end in a typed
timeout, not both: no protocol can promise more. On the paths of `bench.paths` goodput is measured, its median and least
given as a share of what the line carries, and the largest share of packets that were declared lost in vain.
Seeds are counted from RUDP_SEED (default 0). `--seed N` runs one seed in this process and prints what came
of it; the same seed gives the same digest on any machine. Exit status 1 if a scenario failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from rudp.config import Config
from rudp.sim import BurstLoss, Corrupt, Delay, Loss, Node, Outage, Rate

from . import paths
from .arguments import whole
from .simulated import Outcome, Pair

RATE = 12_500_000  # bytes a second: 100 Mbit/s
DELAY = 0.025
BULK = 10_000_000
HANDSHAKES = 50
CONNECTED_SHARE = 0.99
CRC32 = Config(protection="crc32")

Nodes = Callable[[], list[Node]]


def line() -> list[Node]:
    """One way of the path of the bulk scenarios: 100 Mbit/s, 25 ms, a queue of one BDP."""
    return [Rate(RATE, queue_bytes=int(RATE * 2 * DELAY)), Delay(DELAY)]


def bulk(seed: int, node: Callable[[], Node]) -> Outcome:
    """10 MB over the line with `node` at the end of either way."""
    return Pair(seed, forth=[*line(), node()], back=[*line(), node()], size=BULK, config=CRC32).run()


def handshakes(seed: int, node: Callable[[], Node]) -> Outcome:
    """50 openings at once, a kilobyte each and its answer, and as many closes."""
    return Pair(
        seed,
        forth=[Delay(DELAY), node()],
        back=[Delay(DELAY), node()],
        size=1_000,
        connections=HANDSHAKES,
        config=CRC32,
    ).run()


def black_hole(seed: int) -> Outcome:
    """10 MB over the line, of which nothing passes either way for two seconds in mid-transfer."""
    return Pair(
        seed,
        forth=[*line(), Outage(0.5, 2.5)],
        back=[*line(), Outage(0.5, 2.5)],
        size=BULK,
        config=CRC32,
    ).run()


def bad_close(seed: int, closing: str) -> Outcome:
    """200 kB over a good path of which half is lost either way from the instant the first side closes."""

    def turn_bad(pair: Pair) -> None:
        pair.relink([Delay(DELAY), Loss(0.5)], [Delay(DELAY), Loss(0.5)])

    return Pair(
        seed,
        forth=[Delay(DELAY)],
        back=[Delay(DELAY)],
        size=200_000,
        config=CRC32,
        closing=closing,
        on_closing=turn_bad,
    ).run()


class Scenario(NamedTuple):
    """`bad_close`: one side of a connection may end in a timeout. `connected`: the share that must connect.

    `least_goodput` is a share of what the line carries, `most_spurious` a share of the packets sent.
    """

    name: str
    title: str
    run: Callable[[int], Outcome]
    bad_close: bool = False
    connected: float = 1.0
    least_goodput: float = 0.0
    most_spurious: float = 1.0


SCENARIOS = (
    Scenario("bulk-loss", "10 MB, 2 % loss in bursts to 3", partial(bulk, node=partial(BurstLoss, 0.02, 3))),
    Scenario(
        "handshakes-loss",
        "50 handshakes, 30 % loss",
        partial(handshakes, node=partial(Loss, 0.3)),
        bad_close=True,
        connected=CONNECTED_SHARE,
    ),
    Scenario("bulk-corrupt", "10 MB, 2 % corrupt", partial(bulk, node=partial(Corrupt, 0.02))),
    Scenario(
        "handshakes-corrupt",
        "50 handshakes, 30 % corrupt",
        partial(handshakes, node=partial(Corrupt, 0.3)),
        bad_close=True,
        connected=CONNECTED_SHARE,
    ),
    Scenario("black-hole", "10 MB, nothing passes for 2 s", black_hole),
    Scenario("close-early", "half-close, then 50 % loss", partial(bad_close, closing="early"), bad_close=True),
    Scenario("close-in-turn", "close in turn, 50 % loss", partial(bad_close, closing="in turn"), bad_close=True),
    Scenario("close-together", "close together, 50 % loss", partial(bad_close, closing="together"), bad_close=True),
    Scenario("asymmetric", "10 MB, 10 Mbit/s to 100 kbit/s", paths.asymmetric),
    Scenario("satellite", "100 MB, 250 to 3 Mbit/s, 600 ms", paths.satellite),
    Scenario("freezing", "30 MB, six freezes of 250 ms", paths.freezing, least_goodput=0.55),
    Scenario("half-lost", "30 MB, 50 % loss for 20 s", paths.half_lost),
    Scenario("a-tenth", "40 MB, a tenth of the rate for 3 s", paths.a_tenth),
    Scenario("jitter", "20 MB, 0 to 30 ms of jitter", paths.jittery, least_goodput=0.8, most_spurious=0.01),
    Scenario("reordering-1", "60 MB, 1 % 5 ms late", partial(paths.reordered, share=0.01), least_goodput=0.95),
    Scenario("reordering-10", "60 MB, 10 % 5 ms late", partial(paths.reordered, share=0.1), least_goodput=0.95),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def faults(scenario: Scenario, outcome: Outcome) -> list[str]:
    """What is wrong with one seed's outcome; the share of handshakes is judged over all seeds."""
    found = list(outcome.problems)
    missing = outcome.connected - outcome.delivered
    if missing:
        found.append(f"{missing} of {outcome.connected} connections did not deliver")
    unconnected = outcome.connections - outcome.connected
    if unconnected and scenario.connected == 1.0:
        found.append(f"{unconnected} of {outcome.connections} connections did not open")
    if outcome.timed_out_both:
        found.append(f"both ends of {outcome.timed_out_both} connections timed out")
    elif outcome.timed_out_ends and not scenario.bad_close:
        found.append(f"{outcome.timed_out_ends} ends timed out")
    if (outcome.goodput or 0.0) < scenario.least_goodput:
        found.append(f"goodput {outcome.goodput or 0.0:.3f} of the line, less than {scenario.least_goodput}")
    if (outcome.spurious or 0.0) > scenario.most_spurious:
        found.append(f"{outcome.spurious:.4f} of the packets lost in vain, more than {scenario.most_spurious}")
    return found


def measure(name: str, seed: int) -> tuple[Outcome | None, list[str]]:
    """One seed of one scenario; runs in a worker."""
    scenario = BY_NAME[name]
    try:
        outcome = scenario.run(seed)
    except Exception as error:  # whatever it is, this seed found it
        return None, ["".join(traceback.format_exception(error)[-2:]).strip()]
    return outcome, faults(scenario, outcome)


class Row(NamedTuple):
    """A scenario over all its seeds."""

    name: str
    title: str
    seeds: int
    failed: dict[int, list[str]]
    connections: int
    connected: int
    slowest_connect: float
    timed_out_ends: int
    simulated_seconds: float
    median_transfer: float
    goodput: float | None
    least_goodput: float | None
    most_spurious: float | None
    cpu_seconds: float
    wall_seconds: float
    packets: int
    events: int
    digest: str

    @property
    def passed(self) -> bool:
        """No seed failed, and enough handshakes completed."""
        return not self.failed and self.connected >= BY_NAME[self.name].connected * self.connections


def gather(scenario: Scenario, seeds: range, pool: ProcessPoolExecutor | None) -> Row:
    """Run a scenario with every seed, in the pool's workers or here."""
    started = time.perf_counter()
    run = partial(measure, scenario.name)
    results = list(pool.map(run, seeds, chunksize=max(1, min(5, len(seeds) // 8))) if pool else map(run, seeds))
    outcomes = [outcome for outcome, _ in results if outcome is not None]
    digest = hashlib.sha256("".join(outcome.digest for outcome in outcomes).encode()).hexdigest()
    goodputs = sorted(outcome.goodput for outcome in outcomes if outcome.goodput is not None)
    transfers = sorted(outcome.transfer_seconds for outcome in outcomes)
    return Row(
        name=scenario.name,
        title=scenario.title,
        seeds=len(seeds),
        failed={seed: found for seed, (_, found) in zip(seeds, results, strict=True) if found},
        connections=sum(outcome.connections for outcome in outcomes),
        connected=sum(outcome.connected for outcome in outcomes),
        slowest_connect=max((s for outcome in outcomes for s in outcome.connect_seconds), default=0.0),
        timed_out_ends=sum(outcome.timed_out_ends for outcome in outcomes),
        simulated_seconds=sum(outcome.seconds for outcome in outcomes),
        median_transfer=transfers[len(transfers) // 2] if transfers else 0.0,
        goodput=goodputs[len(goodputs) // 2] if goodputs else None,
        least_goodput=min(goodputs, default=None),
        most_spurious=max((o.spurious for o in outcomes if o.spurious is not None), default=None),
        cpu_seconds=sum(outcome.cpu_seconds for outcome in outcomes),
        wall_seconds=time.perf_counter() - started,
        packets=sum(outcome.packets for outcome in outcomes),
        events=sum(outcome.events for outcome in outcomes),
        digest=digest,
    )


def share(value: float | None, digits: int = 1) -> str:
    """A share in percent, or nothing."""
    return f"{'' if value is None else f'{100 * value:.{digits}f} %':>9}"


def show(row: Row) -> None:
    """One line of the table, and one for each failed seed up to five."""
    cpu = row.cpu_seconds or 1.0
    print(
        f"{row.title:35}{row.seeds:6}{len(row.failed):8}{row.connected:10,}/{row.connections:<7,}"
        f"{row.slowest_connect:8.2f}{row.timed_out_ends:9}{row.median_transfer:10.2f}"
        f"{share(row.goodput)}{share(row.least_goodput)}{share(row.most_spurious, 3)}{row.simulated_seconds:11,.0f}"
        f"{row.wall_seconds:8.1f}{row.events / cpu:11,.0f}{row.packets / cpu:11,.0f}  {row.digest[:12]}",
        flush=True,
    )
    for seed, found in list(row.failed.items())[:5]:
        print(f"    seed {seed}: {'; '.join(found)[:400]}")
        print(f"    replay: python -m bench.scenarios --only {row.name} --seed {seed}")
    if len(row.failed) > 5:
        print(f"    all failed seeds: {' '.join(map(str, row.failed))}")


HEADING = (
    f"{'scenario':35}{'seeds':>6}{'failed':>8}{'connected':>18}{'slowest':>8}{'timeouts':>9}{'median s':>10}"
    f"{'goodput':>9}{'least':>9}{'in vain':>9}{'simulated':>11}{'wall s':>8}{'events/s':>11}{'packets/s':>11}  digest"
)


def replay(name: str, seed: int) -> bool:
    """Run one seed and print all there is to know about it."""
    outcome, found = measure(name, seed)
    print(f"{name}, seed {seed}: {'FAILED' if found else 'ok'}")
    for problem in found:
        print(f"  {problem}")
    for field, value in outcome._asdict().items() if outcome is not None else ():
        if field not in ("connect_seconds", "problems"):
            print(f"  {field}: {value}")
    return not found


def main() -> int:
    parser = argparse.ArgumentParser(description="Transfers, openings and closes over bad simulated networks.")
    parser.add_argument("--seeds", type=whole(1), default=200, help="seeds for each scenario (200)")
    parser.add_argument("--only", metavar="NAME", choices=BY_NAME, help=f"one of {', '.join(BY_NAME)}")
    parser.add_argument("--seed", type=int, help="replay this seed alone")
    parser.add_argument("--workers", type=whole(1, 1024), default=os.cpu_count() or 1, help="processes (all cores)")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of the table")
    arguments = parser.parse_args()
    chosen = [BY_NAME[arguments.only]] if arguments.only else list(SCENARIOS)
    if arguments.seed is not None:
        good = [replay(scenario.name, arguments.seed) for scenario in chosen]
        return 0 if all(good) else 1
    try:
        first = int(os.environ.get("RUDP_SEED", "0"))
    except ValueError:
        parser.error("RUDP_SEED must be a whole number here: the first of the seeds")
    seeds = range(first, first + arguments.seeds)
    rows = []
    if not arguments.json:
        print(f"seeds {seeds.start} to {seeds.stop - 1}; events and packets per second of CPU, one core\n{HEADING}")
    pool = ProcessPoolExecutor(arguments.workers) if arguments.workers > 1 else None
    try:
        for scenario in chosen:
            rows.append(gather(scenario, seeds, pool))
            if not arguments.json:
                show(rows[-1])
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    if arguments.json:
        print(json.dumps([{**row._asdict(), "passed": row.passed} for row in rows]))
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
