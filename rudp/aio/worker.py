"""One worker: what runs in a process of its own, between the parent's socket and the parent's word.

Knows: what the parent hands over (`Plan`), the lines of JSON they talk in, what signals mean to a worker, that a parent
who is gone ends it all.
Refuses to know: other workers, why it was started, what becomes of it (`rudp.aio.workers`).

    to the worker       close, close_clients, abort_clients, aclose (timeout), stats (ask)
    to the parent       ready, failed (error), stats (ask, figures)
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from rudp.aio.endpoint import Server
from rudp.aio.forwarding import Forwarding
from rudp.aio.system import TrainSocket
from rudp.config import Config
from rudp.udp import UdpSocket

__all__ = ["Lifespan", "Plan", "Starter", "main"]

Starter: TypeAlias = Callable[[TrainSocket, Config, Forwarding], Server]
Lifespan: TypeAlias = Callable[[int], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a worker needs; it is sent to its process by pickle."""

    start: Starter
    config: Config  # with the worker's index and the keys that all share
    sock: socket.socket
    inbox: socket.socket
    outboxes: Sequence[socket.socket]
    control: socket.socket
    shutdown_timeout: float
    lifespan: Lifespan | None
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
    # Sockets of the parent's that a forked process has and must not hold open.
    inherited: Sequence[socket.socket]


def main(plan: Plan) -> None:
    """Be a worker until told to end."""
    # Ctrl-C goes to the whole group of processes; it is the parent's to say what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    for sock in plan.inherited:
        sock.close()
    with asyncio.Runner(loop_factory=plan.loop_factory) as runner:
        runner.run(_work(plan))


async def _work(plan: Plan) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=plan.control)
    try:
        async with plan.lifespan(plan.config.worker) if plan.lifespan is not None else nullcontext():
            await _serve(plan, reader, writer)
    except Exception as error:
        _tell(writer, kind="failed", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        writer.close()


async def _serve(plan: Plan, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    forwarding = Forwarding(plan.config.worker, plan.inbox, plan.outboxes)
    udp = UdpSocket.wrap(plan.sock, buffer_size=plan.config.socket_buffer)
    server = plan.start(udp, plan.config, forwarding)
    orders = _Orders(server, forwarding, writer, plan.shutdown_timeout)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, orders.aclose, plan.shutdown_timeout)
    _tell(writer, kind="ready")
    obeying = asyncio.create_task(orders.obey(reader), name="rudp worker's orders")
    await server.wait_closed()
    obeying.cancel()


def _tell(writer: asyncio.StreamWriter, **message: Any) -> None:
    writer.write(json.dumps(message).encode() + b"\n")


class _Orders:
    """What the parent says, done."""

    def __init__(
        self, server: Server, forwarding: Forwarding, writer: asyncio.StreamWriter, shutdown_timeout: float
    ) -> None:
        self._server = server
        self._forwarding = forwarding
        self._writer = writer
        self._shutdown_timeout = shutdown_timeout
        self._closing: list[asyncio.Task[None]] = []

    async def obey(self, reader: asyncio.StreamReader) -> None:
        """Do what each line says; at the end of them the parent is gone."""
        try:
            while line := await reader.readline():
                self._do(**json.loads(line))
        except ConnectionError:
            pass
        self.aclose(self._shutdown_timeout)

    def _do(self, do: str, timeout: float = 0.0, ask: int = 0) -> None:
        if do == "close":
            self._server.close()
        elif do == "close_clients":
            self._server.close_clients()
        elif do == "abort_clients":
            self._server.abort_clients()
        elif do == "aclose":
            self.aclose(timeout)
        else:
            figures = {
                "endpoint": asdict(self._server.stats()),
                "forwarding": asdict(self._forwarding.counters),
                "cpu_seconds": time.process_time(),
            }
            _tell(self._writer, kind="stats", ask=ask, figures=figures)

    def aclose(self, timeout: float) -> None:
        """Begin to close everything in good order; told again, with another limit."""
        self._closing.append(asyncio.create_task(self._server.aclose(timeout), name="rudp worker's end"))
