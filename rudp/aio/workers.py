"""A server in several processes on one UDP port, seen from the process that started them.

Knows: the sockets, all of which it opens and keeps (so that a worker that dies leaves its number, its queue and its
mailbox to the next one); who has ended, whether that was asked for, when to start another; how it all ends in bounded
time. Refuses to know: what workers do (`rudp.aio.worker`), which datagram is for whom (`rudp.steering`).

Processes are started by multiprocessing. Each has a pair of connected sockets with this one: an end of file there tells
a worker that its parent is gone, however that came about.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import secrets
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields, replace
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Any, Final, Self

from rudp.aio.endpoint import open_socket
from rudp.aio.forwarding import ForwardingCounters, open_mailbox
from rudp.aio.process import WorkerProcess
from rudp.aio.worker import Plan, Starter
from rudp.aio.worker_options import WorkerExit, Workers, WorkerServerStats, WorkerStats
from rudp.config import Config
from rudp.errors import ConfigurationError, WorkerError
from rudp.stats import EndpointStats
from rudp.steering import program
from rudp.train import Address
from rudp.udp_group import attach_program, open_group
from rudp.udp_options import address_from_kernel

__all__ = ["WorkerServer", "serve_by_workers"]

logger = logging.getLogger("rudp")

# Seconds that a worker must have served for its end not to be a sign that the next one will end as well.
SETTLED: Final = 1.0
# Seconds between the second, third, ... end in a row and the next start: doubled up to the cap.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
# Seconds that a worker has beyond its time limit before it is killed.
GRACE: Final = 3.0


class WorkerServer:
    """A server in several processes: what `serve` and `start_server` return when they are given `workers`.

    Each worker has an event loop and connections of its own. A connection's datagrams reach its worker by its id, also
    when the client's address changes. A worker that ends unasked is reported (a log line of level ERROR, and
    `Workers.on_exit`) and replaced on the same socket; its connections are lost, which clients learn at once by a
    stateless reset. Usable as `async with`, which closes it and waits for the end.
    """

    def __init__(self, start: Starter, config: Config, options: Workers, sockets: Sequence[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = start
        self._config = config
        self._options = options
        self._sockets = sockets
        self._local_address: Address = address_from_kernel(sockets[0].getsockname())
        self._mailboxes = [open_mailbox() for _ in sockets]
        self._steered = options.steering == "auto" and (
            len(sockets) == 1 or attach_program(sockets[0], program(len(sockets)))
        )
        self._processes: dict[int, WorkerProcess] = {}
        self._starts = [0] * len(sockets)
        self._closing = asyncio.Event()
        self._failure: WorkerError | None = None
        self._closed = False
        self._ending: asyncio.Task[None] | None = None
        # For a loop that is left without a word: at this process's end no worker may hold it up.
        self._at_exit = Finalize(self, _kill, (self._processes,), exitpriority=10)
        self._ready: list[asyncio.Future[None]] = [self._loop.create_future() for _ in sockets]
        self._keepers = [
            self._loop.create_task(self._keep(index), name=f"rudp worker {index}") for index in range(len(sockets))
        ]
        self._runner = self._loop.create_task(self._run(), name="rudp workers")

    def __repr__(self) -> str:
        host, port = self._local_address[:2]
        return f"<rudp.WorkerServer at {host} port {port}, {len(self._sockets)} workers>"

    # -- what is known ------------------------------------------------------------------------------------------

    @property
    def local_address(self) -> Address:
        """The address the server is bound to; with port 0, this tells which was given."""
        return self._local_address

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The UDP sockets, one a worker, as long as they are open. Not to be read from."""
        return () if self._closed else tuple(self._sockets)

    @property
    def pids(self) -> tuple[int | None, ...]:
        """The process of each worker; None for one that is not there at the moment."""
        return tuple(
            self._processes[index].pid if index in self._processes else None for index in range(len(self._sockets))
        )

    @property
    def steering(self) -> str:
        """Who brings datagrams to their worker: "kernel", or "forwarding" when workers hand on what isn't theirs."""
        return "kernel" if self._steered else "forwarding"

    def is_serving(self) -> bool:
        """Whether further connections are accepted."""
        return not self._closing.is_set()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop the server was started on."""
        return self._loop

    async def stats(self, timeout: float = 5.0) -> WorkerServerStats:
        """Ask all workers for their figures. `timeout` is in seconds; who doesn't answer in time is named as silent."""
        asked = {index: process.ask() for index, process in self._processes.items()}
        if asked:
            await asyncio.wait(asked.values(), timeout=timeout)
        found = []
        for index in sorted(asked):
            answer = asked[index]
            figures = answer.result() if answer.done() and not answer.cancelled() else None
            answer.cancel()
            if figures is not None:
                found.append(self._worker_stats(index, self._processes.get(index), figures))
        silent = set(range(len(self._sockets))) - {worker.index for worker in found}
        return WorkerServerStats(_total([worker.endpoint for worker in found]), tuple(found), tuple(sorted(silent)))

    def _worker_stats(self, index: int, process: WorkerProcess | None, figures: dict[str, Any]) -> WorkerStats:
        counters = ForwardingCounters(**figures["forwarding"])
        return WorkerStats(
            index=index,
            pid=process.pid if process is not None else None,
            starts=self._starts[index],
            cpu_seconds=figures["cpu_seconds"],
            endpoint=EndpointStats(**figures["endpoint"]),
            handed_on=counters.handed_on,
            handed_in=counters.received,
            handing_dropped=counters.dropped,
        )

    # -- commands -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Accept no further connection. Open ones go on; each worker ends after its last."""
        self._closing.set()
        self._tell(do="close")

    def close_clients(self) -> None:
        """Close every connection in good order."""
        self._tell(do="close_clients")

    def abort_clients(self) -> None:
        """End every connection at once."""
        self._tell(do="abort_clients")

    def _tell(self, **order: Any) -> None:
        for process in self._processes.values():
            process.tell(**order)

    async def aclose(self, timeout: float | None = None) -> None:
        """Accept no further connection, close the open ones in good order, and wait for the end of all processes.

        After `timeout` seconds (None: `Workers.shutdown_timeout`) open connections are aborted and handlers cancelled;
        a worker that doesn't end 3 s later is killed and reported. Raises WorkerError if the server had failed.
        """
        await self._shut(self._options.shutdown_timeout if timeout is None else timeout)
        await self.wait_closed()

    async def _shut(self, timeout: float) -> None:
        self._closing.set()
        self._tell(do="aclose", timeout=timeout)
        _, running = await asyncio.wait([self._runner], timeout=timeout + GRACE)
        if running:
            for index, process in list(self._processes.items()):
                self._report(index, process, f"killed: it didn't end within {timeout + GRACE:g} s", replaced=False)
                process.kill()
            await asyncio.wait([self._runner])

    async def wait_closed(self) -> None:
        """Wait until `close` was called and every worker has ended.

        Raises WorkerError if the server gave up, as a worker ended at once again and again.
        """
        await asyncio.shield(self._runner)
        if self._failure is not None:
            raise self._failure

    async def start_serving(self) -> None:
        """Nothing: a server serves from the start. Here because asyncio.Server has it."""

    async def serve_forever(self) -> None:
        """Serve until cancelled: then the server is closed and its connections aborted. Or until this process gets
        SIGTERM (if nothing else handles it): then `aclose` is called, and this returns.

        Raises WorkerError if the server gave up.
        """
        ending: list[asyncio.Task[None]] = []

        def end() -> None:
            ending.append(self._loop.create_task(self.aclose()))

        handles = threading.current_thread() is threading.main_thread() and (
            signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
        if handles:
            self._loop.add_signal_handler(signal.SIGTERM, end)
        try:
            await self.wait_closed()
        except asyncio.CancelledError:
            self.close()
            self.abort_clients()
            raise
        finally:
            if handles:
                self._loop.remove_signal_handler(signal.SIGTERM)
            for task in ending:
                with suppress(WorkerError):
                    await task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is not None:
            self.abort_clients()
        try:
            await self.wait_closed()
        except WorkerError:
            if error is None:
                raise

    # -- the processes ------------------------------------------------------------------------------------------

    async def wait_ready(self) -> None:
        """Wait until every worker serves. Raises WorkerError if one ends before it does, and ends the others."""
        try:
            await asyncio.gather(*self._ready)
        except BaseException:
            self._closing.set()
            for process in self._processes.values():
                process.kill()
            await asyncio.shield(self._runner)
            raise

    async def _run(self) -> None:
        try:
            await asyncio.gather(*self._keepers)
        except Exception as error:
            self._fail(f"watching the workers failed: {error!r}")
            await asyncio.wait(self._keepers)
        finally:
            self._closed = True
            self._closing.set()
            for sock in (*self._sockets, *(end for mailbox in self._mailboxes for end in mailbox)):
                sock.close()

    async def _keep(self, index: int) -> None:
        """Keep worker `index` running until the server is closed."""
        failures = 0
        ready = self._ready[index]
        while not self._closing.is_set():
            process, served = None, 0.0
            try:
                process = await self._launch(index)
            except Exception as error:
                # OSError and others: no thread to start it in, a program that may not start any yet.
                reason = f"no process: {error}"
            else:
                served, reason = await self._watch(index, process)
            if self._closing.is_set():
                # Its connections were to go on, or to be closed well.
                if process is not None and served and process.exit_code and not process.killed:
                    self._report(index, process, reason, replaced=False)
                break
            if not ready.done():
                ready.set_exception(WorkerError(f"worker {index} did not start: {reason}"))
                break
            failures = failures + 1 if served < SETTLED else 1
            replaced = failures <= self._options.max_failures
            self._report(index, process, reason, replaced=replaced)
            if not replaced:
                self._fail(f"worker {index} ended {failures} times in a row, each within {SETTLED:g} s: {reason}")
                break
            if failures > 1:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (failures - 2))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), pause)
        if not ready.done():
            ready.cancel()

    async def _launch(self, index: int) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        forked = self._options.start_method == "fork"
        controls = [ours, *(process.control for process in self._processes.values())] if forked else []
        plan = Plan(
            start=self._start,
            config=replace(self._config, worker=index),
            sock=self._sockets[index],
            inbox=self._mailboxes[index][0],
            outboxes=[outbox for _, outbox in self._mailboxes],
            control=theirs,
            shutdown_timeout=self._options.shutdown_timeout,
            lifespan=self._options.lifespan,
            loop_factory=self._options.loop_factory,
            inherited=controls,
        )
        self._starts[index] += 1
        process = WorkerProcess(plan, self._options.start_method, ours)
        await process.start()
        self._processes[index] = process
        return process

    async def _watch(self, index: int, process: WorkerProcess) -> tuple[float, str]:
        """See a process to its end: for how long it served, and why it ended."""
        try:
            started = await process.started(self._options.start_timeout)
            since = self._loop.time()
            if started:
                if not self._ready[index].done():
                    self._ready[index].set_result(None)
                if self._closing.is_set():
                    # It started while the server was being closed, and heard nothing of that.
                    process.tell(do="aclose", timeout=0)
            reason = await process.ended()
            return (self._loop.time() - since if started else 0.0), reason
        except asyncio.CancelledError:
            # With the loop's other tasks, by `asyncio.run`: what is still open must be given up.
            await process.end(GRACE)
            raise
        finally:
            self._processes.pop(index, None)

    def _report(self, index: int, process: WorkerProcess | None, reason: str, *, replaced: bool) -> None:
        pid, exit_code = (process.pid, process.exit_code) if process is not None else (None, None)
        after = "its connections are lost, another one takes its place" if replaced else "its connections are lost"
        logger.error("worker %d (process %s) of %r ended: %s; %s", index, pid, self, reason, after)
        if self._options.on_exit is not None:
            try:
                self._options.on_exit(WorkerExit(index, pid, exit_code, reason, replaced))
            except Exception as error:
                self._loop.call_exception_handler({"message": "Workers.on_exit failed", "exception": error})

    def _fail(self, reason: str) -> None:
        self._failure = WorkerError(f"{reason}; the server is closed")
        logger.error("%r gives up: %s", self, reason)
        self._ending = self._loop.create_task(self._shut(self._options.shutdown_timeout), name="rudp workers' end")


