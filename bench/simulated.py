"""Real endpoints on the simulated network: what a scenario's hosts run, and what came of it.

A client opens connections to a server. On each it sends content drawn from the seed and ends its side of the
stream; the server answers with the SHA-256 of what it read; the client compares. Then both close. The outcome
says whether all of it arrived intact, how the connections ended, and what it cost. What the core raises it raises.

    outcome = Pair(seed=7, forth=[Delay(0.025), Loss(0.02)], back=[Delay(0.025)], size=1_000_000).run()
    assert outcome.delivered == 1 and not outcome.problems
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import ConnectionReset, ConnectTimeout, IdleTimeout, PeerUnresponsive
from rudp.events import Connected, PeerFinished, StreamReadable, StreamWritable, Terminated
from rudp.sim import Network, Node, SimulationError
from rudp.stats import Stats
from rudp.train import Address

__all__ = ["CLIENT", "SERVER", "Outcome", "Pair"]

CLIENT: Address = ("10.0.0.1", 40_001)
SERVER: Address = ("10.0.0.2", 10_000)
PIECE = 65_536
TIMEOUTS = (ConnectTimeout, IdleTimeout, PeerUnresponsive)
# An ended connection's id is kept for three probe timeouts; longer than that, and than any retry.
QUIET_SECONDS = 400.0


class Outcome(NamedTuple):
    """What a run came to. `seconds` are simulated, `cpu_seconds` are the process's."""

    connections: int
    connected: int
    delivered: int
    timed_out_ends: int
    timed_out_both: int
    problems: tuple[str, ...]
    connect_seconds: tuple[float, ...]
    transfer_seconds: float
    seconds: float
    cpu_seconds: float
    packets: int
    events: int
    digest: str
    stats: Stats | None
    goodput: float | None = None
    """As a share of what the line carries; None: not measured."""
    spurious: float | None = None
    """Share of packets sent that were declared lost and were not; None: not measured."""


class Talk:
    """One connection as the client sees it."""

    __slots__ = ("connected_at", "content", "delivered_at", "offset", "reply", "started")

    def __init__(self, content: bytes, started: float) -> None:
        self.content = content
        self.started = started
        self.connected_at: float | None = None
        self.delivered_at: float | None = None
        self.offset = 0
        self.reply = b""


