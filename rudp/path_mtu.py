"""How large the packets of one path may be: search for the largest that passes, and notice when it no longer does.

Knows: the size in use, the sizes that passed or didn't, when to try another, the signs of a black hole.
Refuses to know: packets and their contents, windows, timers, sockets; a caller sends the probes and reports outcomes.

    open, on_path_changed      a path begins
    next_probe(now)            the size to probe now, 0 for none; O(1), and O(table) once a probe
    on_probe_sent, on_lost     O(1) a train
    on_acked                   O(trains) in C, if nothing is suspected
    on_probe_timeout           O(trains outstanding), from the second probe timeout in a row on
    on_too_big                 this machine itself refused a datagram

Sizes are bytes of UDP payload, the PLPMTU of RFC 8899. It is a lower bound found by what was acknowledged:

    BASE              nothing of full size has been acknowledged on this path
    SEARCHING         a larger size may pass; one probe at a time, a round trip each
    SEARCH_COMPLETE   within SEARCH_STEP of what passes, until PMTU_RAISE_TIMER
    ERROR             not even BASE_PLPMTU passes; what is smaller does

The search goes by the sizes that networks have (the path's likely one first, then those between what passed and what
didn't, from the middle), looks just above the one it arrives at, and halves what remains only if that passes too.

There is no timer. A probe is lost when loss recovery says so, and the next goes when there is data to send: an idle
connection sends no probe and wakes nobody, and one that never fills a packet never probes.

A probe is lost by chance with the path's loss rate p, which the other packets tell (that its acknowledgement is lost
matters little: later ones repeat it). So a size is given up after as many losses in a row as have p^n <= 0.1 %: three
to p = 10 %, four at 15 % (0.05 %), ten at 50 %.

Sources: RFC 8899 sections 3, 4.3 and 5; RFC 9000 section 14.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from math import ceil, log
from operator import attrgetter
from typing import Final

from rudp.config import Config
from rudp.never import NEVER_YET
from rudp.sent_packets import SentTrain
from rudp.train import Address

__all__ = ["PathMtu", "SearchState"]

# RFC 9000 section 14: every path carries this; RFC 8899's MIN_PLPMTU and BASE_PLPMTU in one.
BASE_PLPMTU: Final = 1200
# Seconds after which a path that was searched is asked whether it carries more (RFC 8899 section 5.1.1).
PMTU_RAISE_TIMER: Final = 600.0
# Losses of one size in a row that refuse it: RFC 8899 section 5.1.2 says 3; more where chance alone would often do it.
MAX_PROBES: Final = (3, 10)
MISTAKEN_REFUSAL: Final = 0.001
# Packets resolved after which older ones count half for the loss rate.
LOSS_RATE_PACKETS: Final = 2048
# Bytes: a search ends this close to the truth. 16 are 1 % of the smallest packet.
SEARCH_STEP: Final = 16
# Flights, one after another, whose large packets were all lost while smaller ones passed.
BLACK_HOLE_FLIGHTS: Final = 3
# Probe timeouts in a row, with large packets outstanding; more where chance alone would often bring them about.
BLACK_HOLE_TIMEOUTS: Final = 2
# Seconds without search after the second black hole within PMTU_RAISE_TIMER; doubled by each further one.
FIRST_PAUSE: Final = 1.0

IPV4_OVERHEAD: Final = 28
IPV6_OVERHEAD: Final = 48
ETHERNET_MTU: Final = 1500
JUMBO_MTU: Final = 9000
# Bytes of payload on loopback: as much as one UDP datagram over IPv4 has, or over IPv6 on an interface of 65,536.
LOOPBACK_LIMIT: Final = 65507
LOOPBACK_MTU: Final = 65536
# Bytes of IP packets: IPv6's least; tunnels and mobile networks; WireGuard; VXLAN; PPPoE of Japan; Google's cloud; GRE;
# IP in IP; PPPoE; Ethernet; jumbo frames; loopback of BSD and Linux.
COMMON_MTUS: Final = (
    1280, 1320, 1360, 1380, 1400, 1420, 1440, 1450, 1454, 1460, 1476, 1480, 1492, 1500, 4352, 9000, 16384, 32768, 65535
)  # fmt: skip

_COUNT: Final = attrgetter("count")
_IS_PROBE: Final = attrgetter("mtu_probe")


class SearchState(Enum):
    """Where discovery stands, by the names of RFC 8899 section 5.2. DISABLED: the size is fixed."""

    DISABLED = "DISABLED"
    BASE = "BASE"
    SEARCHING = "SEARCHING"
    SEARCH_COMPLETE = "SEARCH_COMPLETE"
    ERROR = "ERROR"


def _largest(train: SentTrain) -> int:
    """Bytes of the train's largest packet; of a piece only the last, shorter one may be left."""
    return train.packet_size if train.count > 1 else train.size


