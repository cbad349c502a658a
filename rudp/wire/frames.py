"""Frames, one by one: the payload of every packet that isn't canonical.

Knows: how each frame decodes and encodes.
Refuses to know: headers and trailers, and what a frame makes a connection do.

    decode_frames     one packet                               O(bytes)
    encode_frame      one frame; encode_ack one within a given size; stream_frame_header without the data

STREAM with length and ACK, which come often, are spelled out; `Layout` does the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from operator import sub
from struct import Struct as Packer
from struct import error as struct_error
from typing import Any, Final, TypeAlias

from rudp.errors import DecodeError
from rudp.wire.declarations import ACK_RANGE, FRAMES
from rudp.wire.layout import Check, Layout, struct_format
from rudp.wire.values import (
    MAX_ACK_RANGES,
    MAX_FRAMES,
    POSITION_LIMIT,
    Ack,
    AckFrequency,
    Close,
    Fin,
    Frame,
    FrameType,
    ImmediateAck,
    MaxData,
    MaxStreamData,
    MaxStreams,
    PathChallenge,
    PathResponse,
    Ping,
    ResetStream,
    StopSending,
    Stream,
)

_LAYOUTS: Final[dict[int, Layout]] = {
    kind: Layout(declaration)
    for kind, declaration in FRAMES.items()
    if kind not in (FrameType.ACK, FrameType.ACK_ECN, FrameType.PADDING)
}
_stream: Final = _LAYOUTS[FrameType.STREAM_LENGTH].steps[0].packer
_ack: Final[dict[int, Packer]] = {
    kind: Layout(FRAMES[kind]).steps[0].packer for kind in (FrameType.ACK, FrameType.ACK_ECN)
}
_ACK: Final = FrameType.ACK.value
_ACK_ECN: Final = FrameType.ACK_ECN.value
_STREAM_LENGTH: Final = FrameType.STREAM_LENGTH.value
_STREAM_LENGTH_FIN: Final = FrameType.STREAM_LENGTH_FIN.value
_new_ack: Final = partial(tuple.__new__, Ack)
_new_stream: Final = partial(tuple.__new__, Stream)
_ack_range: Final = Packer(struct_format(ACK_RANGE))
_ACK_RANGE_SIZE: Final = _ack_range.size
_MICROSECONDS: Final = 1_000_000
_LARGEST_U32: Final = 2**32 - 1
STREAM_HEADER_SIZE: Final = _stream.size
_unpack_stream: Final = _stream.unpack_from


def stream_frame_header(stream_id: int, offset: int, length: int, fin: bool) -> bytes:
    """Header of a STREAM frame with length, for a packet that isn't canonical; the data follows."""
    return _stream.pack(_STREAM_LENGTH_FIN if fin else _STREAM_LENGTH, stream_id, offset, length)


def encode_ack(ack: Ack, max_size: int) -> bytes:
    """An ACK frame of at most `max_size` bytes, the oldest ranges left out as needed; b"" if none fits.

    No more than MAX_ACK_RANGES are sent. A range or gap of 2**32 packets or more ends the frame early.
    """
    largest, ack_delay, ranges, counts = ack
    kind = _ACK if counts is None else _ACK_ECN
    head = _ack[kind]
    room = (max_size - head.size) // _ACK_RANGE_SIZE
    if room < 0:
        return b""
    start, stop = ranges[0]
    assert stop == largest + 1
    delay = round(ack_delay * _MICROSECONDS)
    if not 0 <= delay <= _LARGEST_U32:
        delay = min(max(delay, 0), _LARGEST_U32)
    first_length = stop - start
    if first_length > _LARGEST_U32:
        first_length, room = _LARGEST_U32, 0
    numbers: list[int] = []
    if room and len(ranges) > 1:
        for older_start, older_stop in ranges[1 : min(room + 1, MAX_ACK_RANGES)]:
            gap = start - older_stop
            if gap > _LARGEST_U32 or older_stop - older_start > _LARGEST_U32:
                break
            numbers += (gap, older_stop - older_start)
            start = older_start
    further = len(numbers) // 2
    if counts is None:
        fixed = head.pack(kind, largest, delay, further, first_length)
    else:
        fixed = head.pack(kind, largest, delay, further, first_length, *counts)
    return fixed + _ack_ranges(further).pack(*numbers) if further else fixed


@lru_cache(maxsize=MAX_ACK_RANGES)
def _ack_ranges(count: int) -> Packer:
    return Packer(">" + _ack_range.format[1:] * count)


