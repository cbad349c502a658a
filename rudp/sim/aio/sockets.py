"""The UDP sockets of a simulated machine.

Knows: which socket a datagram is for (ports, one address or all of them, both families), what a socket holds until
it is read, that nobody listens on a port and who is to be told.
Refuses to know: what datagrams carry, who reads them, routes.

`SimulatedSocket` has what `rudp.udp.UdpSocket` has, so that the asyncio drivers run on it unchanged. Sending never
blocks: queues belong to links (`rudp.sim.Rate`). What arrives at a socket whose buffer is full is lost, as in a kernel.

That nobody listens travels back to the sender as a packet, through the links: a datagram from port 0, which no socket
has, that says the port (ICMP's "port unreachable", RFC 792, RFC 1122 section 3.2.2.1).
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import SocketError
from rudp.path import RandomSource
from rudp.sim.clock import SimulationError
from rudp.train import Address, Train
from rudp.udp import PeerError, Received, UdpCounters
from rudp.udp_options import BufferSizes, Capabilities, normalise_address

__all__ = ["ANY_IPV4", "ANY_IPV6", "Carrier", "SimulatedSocket", "Sockets", "is_ipv6"]

ANY_IPV4: Final = "0.0.0.0"
ANY_IPV6: Final = "::"
# The dynamic ports of RFC 6335 section 6.
FIRST_PORT: Final = 49_152
LAST_PORT: Final = 65_535
# Bytes after the IP and UDP headers that a link counts: ICMP's header, and of the packet it is about 28 (RFC 792).
REFUSAL_SIZE: Final = 28
ERRORS_KEPT: Final = 64


def is_ipv6(host: str) -> bool:
    """Whether a numeric address is of IPv6."""
    return ":" in host


def at_port(host: str, port: int) -> Address:
    """The address of a port of a numeric host."""
    return (host, port, 0, 0) if is_ipv6(host) else (host, port)


class Carrier(Protocol):
    """What sockets need of their machine."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses, without those of loopback."""

    def owns(self, host: str) -> bool:
        """Whether packets to that address come back to the machine."""

    def source_for(self, host: str) -> str | None:
        """Which of its addresses a packet to `host` leaves from."""

    def carry(self, train: Train) -> bool:
        """Send a train whose `local` is set; False: there is no way to its `remote`."""

    def random(self, label: str) -> RandomSource:
        """A random source of its own."""


