"""DATA packets in runs: headers of a train out, headers and payloads of a received buffer in.

Knows: the header of DATA and the canonical packet, whose layout is the same in every packet of a train.
Refuses to know: other packets and frames, connections, recovery of truncated packet numbers.

    read_headers      one sweep over a received buffer         O(packets) in C
    read_canonical    payloads of a run, neighbours merged     O(packets) in C, O(runs) in Python
    canonical_headers headers of a train                       one comprehension
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain, product, starmap
from struct import Struct as Packer
from typing import Final

from rudp.errors import DecodeError
from rudp.packet_number import WINDOW
from rudp.wire.declarations import DATA_HEADER, DATA_TYPE, INVARIANT, STREAM_TO_END
from rudp.wire.layout import struct_format
from rudp.wire.values import POSITION_LIMIT, DataType, FrameType, Stream

DATA_HEADER_SIZE: Final = DATA_HEADER.sizeof()
CANONICAL_HEADER_SIZE: Final = DATA_HEADER_SIZE + STREAM_TO_END.sizeof()
# What each valid byte 0 of DATA says, and the way back.
DATA_TYPES: Final[dict[int, DataType]] = {
    DATA_TYPE.build(said._asdict())[0]: said
    for said in starmap(DataType, product((False, True), range(4), (False, True)))
}
_DATA_BYTES: Final = {said: byte for byte, said in DATA_TYPES.items()}
DATA: Final = _DATA_BYTES[DataType(False, 0, False)]
DATA_CANONICAL: Final = _DATA_BYTES[DataType(False, 0, True)]
_data_header: Final = Packer(struct_format(DATA_HEADER))
_canonical_header: Final = Packer(struct_format(DATA_HEADER) + struct_format(STREAM_TO_END)[1:])
_stream_to_end: Final = Packer(struct_format(STREAM_TO_END))
_invariant: Final = Packer(struct_format(INVARIANT))


def data_type(*, canonical: bool, epoch: int = 0, key_phase: bool = False) -> int:
    """Byte 0 of a DATA packet."""
    return _DATA_BYTES[DataType(key_phase, epoch, canonical)]


def read_destination_id(view: memoryview) -> int:
    """The id a datagram is for, in every version. Raises DecodeError when there is no room for one."""
    if len(view) < _invariant.size:
        raise DecodeError(f"{len(view)} bytes hold no connection id")
    return int(_invariant.unpack_from(view)[1])


def data_header(type_byte: int, destination_id: int, packet_number: int) -> bytes:
    """Header of a DATA packet; `packet_number` is the full one."""
    return _data_header.pack(type_byte, destination_id, packet_number & 0xFFFF_FFFF)


def canonical_headers(  # noqa: PLR0917
    destination_id: int,
    first_packet_number: int,
    count: int,
    stream_id: int,
    offset: int,
    stride: int,
    fin: bool,
    epoch: int = 0,
    key_phase: int = 0,
) -> list[bytes]:
    """Headers of a train of canonical packets with `stride` payload bytes each; `fin` goes on the last.

    `stride` counts from packet to packet, so that the last packet's payload may be of any size.
    """
    assert count > 0
    assert stride > 0 or count == 1
    pack = _canonical_header.pack
    type_byte = _DATA_BYTES[DataType(bool(key_phase), epoch, True)]
    first = first_packet_number & 0xFFFF_FFFF
    numbers: Iterable[int] = range(first, first + count)
    if first + count > WINDOW:
        numbers = chain(range(first, WINDOW), range(first + count - WINDOW))
    offsets = range(offset, offset + count * (stride or 1), stride or 1)
    plain = FrameType.STREAM.value
    headers = [
        pack(type_byte, destination_id, number, plain, stream_id, position)
        for number, position in zip(numbers, offsets, strict=True)
    ]
    if fin:
        last = (first + count - 1) & 0xFFFF_FFFF
        ending = FrameType.STREAM_FIN.value
        headers[-1] = pack(type_byte, destination_id, last, ending, stream_id, offsets[-1])
    return headers


@lru_cache(maxsize=64)
def _header_sweep(segment_size: int) -> Packer:
    return Packer(f"{_data_header.format}{segment_size - DATA_HEADER_SIZE}x")


def read_headers(
    view: memoryview, segment_size: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Columns of the DATA headers in a received buffer: types, destination ids, truncated packet numbers.

    One entry for each `segment_size` bytes and one for the shorter rest. Raises DecodeError if a packet is
    shorter than a header. A type that isn't DATA is left to the caller.
    """
    size = len(view)
    rest = size % segment_size if segment_size else 0
    if not size or (segment_size < DATA_HEADER_SIZE and size > rest) or 0 < rest < DATA_HEADER_SIZE:
        raise DecodeError(f"a packet of {rest or segment_size} bytes is shorter than a DATA header")
    if size < 2 * segment_size:
        rows = [_data_header.unpack_from(view)]
    else:
        rows = list(_header_sweep(segment_size).iter_unpack(view[: size - rest]))
    if rest and size > segment_size:
        rows.append(_data_header.unpack_from(view, size - rest))
    types, destination_ids, packet_numbers = zip(*rows, strict=True)
    return types, destination_ids, packet_numbers


