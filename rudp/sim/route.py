"""How packets get along a link: which nodes may work ahead of the clock and where packets must wait for it.

Knows: a route is a fixed sequence of nodes from one host to another; what each node demands (`node.Node`) and
what the nodes before it do to order and time. From that a route is cut, once, into segments. Within a segment
a batch goes through all nodes in one call, ahead of the clock; between two segments packets wait in an
`Inbox`, which hands them on when the clock is at their time, one event per instant and not one per packet.
Refuses to know: what nodes do, what hosts are.

Causality: a node with a memory of order must see packets in order of time, whoever sent them. Without waiting
this holds if packets get to it in the order in which they were sent: no other route uses the node, and no
node before it changes the order; or if no node before it takes time, since senders act at clock time. In any
other case the packets wait. So a chain like Rate, Delay, Loss needs no event but the arrival, and a
bottleneck shared by flows of different delay gets one event per arriving train.
A node that keeps packets until their fate is known (`node.HoldingNode`) has a `Gate`, one for all routes that share
it, which asks it again when the clock is at the time that the node names.

Cost: a batch in order is appended to the inbox at once; a packet that overtakes others goes into a heap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import groupby
from math import inf
from operator import itemgetter
from typing import Final, Protocol

from rudp.sim.clock import Clock
from rudp.sim.node import Batch, Datagram, HoldingNode, Node, Onward, Released

__all__ = ["Gate", "Inbox", "Observer", "Route", "Wiring"]

_time: Final = itemgetter(0)
_onward: Final = itemgetter(2)


class Inbox:
    """Packets on their way to `receive(batch, now)`, in order of time; ties keep the order of arrival.

    With `window` > 0 packets that come within that many seconds after the first are handed over together,
    at the end of the window.
    """

    __slots__ = ("_armed", "_callback", "_clock", "_early", "_heap", "_pending", "_receive", "_sequence", "window")

    def __init__(self, clock: Clock, receive: Callable[[Batch, float], None], window: float = 0.0) -> None:
        self.window = window
        self._clock = clock
        self._heap, self._sequence = clock.heap, clock.sequence
        self._receive = receive
        self._pending: deque[tuple[float, Datagram]] = deque()
        # Those that come before the last of `_pending`, a heap by time and order of arrival. So while there is one,
        # `_pending` isn't empty, and what has the same time there was there before.
        self._early: list[tuple[float, int, tuple[float, Datagram]]] = []
        self._armed = inf
        self._callback = self._on_event

    def __len__(self) -> int:
        return len(self._pending) + len(self._early)

    def accept(self, batch: Batch) -> None:
        """Take a batch (not empty) in any order: O(1) for a packet that comes after all that wait, else O(log them)."""
        pending = self._pending
        for item in sorted(batch, key=_time) if len(batch) > 1 else batch:
            if not pending or item[0] >= pending[-1][0]:
                pending.append(item)
            else:
                heappush(self._early, (item[0], next(self._sequence), item))
        self._arm()

    def accept_in_order(self, batch: Batch) -> None:
        """Take a batch (not empty) that is in order of time within itself."""
        pending = self._pending
        if not pending:
            pending += batch
            self._arm()
        elif batch[0][0] < pending[-1][0]:
            self.accept(batch)
        else:
            # The first of those that wait is the same as before, and the clock was asked for it.
            pending += batch

    def _arm(self) -> None:
        first = self._pending[0][0]
        if self._early and self._early[0][0] < first:
            first = self._early[0][0]
        due = first + self.window
        if due < self._armed:
            self._armed = due
            self._clock.call_at(due, self._callback)

    def _on_event(self, now: float) -> None:
        if now < self._armed:
            return  # the inbox was armed for an earlier time after this event was scheduled
        pending, early = self._pending, self._early
        batch = self._merge(now) if early else [pending.popleft()]
        while pending:
            first = pending[0][0]
            if first > now:
                if early and early[0][0] < first:
                    first = early[0][0]
                self._armed = due = first + self.window
                # As `call_at`, without two checks and a call.
                heappush(self._heap, (due, next(self._sequence), self._callback))
                break
            batch.append(pending.popleft())
        else:
            self._armed = inf
        # Called as a local: as an attribute it would be looked up as a method, which costs several times as much.
        receive = self._receive
        receive(batch, now)

    def _merge(self, now: float) -> Batch:
        """Take out what came early and is due, and what comes before it."""
        pending, early = self._pending, self._early
        batch: Batch = []
        while early and early[0][0] <= now:
            time, _, item = heappop(early)
            while pending[0][0] <= time:
                batch.append(pending.popleft())
            batch.append(item)
        return batch


class Gate:
    """Has a node that keeps packets give them away as soon as it can, each onto its own route."""

    __slots__ = ("_armed", "_wiring", "node")

    def __init__(self, wiring: Wiring, node: HoldingNode) -> None:
        self.node = node
        self._wiring = wiring
        self._armed = inf

    def accept(self, batch: Batch, onward: Onward) -> None:
        """Take a batch (not empty) whose packets go on to `onward`."""
        self._pass_on(self.node.accept(batch, onward))

    def _on_event(self, now: float) -> None:
        if now < self._armed:
            return  # the gate was armed for an earlier time after this event was scheduled
        self._armed = inf
        self._pass_on(self.node.release(now) if self.node.due <= now else [])

    def _pass_on(self, released: Released) -> None:
        due = self.node.due
        if due < self._armed:
            self._armed = due
            self._wiring.clock.call_at(due, self._on_event)
        if self.node.drops and self._wiring.observer is not None:
            self._wiring.observer.dropped(self.node, self.node.drops)
            self.node.drops.clear()
        for onward, items in groupby(released, _onward):
            onward([(time, datagram) for time, datagram, _ in items])


class Observer(Protocol):
    """Who is told what happens to packets, if anybody is (`tracing.Trace`)."""

    def sent(self, batch: Batch, /) -> None: ...

    def received(self, batch: Batch, /) -> None: ...

    def dropped(self, node: Node, batch: Batch, /) -> None: ...

    def watched(self, node: Node, /) -> Callable[[Batch], Batch]: ...


class Wiring:
    """What the routes of one network share: the clock, the gates, and who observes them (None: nobody)."""

    __slots__ = ("clock", "gates", "in_use", "observer")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.gates: dict[HoldingNode, Gate] = {}
        self.observer: Observer | None = None
        self.in_use = False

    def gate(self, node: HoldingNode) -> Gate:
        """The node's gate, one for all routes."""
        gate = self.gates.get(node)
        if gate is None:
            gate = self.gates[node] = Gate(self, node)
            node.drops = None if self.observer is None else []
        return gate


