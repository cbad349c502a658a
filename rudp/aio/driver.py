"""One UDP socket and one sans-IO endpoint on an event loop.

Knows: when the socket is readable or writable, the one timer, which asyncio object an event is for.
Refuses to know: packets and streams. Works with any asyncio loop; one without `add_reader` (Windows' proactor) gets a
thread that waits for the socket.

A wake-up takes at most `BUFFERS_PER_WAKEUP` received buffers and sends at most `TRAINS_PER_WAKEUP` trains; the rest
comes after what else waits on the loop. Then it does what the endpoint's contract asks: hand out the events, send,
re-arm the timer. Whoever is woken answers before anything is sent, so that answers and fresh credit share packets with
the ACK: coroutines that wait on a stream at once (`waiter`), and for others the sending waits a turn of the loop. The
last of those that go on at once is waited for no longer than until it reads on and finds nothing.

A small message costs one `epoll_wait`, one `recvmsg` and one `sendmsg`, and no handle on the loop.
"""

from __future__ import annotations

import asyncio
import select
import sys
import threading
import warnings
from typing import Any, Final, Protocol

from rudp.aio.forwarding import Forwarding
from rudp.aio.gathering import GATHER_TIME, LEAST, Gathering
from rudp.aio.heap import keep_freed_memory
from rudp.aio.system import TrainSocket, current_system
from rudp.config import Config
from rudp.connection import Connection as CoreConnection
from rudp.endpoint import Endpoint as CoreEndpoint
from rudp.errors import ConnectionClosed, SocketError
from rudp.events import Event
from rudp.packetizer import MAX_TRAIN_SIZE
from rudp.train import Address, Train

__all__ = ["Driver", "Sink"]

# Received buffers a wake-up, and their bytes: a few hundred microseconds of work.
BUFFERS_PER_WAKEUP: Final = 16
BYTES_PER_WAKEUP: Final = 1 << 20
# Trains a wake-up: at 64 KiB each a millisecond or two of work, as much as the pacer lets go at once at 1 GB/s.
TRAINS_PER_WAKEUP: Final = 32
# Where each of its datagrams is a system call of its own, a train costs some eight times as much.
SINGLE_SENDS: Final = 8
# A single datagram, of at most so many bytes, is mostly alone. Whether more wait behind it is looked for, which costs a
# system call, after so many wake-ups in which nothing did; a socket that has more stays readable meanwhile.
SMALL: Final = 1_500
LONGEST_PATIENCE: Final = 16
# Seconds after which a full socket is tried again where the loop can't watch it.
RETRY_SEND: Final = 0.001


class Sink(Protocol):
    """Where a connection's events go."""

    def on_event(self, event: Event) -> bool:
        """Take one event. Whether all that it leads to has happened; else it does in the loop's next turn."""


