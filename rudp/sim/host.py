"""A host: the driver of one endpoint on the simulated network.

Knows: what a driver does after every input (send all trains, drain events, arm one timer at
`next_timeout()`), on virtual time; the routes that lead away from the host; how its network card hands over
what arrived.
Refuses to know: what the bytes mean, what the endpoint decides.

The endpoint gets each received buffer as a writable view that is valid during the call only, as from a socket
driver that reads into one buffer for ever; keeping a reference to it is an error that is found at once.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappush
from math import inf
from random import Random
from struct import Struct
from typing import Any, Final, Protocol

from rudp.sim.clock import Clock, SimulationError, Stalled
from rudp.sim.gro import Received, merge, split
from rudp.sim.node import Batch, in_bounds
from rudp.sim.route import Inbox, Route
from rudp.train import Address, Train

__all__ = ["Host", "HostedEndpoint", "OnEvent"]

OnEvent = Callable[[Any, Any], object]

# Rounds of sending and events at one instant; an application that answers every event with another one is
# stuck.
ROUNDS: Final = range(10_000)
_DELIVERY: Final = Struct(">dIIB")


class HostedEndpoint(Protocol):
    """What a host can drive: the sans-IO contract of `rudp.endpoint.Endpoint`."""

    def receive(  # noqa: PLR0917 (the contract's)
        self, data: memoryview, segment_size: int, remote: Address, local: Address, ecn: int, now: float, /
    ) -> None: ...

    def datagrams_to_send(self, now: float, /) -> Iterable[Train]: ...

    def next_timeout(self) -> float | None: ...

    def handle_timeout(self, now: float, /) -> None: ...

    @property
    def events(self) -> deque[tuple[Any, Any]]: ...


class Host:
    """An endpoint at an address. Made by `Network.add_host`.

    `on_event(connection, event)` gets the endpoint's events and may issue commands, whose packets leave at
    the same instant; without it events are appended to `events`. Commands issued from elsewhere need
    `service()` after them.
    """

    __slots__ = (
        "_armed",
        "_callback",
        "_clock",
        "_digest",
        "_due",
        "_flows",
        "_in_service",
        "_random",
        "_wakeups",
        "address",
        "datagrams_received",
        "datagrams_sent",
        "endpoint",
        "events",
        "inbox",
        "merging",
        "on_event",
        "routes",
        "unroutable",
    )

    def __init__(
        self,
        clock: Clock,
        address: Address,
        endpoint: HostedEndpoint,
        random: Random,
        *,
        on_event: OnEvent | None,
        merging: float | None,
        window: float,
        digest: bool,
    ) -> None:
        self.address = address
        self.endpoint = endpoint
        self.events: list[tuple[Any, Any]] = []
        self.on_event = self._keep if on_event is None else on_event
        self.merging = None if merging is None else in_bounds("merging", merging, 0.0, 1.0)
        self.inbox = Inbox(clock, self._receive, in_bounds("window", window, 0.0, 1e9))
        self.routes: dict[Address, Route] = {}
        self.datagrams_sent = self.datagrams_received = self.unroutable = 0
        self._clock = clock
        self._random = random
        self._digest = hashlib.sha256() if digest else None
        self._flows: dict[tuple[Address, Address], bytes] = {}
        self._armed = self._due = inf
        # Times at which the clock will call, whether they still mean anything or not: none is asked for twice.
        self._wakeups: set[float] = set()
        self._callback = self._on_timer
        self._in_service = False

    def service(self) -> None:
        """Do what a driver does after an input: send all trains, drain events, arm the timer.

        Raises Stalled if the application's answers to events cause events without end.
        """
        if not self._in_service:  # else called by the application from on_event, and the loop goes round once more
            self._serve(self._clock.now)

    def _serve(self, now: float) -> None:
        self._in_service = True
        endpoint, on_event = self.endpoint, self.on_event
        events = endpoint.events
        try:
            for _ in ROUNDS:
                for train in endpoint.datagrams_to_send(now):
                    self._send(train, now)
                if not events:
                    break
                while events:
                    connection, event = events.popleft()
                    on_event(connection, event)
            else:
                raise Stalled(f"{self!r}: at {now!r} s every answer to an event causes another event")
        finally:
            self._in_service = False
        due = endpoint.next_timeout()
        if due is None:
            self._due = inf
        else:
            self._due = due
            if due < self._armed:
                self._arm(due, now)

    def call_at(self, time: float, command: Callable[[], object]) -> None:
        """Call `command()` at `time` (seconds on the virtual clock), then `service()`."""

        def run(_now: float) -> None:
            command()
            self.service()

        self._clock.call_at(time, run)

    def digest(self) -> bytes:
        """SHA-256 over every buffer received so far: its time, sizes, addresses, ECN mark and bytes."""
        if self._digest is None:
            raise SimulationError("this network keeps no digest: make it with digest=True")
        return self._digest.digest()

    def _send(self, train: Train, now: float) -> None:
        batch = split(train, self.address, now)
        self.datagrams_sent += len(batch)
        remote = train[4]
        # A machine has every port and is known as its port 0.
        route = self.routes.get(remote) or self.routes.get((remote[0], 0, *remote[2:]))
        if route is None:
            self.unroutable += len(batch)
        else:
            send = route.send
            send(batch)

    def _keep(self, connection: Any, event: Any) -> None:
        """An event that nobody wants to be told of."""
        self.events.append((connection, event))

    def _receive(self, batch: Batch, now: float) -> None:
        count = len(batch)
        self.datagrams_received += count
        if count == 1:
            [(_, (alone, source, destination, ecn))] = batch
            buffers = [(bytearray(alone), len(alone), source, destination, ecn)]
        else:
            probability = self._draw_merging() if self.merging is None else self.merging
            buffers = merge(batch, probability, self._random)
        endpoint = self.endpoint
        for data, segment_size, source, destination, ecn in buffers:
            if self._digest is not None:
                self._note((data, segment_size, source, destination, ecn), now)
            # Nobody here holds the view, so what is left of it when the endpoint is done is the endpoint's.
            endpoint.receive(memoryview(data), segment_size, source, destination, ecn, now)
            try:
                data.clear()  # only what nobody has a view of changes its size
            except BufferError:
                raise SimulationError(
                    f"{self!r}: the endpoint kept a view of a received buffer, which a socket driver overwrites"
                ) from None
        self._serve(now)

    def _draw_merging(self) -> float:
        """Half of the time all that may be merged is, a quarter nothing, a quarter something between."""
        random = self._random.random
        drawn = random()
        return 1.0 if drawn < 0.5 else 0.0 if drawn < 0.75 else random()

    def _note(self, received: Received, now: float) -> None:
        """Take a buffer into the digest."""
        assert self._digest is not None
        data, segment_size, source, destination, ecn = received
        flow = self._flows.get((source, destination))
        if flow is None:
            flow = self._flows[source, destination] = repr((source, destination)).encode()
        self._digest.update(_DELIVERY.pack(now, len(data), segment_size, ecn) + flow)
        self._digest.update(data)

    def _arm(self, due: float, now: float) -> None:
        self._armed = at = due if due > now else now
        if at not in self._wakeups:
            self._wakeups.add(at)
            clock = self._clock
            heappush(clock.heap, (at, next(clock.sequence), self._callback))  # as `call_at`, of a time that is ahead

    def _on_timer(self, now: float) -> None:
        self._wakeups.discard(now)
        if now < self._armed:
            return  # the timer was armed for an earlier time after this event was scheduled
        self._armed = inf
        if self._due <= now:
            self.endpoint.handle_timeout(now)
            self._serve(now)
        elif self._due < inf:
            self._arm(self._due, now)

    def __repr__(self) -> str:
        return f"<Host {self.address} sent={self.datagrams_sent} received={self.datagrams_received}>"
