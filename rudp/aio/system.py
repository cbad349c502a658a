"""What the front end takes from the system it runs on: UDP sockets, and chance.

Knows: a loop may bring both of its own, as `rudp.sim.aio.loop` does, by an attribute `rudp_system` that is a `System`;
any other loop gets the machine's sockets and its CSPRNG.
Refuses to know: who has such a loop, and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import SystemRandom
from typing import Any, Final, Protocol

from rudp.endpoint import Endpoint
from rudp.path import RandomSource
from rudp.train import Address, Train
from rudp.udp import PeerError, Received, UdpCounters, UdpSocket
from rudp.udp_options import BufferSizes, Capabilities

__all__ = ["System", "TrainSocket", "current_system"]


class TrainSocket(Protocol):
    """A UDP socket that sends and receives trains: what `rudp.udp.UdpSocket` has, and is documented there."""

    @property
    def local_address(self) -> Address:
        """The address it is bound to."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def buffer_sizes(self) -> BufferSizes:
        """Bytes of its buffers, asked for and granted."""

    @property
    def counters(self) -> UdpCounters:
        """What did not go the usual way."""

    @property
    def sock(self) -> Any:
        """The socket object, with `getsockname` and `family`."""

    def fileno(self) -> int:
        """The descriptor that the loop's `add_reader` takes, -1 once closed."""

    def send(self, train: Train) -> bool:
        """Send; False: offer the same train again when writable."""

    def receive(self, *, first: bool = False) -> Received | None:
        """The next received buffer, valid until the next call; `first` of a wake-up."""

    def read_errors(self) -> list[PeerError]:
        """What the network said of datagrams sent earlier."""

    def close(self) -> None:
        """Close it; any number of times."""


class System(Protocol):
    """Where sockets and chance come from."""

    def open_socket(self, local_addr: Sequence[object], *, family: int = 0, buffer_size: int) -> TrainSocket:
        """As `UdpSocket.open`."""

    def wrap_socket(self, sock: Any, *, buffer_size: int) -> TrainSocket:
        """As `UdpSocket.wrap`."""

    def random(self) -> RandomSource:
        """The random source of a new endpoint."""

    def started(self, sock: Any, core: Endpoint) -> None:
        """From now on `core` is driven over `sock`, a socket from here."""


class _Machine:
    """The machine this runs on."""

    def open_socket(self, local_addr: Sequence[object], *, family: int = 0, buffer_size: int) -> TrainSocket:
        return UdpSocket.open(local_addr, family=family, buffer_size=buffer_size)

    def wrap_socket(self, sock: Any, *, buffer_size: int) -> TrainSocket:
        return UdpSocket.wrap(sock, buffer_size=buffer_size)

    def random(self) -> RandomSource:
        return SystemRandom()

    def started(self, sock: Any, core: Endpoint) -> None:
        pass


_MACHINE: Final = _Machine()


def current_system() -> System:
    """The running loop's own system, else the machine."""
    system: System = getattr(asyncio.get_running_loop(), "rudp_system", _MACHINE)
    return system
