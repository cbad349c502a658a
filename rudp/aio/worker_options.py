"""How workers are to be run, and what is told of them.

Knows: the options with their defaults and bounds, the figures, the report of an end. Refuses to know: what is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rudp.aio.worker import Lifespan
from rudp.errors import ConfigurationError
from rudp.stats import EndpointStats
from rudp.steering import MAX_WORKERS

__all__ = ["WorkerExit", "WorkerServerStats", "WorkerStats", "Workers"]

START_METHODS: Final = ("spawn", "forkserver", "fork")
STEERINGS: Final = ("auto", "forwarding")


@dataclass(frozen=True, slots=True)
class Workers:
    """How the processes of a server are to be run: `serve(..., workers=Workers(4, ...))`; `workers=4` for the defaults.

    Raises:
        ConfigurationError: a value is outside its bounds.
    """

    count: int
    start_method: str = field(default="spawn", kw_only=True)
    steering: str = field(default="auto", kw_only=True)
    start_timeout: float = field(default=30.0, kw_only=True)
    shutdown_timeout: float = field(default=10.0, kw_only=True)
    max_failures: int = field(default=5, kw_only=True)
    on_exit: Callable[[WorkerExit], object] | None = field(default=None, kw_only=True)
    lifespan: Lifespan | None = field(default=None, kw_only=True)
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or not 1 <= self.count <= MAX_WORKERS:
            raise ConfigurationError(f"workers={self.count!r}: must be a whole number from 1 to {MAX_WORKERS}")
        for name, choices in (("start_method", START_METHODS), ("steering", STEERINGS)):
            if getattr(self, name) not in choices:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: must be one of {', '.join(choices)}")
        for name in ("start_timeout", "shutdown_timeout"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: must be seconds, 0 or more")
        if self.max_failures < 1:
            raise ConfigurationError(f"max_failures={self.max_failures!r}: must be 1 or more")


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """A worker that ended unasked, or had to be killed. `exit_code` is negative for a signal, None if there
    was none, as with one that had to be killed, or that could not be started."""

    index: int
    pid: int | None
    exit_code: int | None
    reason: str
    replaced: bool


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker's figures. `starts` counts its processes, `cpu_seconds` is the present one's time of CPU."""

    index: int
    pid: int | None
    starts: int
    cpu_seconds: float
    endpoint: EndpointStats
    handed_on: int
    handed_in: int
    handing_dropped: int


@dataclass(frozen=True, slots=True)
class WorkerServerStats:
    """The figures of a server's workers: their sum, each one's, and which did not answer (starting, or blocked)."""

    total: EndpointStats
    workers: tuple[WorkerStats, ...]
    silent: tuple[int, ...]