def _decode_ack(view: memoryview, position: int, most: int = MAX_ACK_RANGES) -> tuple[Ack, int]:
    """An ACK with its newest `most` ranges; those beyond aren't looked at."""
    head = _ack[view[position]]
    fields = head.unpack_from(view, position)
    largest, delay, range_count, first_length = fields[1:5]
    counts = fields[5:] or None
    if not range_count and 0 < first_length <= largest + 1:
        only = ((largest + 1 - first_length, largest + 1),)
        return _new_ack((largest, delay / _MICROSECONDS, only, counts)), position + head.size
    if range_count >= MAX_ACK_RANGES or not first_length:
        raise DecodeError("an ACK with an empty range or too many of them")
    end = position + head.size + range_count * _ACK_RANGE_SIZE
    if end > len(view):
        raise DecodeError("an ACK goes beyond its packet")
    numbers = _ack_ranges(range_count if range_count < most else most - 1).unpack_from(view, position + head.size)
    # start of the first range, then stop and start of each older one
    edges = list(accumulate((largest + 1 - first_length, *numbers), sub))
    if edges[-1] < 0 or 0 in numbers:
        raise DecodeError("an ACK with an empty range or gap, or one that goes below 0")
    pairs = ((edges[0], largest + 1), *zip(edges[2::2], edges[1::2], strict=True))
    return _new_ack((largest, delay / _MICROSECONDS, pairs, counts)), end


def _decode_stream(view: memoryview, position: int) -> tuple[Stream, int]:
    kind, stream_id, offset, length = _unpack_stream(view, position)
    start = position + STREAM_HEADER_SIZE
    stop = start + length
    if stop > len(view):
        raise DecodeError("a STREAM frame goes beyond its packet")
    if offset + length >= POSITION_LIMIT:
        raise DecodeError("a stream goes beyond 2^62 bytes")
    return _new_stream((stream_id, offset, view[start:stop].tobytes(), kind == _STREAM_LENGTH_FIN)), stop


_Decoder: TypeAlias = Callable[[memoryview, int], tuple[Frame, int]]


def _decoder(kind: FrameType, build: Callable[..., Frame]) -> _Decoder:
    first, *more = _LAYOUTS[kind].steps
    if not first.counted and not more:
        return _fixed_decoder(first.packer, first.checks, build)
    decode = _LAYOUTS[kind].decode

    def decode_frame(view: memoryview, position: int) -> tuple[Frame, int]:
        values, stop = decode(view, position)
        return build(*values), stop

    return decode_frame


def _fixed_decoder(packer: Packer, checks: Sequence[Check], build: Callable[..., Frame]) -> _Decoder:
    """The same for fields of fixed size, of which the type that has led here is the only constant."""
    unpack, size = packer.unpack_from, packer.size

    def decode_frame(view: memoryview, position: int) -> tuple[Frame, int]:
        _, *values = found = unpack(view, position)
        for index, name, rule, text in checks:
            if not rule(found[index], None):
                raise DecodeError(f"{name} is {found[index]}, not {text}")
        return build(*values), position + size

    return decode_frame


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError("a text is not UTF-8") from error


_DECODERS: Final[dict[int, _Decoder]] = {
    FrameType.ACK: _decode_ack,
    FrameType.ACK_ECN: _decode_ack,
    FrameType.STREAM_LENGTH: _decode_stream,
    FrameType.STREAM_LENGTH_FIN: _decode_stream,
    **{
        kind: _decoder(kind, build)
        for kind, build in (
            (FrameType.RESET_STREAM, ResetStream),
            (FrameType.STOP_SENDING, StopSending),
            (FrameType.MAX_DATA, MaxData),
            (FrameType.MAX_STREAM_DATA, MaxStreamData),
            (FrameType.MAX_STREAMS_BIDI, lambda maximum: MaxStreams(maximum, False)),
            (FrameType.MAX_STREAMS_UNI, lambda maximum: MaxStreams(maximum, True)),
            (FrameType.PATH_CHALLENGE, PathChallenge),
            (FrameType.PATH_RESPONSE, PathResponse),
            (FrameType.CLOSE, lambda code, reason: Close(code, _text(reason), False)),
            (FrameType.CLOSE_APPLICATION, lambda code, reason: Close(code, _text(reason), True)),
            (FrameType.FIN, Fin),
            (
                FrameType.ACK_FREQUENCY,
                lambda sequence, packets, delay, reordering: AckFrequency(
                    sequence, packets, delay / _MICROSECONDS, reordering
                ),
            ),
        )
    },
}
_SINGLE_BYTES: Final[dict[int, Frame]] = {
    FrameType.PING: Ping(),
    FrameType.IMMEDIATE_ACK: ImmediateAck(),
}
_SINGLE_BYTE_RUN: Final = re.compile(
    b"[" + re.escape(bytes([FrameType.PADDING, *_SINGLE_BYTES])) + b"]+"
)


