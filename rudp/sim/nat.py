"""Address translation: nodes that show a sender under another address, and their ways back.

Knows: which outside address stands for the host inside, and when that changes.
Refuses to know: routes, events, what packets hold.

Such a node belongs into the way out; its `reverse` belongs into the way back and undoes the change. `addresses`
are those that the network must bring to the host inside.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from rudp.errors import ConfigurationError
from rudp.sim.clock import SimulationError
from rudp.sim.node import Batch, Node, in_bounds
from rudp.train import Address

__all__ = ["Nat", "NatReverse", "Rebind", "RebindReverse"]


class Rebind(Node):
    """A NAT that from `at` (seconds) on shows the one socket behind it under another `address`.

    Until `at` it is transparent, and after it a second socket raises SimulationError: `Nat` is for those. Its `reverse`
    belongs into the way back and undoes the change; after `at` packets to the old address find no mapping there and are
    lost.
    """

    def __init__(self, at: float, address: Address) -> None:
        super().__init__()
        self.at = in_bounds("at", at, -inf, inf)
        self.address = address
        self.addresses = (address,)
        self.inside: Address | None = None
        self.rebound = 0
        self.reverse: Final = RebindReverse(self)

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        at, address = self.at, self.address
        if not any(time >= at for time, _ in batch):
            return batch
        inside = batch[0][1].source
        if self.inside not in {None, inside}:
            raise SimulationError(f"a Rebind is for one socket, and {self.inside} and {inside} send: take a Nat")
        self.inside = inside
        self.rebound += sum(time >= at for time, _ in batch)
        return [item if item[0] < at else (item[0], item[1]._replace(source=address)) for item in batch]

    def counters(self) -> dict[str, int]:
        return {**super().counters(), "rebound": self.rebound}


class RebindReverse(Node):
    """The other direction of a `Rebind`: packets to its address go to the host inside."""

    def __init__(self, rebind: Rebind) -> None:
        super().__init__()
        self._rebind = rebind

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        rebind = self._rebind
        kept: Batch = []
        for time, datagram in batch:
            if datagram.destination == rebind.address:
                if rebind.inside is not None and time >= rebind.at:
                    kept.append((time, datagram._replace(destination=rebind.inside)))
            elif time < rebind.at:
                kept.append((time, datagram))
        self.dropped += len(batch) - len(kept)
        return kept


class _Mapping(NamedTuple):
    """What an inside address looks like, and until when."""

    outside: Address
    period: int
    expires: float


class Nat(Node):
    """A NAT whose mappings end: at the times in `rebinds`, and when `timeout` seconds pass without a packet out.

    It is one host's. Each address inside (a host may have many ports) appears under one of `addresses`, whomever it
    sends to; when its mapping has ended the next packet out makes another, of the next address in turn that is not in
    use (RFC 4787: endpoint-independent mapping, refreshed by packets out only). If none is left packets out are
    dropped; what comes in to an address without a mapping is dropped by `reverse`. `rebinds` are in seconds on
    the virtual clock, ascending.
    """

    needs_order = True
    needs_clock = True

    def __init__(
        self, addresses: Sequence[Address], *, timeout: float | None = None, rebinds: Sequence[float] = ()
    ) -> None:
        super().__init__()
        if not addresses:
            raise ConfigurationError("a Nat needs at least one outside address")
        for at in rebinds:
            in_bounds("rebinds", at, -inf, inf)
        if sorted(rebinds) != list(rebinds):
            raise ConfigurationError(f"rebinds must ascend: {list(rebinds)}")
        self.addresses = tuple(addresses)
        self.timeout = inf if timeout is None else in_bounds("timeout", timeout, 0.0, inf)
        self.rebinds = tuple(rebinds)
        self.rebound = 0
        self.reverse: Final = NatReverse(self)
        self._next = 0
        self._mappings: dict[Address, _Mapping] = {}
        self._inside: dict[Address, Address] = {}

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        out: Batch = []
        for time, datagram in batch:
            outside = self._map(datagram.source, time)
            if outside is None:
                self.dropped += 1
            else:
                out.append((time, datagram._replace(source=outside)))
        return out

    def inside(self, outside: Address, time: float) -> Address | None:
        """Whom a packet to `outside` reaches at `time`, or None."""
        inside = self._inside.get(outside)
        return inside if inside is not None and self._is_alive(self._mappings[inside], time) else None

    def _map(self, inside: Address, time: float) -> Address | None:
        known = self._mappings.get(inside)
        if known is not None and self._is_alive(known, time):
            outside = known.outside
        else:
            free = self._take_free(time)
            if free is None:
                return None
            outside = free
            if known is not None:
                self.rebound += 1
                self._inside.pop(known.outside, None)
            # An address whose last user is gone is not that one's any more.
            self._mappings.pop(self._inside.get(outside, inside), None)
            self._inside[outside] = inside
        self._mappings[inside] = _Mapping(outside, bisect_right(self.rebinds, time), time + self.timeout)
        return outside

    def _take_free(self, time: float) -> Address | None:
        for _ in self.addresses:
            address = self.addresses[self._next % len(self.addresses)]
            self._next += 1
            if self.inside(address, time) is None:
                return address
        return None

    def _is_alive(self, mapping: _Mapping, time: float) -> bool:
        return time <= mapping.expires and mapping.period == bisect_right(self.rebinds, time)

    def counters(self) -> dict[str, int]:
        return {**super().counters(), "rebound": self.rebound}


class NatReverse(Node):
    """The other direction of a `Nat`."""

    needs_order = True
    needs_clock = True

    def __init__(self, nat: Nat) -> None:
        super().__init__()
        self._nat = nat

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        kept: Batch = []
        for time, datagram in batch:
            inside = self._nat.inside(datagram.destination, time)
            if inside is not None:
                kept.append((time, datagram._replace(destination=inside)))
        self.dropped += len(batch) - len(kept)
        return kept
