"""DATA packets in runs: headers of a train out, headers and payloads of a received buffer in.

Knows: the header of DATA and the canonical packet, whose layout is the same in every packet of a train.
Refuses to know: other packets and frames, connections, recovery of truncated packet numbers.

    read_train        a buffer that is one train, or several   O(packets) in C: its headers grow evenly, as one number
    read_numbers      packets of one connection, with gaps     O(packets) in C
    read_headers      one sweep over any received buffer       O(packets) in C
    read_joined       payload of a run without gaps            O(packets) in C
    read_apart        payloads of any other, neighbours merged O(packets) in C, O(runs) in Python
    read_canonical    those of either
    canonical_headers headers of a train                       O(packets) in C: they are one long number, and a sum
    scattered_headers the same of what is sent again           O(packets): their offsets follow no rule
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product, starmap
from operator import sub
from struct import Struct as Packer
from typing import Any, Final, TypeAlias

from rudp.cuts import cut
from rudp.errors import DecodeError
from rudp.packet_number import WINDOW
from rudp.wire.declarations import DATA_HEADER, DATA_TYPE, INVARIANT, STREAM_TO_END
from rudp.wire.layout import struct_format
from rudp.wire.values import POSITION_LIMIT, DataType, FrameType

# The fields of a STREAM frame: a plain tuple, as a named one takes five times as long to make and to take apart.
StreamFields: TypeAlias = tuple[int, int, bytes, bool]

DATA_HEADER_SIZE: Final = DATA_HEADER.sizeof()
_STREAM_TO_END_SIZE: Final = STREAM_TO_END.sizeof()
CANONICAL_HEADER_SIZE: Final = DATA_HEADER_SIZE + _STREAM_TO_END_SIZE
# What each valid byte 0 of DATA says, and the way back.
DATA_TYPES: Final[dict[int, DataType]] = {
    DATA_TYPE.build(said._asdict())[0]: said
    for said in starmap(DataType, product((False, True), range(4), (False, True)))
}
_DATA_BYTES: Final = {said: byte for byte, said in DATA_TYPES.items()}
DATA: Final = _DATA_BYTES[DataType(False, 0, False)]
DATA_CANONICAL: Final = _DATA_BYTES[DataType(False, 0, True)]
# What nearly all packets are: to be known by identity, as a named tuple's fields are slow to ask for.
CANONICAL: Final = DATA_TYPES[DATA_CANONICAL]
_data_header: Final = Packer(struct_format(DATA_HEADER))
# Type, destination id and truncated packet number of one packet of DATA_HEADER_SIZE bytes at least.
read_header: Final[Callable[[memoryview], tuple[Any, ...]]] = _data_header.unpack_from
_canonical_header: Final = Packer(struct_format(DATA_HEADER) + struct_format(STREAM_TO_END)[1:])
_pack_canonical: Final = _canonical_header.pack
_from_bytes: Final = int.from_bytes
_stream_to_end: Final = Packer(struct_format(STREAM_TO_END))
# Type, destination id, truncated packet number, frame type, stream id and offset of one canonical packet.
read_canonical_header: Final[Callable[[memoryview], tuple[Any, ...]]] = _canonical_header.unpack_from
_unpack_stream: Final = _stream_to_end.unpack_from
_HEADER_CODES: Final = struct_format(DATA_HEADER)[1:]
_CANONICAL_CODES: Final = f"{DATA_HEADER_SIZE}x{struct_format(STREAM_TO_END)[1:]}"
# The same with all but the last field in one: packets of one connection, and of one stream, differ in that alone.
_NUMBER_CODE: Final = _HEADER_CODES[-1]
_NUMBER_AT: Final = DATA_HEADER_SIZE - Packer(">" + _NUMBER_CODE).size
_OFFSET_CODE: Final = _CANONICAL_CODES[-1]
_STREAM_SIZE: Final = _STREAM_TO_END_SIZE - Packer(">" + _OFFSET_CODE).size
_BLOCK: Final = 128
# Headers made by one sum: more of them don't cost less each, and what makes them is kept by number.
_HEADERS_AT_ONCE: Final = 64
_STREAM: Final = FrameType.STREAM.value
_STREAM_FIN: Final = FrameType.STREAM_FIN.value
_STREAM_KINDS: Final = (_STREAM, _STREAM_FIN)
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
    pack, type_byte, first = _pack_canonical, DATA_CANONICAL, first_packet_number & 0xFFFF_FFFF
    if epoch or key_phase:
        type_byte = _DATA_BYTES[DataType(bool(key_phase), epoch, True)]
    if count == 1:
        return [pack(type_byte, destination_id, first, _STREAM_FIN if fin else _STREAM, stream_id, offset)]
    assert count > 0
    assert stride > 0
    if count == 2:
        # What a paced flow sends at a time: the sum below takes twice as long.
        last, kind = (first + 1) & 0xFFFF_FFFF, _STREAM_FIN if fin else _STREAM
        return [
            pack(type_byte, destination_id, first, _STREAM, stream_id, offset),
            pack(type_byte, destination_id, last, kind, stream_id, offset + stride),
        ]
    if first + count > WINDOW:
        whole = WINDOW - first
        rest = (destination_id, 0, count - whole, stream_id, offset + whole * stride, stride, fin, epoch, key_phase)
        before = (destination_id, first, whole, stream_id, offset, stride, False, epoch, key_phase)
        return canonical_headers(*before) + canonical_headers(*rest)
    block = count if count < _HEADERS_AT_ONCE else _HEADERS_AT_ONCE
    steps, forward, unpack = _header_block(block, stride)
    size = CANONICAL_HEADER_SIZE * block
    # The first header so many times, by its bytes: a product of numbers as long takes three times as much.
    value = _from_bytes(pack(type_byte, destination_id, first, _STREAM, stream_id, offset) * block) + steps
    headers = list(unpack(value.to_bytes(size)))
    for made in range(block, count, block):
        value += forward
        more = unpack(value.to_bytes(size))
        headers += more if made + block <= count else more[: count - made]
    if fin:
        last = (first + count - 1) & 0xFFFF_FFFF
        headers[-1] = pack(type_byte, destination_id, last, _STREAM_FIN, stream_id, offset + (count - 1) * stride)
    return headers


def scattered_headers(
    destination_id: int, first_packet_number: int, stream_id: int, offsets: Sequence[int]
) -> list[bytes]:
    """Headers of canonical packets whose payloads begin at `offsets`: losses that are sent again."""
    pack = _pack_canonical
    return [
        pack(DATA_CANONICAL, destination_id, number & 0xFFFF_FFFF, _STREAM, stream_id, offset)
        for number, offset in enumerate(offsets, first_packet_number)
    ]


@lru_cache(maxsize=128)
def _header_block(count: int, stride: int) -> tuple[int, int, Callable[[bytes], tuple[bytes, ...]]]:
    """What makes the headers of `count` packets out of the first one, each block of bytes being read as one number.

    What each header is more than the first; what a block is more than the one before it; and what cuts a block into
    headers.
    """
    size = CANONICAL_HEADER_SIZE
    step = int.from_bytes(_canonical_header.pack(0, 0, 1, 0, 0, stride))
    ones = sum([1 << 8 * size * index for index in range(count)])
    steps = sum([step * index << 8 * size * (count - 1 - index) for index in range(count)])
    return steps, ones * step * count, Packer(f"{size}s" * count).unpack


@lru_cache(maxsize=64)
def _header_sweep(segment_size: int, count: int) -> Packer:
    return Packer(">" + f"{_HEADER_CODES}{segment_size - DATA_HEADER_SIZE}x" * count)


@lru_cache(maxsize=64)
def _number_sweep(segment_size: int, count: int) -> Packer:
    return Packer(">" + f"{_NUMBER_AT}s{_NUMBER_CODE}{segment_size - DATA_HEADER_SIZE}x" * count)


@lru_cache(maxsize=64)
def _offset_sweep(segment_size: int, count: int) -> Packer:
    rest = segment_size - CANONICAL_HEADER_SIZE
    return Packer(">" + f"{DATA_HEADER_SIZE}x{_STREAM_SIZE}s{_OFFSET_CODE}{rest}x" * count)


@lru_cache(maxsize=64)
def _canonical_sweep(segment_size: int, count: int) -> Packer:
    return Packer(">" + f"{_CANONICAL_CODES}{segment_size - CANONICAL_HEADER_SIZE}x" * count)


def _blocks(
    view: memoryview, segment_size: int, count: int, sweep: Callable[[int, int], Packer]
) -> tuple[Any, ...]:
    """The fields of `count` packets, flat: one call of C for a whole train, more only for tiny packets."""
    if count <= _BLOCK:
        return sweep(segment_size, count).unpack_from(view)
    found: list[Any] = []
    for first in range(0, count, _BLOCK):
        found += sweep(segment_size, min(_BLOCK, count - first)).unpack_from(view, first * segment_size)
    return tuple(found)


def _split(view: memoryview, segment_size: int, least: int) -> tuple[int, int]:
    """How many packets of `segment_size` a buffer holds and the size of a shorter last one, or 0."""
    size = len(view)
    if not size or segment_size < 1:
        raise DecodeError("an empty datagram")
    count, rest = divmod(size, segment_size)
    if (count and segment_size < least) or 0 < rest < least:
        raise DecodeError(f"a packet of {rest or segment_size} bytes where {least} are the least")
    return count, rest


def read_headers(
    view: memoryview, segment_size: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Columns of the DATA headers in a received buffer: types, destination ids, truncated packet numbers.

    One entry for each `segment_size` bytes and one for the shorter rest. Raises DecodeError if a packet is
    shorter than a header. A type that isn't DATA is left to the caller.
    """
    size = len(view)
    if DATA_HEADER_SIZE <= segment_size < size and not size % segment_size and (
        whole := size // segment_size
    ) <= _BLOCK:
        found = _header_sweep(segment_size, whole).unpack_from(view)
        return found[0::3], found[1::3], found[2::3]
    count, rest = _split(view, segment_size, DATA_HEADER_SIZE)
    found = _blocks(view, segment_size, count, _header_sweep)
    if rest:
        found += _data_header.unpack_from(view, len(view) - rest)
    return found[0::3], found[1::3], found[2::3]


