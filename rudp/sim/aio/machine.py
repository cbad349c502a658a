"""A machine of the simulated network: a host on which programs run and open sockets by themselves.

Knows: its name and addresses; that a task runs on one machine, as the tasks it starts do; how its packets get to a link
or, sent to itself, back.
Refuses to know: what programs do; ports (sockets.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from functools import partial
from random import Random
from typing import Any, Final, NoReturn, TypeVar

from rudp.sim.aio.sockets import Sockets, at_port, is_ipv6
from rudp.sim.host import Host
from rudp.sim.route import Route, Wiring
from rudp.train import Train
from rudp.udp_options import normalise_address

__all__ = ["LOOPBACK_IPV4", "LOOPBACK_IPV6", "Machine", "current_machine"]

T = TypeVar("T")

LOOPBACK_IPV4: Final = "127.0.0.1"
LOOPBACK_IPV6: Final = "::1"
_current: Final[ContextVar[Machine]] = ContextVar("rudp simulated machine")


def current_machine() -> Machine | None:
    """The machine that the running task was put on."""
    return _current.get(None)


class Machine(Host):
    """A host for programs. Made by `Network.add_machine`.

    A program runs on it by `run`, `create_task` or in a `context`; so do the tasks that it starts, and the handlers of
    servers that it opens. On it `rudp.serve` binds the machine's addresses, `rudp.connect` finds other machines by
    name, and "localhost" is the machine itself.
    """

    __slots__ = ("_draw", "addresses", "name", "sockets")

    def __init__(
        self,
        wiring: Wiring,
        name: str,
        addresses: tuple[str, ...],
        draw: Callable[[str], Random],
        *,
        merging: float | None,
        window: float,
        digest: bool,
    ) -> None:
        self.name = name
        self.addresses = tuple(normalise_address((address, 0))[0] for address in addresses)
        self.sockets = Sockets(self)
        self._draw = draw
        super().__init__(
            wiring.clock,
            at_port(self.addresses[0], 0),
            self.sockets,
            draw(f"machine {name}"),
            on_event=None,
            merging=merging,
            window=window,
            digest=digest,
        )
        here = Route(wiring, (), self.inbox)
        own = (*self.addresses, LOOPBACK_IPV4)
        for address in (*own, LOOPBACK_IPV6) if any(map(is_ipv6, own)) else own:
            self.routes[at_port(address, 0)] = here

    def __repr__(self) -> str:
        return f"<Machine {self.name} {', '.join(self.addresses)} sent={self.datagrams_sent}>"

    # -- programs ------------------------------------------------------------------------------------------------

    def context(self) -> Context:
        """A copy of the present context in which code runs on this machine, for `create_task(..., context=)`."""
        context = copy_context()
        context.run(_current.set, self)
        return context

    def create_task(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a task on this machine; as with asyncio's, keep a reference to it."""
        return asyncio.get_running_loop().create_task(coroutine, name=name, context=self.context())

    async def run(self, program: Awaitable[T]) -> T:
        """Run `program` on this machine and return its result: `await server.run(rudp.serve(handler, port=4433))`."""
        return await self.create_task(_awaited(program))

    # -- what sockets need ---------------------------------------------------------------------------------------

    def owns(self, host: str) -> bool:
        """Whether packets to that address come back to the machine."""
        return host in self.addresses or host in (LOOPBACK_IPV4, LOOPBACK_IPV6)

    def source_for(self, host: str) -> str | None:
        """Which of its addresses a packet to `host` leaves from; None if it has none of that family."""
        if self.owns(host):
            return host
        wanted = is_ipv6(host)
        return next((address for address in self.addresses if is_ipv6(address) == wanted), None)

    def carry(self, train: Train) -> bool:
        """Send a train whose `local` is set; False: no link leads to its `remote`."""
        lost, now = self.unroutable, self._clock.now
        try:
            self._send(train, now)
        except Exception as error:
            # A node's function failed: that is the run's end, not a matter of the program that happened to send.
            self._clock.call_at(now, partial(_fail, error))
        return self.unroutable == lost

    def random(self, label: str) -> Random:
        """A random source drawn from the network's seed, the machine's name and `label` alone."""
        return self._draw(f"machine {self.name}, {label}")


def _fail(error: Exception, _now: float) -> NoReturn:
    raise error


async def _awaited(program: Awaitable[T]) -> T:
    return await program
