"""Clients that were sent a SYN_ACK and have not been heard of since: SYN-RECEIVED, before there is a connection.

Knows: what each client stated, the tries of its SYN_ACK, the bytes that may go to its address, when it is forgotten.
Refuses to know: who may connect (`admission`), how a SYN_ACK is timed (`handshake`), and connections: whoever asks for
one takes the client out.

A flood of SYNs makes as many of these as may be half open, and none of them ever answers. So one is a handful of
objects, where a connection is fifty, and the connection is made by the first DATA, which proves the address.

    HalfOpen.on_syn, next_datagram, proved_by   O(1), O(packets) in C for the last
    add, get, remove                            O(log n), O(1), O(1) amortised
    next_timeout                                O(1)
    due                                         O(log n) for each that is due

Each client has one entry in the heap. When it comes to the top the client is asked again, so nothing is moved there.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from rudp import wire
from rudp.handshake import ServerHandshake
from rudp.path import Path
from rudp.protection import Protection
from rudp.train import Address
from rudp.wire import DataType, Syn, UnreadSyn

__all__ = ["HalfOpen", "HalfOpens"]


class HalfOpen:
    """One client in SYN-RECEIVED. `protocol` is the application protocol chosen for it, `id` the server's id.

    `syn` is kept, so who makes this one leaves out of it what isn't needed any more.
    """

    __slots__ = ("handshake", "id", "path", "protocol", "syn")

    def __init__(
        self, connection_id: int, syn: Syn, protocol: str | None, handshake: ServerHandshake, path: Path
    ) -> None:
        self.id = connection_id
        self.syn = syn
        self.protocol = protocol
        self.handshake = handshake
        self.path = path

    @property
    def client(self) -> tuple[Address, int]:
        """By what a repeated SYN finds it."""
        return self.path.remote, self.syn.source_id

    def on_syn(self, packet: Syn | UnreadSyn, size: int, now: float) -> None:
        """The client's SYN of `size` bytes, first or again."""
        self.path.bytes_received += size
        self.handshake.on_syn(packet, now)

    def next_datagram(self, now: float) -> bytes | None:
        """The SYN_ACK to send now, if one is due and may go."""
        path, handshake = self.path, self.handshake
        if path.budget() < wire.OPENING_SIZE and handshake.due <= now:
            handshake.postpone(now)
        packet = handshake.next_packet(now)
        if packet is None:
            return None
        datagram = wire.encode_opening(packet)
        path.bytes_sent += len(datagram)
        return datagram

    def proved_by(self, view: memoryview, segment_size: int, kind: DataType, number: int, by: Protection) -> bool:
        """Whether packets of a run, from `number` on, are of the opened connection, so that its address is proven.

        Nobody knows the id that they are sent to but who was sent the SYN_ACK.
        """
        packets = -(-len(view) // segment_size)
        return not (kind.epoch or kind.key_phase) and len(by.open(view, segment_size, number)) < packets


class HalfOpens:
    """The half-open clients of one endpoint, forgotten `patience` seconds after their SYN."""

    __slots__ = ("_patience", "_timers", "clients")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.clients: dict[int, HalfOpen] = {}
        # (when, id), of those removed too until they come to the top.
        self._timers: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self.clients)

    def __contains__(self, connection_id: int) -> bool:
        return connection_id in self.clients

    def get(self, connection_id: int) -> HalfOpen | None:
        """The client that was told this id of ours."""
        return self.clients.get(connection_id)

    def add(self, client: HalfOpen) -> None:
        """Remember a client whose SYN_ACK is sent."""
        self.clients[client.id] = client
        heappush(self._timers, (self._deadline(client), client.id))

    def remove(self, client: HalfOpen) -> None:
        """Forget it: it becomes a connection, or is given up."""
        del self.clients[client.id]
        timers, clients = self._timers, self.clients
        while timers and timers[0][1] not in clients:
            heappop(timers)

    def __iter__(self) -> Iterator[HalfOpen]:
        """All of them, oldest first."""
        return iter(self.clients.values())

    def next_timeout(self) -> float | None:
        """When `due` has something to say; None: never."""
        return self._timers[0][0] if self._timers else None

    def due(self, now: float) -> tuple[list[tuple[HalfOpen, bytes]], list[HalfOpen]]:
        """Those whose SYN_ACK is to be repeated now, and those whose time is over, which are forgotten."""
        timers, repeated = self._timers, []
        over: list[HalfOpen] = []
        while timers and timers[0][0] <= now:
            client = self.clients.get(heappop(timers)[1])
            if client is None:
                continue
            if now >= client.handshake.started + self._patience:
                over.append(client)
                continue
            if (datagram := client.next_datagram(now)) is not None:
                repeated.append((client, datagram))
            heappush(timers, (self._deadline(client), client.id))
        for client in over:
            self.remove(client)
        return repeated, over

    def _deadline(self, client: HalfOpen) -> float:
        return min(client.handshake.due, client.handshake.started + self._patience)
