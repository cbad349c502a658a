"""A network: hosts at addresses, links between them, one clock and one seed.

Knows: which route leads from which host to which address; that every random source of a run comes from its
seed, each node's and each host's by its place in the network, so that adding one doesn't change what another
draws.
Refuses to know: what endpoints say to each other.

Same seed, same construction, same commands: the same bytes at the same instants (`Network.digest`), whatever
PYTHONHASHSEED is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TextIO, cast

from rudp.sim.aio.machine import Machine
from rudp.sim.clock import MAX_EVENTS, Clock, SimulationError
from rudp.sim.host import Host, HostedEndpoint, OnEvent
from rudp.sim.node import Datagram, HoldingNode, Node
from rudp.sim.nodes import Tap
from rudp.sim.route import Observer, Route, Wiring
from rudp.sim.seeds import seed as environment_seed
from rudp.sim.tracing import Trace, check_interval
from rudp.trace import Writer
from rudp.train import Address

__all__ = ["Network"]


class Network:
    """Hosts joined by directional links, on virtual time.

    `seed`: any int or str; None takes it from the environment variable `RUDP_SEED`, or draws one and says which
    on standard error (`rudp.sim.seed`). `start`: the clock's first reading, in seconds. `digest`: keep a hash of all
    deliveries.
    """

    def __init__(self, seed: int | str | None = 0, *, start: float = 0.0, digest: bool = True) -> None:
        self.seed = environment_seed() if seed is None else seed
        self.clock = Clock(start)
        self.hosts: list[Host] = []
        self.machines: dict[str, Machine] = {}
        self._keeps_digest = digest
        self._owners: dict[Address, Host] = {}
        self._nodes: dict[Node, int] = {}
        self._wiring = Wiring(self.clock)
        self._trace: Trace | None = None

    @property
    def now(self) -> float:
        """Virtual time, in seconds."""
        return self.clock.now

    @property
    def events(self) -> int:
        """Events processed so far."""
        return self.clock.events

    def random(self, label: str) -> Random:
        """A random source drawn from the seed and `label` alone, for an endpoint or a test."""
        return self._random(f"label {label}")

    def add_host(
        self,
        address: Address,
        endpoint: HostedEndpoint,
        *,
        on_event: OnEvent | None = None,
        merging: float | None = None,
        window: float = 0.0,
    ) -> Host:
        """Put `endpoint` at `address`.

        `merging`: probability (0..1) that neighbours which may share a received buffer do; None draws anew
        for each arrival, from no merging at all to merging all. `window`: seconds for which the host's
        network card gathers packets before it hands them over together; 0 hands over what comes at one
        instant.
        """
        if address in self._owners:
            raise SimulationError(f"there is a host at {address} already")
        random = self._random(f"host {len(self.hosts)}")
        host = Host(
            self.clock,
            address,
            endpoint,
            random,
            on_event=on_event,
            merging=merging,
            window=window,
            digest=self._keeps_digest,
        )
        self.hosts.append(host)
        self._owners[address] = host
        return host

    def add_machine(self, name: str, *addresses: str, merging: float | None = None, window: float = 0.0) -> Machine:
        """Add a host on which asyncio programs run (`rudp.sim.run`), found by `name`, a host name.

        `addresses`: numeric IPv4 and IPv6 ones; without any it gets one of 10.0.0.0/8. `merging` and `window` as
        for `add_host`.
        """
        known = name.lower()
        if not name or known in self.machines or known == "localhost":
            raise SimulationError(f"{name!r} can't be the name of a machine: it is empty, taken, or localhost")
        if not addresses:
            number = len(self.machines) + 1
            while (automatic := f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0) in self._owners:
                number += 1
            addresses = (automatic,)
        machine = Machine(
            self._wiring, name, addresses, self.random, merging=merging, window=window, digest=self._keeps_digest
        )
        owned = [address for address in machine.routes if address[0] in machine.addresses]
        for address in owned:
            if address in self._owners:
                raise SimulationError(f"there is a host at {address[0]} already")
        self._owners.update(dict.fromkeys(owned, machine))
        self.hosts.append(machine)
        self.machines[known] = machine
        return machine

    def add_link(
        self,
        source: Host,
        destination: Host,
        nodes: Sequence[Node] = (),
        *,
        tap: Callable[[float, Datagram], object] | None = None,
    ) -> None:
        """Let packets from `source` to `destination` pass through `nodes`, first to last. One direction only.

        A node given to several links is shared by them, as a bottleneck is; such links must all be added
        before packets pass one of them. `tap(time, datagram)` sees each packet as it leaves `source`. A
        second link between the same hosts replaces the first; what is on its way still arrives. Raises SimulationError
        for hosts and nodes of another network, and for what is no node.
        """
        chain = [Tap(tap), *nodes] if tap is not None else list(nodes)
        for host in (source, destination):
            if self._owners.get(host.address) is not host:
                raise SimulationError(f"{host!r} is not part of this network")
        for node in chain:
            self._check(node)
        for node in chain:
            self._attach(node, source)
        route = Route(self._wiring, chain, destination.inbox)
        for address, owner in self._owners.items():
            if owner is destination:
                source.routes[address] = route

    def call_at(self, time: float, callback: Callable[[], object]) -> None:
        """Call `callback()` at `time` (seconds). Commands to an endpoint need its host's `service()` after
        them."""
        self.clock.call_at(time, lambda _now: callback())

    def run(
        self,
        until: float | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        max_events: int = MAX_EVENTS,
    ) -> bool:
        """Run until `stop()` is true, virtual time is `until`, or (with neither) nothing is left to happen.

        Returns whether `stop()` held (True if none was given). Raises Stalled when nothing is left to happen
        and `stop` is not met or when time stands still, TooManyEvents after `max_events`. Whatever is raised
        gets a note of the time and the seed.
        """
        try:
            return self.clock.run(until, stop, max_events)
        except Exception as error:
            error.add_note(f"in a simulation with seed {self.seed!r}, at {self.now!r} s")
            raise
        finally:
            if self._trace is not None:
                self._trace.flush(self.now)

    def trace(
        self,
        file: str | Path | TextIO,
        *,
        interval: float = 0.01,
        packets: bool = True,
        names: Mapping[Node, str] | None = None,
    ) -> Trace:
        """Write a trace of the run to come into `file`, a path or an open text file, in qlog's sequential form.

        Every packet sent, received and dropped, unless `packets` is False; every `interval` seconds each
        connection's window, bytes in flight, RTT and pacing rate, and each line's queue, where they changed.
        `names` are for nodes in place of their type and number. Close what is returned, or use `with`. Raises
        SimulationError when packets have passed already, OSError if the file can't be opened.
        """
        self._check_unobserved()
        check_interval(interval)
        opened = open(file, "w", encoding="utf-8") if isinstance(file, str | Path) else None  # noqa: SIM115
        target = opened or cast("TextIO", file)
        writer = Writer(target.write, title="rudp.sim", common_fields={"seed": self.seed})
        close = target.flush if opened is None else opened.close
        self._trace = Trace(self.clock, self.hosts, self._nodes, writer, close, interval, packets, names or {})
        self.observe(self._trace)
        return self._trace

    def observe(self, observer: Observer) -> None:
        """Have `observer` told of every packet that is sent, received and dropped, and of what each node makes of it.

        `rudp.testing.Story` is one, a trace another. The run stays the same. Raises SimulationError when packets have
        passed already, or are observed by another.
        """
        self._check_unobserved()
        self._wiring.observer = observer
        for gate in self._wiring.gates.values():
            gate.node.drops = []

    def _check_unobserved(self) -> None:
        if self._wiring.in_use or self._wiring.observer is not None:
            raise SimulationError("a trace begins once, before the first packet passes")

    def digest(self) -> str:
        """A hash, in hex, of every buffer every host received, with its time, and of the number of events."""
        total = hashlib.sha256(f"{self.events}".encode())
        for host in self.hosts:
            total.update(host.digest())
        return total.hexdigest()

    def _random(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    def _check(self, node: Node) -> None:
        """Raise SimulationError if it can't become part of a link."""
        if not isinstance(node, Node):
            raise SimulationError(f"{node!r} is no node: a link is made of objects as Delay(0.01)")
        if node.comes_and_goes:
            raise SimulationError(f"{node!r} comes and goes by a During, which is to be part of the link in its place")
        if node.in_use:
            raise SimulationError(f"{node!r} is in use: add all links that share it before packets pass it")
        if node.routes and node not in self._nodes:
            raise SimulationError(f"{node!r} is part of another network")

    def _attach(self, node: Node, source: Host) -> None:
        if node.routes == 0:
            place = self._nodes[node] = len(self._nodes)
            node.attach(self._random(f"node {place}"))
        node.routes += 1
        if isinstance(node, HoldingNode):
            self._wiring.gate(node)
        for address in node.addresses:
            owner = self._owners.setdefault(address, source)
            if owner is not source:
                raise SimulationError(f"{address} belongs to {owner!r}: hosts behind a NAT each need one of their own")
            for host in self.hosts:
                if source.address in host.routes:
                    host.routes[address] = host.routes[source.address]
