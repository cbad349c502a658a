"""What a kind of work is to the runner: a server's side and a client's script, over the interface.

Knows: how the two sides talk beside the connection that is measured: through a pipe, by which the client asks for the
server's figures. Refuses to know: which library carries it.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from abc import ABC, abstractmethod
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from ..load import cpu_seconds, peak_memory
from .interface import Channel, Peer

__all__ = ["Figures", "Server", "Talk", "percentile", "resident_memory"]

Figures = dict[str, Any]


def resident_memory() -> int:
    """Bytes of this process in memory now, 0 where the system doesn't tell."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS:")), 0)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Server(ABC):
    """The server's side: handles connections and tells figures."""

    @abstractmethod
    async def handle(self, channel: Channel) -> None:
        """One connection, until it ends."""

    def figures(self) -> Figures:
        """What this work has measured since it was asked before."""
        return {}

    async def run(self, peer: Peer, pipe: Pipe) -> None:
        """Serve until told to end. A thread answers, so that libraries whose calls block the loop are asked as well."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        pipe.send(await peer.serve(self.handle))

        def answer() -> None:
            while (asked := pipe.recv()) != "end":
                if asked == "rest":
                    gc.collect()
                usage = {"cpu": cpu_seconds(), "memory": resident_memory(), "peak": peak_memory()}
                pipe.send(usage | self.figures())
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=answer, daemon=True).start()
        await ended.wait()
        await peer.close()


class Talk:
    """The client's end of the pipe to the server's process."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def port(self) -> int:
        """Where the server listens; the first thing it says."""
        number: int = await asyncio.get_running_loop().run_in_executor(None, self._pipe.recv)
        return number

    async def ask(self, what: str = "figures") -> Figures:
        """The server's CPU seconds, memory and what its work has measured; "rest" collects garbage first."""
        self._pipe.send(what)
        answer: Figures = await asyncio.get_running_loop().run_in_executor(None, self._pipe.recv)
        return answer

    def end(self) -> None:
        """Let the server's process end."""
        self._pipe.send("end")