# Bytes of one-byte frames that are looked at one by one.
_MUCH: Final = 64


def _is_padding(view: memoryview) -> bool:
    return view.tobytes() == bytes(len(view))


def decode_frames(view: memoryview, ack_ranges: int = MAX_ACK_RANGES) -> list[Frame]:
    """The frames between header and trailer of a packet that isn't canonical, in order. Raises DecodeError.

    Of an ACK's ranges the newest `ack_ranges` are read, at least 2, and what the others say isn't so much as checked.
    PADDING is left out. Within a run of one-byte frames a repeated PING or IMMEDIATE_ACK is left out too, so
    that a packet full of them costs no more than one full of others. More than MAX_FRAMES, or a second ACK, is an
    error.
    """
    frames: list[Frame] = []
    frame: Frame
    size = len(view)
    if not size:
        raise DecodeError("a packet without frames")
    position = acks = 0
    decoder = _DECODERS.get
    try:
        while position < size:
            if len(frames) > MAX_FRAMES:
                break
            decode = decoder(view[position])
            if decode is not None:
                if decode is _decode_ack:
                    acks += 1
                    if acks > 1:
                        raise DecodeError("more than one ACK in a packet")
                    frame, position = _decode_ack(view, position, ack_ranges)
                else:
                    frame, position = decode(view, position)
                frames.append(frame)
                continue
            # A probe of the path MTU is one of these and 64 KiB of PADDING: to look at each byte took a millisecond.
            padded = size - position > _MUCH and _is_padding(view[position + 1 :])
            run = _SINGLE_BYTE_RUN.match(view, position, position + 1 if padded else size)
            if run is None:
                raise DecodeError(f"frame type {view[position]:#04x} is unknown or has no place here")
            places = sorted([(at, kind) for kind in _SINGLE_BYTES if (at := run[0].find(kind)) >= 0])
            frames += [_SINGLE_BYTES[kind] for _, kind in places]
            position = size if padded else run.end()
    except struct_error as error:
        raise DecodeError("a frame goes beyond its packet") from error
    if len(frames) > MAX_FRAMES:
        raise DecodeError(f"more than {MAX_FRAMES} frames in a packet")
    return frames


def encode_frame(frame: Frame) -> bytes:
    """The bytes of one frame (for an Ack see `encode_ack`). Raises ValueError for a value out of bounds."""
    return _ENCODERS[type(frame)](frame)


def _encode_stream(frame: Stream) -> bytes:
    return stream_frame_header(frame.stream_id, frame.offset, len(frame.data), frame.fin) + frame.data


def _encode_whole_ack(frame: Ack) -> bytes:
    return encode_ack(frame, _LARGEST_U32)


def _encode_close(frame: Close) -> bytes:
    kind = FrameType.CLOSE_APPLICATION if frame.application else FrameType.CLOSE
    return _LAYOUTS[kind].encode(frame.code, frame.reason.encode())


def _encode_max_streams(frame: MaxStreams) -> bytes:
    kind = FrameType.MAX_STREAMS_UNI if frame.unidirectional else FrameType.MAX_STREAMS_BIDI
    return _LAYOUTS[kind].encode(frame.maximum)


def _encode_ack_frequency(frame: AckFrequency) -> bytes:
    sequence, threshold, delay, reordering = frame
    return _LAYOUTS[FrameType.ACK_FREQUENCY].encode(sequence, threshold, round(delay * _MICROSECONDS), reordering)


def _encoder(kind: FrameType) -> Callable[[Any], bytes]:
    """The encoder of a frame whose values cross the wire as they are."""
    encode = _LAYOUTS[kind].encode
    return lambda frame: encode(*frame)


_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    Stream: _encode_stream,
    Ack: _encode_whole_ack,
    Close: _encode_close,
    MaxStreams: _encode_max_streams,
    AckFrequency: _encode_ack_frequency,
    **{
        frame: _encoder(kind)
        for frame, kind in (
            (Ping, FrameType.PING),
            (ResetStream, FrameType.RESET_STREAM),
            (StopSending, FrameType.STOP_SENDING),
            (MaxData, FrameType.MAX_DATA),
            (MaxStreamData, FrameType.MAX_STREAM_DATA),
            (PathChallenge, FrameType.PATH_CHALLENGE),
            (PathResponse, FrameType.PATH_RESPONSE),
            (Fin, FrameType.FIN),
            (ImmediateAck, FrameType.IMMEDIATE_ACK),
        )
    },
}
