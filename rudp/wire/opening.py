"""Opening and reset packets, and the parameters they carry.

Knows: how SYN, SYN_ACK, RETRY, VERSION and RESET decode and encode, whole datagrams each.
Refuses to know: what is in a cookie or a token, who accepts what, and DATA.

All have one form: parameters come in ascending order, padding is zero, nothing follows the checksum. So a
decoded packet encodes to the same bytes. Cost: O(bytes), some microseconds; a bad checksum costs the least.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct as Packer
from struct import error as struct_error
from typing import Any, Final
from zlib import crc32

from rudp.errors import DecodeError
from rudp.wire.declarations import (
    CHECKSUM,
    PARAMETER,
    PARAMETERS,
    PROTOCOL_NAME,
    PROTOCOLS,
    REFUSAL_HEAD,
    REFUSED,
    RESET_FIELDS,
    RETRY_FIELDS,
    SYN_ACK_FIELDS,
    SYN_FIELDS,
    SYN_INVARIANT,
    VERSION_FIELDS,
    VERSION_NUMBER,
)
from rudp.wire.layout import Layout, scalar, struct_format
from rudp.wire.values import (
    MAX_PROTOCOLS,
    MAX_REASON_SIZE,
    MAX_UNKNOWN_PARAMETERS,
    OPENING_SIZE,
    RESET_TOKEN_SIZE,
    Opening,
    PacketType,
    Parameters,
    Refusal,
    Reset,
    Retry,
    Syn,
    SynAck,
    UnreadSyn,
    Version,
)

_LAYOUTS: Final[dict[int, Layout]] = {
    PacketType.SYN: Layout(SYN_FIELDS),
    PacketType.SYN_ACK: Layout(SYN_ACK_FIELDS),
    PacketType.RETRY: Layout(RETRY_FIELDS),
    PacketType.VERSION: Layout(VERSION_FIELDS),
    PacketType.RESET: Layout(RESET_FIELDS),
}
_PADDED: Final = (PacketType.SYN, PacketType.SYN_ACK)
_ZEROS: Final = bytes(OPENING_SIZE)
_parameter_head: Final = Packer(Layout(PARAMETER).steps[0].packer.format)
_protocol_name: Final = Layout(PROTOCOL_NAME)
_refusal: Final = Packer(struct_format(REFUSAL_HEAD))
# Type, length and value of each parameter of fixed size, by one call; its size, and the rules it must pass.
_values: Final = {
    number: (
        Packer(_parameter_head.format + found.code),
        Packer(">" + found.code).size,
        tuple(rule for rule, _ in found.rules),
    )
    for number, found in (
        (number, scalar(declaration))
        for number, (_, declaration, _, _) in PARAMETERS.items()
        if number not in (PROTOCOLS, REFUSED)
    )
}
# Most who open a connection state all of these, and nothing before them: one call reads and writes them.
_NUMBERS: Final = tuple(sorted(_values))
_SIZES: Final = tuple(_values[number][1] for number in _NUMBERS)
_usual: Final = Packer(">" + "".join(_values[number][0].format[1:] for number in _NUMBERS))
# Of thousands of connections the parameters are alike but for the token: what was read and written lately is kept.
ALIKE: Final = 64
RESET_TOKEN: Final = next(number for number, (name, *_) in PARAMETERS.items() if name == "reset_token")
_TOKEN: Final = Parameters._fields.index("reset_token")
_NO_TOKEN: Final = bytes(RESET_TOKEN_SIZE)
# Where its value is, in bytes, among the usual ones.
_TOKEN_AT: Final = _parameter_head.size + sum(
    _parameter_head.size + size for number, size in zip(_NUMBERS, _SIZES, strict=True) if number < RESET_TOKEN
)
_syn_invariant: Final = Packer(struct_format(SYN_INVARIANT))
_checksum: Final = Packer(">" + scalar(CHECKSUM).code)
_version: Final = Packer(">" + scalar(VERSION_NUMBER).code)


def read_version_invariants(view: memoryview) -> tuple[int, int, int]:
    """`(destination_id, version, source_id)` of a SYN of any version. Raises DecodeError if it is no SYN."""
    if len(view) < _syn_invariant.size or view[0] != PacketType.SYN:
        raise DecodeError("not a SYN of any version")
    _, destination_id, version, source_id = _syn_invariant.unpack_from(view)
    return destination_id, version, source_id


def encode_opening(packet: Opening) -> bytes:
    """The datagram of an opening or reset packet. Raises ValueError for values that don't fit."""
    match packet:
        case Reset(connection_id, token):
            return _LAYOUTS[PacketType.RESET].encode(connection_id, token)
        case Syn(destination_id, source_id, try_counter, parameters, cookie):
            body = _LAYOUTS[PacketType.SYN].encode(
                destination_id, source_id, try_counter, encode_parameters(parameters), cookie
            )
        case SynAck(destination_id, source_id, try_counter, parameters):
            body = _LAYOUTS[PacketType.SYN_ACK].encode(
                destination_id, source_id, try_counter, encode_parameters(parameters)
            )
        case Retry():
            body = _LAYOUTS[PacketType.RETRY].encode(*packet)
        case Version(destination_id, original_destination_id, versions):
            numbers = b"".join(map(_version.pack, versions))
            body = _LAYOUTS[PacketType.VERSION].encode(destination_id, original_destination_id, numbers)
    if body[0] in _PADDED:
        if len(body) > OPENING_SIZE - _checksum.size:
            raise ValueError(f"{len(body)} bytes of fields don't fit into {OPENING_SIZE}")
        body = body.ljust(OPENING_SIZE - _checksum.size, b"\0")
    return body + _checksum.pack(crc32(body))


