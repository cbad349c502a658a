"""The peer's address changes: NAT rebinding, moving, replays, hopping; validation and its bounds."""

from __future__ import annotations

import pytest

from rudp import wire
from rudp.config import Config
from rudp.events import PathChanged
from rudp.path import AMPLIFICATION_FACTOR, MAX_CHALLENGES, Path, Paths
from rudp.path_mtu import PathMtu
from rudp.train import Address
from tests.pair import CLIENT, SERVER, Packet, Pair

NEW_PORT: Address = (CLIENT[0], 9999)
NEW_HOST: Address = ("10.9.9.9", 1111)
ATTACKER: Address = ("192.0.2.66", 666)
MTU = PathMtu.by_config(Config())


def is_challenge(packet: Packet) -> bool:
    return packet.has(wire.PathChallenge)


def transfer(pair: Pair, sender: str, mover: str, address: Address, size: int = 300_000) -> None:
    """`mover` changes its address in the middle of a transfer from `sender`."""
    source, sink = (pair.client, "s") if sender == "c" else (pair.server, "c")
    received = len(pair.received.get((sink, 0), b""))
    source.send(0, bytes(size))
    pair.until(lambda: len(pair.received.get((sink, 0), b"")) > received + size // 4)
    pair.move(mover, address)
    pair.until(lambda: len(pair.received.get((sink, 0), b"")) == received + size)


@pytest.mark.parametrize("sender", ["c", "s"])
@pytest.mark.parametrize("mover", ["c", "s"])
@pytest.mark.parametrize("address", [("10.0.0.1", 9999), ("10.9.9.9", 1111)], ids=["port", "host"])
def test_a_transfer_survives_a_new_address(sender: str, mover: str, address: Address) -> None:
    pair = Pair()
    if sender != mover:
        # Who only acknowledges must say something from its new address for the other to know it.
        pair.client.ping()
    transfer(pair, sender, mover, address)
    other, seen = ("s", pair.server) if mover == "c" else ("c", pair.client)
    pair.run(2)
    assert seen.remote_address == address
    assert pair.events_of(other, PathChanged) == [PathChanged(address)]
    assert pair.ends("c") == pair.ends("s") == []


def test_what_goes_to_a_new_address_before_it_is_validated() -> None:
    """Pair checks the factor of three; here the responses are lost, so it stays unvalidated."""
    pair = Pair()
    server = pair.server
    pair.drop(lambda p: p.sender == "c" and p.has(wire.PathResponse))
    server.send(0, bytes(200_000))
    pair.move("c", NEW_PORT, keep=True)
    pair.client.ping()
    pair.run(5)
    assert not pair.events_of("s", PathChanged)
    assert server.remote_address == CLIENT
    there = [p for p in pair.packets("s") if p.destination == NEW_PORT]
    assert there
    assert all(is_challenge(p) or p.has(wire.PathResponse) for p in there)


def settled(pair: Pair) -> tuple[int, float]:
    server = pair.server
    server.send(0, bytes(400_000))
    pair.run(3)
    stats = server.stats(pair.now)
    return stats.congestion_window, stats.smoothed_rtt


def test_a_new_port_keeps_the_congestion_state() -> None:
    pair = Pair()
    window, rtt = settled(pair)
    pair.move("c", NEW_PORT)
    pair.client.ping()
    pair.until(lambda: bool(pair.events_of("s", PathChanged)))
    stats = pair.server.stats(pair.now)
    assert stats.congestion_window == window
    assert stats.smoothed_rtt == pytest.approx(rtt, rel=0.2)


def test_a_new_host_starts_it_anew() -> None:
    pair = Pair()
    window, _ = settled(pair)
    fresh = Pair().server.stats(0).congestion_window
    assert window > fresh
    pair.move("c", NEW_HOST)
    pair.client.ping()
    pair.until(lambda: bool(pair.events_of("s", PathChanged)))
    stats = pair.server.stats(pair.now)
    assert stats.congestion_window == fresh
    assert stats.latest_rtt == 0.0


def test_a_replay_from_elsewhere_diverts_nothing() -> None:
    pair = Pair()
    pair.client.send(0, bytes(50_000))
    pair.run(1)
    for packet in pair.packets("c", "DATA"):
        pair.inject(packet.data, ATTACKER, SERVER)
    pair.run(2)
    assert pair.server.remote_address == CLIENT
    assert not [p for p in pair.packets("s") if p.destination == ATTACKER]


def test_a_packet_that_overtakes_its_own_copy_from_elsewhere() -> None:
    """An attacker who is faster gets a challenge or two; the next real packet ends that."""
    pair = Pair()
    server = pair.server
    for _ in range(5):
        pair.client.ping()
        pair.flush()
        pair.inject(pair.packets("c", "DATA")[-1].data, ATTACKER, SERVER, 0.01)
        pair.run(0.02)
        assert server.remote_address == CLIENT
    pair.run(0.5)
    pair.client.ping()
    server.send(0, b"to the client")
    pair.run(1)
    assert pair.received["c", 0] == b"to the client"
    assert server.remote_address == CLIENT
    assert server._paths.candidate is None
    there = [p for p in pair.packets("s") if p.destination == ATTACKER]
    assert 1 <= len(there) <= 5
    assert all(is_challenge(p) for p in there)


def test_hopping_is_bounded() -> None:
    pair = Pair()
    server = pair.server
    for number in range(200):
        pair.move("c", ("10.0.3.1", 1000 + number))
        pair.client.ping()
        pair.run(0.001)
    assert server.remote_address == CLIENT
    challenges = [p for p in pair.packets("s") if is_challenge(p)]
    assert len(challenges) <= 200
    pair.run(3)
    assert server.remote_address == ("10.0.3.1", 1199)
    pair.client.send(0, b"still here")
    pair.run(1)
    assert pair.received["s", 0] == b"still here"


def test_a_validation_that_fails_reverts() -> None:
    pair = Pair()
    server = pair.server
    pair.drop(is_challenge)
    pair.move("c", NEW_HOST, keep=True)
    pair.client.ping()
    pair.run(0.3)
    assert server._paths.candidate is not None
    pair.run(20)
    assert server._paths.candidate is None
    assert server.remote_address == CLIENT
    assert len([p for p in pair.packets("s") if is_challenge(p)]) <= MAX_CHALLENGES
    server.send(0, b"by the old way")
    pair.run(1)
    assert pair.received["c", 0] == b"by the old way"


def test_a_response_of_another_challenge_validates_nothing() -> None:
    pair = Pair()
    server = pair.server
    pair.drop(is_challenge)
    pair.move("c", NEW_HOST, keep=True)
    pair.client.ping()
    pair.run(0.2)
    candidate = server._paths.candidate
    assert candidate is not None
    assert server._paths.on_response(b"\0" * 8) is None
    assert server._paths.candidate is candidate


# -- the part itself --------------------------------------------------------------------------------------------


class Numbers:
    """A random source that counts."""

    def __init__(self) -> None:
        self.drawn = 0

    def getrandbits(self, k: int, /) -> int:
        self.drawn += 1
        return self.drawn

    def randbytes(self, n: int, /) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(n, "big")


def test_the_budget_of_an_unvalidated_path() -> None:
    path = Path(CLIENT, None)
    assert path.budget() == 0
    path.bytes_received = 1200
    assert path.budget() == AMPLIFICATION_FACTOR * 1200
    path.bytes_sent = 4000
    assert path.budget() == 0
    path.validated = True
    assert path.budget() > 1 << 60


def test_challenges_back_off_and_end() -> None:
    paths = Paths(Path(CLIENT, None, validated=True), Numbers(), MTU)
    paths.on_received((NEW_HOST, None, 0), 1200, True, 5.0)
    candidate = paths.candidate
    assert candidate is not None
    times = []
    now = 5.0
    while not candidate.failed:
        assert candidate.challenge_due(now)
        times.append(now)
        candidate.on_challenge_sent(now, 0.1)
        assert candidate.challenge_at is not None
        now = candidate.challenge_at
    assert times == pytest.approx([5.0, 5.1, 5.3, 5.7, 6.5])
    paths.handle_timeout(now - 0.01)
    assert paths.candidate is candidate
    paths.handle_timeout(now)
    assert paths.candidate is None


def test_a_challenge_is_drawn_once_for_each_candidate() -> None:
    random = Numbers()
    paths = Paths(Path(CLIENT, None, validated=True), random, MTU)
    for _ in range(5):
        paths.on_received((NEW_HOST, None, 0), 100, True, 1.0)
        assert paths.candidate is not None
    assert random.drawn == 1
    paths.on_received((NEW_HOST, None, 0), 100, False, 1.0)
    assert paths.candidate.bytes_received == 600
    paths.on_received((CLIENT, None, 0), 100, False, 1.0)
    assert paths.candidate is not None, "an old packet from the path in use says nothing"
    paths.on_received((CLIENT, None, 0), 100, True, 1.0)
    assert paths.candidate is None
    assert random.drawn == 1


def test_nobody_need_be_told_of_what_comes_over_the_path_in_use() -> None:
    paths = Paths(Path(CLIENT, None), Numbers(), MTU)
    here = (CLIENT, None, 0)
    paths.on_received(here, 100, True, 1.0)
    assert paths.usual is None, "who isn't validated has a budget that grows by what comes"
    paths.active.validated = True
    paths.on_received(here, 100, True, 1.0)
    assert paths.usual == here
    paths.on_received((NEW_HOST, None, 0), 100, True, 1.0)
    assert paths.usual is None, "while another path may replace it, what comes over this one decides about that"
    paths.on_received(here, 100, False, 1.0)
    assert paths.usual is None
    paths.on_received(here, 100, True, 1.0)
    assert paths.usual == here
    paths.on_received((NEW_HOST, None, 0), 100, True, 1.0)
    new = paths.candidate
    assert new is not None
    assert new.challenge is not None
    assert paths.on_response(new.challenge) is new
    assert paths.usual is None
    paths.on_received((NEW_HOST, None, 0), 100, True, 1.0)
    assert paths.usual == (NEW_HOST, None, 0)