class SimulatedSocket:
    """One UDP socket of a machine, with the interface of `rudp.udp.UdpSocket`; opened through `Sockets.open`."""

    __slots__ = (
        "_buffer", "_closed", "_descriptor", "_errors", "_held", "_peer", "_queue", "_sockets", "_view",
        "both_families", "buffer_sizes", "core", "counters", "local_address", "on_input", "overflowed",
    )  # fmt: skip

    type: Final = socket.SOCK_DGRAM
    proto: Final = socket.IPPROTO_UDP

    def __init__(
        self,
        sockets: Sockets,
        local_address: Address,
        *,
        both_families: bool,
        descriptor: int,
        buffer_size: int,
        on_input: Callable[[int], None],
    ) -> None:
        self.local_address = local_address
        self.both_families = both_families
        self.buffer_sizes = BufferSizes(buffer_size, buffer_size, buffer_size)
        self.counters = UdpCounters()
        self.overflowed = 0  # datagrams that came while the buffer was full
        self.on_input = on_input
        self.core: Endpoint | None = None  # what a driver of rudp's runs over it
        self._sockets = sockets
        self._descriptor = descriptor
        self._peer: Address | None = None
        self._queue: deque[tuple[bytearray, int, Address, Address, int]] = deque()
        self._held = 0
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._errors: list[PeerError] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"<SimulatedSocket {self.local_address} of {self._sockets.machine.name}>"

    # -- as a socket object --------------------------------------------------------------------------------------

    @property
    def sock(self) -> SimulatedSocket:
        """Itself: there is no other socket below."""
        return self

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if is_ipv6(self.local_address[0]) else socket.AF_INET

    @property
    def capabilities(self) -> Capabilities:
        """Everything: trains leave and arrive by one call, with ECN marks and addresses."""
        is_any = self.local_address[0] in (ANY_IPV4, ANY_IPV6)
        return Capabilities(
            gso=True,
            gro=True,
            ecn=True,
            pktinfo=is_any,
            dont_fragment=True,
            error_queue=True,
            ancillary=True,
            ipv6=self.family == socket.AF_INET6,
            dual_stack=self.both_families,
        )

    def getsockname(self) -> Address:
        """The address the socket is bound to."""
        return self.local_address

    def getpeername(self) -> Address:
        """The one peer of a connected socket. Raises OSError if it has none."""
        if self._peer is None:
            raise OSError(errno.ENOTCONN, "the simulated socket is not connected")
        return self._peer

    def connect(self, remote: Address) -> None:
        """Receive from `remote` alone, from now on."""
        self._peer = remote

    def fileno(self) -> int:
        """A number that the simulated loop takes for the socket, -1 once closed."""
        return -1 if self._closed else self._descriptor

    def close(self) -> None:
        """Close the socket: its port is free again. Any number of times."""
        if not self._closed:
            self._closed = True
            self._sockets.forget(self)
            self._queue.clear()
            self._held = 0

    # -- out -----------------------------------------------------------------------------------------------------

    def send(self, train: Train) -> bool:
        """Send a train, at this instant. Always True. Raises SocketError if the socket is closed."""
        if self._closed:
            raise SocketError(errno.EBADF, "cannot send: the simulated UDP socket is closed")
        remote = train.remote
        machine = self._sockets.machine
        own = train.local[0] if train.local is not None else self.local_address[0]
        host = machine.source_for(remote[0]) if own in (ANY_IPV4, ANY_IPV6) else own
        if not self._reaches(remote[0]):
            message = f"{self!r} cannot reach {remote[0]}, an address of the other family"
            self._unsendable(train, errno.EAFNOSUPPORT, message)
        elif host is None or not machine.carry(train._replace(local=at_port(host, self.local_address[1]))):
            self._unsendable(train, errno.EHOSTUNREACH, f"no link leads from {machine.name} to {remote[0]}")
        return True

    def _reaches(self, host: str) -> bool:
        return self.both_families or is_ipv6(host) == is_ipv6(self.local_address[0])

    def _unsendable(self, train: Train, number: int, message: str) -> None:
        self.counters.unsendable += -(-train.size // max(1, train.segment_size))
        self.report(train.remote, OSError(number, message))

    # -- in ------------------------------------------------------------------------------------------------------

    @property
    def has_input(self) -> bool:
        """Whether `receive` or `read_errors` has something."""
        return bool(self._queue or self._errors)

    def accept(self, data: bytearray, segment_size: int, remote: Address, local: Address, ecn: int) -> None:
        """Hold a buffer that arrived, if there is room."""
        if self._peer is not None and remote != self._peer:
            return
        if self._held + len(data) > self.buffer_sizes.receive:
            self.overflowed += 1
            return
        self._held += len(data)
        self._queue.append((data, segment_size, remote, local, ecn))
        self.on_input(self._descriptor)

    def receive(self, *, first: bool = False) -> Received | None:  # noqa: ARG002 (nothing is merged here)
        """The next received buffer, or None. Raises SocketError if the socket is closed."""
        if self._closed:
            raise SocketError(errno.EBADF, "cannot receive: the simulated UDP socket is closed")
        self._take_back()
        if not self._queue:
            return None
        self._buffer, segment_size, remote, local, ecn = self._queue.popleft()
        self._held -= len(self._buffer)
        self._view = memoryview(self._buffer)
        return Received(self._view, segment_size, remote, local, ecn)

    def _take_back(self) -> None:
        """The last buffer is gone, as where a socket driver reads into one for ever: a view of it is an error."""
        self._view.release()
        try:
            self._buffer.clear()
        except BufferError:
            raise SimulationError(f"{self!r}: somebody kept a view of a received buffer") from None

    # -- errors --------------------------------------------------------------------------------------------------

    def report(self, remote: Address, error: OSError) -> None:
        """Keep an error for `read_errors`."""
        self.counters.errors += 1
        if len(self._errors) < ERRORS_KEPT:
            self._errors.append(PeerError(remote, error))
            self.on_input(self._descriptor)

    def read_errors(self) -> list[PeerError]:
        """What the network said of datagrams sent earlier: ECONNREFUSED, EHOSTUNREACH, EAFNOSUPPORT."""
        errors, self._errors = self._errors, []
        return errors


class Sockets:
    """All sockets of a machine; to its host they are an endpoint (`rudp.sim.host.HostedEndpoint`)."""

    __slots__ = ("_next_port", "_ports", "corrupted", "events", "machine", "opened", "refused")

    events: deque[tuple[Any, Any]]
    """None."""

    def __init__(self, machine: Carrier) -> None:
        self.machine = machine
        self.events = deque()
        self.opened = 0
        self.refused = 0  # received buffers for ports where nobody listens
        self.corrupted = 0  # refusals that say nothing
        self._ports: dict[int, list[SimulatedSocket]] = {}
        self._next_port = FIRST_PORT

    # -- opening -------------------------------------------------------------------------------------------------

    def open(
        self,
        local_addr: Sequence[object] | None,
        *,
        family: int,
        buffer_size: int,
        descriptor: int,
        on_input: Callable[[int], None],
    ) -> SimulatedSocket:
        """Bind a socket, as `UdpSocket.open`. Raises SocketError: port in use, no such address of the machine."""
        host, port = (local_addr[0], local_addr[1]) if local_addr else ("", 0)
        has_ipv6 = any(map(is_ipv6, self.machine.addresses))
        both = not family and (not host or host == ANY_IPV6) and has_ipv6
        if not host:
            host = ANY_IPV6 if both or family == socket.AF_INET6 else ANY_IPV4
        address = normalise_address((host, port))
        host = address[0]
        if host not in (ANY_IPV4, ANY_IPV6) and not self.machine.owns(host):
            raise SocketError(
                errno.EADDRNOTAVAIL,
                f"cannot bind {host}: {self.machine.name} has the addresses {', '.join(self.machine.addresses)}",
            )
        wanted = (host, both)
        if not address[1]:
            address = at_port(host, self._free_port(wanted))
        elif other := self._conflict(wanted, address[1]):
            raise SocketError(
                errno.EADDRINUSE, f"cannot bind {host} port {address[1]} on {self.machine.name}: {other!r} has it"
            )
        opened = SimulatedSocket(
            self, address, both_families=both, descriptor=descriptor, buffer_size=buffer_size, on_input=on_input
        )
        self._ports.setdefault(address[1], []).append(opened)
        self.opened += 1
        return opened

    def _conflict(self, wanted: tuple[str, bool], port: int) -> SimulatedSocket | None:
        host, both = wanted
        for other in self._ports.get(port, ()):
            theirs = other.local_address[0]
            share_family = both or other.both_families or is_ipv6(host) == is_ipv6(theirs)
            if share_family and (host == theirs or {host, theirs} & {ANY_IPV4, ANY_IPV6}):
                return other
        return None

    def _free_port(self, wanted: tuple[str, bool]) -> int:
        for _ in range(FIRST_PORT, LAST_PORT + 1):
            port = self._next_port
            self._next_port = port + 1 if port < LAST_PORT else FIRST_PORT
            if self._conflict(wanted, port) is None:
                return port
        raise SocketError(errno.EADDRINUSE, f"every dynamic port of {self.machine.name} is in use")

    def forget(self, closed: SimulatedSocket) -> None:
        """A socket was closed."""
        port = closed.local_address[1]
        left = [other for other in self._ports[port] if other is not closed]
        if left:
            self._ports[port] = left
        else:
            del self._ports[port]

    def find(self, address: Address) -> SimulatedSocket | None:
        """The socket that gets what is sent to `address`: one bound to that very address before one bound to all."""
        host = address[0]
        found = None
        for candidate in self._ports.get(address[1], ()):
            own = candidate.local_address[0]
            if own == host:
                return candidate
            if own in (ANY_IPV4, ANY_IPV6) and (candidate.both_families or is_ipv6(own) == is_ipv6(host)):
                found = candidate
        return found

    @property
    def connections(self) -> list[Connection]:
        """The rudp connections over all sockets, for a trace."""
        cores = [one.core for port in self._ports.values() for one in port if one.core is not None]
        return [connection for core in cores for connection in core.connections]

    # -- as an endpoint ------------------------------------------------------------------------------------------

    def receive(  # noqa: PLR0917 (the contract's)
        self,
        data: memoryview,
        segment_size: int,
        remote: Address,
        local: Address,
        ecn: int,
        now: float,  # noqa: ARG002
        /,
    ) -> None:
        """Give a buffer to the socket it is for, or tell its sender that there is none."""
        found = self.find(local)
        if remote[1] == 0:
            self._on_refusal(bytes(data[:2]), remote, found)
        elif found is not None:
            found.accept(bytearray(data), segment_size, remote, local, ecn)
        else:
            self.refused += 1
            refusal = local[1].to_bytes(2, "big").ljust(REFUSAL_SIZE, b"\0")
            self.machine.carry(Train([refusal], REFUSAL_SIZE, REFUSAL_SIZE, at_port(local[0], 0), remote, 0))

    def _on_refusal(self, port: bytes, remote: Address, found: SimulatedSocket | None) -> None:
        if len(port) < 2:
            self.corrupted += 1
        elif found is not None:
            peer = at_port(remote[0], int.from_bytes(port, "big"))
            found.report(peer, OSError(errno.ECONNREFUSED, f"nobody listens on {peer[0]} port {peer[1]}"))

    def datagrams_to_send(self, now: float, /) -> tuple[Train, ...]:  # noqa: ARG002
        """Nothing: sockets send when they are told to."""
        return ()

    def next_timeout(self) -> None:
        """Never."""

    def handle_timeout(self, now: float, /) -> None:
        """Nothing."""