def decode_opening(view: memoryview) -> Opening:
    """The opening or reset packet that fills `view`. Raises DecodeError.

    A SYN of another version doesn't decode: see `read_version_invariants`.
    """
    values = _fields(view)
    return _BUILDERS[view[0]](*values)


def read_syn(view: memoryview) -> UnreadSyn:
    """The SYN that fills `view`, its parameters unread. Raises DecodeError for any other packet, or a broken one."""
    if len(view) != OPENING_SIZE or view[0] != PacketType.SYN:
        raise DecodeError("not a SYN")
    return UnreadSyn(*_fields(view))


def decode_syn(unread: UnreadSyn) -> Syn:
    """The SYN with its parameters read. Raises DecodeError."""
    found = decode_parameters(unread.parameters)
    if found.refused is not None:
        raise DecodeError("only a SYN_ACK refuses")
    return Syn(unread.destination_id, unread.source_id, unread.try_counter, found, unread.cookie)


def _fields(view: memoryview) -> list[Any]:
    """The fields of the packet that fills `view`, in wire order; all but its parameters is checked."""
    if not len(view):
        raise DecodeError("an empty datagram")
    layout = _LAYOUTS.get(view[0])
    if layout is None:
        raise DecodeError(f"no opening packet starts with {view[0]:#04x}")
    try:
        values, stop = layout.decode(view, 0)
    except struct_error as error:
        raise DecodeError("a packet ends before its fields") from error
    if view[0] != PacketType.RESET:
        stop = _check_end(view, stop)
    if stop != len(view):
        raise DecodeError(f"{len(view)} bytes where the packet has {stop}")
    return values


def _check_end(view: memoryview, stop: int) -> int:
    """Padding and checksum of the packet whose fields end at `stop`; returns where the packet should end."""
    if view[0] in _PADDED:
        end = OPENING_SIZE - _checksum.size
        if len(view) == OPENING_SIZE and view[stop:end].tobytes() != _ZEROS[stop:end]:
            raise DecodeError("the padding isn't zero")
        stop = end
    if len(view) < stop + _checksum.size:
        raise DecodeError("a packet ends before its checksum")
    if crc32(view[:stop]) != _checksum.unpack_from(view, stop)[0]:
        raise DecodeError("the checksum is wrong")
    return stop + _checksum.size


def _build_syn(*fields: Any) -> Syn:
    return decode_syn(UnreadSyn(*fields))


