"""Invariant: an endpoint asks to be woken not later than the first deadline of any of its connections, has nothing due
once it has been woken and its trains are sent, and asks for nothing once its connections are gone.

Connections in all states on two endpoints, against the plain minimum over them: `python -m fuzz deadlines`. That each
connection's own answer is the soonest of its parts' is in `rudp.testing.invariants`, which is asked after every step.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fuzz.running import FUZZ, Target
from rudp.config import Config
from rudp.errors import ConnectionClosed
from rudp.testing import invariants
from tests.pair import Net

ENDS = ("close", "abort", "send_eof", "ping")
PLACES = {"a": ("10.0.0.1", 1), "b": ("10.0.0.2", 2)}


class Timers(RuleBasedStateMachine):
    """Two endpoints, both of which open and accept."""

    @initialize(seed=st.integers(0, 2**32 - 1), keepalive=st.sampled_from([None, 0.5]), delay=st.floats(0.001, 0.5))
    def start(self, seed: int, keepalive: float | None, delay: float) -> None:
        self.net = Net(seed=seed, delay=delay)
        config = Config(keepalive=keepalive, idle_timeout=5.0, give_up_timeout=8.0, connect_timeout=3.0)
        for name, place in PLACES.items():
            self.net.add(name, place, accept=True, config=config)
        self.deaf: dict[str, bool] = {}
        self.net.drop(lambda packet: self.deaf.get(packet.sender, False))

    def pick(self, name: str, index: int) -> Any:
        held = self.net.endpoints[name].connections
        return held[index % len(held)] if held else None

    @rule(name=st.sampled_from("ab"))
    def connect(self, name: str) -> None:
        if len(self.net.endpoints[name].connections) < 6:
            self.net.connect(name, "b" if name == "a" else "a")

    @rule(name=st.sampled_from("ab"), index=st.integers(0, 5), size=st.integers(0, 5000))
    def send(self, name: str, index: int, size: int) -> None:
        connection = self.pick(name, index)
        if connection is not None and connection.is_open:
            try:
                connection.send(0, bytes(size))
            except ConnectionClosed:
                assert not connection.is_writable

    @rule(name=st.sampled_from("ab"), index=st.integers(0, 5), how=st.sampled_from(ENDS))
    def end(self, name: str, index: int, how: str) -> None:
        connection = self.pick(name, index)
        if connection is not None:
            getattr(connection, how)()

    @rule(name=st.sampled_from("ab"), deaf=st.booleans())
    def cut(self, name: str, deaf: bool) -> None:
        self.deaf[name] = deaf

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.3, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.net.run(seconds)

    @rule(seconds=st.floats(0.01, 10.0))
    def sleep(self, seconds: float) -> None:
        """Nobody calls for a while, as when a machine is suspended."""
        self.net.flush()
        self.net.now += seconds

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "net"):
            return
        self.net.flush()
        for name, endpoint in self.net.endpoints.items():
            due = endpoint.next_timeout()
            for connection in endpoint.connections:
                wanted = connection.next_timeout()
                in_time = wanted is None or (due is not None and due <= wanted)
                assert in_time, f"{name} sleeps through {wanted}, due {due}"
                invariants.check(connection)

    def teardown(self) -> None:
        if not hasattr(self, "net"):
            return
        self.deaf.clear()
        for endpoint in self.net.endpoints.values():
            endpoint.abort_all("the end")
        self.net.run(100.0)
        for name, endpoint in self.net.endpoints.items():
            assert endpoint.next_timeout() is None, f"{name} wants to be woken for nothing"
            assert endpoint.is_idle


TARGETS: list[Target] = [Timers]


class TestTimers(Timers.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings: Any = settings(FUZZ, max_examples=30, stateful_step_count=40)