@lru_cache(maxsize=64)
def _canonical_sweep(segment_size: int, overhead: int) -> Packer:
    payload_size = segment_size - CANONICAL_HEADER_SIZE - overhead
    return Packer(f">{DATA_HEADER_SIZE}x{_stream_to_end.format[1:]}{payload_size}s{overhead}x")


def read_canonical(view: memoryview, segment_size: int, overhead: int) -> list[Stream]:
    """The STREAM frames of a run of canonical packets, each with a trailer of `overhead` bytes to ignore.

    Packets are `segment_size` bytes but a shorter last one. Neighbours come merged when the next continues
    the stream where the last one ended without fin. Raises DecodeError if one packet is malformed.
    """
    size = len(view)
    least = CANONICAL_HEADER_SIZE + overhead
    rest = size % segment_size if segment_size else 0
    if not size or (segment_size < least and size > rest) or 0 < rest < least:
        raise DecodeError("a canonical packet is shorter than its headers")
    rows: list[tuple[int, int, int, bytes]] = []
    if size >= segment_size:
        rows += _canonical_sweep(segment_size, overhead).iter_unpack(view[: size - rest])
    if rest:
        rows += _canonical_sweep(rest, overhead).iter_unpack(view[size - rest :])
    kinds, stream_ids, offsets, payloads = zip(*rows, strict=True)
    count = len(rows)
    stride = segment_size - least
    first = offsets[0]
    if (
        kinds.count(FrameType.STREAM) >= count - 1
        and kinds[-1] in _STREAM_KINDS
        and kinds.count(kinds[0]) >= count - 1
        and stream_ids.count(stream_ids[0]) == count
        and (count == 1 or (stride and offsets == tuple(range(first, first + count * stride, stride))))
        and offsets[-1] + len(payloads[-1]) < POSITION_LIMIT
    ):
        data = payloads[0] if count == 1 else b"".join(payloads)
        return [Stream(stream_ids[0], first, data, kinds[-1] == FrameType.STREAM_FIN)]
    return _merge_canonical(rows)


_STREAM_KINDS: Final = (FrameType.STREAM.value, FrameType.STREAM_FIN.value)


def _merge_canonical(rows: list[tuple[int, int, int, bytes]]) -> list[Stream]:
    merged: list[Stream] = []
    parts: list[bytes] = []
    open_id, start, end, open_fin = -1, 0, 0, True
    for kind, stream_id, offset, payload in rows:
        if kind not in _STREAM_KINDS:
            raise DecodeError(f"frame type {kind:#04x} in a canonical packet")
        if offset + len(payload) >= POSITION_LIMIT:
            raise DecodeError("a stream goes beyond 2^62 bytes")
        if open_fin or stream_id != open_id or offset != end:
            if parts:
                merged.append(Stream(open_id, start, b"".join(parts), open_fin))
            parts = []
            open_id, start, end = stream_id, offset, offset
        parts.append(payload)
        end += len(payload)
        open_fin = kind == FrameType.STREAM_FIN
    merged.append(Stream(open_id, start, b"".join(parts), open_fin))
    return merged