def _build_syn_ack(destination_id: int, source_id: int, try_counter: int, parameters: bytes) -> SynAck:
    found = decode_parameters(parameters)
    if len(found.application_protocols) > 1:
        raise DecodeError("a SYN_ACK with more than one application protocol")
    return SynAck(destination_id, source_id, try_counter, found)


def _build_version(destination_id: int, original_destination_id: int, versions: bytes) -> Version:
    numbers = tuple(number for (number,) in _version.iter_unpack(versions))
    return Version(destination_id, original_destination_id, numbers)


_BUILDERS: Final[dict[int, Callable[..., Opening]]] = {
    PacketType.SYN: _build_syn,
    PacketType.SYN_ACK: _build_syn_ack,
    PacketType.RETRY: Retry,
    PacketType.VERSION: _build_version,
    PacketType.RESET: Reset,
}


def encode_parameters(parameters: Parameters) -> bytes:
    """The parameters alone, in their one form (a cookie is bound to these bytes). Raises ValueError."""
    token = parameters.reset_token
    if token is not None and len(token) != RESET_TOKEN_SIZE:
        raise ValueError(f"a reset token of {len(token)} bytes; it has {RESET_TOKEN_SIZE}")
    before, after = _encode_around(parameters[:_TOKEN] + parameters[_TOKEN + 1 :], token is not None)
    return b"".join((before, token or b"", after))


@lru_cache(ALIKE)
def _encode_around(others: tuple[Any, ...], has_token: bool) -> tuple[bytes, bytes]:
    """What comes before and behind the reset token of `others` and one."""
    given = Parameters._make((*others[:_TOKEN], _NO_TOKEN if has_token else None, *others[_TOKEN:]))
    try:
        values = _encode_values(given)
    except struct_error as error:
        raise ValueError(f"a parameter is out of bounds: {error}") from error
    numbers = sorted(values)
    before = [values[number] for number in numbers if number <= RESET_TOKEN]
    if has_token:
        before[-1] = before[-1][: -len(_NO_TOKEN)]
    return b"".join(before), b"".join([values[number] for number in numbers if number > RESET_TOKEN])


def _encode_values(parameters: Parameters) -> dict[int, bytes]:
    """Each parameter as it crosses the wire, by its type."""
    if len(parameters.unknown) > MAX_UNKNOWN_PARAMETERS or len(parameters.application_protocols) > MAX_PROTOCOLS:
        raise ValueError(
            f"at most {MAX_PROTOCOLS} application protocols and {MAX_UNKNOWN_PARAMETERS} unknown parameters go"
        )
    values = {number: _with_head(number, value) for number, value in parameters.unknown}
    if len(values) != len(parameters.unknown) or not values.keys().isdisjoint(PARAMETERS):
        raise ValueError("unknown parameters must be unknown and differ in type")
    for number, (name, _, scale, _) in PARAMETERS.items():
        value = getattr(parameters, name)
        if value is None or value == ():
            continue
        if number == PROTOCOLS:
            values[number] = _with_head(number, b"".join(map(_protocol, value)))
        elif number == REFUSED:
            values[number] = _with_head(number, _refusal.pack(value.code) + _reason(value.reason))
        else:
            packer, size, rules = _values[number]
            on_wire = round(value * scale) if scale != 1 else value
            for rule in rules:
                if not rule(on_wire, None):
                    raise ValueError(f"{name} {value} is out of bounds")
            values[number] = packer.pack(number, size, on_wire)
    return values


def _protocol(name: str) -> bytes:
    return _protocol_name.encode(name.encode())


def _with_head(number: int, value: bytes) -> bytes:
    return _parameter_head.pack(number, len(value)) + value


def _reason(text: str) -> bytes:
    data = text.encode()
    if len(data) > MAX_REASON_SIZE:
        raise ValueError(f"a reason of {len(data)} bytes; at most {MAX_REASON_SIZE} go")
    return data


