"""Invariant: asking a connection when it is to be woken changes nothing, whenever it is asked: what is answered is not
later than the first deadline of a part, and the same packets leave at the same instants as from one never asked.

Two worlds of one seed live through the same, and in one of them connections are asked before and after their calls, and
held against `rudp.testing.invariants`, which has the deadlines one by one: `python -m fuzz asking`. A deadline that is
kept must be reckoned anew when something that it was reckoned from brings it nearer. A driver that asks once all has
been sent hardly ever meets one that isn't.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from random import Random
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fuzz.running import FUZZ, Target
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import ConnectionClosed, StreamError
from rudp.testing import invariants
from tests.pair import Match, Net, Packet

PLACES = {"a": ("10.0.0.1", 1), "b": ("10.0.0.2", 2)}
ELSEWHERE = (("10.0.0.1", 7), ("10.0.0.3", 1))
# Calls before and after which a connection is asked: what comes in, beside an endpoint's `receive`, what leaves, and
# what an application wants.
INPUTS = ("receive_run", "end_of_buffer", "receive_syn_ack", "handle_timeout", "next_train")
COMMANDS = (
    "send_within", "receive", "open_stream", "reset_stream", "stop_sending", "ping", "send_eof", "close", "abort",
)  # fmt: skip
ENDS = ("close", "close", "send_eof", "abort")
SIZES = (0, 1, 700, 8192, 9000, 200_000)
SMALL = {"receive_window": 8192, "initial_receive_window": 8192}
CONFIGS: tuple[dict[str, Any], ...] = (
    {},
    {"keepalive": 0.7},
    SMALL,
    {**SMALL, "path_mtu_discovery": False},
    {"max_streams_bidi": 3, "max_stream_opens": 4},
)
# Seconds.
ROUNDING = 1e-9
Act = Callable[[Net], object]


@contextmanager
def asking(random: Random, chance: float) -> Iterator[None]:
    """Have connections asked before and after some of their calls."""

    def ask(connection: Connection) -> None:
        if random.random() < chance:
            connection.next_timeout()
            invariants.check(connection)

    def ask_all(endpoint: Endpoint) -> None:
        for connection in endpoint.connections:
            ask(connection)

    def asked(method: Callable[..., Any], ask: Callable[[Any], None] = ask) -> Callable[..., Any]:
        def call(self: Connection | Endpoint, *given: Any) -> Any:
            ask(self)
            try:
                return method(self, *given)
            finally:
                ask(self)

        return call

    with (
        patch.multiple(Connection, **{name: asked(getattr(Connection, name)) for name in INPUTS + COMMANDS}),
        patch.object(Endpoint, "receive", asked(Endpoint.receive, ask_all)),
    ):
        yield


class World(Net):
    """Its applications read what they are told of, if that wasn't taken back meanwhile."""

    def read(self, name: str, connection: Connection, stream_id: int = 0) -> bytes:
        with suppress(StreamError):
            return super().read(name, connection, stream_id)
        return b""


def _are_alike(one: Packet | None, other: Packet | None) -> bool:
    """Whether two packets are the same at the same instant; else rounding has parted them, and so all that follows.

    A pacer that is asked reckons what is due up to then, so the last bit of a sum may be another.
    """
    assert one is not None, f"{other} leaves who is asked, and not who isn't"
    assert other is not None, f"{one} leaves who isn't asked, and not who is"
    assert abs(one.time - other.time) < ROUNDING, f"{one} leaves who isn't asked, {other} who is"
    if one.time != other.time:
        return False
    assert (one.sender, one.data) == (other.sender, other.data), f"{one} leaves who isn't asked, {other} who is"
    return True


