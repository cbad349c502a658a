"""Two namespaces, the emulated link between them, and processes at its ends.

Knows: how to start all of that and how to end it in every case. Refuses to know: what the processes at the ends do.

Processes are spawned, not forked, and die with the one that started them; namespaces die with the processes in them.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final

from .emulator import Report, emulate
from .link import LinkSpec
from .namespace import Namespace, die_with_parent, run_first

__all__ = ["Bed", "End", "drops_of_the_host"]

# Real-time priority of the processes at the ends, below the emulator's. TCP lives in the kernel and runs when the
# emulator writes to a device; what lives in a process must not wait for others that use this machine.
PRIORITY: Final = 20
# Seconds in which a process must start, or say what it was asked.
PATIENCE: Final = 30.0


class End:
    """A process at one end of the link, and the pipe to it."""

    def __init__(self, name: str, body: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._name = name
        self._process = context.Process(target=body, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, message: object) -> None:
        """Send it something."""
        self._pipe.send(message)

    def hear(self, patience: float = PATIENCE) -> Any:
        """What it says next. Raises RuntimeError when it says nothing, or failed."""
        try:
            if not self._pipe.poll(patience):
                raise RuntimeError(f"{self._name} said nothing for {patience:.0f} s")
            message = self._pipe.recv()
        except EOFError:
            self._process.join(1)
            raise RuntimeError(f"{self._name} ended with code {self._process.exitcode}") from None
        if isinstance(message, _Failure):
            raise RuntimeError(f"{self._name} failed:\n{message.text}")
        return message

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()


class _Failure:
    """What a process sends instead of what was expected."""

    def __init__(self, text: str) -> None:
        self.text = text


def _body(pipe: Pipe, path: str | None, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        die_with_parent()
        if path is not None:
            Namespace.enter(path)
            run_first(PRIORITY)
        function(pipe, *arguments)
    except EOFError:
        pass  # nobody wants to know any more
    except BaseException:
        pipe.send(_Failure(traceback.format_exc()))


class Bed:
    """The link and its two ends, as a context manager."""

    def __init__(self, spec: LinkSpec, seed: str) -> None:
        self._spec = spec
        self._seed = seed
        self._stack = ExitStack()

    def __enter__(self) -> Bed:
        try:
            self._paths = tuple(self._stack.enter_context(Namespace()).path for _ in range(2))
            self._emulator = self._keep(
                End("the emulator", _body, None, emulate, (self._paths, self._spec, self._seed))
            )
            self._emulator.hear()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _keep(self, end: End) -> End:
        self._stack.callback(end.kill)
        return end

    def start(self, side: int, function: Callable[..., None], *arguments: Any) -> End:
        """Run `function(pipe, *arguments)` in a process at end 0 or 1."""
        name = f"{function.__name__} at end {side}"
        return self._keep(End(name, _body, self._paths[side], function, arguments))

    def finish(self) -> Report:
        """Stop the emulator: what it saw."""
        self._emulator.tell("stop")
        report: Report = self._emulator.hear()
        return report


def drops_of_the_host() -> dict[str, int]:
    """Packets that this end's device, or a full socket buffer, dropped: there should be none but the emulator's."""
    found = {}
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "rudp0":
            numbers = [int(figure) for figure in figures.split()]
            found["device"] = numbers[2] + numbers[3] + numbers[10] + numbers[11]
    names: dict[str, list[str]] = {}
    for line in Path("/proc/self/net/snmp").read_text().splitlines():
        protocol, _, rest = line.partition(": ")
        if protocol in names:
            values = dict(zip(names[protocol], map(int, rest.split()), strict=True))
            if protocol == "Udp":
                found["socket buffer"] = values["RcvbufErrors"] + values["SndbufErrors"]
                found["checksum"] = values["InCsumErrors"]
        elif protocol == "Udp":
            names[protocol] = rest.split()
    return found
