"""An asyncio event loop whose clock is the simulated network's: it jumps to the next event.

Knows: what is ready now, which timers are due when, which sockets have something to read; that time stands still while
anything is ready, and then goes to whatever comes first, a timer or an event of the network; that when nothing is left
to come, nothing will ever happen again.
Refuses to know: packets, links, the wall clock, threads, real sockets. What would need them is an error that says so.

At one instant the order is: events of the network in order of scheduling, then the readers of sockets in order of
arrival, then timers in order of (time, order of scheduling); callbacks run as asyncio runs them, first in, first out.

Cost: a callback costs what it does on a real loop, less the system call of `select`; a timer O(log n); a jump over an
hour as much as one over a microsecond. Cancelled timers are dropped when they are many and never make the clock stop.

Of asyncio it overrides `BaseEventLoop._run_once`, which every loop but the operating system's own kinds must, and uses
its `_ready` queue and `_stopping` flag (the same in CPython 3.11 to 3.14).
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf, isnan
from typing import Any, Final, TypeVar, TypeVarTuple

from rudp.endpoint import Endpoint
from rudp.path import RandomSource
from rudp.sim.aio.datagrams import open_endpoint
from rudp.sim.aio.machine import Machine, current_machine
from rudp.sim.aio.names import AddressInfo, look_up, name_of
from rudp.sim.aio.sockets import SimulatedSocket
from rudp.sim.aio.tasks import KeptInOrder, describe, in_order, task_factory
from rudp.sim.clock import MAX_EVENTS, SimulationError, Stalled, TooManyEvents
from rudp.sim.network import Network

__all__ = ["NotSimulated", "SimulatedLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Turns of the loop at one instant: who goes round so often waits for something that needs time.
MAX_TURNS_AT_ONE_INSTANT: Final = 100_000
# Cancelled timers that may lie in the heap before it is worth looking for them.
SPARE_TIMERS: Final = 100
# Far above the descriptors of any process, so that one that gets to the system by mistake is refused there.
FIRST_DESCRIPTOR: Final = 1 << 30

_THREADS: Final = "virtual time does not wait for threads"
_SYSTEM: Final = "it would be real input or output, for which virtual time does not wait"
_NOT_SIMULATED: Final = {
    **dict.fromkeys(
        ("create_connection", "create_server", "connect_accepted_socket", "start_tls", "sendfile", "sock_sendfile"),
        "there is no TCP in the simulated network: use rudp.open_connection and rudp.start_server",
    ),
    **dict.fromkeys(
        (
            "create_unix_connection", "create_unix_server", "connect_read_pipe", "connect_write_pipe",
            "subprocess_exec", "subprocess_shell", "sock_accept", "sock_connect", "sock_recv", "sock_recv_into",
            "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendto",
        ),
        _SYSTEM,
    ),
    **dict.fromkeys(("add_signal_handler", "remove_signal_handler"), "signals come in real time"),
}  # fmt: skip


class NotSimulated(SimulationError, NotImplementedError):
    """A program on the simulated loop asked for what the simulated network does not have."""


class _System:
    """Where rudp's front end gets sockets and chance on a simulated loop (`rudp.aio.system`)."""

    __slots__ = ("_loop",)

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def open_socket(self, local_addr: Sequence[object], *, family: int = 0, buffer_size: int) -> SimulatedSocket:
        return self._loop.open_socket(local_addr, family=family, buffer_size=buffer_size)

    def wrap_socket(self, sock: Any, *, buffer_size: int) -> SimulatedSocket:
        del buffer_size
        raise NotSimulated(f"{sock!r} is a real socket: leave `sock` out, and the simulated machine opens its own")

    def random(self) -> RandomSource:
        machine = self._loop.machine("a rudp endpoint")
        return machine.random(f"endpoint {machine.sockets.opened}")

    def started(self, sock: SimulatedSocket, core: Endpoint) -> None:
        sock.core = core


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop in the virtual time of `network`. `rudp.sim.run` makes one; it also serves as a `loop_factory`.

    `on` is the machine of tasks that were put on none. In a network without machines, so in a new one, which is made
    if none is given, it is one that is made for the purpose. `max_events`: turns of the loop and events of the network
    together, beyond which TooManyEvents is raised.
    """

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(
        self, network: Network | None = None, *, on: Machine | None = None, max_events: int = MAX_EVENTS
    ) -> None:
        super().__init__()
        self.network = network = Network() if network is None else network
        self._on = network.add_machine("machine") if on is None and not network.machines else on
        self.rudp_system = _System(self)
        self.turns = 0  # of the loop, so far
        self._clock = network.clock
        self._max_events = max_events
        self._last = network.clock.events + max_events  # turns and events at most
        self._turns_at_this_instant = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_numbers = count()
        self._cancelled_timers = 0
        self._descriptors = count(FIRST_DESCRIPTOR)
        self._sockets: dict[int, SimulatedSocket] = {}
        self._with_input: dict[int, None] = {}
        self._readers: dict[int, asyncio.Handle] = {}
        self._writers: dict[int, asyncio.Handle] = {}
        self._in_executor = False
        self._asyncgens = KeptInOrder()
        self.set_task_factory(task_factory())

    # -- time ----------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual time, in seconds: the network's."""
        return self._clock.now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call `callback(*args)` when the clock is at `when`; of those at one instant the first scheduled first."""
        self._check_open()
        if isnan(when):
            raise ValueError(f"a timer for {callback!r} at {when} would never be due")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if when < inf:
            timer._scheduled = True  # type: ignore[attr-defined]  # asks to be told when it is cancelled
            heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        del handle
        self._cancelled_timers += 1
        if self._cancelled_timers > SPARE_TIMERS and self._cancelled_timers * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapify(self._timers)
            self._cancelled_timers = 0

    def _next_timer(self) -> float:
        """When the next timer is due, infinity if there is none."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
            self._cancelled_timers -= 1
        return timers[0][0] if timers else inf

    # -- turns ---------------------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        """One turn: collect what is ready now, or at the next instant at which anything is, and run it."""
        self.turns += 1
        self._turns_at_this_instant += 1
        if self._turns_at_this_instant > MAX_TURNS_AT_ONE_INSTANT:
            self._turns_at_this_instant = 0  # who is cancelled for it may need some turns to clean up
            raise Stalled(
                f"time stands still at {self.time()!r} s: {MAX_TURNS_AT_ONE_INSTANT} turns of the loop at one instant. "
                f"Does something wait in a loop of asyncio.sleep(0)? Tasks: {self._pending()}"
            )
        ready = self._ready
        upcoming = self._clock.next_event_at()
        if upcoming is not None and upcoming <= self._clock.now:
            self._clock.run(self._clock.now)
        self._collect()
        while not ready and not self._stopping:
            self._advance()
            self._collect()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
        handle = None  # type: ignore[assignment]  # it must not keep alive what it called

    def _collect(self) -> None:
        """Make ready the readers of sockets with input, and the timers that are due."""
        ready = self._ready
        for descriptor in tuple(self._with_input):
            sock = self._sockets.get(descriptor)
            if sock is None or not sock.has_input:
                del self._with_input[descriptor]
            elif descriptor in self._readers:
                ready.append(self._readers[descriptor])
        now = self._clock.now
        while self._next_timer() <= now:
            _, _, timer = heappop(self._timers)
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)

    def _advance(self) -> None:
        """Let the clock go to the next event. Raises Stalled if there is none, TooManyEvents if there were enough."""
        clock = self._clock
        timer = self._next_timer()
        event = clock.next_event_at()
        instant = timer if event is None or timer < event else event
        if instant == inf:
            raise Stalled(
                f"at {clock.now:.6f} s nothing is left that could ever happen, but these tasks wait: {self._pending()}"
            )
        if self.turns + clock.events > self._last:
            self._last += self._max_events  # for those who are cancelled, and close what they have opened
            raise TooManyEvents(
                f"{self._max_events} turns and events, at {clock.now:.6f} s the program hasn't ended: {self._pending()}"
            )
        if instant > clock.now:
            self._turns_at_this_instant = 0
        clock.run(instant)

    def _pending(self) -> str:
        return "; ".join(map(describe, in_order(asyncio.all_tasks(self)))) or "none"

    def _check_open(self) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")

    def close(self) -> None:
        """Close the loop. The network remains as it is."""
        super().close()
        self._timers.clear()
        self._readers.clear()
        self._writers.clear()

    # -- sockets and names ---------------------------------------------------------------------------------------

    def open_socket(self, local_addr: Sequence[object] | None, *, family: int = 0, buffer_size: int) -> SimulatedSocket:
        """A UDP socket on the running task's machine. Raises SocketError as a real one, SimulationError on none."""
        machine = self.machine("a socket")
        descriptor = next(self._descriptors)
        opened = machine.sockets.open(
            local_addr, family=family, buffer_size=buffer_size, descriptor=descriptor, on_input=self._on_input
        )
        self._sockets[descriptor] = opened
        return opened

    def machine(self, what: str) -> Machine:
        """The machine of the running task. Raises SimulationError, saying `what` needs one, if it is on none."""
        machine = current_machine() or self._on
        if machine is None:
            raise SimulationError(
                f"{what} needs a machine, and this task is on none: run it by `await machine.run(...)`, or give "
                "rudp.sim.run the machine that the program is on (on=...)"
            )
        if self.network.machines.get(machine.name.lower()) is not machine:
            raise SimulationError(f"{machine!r} is not part of this loop's network")
        return machine

    def _on_input(self, descriptor: int) -> None:
        self._with_input[descriptor] = None

    def add_reader(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call `callback(*args)` in every turn in which a simulated socket has something to read."""
        self._check_open()
        descriptor = self._descriptor(fd)
        self.remove_reader(descriptor)
        self._readers[descriptor] = asyncio.Handle(callback, args, self, None)

    def remove_reader(self, fd: Any) -> bool:
        """Undo `add_reader`; tells whether there was one."""
        handle = self._readers.pop(fd if isinstance(fd, int) else fd.fileno(), None)
        if handle is not None:
            handle.cancel()
        return handle is not None

    def add_writer(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call `callback(*args)` in the next turn: a simulated socket is always writable."""
        descriptor = self._descriptor(fd)
        self.remove_writer(descriptor)
        self._writers[descriptor] = self.call_soon(callback, *args)

    def remove_writer(self, fd: Any) -> bool:
        """Undo `add_writer`; tells whether there was one."""
        handle = self._writers.pop(fd if isinstance(fd, int) else fd.fileno(), None)
        if handle is not None:
            handle.cancel()
        return handle is not None

    def _descriptor(self, fd: Any) -> int:
        number = fd if isinstance(fd, int) else fd.fileno()
        if number not in self._sockets:
            raise NotSimulated(f"descriptor {number} is not a simulated socket's: {_SYSTEM}")
        return int(number)

    async def getaddrinfo(  # type: ignore[override]  # typeshed has a type for either family's addresses
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 (asyncio's name)
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """As socket.getaddrinfo, in a world where machines of the network are all hosts there are."""
        del proto
        machines = self.network.machines
        return look_up(machines, current_machine() or self._on, host, port, family=family, kind=type, flags=flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """The name of the machine at an address, and the port."""
        del flags
        return name_of(self.network.machines, sockaddr[0]), str(sockaddr[1])

    async def create_datagram_endpoint(
        self, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, *, family: int = 0, **options: Any
    ) -> tuple[Any, Any]:
        """As asyncio's, with a socket of the running task's machine. Of the other options none means anything here."""
        if options.get("sock") is not None:
            raise NotSimulated(f"{options['sock']!r} is a real socket: {_SYSTEM}")
        return await open_endpoint(self, protocol_factory, local_addr, remote_addr, family)

    # -- threads -------------------------------------------------------------------------------------------------

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`, from the loop's own thread. Raises NotSimulated in any other."""
        if self.is_running() and events._get_running_loop() is not self and not _is_interrupt(callback):
            where = "a function run by run_in_executor" if self._in_executor else "another thread"
            raise NotSimulated(f"{where} can't call into the simulated loop: {_THREADS}")
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run `func(*args)` in the next turn, whatever the executor: no virtual time passes meanwhile."""
        del executor
        self._check_open()
        future = self.create_future()
        self.call_soon(self._run_in_line, future, func, args)
        return future

    def _run_in_line(self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if future.cancelled():
            return
        # As in a thread, where no loop runs.
        self._in_executor = True
        events._set_running_loop(None)
        try:
            result = func(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)
        finally:
            events._set_running_loop(self)
            self._in_executor = False


def _is_interrupt(callback: Callable[..., object]) -> bool:
    """Whether asyncio.Runner's handler of SIGINT asks for it, which interrupts what runs as in a thread."""
    return getattr(callback, "__module__", None) == asyncio.Runner.__module__


def _refusal(name: str, reason: str) -> Callable[..., Any]:
    def refuse(self: SimulatedLoop, *args: Any, **options: Any) -> Any:
        del self, args, options
        raise NotSimulated(f"loop.{name} does not work on the simulated loop: {reason}")

    refuse.__name__ = name
    return refuse


for _name, _reason in _NOT_SIMULATED.items():
    setattr(SimulatedLoop, _name, _refusal(_name, _reason))
