"""Whole transfers over bad simulated networks with real endpoints: all arrives, equal, and both sides end well.

The first seed is RUDP_SEED (default 0); a failure names its seed. `python -m bench.scenarios` runs the first of
these over hundreds of seeds; here each CPython has one of its own, as all would do the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scenarios import SCENARIOS, Scenario, faults
from bench.simulated import CLIENT, Outcome, Pair
from rudp.config import Config
from rudp.sim import (
    BurstLoss,
    Corrupt,
    Delay,
    Duplicate,
    Jitter,
    Loss,
    Mtu,
    Outage,
    Rate,
    Rebind,
    Reorder,
)

ROOT = Path(__file__).resolve().parents[2]
FIRST = int(os.environ.get("RUDP_SEED", "0"))
SEEDS = range(FIRST, FIRST + 3)
RATE = 12_500_000


def assert_delivered(outcome: Outcome, seed: int, connections: int = 1) -> None:
    summary = outcome._replace(stats=None, connect_seconds=())
    assert not outcome.problems, f"seed {seed}: {summary}"
    assert outcome.delivered == connections, f"seed {seed}: {summary}"
    assert not outcome.timed_out_ends, f"seed {seed}: {summary}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_the_scenarios_of_the_bench(scenario: Scenario) -> None:
    seed = FIRST + sys.version_info.minor
    outcome = scenario.run(seed)
    assert not faults(scenario, outcome), f"python -m bench.scenarios --only {scenario.name} --seed {seed}"
    assert outcome.connected >= scenario.connected * outcome.connections, f"seed {seed}"


PROGRAM = """
from bench.simulated import Pair
from rudp.sim import *
def nodes(): return [Rate(5e6, 100_000), Delay(0.02), Jitter(0.005), Loss(0.03), Duplicate(0.02), Corrupt(0.02)]
outcome = Pair(11, forth=nodes(), back=nodes(), size=400_000, connections=4).run()
print(outcome.digest, outcome.delivered, outcome.events)
"""


def test_the_same_seed_gives_the_same_bytes_under_any_hash_seed() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0].split()[1] == "4"


def test_another_seed_gives_other_bytes() -> None:
    outcomes = [Pair(seed, forth=[Delay(0.01)], back=[Delay(0.01)], size=10_000).run() for seed in (1, 2)]
    assert outcomes[0].digest != outcomes[1].digest


@pytest.mark.parametrize("window", [0.0, 0.0005, 0.005], ids=["no window", "0.5 ms", "5 ms"])
@pytest.mark.parametrize("merging", [0.0, 0.5, 1.0, None], ids=["never", "half", "always", "drawn"])
def test_however_the_card_merges(merging: float | None, window: float) -> None:
    for seed in SEEDS:
        outcome = Pair(
            seed,
            forth=[Rate(RATE, 300_000), Delay(0.01), Loss(0.01)],
            back=[Delay(0.01), Loss(0.01)],
            size=1_000_000,
            merging=merging,
            window=window,
        ).run()
        assert_delivered(outcome, seed)


BAD_PATHS = {
    "reordering": lambda: [Delay(0.01), Reorder(0.1, 0.005)],
    "reordering beyond the thresholds": lambda: [Delay(0.01), Reorder(0.2, 0.1)],
    "half duplicated": lambda: [Delay(0.01), Duplicate(0.5)],
    "half duplicated late": lambda: [Delay(0.01), Duplicate(0.5, 0.05)],
    "jitter of five times the delay": lambda: [Delay(0.01), Jitter(0.05)],
    "jitter in order": lambda: [Delay(0.01), Jitter(0.05, keep_order=True)],
    "corruption": lambda: [Delay(0.01), Corrupt(0.1, max_bytes=20)],
    "a queue of four packets": lambda: [Rate(1_250_000, queue_packets=4), Delay(0.01)],
    "a queue of one packet": lambda: [Rate(1_250_000, queue_packets=1), Delay(0.01)],
    "a modem": lambda: [Rate(7_000, queue_bytes=20_000), Delay(0.1)],
    "a second each way": lambda: [Delay(1.0), Loss(0.02)],
    "long bursts": lambda: [Delay(0.01), BurstLoss(0.1, 40)],
    "all at once": lambda: [
        Rate(2_500_000, 50_000),
        Delay(0.01),
        Jitter(0.005),
        Loss(0.05),
        Reorder(0.05, 0.01),
        Duplicate(0.05),
        Corrupt(0.05),
    ],
}


@pytest.mark.parametrize("name", BAD_PATHS)
def test_bad_paths(name: str) -> None:
    nodes = BAD_PATHS[name]
    size = 60_000 if name == "a modem" else 500_000
    for seed in SEEDS:
        assert_delivered(Pair(seed, forth=nodes(), back=nodes(), size=size).run(), seed)


@pytest.mark.parametrize("congestion", ["model", "new_reno"])
def test_both_controllers(congestion: str) -> None:
    config = Config(congestion=congestion)
    for seed in SEEDS:
        outcome = Pair(
            seed,
            forth=[Rate(RATE, 300_000), Delay(0.01), Loss(0.02)],
            back=[Delay(0.01), Loss(0.02)],
            size=1_000_000,
            config=config,
        ).run()
        assert_delivered(outcome, seed)


@pytest.mark.parametrize("protection", ["none", "crc32"])
def test_many_connections_at_once(protection: str) -> None:
    outcome = Pair(
        FIRST,
        forth=[Rate(RATE, 300_000), Delay(0.01), Loss(0.02)],
        back=[Delay(0.01), Loss(0.02)],
        size=20_000,
        connections=100,
        connect_every=0.001,
        config=Config(protection=protection),
    ).run()
    assert_delivered(outcome, FIRST, connections=100)


def test_a_path_that_takes_no_full_packets_ends_in_a_typed_timeout() -> None:
    """The opening fits, data doesn't, and discovery is off: small probes and ACKs get through, but nothing more."""
    pair = Pair(
        FIRST,
        forth=[Mtu(1400), Delay(0.01)],
        back=[Mtu(1400), Delay(0.01)],
        size=100_000,
        config=Config(max_datagram_size=1472, path_mtu_discovery=False),
    )
    outcome = pair.run(until=1_000.0)
    assert not outcome.delivered
    assert outcome.timed_out_ends >= 1, outcome
    assert outcome.seconds < 200