@lru_cache(maxsize=256)
def _heads(
    segment_size: int, count: int, start: int, size: int
) -> tuple[Callable[..., tuple[bytes, ...]], int, int, int]:
    """What takes the bytes [start, start + size) of each of `count` packets and compares them, read as one number.

    What cuts them out; a mask for all but the first packet's; a 1 at the end of each packet's, and of all but one's.
    """
    cut_out = Packer(f"{start}x{size}s{segment_size - start - size}x" * count).unpack_from
    ones = [1 << 8 * size * index for index in range(count)]
    return cut_out, (1 << 8 * size * (count - 1)) - 1, sum(ones), sum(ones[:-1])


def _grow_evenly(view: memoryview, segment_size: int, count: int, fields: tuple[int, int, int]) -> bool:
    """Whether some bytes of each of `count` packets, as a number, are `step` more than those of the packet before.

    `fields`: where they begin, how many they are, and `step`. The first packet's first byte must be below 255: a packet
    whose difference is wrong can be made up for only by one before it that is so large that its number overflows.
    """
    start, size, step = fields
    block = count if count < _HEADERS_AT_ONCE else _HEADERS_AT_ONCE
    cut_out, mask, ones, others = _heads(segment_size, block, start, size)
    value = int.from_bytes(b"".join(cut_out(view)))
    if (value & mask) - (value >> 8 * size) != others * step:
        return False
    for first in range(block, count, block):
        if (left := count - first) < block:
            cut_out, _, ones, _ = _heads(segment_size, left, start, size)
            value >>= 8 * size * (block - left)
        if int.from_bytes(b"".join(cut_out(view, first * segment_size))) != value + ones * (first * step):
            return False
    return True


