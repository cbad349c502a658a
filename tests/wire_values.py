"""Hypothesis strategies for every packet and frame, shared by the tests of the wire.

Knows: which values are valid, edges included.
Refuses to know: bytes.
"""

from __future__ import annotations

from hypothesis import strategies as st

from rudp import wire

U8 = st.integers(0, 2**8 - 1)
U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
POSITION = st.integers(0, wire.POSITION_LIMIT - 1)
MICROSECONDS = U32.map(lambda number: number / 1_000_000)
TEXT = st.text(max_size=60)
LONG_TEXT = TEXT | st.sampled_from(["x" * wire.MAX_REASON_SIZE, "é" * (wire.MAX_REASON_SIZE // 2)])
NAMES = st.text(min_size=1, max_size=12) | st.just("n" * 255)


@st.composite
def acks(draw: st.DrawFn, max_ranges: int = wire.MAX_ACK_RANGES) -> wire.Ack:
    """Acknowledgements of up to `max_ranges` ranges, all lengths and gaps of at most 32 bits."""
    count = draw(st.integers(1, 6) | st.integers(1, max_ranges))
    sizes = st.integers(1, 5) | st.integers(1, 2**32 - 1)
    numbers = draw(st.lists(sizes, min_size=2 * count - 1, max_size=2 * count - 1))
    spare = 2**64 - sum(numbers) if count < 50 else 1000
    edge = draw(st.integers(0, min(3, spare)) | st.integers(0, spare))
    edges = [edge]
    for number in numbers:
        edges.append(edges[-1] + number)
    ranges = tuple(zip(edges[0::2], edges[1::2], strict=True))[::-1]
    ecn = draw(st.none() | st.tuples(U64, U64, U64))
    return wire.Ack(edges[-1] - 1, draw(MICROSECONDS), ranges, ecn)


@st.composite
def streams(draw: st.DrawFn) -> wire.Stream:
    """STREAM frames with little data, some at the end of what a stream may hold."""
    data = draw(st.binary(max_size=40))
    highest = wire.POSITION_LIMIT - 1 - len(data)
    offset = draw(st.integers(0, highest) | st.just(highest))
    return wire.Stream(draw(U64), offset, data, draw(st.booleans()))


FRAMES: st.SearchStrategy[wire.Frame] = st.one_of(
    st.just(wire.Ping()),
    acks(),
    st.builds(wire.ResetStream, U64, U32, POSITION),
    st.builds(wire.StopSending, U64, U32),
    streams(),
    st.builds(wire.MaxData, POSITION),
    st.builds(wire.MaxStreamData, U64, POSITION),
    st.builds(wire.MaxStreams, POSITION, st.booleans()),
    st.builds(wire.PathChallenge, st.binary(min_size=8, max_size=8)),
    st.builds(wire.PathResponse, st.binary(min_size=8, max_size=8)),
    st.builds(wire.Close, U32, LONG_TEXT, st.booleans()),
    st.builds(wire.Fin, POSITION, POSITION, POSITION),
    st.builds(wire.AckFrequency, U64, U32, MICROSECONDS, U32),
    st.just(wire.ImmediateAck()),
)


def packets(most: int) -> st.SearchStrategy[list[wire.Frame]]:
    """The frames of a packet: one ACK at most."""
    return st.lists(FRAMES, min_size=1, max_size=most).filter(
        lambda frames: sum(isinstance(frame, wire.Ack) for frame in frames) <= 1
    )


_UNKNOWN = st.dictionaries(st.integers(12, 2**16 - 1) | st.just(0), st.binary(max_size=20), max_size=3)


def parameters(
    protocols: int = 3, refusals: st.SearchStrategy[wire.Refusal | None] | None = None
) -> st.SearchStrategy[wire.Parameters]:
    """Parameters with up to `protocols` names; those of a SYN unless `refusals` are given."""
    return st.builds(
        wire.Parameters,
        initial_max_data=POSITION,
        initial_max_stream_data=POSITION,
        initial_max_streams_bidi=POSITION,
        initial_max_streams_uni=POSITION,
        max_ack_delay=MICROSECONDS,
        idle_timeout=U32.map(lambda number: number / 1_000),
        max_datagram_size=st.integers(wire.MIN_DATAGRAM_SIZE, 2**16 - 1),
        reset_token=st.none() | st.binary(min_size=16, max_size=16),
        protection=U8,
        application_protocols=st.lists(NAMES, max_size=protocols)
        .map(tuple)
        .filter(lambda names: sum(len(name.encode()) for name in names) < 600)
        .filter(lambda names: all(len(name.encode()) < 256 for name in names)),
        refused=st.none() if refusals is None else refusals,
        unknown=_UNKNOWN.map(lambda items: tuple(sorted(items.items()))),
    )


SYNS = st.builds(wire.Syn, U64, U64, U8, parameters(), st.binary(max_size=40) | st.just(b"c" * 256))
SYN_ACKS = st.builds(wire.SynAck, U64, U64, U8, parameters(1, st.none() | st.builds(wire.Refusal, U32, TEXT)))
RETRIES = st.builds(wire.Retry, U64, U64, st.binary(min_size=1, max_size=256))
VERSIONS = st.builds(wire.Version, U64, U64, st.lists(U32, min_size=1, max_size=255).map(tuple))
RESETS = st.builds(wire.Reset, U64, st.binary(min_size=16, max_size=16))
OPENINGS: st.SearchStrategy[wire.Opening] = SYNS | SYN_ACKS | RETRIES | VERSIONS | RESETS


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with a few bytes changed, cut, put in or taken out."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, min(len(changed), 64)) | st.integers(0, len(changed)))
        match draw(st.sampled_from(["set", "cut", "insert", "delete", "zero"])):
            case "set" if place < len(changed):
                changed[place] = draw(U8)
            case "zero":
                changed[place : place + 4] = bytes(len(changed[place : place + 4]))
            case "cut":
                del changed[place:]
            case "insert":
                changed[place:place] = draw(st.binary(min_size=1, max_size=9))
            case _:
                del changed[place : place + draw(st.integers(1, 9))]
    return bytes(changed)
