"""Runs a plan of the swarm, and says what it breaks: the laws of `test_swarm`.

Knows: how a plan becomes a network of real endpoints, what must hold while it runs and when it is over, and which
errors are in order given what the plan does to a connection.
Refuses to know: how plans are drawn, how many are run.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fuzz.apps import App, Sending
from fuzz.plans import Plan
from rudp import events
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import (
    ConnectionAborted,
    ConnectionLost,
    ConnectionRefused,
    ConnectionReset,
    ConnectTimeout,
    ErrorCode,
    IdleTimeout,
    PeerUnresponsive,
)
from rudp.sim import Host, Nat, Network, Rate, Stalled, TooManyEvents
from rudp.sim.node import Node
from rudp.testing import Story, invariants
from rudp.train import Train

__all__ = ["Outcome", "run", "tell"]

SERVER = ("10.0.0.200", 1)
MAX_EVENTS = 400_000
# A connection's parts are looked at after so many inputs, as that costs more than an input.
CHECK_EVERY = 8
# Seconds after which every connection has ended once the network is well, beside what the payload takes: in good order,
# where nothing was done to it, one way or another elsewhere (give_up_timeout, twice for a restart or a jump in between,
# and close_timeout).
DONE_WITHIN = 12.0
ENDED_WITHIN = 240.0
# And round trips: opening, a probe timeout and the close, each a few; a window's growth; and what is lost in the queue.
ROUND_TRIPS = 100
RESET_KEY = b"a key that is kept across restarts"
ALWAYS_A_FAULT = tuple(code for code in ErrorCode if ErrorCode.NO_ERROR < code < 0x100)


class Outcome(NamedTuple):
    """What came of a plan: virtual seconds, packets sent, and the failure, or empty."""

    seconds: float
    packets: int
    failure: str


class Clocked:
    """An endpoint whose clock leaps, as after a suspend: what `Host` drives in its place."""

    def __init__(self, endpoint: Endpoint, check: Callable[[Endpoint], None]) -> None:
        self.endpoint = endpoint
        self.ahead = 0.0
        self._latest = 0.0
        self._check = check
        self._inputs = self._asked = 0

    def here(self, now: float) -> float:
        """What the clock says; it never goes back."""
        self._latest = max(self._latest, now + self.ahead)
        return self._latest

    def receive(self, data: memoryview, size: int, remote: Any, local: Any, ecn: int, now: float) -> None:  # noqa: PLR0917
        self.endpoint.receive(data, size, remote, local, ecn, self.here(now))
        self._look()

    def datagrams_to_send(self, now: float) -> Iterator[Train]:
        return invariants.trains(self.endpoint, self.here(now))

    def next_timeout(self) -> float | None:
        due = self.endpoint.next_timeout()
        self._asked += 1
        if self._asked % CHECK_EVERY == 0:
            for connection in self.endpoint.connections:
                wanted = connection.next_timeout()
                assert wanted is None or (due is not None and due <= wanted), f"{wanted} is slept through, until {due}"
        return None if due is None else due - self.ahead

    def handle_timeout(self, now: float) -> None:
        due = self.endpoint.next_timeout()
        if due is not None and due - self.ahead <= now:
            self._latest = max(self._latest, due)  # a sum is rounded, but what was due at `now` must be
        self.endpoint.handle_timeout(self.here(now))
        self._look()

    @property
    def events(self) -> deque[tuple[Connection, events.Event]]:
        return self.endpoint.events

    @property
    def connections(self) -> Any:
        return self.endpoint.connections

    def _look(self) -> None:
        self._inputs += 1
        if self._inputs % CHECK_EVERY == 0:
            self._check(self.endpoint)


class World:
    """A plan under way."""

    def __init__(self, plan: Plan, story: Story | None = None) -> None:
        self.plan = plan
        self.story = story
        self.network = Network(plan.seed, digest=False)
        self.apps: dict[Connection, App] = {}
        self.hosts: dict[str, Host] = {}
        self._generation = 0
        self._configs = {"server": Config(reset_key=RESET_KEY, **dict(plan.server_config))}
        clients = [f"client {number}" for number in range(plan.clients)]
        self._configs.update(dict.fromkeys(clients, Config(**dict(plan.config))))
        self._add("server", SERVER)
        for number, name in enumerate(clients):
            self._add(name, (f"10.0.0.{number + 1}", 1))
        self._link(clients)
        if story is not None:
            story.clock = self.network.clock
            story.names = {host.address: name for name, host in self.hosts.items()}
            self.network.observe(story)
        for at, name, seconds in plan.jumps:
            self.hosts[name].call_at(at, lambda name=name, seconds=seconds: self._jump(name, seconds))  # type: ignore[misc]
        for at, name in plan.restarts:
            self.hosts[name].call_at(at, lambda name=name: self._restart(name))  # type: ignore[misc]
        for name in clients:
            for _ in range(plan.connections):
                self._connect(name)

    # -- making it

    def _endpoint(self, name: str) -> Clocked:
        self._generation += 1
        random = self.network.random(f"{name} {self._generation}")
        return Clocked(Endpoint(self._configs[name], random=random, accept=name == "server"), self._check)

    def _add(self, name: str, address: tuple[str, int]) -> None:
        self.hosts[name] = self.network.add_host(
            address,
            self._endpoint(name),
            on_event=lambda connection, event: self._on_event(name, connection, event),
            merging=self.plan.merging,
            window=self.plan.window,
        )

    def _link(self, clients: list[str]) -> None:
        plan, server = self.plan, self.hosts["server"]
        bottleneck: list[Node] = []
        for number, name in enumerate(clients):
            forth, back = plan.forth.nodes(), plan.back.nodes()
            if plan.shared and isinstance(forth[0], Rate):
                bottleneck = bottleneck or [forth[0]]
                forth[0] = bottleneck[0]
            if plan.rebinds:
                outside = [(f"198.51.100.{number + 1}", 1024 + port) for port in range(len(plan.rebinds) + 1)]
                nat = Nat(outside, rebinds=plan.rebinds)
                forth = [nat, *forth]
                back = [*back, nat.reverse]
            self.network.add_link(self.hosts[name], server, forth)
            self.network.add_link(server, self.hosts[name], back)

    def _connect(self, name: str) -> None:
        host = self.hosts[name]
        clocked: Any = host.endpoint
        connection = clocked.endpoint.connect(SERVER, clocked.here(self.network.now))
        self._app(name, connection)
        host.service()

    def _app(self, name: str, connection: Connection) -> App:
        side = self.plan.client if connection.is_client else self.plan.server
        host = self.hosts[name]
        self.apps[connection] = app = App(
            connection,
            side,
            lambda seconds, do: host.call_at(self.network.now + seconds, do),
            lambda text: self._note(f"{name}: {text}"),
            self.plan.until + 5.0,
        )
        return app

    # -- while it runs

    def _note(self, text: str) -> None:
        if self.story is not None:
            self.story.note(text)

    def _on_event(self, name: str, connection: Connection, event: events.Event) -> None:
        self._note(f"{name}: {event}")
        app = self.apps.get(connection) or self._app(name, connection)
        if not app.is_lost:
            app.on_event(event)

    def _check(self, endpoint: Endpoint) -> None:
        for connection in endpoint.connections:
            invariants.check(connection)

    def _jump(self, name: str, seconds: float) -> None:
        self._note(f"{name}: the clock leaps by {seconds:.3f} s")
        clocked: Any = self.hosts[name].endpoint
        clocked.ahead += seconds

    def _restart(self, name: str) -> None:
        self._note(f"{name}: restarts")
        host = self.hosts[name]
        for app in self.apps.values():
            clocked: Any = host.endpoint
            if app.connection in clocked.endpoint.connections:
                app.is_lost = True
        ahead = clocked.ahead
        host.endpoint = self._endpoint(name)
        host.endpoint.ahead = ahead  # type: ignore[attr-defined]

    def run(self) -> None:
        """Run to the end. Raises AssertionError and whatever else breaks."""
        network, plan = self.network, self.plan
        limit = plan.until + (ENDED_WITHIN if plan.may_fail else DONE_WITHIN) + self._work()
        try:
            ended = network.run(limit, stop=self._is_over, max_events=MAX_EVENTS)
        except (Stalled, TooManyEvents) as error:
            error.add_note(self._states())
            raise
        self._check_all()
        assert ended, f"{limit - plan.until:.0f} s after the network healed it is not over:\n{self._states()}"
        self._judge()
        network.run(max_events=MAX_EVENTS)
        for name, host in self.hosts.items():
            clocked: Any = host.endpoint
            endpoint = clocked.endpoint
            assert endpoint.is_idle, f"{name} holds something for ever: {endpoint.stats()}"
            assert endpoint.next_timeout() is None, f"{name} wants to be woken for nothing"

    def _work(self) -> float:
        """Seconds that the payload takes: over the line, and of slow readers."""
        plan = self.plan
        size = {who: sum(s.size for s in side.sends) + 20_000 for who, side in self._sides()}
        connections = plan.clients * plan.connections
        seconds = 0.0
        for way, who, reader in ((plan.forth, "client", plan.server), (plan.back, "server", plan.client)):
            total = size[who] * connections * (2 if plan.shared else 1)
            seconds += 8 * total / way.rate if way.rate else 0.0
            seconds += reader.pause * size[who] / reader.read_size
            seconds += ROUND_TRIPS * way.delay
        return seconds

    def _sides(self) -> Iterator[tuple[str, Any]]:
        yield "client", self.plan.client
        yield "server", self.plan.server

    def _is_over(self) -> bool:
        return all(app.terminated or app.is_lost for app in self.apps.values())

    def _check_all(self) -> None:
        for app in self.apps.values():
            invariants.check(app.connection)

    def _states(self) -> str:
        return "\n".join(app.state() for app in self.apps.values())

    # -- when it is over

    def _judge(self) -> None:
        clients = [app for app in self.apps.values() if app.connection.is_client]
        servers: dict[int, list[App]] = {}
        for app in self.apps.values():
            if not app.connection.is_client:
                servers.setdefault(app.owner, []).append(app)
        for client in clients:
            # A client whose address changed while it opened has half-open connections on the server, and one open.
            answers = servers.pop(client.owner, [])
            answered = [app for app in answers if app.is_connected]
            assert len(answered) <= 1, "one client, two connections"
            server = answered[0] if answered else None
            for app in (client, *answers):
                if not app.is_lost:
                    self._judge_end(app, server if app is client else client)
            if server is not None:
                judge_bytes(client, server)
                judge_bytes(server, client)
        assert not servers, "a server has a connection that no client has"

    def _judge_end(self, app: App, other: App | None) -> None:
        (error,) = app.terminated
        plan = self.plan
        if error is None:
            assert other is not None or not app.is_connected
            return
        if not app.is_connected and not app.connection.is_client and isinstance(error, ConnectTimeout):
            return  # it took its client's other address for another client
        what = f"{app.state()}\nends in {error!r}"
        assert isinstance(error, ConnectionLost), f"no error of the tree: {what}"
        code = getattr(error, "code", 0) if not getattr(error, "application", False) else 0
        assert code not in ALWAYS_A_FAULT, f"an honest peer is at fault: {what}"
        aborted = app.is_aborted or (other is not None and other.is_aborted)
        if other is not None and other.terminated == [None] and app.is_through and plan.loses:
            return  # all has arrived and the peer is gone; what said so was lost, with every repetition
        starved = plan.starves and isinstance(error, ConnectTimeout)
        assert plan.may_fail or starved, f"nothing was done to it, but {what}"
        lost = bool(plan.restarts)
        timeouts = (ConnectTimeout, IdleTimeout, PeerUnresponsive)
        told = isinstance(error, ConnectionReset | ConnectionAborted | ConnectionRefused)
        assert isinstance(error, timeouts) or aborted or lost or (told and plan.may_fail), what
        late = starved or (plan.opens_late and isinstance(error, ConnectTimeout))
        if isinstance(error, timeouts) and not (plan.is_harsh or plan.jumps or lost or late):
            assert aborted, f"a timeout on a good path: {what}"


def judge_bytes(sender: App, receiver: App) -> None:
    """What was read was written; all that was written was read, if the sender's end was a good one."""
    clean = sender.terminated == [None] and sender.is_connected and not sender.is_lost
    both = clean and receiver.terminated == [None]
    for stream_id, count in receiver.read.items():
        sending = sender.sendings.get(stream_id)
        written = 0 if sending is None else sending.written
        assert count <= written, f"stream {stream_id}: {count} bytes read of {written} written"
        if receiver.ended.get(stream_id) == "eof":
            whole = sending is None or count == written or _cut(sending, both)
            assert whole, f"stream {stream_id} ends at {count} of {written}"
        if receiver.ended.get(stream_id) == "reset":
            assert sending is not None
            assert sending.is_reset or sending.is_stopped, f"stream {stream_id}: a reset that nobody asked for"
    if clean and (both or not receiver.side.pause) and not receiver.is_lost:
        for stream_id, sending in sender.sendings.items():
            if sending.is_reset or sending.is_stopped or receiver.ended.get(stream_id) == "stopped":
                continue
            read = receiver.read.get(stream_id, 0)
            assert read == sending.written, f"all is well, but {read} of {sending.written} bytes of {stream_id} came"


def _cut(sending: Sending, both: bool) -> bool:
    """Whether a stream may end before all that was written: the connection did, not in good order, at both ends."""
    return not both and sending.send.end != "fin"


def run(plan: Plan) -> Outcome:
    """Run a plan. Failures come back as text."""
    return _run(plan, None)


def tell(plan: Plan) -> str:
    """The plan's failure and its story, packet by packet."""
    story = Story()
    outcome = _run(plan, story)
    return f"{plan}\n\n{story}\n\n{outcome.failure or 'no failure'}"


def _run(plan: Plan, story: Story | None) -> Outcome:
    world = None
    failure = ""
    try:
        world = World(plan, story)
        world.run()
    except Exception as error:
        failure = "".join(traceback.format_exception(error))
    if world is None:
        return Outcome(0.0, 0, failure)
    packets = sum(host.datagrams_sent for host in world.hosts.values())
    return Outcome(world.network.now, packets, failure)