def read_train(view: memoryview, segment_size: int) -> tuple[int, int, int, int] | None:
    """Type, destination id, first truncated number and count of packets that differ in consecutive numbers alone.

    None for any other buffer, and for one with a packet that is too short or has no type of DATA: `read_headers` tells.
    """
    count, rest = divmod(len(view), segment_size)
    last_size = rest or segment_size
    if not count or segment_size < DATA_HEADER_SIZE or last_size < DATA_HEADER_SIZE:
        return None
    others = count - 1 + (rest > 0)
    type_byte, destination_id, number = _data_header.unpack_from(view)
    if (
        type_byte not in DATA_TYPES
        or number + others >= WINDOW
        or _data_header.unpack_from(view, len(view) - last_size) != (type_byte, destination_id, number + others)
        or (others > 1 and not _grow_evenly(view, segment_size, others, (0, DATA_HEADER_SIZE, 1)))
    ):
        return None
    return type_byte, destination_id, number, others + 1


def read_numbers(view: memoryview, segment_size: int) -> tuple[int, int, tuple[int, ...]] | None:
    """Type, destination id and truncated numbers of packets of one connection and type of DATA; None for all others."""
    count, rest = divmod(len(view), segment_size)
    if not 0 < count <= _BLOCK or segment_size < DATA_HEADER_SIZE or 0 < rest < DATA_HEADER_SIZE:
        return None
    found = _number_sweep(segment_size, count).unpack_from(view)
    if rest:
        found += _number_sweep(rest, 1).unpack_from(view, len(view) - rest)
    heads, numbers = found[0::2], found[1::2]
    type_byte, destination_id, _ = _data_header.unpack_from(view)
    if heads.count(heads[0]) < len(heads) or type_byte not in DATA_TYPES:
        return None
    return type_byte, destination_id, numbers


def read_canonical(view: memoryview, segment_size: int, overhead: int) -> list[StreamFields]:
    """The STREAM frames of a run of canonical packets, each with a trailer of `overhead` bytes to ignore.

    Packets are `segment_size` bytes but a shorter last one. Neighbours come merged when the next continues
    the stream where the last one ended without fin. Raises DecodeError if one packet is malformed.
    """
    joined = read_joined(view, segment_size, overhead)
    return read_apart(view, segment_size, overhead) if joined is None else [joined]


