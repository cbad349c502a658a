"""One run: two fresh processes, a server and a client, and a limit of time. Errors and hangs are told, not passed on.

Knows: how the processes start, what they say, how they end. Refuses to know: the work they do.

Each process tells its parent how it went, and the two talk to each other over a pipe of their own. Processes are
started afresh (spawn), so that nothing is left of the run before, and neither CPU time nor memory of another.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any, Final, NamedTuple

from . import bulk, connections, rpc
from .contenders import find
from .interface import Channel, Handler, Peer, Setup
from .work import Figures, Server, Talk

__all__ = ["Failed", "Run", "measure"]

# Seconds for a process to end by itself when it has nothing left to do.
ENDING: Final = 3.0
# Seconds for the server to tell its error, after the client has told that it failed.
GRACE: Final = 0.5
SERVERS: Final[Mapping[str, Callable[..., Server]]] = {
    "bulk": bulk.BulkServer,
    "rpc": rpc.RpcServer,
    "handshakes": connections.HandshakeServer,
    "idle": connections.ManyServer,
    "held": connections.ManyServer,
}
CLIENTS: Final[Mapping[str, Callable[..., Any]]] = {
    "bulk": bulk.client,
    "rpc": rpc.client,
    "handshakes": connections.handshakes,
    "idle": connections.idle,
    "held": connections.held,
}


class Failed(Exception):
    """A run that gave no figures; the text says why."""


class Run(NamedTuple):
    """What two processes are to do."""

    contender: str
    work: str
    setup: Setup
    options: dict[str, Any]  # of the client's script
    server: dict[str, Any]  # of the server's side
    limit: float  # seconds


def measure(run: Run) -> Figures:
    """The figures of one run. Raises Failed when a side fails, dies or takes too long."""
    context = multiprocessing.get_context("spawn")
    to_server, to_client = context.Pipe()
    told: dict[str, Pipe] = {}
    processes: dict[str, Any] = {}
    for side, pipe in (("server", to_server), ("client", to_client)):
        told[side], theirs = context.Pipe(duplex=False)
        processes[side] = context.Process(target=_side, args=(side, run, pipe, theirs), daemon=True)
        processes[side].start()
        theirs.close()
        pipe.close()
    try:
        return _outcome(run, told, processes)
    finally:
        end = time.monotonic() + ENDING
        for process in processes.values():
            process.join(max(0.0, end - time.monotonic()))
            process.kill()
            process.join()
            process.close()


def _outcome(run: Run, told: dict[str, Pipe], processes: dict[str, Any]) -> Figures:
    end = time.monotonic() + run.limit
    try:
        while ready := wait(list(told.values()), max(0.0, end - time.monotonic())):
            # The client's result counts, though the server fails when it is left; else the server's error is the cause.
            if told["client"] in ready:
                try:
                    return _heard("client", told["client"], processes["client"])
                except Failed:
                    if not told["server"].poll(GRACE):
                        raise
            _heard("server", told["server"], processes["server"])
        raise Failed(f"no result after {run.limit:g} s")
    except Failed:
        for process in processes.values():
            process.kill()
        raise


def _heard(side: str, pipe: Pipe, process: Any) -> Figures:
    """What a process says. Raises Failed when that is an error, or that it has ended."""
    try:
        kind, content = pipe.recv()
    except EOFError:
        process.join(ENDING)
        raise Failed(f"the {side} died with exit code {process.exitcode}") from None
    if kind == "failed":
        raise Failed(f"{side}: {content}")
    figures: Figures = content
    return figures


def _side(side: str, run: Run, pipe: Pipe, parent: Pipe) -> None:
    """What a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    logging.disable(logging.ERROR)
    script = _serve if side == "server" else _drive
    try:
        contender = find(run.contender)
        with asyncio.Runner(loop_factory=contender.loop) as runner:
            runner.run(script(run, pipe, parent))
    except Exception as error:  # told, and judged by the parent
        parent.send(("failed", _text(error)))
        raise SystemExit(1) from None


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _serve(run: Run, pipe: Pipe, parent: Pipe) -> None:
    server = SERVERS[run.work](**run.server)
    handle = server.handle
    server.handle = partial(_guarded, handle, parent)  # type: ignore[method-assign]
    await server.run(find(run.contender).make(run.setup), pipe)


async def _guarded(handle: Handler, parent: Pipe, channel: Channel) -> None:
    """A handler that fails ends the run, whatever the library makes of its exceptions."""
    try:
        await handle(channel)
    except Exception as error:
        parent.send(("failed", _text(error)))
        raise


async def _drive(run: Run, pipe: Pipe, parent: Pipe) -> None:
    peer: Peer = find(run.contender).make(run.setup)
    talk = Talk(pipe)
    figures = await CLIENTS[run.work](peer, talk, **run.options)
    parent.send(("result", figures))
    await peer.close()
    talk.end()
