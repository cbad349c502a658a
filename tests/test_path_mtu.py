"""Laws of the search for a path's packet size, and of noticing that it no longer holds.

`Link` is the path and its loss recovery in one: of each packet it says, a round trip after it left, whether it was
acknowledged or lost. Probes go when the machine asks for them, followed by full packets, as with a sender of much data.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.path_mtu import (
    BASE_PLPMTU,
    BLACK_HOLE_FLIGHTS,
    BLACK_HOLE_TIMEOUTS,
    FIRST_PAUSE,
    MAX_PROBES,
    PMTU_RAISE_TIMER,
    SEARCH_STEP,
    PathMtu,
    SearchState,
)
from rudp.sent_packets import SentTrain
from rudp.train import Address

FAR: Address = ("192.0.2.1", 4433)
FAR_IPV6: Address = ("2001:db8::1", 4433, 0, 0)
NEAR: Address = ("127.0.0.1", 4433)
NEAR_IPV6: Address = ("::1", 4433, 0, 0)
LARGEST = 65507
RTT = 0.05
PACKETS = 10
NETWORKS = (1280, 1400, 1420, 1450, 1480, 1492, 1500, 9000)

Loss = Callable[[SentTrain], bool]


class Link:
    """A machine at work: `mtu` is what the path carries in bytes of payload, `lost` says what else goes missing."""

    def __init__(
        self,
        mtu: int,
        *,
        limit: int | None = None,
        lost: Loss = lambda train: False,
        remote: Address = FAR,
        initial: int = BASE_PLPMTU,
        peer: int = LARGEST,
    ) -> None:
        self.mtu = mtu
        self.lost = lost
        self.now = 100.0
        self.number = 0
        self.probes: list[int] = []
        self.machine = PathMtu(initial, discover=True, limit=limit)
        self.machine.open(remote, peer)

    def packet(self, size: int, *, probe: bool = False) -> SentTrain:
        self.number += 1
        return SentTrain(self.number, 1, self.now, size, size, mtu_probe=probe)

    def probe(self) -> list[SentTrain]:
        """The probe that is due, on its way, if there is one."""
        size = self.machine.next_probe(self.now)
        if not size:
            return []
        assert self.machine.size < size <= self.machine.bound
        self.machine.on_probe_sent(size)
        assert not self.machine.next_probe(self.now), "one probe at a time"
        self.probes.append(size)
        return [self.packet(size, probe=True)]

    def round(self, size: int | None = None) -> None:
        """One round trip: a probe if one is due, then some packets of `size` bytes (full ones)."""
        flight = self.probe() + [self.packet(size or self.machine.size) for _ in range(PACKETS)]
        self.now += RTT
        self.resolve(flight, [train.last_size <= self.mtu and not self.lost(train) for train in flight])

    def resolve(self, flight: list[SentTrain], passed: list[bool]) -> None:
        for train, arrived in zip(flight, passed, strict=True):
            if arrived:
                self.machine.on_acked([train], self.now)
        for train, arrived in zip(flight, passed, strict=True):
            if not arrived:
                self.machine.on_lost(train, self.now)
        assert BASE_PLPMTU <= self.machine.size <= self.machine.bound

    def settle(self, rounds: int = 300) -> int:
        """Go on until the search is complete; the round trips that took."""
        for done in range(rounds):
            if self.machine.state is SearchState.SEARCH_COMPLETE:
                return done
            self.round()
        raise AssertionError(f"still {self.machine.state} at {self.machine.size} of {self.mtu}")

    def settled(self) -> Link:
        self.settle()
        self.probes.clear()
        return self

    def only_small_passes(self) -> None:
        """A flight of one full packet, lost, and a small one that arrives."""
        flight = [self.packet(self.machine.size), self.packet(100)]
        self.now += RTT
        self.resolve(flight, [False, True])


def is_near(size: int, mtu: int, bound: int) -> bool:
    """Not above the truth, and less than a step below it."""
    truth = min(mtu, bound)
    return truth - SEARCH_STEP < size <= truth


class TestSearch:
    @given(mtu=st.integers(BASE_PLPMTU, LARGEST), limit=st.none() | st.integers(BASE_PLPMTU, LARGEST))
    def test_it_ends_within_a_step_of_what_passes(self, mtu: int, limit: int | None) -> None:
        link = Link(mtu, limit=limit)
        link.settle()
        assert is_near(link.machine.size, mtu, link.machine.bound)

    @given(mtu=st.integers(BASE_PLPMTU, LARGEST), pattern=st.lists(st.booleans(), max_size=100))
    def test_fewer_losses_in_a_row_than_refuse_a_size_change_nothing(self, mtu: int, pattern: list[bool]) -> None:
        drawn = iter(pattern)
        in_a_row = {0: 0}

        def lost(train: SentTrain) -> bool:
            if not train.mtu_probe or in_a_row.get(train.last_size, 0) == MAX_PROBES[0] - 1 or not next(drawn, False):
                return False
            in_a_row[train.last_size] = in_a_row.get(train.last_size, 0) + 1
            return True

        link = Link(mtu, limit=LARGEST, lost=lost)
        link.settle()
        assert is_near(link.machine.size, mtu, link.machine.bound)

    @pytest.mark.parametrize("mtu", [mtu - 28 for mtu in NETWORKS])
    def test_sizes_that_networks_have_are_found_to_the_byte(self, mtu: int) -> None:
        link = Link(mtu, limit=9000 - 28)
        link.settle()
        assert link.machine.size == mtu

    @pytest.mark.parametrize(
        ("remote", "size", "rounds"),
        [(FAR, 1472, 2), (FAR_IPV6, 1452, 2), (NEAR, 65507, 1), (NEAR_IPV6, 65488, 1)],
    )
    def test_a_path_that_carries_the_usual_takes_one_probe(self, remote: Address, size: int, rounds: int) -> None:
        link = Link(LARGEST, remote=remote)
        assert link.settle() == rounds
        assert link.probes == [size]
        assert link.machine.size == link.machine.bound == size

    @pytest.mark.parametrize(("mtu", "rounds"), [(1492 - 28, 10), (1420 - 28, 20), (1280 - 28, 24)])
    def test_tunnels_take_some_round_trips(self, mtu: int, rounds: int) -> None:
        link = Link(mtu)
        assert link.settle() <= rounds, link.probes

    def test_the_peers_limit_and_the_own_one_bound_it(self) -> None:
        assert Link(LARGEST, limit=9000, peer=1300).settled().machine.size == 1300
        assert Link(LARGEST, limit=1400).settled().machine.size == 1400
        assert Link(LARGEST, limit=BASE_PLPMTU).settled().machine.size == BASE_PLPMTU

    def test_nothing_is_probed_before_a_full_packet_was_acknowledged(self) -> None:
        link = Link(LARGEST)
        for _ in range(10):
            link.round(500)
        assert link.machine.state is SearchState.BASE
        assert not link.probes
        link.round()
        link.round()
        assert link.probes

    def test_within_a_machine_the_opening_confirmed_the_base(self) -> None:
        """SYN and SYN_ACK have its size, and no more: nothing says that a larger one to begin with passes."""
        assert Link(LARGEST, remote=NEAR).machine.next_probe(0.0) == LARGEST
        assert not Link(LARGEST, remote=NEAR, initial=1400).machine.next_probe(0.0)
        assert not Link(LARGEST, remote=FAR).machine.next_probe(0.0)

    def test_a_probe_lost_by_mistake_and_acknowledged_later_counts(self) -> None:
        link = Link(1472)
        link.round()
        refused = []
        for _ in range(MAX_PROBES[1]):
            refused += link.probe()
            link.now += RTT
            link.resolve(refused[-1:], [False])
            if link.machine.next_probe(link.now) != 1472:
                break
        assert link.machine.next_probe(link.now) < 1472
        link.machine.on_acked([refused[0]], link.now)
        assert link.machine.size == 1472
        assert link.machine.state is SearchState.SEARCH_COMPLETE

    def test_without_discovery_the_size_stays(self) -> None:
        machine = PathMtu(1400, discover=False, limit=None)
        assert machine.open(FAR, LARGEST) == 1400
        for number in range(1, 100):
            machine.on_acked([SentTrain(number, 1, 1.0, 1400, 1400)], 2.0)
            assert not machine.next_probe(2.0)
        machine.on_probe_timeout(9, [SentTrain(100, 1, 3.0, 1400, 1400)], 4.0)
        assert machine.on_path_changed(FAR_IPV6, 5.0) == 1400
        assert machine.state is SearchState.DISABLED
        assert PathMtu(1400, discover=False, limit=None).open(FAR, 1300) == 1300


class TestLoss:
    @pytest.mark.parametrize(("rate", "wrong"), [(0.15, 0.01), (0.5, 0.02)])
    def test_chance_hardly_ever_refuses_a_size(self, rate: float, wrong: float) -> None:
        """1,000 searches for the one size 1,472: refused by chance with rate^n <= 0.1 % each."""
        low = 0
        for seed in range(1000):
            random = Random(f"{rate} {seed}")
            link = Link(1472, lost=lambda train: random.random() < rate)  # noqa: B023
            link.settle()
            low += link.machine.size < 1472
        assert low <= wrong * 1000

    @pytest.mark.parametrize("mtu", [1252, 1392, 1464, 5000])
    def test_at_15_percent_the_search_ends_near_the_truth(self, mtu: int) -> None:
        near = 0
        for seed in range(100):
            random = Random(f"{mtu} {seed}")
            link = Link(mtu, limit=8972, lost=lambda train: random.random() < 0.15)  # noqa: B023
            link.settle()
            near += is_near(link.machine.size, mtu, 8972)
        assert near >= 95

    def test_the_losses_that_refuse_a_size_grow_with_the_loss_rate(self) -> None:
        tries = []
        for rate in (0.0, 0.15, 0.3, 0.5, 0.9):
            random = Random(1)
            link = Link(BASE_PLPMTU, limit=BASE_PLPMTU, lost=lambda train: random.random() < rate)  # noqa: B023
            for _ in range(100):
                link.round()
            tries.append(link.machine.max_probes)
        assert tries == [3, 4, 6, 10, 10]


class TestRaise:
    def test_a_path_that_stayed_as_it_was_costs_one_size(self) -> None:
        link = Link(1392).settled()
        link.now += PMTU_RAISE_TIMER - 1.0
        link.round()
        assert not link.probes
        link.now += 1.0
        link.settled()
        for _ in range(10):
            link.round()
        assert set(link.probes) == {1392 + SEARCH_STEP}
        assert link.machine.size == 1392

    def test_a_path_that_grew_is_found(self) -> None:
        link = Link(1392).settled()
        link.mtu = 1500
        link.now += PMTU_RAISE_TIMER
        for _ in range(4):
            link.round()
        assert link.machine.size == 1472

    def test_at_the_bound_nothing_is_asked(self) -> None:
        link = Link(1500).settled()
        link.now += 10 * PMTU_RAISE_TIMER
        link.round()
        assert not link.probes


class TestBlackHole:
    def test_small_packets_that_pass_where_large_ones_do_not(self) -> None:
        link = Link(1472).settled()
        for _ in range(BLACK_HOLE_FLIGHTS - 1):
            link.only_small_passes()
            assert link.machine.size == 1472
        link.only_small_passes()
        assert link.machine.size == BASE_PLPMTU
        assert link.machine.black_holes == 1

    def test_a_whole_flight_lost_at_once_counts_as_one(self) -> None:
        link = Link(1472).settled()
        flight = [link.packet(1472) for _ in range(50)] + [link.packet(100)]
        link.now += RTT
        link.resolve(flight, [False] * 50 + [True])
        assert link.machine.size == 1472

    def test_a_large_packet_that_passes_clears_the_suspicion(self) -> None:
        link = Link(1472).settled()
        for _ in range(10 * BLACK_HOLE_FLIGHTS):
            link.only_small_passes()
            link.round()
        assert not link.machine.black_holes

    @pytest.mark.parametrize("rate", [0.15, 0.5])
    def test_random_loss_is_none(self, rate: float) -> None:
        random = Random(7)
        link = Link(1472).settled()
        link.lost = lambda train: random.random() < rate
        for _ in range(2000):
            link.round()
        assert not link.machine.black_holes

    def test_probe_timeouts_with_large_packets_outstanding(self) -> None:
        link = Link(1472).settled()
        outstanding = [link.packet(1472)]
        for count in range(1, BLACK_HOLE_TIMEOUTS):
            link.machine.on_probe_timeout(count, outstanding, link.now)
            assert link.machine.size == 1472
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [link.packet(900)], link.now)
        assert link.machine.size == 1472
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, outstanding, link.now)
        assert link.machine.size == BASE_PLPMTU

    @pytest.mark.parametrize(("rate", "timeouts"), [(0.01, 2), (0.04, 2), (0.1, 3), (0.15, 4), (0.6, 6)])
    def test_more_probe_timeouts_where_chance_often_brings_them_about(self, rate: float, timeouts: int) -> None:
        """Each time but the first a pair of probes is lost, or its acknowledgement."""
        random = Random(7)
        link = Link(1472).settled()
        link.lost = lambda train: random.random() < rate
        for _ in range(200):
            link.round()
        outstanding = [link.packet(1472)]
        for count in range(1, timeouts):
            link.machine.on_probe_timeout(count, outstanding, link.now)
        assert not link.machine.black_holes
        link.machine.on_probe_timeout(timeouts, outstanding, link.now)
        assert link.machine.black_holes == 1

    def test_a_first_size_that_is_too_large_is_left_at_the_second(self) -> None:
        link = Link(1472, initial=9000)
        assert link.machine.size == 9000
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [link.packet(9000)], link.now)
        assert link.machine.size == BASE_PLPMTU

    def test_that_packets_of_a_first_size_were_lost_is_no_reason_to_keep_it(self) -> None:
        """Found by the swarm: they were taken for a high loss rate, and a connection gave up before its size did."""
        link = Link(1472, initial=9000)
        link.resolve([link.packet(9000), link.packet(100), link.packet(9000)], [False, True, False])
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [link.packet(9000)], link.now)
        assert link.machine.size == BASE_PLPMTU

    @pytest.mark.parametrize("acked", [0, 1, 3])
    def test_nor_is_it_that_small_ones_were(self, acked: int) -> None:
        """Found by the swarm: with a small packet lost by chance and another acknowledged four probe timeouts weren't
        enough, and a connection gave up after fifteen seconds of packets that nothing of their size was seen to pass.
        """
        link = Link(1472, initial=9000)
        small = [link.packet(100) for _ in range(acked + 1)]
        link.resolve(small, [False] + [True] * acked)
        link.machine.on_probe_timeout(1, [link.packet(9000)], link.now)
        assert not link.machine.black_holes
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [link.packet(9000)], link.now)
        assert link.machine.size == BASE_PLPMTU

    def test_the_short_last_packet_of_a_train_is_no_evidence(self) -> None:
        link = Link(1472).settled()
        train = SentTrain(1000, 10, link.now, 1472, 9 * 1472 + 300)
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [train.piece(1009, 1010)], link.now)
        assert not link.machine.black_holes
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [train.piece(1008, 1010)], link.now)
        assert link.machine.black_holes == 1

    def test_probes_of_the_search_are_no_evidence(self) -> None:
        link = Link(1400).settled()
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [link.packet(1440, probe=True)], link.now)
        assert not link.machine.black_holes

    def test_after_an_outage_the_size_is_back_within_two_round_trips(self) -> None:
        link = Link(1392).settled()
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [link.packet(1392)], link.now)
        link.now += 1.0
        link.round()
        link.round()
        assert link.machine.size == 1392
        assert link.probes == [1392]

    def test_what_was_sent_before_says_nothing_after(self) -> None:
        link = Link(1472).settled()
        old = [link.packet(1472), link.packet(1472, probe=True)]
        link.now += RTT
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, old, link.now)
        link.resolve(old, [True, True])
        assert link.machine.size == BASE_PLPMTU
        assert link.machine.state is SearchState.BASE

    def test_a_smaller_path_is_searched_anew(self) -> None:
        link = Link(1472).settled()
        link.mtu = 1392
        for _ in range(BLACK_HOLE_FLIGHTS):
            link.only_small_passes()
        link.settle()
        assert link.machine.size == 1392

    def test_falls_that_repeat_are_searched_ever_later(self) -> None:
        link = Link(1472).settled()
        pauses = []
        for _ in range(5):
            link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [link.packet(1472)], link.now)
            fell = link.now
            link.probes.clear()
            while not link.probes:
                link.round()
            pauses.append(link.now - fell)
            link.settle()
        # Two round trips go by in any case: BASE is confirmed first, and the probe itself takes one.
        assert pauses == pytest.approx([2 * RTT] + [FIRST_PAUSE * 2**n + RTT for n in range(4)], abs=2 * RTT)
        link.now += 2 * PMTU_RAISE_TIMER
        link.machine.on_probe_timeout(BLACK_HOLE_TIMEOUTS, [link.packet(1472)], link.now)
        link.probes.clear()
        link.round()
        link.round()
        assert link.probes

    def test_a_path_that_does_not_carry_the_base_is_an_error_until_it_does(self) -> None:
        link = Link(BASE_PLPMTU)
        for _ in range(BLACK_HOLE_FLIGHTS):
            link.only_small_passes()
        assert link.machine.state is SearchState.ERROR
        assert not link.machine.next_probe(link.now)
        link.mtu = 1472
        link.round()
        assert link.machine.state is SearchState.SEARCHING


class TestPath:
    def test_another_path_starts_at_the_base_and_by_its_own_kind(self) -> None:
        link = Link(LARGEST, remote=NEAR).settled()
        old = link.packet(9000, probe=True)
        link.now += RTT
        assert link.machine.on_path_changed(FAR_IPV6, link.now) == BASE_PLPMTU
        assert link.machine.bound == 1452
        link.machine.on_acked([old], link.now)
        assert link.machine.size == BASE_PLPMTU
        link.settle()
        assert link.machine.size == 1452

    def test_what_the_machine_itself_refuses_is_too_big_at_once(self) -> None:
        link = Link(1392)
        link.round()
        while sent := link.probe():
            if sent[0].last_size > link.mtu:
                link.machine.on_too_big(sent[0].last_size, link.now)
            else:
                link.machine.on_acked([sent[0]], link.now)
        assert link.machine.size == 1392
        assert len(link.probes) <= 6

    def test_full_packets_that_the_machine_refuses_are_a_black_hole(self) -> None:
        link = Link(1472).settled()
        link.machine.on_too_big(1472, link.now)
        assert link.machine.size == BASE_PLPMTU
        link.machine.on_too_big(BASE_PLPMTU, link.now)
        assert link.machine.black_holes == 1


@given(st.integers(0, 1 << 32))
def test_an_ack_of_many_trains_is_as_one_of_each(seed: int) -> None:
    """Also where a probe is among them, and what was sent before it had the size before it."""
    random = Random(seed)
    together, apart = Link(1500), Link(1500)
    for _ in range(60):
        size = together.machine.size - random.choice((0, 0, 1))
        flights = [link.probe() + [link.packet(size) for _ in range(4)] for link in (together, apart)]
        places = sorted(random.sample(range(len(flights[0])), random.randrange(len(flights[0]) + 1)))
        for link, flight in zip((together, apart), flights, strict=True):
            link.now += RTT
            came = [flight[place] for place in places]
            if link is together:
                link.machine.on_acked(came, link.now)
            else:
                for train in came:
                    link.machine.on_acked([train], link.now)
            for train in flight:
                if train not in came:
                    link.machine.on_lost(train, link.now)
        for name in PathMtu.__slots__:
            assert getattr(together.machine, name) == getattr(apart.machine, name), name