class Pair:
    """A client and a server joined by one link each way, and `connections` transfers between them.

    `closing`: "in turn" (the server closes when it has read all, the client when it has the answer), "early"
    (the client half-closes when it has written all, so that its end is told with data still on its way) or
    "together" (both close at the instant at which the client has the answer). `on_closing(pair)` is called
    once, just before the first side closes or half-closes. `connect_every`: seconds between openings.
    """

    def __init__(
        self,
        seed: int | str,
        *,
        forth: Sequence[Node],
        back: Sequence[Node],
        size: int = 1_000_000,
        connections: int = 1,
        connect_every: float = 0.0,
        config: Config | None = None,
        server_config: Config | None = None,
        merging: float | None = None,
        window: float = 0.0,
        closing: str = "in turn",
        on_closing: Callable[[Pair], object] | None = None,
        read_bytes: int = 1 << 20,
    ) -> None:
        assert closing in ("in turn", "early", "together"), closing
        network = self.network = Network(seed)
        config = config or Config()
        self.client = Endpoint(config, random=network.random("client"))
        self.server = Endpoint(server_config or config, random=network.random("server"), accept=True)
        self.client_host = network.add_host(
            CLIENT, self.client, on_event=self._on_client_event, merging=merging, window=window
        )
        self.server_host = network.add_host(
            SERVER, self.server, on_event=self._on_server_event, merging=merging, window=window
        )
        self.relink(forth, back)
        self.talks: dict[Connection, Talk] = {}
        self.problems: list[str] = []
        self.timed_out: Counter[int] = Counter()
        self.stats: Stats | None = None
        # What the server has read: when, and how many bytes in all.
        self.received_at: list[tuple[float, int]] = []
        self._received = 0
        self._config = config
        self._content = network.random("content")
        self._size, self._connections, self._connect_every = size, connections, connect_every
        self._closing, self._on_closing, self._read_bytes = closing, on_closing, read_bytes
        self._hashes: dict[Connection, Any] = {}
        # Clients' ids of the connections that are open on both sides.
        self._accepted: set[int] = set()
        self._ended = 0
        self._seconds = 0.0

    def relink(self, forth: Sequence[Node], back: Sequence[Node]) -> None:
        """Put other nodes between the hosts from now on."""
        self.network.add_link(self.client_host, self.server_host, forth)
        self.network.add_link(self.server_host, self.client_host, back)

    def run(self, until: float = 600.0) -> Outcome:
        """Open, transfer, close, and wait until both endpoints are empty."""
        started = time.process_time()
        for index in range(self._connections):
            self.client_host.call_at(index * self._connect_every, self._connect)
        try:
            ended = self.network.run(until=until, stop=self._all_ended)
            self._seconds = self.network.now
            if not ended:
                self.problems.append(f"not at its end after {until:g} s: {self._states()}")
            else:
                self._check_quiet()
        except SimulationError as error:
            self.problems.append(f"{type(error).__name__}: {error}")
        return self._outcome(time.process_time() - started)

    def _outcome(self, cpu_seconds: float) -> Outcome:
        talks = self.talks.values()
        delivered = [talk.delivered_at for talk in talks if talk.delivered_at is not None]
        both = [talk for connection, talk in self.talks.items() if connection.id in self._accepted]
        connected = [talk.connected_at - talk.started for talk in both if talk.connected_at is not None]
        return Outcome(
            connections=self._connections,
            connected=len(connected),
            delivered=len(delivered),
            timed_out_ends=sum(self.timed_out.values()),
            timed_out_both=sum(ends > 1 for ends in self.timed_out.values()),
            problems=tuple(self.problems),
            connect_seconds=tuple(connected),
            transfer_seconds=max(delivered, default=0.0),
            seconds=self._seconds,
            cpu_seconds=cpu_seconds,
            packets=self.client_host.datagrams_sent + self.server_host.datagrams_sent,
            events=self.network.events,
            digest=self.network.digest(),
            stats=self.stats,
        )

    def _all_ended(self) -> bool:
        # A client that times out in the opening may never have had a server side.
        return self._ended == self._connections + len(self._accepted) and len(self.talks) == self._connections

    def _check_quiet(self) -> None:
        """Once all has ended nothing may be left: no connection, no id, no timer."""
        self.network.run(until=self.network.now + QUIET_SECONDS)
        for name, endpoint in (("client", self.client), ("server", self.server)):
            figures = endpoint.stats()
            if figures.connections or figures.half_open or figures.lingering or endpoint.next_timeout():
                self.problems.append(f"the {name}'s endpoint is not empty after all has ended: {figures}")

    def _states(self) -> str:
        ends = [*self.client.connections, *self.server.connections]
        return ", ".join(f"{'client' if end.is_client else 'server'} {end.state.value}" for end in ends[:6])

    # The client

    def _connect(self) -> None:
        now = self.network.now
        connection = self.client.connect(SERVER, now)
        self.talks[connection] = Talk(self._content.randbytes(self._size), now)

    def _on_client_event(self, connection: Connection, event: object) -> None:
        talk = self.talks[connection]
        if isinstance(event, Connected):
            talk.connected_at = self.network.now
            self._write(connection, talk)
        elif isinstance(event, StreamWritable):
            self._write(connection, talk)
        elif isinstance(event, StreamReadable):
            self._read_answer(connection, talk)
        elif isinstance(event, Terminated):
            self._on_end(connection, event.error)

    def _write(self, connection: Connection, talk: Talk) -> None:
        content = talk.content
        while talk.offset < len(content) and connection.can_send(0):
            piece = content[talk.offset : talk.offset + PIECE]
            talk.offset += len(piece)
            connection.send(0, piece, fin=talk.offset == len(content))
        if talk.offset == len(content) and self._closing == "early":
            self._begin_closing()
            connection.send_eof()

    def _read_answer(self, connection: Connection, talk: Talk) -> None:
        talk.reply += connection.receive(0, self._read_bytes)
        if talk.delivered_at is None and connection.at_eof(0):
            talk.delivered_at = self.network.now
            if self.stats is None:
                self.stats = connection.stats(self.network.now)
            if talk.reply != hashlib.sha256(talk.content).digest():
                self.problems.append("the server read other bytes than the client wrote")
            self._begin_closing()
            connection.close()
            if self._closing == "together":
                for other in self.server.connections:
                    other.close()
                self.server_host.service()

    # The server

    def _on_server_event(self, connection: Connection, event: object) -> None:
        if isinstance(event, Connected):
            self._accepted.add(connection.peer_id)
            self._hashes[connection] = hashlib.sha256()
        elif isinstance(event, StreamReadable):
            self._read(connection)
        elif isinstance(event, PeerFinished):
            connection.close()
        elif isinstance(event, Terminated) and connection in self._hashes:
            self._on_end(connection, event.error)

    def _read(self, connection: Connection) -> None:
        content = self._hashes[connection]
        while data := connection.receive(0, self._read_bytes):
            content.update(data)
            self._received += len(data)
        self.received_at.append((self.network.now, self._received))
        if connection.at_eof(0):
            connection.send(0, content.digest(), fin=True)
            if self._closing != "together":
                self._begin_closing()
                connection.close()

    # Endings

    def _begin_closing(self) -> None:
        on_closing, self._on_closing = self._on_closing, None
        if on_closing is not None:
            on_closing(self)

    def _on_end(self, connection: Connection, error: Exception | None) -> None:
        self._ended += 1
        client_id = connection.id if connection.is_client else connection.peer_id
        if client_id not in self._accepted and isinstance(error, (*TIMEOUTS, ConnectionReset)):
            return  # not open on both sides, and counted as such
        if isinstance(error, TIMEOUTS):
            self.timed_out[client_id] += 1
        elif error is not None:
            side = "client" if connection.is_client else "server"
            self.problems.append(f"the {side}'s connection ended in {type(error).__name__}: {error}")
