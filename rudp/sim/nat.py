"""Address translation: nodes that show a sender under another address, and their ways back.

Knows: which outside address stands for the host inside, and when that changes.
Refuses to know: routes, events, what packets hold.

Such a node belongs into the way out; its `reverse` belongs into the way back and undoes the change. `addresses`
are those that the network must bring to the host inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from rudp.errors import ConfigurationError
from rudp.sim.node import Batch, Node, in_bounds
from rudp.train import Address

__all__ = ["Nat", "NatReverse", "Rebind", "RebindReverse"]


class Rebind(Node):
    """A NAT that from `at` (seconds) on shows the sender under another `address`.

    Until `at` it is transparent. Its `reverse` belongs into the way back and undoes the change; after `at`
    packets to the old address find no mapping there and are lost.
    """

    def __init__(self, at: float, address: Address) -> None:
        super().__init__()
        self.at = at
        self.address = address
        self.addresses = (address,)
        self.inside: Address | None = None
        self.rebound = 0
        self.reverse: Final = RebindReverse(self)

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        self.inside = batch[0][1].source
        at, address = self.at, self.address
        if not any(time >= at for time, _ in batch):
            return batch
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


class Nat(Node):
    """A NAT whose mapping ends: at the times in `rebinds`, and when `timeout` seconds pass without a packet out.

    The host inside appears under the first of `addresses`; once a mapping has ended its next packet out makes
    one of the next address (RFC 4787: endpoint-independent mapping, refreshed by packets out only). After the
    last address the first follows again. Until then, and to addresses that it has no more, nothing comes in.
    `rebinds` are in seconds on the virtual clock, ascending.
    """

    needs_order = True
    needs_clock = True

    def __init__(
        self, addresses: Sequence[Address], *, timeout: float | None = None, rebinds: Sequence[float] = ()
    ) -> None:
        super().__init__()
        if not addresses:
            raise ConfigurationError("a Nat needs at least one outside address")
        if sorted(rebinds) != list(rebinds):
            raise ConfigurationError(f"rebinds must ascend: {list(rebinds)}")
        self.addresses = tuple(addresses)
        self.timeout = inf if timeout is None else in_bounds("timeout", timeout, 0.0, inf)
        self.inside: Address | None = None
        self.rebound = 0
        self.reverse: Final = NatReverse(self)
        self._rebinds = [inf, *reversed(rebinds)]  # the last is the next to come
        self._index = 0
        self._expires = inf

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        out: Batch = []
        for time, datagram in batch:
            if not self.is_mapped(time):
                if self.inside is not None:
                    self._index = (self._index + 1) % len(self.addresses)
                    self.rebound += 1
                while self._rebinds[-1] <= time:
                    self._rebinds.pop()
            self.inside = datagram.source
            self._expires = time + self.timeout
            out.append((time, datagram._replace(source=self.address)))
        return out

    @property
    def address(self) -> Address:
        """The outside address, in use or last used."""
        return self.addresses[self._index]

    def is_mapped(self, time: float) -> bool:
        """Whether packets to `address` find the host inside at `time`."""
        return self.inside is not None and time < self._rebinds[-1] and time <= self._expires

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
        nat = self._nat
        kept: Batch = [
            (time, datagram._replace(destination=nat.inside))
            for time, datagram in batch
            if datagram.destination == nat.address and nat.is_mapped(time) and nat.inside is not None
        ]
        self.dropped += len(batch) - len(kept)
        return kept