def read_apart(view: memoryview, segment_size: int, overhead: int) -> list[StreamFields]:
    """`read_canonical` of a run that isn't one frame."""
    least = CANONICAL_HEADER_SIZE + overhead
    size = len(view)
    count, rest = _split(view, segment_size, least)
    stride = segment_size - least
    payloads = cut(view, segment_size, CANONICAL_HEADER_SIZE, segment_size - overhead, count)
    kind, stream_id, _ = _stream_to_end.unpack_from(view, DATA_HEADER_SIZE)
    if kind == _STREAM and stride and not rest:
        found = _blocks(view, segment_size, count, _offset_sweep)
        heads = found[0::2]
        if heads.count(heads[0]) == count:
            return _join(stream_id, stride, found[1::2], payloads)
    found = _blocks(view, segment_size, count, _canonical_sweep)
    if rest:
        start = size - rest
        found += _stream_to_end.unpack_from(view, start + DATA_HEADER_SIZE)
        payloads = [*payloads, view[start + CANONICAL_HEADER_SIZE : size - overhead]]
    return _merge(found[0::3], found[1::3], found[2::3], payloads)


def read_joined(view: memoryview, segment_size: int, overhead: int) -> StreamFields | None:
    """A run of canonical packets as one frame, if they are sound and follow one another in a stream; else None."""
    size, least = len(view), CANONICAL_HEADER_SIZE + overhead
    if least <= size <= segment_size:
        kind, stream_id, offset = _unpack_stream(view, DATA_HEADER_SIZE)
        payload = view[CANONICAL_HEADER_SIZE : size - overhead].tobytes()
        if kind not in _STREAM_KINDS or offset + len(payload) >= POSITION_LIMIT:
            return None
        if kind == _STREAM:
            return stream_id, offset, payload, False
        return stream_id, offset, payload, True
    if segment_size < least or size <= segment_size or 0 < (rest := size % segment_size) < least:
        return None
    count = size // segment_size
    stride, last_size = segment_size - least, rest or segment_size
    others = count - 1 + (rest > 0)
    kind, stream_id, offset = _stream_to_end.unpack_from(view, DATA_HEADER_SIZE)
    last, last_id, last_offset = _stream_to_end.unpack_from(view, size - last_size + DATA_HEADER_SIZE)
    if (
        kind != _STREAM
        or last not in (_STREAM, _STREAM_FIN)
        or last_id != stream_id
        or last_offset != offset + others * stride
        or not stride
        or last_offset + last_size - least >= POSITION_LIMIT
        or (
            others > 1
            and not _grow_evenly(view, segment_size, others, (DATA_HEADER_SIZE, _STREAM_TO_END_SIZE, stride))
        )
    ):
        return None
    payloads = cut(view, segment_size, CANONICAL_HEADER_SIZE, segment_size - overhead, count)
    if rest:
        payloads = [*payloads, view[size - rest + CANONICAL_HEADER_SIZE : size - overhead]]
    return stream_id, offset, b"".join(payloads), last == _STREAM_FIN


def _join(
    stream_id: int, stride: int, offsets: tuple[int, ...], payloads: Sequence[memoryview]
) -> list[StreamFields]:
    """Full packets of one stream with gaps between them, as loss leaves them and as lost ranges are sent again."""
    if max(offsets) + stride >= POSITION_LIMIT:
        raise DecodeError("a stream goes beyond 2^62 bytes")
    ends = [at for at, step in enumerate(map(sub, offsets[1:], offsets), 1) if step != stride]
    return [
        (stream_id, offsets[at], b"".join(payloads[at:end]), False)
        for at, end in zip([0, *ends], [*ends, len(offsets)], strict=True)
    ]


def _merge(
    kinds: tuple[int, ...],
    stream_ids: tuple[int, ...],
    offsets: tuple[int, ...],
    payloads: Sequence[bytes | memoryview],
) -> list[StreamFields]:
    """The same packet by packet: several streams, gaps, a fin before the end, or an error."""
    merged: list[StreamFields] = []
    parts: list[bytes | memoryview] = []
    current, start, end, ended = -1, 0, 0, False
    for kind, stream_id, offset, payload in zip(kinds, stream_ids, offsets, payloads, strict=True):
        if kind not in (_STREAM, _STREAM_FIN):
            raise DecodeError(f"frame type {kind:#04x} in a canonical packet")
        if offset + len(payload) >= POSITION_LIMIT:
            raise DecodeError("a stream goes beyond 2^62 bytes")
        if parts and (ended or stream_id != current or offset != end):
            merged.append((current, start, b"".join(parts), ended))
            parts = []
        if not parts:
            current, start = stream_id, offset
        parts.append(payload)
        end = offset + len(payload)
        ended = kind == _STREAM_FIN
    merged.append((current, start, b"".join(parts), ended))
    return merged
