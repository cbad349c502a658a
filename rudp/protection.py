"""Packet protection: the trailer at the end of every DATA packet.

Knows: how the trailer of each kind is made and checked, over header and payload.
Refuses to know: what headers and payloads mean, and which kind a connection uses (configuration says).

Operations: `seal` turns a train into a gather list, `open` checks a run of received packets in their buffer.
Both are O(packets), since a checksum is one C call for each, in C; in Python only where one fails. `none` costs nothing
on receipt.
`none` trusts the UDP checksum (RFC 768), `crc32` adds the CRC-32 of RFC 1952 section 8.
`first_packet_number` is what an AEAD makes its nonces of; these two kinds have no use for it.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar, Final
from zlib import crc32

from rudp.cuts import MOST_KEPT, cut
from rudp.train import Buffer

__all__ = ["Crc32Protection", "NoProtection", "Protection", "by_id", "by_name", "names"]

# Packets of which what follows is made one by one: what makes it in C for all of them takes twice as long to begin.
FEW: Final = 4
_CHECKSUM: Final = struct.Struct(">I")
_pack: Final = _CHECKSUM.pack
_unpack_from: Final = _CHECKSUM.unpack_from
_OVERHEAD: Final = _CHECKSUM.size


class Protection(ABC):
    """One way to protect DATA packets. Stateless: every connection may share the instance."""

    __slots__ = ()

    name: ClassVar[str]
    id: ClassVar[int]  # announced in SYN and SYN_ACK; both sides must name the same
    overhead: ClassVar[int]  # bytes of trailer

    @abstractmethod
    def seal(
        self, first_packet_number: int, headers: Sequence[bytes], payloads: Sequence[Buffer]
    ) -> list[Buffer]:
        """The gather list of one train: header, payload and trailer of packet after packet."""

    @abstractmethod
    def open(self, view: memoryview, segment_size: int, first_packet_number: int) -> tuple[int, ...]:
        """Check a run of packets, `segment_size` bytes each but a shorter last one.

        Returns the indices of the packets that fail; `()` when all are good.
        """


class NoProtection(Protection):
    """No trailer: corruption is left to the UDP checksum."""

    __slots__ = ()

    name = "none"
    id = 0
    overhead = 0

    def seal(
        self, first_packet_number: int, headers: Sequence[bytes], payloads: Sequence[Buffer]
    ) -> list[Buffer]:
        del first_packet_number
        if len(headers) == 1:
            return [headers[0], payloads[0]]
        buffers: list[Buffer] = [b""] * (2 * len(headers))
        buffers[0::2] = headers
        buffers[1::2] = payloads
        return buffers

    def open(self, view: memoryview, segment_size: int, first_packet_number: int) -> tuple[int, ...]:
        del view, segment_size, first_packet_number
        return ()


class Crc32Protection(Protection):
    """Four bytes, big-endian: the CRC-32 of header and payload. Detects damage, not malice."""

    __slots__ = ()

    name = "crc32"
    id = 1
    overhead = _OVERHEAD

    def seal(
        self, first_packet_number: int, headers: Sequence[bytes], payloads: Sequence[Buffer]
    ) -> list[Buffer]:
        del first_packet_number
        if len(headers) < FEW:
            sealed: list[Buffer] = []
            assert len(headers) == len(payloads)  # a strict `zip` makes two packets an eighth dearer
            for index, header in enumerate(headers):
                payload = payloads[index]
                sealed += (header, payload, _pack(crc32(payload, crc32(header))))
            return sealed
        buffers: list[Buffer] = [b""] * (3 * len(headers))
        buffers[0::3] = headers
        buffers[1::3] = payloads
        buffers[2::3] = map(_pack, map(crc32, payloads, map(crc32, headers)))
        return buffers

    def open(self, view: memoryview, segment_size: int, first_packet_number: int) -> tuple[int, ...]:
        del first_packet_number
        size = len(view)
        overhead = _OVERHEAD
        if overhead <= size <= segment_size:
            end = size - overhead
            (told,) = _unpack_from(view, end)
            return () if crc32(view[:end]) == told else (0,)
        failed: list[int] = []
        checked = 0
        whole = size // segment_size
        if whole <= MOST_KEPT and segment_size >= overhead:
            checked = whole
            found = tuple(map(crc32, cut(view, segment_size, 0, segment_size - overhead, whole)))
            told = _checksums(segment_size, whole)(view)
            if found == told:
                if checked * segment_size == size:
                    return ()
            else:
                failed += [index for index in range(whole) if found[index] != told[index]]
        for index, start in enumerate(range(checked * segment_size, size, segment_size), checked):
            end = (start + segment_size if start + segment_size < size else size) - overhead
            if end < start or crc32(view[start:end]) != _unpack_from(view, end)[0]:
                failed.append(index)
        return tuple(failed)


@lru_cache(maxsize=64)
def _checksums(segment_size: int, count: int) -> Callable[[memoryview], tuple[int, ...]]:
    return struct.Struct(">" + f"{segment_size - _CHECKSUM.size}xI" * count).unpack_from


_PROTECTIONS: Final[tuple[Protection, ...]] = (NoProtection(), Crc32Protection())


def names() -> tuple[str, ...]:
    """The names `by_name` knows."""
    return tuple(protection.name for protection in _PROTECTIONS)


def by_name(name: str) -> Protection:
    """The protection called `name`. Raises ValueError for any other."""
    for protection in _PROTECTIONS:
        if protection.name == name:
            return protection
    raise ValueError(f"no packet protection is called {name!r}; choose from {', '.join(names())}")


def by_id(identifier: int) -> Protection | None:
    """The protection a peer announced by its id, or None if this version has no such one."""
    for protection in _PROTECTIONS:
        if protection.id == identifier:
            return protection
    return None