class Asking(RuleBasedStateMachine):
    """A client and a server, twice."""

    @initialize(
        seed=st.integers(0, 2**32 - 1), delay=st.sampled_from([0.001, 0.05, 0.5]), config=st.sampled_from(CONFIGS),
        chance=st.sampled_from([0.1, 0.5, 1.0]), reading=st.booleans(),
    )  # fmt: skip
    def start(self, seed: int, delay: float, config: dict[str, Any], chance: float, reading: bool) -> None:
        self.random, self.chance, self.loss = Random(seed), chance, 0.0
        self.nets = [World(seed=seed, delay=delay) for _ in range(2)]
        self.told = [0, 0]
        self.alike = True
        patience = {"idle_timeout": 6.0, "give_up_timeout": 9.0, "connect_timeout": 3.0, "close_timeout": 1.0}
        for net in self.nets:
            for name, place in PLACES.items():
                net.add(name, place, accept=name == "b", config=Config(**{**patience, **config}))
            net.reading["b"] = reading
            net.drop(self.weather(seed))
        self.connect()

    def weather(self, seed: int) -> Match:
        """Losses that are drawn alike in both worlds."""
        random = Random(seed)
        return lambda _: random.random() < self.loss

    def do(self, act: Act) -> None:
        """The same in both worlds, and the same is to come of it."""
        plain, asked = self.nets
        act(plain)
        plain.flush()
        with asking(self.random, self.chance):
            act(asked)
            asked.flush()
        logs = [net.log[at:] for net, at in zip(self.nets, self.told, strict=True)]
        self.told = [len(net.log) for net in self.nets]
        if self.alike:
            self.alike = all(_are_alike(one, other) for one, other in zip_longest(*logs))
        if self.alike:
            for name in PLACES:
                one, other = ([str(event) for _, event in net.events[name]] for net in self.nets)
                assert one == other

    def connect(self) -> None:
        self.do(lambda net: net.connect("a", "b"))
        self.do(lambda net: net.run(net.delay * 4))

    def command(self, name: str, act: Callable[[Connection], object]) -> None:
        if not self.nets[0].endpoints["a"].connections:
            self.connect()

        def command(net: Net) -> None:
            for connection in net.endpoints[name].connections:
                with suppress(ConnectionClosed, StreamError):
                    act(connection)

        self.do(command)

    @rule(
        name=st.sampled_from("ab"), new=st.booleans(), index=st.integers(0, 3), size=st.sampled_from(SIZES),
        fin=st.booleans(),
    )  # fmt: skip
    def send(self, name: str, new: bool, index: int, size: int, fin: bool) -> None:
        def write(connection: Connection) -> None:
            held = [number for number in range(16) if connection.has_stream(number)]
            number = connection.open_stream() if new or not held else held[index % len(held)]
            connection.send(number, bytes(size), fin)

        self.command(name, write)

    @rule(name=st.sampled_from("ab"), stream=st.integers(0, 9), stop=st.booleans())
    def give_up(self, name: str, stream: int, stop: bool) -> None:
        method = Connection.stop_sending if stop else Connection.reset_stream
        self.command(name, lambda connection: method(connection, stream, 7))

    @rule(name=st.sampled_from("ab"))
    def ping(self, name: str) -> None:
        self.command(name, lambda connection: connection.ping())

    @rule(name=st.sampled_from("ab"), how=st.sampled_from(ENDS), rarely=st.integers(0, 2))
    def end(self, name: str, how: str, rarely: int) -> None:
        if not rarely:
            self.command(name, lambda connection: getattr(connection, how)())

    @rule(name=st.sampled_from("ab"), reading=st.booleans())
    def heed(self, name: str, reading: bool) -> None:
        for net in self.nets:
            net.reading[name] = reading

    @rule(name=st.sampled_from("ab"), stream=st.integers(0, 9), most=st.sampled_from([10, 65536]))
    def read(self, name: str, stream: int, most: int) -> None:
        self.command(name, lambda connection: connection.receive(stream, most))

    @rule(place=st.sampled_from(ELSEWHERE))
    def move(self, place: tuple[str, int]) -> None:
        self.do(lambda net: net.move("a", place))

    @rule(loss=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    def change_weather(self, loss: float) -> None:
        self.loss = loss

    @rule(name=st.sampled_from("ab"))
    def look_early(self, name: str) -> None:
        self.do(lambda net: [connection.handle_timeout(net.now) for connection in net.endpoints[name].connections])

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.3, 1.0, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.do(lambda net: net.run(seconds))


TARGETS: list[Target] = [Asking]


class TestAsking(Asking.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings: Any = settings(FUZZ, max_examples=30, stateful_step_count=40)
