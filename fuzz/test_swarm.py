"""Invariant: in any world that a seed draws (hosts, paths, faults, workload, configuration) every byte that is read was
written, once, in order and unaltered; a connection ends at both ends, in good order if nothing forbids it, else in a
typed error that what was done to it explains; nothing is waited for or held for ever once the network is well.

`python -m fuzz swarm --seeds 10000` runs many on all cores, `--replay SEED` tells one packet by packet. What was found
is kept in FOUND, and as a test beside what was mended.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fuzz import swarm, worlds
from fuzz.plans import Plan, Send, Side, draw
from fuzz.running import default_seed
from rudp.testing import Faults

SHORT = 120
# What was found, as the plan that was left of it, since a seed draws another world when a draw is added.
FOUND = {
    "RETRY was taken once in an opening, so an address that changed after it tried in vain": Plan(
        seed=1, until=1.0, rebinds=(0.025,), config=(("keepalive", 1.0),), server_config=(("retry", "always"),)
    ),
    "the same, with cookies because of max_half_open": Plan(
        seed=3869,
        forth=Faults(delay=0.651816, until=5.0),
        back=Faults(delay=0.01, until=5.0),
        server_config=(("max_half_open", 0),),
        merging=0.5,
        rebinds=(1.1586136970865883,),
    ),
    "a first packet size that was too large was left after the connection had given up": Plan(
        seed=101031,
        forth=Faults(delay=0.44820782662372294, jitter=0.5914635752966146, mtu=1269, until=5.0),
        client=Side(
            sends=(
                Send(kind="main", size=700),
                Send(kind="bidi", at=3.5697285658643754, size=600),
                Send(kind="bidi", at=0.13155544751844217, size=784, chunk=63),
                Send(kind="bidi", size=17619),
            )
        ),
        server=Side(stop_after=468),
        config=(
            ("congestion", "cubic"),
            ("initial_receive_window", 4096),
            ("receive_window", 8192),
            ("max_datagram_size", 8000),
            ("give_up_timeout", 15.0),
        ),
        merging=0.5,
    ),
}


def test_some_worlds() -> None:
    first = default_seed()
    for seed in range(first, first + SHORT):
        outcome = worlds.run(draw(seed))
        assert not outcome.failure, f"python -m fuzz swarm --replay {seed}\n{outcome.failure}"


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_stays_mended(what: str) -> None:
    failure = worlds.run(FOUND[what]).failure
    assert not failure, failure


def test_an_opening_of_two_long_round_trips_may_time_out() -> None:
    """Half of all packets came 3.8 s late, and a SYN with its cookie goes to and fro twice in 10 s (seed 5000299)."""
    plan = draw(5_000_299)
    assert plan.opens_late
    assert plan.may_fail
    assert not Plan(seed=1, forth=Faults(delay=1.0), back=Faults(delay=1.0)).may_fail
    assert not worlds.run(plan).failure


def test_an_opening_may_starve_where_more_connections_share_a_queue_than_it_holds_packets() -> None:
    """Eight SYNs in a row found two packets of other connections, of 8 kB each, in a queue of two (seed 11011331)."""
    plan = draw(11_011_331)
    assert plan.starves
    assert not plan.may_fail, "nothing else of it may end in an error"
    assert not replace(plan, clients=1, connections=1).starves
    outcome = worlds.run(plan)
    assert not outcome.failure, outcome.failure


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