class _Segment:
    """Nodes that a batch passes in one call, and where what is left of it goes."""

    __slots__ = ("_processes", "_sink")

    def __init__(self, processes: Sequence[Callable[[Batch], Batch]], sink: Onward) -> None:
        self._processes = tuple(processes)
        self._sink = sink

    def forward(self, batch: Batch) -> None:
        for process in self._processes:
            batch = process(batch)
            if not batch:
                return
        sink = self._sink
        sink(batch)

    def forward_at(self, batch: Batch, now: float) -> None:  # noqa: ARG002 (an Inbox tells the time)
        self.forward(batch)


class Route:
    """A sequence of nodes from a host to the inbox of another. Cut into segments when first used."""

    __slots__ = ("_wiring", "destination", "nodes", "send")

    send: Onward
    """Put a batch (not empty) that leaves the host now on its way."""

    def __init__(self, wiring: Wiring, nodes: Sequence[Node], destination: Inbox) -> None:
        self.nodes = tuple(nodes)
        self.destination = destination
        self._wiring = wiring
        self.send = self._send_first

    def _send_first(self, batch: Batch) -> None:
        self.send = self._build()
        self.send(batch)

    def _build(self) -> Onward:
        wiring = self._wiring
        wiring.in_use = True
        # Each cut: the gate that packets pass there, or None where they wait; whether they come in order; what follows.
        cuts: list[tuple[Gate | None, bool, list[Node]]] = []
        segment = first = list[Node]()
        in_order = on_time = True
        for node in self.nodes:
            node.in_use = True
            out_of_order = node.needs_order and not (in_order and node.routes == 1)
            if not on_time and (node.needs_clock or out_of_order):
                segment = []
                cuts.append((None, in_order, segment))
                in_order = on_time = True
            if isinstance(node, HoldingNode):
                segment = []
                cuts.append((wiring.gate(node), in_order, segment))
            else:
                segment.append(node)
            in_order = in_order and node.keeps_order
            on_time = on_time and node.keeps_time
        sink = self._seen(self._sink(self.destination, in_order), last=True)
        for gate, ordered, nodes in reversed(cuts):
            after = _Segment(self._processes(nodes), sink)
            if gate is not None:
                sink = partial(gate.accept, onward=after.forward)
            else:
                sink = self._sink(Inbox(wiring.clock, after.forward_at), ordered)
        return self._seen(_Segment(self._processes(first), sink).forward, last=False)

    @staticmethod
    def _sink(inbox: Inbox, in_order: bool) -> Onward:
        return inbox.accept_in_order if in_order else inbox.accept

    def _processes(self, nodes: Sequence[Node]) -> list[Callable[[Batch], Batch]]:
        observer = self._wiring.observer
        return [node.process if observer is None else observer.watched(node) for node in nodes]

    def _seen(self, onward: Onward, *, last: bool) -> Onward:
        observer = self._wiring.observer
        if observer is None:
            return onward
        tell = observer.received if last else observer.sent

        def seen(batch: Batch) -> None:
            tell(batch)
            onward(batch)

        return seen
