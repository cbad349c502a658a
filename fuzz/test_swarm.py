"""Invariant: in any world that a seed draws (hosts, paths, faults, workload, configuration) every byte that is read was
written, once, in order and unaltered; a connection ends at both ends, in good order if nothing forbids it, else in a
typed error that what was done to it explains; nothing is waited for or held for ever once the network is well.

`python -m fuzz swarm --seeds 10000` runs many on all cores, `--replay SEED` tells one packet by packet. What was found
is kept in FOUND, by its seed if that says it best, else as a test beside what was mended.
"""

from __future__ import annotations

import pytest

from fuzz import swarm, worlds
from fuzz.plans import draw
from fuzz.running import default_seed

SHORT = 120
# Seed -> what it found.
FOUND = {
    1099: "RETRY was taken once in an opening, so an address that changed after it tried in vain",
    3869: "the same, with cookies because of max_half_open",
    101031: "a first packet size that was too large was left after the connection had given up",
}


def test_some_worlds() -> None:
    first = default_seed()
    for seed in range(first, first + SHORT):
        outcome = worlds.run(draw(seed))
        assert not outcome.failure, f"python -m fuzz swarm --replay {seed}\n{outcome.failure}"


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_stays_mended(seed: int) -> None:
    assert not worlds.run(draw(seed)).failure, FOUND[seed]


def test_a_seed_is_one_world() -> None:
    plan = draw(7)
    assert draw(7) == plan != draw(8)
    assert worlds.run(plan) == worlds.run(plan)


def test_a_world_that_is_told_is_the_same_world() -> None:
    """And its story has every packet, with what became of it."""
    plan = draw(3)
    told = worlds.tell(plan)
    assert "SYN try 1" in told
    assert "arrives" in told
    assert told.endswith("no failure")


class Broken(Exception):
    """What the planted fault raises."""


def test_a_failure_is_told_and_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(self: worlds.World) -> None:
        if self.plan.client.sends:
            raise Broken

    monkeypatch.setattr(worlds.World, "_judge", judge)
    seed = next(seed for seed in range(100) if draw(seed).client.sends and draw(seed).forth.loss)
    plan = draw(seed)
    assert "Broken" in worlds.run(plan).failure
    small = swarm.shrink(plan, lambda _: None)
    assert small.client.sends
    assert not small.forth.loss
    assert len(str(small)) < len(str(plan)) / 2
    total = swarm.fly(seed, 1, 1, show=False)
    assert list(total.failures) == [seed]
