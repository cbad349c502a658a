"""A world of the swarm, drawn from its seed: topology, faults, workload, configuration.

Knows: what is drawn and in which bounds, how a plan reads, and how one is made simpler (`simpler`).
Refuses to know: endpoints and networks (`worlds` runs a plan).

Every feature has a chance of its own to be there, so that two faults meet without the twenty others. Most worlds are
small: tens of kilobytes, some connections, seconds of virtual time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any, TypeVar

from rudp.config import Config
from rudp.testing import Faults

__all__ = ["Plan", "Send", "Side", "draw", "simpler"]

KIB = 1024
CONTROLLERS = ("model", "model", "bbr", "cubic", "new_reno")


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """What one application writes: `size` bytes in writes of `chunk`, `at` seconds after it is connected.

    `kind`: "main" (stream 0), "bidi" or "uni". `end`: "fin", "reset" once all is written, or "eof", which leaves it to
    the connection's FIN.
    """

    kind: str = "main"
    at: float = 0.0
    size: int = 0
    chunk: int = 1 << 20
    end: str = "fin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One application: what it sends and how it reads.

    `pause`: seconds between reads of `read_size` bytes; 0 reads all at once. `stop_after`: bytes of each stream after
    which it stops reading it for good. `abort_at`: seconds after which it aborts the connection.
    """

    sends: tuple[Send, ...] = ()
    pause: float = 0.0
    read_size: int = 65536
    stop_after: int | None = None
    abort_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A world. Times are seconds of virtual time; `until` is when the network has healed."""

    seed: int
    until: float = 5.0
    forth: Faults = Faults()  # noqa: RUF009 (frozen)
    back: Faults = Faults()  # noqa: RUF009 (frozen)
    clients: int = 1
    connections: int = 1
    shared: bool = False
    client: Side = Side()
    server: Side = Side()
    config: tuple[tuple[str, Any], ...] = ()
    server_config: tuple[tuple[str, Any], ...] = ()
    merging: float | None = None
    window: float = 0.0
    rebinds: tuple[float, ...] = ()
    jumps: tuple[tuple[float, str, float], ...] = ()
    restarts: tuple[tuple[float, str], ...] = ()

    @property
    def may_fail(self) -> bool:
        """Whether a connection may end in an error: it lost its peer, its application's patience, or too much time."""
        aborted = self.client.abort_at is not None or self.server.abort_at is not None
        return bool(self.restarts or self.jumps or aborted or self.is_harsh or self.opens_late)

    @property
    def opens_late(self) -> bool:
        """Whether an opening, with the cookie's round trip, may be late for `connect_timeout` by delays alone."""
        patience: float = dict(self.config).get("connect_timeout", Config().connect_timeout)
        return 2 * sum(way.delay + (way.late if way.reorder else 0.0) for way in (self.forth, self.back)) > patience

    @property
    def starves(self) -> bool:
        """Whether more connections share a queue than it holds packets: eight SYNs in a row may find it full."""
        sharing = self.connections * (self.clients if self.shared else 1)
        return any(way.queue is not None and way.queue < sharing for way in (self.forth, self.back))

    @property
    def loses(self) -> bool:
        """Whether packets are lost other than in a queue."""
        ways = (self.forth, self.back)
        return bool(self.rebinds) or any(way.loss or way.corrupt or way.outages for way in ways)

    @property
    def is_harsh(self) -> bool:
        """Whether so much is lost, or for so long, that timeouts are in order."""
        ways = (self.forth, self.back)
        return any(
            way.loss * max(1.0, way.burst) > 0.04 or way.outages or way.corrupt > 0.04 or _is_slow(way) for way in ways
        )

    def __str__(self) -> str:
        plain = Plan(seed=self.seed)
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return "\n".join(f"{name}: {value}" for name, value in values if value != getattr(plain, name))


def _is_slow(way: Faults) -> bool:
    """Whether the queue alone can hold packets for longer than an opening's patience, or next to none of them."""
    return way.rate is not None and (way.rate < 30_000 or (way.queue or 0) * 1228 / way.rate > 2.0)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(f"swarm {seed}")
    chance = random.random
    until = random.choice((0.5, 2.0, 5.0, 15.0))
    protection = "none" if chance() < 0.3 else "crc32"
    forth = Faults.draw(random, until, corrupt=protection == "crc32")
    back = (
        Faults.draw(random, until, corrupt=protection == "crc32")
        if chance() < 0.7
        else replace(forth, outages=(), loss=forth.loss / 2)
    )
    clients = random.choice((1, 1, 1, 2, 3))
    budget = int(random.choice((2_000, 20_000, 60_000, 150_000)) * chance())
    names = ["server", *(f"client {n}" for n in range(clients))]
    config = _draw_config(random, protection)
    rebinds = chance() < 0.12
    if rebinds:
        # The way back is gone until the client sends something, which a keepalive alone may do.
        config = tuple((name, 1.0 if name == "keepalive" else value) for name, value in config)
    rates = _draw_rates(Random(f"rates {seed}"))
    moments = [random.uniform(0, until) for _ in range(6)]
    return Plan(
        seed=seed,
        until=until,
        forth=forth,
        back=back,
        clients=clients,
        connections=random.choice((1, 1, 1, 2)),
        shared=clients > 1 and chance() < 0.5,
        client=_draw_side(random, budget, until),
        server=_draw_side(random, budget, until),
        config=(*config, *rates),
        server_config=(*(_draw_config(random, protection) if chance() < 0.4 else config), *rates),
        merging=random.choice((None, None, 0.0, 0.5, 1.0)),
        window=random.choice((0.0, 0.0, 0.0005, 0.005)),
        rebinds=tuple(sorted(moments[: random.randint(1, 3)])) if rebinds else (),
        jumps=((moments[3], random.choice(names), 10 ** random.uniform(-3, 2)),) if chance() < 0.1 else (),
        restarts=((moments[4], random.choice(names)),) if chance() < 0.08 else (),
    )


