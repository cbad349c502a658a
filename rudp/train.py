"""A train: what crosses a socket in one system call, or in one after another where no two datagrams fit into one.

Knows: a run of datagrams of one size (the last may be shorter) with its addresses and ECN mark.
Refuses to know: what the bytes mean. A single small datagram is a train of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

__all__ = ["Address", "Buffer", "Source", "Train", "new_train"]

# (host, port) for IPv4, (host, port, flow info, scope id) for IPv6, as the socket module has them.
Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
# Where a datagram came from, and to, and its ECN mark.
Source: TypeAlias = tuple[Address, Address | None, int]
Buffer: TypeAlias = bytes | bytearray | memoryview


class Train(NamedTuple):
    """Datagrams to send by one call. `b"".join(buffers)` cut every `segment_size` bytes gives the datagrams.

    Where that is more than one call takes, datagrams of which no two fit into one, each of them goes by its own.
    """

    buffers: Sequence[Buffer]
    segment_size: int
    size: int
    local: Address | None
    remote: Address
    ecn: int


# A train of a tuple of its fields. The constructor of a named tuple is a Python function, which takes twice as long.
new_train: Final = partial(tuple.__new__, Train)