def test_a_nat_that_rebinds_in_mid_transfer() -> None:
    for seed in SEEDS:
        rebind = Rebind(0.3, ("10.0.0.1", 50_000))
        outcome = Pair(
            seed,
            forth=[Rate(RATE, 300_000), rebind, Delay(0.02), Loss(0.01)],
            back=[Delay(0.02), Loss(0.01), rebind.reverse],
            size=5_000_000,
        ).run()
        assert_delivered(outcome, seed)
        assert rebind.rebound > 100


def test_a_client_that_moves_to_another_host() -> None:
    for seed in SEEDS:
        rebind = Rebind(0.3, ("192.0.2.77", CLIENT[1]))
        outcome = Pair(
            seed,
            forth=[Rate(RATE, 300_000), rebind, Delay(0.02)],
            back=[Delay(0.02), rebind.reverse],
            size=5_000_000,
        ).run()
        assert_delivered(outcome, seed)
        assert rebind.rebound > 100


def test_an_ack_path_of_a_hundredth_does_not_choke_the_transfer() -> None:
    outcome = Pair(
        FIRST,
        forth=[Rate(RATE, 625_000), Delay(0.025)],
        back=[Rate(RATE / 100, 12_500), Delay(0.025)],
        size=20_000_000,
    ).run()
    assert_delivered(outcome, FIRST)
    assert 20_000_000 / outcome.transfer_seconds > 0.7 * RATE


@pytest.mark.parametrize("down", [0.5, 5.0, 20.0])
def test_a_path_that_goes_down_and_comes_back(down: float) -> None:
    """An outage shorter than the idle timeout costs its own length and a probe's interval, not the connection."""
    for seed in SEEDS:
        outcome = Pair(
            seed,
            forth=[Rate(RATE, 300_000), Delay(0.02), Outage(0.3, 0.3 + down)],
            back=[Delay(0.02), Outage(0.3, 0.3 + down)],
            size=5_000_000,
        ).run()
        assert_delivered(outcome, seed)
        assert outcome.transfer_seconds < down + 6.0


def test_a_slow_reader_gets_all() -> None:
    outcome = Pair(
        FIRST,
        forth=[Rate(RATE, 300_000), Delay(0.01)],
        back=[Delay(0.01)],
        size=2_000_000,
        read_bytes=1_000,
        config=Config(initial_receive_window=4096, receive_window=16_384),
    ).run()
    assert_delivered(outcome, FIRST)
