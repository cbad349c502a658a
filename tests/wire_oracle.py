"""The slow and plain decoder: construct interprets the declarations of `rudp.wire`, nothing is derived.

Knows: how the declarations compose into datagrams and packets.
Refuses to know: `struct`, speed. `rudp.wire` must accept what it accepts, with the same values.
"""

from __future__ import annotations

import io
from typing import Any

import construct as c

from rudp import wire
from rudp.errors import DecodeError
from rudp.wire import FrameType, PacketType
from rudp.wire import declarations as d


def opening(data: bytes) -> wire.Opening:
    """As `wire.decode_opening`."""
    try:
        found = d.PACKETS[PacketType(data[0])].parse(data)
        return _opening(PacketType(data[0]), found.body.value if "body" in found else found)
    except (c.ConstructError, ValueError, IndexError) as error:
        raise DecodeError from error


def _opening(kind: PacketType, body: Any) -> wire.Opening:
    if kind == PacketType.RESET:
        return wire.Reset(body.connection_id, body.token)
    if kind == PacketType.RETRY:
        return wire.Retry(body.destination_id, body.original_destination_id, body.cookie)
    if kind == PacketType.VERSION:
        return wire.Version(body.destination_id, body.original_destination_id, tuple(body.versions))
    found = parameters(body.parameters)
    if kind == PacketType.SYN_ACK:
        if len(found.application_protocols) > 1:
            raise DecodeError
        return wire.SynAck(body.destination_id, body.source_id, body.try_counter, found)
    if found.refused is not None:
        raise DecodeError
    return wire.Syn(body.destination_id, body.source_id, body.try_counter, found, body.cookie)


def parameters(data: bytes) -> wire.Parameters:
    """As `wire.decode_parameters`."""
    values: dict[int, bytes] = {}
    stream = io.BytesIO(data)
    try:
        while stream.tell() < len(data):
            found = d.PARAMETER.parse_stream(stream)
            if values and found.type <= max(values):
                raise DecodeError
            values[found.type] = found.value
        fields = {d.PARAMETERS[n][0]: _parameter(n, v) for n, v in values.items() if n in d.PARAMETERS}
        unknown = tuple((n, v) for n, v in values.items() if n not in d.PARAMETERS)
        missing = [n for n, (_, _, _, required) in d.PARAMETERS.items() if required and n not in values]
        if missing:
            raise DecodeError
        return wire.Parameters(**fields, unknown=unknown)
    except (c.ConstructError, ValueError) as error:
        raise DecodeError from error


def _parameter(number: int, data: bytes) -> Any:
    _, declaration, scale, _ = d.PARAMETERS[number]
    if number == d.PROTOCOLS:
        stream = io.BytesIO(data)
        names = [declaration.parse_stream(stream).name.decode()]
        while stream.tell() < len(data):
            names.append(declaration.parse_stream(stream).name.decode())
        if len(names) > wire.MAX_PROTOCOLS:
            raise DecodeError
        return tuple(names)
    found = c.Struct("value" / declaration, c.Terminated).parse(data).value
    if number == d.REFUSED:
        if len(found.reason) > wire.MAX_REASON_SIZE:
            raise DecodeError
        return wire.Refusal(found.code, found.reason.decode())
    return found / scale if scale != 1 else found


def frames(data: bytes) -> list[wire.Frame]:
    """As `wire.decode_frames`, with every PADDING left out but every PING and IMMEDIATE_ACK kept."""
    stream = io.BytesIO(data)
    found: list[wire.Frame] = []
    repeated, run = 0, set[int]()
    if not data:
        raise DecodeError
    try:
        while stream.tell() < len(data):
            declaration = d.FRAMES[FrameType(data[stream.tell()])]
            value = declaration.parse_stream(stream)
            if value.type == FrameType.PADDING:
                continue
            found.append(_frame(value))
            if value.type not in (FrameType.PING, FrameType.IMMEDIATE_ACK):
                run.clear()
            elif value.type in run:
                repeated += 1
            else:
                run.add(value.type)
    except (c.ConstructError, ValueError, KeyError) as error:
        raise DecodeError from error
    if len(found) - repeated > wire.MAX_FRAMES or sum(isinstance(frame, wire.Ack) for frame in found) > 1:
        raise DecodeError
    return found


def _frame(value: Any) -> wire.Frame:
    kind = FrameType(value.type)
    fields = {name: item for name, item in value.items() if name not in ("_io", "type", "reason_length")}
    if kind in (FrameType.ACK, FrameType.ACK_ECN):
        return _ack(value)
    if kind in (FrameType.STREAM_LENGTH, FrameType.STREAM_LENGTH_FIN):
        return wire.Stream(value.stream_id, value.offset, value.data, bool(kind & 1))
    if kind in (FrameType.MAX_STREAMS_BIDI, FrameType.MAX_STREAMS_UNI):
        return wire.MaxStreams(value.maximum, kind == FrameType.MAX_STREAMS_UNI)
    if kind in (FrameType.CLOSE, FrameType.CLOSE_APPLICATION):
        return wire.Close(value.code, value.reason.decode(), kind == FrameType.CLOSE_APPLICATION)
    if kind == FrameType.ACK_FREQUENCY:
        fields["max_ack_delay"] = value.max_ack_delay / 1_000_000
    plain: dict[FrameType, Any] = {
        FrameType.PING: wire.Ping,
        FrameType.RESET_STREAM: wire.ResetStream,
        FrameType.STOP_SENDING: wire.StopSending,
        FrameType.MAX_DATA: wire.MaxData,
        FrameType.MAX_STREAM_DATA: wire.MaxStreamData,
        FrameType.PATH_CHALLENGE: wire.PathChallenge,
        FrameType.PATH_RESPONSE: wire.PathResponse,
        FrameType.FIN: wire.Fin,
        FrameType.ACK_FREQUENCY: wire.AckFrequency,
        FrameType.IMMEDIATE_ACK: wire.ImmediateAck,
    }
    return plain[kind](**fields)  # type: ignore[no-any-return]


def _ack(value: Any) -> wire.Ack:
    stop = value.largest_acknowledged + 1
    ranges = [(stop - value.first_length, stop)]
    for older in value.ranges:
        stop = ranges[-1][0] - older.gap
        ranges.append((stop - older.length, stop))
    ecn = (value.ect0, value.ect1, value.ce) if value.type == FrameType.ACK_ECN else None
    return wire.Ack(value.largest_acknowledged, value.ack_delay / 1_000_000, tuple(ranges), ecn)


def canonical(packet: bytes, overhead: int) -> wire.Stream:
    """One canonical packet, as `wire.read_canonical` reads it."""
    layout = c.Struct("header" / d.DATA_HEADER, "frame" / d.STREAM_TO_END, "data" / c.GreedyBytes)
    try:
        if len(packet) < overhead:
            raise DecodeError
        found = layout.parse(packet[: len(packet) - overhead])
    except c.ConstructError as error:
        raise DecodeError from error
    if found.frame.offset + len(found.data) >= wire.POSITION_LIMIT:
        raise DecodeError
    fin = found.frame.type == FrameType.STREAM_FIN
    return wire.Stream(found.frame.stream_id, found.frame.offset, found.data, fin)
