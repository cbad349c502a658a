"""From worker to worker: datagrams that came to one and are for another, over datagram sockets of the Unix family.

Knows: the sockets to every worker of a group, the form of a message, how many came and went.
Refuses to know: which worker a datagram is for (`rudp.steering`), processes.

A message is what was received, with its addresses, ECN mark and segment size, so a train stays one; a buffer that was
merged of several goes in as many. It costs a system call and a copy of the bytes at either end. What finds no room is
dropped, as a full socket buffer drops: whoever sent it finds out as with any loss. The sockets are private to the
workers, which run the same Python: so `marshal` serves.
"""

from __future__ import annotations

import marshal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rudp.steering import Stray
from rudp.train import Address
from rudp.udp import RECEIVE_SIZE
from rudp.udp_options import grow_buffers

__all__ = ["Forwarded", "Forwarding", "ForwardingCounters", "Mailbox", "open_mailbox"]

# Bytes that may wait for one worker: as many as its UDP socket may hold by default.
MAILBOX_SIZE: Final = 8 * 1024 * 1024
# Datagrams as the kernel hands them over, and what goes before: two addresses and some numbers.
MESSAGE_SIZE: Final = RECEIVE_SIZE + 1024
_PREFIX: Final = 2  # bytes of the length of what goes before the data

Mailbox: TypeAlias = tuple[socket.socket, socket.socket]
Forwarded: TypeAlias = tuple[memoryview, int, Address, Address | None, int]


def open_mailbox() -> Mailbox:
    """A worker's sockets: (for itself to receive, for all others to send)."""
    inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    # What is on its way counts as its sender's.
    grow_buffers(outbox, MAILBOX_SIZE)
    for sock in (inbox, outbox):
        sock.setblocking(False)
    return inbox, outbox


@dataclass(slots=True)
class ForwardingCounters:
    """In messages, each of which is a received buffer or a part of it."""

    handed_on: int = 0
    received: int = 0
    dropped: int = 0  # for want of room, or of a worker


class Forwarding:
    """What worker `index` has of its group: its inbox, and an outbox for each worker in order."""

    __slots__ = ("_inbox", "_index", "_outboxes", "_view", "counters")

    def __init__(self, index: int, inbox: socket.socket, outboxes: Sequence[socket.socket]) -> None:
        self._index = index
        self._inbox = inbox
        self._outboxes = outboxes
        self._view = memoryview(bytearray(MESSAGE_SIZE))
        self.counters = ForwardingCounters()
        # Sockets forget it on their way to another process.
        for sock in (inbox, *outboxes):
            sock.setblocking(False)

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._outboxes)

    def fileno(self) -> int:
        """The inbox, for the loop to watch."""
        return self._inbox.fileno()

    def send(self, stray: Stray) -> None:
        """Hand on, to one worker or to all others."""
        head = marshal.dumps(stray[2:])
        prefix = len(head).to_bytes(_PREFIX, "big") + head
        data, step = memoryview(stray.data), max(1, RECEIVE_SIZE // stray.segment_size) * stray.segment_size
        others = [outbox for index, outbox in enumerate(self._outboxes) if index != self._index]
        for at in range(0, len(data), step):
            message = (prefix, data[at : at + step])
            for outbox in others if stray.worker is None else (self._outboxes[stray.worker],):
                self._send(outbox, message)

    def _send(self, outbox: socket.socket, message: tuple[bytes, memoryview]) -> None:
        try:
            outbox.sendmsg(message)
        except OSError:
            self.counters.dropped += 1
        else:
            self.counters.handed_on += 1

    def receive(self) -> Forwarded | None:
        """The next buffer that another worker handed on, valid until the next call."""
        try:
            size = self._inbox.recv_into(self._view)
        except BlockingIOError:
            return None
        self.counters.received += 1
        start = _PREFIX + int.from_bytes(self._view[:_PREFIX], "big")
        segment_size, remote, local, ecn = marshal.loads(self._view[_PREFIX:start])
        return self._view[start:size], segment_size, remote, local, ecn

    def close(self) -> None:
        """Close this process's sockets."""
        for sock in (self._inbox, *self._outboxes):
            sock.close()
