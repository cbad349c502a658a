"""Real UDP sockets: a train goes out by one system call and comes in by one, where the kernel can.

Knows: the socket and how its calls fail. Refuses to know: what is in a datagram, when to send, whom to wake.

Operations, none of which ever blocks, sleeps or resolves a name; costs are on top of the system call:
    open, wrap      a bound non-blocking socket, options tried at run time (see udp_options.py)
    send(train)     about 0.5 us a train with segmentation offload; without, one call a datagram
    receive()       about 1 us a received buffer: one datagram or, merged by the kernel, several; datagrams that
                    wait and that it didn't merge are merged here, at about 2 us each
    read_errors()   what went wrong with earlier datagrams, by peer; costs nothing when nothing did
A driver sends until `send` is False, then holds that one train and offers the same object again when the socket is
writable. It receives until None. It calls `read_errors` at the end of every wake-up: an unread error keeps it awake.

How failures end, so that none turns into a dead loop (RFC 8085 section 5.2, RFC 1122 section 4.1.3.3):
    full buffer             False; the train resumes where it stopped, nothing is sent twice
    full interface queue    False a few times, then dropped: the socket is writable, so waiting won't help
    offload refused         the train goes datagram by datagram; after EIO (no checksums in hardware) for good
    too big for the path    that datagram is dropped, counted, reported
    ICMP error of before    Linux delivers it in place of the next call: that call is repeated
    local address vanished  the kernel chooses another
    anything else           the rest of the train is dropped, counted, reported; a closed socket raises
A dropped datagram is a lost one: whoever sent it finds out as with any loss.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from rudp.errors import SocketError
from rudp.train import Address, Train
from rudp.udp_errors import CERTAINLY_ICMP, LOCAL_ADDRESS_ERRORS, MAYBE_ICMP, OFFLOAD_ERRORS, SOCKET_GONE, PeerError
from rudp.udp_options import (
    MSG_ERRQUEUE,
    Ancillary,
    BufferSizes,
    Capabilities,
    address_from_kernel,
    address_to_kernel,
    connected_peer,
    enable_options,
    grow_buffers,
    open_error,
    open_socket,
    own_memory,
    pack_ancillary,
    parse_extended_error,
    unpack_ancillary,
)
from rudp.udp_pieces import FEW_BUFFERS, Pieces

__all__ = ["PeerError", "Received", "UdpCounters", "UdpSocket", "segments_per_call"]

DEFAULT_BUFFER_SIZE: Final = 4 * 1024 * 1024  # bytes; 64 trains
RECEIVE_SIZE: Final = 65_536  # bytes that the kernel hands over at a time: it merges no more than fits one IP packet
# Bytes of a received buffer, and of one of large datagrams. More, with what is read out of it, no longer stays in the
# cache of a core: 16 of the former would take a receiver 8 % more, as it goes through them several times.
MERGED_SIZE: Final = 12 * RECEIVE_SIZE
LARGE_MERGED_SIZE: Final = 16 * RECEIVE_SIZE
MAX_CALL_SIZE: Final = 65_507  # bytes; payload of the largest IPv4 datagram, the bound of a call's, too
MAX_SEGMENTS: Final = 64  # UDP_MAX_SEGMENTS of the first kernels that had it
# Bytes of a datagram from which on it costs little, beside what the datagram does, to see whether one is behind it.
WORTH_A_LOOK: Final = 9_000
_ANCILLARY_SIZE: Final = 256  # bytes; all that is asked for takes 96, a user's own socket may ask for more
_CACHE_SIZE: Final = 256  # entries; emptied when full
_CUT_SHORT: Final = getattr(socket, "MSG_TRUNC", 0) | getattr(socket, "MSG_CTRUNC", 0)
_SKIPS_A_CALL: Final = range(64)  # datagrams or errors that one receive() steps over
_ERRORS_KEPT: Final = 64
_QUEUE_FULL_TRIES: Final = 8
_REPEATS: Final = 3  # calls in a row that may fail by errors of earlier datagrams


def segments_per_call(segment_size: int) -> int:
    """How many datagrams of `segment_size` bytes one call can send."""
    return max(1, min(MAX_SEGMENTS, MAX_CALL_SIZE // segment_size))


class Received(NamedTuple):
    """One received buffer: datagrams of `segment_size` bytes, the last may be shorter."""

    data: memoryview  # valid until the next receive()
    segment_size: int
    remote: Address
    local: Address | None  # the address that was hit; None if the machine doesn't tell
    ecn: int


# The constructor of a named tuple is a Python function, which takes twice as long.
_new_received: Final = partial(tuple.__new__, Received)
# One system call's worth: where it lies in the socket's buffer, its size, its ancillary data, the kernel's address.
_Arrived: TypeAlias = tuple[int, int, tuple[tuple[int, int, bytes], ...], Any]


@dataclass(slots=True)
class UdpCounters:
    """What did not go the usual way, in datagrams unless said otherwise."""

    too_big: int = 0  # sent: larger than the path or interface takes
    queue_full: int = 0  # sent: the interface's queue stayed full
    unsendable: int = 0  # sent: no route, forbidden, interface down
    offload_refused: int = 0  # trains sent datagram by datagram after all
    local_replaced: int = 0  # trains sent from another address than asked for
    truncated: int = 0  # received: cut short by the kernel
    empty: int = 0  # received: without a byte
    errors: int = 0  # reported by read_errors, or more than could be kept


class UdpSocket:
    """One non-blocking UDP socket. Made by `open` or `wrap`, which raise SocketError."""

    __slots__ = (
        "_ahead", "_ancillary_cache", "_buffers", "_capabilities", "_closed", "_default_local", "_drained", "_ecn",
        "_error_queue", "_errors", "_errors_waiting", "_gso", "_idle", "_is_ipv6", "_last_single", "_merged", "_peer",
        "_pktinfo", "_progress", "_recv", "_sendmsg", "_unpacked", "_view", "buffer_sizes", "counters", "local_address",
        "sock",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, buffer_size: int, offload: bool | None) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._is_ipv6 = sock.family == socket.AF_INET6
        self.local_address: Address = address_from_kernel(sock.getsockname())
        self._peer = connected_peer(sock)
        wildcard = self.local_address[0] in ("0.0.0.0", "::")
        self._capabilities = enable_options(sock, wildcard=wildcard, offload=offload is not False)
        self.buffer_sizes: BufferSizes = grow_buffers(sock, buffer_size)
        self.counters = UdpCounters()
        self._gso = self._capabilities.gso
        self._ecn = self._capabilities.ecn
        self._pktinfo = self._capabilities.pktinfo
        self._error_queue = self._capabilities.error_queue
        self._default_local = None if wildcard else self.local_address
        # Its pages take memory once something comes that is so large. Behind a full buffer there is room for one more.
        self._view = own_memory(LARGE_MERGED_SIZE + RECEIVE_SIZE)
        self._buffers = [self._view]
        self._ahead: _Arrived | None = None
        self._last_single = self._merged = self._drained = False
        self._ancillary_cache: dict[tuple[int, int, Address | None, int], Ancillary] = {}
        self._unpacked: dict[tuple[tuple[int, int, bytes], ...], tuple[int, Address | None, int]] = {}
        self._errors: list[PeerError] = []
        self._errors_waiting = False
        self._idle = False
        self._progress: Pieces | None = None
        self._closed = False
        has_ancillary = self._capabilities.ancillary
        self._sendmsg: Callable[..., int] = sock.sendmsg if has_ancillary else self._sendto
        self._recv: Callable[..., tuple[int, Any, int, Any]] = sock.recvmsg_into if has_ancillary else self._recvfrom

    # --- life -------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        local_addr: Sequence[object] | None = None,
        *,
        family: int = 0,
        reuse_port: bool = False,
        buffer_size: int = DEFAULT_BUFFER_SIZE,
        offload: bool | None = None,
    ) -> UdpSocket:
        """Bind a socket to numeric `local_addr` (host, port); host "" or no address: every address there is.

        With `family` 0 the host "" or "::" serves IPv4 and IPv6 where the machine can; AF_INET6 serves IPv6 alone.
        `reuse_port` lets several sockets share the port. `buffer_size` bytes are asked for each way. `offload` False
        forces one datagram a call. Raises SocketError: port in use, no permission, bad address.
        """
        sock = open_socket(local_addr, family, reuse_port)
        try:
            return cls(sock, buffer_size, offload)
        except BaseException:
            sock.close()
            raise

    @classmethod
    def wrap(
        cls, sock: socket.socket, *, buffer_size: int = DEFAULT_BUFFER_SIZE, offload: bool | None = None
    ) -> UdpSocket:
        """Take over a user's UDP socket, bind it if it isn't, make it non-blocking; `close` closes it.

        A connected one sends to its peer alone. Raises SocketError if it is no UDP socket of IPv4 or IPv6.
        """
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_DGRAM:
            raise SocketError(
                errno.EINVAL,
                f"cannot use this socket ({sock.family!r}, {sock.type!r}): rudp needs UDP over IPv4 or IPv6",
            )
        try:
            if sock.getsockname()[1] == 0:
                sock.bind(("::" if sock.family == socket.AF_INET6 else "0.0.0.0", 0))
            return cls(sock, buffer_size, offload)
        except OSError as error:
            raise open_error(error, ("", 0)) from error

    def fileno(self) -> int:
        """The file descriptor, -1 once closed."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close the socket; a train held half sent is dropped. Any number of times."""
        self._closed = True
        self._progress = None
        self.sock.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the socket can do; `gso` and `ecn` become False if the machine takes them back later."""
        return replace(self._capabilities, gso=self._gso, ecn=self._ecn)

    # --- out --------------------------------------------------------------------------------------

    def send(self, train: Train) -> bool:
        """Send `train`. True: done with (sent, or dropped and counted). False: offer it again when writable.

        Raises SocketError only if the socket is closed.
        """
        buffers, segment_size, size, local, remote, ecn = train
        is_single = size <= segment_size
        if self._progress is not None or not (
            is_single or (self._gso and size <= MAX_CALL_SIZE and size <= segment_size * MAX_SEGMENTS)
        ):
            return self._send_in_pieces(train, None)
        key = (0 if is_single else segment_size, ecn, local, len(remote))
        ancillary = self._ancillary_cache.get(key)
        if self._is_ipv6:
            remote = address_to_kernel(remote)
        try:
            if ancillary is None:
                ancillary = self._pack(key)
            if len(buffers) > FEW_BUFFERS:
                buffers = (b"".join(buffers),)
            self._sendmsg(buffers, ancillary, 0, None if self._peer else remote)
        except BlockingIOError:
            self._errors_waiting = self._error_queue
            return False
        except OSError as error:
            return self._send_in_pieces(train, error)
        return True

    def _pack(self, key: tuple[int, int, Address | None, int]) -> Ancillary:
        segment_size, ecn, local, address_length = key
        if address_length == 4 and not self._is_ipv6:
            raise OSError(errno.EAFNOSUPPORT, "an IPv4 socket cannot send to an IPv6 address")
        if len(self._ancillary_cache) >= _CACHE_SIZE:
            self._ancillary_cache.clear()
        ancillary = pack_ancillary(
            segment_size, ecn if self._ecn else 0, local if self._pktinfo else None, address_length == 4
        )
        self._ancillary_cache[key] = ancillary
        return ancillary

    def _send_in_pieces(self, train: Train, error: OSError | None) -> bool:
        """Send what is left of a train that one call can't take, or didn't: then `error` is that call's."""
        progress = self._progress
        self._progress = None
        if progress is None or progress.train is not train:
            segments = segments_per_call(train.segment_size) if self._gso else 1
            progress = Pieces(train, train.segment_size * segments, train.local if self._pktinfo else None)
        size = train.size
        while progress.offset < size:
            error = error or self._send_pieces(progress)
            if error is not None and not self._pass_over(error, min(progress.step, size - progress.offset), progress):
                self._progress = progress
                return False
            error = None
        return True

    def _send_pieces(self, progress: Pieces) -> OSError | None:
        """Send pieces to the end, or until one fails."""
        train, step, begin, send = progress.train, progress.step, progress.offset, self._sendmsg
        remote = None if self._peer else address_to_kernel(train.remote) if self._is_ipv6 else train.remote
        packed, failure = -1, None
        ancillary: Ancillary = []
        try:
            for together, buffers in progress.left():
                if together != packed:
                    key = (together, progress.ecn, progress.local, len(train.remote))
                    ancillary = self._ancillary_cache.get(key) or self._pack(key)
                    packed = together
                send(buffers, ancillary, 0, remote)
                progress.offset += step
        except OSError as error:
            failure = error
        if progress.offset > begin:
            progress.repeats = progress.queue_full = 0
            if progress.ecn != train.ecn and self._ecn:
                # Refused with a mark, taken without: this machine can't mark.
                self._ecn = False
                self._ancillary_cache.clear()
        return failure

    def _pass_over(self, error: OSError, piece_size: int, progress: Pieces) -> bool:
        """Decide what becomes of a piece that failed. False: wait; True: go on from `progress.offset`."""
        number = error.errno or 0
        train = progress.train
        self._errors_waiting = self._error_queue
        if isinstance(error, BlockingIOError):
            return False
        if number in SOCKET_GONE:
            raise SocketError(number, "cannot send: the UDP socket is closed") from error
        if number == errno.ENOBUFS and progress.queue_full < _QUEUE_FULL_TRIES:
            progress.queue_full += 1
            return False
        if piece_size > train.segment_size and number in OFFLOAD_ERRORS:
            self._gso = self._gso and number != errno.EIO
            self.counters.offload_refused += 1
            progress.step = train.segment_size
        elif number in MAYBE_ICMP and progress.repeats < _REPEATS:
            progress.repeats += 1
            if number in CERTAINLY_ICMP:
                self._note_earlier_error(error)
        elif number in LOCAL_ADDRESS_ERRORS and progress.local is not None:
            progress.local = None
            progress.repeats = 0
            self.counters.local_replaced += 1
        elif number == errno.EINVAL and progress.ecn and self._ecn:
            progress.ecn = 0
        else:
            self._drop(error, piece_size, progress)
        return True

    def _drop(self, error: OSError, piece_size: int, progress: Pieces) -> None:
        train = progress.train
        if error.errno == errno.EMSGSIZE:
            # The last datagram of a train may be shorter and pass.
            self.counters.too_big += 1
            progress.offset += piece_size
            progress.repeats = 0
        else:
            left = -(-(train.size - progress.offset) // train.segment_size)
            if error.errno == errno.ENOBUFS:
                self.counters.queue_full += left
            else:
                self.counters.unsendable += left
            progress.offset = train.size
        progress.ecn = train.ecn
        if not progress.reported:
            progress.reported = True
            self._report(train.remote, error)

    # --- in ---------------------------------------------------------------------------------------

    def receive(self, *, first: bool = False) -> Received | None:
        """The next received buffer, or None when there is none; call `read_errors` then.

        What waits behind it and is like it is merged with it: what the kernel merged, large datagrams, and small ones
        from the second on; `first` of a wake-up. Cut-short and empty ones are stepped over. SocketError only if it is
        closed.
        """
        self._last_single = self._last_single and not first
        arrived, self._ahead = self._ahead, None
        if arrived is None and (self._drained or (arrived := self._receive_one()) is None):
            self._last_single, self._drained = self._merged, False
            return None
        start, size, key, remote = arrived
        segment_size, local, ecn = self._unpacked.get(key) or self._unpack(key)
        stop = start + size
        # Behind a small single one only if that did well last: it may be alone, and to find out costs a system call.
        if 0 < segment_size < size:
            if not size % segment_size:
                stop = self._merge(stop, segment_size, [local, ecn], remote)
        else:
            segment_size = size
            if self._last_single or size >= WORTH_A_LOOK:
                stop = self._merge(stop, segment_size, [local, ecn], remote)
                self._merged = stop > start + size
            self._last_single = True
        sender = address_from_kernel(remote) if self._is_ipv6 else remote
        return _new_received((self._view[start:stop], segment_size, sender, local, ecn))

    def _merge(self, stop: int, segment_size: int, like: list[Any], remote: Any) -> int:
        """Receive what goes on where a buffer ends, and is like it; where that ends in turn."""
        receive, view, unpacked = self._recv, self._view, self._unpacked
        most = (MERGED_SIZE if segment_size < WORTH_A_LOOK else LARGE_MERGED_SIZE) - RECEIVE_SIZE
        for _ in range(MAX_SEGMENTS - 1):  # a buffer of tiny ones would take tens of thousands of calls
            if stop > most:
                break
            try:
                more, ancillary, flags, sender = receive([view[stop:]], _ANCILLARY_SIZE)
            except BlockingIOError:
                self._drained = True
                break
            except OSError as error:
                self._receive_failed(error)
                continue
            if (flags or not more) and self._must_skip(more, flags):
                continue
            key = tuple(ancillary)
            size, *others = unpacked.get(key) or self._unpack(key)
            if not 0 < size < more:
                size = segment_size if more < segment_size else more
            if size != segment_size or sender != remote or others != like:
                self._ahead = stop, more, key, sender
                break
            stop += more
            if more % segment_size:
                break
        return stop

    def _receive_one(self) -> _Arrived | None:
        for _ in _SKIPS_A_CALL:
            try:
                size, ancillary, flags, remote = self._recv(self._buffers, _ANCILLARY_SIZE)
            except BlockingIOError:
                # Twice nothing: something else woke the driver, which can only be the error queue.
                self._errors_waiting = self._errors_waiting or (self._idle and self._error_queue)
                self._idle = True
                return None
            except OSError as error:
                self._receive_failed(error)
                continue
            self._idle = False
            if (flags or not size) and self._must_skip(size, flags):
                continue
            return 0, size, tuple(ancillary), remote
        return None

    def _unpack(self, key: tuple[tuple[int, int, bytes], ...]) -> tuple[int, Address | None, int]:
        if len(self._unpacked) >= _CACHE_SIZE:
            self._unpacked.clear()
        segment_size, local, ecn = unpack_ancillary(key, self.local_address[1])
        known = (segment_size, local or self._default_local, ecn)
        self._unpacked[key] = known
        return known

    def _must_skip(self, size: int, flags: int) -> bool:
        # Without its ancillary data a buffer can't be cut into datagrams.
        cut = bool(flags & _CUT_SHORT)
        self.counters.truncated += cut
        self.counters.empty += not (cut or size)
        return cut or not size

    def _receive_failed(self, error: OSError) -> None:
        number = error.errno or 0
        if number in SOCKET_GONE:
            raise SocketError(number, "cannot receive: the UDP socket is closed") from error
        if number == errno.EMSGSIZE and not self._error_queue:
            self.counters.truncated += 1  # as Windows tells it
        else:
            self._note_earlier_error(error)

    # --- errors -----------------------------------------------------------------------------------

    def read_errors(self) -> list[PeerError]:
        """What the network or this machine said of datagrams sent earlier, at most 128 reports a call.

        ECONNREFUSED: nobody listens on that port. EMSGSIZE: too big for the path. Host or network unreachable may
        pass (RFC 1122 section 4.2.3.9 calls them soft). Who can guess addresses can forge an ICMP error.
        """
        errors, self._errors, self._drained = self._errors, [], False
        if self._errors_waiting and not self._closed:
            self._read_error_queue(errors)
        return errors

    def _read_error_queue(self, errors: list[PeerError]) -> None:
        assert MSG_ERRQUEUE is not None
        for _ in range(_ERRORS_KEPT):
            try:
                _, ancillary, _, remote = self.sock.recvmsg(1, 512, MSG_ERRQUEUE)
            except OSError:
                self._errors_waiting = False
                return
            number = parse_extended_error(ancillary)
            if number is not None:
                self.counters.errors += 1
                address = address_from_kernel(remote) if self._is_ipv6 else remote
                errors.append(PeerError(address, OSError(number, os.strerror(number))))

    def _note_earlier_error(self, error: OSError) -> None:
        """An error of an earlier datagram: the queue knows the peer, or a connected socket has only one."""
        if self._error_queue:
            self._errors_waiting = True
        else:
            self._report(self._peer, error)

    def _report(self, remote: Address | None, error: OSError) -> None:
        self.counters.errors += 1
        if len(self._errors) < _ERRORS_KEPT:
            self._errors.append(PeerError(remote, error.with_traceback(None)))

    # --- platforms without sendmsg and recvmsg_into -----------------------------------------------

    def _sendto(self, buffers: Sequence[Any], _ancillary: Ancillary, _flags: int, remote: Address | None) -> int:
        return self.sock.sendto(b"".join(buffers), remote) if remote else self.sock.send(b"".join(buffers))

    def _recvfrom(self, buffers: list[memoryview], _size: int) -> tuple[int, tuple[()], int, Any]:
        size, remote = self.sock.recvfrom_into(buffers[0])
        return size, (), 0, remote
