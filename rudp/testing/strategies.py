"""Strategies of hypothesis: every packet and frame, changes to bytes, faults of a path, whole worlds.

Knows: which values are valid, edges included; which faults there are, simplest first, so that hypothesis shrinks a
failure to the fault that it takes.
Refuses to know: what is done with them.

    frames(), packets(most), acks(), streams(), parameters(), opening_packets()     values of `rudp.wire`
    encoded(packet), encoded_frames(frames), mutations(data)          bytes, and bytes with some changes
    faults(until=...), worlds()                                       `rudp.testing.Faults` and `World`

Raises rudp.errors.MissingExtra when imported without hypothesis.
"""

from __future__ import annotations

from collections.abc import Iterable

from rudp import wire
from rudp.errors import MissingExtra
from rudp.testing.faults import Faults
from rudp.testing.world import World

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise MissingExtra(
        "rudp.testing.strategies needs hypothesis, which is not installed: pip install 'rudp-transport[testing]'"
    ) from error

__all__ = [
    "acks",
    "encoded",
    "encoded_frames",
    "faults",
    "frames",
    "mutations",
    "opening_packets",
    "packets",
    "parameters",
    "streams",
    "worlds",
]

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


_FRAMES: st.SearchStrategy[wire.Frame] = st.one_of(
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


def frames() -> st.SearchStrategy[wire.Frame]:
    """Any frame, with values that fit the wire."""
    return _FRAMES


def packets(most: int) -> st.SearchStrategy[list[wire.Frame]]:
    """The frames of a packet, `most` of them and no more than the wire admits (16): one ACK at most."""
    return st.lists(_FRAMES, min_size=1, max_size=min(most, wire.MAX_FRAMES)).filter(
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


_SYNS = st.builds(wire.Syn, U64, U64, U8, parameters(), st.binary(max_size=40) | st.just(b"c" * 256))
_SYN_ACKS = st.builds(wire.SynAck, U64, U64, U8, parameters(1, st.none() | st.builds(wire.Refusal, U32, TEXT)))
_RETRIES = st.builds(wire.Retry, U64, U64, st.binary(min_size=1, max_size=256))
_VERSIONS = st.builds(wire.Version, U64, U64, st.lists(U32, min_size=1, max_size=255).map(tuple))
_RESETS = st.builds(wire.Reset, U64, st.binary(min_size=16, max_size=16))
_OPENINGS: st.SearchStrategy[wire.Opening] = _SYNS | _SYN_ACKS | _RETRIES | _VERSIONS | _RESETS


def opening_packets() -> st.SearchStrategy[wire.Opening]:
    """Any packet but DATA: SYN, SYN_ACK, RETRY, VERSION, RESET."""
    return _OPENINGS


def encoded(packet: wire.Opening) -> bytes:
    """The bytes of an opening packet."""
    return wire.encode_opening(packet)


def encoded_frames(values: Iterable[wire.Frame]) -> bytes:
    """The bytes of some frames, one after the other."""
    return b"".join(map(wire.encode_frame, values))


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


def _outages(until: float) -> st.SearchStrategy[tuple[tuple[float, float], ...]]:
    lengths = st.sampled_from([0.01, 0.1, 1.0, 5.0])
    starts = st.integers(0, 10).map(lambda tenth: until * tenth / 10)
    return st.lists(st.builds(lambda start, length: (start, start + length), starts, lengths), max_size=2).map(tuple)


def faults(until: float = 10.0, *, corrupt: bool = True) -> st.SearchStrategy[Faults]:
    """One direction of a path that is well again at `until` (seconds), but for its delay, rate and queue.

    Delay 1 ms to 1 s, jitter, loss up to 30 % alone or in bursts, up to half of the packets late or doubled, a line of
    10 kB/s to 10 MB/s behind a queue of 2 packets or more, outages; corruption up to 10 % unless `corrupt` is False,
    as it must be for a connection without protection. Few values each, the harmless one first: a failure shrinks fast,
    and reads well.
    """
    return st.builds(
        Faults,
        delay=st.sampled_from([0.01, 0.001, 0.05, 0.3, 1.0]),
        jitter=st.sampled_from([0.0, 0.001, 0.02, 0.2]),
        loss=st.sampled_from([0.0, 0.01, 0.05, 0.15, 0.3]),
        burst=st.sampled_from([0.0, 2.0, 8.0]),
        reorder=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
        duplicate=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
        late=st.sampled_from([0.02, 0.001, 0.2]),
        corrupt=st.sampled_from([0.0, 0.01, 0.1] if corrupt else [0.0]),
        rate=st.sampled_from([None, 1e7, 1e6, 1e5, 1e4]),
        queue=st.sampled_from([200, 50, 10, 2]),
        outages=_outages(until),
        until=st.just(until),
    )


def worlds(until: float = 10.0) -> st.SearchStrategy[World]:
    """A client and a server with drawn faults either way, until `until` (seconds), and drawn merging of arrivals."""
    return st.builds(
        World,
        seed=st.integers(0, 999),
        forth=faults(until),
        back=faults(until),
        merging=st.sampled_from([None, 0.0, 1.0]),
    )
