"""Invariant: credit is never lost, given twice or overdrawn: a sender that keeps to what it was told never exceeds
what the receiver granted, the grant never goes back nor beyond the bound, and who reads lets the sender go on.

Two ends and a list of updates in any order between them, against plain totals: `python -m fuzz flow_control`.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fuzz.running import FUZZ, Target
from rudp.errors import ProtocolError
from rudp.flow_control import ReceiveWindow, SendWindow

KIB = 1024


class Credit(RuleBasedStateMachine):
    """A sender, a receiver, updates on their way, and totals."""

    @initialize(initial=st.integers(1, 64 * KIB), factor=st.sampled_from([1, 2, 100]), rtt=st.floats(0.0, 1.0))
    def start(self, initial: int, factor: int, rtt: float) -> None:
        self.receive = ReceiveWindow(initial, initial * factor)
        self.send = SendWindow(initial)
        self.rtt = rtt
        self.now = 0.0
        self.updates: list[int] = []
        self.sent = self.read = 0
        self.granted = initial

    @rule(share=st.floats(0.0, 1.0))
    def send_some(self, share: float) -> None:
        size = int(self.send.available * share)
        self.send.used += size
        self.sent += size
        self.receive.check(self.sent)

    @rule()
    def send_all(self) -> None:
        self.send_some(1.0)
        assert self.send.available == 0

    @precondition(lambda self: self.sent > self.read)
    @rule(share=st.floats(0.0, 1.0), seconds=st.floats(0.0, 2.0), dropped=st.booleans())
    def consume(self, share: float, seconds: float, dropped: bool) -> None:
        size = 1 + int((self.sent - self.read - 1) * share)
        self.now += seconds
        if dropped:
            before = self.receive.window
            self.receive.on_discarded(size)
            assert self.receive.window == before, "a window grows by what is read only"
        else:
            self.receive.on_consumed(size, self.now, self.rtt)
        self.read += size
        maximum = self.receive.update_due()
        if maximum is not None:
            assert maximum > self.granted
            self.granted = maximum
            self.updates.append(maximum)

    @precondition(lambda self: self.updates)
    @rule(index=st.integers(0, 100), keep=st.booleans())
    def update_arrives(self, index: int, keep: bool) -> None:
        at = index % len(self.updates)
        maximum = self.updates[at] if keep else self.updates.pop(at)
        before = self.send.limit
        assert self.send.raise_to(maximum) == (maximum > before)
        assert self.send.limit == max(before, maximum)

    @rule(beyond=st.integers(1, 1 << 40))
    def overdraw(self, beyond: int) -> None:
        with pytest.raises(ProtocolError):
            self.receive.check(self.granted + beyond)

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "receive"):
            return
        window = self.receive
        assert window.max_data == self.granted
        assert window.consumed == self.read
        assert self.send.used == self.sent <= self.send.limit <= self.granted
        assert window.max_data <= window.consumed + window.maximum
        assert window.window <= window.maximum

    def teardown(self) -> None:
        """All is read and every update arrives: then a window, or all but a silly little of it, is there again."""
        if not hasattr(self, "receive"):
            return
        if self.sent > self.read:
            self.consume(1.0, 0.0, False)
        self.send.raise_to(self.granted)
        assert self.send.available > 0, "nothing can be sent though all was read"
        assert self.send.available >= self.receive.window - max(self.receive.window // 2, 1)


TARGETS: list[Target] = [Credit]


class TestCredit(Credit.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings: Any = settings(FUZZ, max_examples=100, stateful_step_count=50)
