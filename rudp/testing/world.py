"""A client and a server with a drawn path between them, on virtual time: where asyncio programs meet faults.

Knows: which machines, links and seed stand for a world, and how to say what happened in one.
Refuses to know: what the programs say to each other, who drew the faults.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from rudp.sim import Machine, Network, run
from rudp.testing.faults import Faults
from rudp.testing.story import Story

__all__ = ["World"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """Two machines, "client" and "server", joined by `forth` (to the server) and `back`.

    `merging`: probability (0 to 1) that neighbours share a received buffer, as UDP_GRO may have them; None draws for
    each arrival. The same world is the same run, whenever and wherever.
    """

    seed: int = 0
    forth: Faults = Faults()  # noqa: RUF009 (frozen)
    back: Faults = Faults()  # noqa: RUF009 (frozen)
    merging: float | None = None

    def run(self, main: Callable[[Machine, Machine], Awaitable[T]], *, max_events: int = 5_000_000) -> T:
        """Run `await main(client, server)` on the client's machine, in virtual time, and return its result.

        What it raises gets a note with the world and its story: the program is run a second time for that, so it must
        do the same again, as programs do that draw from `network.random` only.
        """
        try:
            return self._run(main, None, max_events)
        except Exception:
            story = Story()
            try:
                self._run(main, story, max_events)
            except Exception as error:
                error.add_note(f"{self}\n{story}")
                raise
            raise

    def _run(self, main: Callable[[Machine, Machine], Awaitable[T]], story: Story | None, max_events: int) -> T:
        network = Network(self.seed, digest=False)
        client = network.add_machine("client", merging=self.merging)
        server = network.add_machine("server", merging=self.merging)
        network.add_link(client, server, self.forth.nodes())
        network.add_link(server, client, self.back.nodes())
        if story is not None:
            story.names = {(machine.addresses[0], 0): machine.name for machine in (client, server)}
            story.clock = network.clock
            network.observe(story)

        async def begin() -> T:
            return await main(client, server)

        return run(begin(), network=network, on=client, max_events=max_events)

    def __str__(self) -> str:
        return f"world {self.seed}: forth {self.forth}; back {self.back}; merging {self.merging}"