class Driver:
    """Drives a core endpoint over a socket. A subclass says in `accepted` what becomes of connections peers open."""

    def __init__(
        self, sock: TrainSocket, config: Config, *, accept: bool, forwarding: Forwarding | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.socket = sock
        system = current_system()
        workers = forwarding.workers if forwarding is not None else 1
        self.core = CoreEndpoint(config, random=system.random(), accept=accept, workers=workers)
        self.sinks: dict[int, Sink] = {}
        self._fd = sock.fileno()
        self._held: Train | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._gathering = Gathering()
        self._gather_timer: asyncio.TimerHandle | None = None
        self._flush_due = False
        # Within a callback that ends by sending; handing out the last of the events that it sends for.
        self._sends_soon = False
        self._hands_last = False
        # Of the socket's count of datagrams that were too big: what the core was told of.
        self._too_big = 0
        self._most_trains = TRAINS_PER_WAKEUP if sock.capabilities.gso else max(1, TRAINS_PER_WAKEUP // SINGLE_SENDS)
        # Wake-ups in which nothing waited behind a small datagram, and how many more aren't looked into.
        self._alone = 0
        self._patience = 0
        self._writer_armed = False
        self._reads_soon = False
        self._watcher: _Watcher | None = None
        self._release = False
        self._forwarding = forwarding
        self.closed: asyncio.Future[None] = self.loop.create_future()
        try:
            self.loop.add_reader(self._fd, self._on_readable)
        except NotImplementedError:
            self._watcher = _Watcher(sock, self.loop, self._on_readable)
        if forwarding is not None:
            self.loop.add_reader(forwarding.fileno(), self._on_forwarded, forwarding)
        system.started(sock, self.core)
        keep_freed_memory()
        # Ended with the loop's other tasks by `asyncio.run`, which is when what is still open must be given up.
        self._keeper = self.loop.create_task(self._keep(), name=f"rudp socket {sock.local_address}")

    # -- commands -----------------------------------------------------------------------------------------------

    def accepted(self, core: CoreConnection) -> Sink | None:
        """A peer opened a connection: put into `sinks` where its events go, and return that. Servers override this."""
        core.abort(0, "this endpoint accepts no connections")
        return None

    def now(self) -> float:
        """The loop's clock, which is the connections' clock."""
        return self.loop.time()

    def connect(self, remote: Address, config: Config | None) -> CoreConnection:
        """Open a connection. Raises ConnectionClosed when the socket is gone."""
        if self.closed.done():
            raise ConnectionClosed("the endpoint is closed; bind a new one")
        core = self.core.connect(remote, self.now(), config=config)
        self.wake()
        return core

    def wake(self) -> None:
        """Something may have to be sent: after this turn of the loop, so that small writes share packets."""
        if not (self._flush_due or self._sends_soon):
            self._flush_later()

    def wake_if_ready(self) -> None:
        """The same if something has to be: after a command that may have made it so."""
        if not (self._flush_due or self._sends_soon) and self.core.has_work:
            self._flush_later()

    def send_before_wait(self) -> None:
        """Who is about to wait has written what it will: if nobody else may write in this turn, it leaves now, before
        all that is done for a task that waits.
        """
        if self._hands_last:
            try:
                self._send_all()
            except SocketError:
                return  # `_flush` meets it, too

    def release(self) -> None:
        """Nobody needs the socket any more: close it once its last connection has ended and lingered."""
        self._release = True
        self.core.stop_accepting()
        self.wake()

    def abort(self, reason: str) -> None:
        """End all connections at once and close the socket.

        Peers are told once, as far as the socket takes it: whom that doesn't reach ends by his idle timeout.
        """
        if self.closed.done():
            return
        self.core.abort_all(reason)
        # No later turn tells whoever is left.
        self._most_trains = sys.maxsize
        self._flush()
        self._close()

    # -- what the loop calls ------------------------------------------------------------------------------------

    def _flush_later(self) -> None:
        self._flush_due = True
        self.loop.call_soon(self._on_wake)

    def _on_wake(self) -> None:
        self._flush_due = False
        if not self.closed.done():
            self._flush()

    def _read_on(self) -> None:
        self._reads_soon = False
        self._on_readable()

    def _on_readable(self) -> None:
        # What `_read_on` is about to take keeps the socket readable.
        if self._reads_soon or self.closed.done():
            return
        now, gathering = self.loop.time(), self._gathering
        try:
            size = self._receive_buffers(now)
        except BaseException:
            # The loop reports it and goes on: so must the socket, which has no reader while datagrams gather.
            if gathering.active:
                gathering.stop()
                self.loop.add_reader(self._fd, self._on_readable)
            # What had come before that is answered.
            self.wake()
            raise
        if (size >= LEAST or gathering.silent or gathering.active) and self._watcher is None:
            self._gather(size, now)
        if self._forwarding is not None:
            while (stray := self.core.next_stray()) is not None:
                self._forwarding.send(stray)
        self._finish_turn()

    def _receive_buffers(self, now: float) -> int:
        """Hand what has arrived to the core, up to a wake-up's worth; its bytes."""
        core, receive = self.core, self.socket.receive
        received = receive(first=self._alone > 0)
        size = buffers = 0
        while received is not None:
            buffers += 1
            data, segment_size, remote, local, ecn = received
            size += len(data)
            # By place and one by one: arguments in a tuple cost a call of C more.
            core.receive(data, segment_size, remote, local, ecn, now)
            if buffers == BUFFERS_PER_WAKEUP or size >= BYTES_PER_WAKEUP:
                # What the socket has read ahead doesn't make it readable. Once a turn: under a flood the socket is
                # readable in each, too, and every reading would ask for one more.
                self._reads_soon = True
                self.loop.call_soon(self._read_on)
                break
            # Not behind several: the socket may have read ahead to see whether more were like them.
            single = buffers == 1 and size <= segment_size
            if single and size <= SMALL and self._patience and not self._gathering.active:
                self._patience -= 1
                break
            received = receive()
        else:
            # Halved, so that an acknowledgement behind a request now and then doesn't start it all over.
            self._alone = self._alone + 1 if buffers == 1 else self._alone // 2
            self._patience = min(self._alone, LONGEST_PATIENCE)
        return size

    def _on_forwarded(self, forwarding: Forwarding) -> None:
        """Other workers handed on what is for this one."""
        now = self.loop.time()
        for _ in range(BUFFERS_PER_WAKEUP):
            received = forwarding.receive()
            if received is None:
                break
            self.core.receive_forwarded(*received, now)
        self._finish_turn()

    def _gather(self, size: int, now: float) -> None:
        """Have the socket read when it is readable, or in a bulk flow of single datagrams after a while."""
        was_active = self._gathering.active
        if self._gathering.on_received(size, now):
            if not was_active:
                self.loop.remove_reader(self._fd)
            if self._gather_timer is not None:
                self._gather_timer.cancel()
            self._gather_timer = self.loop.call_later(GATHER_TIME, self._on_gathered)
        elif was_active:
            self.loop.add_reader(self._fd, self._on_readable)

    def _on_gathered(self) -> None:
        self._gather_timer = None
        if self.socket.fileno() < 0:
            self._on_socket_gone()
        else:
            self._on_readable()

    def _on_writable(self) -> None:
        self.loop.remove_writer(self._fd)
        self._writer_armed = False
        self._flush()

    def _on_timer(self) -> None:
        self._timer = None
        now = self.loop.time()
        due = self.core.next_timeout()
        if due is not None and due <= now:
            self.core.handle_timeout(now)
        self._flush()

    def _finish_turn(self) -> None:
        """Hand out what an input brought, then send: now, or once those who go on in the next turn had theirs."""
        self._sends_soon = True
        try:
            done = self._drain_events()
        finally:
            self._sends_soon = self._hands_last = False
        if not done:
            self.wake()
        elif not (self._flush_due or self.closed.done()):
            self._flush()

    def _flush(self) -> None:
        """The three things after each input."""
        try:
            self._send_all()
        except SocketError:
            if self.socket.fileno() >= 0:
                raise
        # Looked for when all has left, for which nobody waits.
        if self.socket.fileno() < 0:
            self._on_socket_gone()
            return
        for error in self.socket.read_errors():
            if error.remote is not None and isinstance(error.error, ConnectionRefusedError):
                self.core.on_icmp_error(error.remote, error.error)
                self.wake()
        self._arm_timer()
        if self.core.events:
            self._drain_events()
        if self._release and self.core.is_idle and self._held is None:
            self._close()

    def _on_socket_gone(self) -> None:
        """Somebody closed the socket under its connections."""
        self.core.abort_all("the socket was closed under the connection")
        self._drain_events()
        self._close()

    def _send_all(self) -> None:
        send, counters, now = self.socket.send, self.socket.counters, self.loop.time()
        if self._held is not None:
            if not send(self._held):
                self._await_writable()
                return
            train, self._held = self._held, None
            if counters.too_big != self._too_big:
                self._tell_too_big(train, now)
        left = self._most_trains
        for train in self.core.datagrams_to_send(now):
            if not send(train):
                self._held = train
                self._await_writable()
                return
            if counters.too_big != self._too_big:
                self._tell_too_big(train, now)
            # As many as calls that it took.
            left -= -(-train.size // MAX_TRAIN_SIZE)
            if left <= 0:
                if not self._flush_due:
                    self._flush_later()
                break
        if left < self._most_trains and self._gathering.silent:
            self._gathering.on_sent()

    def _tell_too_big(self, train: Train, now: float) -> None:
        """This machine sends nothing of a size that the train had."""
        self._too_big = self.socket.counters.too_big
        self.core.on_datagram_too_big(train, now)

    def _await_writable(self) -> None:
        if self._writer_armed:
            return
        self._writer_armed = True
        if self._watcher is None:
            self.loop.add_writer(self._fd, self._on_writable)
        else:
            self.loop.call_later(RETRY_SEND, self._retry)

    def _retry(self) -> None:
        self._writer_armed = False
        if not self.closed.done():
            self._flush()

    def _arm_timer(self) -> None:
        """Have the timer fire not later than needed; one that fires early re-arms itself, so it is seldom cancelled."""
        due = self.core.next_timeout()
        if due is None:
            return
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self.loop.call_at(due, self._on_timer)

    def _drain_events(self) -> bool:
        """Hand out all events. Whether all that they lead to has happened; else it does in the loop's next turn."""
        done = True
        events, sinks = self.core.events, self.sinks
        while events:
            core, event = events.popleft()
            try:
                sink = sinks.get(core.id) or self._sink_for(core)
                self._hands_last = self._sends_soon and done and not events
                if sink is not None and not sink.on_event(event):
                    done = False
            except Exception as error:
                text = f"a callback failed on {event}: its connection to {core.remote_address} is aborted"
                self.loop.call_exception_handler({"message": text, "exception": error})
                core.abort(1, "internal error")
                self.wake()
        return done

    def _sink_for(self, core: CoreConnection) -> Sink | None:
        """Where the events of a connection go that the application may not have heard of; None: nowhere."""
        return None if not core.is_open or core.is_client else self.accepted(core)

    # -- the end ------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Wait for the end of the socket; when cancelled with the loop, give up what is still open, and say so."""
        try:
            await asyncio.shield(self.closed)
        finally:
            if not self.closed.done():
                unsent = [core for core in self.core.connections if core.send_buffered]
                self.abort("the event loop ended")
                if unsent:
                    warnings.warn(
                        f"the event loop ended with unacknowledged data on {len(unsent)} rudp connection(s): it may "
                        "not have arrived. Await close(), or the writer's wait_closed(), before the loop ends",
                        ResourceWarning,
                        stacklevel=2,
                    )

    def _close(self) -> None:
        if self.closed.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._gather_timer is not None:
            self._gather_timer.cancel()
        if self._forwarding is not None:
            self.loop.remove_reader(self._forwarding.fileno())
            self._forwarding.close()
        if self._watcher is not None:
            self._watcher.stop()
        else:
            self.loop.remove_reader(self._fd)
            if self._writer_armed:
                self.loop.remove_writer(self._fd)
        self.socket.close()
        self.closed.set_result(None)

    def extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio's transports tell: "socket" and "sockname"."""
        if name == "socket":
            return self.socket.sock
        if name == "sockname":
            return self.socket.local_address
        return default


class _Watcher:
    """Waits in a thread for the socket to become readable, for loops that can't."""

    def __init__(self, sock: TrainSocket, loop: asyncio.AbstractEventLoop, callback: Any) -> None:
        self._fd = sock.fileno()
        self._loop = loop
        self._callback = callback
        self._taken = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="rudp socket watcher", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            # The timeout bounds how long a stopped watcher lives on.
            try:
                readable, _, _ = select.select([self._fd], [], [], 0.05)
            except OSError:
                readable = [self._fd]  # closed under us: the driver finds out when it looks
                self._stopped = True
            if not readable:
                continue
            self._taken.clear()
            try:
                self._loop.call_soon_threadsafe(self._take)
            except RuntimeError:
                return  # the loop is closed
            self._taken.wait(1.0)

    def _take(self) -> None:
        try:
            self._callback()
        finally:
            self._taken.set()

    def stop(self) -> None:
        """End the thread before the socket is closed under it."""
        self._stopped = True
        self._taken.set()
        self._thread.join()