def _kill(processes: dict[int, WorkerProcess]) -> None:
    for process in processes.values():
        process.kill()


def _total(figures: list[EndpointStats]) -> EndpointStats:
    names = [item.name for item in fields(EndpointStats)]
    return EndpointStats(**{name: sum(getattr(each, name) for each in figures) for name in names})


async def serve_by_workers(
    start: Starter,
    host: str | None,
    port: int,
    *,
    config: Config,
    sock: socket.socket | None,
    family: int,
    workers: int | Workers,
) -> WorkerServer:
    """Open the sockets, start the processes, and return once all of them serve.

    Raises SocketError, socket.gaierror, ConfigurationError and WorkerError.
    """
    options = workers if isinstance(workers, Workers) else Workers(workers)
    if config.worker:
        raise ConfigurationError(f"worker={config.worker}: leave it out; `workers` sets the index of each")
    config = replace(config, reset_key=config.reset_key or secrets.token_bytes(32))
    if options.start_method not in multiprocessing.get_all_start_methods():
        raise ConfigurationError(f"start_method={options.start_method!r}: this system doesn't have it; use 'spawn'")
    if options.start_method != "fork":
        _check_pickles(start, config, options)
    udp = await open_socket(host, port, config, sock, family)
    try:
        if not isinstance(udp.sock, socket.socket):
            raise ConfigurationError("workers are processes: they can't be on a simulated network; serve without")
        sockets = open_group(udp.sock, options.count)
    except BaseException:
        udp.close()
        raise
    server = WorkerServer(start, config, options, sockets)
    await server.wait_ready()
    return server


def _check_pickles(start: Starter, config: Config, options: Workers) -> None:
    try:
        ForkingPickler.dumps((start, config, options.lifespan, options.loop_factory))
    except Exception as error:
        raise ConfigurationError(
            f"the handler can't be sent to another process ({error}): make it a function of a module, or an object "
            "that pickle takes; or use Workers(start_method='fork') where the process has no threads"
        ) from error
