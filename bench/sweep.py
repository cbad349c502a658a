"""Many independent cells on any executor: longest first, with progress, to the same result wherever they run.

Knows: how to hand cells out, collect what came of them, and stop. Refuses to know: what a cell is or measures.

A cell is a frozen value that can be pickled; `measure(cell)` is a function of the cell alone, so a seed belongs into
the cell. `run` gives the rows in the order of the cells, whatever order they ended in.

Costs: one future a cell. Sources: concurrent.futures; Dask's `Client.get_executor` has the same interface.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

__all__ = ["LOCAL_CLUSTER", "Inline", "MissingExtra", "Outcome", "Processes", "executor", "run"]

LOCAL_CLUSTER: Final = "local"
"""The Dask address that stands for a cluster of this machine's cores, made for the sweep."""

Cell = TypeVar("Cell")
Row = TypeVar("Row")


class MissingExtra(Exception):
    """A package that only some of the benchmarks need is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}; install it by: pip install 'rudp-transport[{extra}]'")


@dataclass(slots=True)
class Outcome(Generic[Cell, Row]):
    """What came of a sweep: rows in the order of the cells, and which cells have none."""

    rows: list[Row] = field(default_factory=list)
    failed: list[tuple[Cell, BaseException]] = field(default_factory=list)
    left_out: list[Cell] = field(default_factory=list)
    """Cells that had not been measured when the sweep was interrupted."""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return bool(self.left_out)


class Inline(Executor):
    """Runs each call where it is submitted: one process, nothing to start, a debugger works."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `fn` now; Ctrl-C passes through, other errors go into the future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run(
    cells: Sequence[Cell],
    measure: Callable[[Cell], Row],
    pool: Executor,
    *,
    cost: Callable[[Cell], float] = lambda _: 1.0,
    on_row: Callable[[Cell], object] = lambda _: None,
) -> Outcome[Cell, Row]:
    """Measure every cell, the dearest by `cost` first; `on_row` is called as each ends.

    A cell that raises is listed in `failed`, and the others go on. After Ctrl-C the outcome holds what there is.
    """
    found: dict[int, Row] = {}
    failed: dict[int, BaseException] = {}
    futures: dict[Future[Row], int] = {}

    def collect(future: Future[Row]) -> None:
        index = futures[future]
        if error := future.exception():
            failed[index] = error
        else:
            found[index] = future.result()
        on_row(cells[index])

    try:
        # Of equal cost, in the order given: sorted() is stable.
        for index in sorted(range(len(cells)), key=lambda index: -cost(cells[index])):
            future = pool.submit(measure, cells[index])
            futures[future] = index
            if isinstance(pool, Inline):
                collect(future)
        if not isinstance(pool, Inline):
            for future in as_completed(futures):
                collect(future)
    except KeyboardInterrupt:
        if isinstance(pool, Processes):
            pool.abandon()
        else:
            for future in futures:
                future.cancel()
    return Outcome(
        [found[index] for index in sorted(found)],
        [(cells[index], failed[index]) for index in sorted(failed)],
        [cell for index, cell in enumerate(cells) if index not in found and index not in failed],
    )


@contextmanager
def executor(jobs: int | None = None, dask: str | None = None) -> Iterator[Executor]:
    """One process a core (or `jobs` of them; 1: this process), or the Dask cluster at an address.

    `dask`: a scheduler's address, or LOCAL_CLUSTER. Raises MissingExtra without Dask, OSError without a scheduler.
    """
    if dask is not None:
        yield from _on_dask(dask, jobs)
    elif (jobs or _cores()) == 1:
        yield Inline()
    else:
        yield from _on_processes(jobs or _cores())


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C within the block comes at its end; processes started in it never see one, where signals have masks.

    Only the main thread gets Ctrl-C, so in any other there is nothing to hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    # A handler as well as a mask: the signal may be taken by a thread that doesn't block it.
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


class Processes(ProcessPoolExecutor):
    """Worker processes that can be left without waiting for what they are at."""

    def __init__(self, jobs: int) -> None:
        # Spawned, since a progress bar's thread and a fork don't go together. Ctrl-C is this process's to handle.
        spawn = multiprocessing.get_context("spawn")
        super().__init__(jobs, mp_context=spawn, initializer=_ignore_interrupts)
        self._others = multiprocessing.active_children()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit `fn`, and start a worker for it if none is idle.

        A worker half started is one that `abandon` can't end and that complains of the missing half; one that gets
        Ctrl-C while it imports prints where. So neither happens: see `_interrupts_held`.
        """
        with _interrupts_held():
            return super().submit(fn, *args, **kwargs)

    def abandon(self) -> None:
        """End the workers in mid-call.

        The pool cancels what is left itself: it can't bear futures that were cancelled behind its back, once its
        workers are gone (CPython 3.11 raises InvalidStateError in its thread).
        """
        self.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            if worker not in self._others:
                worker.terminate()


def _on_processes(jobs: int) -> Iterator[Executor]:
    pool = Processes(jobs)
    try:
        yield pool
    except BaseException:
        pool.abandon()
        raise
    pool.shutdown(cancel_futures=True)


def _on_dask(address: str, jobs: int | None) -> Iterator[Executor]:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"distributed", "dask"}:
            raise
        raise MissingExtra("handing a sweep to Dask", "distributed", "dask") from None
    if address == LOCAL_CLUSTER:
        workers = jobs or _cores()
        client = distributed.Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    else:
        client = distributed.Client(address)
    with client:
        # Not pure: two sweeps of the same cells are measured twice.
        yield _Apart(client.get_executor(pure=False))


class _Apart(Executor):
    """Runs each call in a thread of its own on the worker, out of reach of the worker's profiler.

    A profiler holds frames, and with them views of received buffers; the simulator takes that for an endpoint that
    keeps views it must not keep.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit `fn` to the pool."""
        return self._pool.submit(_in_thread, fn, *args, **kwargs)


def _in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *args, **kwargs).result()