def _draw_side(random: Random, budget: int, until: float) -> Side:
    chance = random.random
    count = random.choice((0, 1, 1, 2, 5, 12)) if chance() < 0.9 else 40
    kinds = ("main", "bidi", "bidi", "uni")
    sends = []
    for number in range(count):
        kind = random.choice(kinds)
        if kind == "main" and any(send.kind == "main" for send in sends):
            kind = "bidi"
        size = random.choice((0, 1, 700, 1200, budget // count, random.randint(0, budget)))
        end = random.choice(("fin", "fin", "fin", "fin", "eof", "reset"))
        at = 0.0 if chance() < 0.6 else random.uniform(0.0, until * 1.2)
        chunk = random.choice((1 << 20, 1 << 20, 5000, 1 + size // 100))
        sends.append(Send(kind=kind, at=at if number else 0.0, size=min(size, budget), chunk=chunk, end=end))
    slow = chance() < 0.2
    return Side(
        sends=tuple(sends),
        pause=10 ** random.uniform(-3, -0.7) if slow else 0.0,
        read_size=max(1, budget // 30) if slow else random.choice((65536, 65536, 1000)),
        stop_after=random.randint(0, 5000) if chance() < 0.1 else None,
        abort_at=random.uniform(0.0, until) if chance() < 0.05 else None,
    )


def _draw_config(random: Random, protection: str) -> tuple[tuple[str, Any], ...]:
    chance = random.random
    window = 4 * KIB * random.choice((1, 2, 8, 64, 256))
    drawn = {
        "protection": protection,
        "congestion": random.choice(CONTROLLERS),
        "initial_receive_window": window,
        "receive_window": window * random.choice((1, 2, 64)),
        "send_buffer": random.choice((1, 1000, 65536, 1 << 20)),
        "max_streams_bidi": random.choice((1, 2, 10, 128)),
        "max_streams_uni": random.choice((1, 2, 10, 128)),
        "max_ack_delay": random.choice((0.0, 0.025, 0.025, 0.1)),
        "max_datagram_size": random.choice((1200, 1200, 1200, 1472, 8000)),
        "path_mtu_discovery": chance() < 0.8,
        "ecn": chance() < 0.7,
        "retry": random.choice(("auto", "auto", "always")),
        "max_half_open": random.choice((1024, 1024, 1, 0)),
        "keepalive": random.choice((None, None, 1.0)),
        "idle_timeout": 30.0,  # longer than an application waits before it writes on
        "give_up_timeout": random.choice((60.0, 60.0, 15.0)),
    }
    if drawn["keepalive"]:
        drawn["idle_timeout"] = random.choice((30.0, 8.0))
    if not drawn["path_mtu_discovery"]:
        drawn["max_datagram_size"] = 1200  # who says another knows the path
    if drawn["max_datagram_size"] == 8000:
        drawn["datagram_size_limit"] = 8000
    return tuple(drawn.items())


def _draw_rates(random: Random) -> tuple[tuple[str, Any], ...]:
    """How fast streams may be opened and reset, by chance of their own: seeds of before draw what they drew."""
    opens, resets = random.choice(((30_000, 1000), (30_000, 1000), (300, 100), (40, 10)))
    return ("max_stream_opens", opens), ("max_stream_resets", resets)


def simpler(plan: Plan) -> Iterator[Plan]:
    """Plans with one thing less each, the largest steps first."""
    whole = ("jumps", "restarts", "rebinds", "shared", "connections", "clients", "window", "server_config", "config")
    yield from _without(plan, Plan(seed=plan.seed), whole)
    for way in ("forth", "back"):
        for faults in _without(getattr(plan, way), Faults(), _FAULTS):
            yield replace(plan, **{way: faults})
    for who in ("client", "server"):
        for side in _simpler_sides(getattr(plan, who)):
            yield replace(plan, **{who: side})
    for name in ("config", "server_config"):
        items = getattr(plan, name)
        for item in items:
            yield replace(plan, **{name: tuple(kept for kept in items if kept is not item)})


_FAULTS = ("loss", "jitter", "reorder", "duplicate", "corrupt", "rate", "mtu", "outages", "delay")
_Value = TypeVar("_Value", Plan, Faults, Side)


def _without(value: _Value, plain: _Value, names: Iterable[str]) -> Iterator[_Value]:
    """`value` with one of its fields as in `plain`, for each that differs."""
    for name in names:
        if getattr(value, name) != getattr(plain, name):
            yield replace(value, **{name: getattr(plain, name)})


def _simpler_sides(side: Side) -> Iterator[Side]:
    yield from _without(side, Side(), ("pause", "stop_after", "abort_at", "read_size"))
    sends = side.sends
    half = len(sends) // 2
    if half:
        yield replace(side, sends=sends[:half])
        yield replace(side, sends=sends[half:])
    for number, send in enumerate(sends):
        before, after = sends[:number], sends[number + 1 :]
        yield replace(side, sends=before + after)
        if send.size > 1:
            yield replace(side, sends=(*before, replace(send, size=send.size // 2), *after))
