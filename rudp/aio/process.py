"""One process of a worker, from its start to its end, as the parent has it.

Knows: multiprocessing, when a process is ready and when it has ended, the lines to it and from it.
Refuses to know: what to do about an end (`rudp.aio.workers`).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
import socket
from itertools import count
from typing import Any, Final

from rudp.aio import worker
from rudp.aio.worker import Plan

__all__ = ["WorkerProcess"]

# Seconds between two looks at a process whose pipe is closed already, and how many looks: it is all but gone.
REAP_PAUSE: Final = 0.002
REAP_TRIES: Final = 2500
# Seconds for the last lines of a process that has ended, should another one hold its end of the sockets open.
LAST_WORDS: Final = 1.0


class WorkerProcess(asyncio.Protocol):
    """A worker's process. Made on the loop it is watched from, then `start`; `control` is this side's end of the pair
    of sockets. No task: it must hear the worker out when the loop's tasks are cancelled."""

    def __init__(self, plan: Plan, start_method: str, control: socket.socket) -> None:
        self.control = control
        self.pid: int | None = None
        self.exit_code: int | None = None
        self.killed = False  # by this side
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[bool] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._heard_out: asyncio.Future[None] = self._loop.create_future()
        self._hung_up = False
        self._error = ""
        self._transport: asyncio.WriteTransport | None = None
        self._unsaid = b""
        self._heard = b""
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count(1)
        self._plan = plan
        self._start_method = start_method
        context: Any = multiprocessing.get_context(start_method)
        self._process = context.Process(target=worker.main, args=(plan,), name=f"rudp worker {plan.config.worker}")
        self._sentinel = -1

    async def start(self) -> None:
        """Start it, and begin to hear it. Raises OSError when there can't be another process."""
        try:
            if self._start_method == "fork":
                self._start()
            else:
                # It may take tenths of a second, in which a loop that also serves others must not stand still.
                await asyncio.to_thread(self._start)
        except BaseException:
            # Should it start all the same, it finds its parent gone.
            self.control.close()
            raise
        self._sentinel = self._process.sentinel
        self._loop.add_reader(self._sentinel, self._on_gone)
        await self._loop.create_unix_connection(lambda: self, sock=self.control)

    def _start(self) -> None:
        try:
            self._process.start()
        finally:
            self._plan.control.close()
        self.pid = self._process.pid

    # -- lines --------------------------------------------------------------------------------------------------

    def tell(self, **order: Any) -> None:
        """Say something to the worker."""
        line = json.dumps(order).encode() + b"\n"
        if self._transport is None:
            self._unsaid += line
        elif not self._transport.is_closing():
            self._transport.write(line)

    def ask(self) -> asyncio.Future[Any]:
        """The worker's figures; None if it ends instead."""
        number = next(self._numbers)
        answer = self._asked[number] = self._loop.create_future()
        self.tell(do="stats", ask=number)
        return answer

    def connection_made(self, transport: Any) -> None:
        """As asyncio has it."""
        self._transport = transport
        transport.write(self._unsaid)

    def data_received(self, data: bytes) -> None:
        """As asyncio has it."""
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._on_line(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio has it."""
        del exc
        self._hung_up = True
        if self._gone.done():
            self._hear_out()

    def _hear_out(self) -> None:
        """It has ended, and all it said was heard."""
        if not self._ready.done():
            self._ready.set_result(False)
        if not self._heard_out.done():
            self._heard_out.set_result(None)

    def _on_line(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "ready" and not self._ready.done():
            self._ready.set_result(True)
        elif kind == "failed":
            self._error = message["error"]
        elif kind == "stats":
            self._answer(message["ask"], message["figures"])

    def _answer(self, number: int, figures: Any) -> None:
        answer = self._asked.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(figures)

    # -- the end ------------------------------------------------------------------------------------------------

    def _on_gone(self) -> None:
        self._loop.remove_reader(self._sentinel)
        self._gone.set_result(None)
        if self._hung_up:
            self._hear_out()
        else:
            self._loop.call_later(LAST_WORDS, self._hear_out)

    async def started(self, timeout: float) -> bool:
        """Whether it serves. One that doesn't say so within `timeout` seconds is killed."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), timeout)
        except TimeoutError:
            self._error = f"it was not ready within {timeout:g} s (Workers.start_timeout)"
            self.kill()
            return False

    async def ended(self) -> str:
        """Wait for the end of the process: why it ended, in words."""
        await asyncio.shield(self._heard_out)
        for _ in range(REAP_TRIES):
            self.exit_code = self._process.exitcode
            if self.exit_code is not None:
                break
            await asyncio.sleep(REAP_PAUSE)
        if self._transport is not None:
            self._transport.close()
        for number in list(self._asked):
            self._answer(number, None)
        if self.exit_code is not None:
            self._process.close()
        return self._error_text()

    def _error_text(self) -> str:
        if self.exit_code is not None and self.exit_code < 0:
            try:
                how = f"signal {signal.Signals(-self.exit_code).name}"
            except ValueError:
                how = f"signal {-self.exit_code}"
        else:
            how = f"exit code {self.exit_code}"
        return f"{self._error} ({how})" if self._error else how

    def kill(self) -> None:
        """End it at once."""
        if self.exit_code is None and self.pid is not None:
            self.killed = True
            self._process.kill()

    async def end(self, timeout: float) -> None:
        """Abort its connections and see it to its end, which is brought about after `timeout` seconds."""
        self.tell(do="aclose", timeout=0)
        try:
            await asyncio.wait_for(self.ended(), timeout)
        except TimeoutError:
            self.kill()
            await self.ended()
