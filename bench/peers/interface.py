"""What a contender is to the benchmark: a Peer that serves and connects, and its Channels.

Knows: the least that every library can do, a reliable ordered stream of bytes between two processes.
Refuses to know: any library, and what is measured.

An adapter is a module in `adapters` with a dict CONTENDERS of what it offers. It says what it can't do, and why, in
`Contender.without`, and what is not the same as for the others in `packet`, `protection` and `note`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

__all__ = ["HOST", "Channel", "Contender", "Handler", "Peer", "Setup"]

HOST: Final = "127.0.0.1"

Data: TypeAlias = bytes | bytearray | memoryview


class Channel(ABC):
    """One connection: bytes in order, both ways."""

    __slots__ = ()

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Write, waiting first or afterwards while the library has enough to send."""

    @abstractmethod
    async def receive(self) -> Data:
        """The next bytes, empty at the end. A view is good until the next call."""

    @abstractmethod
    async def close(self) -> None:
        """End the connection as the library would have it, without waiting for timers that only guard the past."""

    async def receive_into(self, take: Callable[[Data], bool]) -> None:
        """Give `take` whatever arrives until it returns True: for libraries with a faster way than `receive`."""
        while not take(await self.receive()):
            pass


Handler: TypeAlias = Callable[[Channel], Awaitable[None]]


class Peer(ABC):
    """A library in one process: a server, or clients."""

    @abstractmethod
    async def serve(self, handler: Handler) -> int:
        """Accept connections on a free UDP or TCP port of loopback, each handed to `handler`; that port."""

    @abstractmethod
    async def connect(self, port: int) -> Channel:
        """A connection that is open: the handshake, if there is one, is complete."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything."""


class Setup(NamedTuple):
    """What all contenders are given alike."""

    datagram: int  # bytes of UDP payload
    certificate: str  # PEM files, for those that encrypt; clients don't verify them
    key: str
    many: bool = False  # thousands of connections will be opened


class Contender(NamedTuple):
    """One way to use a library."""

    make: Callable[[Setup], Peer]
    kind: str  # what does the work, in which language
    packet: str  # its size, and who chose it
    protection: str
    transport: str = "UDP"
    needs: tuple[str, ...] = ()  # modules beside the adapter's own
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    without: Mapping[str, str] = {}  # work: why it can't
    note: str = ""
