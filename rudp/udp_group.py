"""Several UDP sockets on one port, and which of them a datagram goes to.

Knows: SO_REUSEPORT, that a group's sockets are numbered in the order of binding as long as none is closed, how a
program in classic BPF is attached that picks one by its number.
Refuses to know: what the program says, who reads the sockets.

Where the kernel takes no program (anything but Linux from 4.5 on) it spreads datagrams by a hash of the addresses, or
gives all of them to one socket: then those who read must hand on what they got for others.

The first socket is bound alone and shared afterwards, so that a port in use is found out: sockets bound with
SO_REUSEPORT from the start would silently join those of another program of the same user.

Sources: socket(7) on SO_REUSEPORT and SO_ATTACH_REUSEPORT_CBPF.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Final

from rudp.errors import SocketError
from rudp.udp_options import open_error

__all__ = ["attach_program", "open_group"]

# Python's socket module lacks it. On PA-RISC and SPARC the number is another option's.
_IS_LINUX: Final = sys.platform.startswith("linux") and not os.uname().machine.startswith(("parisc", "sparc"))
SO_ATTACH_REUSEPORT_CBPF: Final = 51 if _IS_LINUX else None


def open_group(first: socket.socket, count: int) -> list[socket.socket]:
    """`first`, a bound UDP socket, and as many more at the same address as make `count`.

    Raises SocketError where ports can't be shared, or the others can't be bound; `first` stays open then.
    """
    reuse_port = getattr(socket, "SO_REUSEPORT", None)
    if reuse_port is None:
        raise SocketError(
            errno.EOPNOTSUPP,
            "several processes can't share a UDP port here: this system has no SO_REUSEPORT (Windows); serve without "
            "workers, or from several ports",
        )
    address = first.getsockname()
    group = [first]
    try:
        first.setsockopt(socket.SOL_SOCKET, reuse_port, 1)
        while len(group) < count:
            group.append(_sibling(first, reuse_port))
    except OSError as error:
        for sock in group[1:]:
            sock.close()
        raise open_error(error, address) from error
    return group


def _sibling(first: socket.socket, reuse_port: int) -> socket.socket:
    sock = socket.socket(first.family, socket.SOCK_DGRAM)
    try:
        if first.family == socket.AF_INET6:
            only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.setsockopt(socket.SOL_SOCKET, reuse_port, 1)
        sock.bind(first.getsockname())
    except BaseException:
        sock.close()
        raise
    return sock


def attach_program(sock: socket.socket, program: Sequence[bytes]) -> bool:
    """Have the kernel pick a socket of the group of `sock` by a program in classic BPF, which reads the payload from
    byte 0 on and returns a number. False where the kernel doesn't."""
    if SO_ATTACH_REUSEPORT_CBPF is None:
        return False
    code = array("B", b"".join(program))
    # struct sock_fprog: how many instructions, and where they are. The kernel copies them.
    where = struct.pack("HP", len(program), code.buffer_info()[0])
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, where)
    except OSError:
        return False
    return True
