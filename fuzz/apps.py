"""The applications of a swarm's world, and the model of what they may see.

Knows: an application that writes and reads by a `plans.Side` and ends its connection in good order when both are done;
what it was given to write and what it has read. Every byte read is held against its place at once.
Refuses to know: networks, faults, which errors are in order (`worlds`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

from fuzz.plans import Send, Side
from rudp import events
from rudp.connection import Connection
from rudp.errors import ConnectionClosed, StreamClosed, StreamLimitReached, StreamReset, StreamStopped

__all__ = ["App", "pattern"]

_BLOCK = Random(0).randbytes(1 << 20)


def pattern(owner: int, stream_id: int, from_client: bool, start: int, stop: int) -> bytes:
    """Bytes that tell where they belong: by connection (the client's id), stream, direction and offset."""
    at = (owner * 7919 + stream_id * 4099 + from_client * 200_003) % (len(_BLOCK) // 2) + start
    return _BLOCK[at : at + stop - start]


class Sending:
    """One send under way."""

    def __init__(self, send: Send, stream_id: int) -> None:
        self.send = send
        self.stream_id = stream_id
        self.written = 0
        self.is_done = False
        self.is_reset = False
        self.is_stopped = False


class App:
    """The application at one end of one connection."""

    def __init__(self, connection: Connection, side: Side, later: Callable[[float, Callable[[], object]], object],
                 note: Callable[[str], object], patience: float) -> None:  # fmt: skip
        self.connection = connection
        self.side = side
        self.sendings: dict[int, Sending] = {}
        self.read: dict[int, int] = {}
        self.ended: dict[int, str] = {}  # streams read to their end: "eof", "reset" or "stopped"
        self.terminated: list[Exception | None] = []
        self.is_connected = self.is_aborted = self.is_lost = False
        self._later = later
        self._note = note
        self._patience = patience
        self._to_begin = len(side.sends)
        self._waiting: list[Send] = []
        self._readable: dict[int, bool] = {}
        self._reading = self._peer_finished = self._said_eof = self._closed = False

    @property
    def owner(self) -> int:
        """The client's id of the connection, which both sides know."""
        return self.connection.id if self.connection.is_client else self.connection.peer_id

    @property
    def is_through(self) -> bool:
        """Whether it has written all and got all: what is left is that the peer hears of it."""
        return self._said_eof and self._peer_finished

    def on_event(self, event: events.Event) -> None:  # noqa: C901 (a case for each kind)
        """Take an event, and do what a well-behaved application does."""
        assert not self.terminated, f"{event} after Terminated"
        match event:
            case events.Connected():
                assert not self.is_connected, "connected twice"
                self.is_connected = True
                self._begin()
            case events.StreamReadable(stream_id):
                assert self.is_connected
                self._readable[stream_id] = True
                self._read_soon()
            case events.StreamOpened(stream_id):
                assert stream_id not in self.read, f"stream {stream_id} opened twice"
                self.read[stream_id] = 0
            case events.StreamReset(stream_id, _):
                self._read_stream(stream_id)
            case events.SendingStopped(stream_id, _):
                sending = self.sendings.get(stream_id)
                if sending is not None:
                    sending.is_stopped = sending.is_done = True
            case events.StreamWritable(stream_id):
                self._write(self.sendings[stream_id])
            case events.StreamsAvailable():
                waiting, self._waiting = self._waiting, []
                for send in waiting:
                    self._open(send)
            case events.PeerFinished():
                self._peer_finished = True
            case events.Terminated(error):
                self.terminated.append(error)
                if error is None:
                    self._read_all()  # what has arrived can be read all the same
                return
        self._advance()

    def _begin(self) -> None:
        self.read[0] = 0
        if not any(send.kind == "main" for send in self.side.sends):
            with suppress(ConnectionClosed):  # the peer has ended it already
                self.connection.send(0, b"", True)
        for send in self.side.sends:
            if send.at:
                self._later(send.at, lambda send=send: self._open(send))  # type: ignore[misc]
            else:
                self._open(send)
        if self.side.abort_at is not None:
            self._later(self.side.abort_at, self._abort)
        self._later(self._patience, self._open_no_more)

    def _open_no_more(self) -> None:
        """What can't be opened by now waits for streams that the peer ends with its connection only."""
        self._to_begin -= len(self._waiting)
        self._waiting = []
        self._advance()

    def _abort(self) -> None:
        if not self.terminated and not self.is_lost:
            self._note("abort")
            self.is_aborted = True
            self.connection.abort(77, "drawn")

    def _open(self, send: Send) -> None:
        if self.terminated or self.is_lost:
            return
        try:
            stream_id = 0 if send.kind == "main" else self.connection.open_stream(send.kind == "uni")
        except StreamLimitReached:
            self._waiting.append(send)
            return
        except ConnectionClosed:
            # Ended, and the event that says so is still to come.
            assert not self.connection.is_open
            return
        self._note(f"stream {stream_id}: {send.size} bytes, {send.end}")
        self._to_begin -= 1
        assert stream_id not in self.sendings
        self.sendings[stream_id] = sending = Sending(send, stream_id)
        if not stream_id & 2:
            self.read.setdefault(stream_id, 0)
            if stream_id not in self.ended and self.connection.at_eof(stream_id):
                self.ended[stream_id] = "eof"  # the peer has half-closed: nothing will be said of it
        self._write(sending)
        self._advance()

    def _write(self, sending: Sending) -> None:
        send, connection = sending.send, self.connection
        try:
            while not sending.is_done:
                stop = min(sending.written + send.chunk, send.size)
                ends = stop == send.size
                data = pattern(self.owner, sending.stream_id, connection.is_client, sending.written, stop)
                connection.send(sending.stream_id, data, ends and send.end == "fin")
                sending.written = stop
                if ends:
                    sending.is_done = True
                    if send.end == "reset":
                        sending.is_reset = True
                        connection.reset_stream(sending.stream_id, 5)
                elif not connection.can_send(sending.stream_id):
                    return
        except StreamStopped:
            sending.is_stopped = sending.is_done = True
        except StreamClosed:
            assert sending.is_stopped, "closed, and nobody asked for it"
        except ConnectionClosed:
            assert not connection.is_open

    def _read_soon(self) -> None:
        if not self.side.pause:
            self._read_all()
        elif not self._reading:
            self._reading = True
            self._later(self.side.pause, self._read_again)

    def _read_again(self) -> None:
        self._reading = False
        if not self.terminated and not self.is_lost:
            for stream_id in list(self._readable):
                self._read_stream(stream_id)
            if self._readable:
                self._read_soon()
            self._advance()

    def _read_all(self) -> None:
        while self._readable:
            for stream_id in list(self._readable):
                self._read_stream(stream_id)

    def _read_stream(self, stream_id: int) -> None:
        """One read."""
        if stream_id in self.ended:
            self._readable.pop(stream_id, None)
            return
        connection, stop_after = self.connection, self.side.stop_after
        at = self.read.setdefault(stream_id, 0)
        try:
            data = connection.receive(stream_id, self.side.read_size)
        except StreamReset:
            self.ended[stream_id] = "reset"
            self._readable.pop(stream_id, None)
            self._end_answer(stream_id)
            return
        expected = pattern(self.owner, stream_id, not connection.is_client, at, at + len(data))
        assert data == expected, f"stream {stream_id}: other bytes at {at} than were written"
        self.read[stream_id] = at + len(data)
        if not data:
            self._readable.pop(stream_id, None)
        if connection.at_eof(stream_id):
            self.ended[stream_id] = "eof"
            self._readable.pop(stream_id, None)
            self._end_answer(stream_id)
        elif stop_after is not None and self.read[stream_id] > stop_after:
            self.ended[stream_id] = "stopped"
            self._readable.pop(stream_id, None)
            connection.stop_sending(stream_id, 6)
            self._end_answer(stream_id)

    def _end_answer(self, stream_id: int) -> None:
        """End the own direction of a stream that the peer opened, which nothing is written on."""
        is_peers = bool(stream_id & 1) == self.connection.is_client
        if stream_id and is_peers and not stream_id & 2 and not self._said_eof:
            with suppress(StreamStopped, StreamClosed, ConnectionClosed):
                self.connection.send(stream_id, b"", True)

    def _advance(self) -> None:
        """Half-close once all is written, close once all is read as well."""
        if self.terminated or not self.is_connected or self._closed:
            return
        if not self._said_eof and not self._to_begin and all(s.is_done for s in self.sendings.values()):
            self._said_eof = True
            self._note("half-close")
            self.connection.send_eof()
        all_read = not self._readable and all(stream_id in self.ended for stream_id in self.read)
        if self._said_eof and self._peer_finished and all_read:
            self._closed = True
            self._note("close")
            self.connection.close()

    def state(self) -> str:
        """Where it stands, for a failure."""
        connection = self.connection
        sends = {s.stream_id: f"{s.written}/{s.send.size}" for s in self.sendings.values() if not s.is_done}
        unread = [stream_id for stream_id in self.read if stream_id not in self.ended]
        name = "client" if connection.is_client else "server"
        return (
            f"{name} {connection.state.value}: connected {self.is_connected}, "
            f"to begin {self._to_begin}, writing {sends}, not read to the end {unread}, "
            f"readable {list(self._readable)}, peer finished {self._peer_finished}, closed {self._closed}, "
            f"terminated {self.terminated}"
        )