def _unlikely_losses(chance: float) -> int:
    """Losses in a row that chance hardly brings about when it brings about one with that probability."""
    least, most = MAX_PROBES
    if not 0.0 < chance < 1.0:
        return most if chance else least
    return max(least, min(most, ceil(log(MISTAKEN_REFUSAL) / log(chance))))


class PathMtu:
    """The packet size of the path in use.

    `is_on`: whether sizes are searched at all. `ready`: whether a probe may be due, as none is on its way and a full
    packet was acknowledged, or the opening's were of that size. `is_local`: the peer's address is one of loopback.
    """

    __slots__ = (
        "_acked",
        "_expected",
        "_fell_at",
        "_high",
        "_initial",
        "_limit",
        "_lost",
        "_overhead",
        "_passed",
        "_pause",
        "_peer_limit",
        "_probing",
        "_raising",
        "_search_at",
        "_since",
        "_suspect_at",
        "_suspect_number",
        "_suspect_size",
        "_suspects",
        "_tries",
        "black_holes",
        "bound",
        "is_local",
        "is_on",
        "ready",
        "size",
        "state",
    )

    def __init__(self, initial: int, *, discover: bool, limit: int | None) -> None:
        """Start with packets of `initial` bytes; search up to `limit`, or to what the kind of path suggests."""
        self._initial = initial
        self._limit = limit
        self._peer_limit = LOOPBACK_LIMIT
        self._overhead = IPV4_OVERHEAD
        self.size = initial
        self.bound = initial
        self.is_on = discover
        self.is_local = False
        self.state = SearchState.BASE if discover else SearchState.DISABLED
        self.black_holes = 0
        self._expected = self._passed = self._suspects = self._suspect_size = self._suspect_number = 0
        self._pause = self._suspect_at = 0.0
        self._search_at = self._since = self._fell_at = NEVER_YET
        self._begin(initial)

    @classmethod
    def by_config(cls, config: Config) -> PathMtu:
        """As a configuration says."""
        return cls(config.max_datagram_size, discover=config.path_mtu_discovery, limit=config.datagram_size_limit)

    def open(self, remote: Address, peer_limit: int) -> int:
        """Begin on the connection's first path; `peer_limit` is the largest datagram that the peer takes. The size."""
        self._peer_limit = peer_limit
        self.size = self.bound = min(self._initial, peer_limit)
        if self.state is not SearchState.DISABLED:
            self._bound_by(remote)
            self._begin(min(self._initial, self.bound))
            # The opening's packets are of that size, and were answered.
            self.ready = self.is_local and self.size <= BASE_PLPMTU
        return self.size

    def on_path_changed(self, remote: Address, now: float) -> int:
        """Packets go to another host from now on: the size. What is on its way says nothing of the new path."""
        if self.state is not SearchState.DISABLED:
            self._bound_by(remote)
            self._since = self._search_at = now
            self._fell_at = NEVER_YET
            self._begin(BASE_PLPMTU)
        return self.size

    @property
    def may_overdraw(self) -> bool:
        """Whether a probe may go whatever the window is: the first on loopback, which carries it unless the peer is a
        forwarder. Such a one costs a probe timeout; what is tried then waits for room, or each size would.
        """
        return self.is_local and self.state is SearchState.BASE and not self._tries and self._high > self.bound

    def next_probe(self, now: float) -> int:
        """Bytes of the probe to send now, while there is data to send; 0: none."""
        if not self.ready or now < self._search_at or self.size >= self.bound:
            return 0
        if self.state is SearchState.SEARCH_COMPLETE:
            self.state = SearchState.SEARCHING
            self._high = self.bound + 1
            # Most paths stay as they are, which a probe of little more finds out.
            self._raising = True
        return self._candidate()

    def on_probe_sent(self, size: int) -> None:
        """A probe of `size` bytes is on its way."""
        self._probing = size
        self.ready = False

    def on_acked(self, trains: Sequence[SentTrain], now: float) -> None:
        """Trains, or parts of them, were acknowledged; they ascend by number, and so by time."""
        if not trains or self.state is _DISABLED:
            return
        if trains[0].time_sent < self._since:
            trains = [train for train in trains if train.time_sent >= self._since]
        probe = next(filter(_IS_PROBE, trains), None)
        if probe is not None:
            # What was sent before it is judged by the size before it.
            at = trains.index(probe)
            self.on_acked(trains[:at], now)
            self._on_probe_acked(probe.last_size, now)
            self.on_acked(trains[at + 1 :], now)
            return
        self._acked += sum(map(_COUNT, trains))
        if self._suspects and any(
            _largest(train) >= self._suspect_size and train.stop - 1 > self._suspect_number for train in trains
        ):
            self._suspects = 0
        for train in reversed(trains):
            if _largest(train) >= self.size:
                newest = train.first + train.count - 1
                self._passed = newest if newest > self._passed else self._passed
                self.ready = not self._probing
                if self.state in _UNCONFIRMED:
                    self._go_on(now)
                break

    def on_lost(self, train: SentTrain, now: float) -> None:
        """A train, or part of one, was declared lost."""
        if self.state is SearchState.DISABLED or train.time_sent < self._since:
            return
        if train.mtu_probe:
            self._on_probe_lost(train.last_size, now)
            return
        if self.state is not SearchState.BASE or _largest(train) <= BASE_PLPMTU:
            # Of a size that nothing was seen to pass at it isn't chance.
            self._lost += train.count
            if self._lost + self._acked > LOSS_RATE_PACKETS:
                self._lost //= 2
                self._acked //= 2
        if train.stop > self._passed:
            self._suspect(train, now)

    def on_probe_timeout(self, pto_count: int, outstanding: Iterable[SentTrain], now: float) -> None:
        """The probe timeout fired, `pto_count` times in a row."""
        if pto_count < BLACK_HOLE_TIMEOUTS or self.size <= BASE_PLPMTU or self.state is SearchState.DISABLED:
            return
        # Lost so far: what was outstanding, and a pair of probes each time before. Or what acknowledged them. A size
        # that nothing was seen to pass at is left soon, whatever chance does to others.
        chancy = self._lost and self.state not in _UNCONFIRMED
        passed = self._acked / (self._acked + self._lost) if chancy else 1.0
        if 2 * pto_count - 1 < _unlikely_losses(1.0 - passed**2):
            return
        if any(_largest(train) > BASE_PLPMTU and not train.mtu_probe for train in outstanding):
            self._on_black_hole(now)

    def on_too_big(self, size: int, now: float) -> None:
        """This machine itself refused to send `size` bytes: that is certain, and known at once."""
        if size == self._probing:
            self._probing = 0
            self.ready = True
            self._refuse(size, now)
        elif BASE_PLPMTU < size <= self.size and self.state is not SearchState.DISABLED:
            self._on_black_hole(now)

    # -- search -------------------------------------------------------------------------------------------------

    def _bound_by(self, remote: Address) -> None:
        """How far to search: the limit set, else what the kind of path allows; never beyond what the peer takes."""
        host = remote[0]
        is_ipv6 = ":" in host
        is_loopback = host == "::1" or host.startswith("127.")
        self._overhead = IPV6_OVERHEAD if is_ipv6 else IPV4_OVERHEAD
        self.is_local = is_loopback
        usual = min(LOOPBACK_LIMIT, (LOOPBACK_MTU if is_loopback else ETHERNET_MTU) - self._overhead)
        self.bound = max(BASE_PLPMTU, min(self._limit or max(usual, self._initial), self._peer_limit))
        self._expected = min(usual, self.bound)

    def _begin(self, size: int) -> None:
        """Use `size`, with nothing known but that."""
        self.size = size
        if self.state is not SearchState.DISABLED:
            self.state = SearchState.BASE
        self._high = self.bound + 1
        self._probing = self._tries = 0
        self.ready = self._raising = False
        self._acked = self._lost = 0
        # Packet numbers only grow, so what was noted of them holds.
        self._suspects = 0

    def _candidate(self) -> int:
        low, high = self.size, self._high
        common = self._common()
        if high > self.bound:
            if self._raising:
                return min(low + SEARCH_STEP, self.bound)
            if low < self._expected:
                return self._expected
            return next((size for size in common if size in self._rungs() and size < self.bound), self.bound)
        if common:
            return common[len(common) // 2]
        if low + self._overhead in COMMON_MTUS:
            # It has arrived at a size that networks have: a little more, and it is known.
            return low + SEARCH_STEP
        return (low + high) // 2

    def _common(self) -> list[int]:
        """Sizes that networks have, between what passed and what didn't."""
        return [size for mtu in COMMON_MTUS if self.size < (size := mtu - self._overhead) < self._high]

    def _rungs(self) -> tuple[int, int]:
        return ETHERNET_MTU - self._overhead, JUMBO_MTU - self._overhead

    def _go_on(self, now: float) -> None:
        """After an outcome: search on, or be done for now."""
        narrow = self._high <= self.bound and self._high - self.size <= SEARCH_STEP
        done = self.size >= self.bound or (narrow and not self._common())
        self.state = SearchState.SEARCH_COMPLETE if done else SearchState.SEARCHING
        if done:
            self._search_at = now + PMTU_RAISE_TIMER

    def _on_probe_acked(self, size: int, now: float) -> None:
        if size == self._probing:
            self._probing = 0
            self.ready = True
        if size <= self.size:
            return
        # One that had been given for lost may come late.
        self.size = min(size, self.bound)
        self._tries = 0
        self._raising = False
        if self._high <= size:
            self._high = self.bound + 1
        self._go_on(now)

    def _on_probe_lost(self, size: int, now: float) -> None:
        if size != self._probing:
            return
        self._probing = 0
        self.ready = True
        self._tries += 1
        if self._tries >= self.max_probes:
            self._refuse(size, now)

    def _refuse(self, size: int, now: float) -> None:
        self._tries = 0
        self._raising = False
        self._high = size
        self._go_on(now)

    @property
    def max_probes(self) -> int:
        """Losses in a row that refuse a size, by the loss rate seen: MAX_PROBES of RFC 8899, adapted."""
        # Few packets say little: with none yet, a loss rate of 25 % is taken.
        return _unlikely_losses((self._lost + 1) / (self._lost + self._acked + 4))

    # -- black holes --------------------------------------------------------------------------------------------

    def _suspect(self, train: SentTrain, now: float) -> None:
        """A large packet was lost and no later one arrived, though something smaller did."""
        size = _largest(train)
        if size <= BASE_PLPMTU and size < self.size:
            return
        if not self._suspects:
            self._suspect_size, self._suspect_number = size, train.first
        elif train.time_sent < self._suspect_at:
            return
        self._suspects += 1
        self._suspect_size = min(self._suspect_size, size)
        self._suspect_at = now
        if self._suspects < BLACK_HOLE_FLIGHTS:
            return
        if self.size > BASE_PLPMTU:
            self._on_black_hole(now)
        else:
            self.state = SearchState.ERROR
            self.ready = False

    def _on_black_hole(self, now: float) -> None:
        """RFC 8899 section 4.3: back to the base. It may have been an outage, so the size in use is tried again first;
        where it fails time and again, ever later."""
        self.black_holes += 1
        again = now < self._fell_at + PMTU_RAISE_TIMER
        self._pause = min(max(FIRST_PAUSE, 2.0 * self._pause), PMTU_RAISE_TIMER) if again else 0.0
        self._search_at = now + self._pause
        self._since = self._fell_at = now
        self._expected = self.size
        self._begin(BASE_PLPMTU)


# A global is read in a sixth of the time of an enumeration's member, and this is for each ACK.
_DISABLED: Final = SearchState.DISABLED
_UNCONFIRMED: Final = (SearchState.BASE, SearchState.ERROR)