def decode_parameters(data: bytes) -> Parameters:
    """The parameters of a SYN or SYN_ACK. Raises DecodeError."""
    if len(data) >= _usual.size:
        end = _TOKEN_AT + RESET_TOKEN_SIZE
        found = _decode_around(b"".join((data[:_TOKEN_AT], _NO_TOKEN, data[end:])))
        if found is not None:
            return Parameters._make((*found[:_TOKEN], data[_TOKEN_AT:end], *found[_TOKEN + 1 :]))
    return _decode(data)


@lru_cache(ALIKE)
def _decode_around(data: bytes) -> Parameters | None:
    """The parameters of `data`, if they have the usual form, in which the token is where it is blank here."""
    return _decode(data) if _decode_usual(data) else None


def _decode(data: bytes) -> Parameters:
    unknown: list[tuple[int, bytes]] = []
    end = len(data)
    found = _decode_usual(data)
    position, previous = (_usual.size, _NUMBERS[-1]) if found else (0, -1)
    try:
        while position < end:
            number, size = _parameter_head.unpack_from(data, position)
            start = position + _parameter_head.size
            stop = start + size
            if stop > end:
                raise DecodeError("a length goes beyond the end")
            if number <= previous:
                raise DecodeError("parameters repeated or out of order")
            previous = number
            if number in _values:
                found[PARAMETERS[number][0]] = _decode_fixed(number, size, data, position)
            elif number in PARAMETERS:
                found[PARAMETERS[number][0]] = _decode_counted(number, data[start:stop])
            else:
                unknown.append((number, data[start:stop]))
                if len(unknown) > MAX_UNKNOWN_PARAMETERS:
                    raise DecodeError(f"more than {MAX_UNKNOWN_PARAMETERS} unknown parameters")
            position = stop
    except struct_error as error:
        raise DecodeError("a parameter is short or long") from error
    for name, _, _, required in PARAMETERS.values():
        if required and name not in found:
            raise DecodeError(f"the parameter {name} is missing")
    return Parameters(**found, unknown=tuple(unknown))


def _decode_usual(data: bytes) -> dict[str, Any]:
    """All parameters of fixed size, if those are what comes first; else nothing."""
    if len(data) < _usual.size:
        return {}
    fields = _usual.unpack_from(data)
    if fields[0::3] != _NUMBERS or fields[1::3] != _SIZES:
        return {}
    pairs = zip(_NUMBERS, fields[2::3], strict=True)
    return {PARAMETERS[number][0]: _in_bounds(number, value) for number, value in pairs}


def _decode_counted(number: int, data: bytes) -> Any:
    """The value of a parameter whose size is its own."""
    if number == PROTOCOLS:
        return _decode_protocols(data)
    code = _refusal.unpack_from(data)[0]
    if len(data) > _refusal.size + MAX_REASON_SIZE:
        raise DecodeError("a reason is too long")
    return Refusal(code, _text(data[_refusal.size :]))


def _decode_fixed(number: int, size: int, data: bytes, head: int) -> Any:
    """The value of a parameter of fixed size, whose head is at `head`."""
    packer, fixed, _ = _values[number]
    if size != fixed:
        raise DecodeError("a parameter is short or long")
    return _in_bounds(number, packer.unpack_from(data, head)[2])


def _in_bounds(number: int, value: Any) -> Any:
    """A parameter's value as it crossed the wire, in its own unit. Raises DecodeError."""
    for rule in _values[number][2]:
        if not rule(value, None):
            raise DecodeError(f"{PARAMETERS[number][0]} {value} is out of bounds")
    scale = PARAMETERS[number][2]
    return value / scale if scale != 1 else value


def _decode_protocols(data: bytes) -> tuple[str, ...]:
    names: list[str] = []
    position = 0
    while position < len(data):
        (name,), position = _protocol_name.decode(data, position)
        names.append(_text(name))
        if len(names) > MAX_PROTOCOLS:
            raise DecodeError(f"more than {MAX_PROTOCOLS} application protocols")
    if not names:
        raise DecodeError("an empty list of application protocols")
    return tuple(names)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError("a text is not UTF-8") from error
