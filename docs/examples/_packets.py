"""Packets in words, for the examples: what `rudp.wire` finds in a datagram, as one line.

It reads frames in plain text, so it serves connections that are not encrypted. `overhead` is the size of
the trailer that the connection's protection puts behind every DATA packet: 4 bytes for 'crc32', 0 for 'none'.
"""

from __future__ import annotations

import re

from rudp import wire


def name(value: object) -> str:
    """The name of a packet or frame as docs/WIRE.md writes it: SynAck becomes SYN_ACK."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(value).__name__).upper()


def frame_in_words(frame: wire.Frame) -> str:
    """One frame, with what matters of it."""
    if isinstance(frame, wire.Ack):
        ranges = [str(start) if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in frame.ranges]
        return f"ACK {','.join(ranges)}"
    if isinstance(frame, wire.Stream):
        end = " fin" if frame.fin else ""
        return f"STREAM {frame.stream_id} [{frame.offset}..{frame.offset + len(frame.data)}){end}"
    if isinstance(frame, wire.Fin):
        return f"FIN (bytes sent in all: {frame.total_size})"
    if isinstance(frame, wire.Close):
        return f"CLOSE code {frame.code}"
    if isinstance(frame, wire.MaxStreams):
        return f"MAX_STREAMS {frame.maximum}"
    return name(frame)


def in_words(data: bytes, overhead: int = 4) -> str:
    """One datagram. Raises DecodeError when it is none of rudp's."""
    view = memoryview(data)
    kind = wire.DATA_TYPES.get(data[0])
    if kind is None:
        packet = wire.decode_opening(view)
        if isinstance(packet, wire.SynAck) and packet.try_counter == 255:
            return "SYN_ACK again"
        counter = f" try {packet.try_counter + 1}" if isinstance(packet, wire.Syn | wire.SynAck) else ""
        return f"{name(packet)}{counter}"
    number = wire.read_headers(view, len(view))[2][0]
    frames: list[wire.Frame]
    if kind.canonical:
        frames = [wire.Stream(*fields) for fields in wire.read_canonical(view, len(view), overhead)]
    else:
        frames = wire.decode_frames(view[wire.DATA_HEADER_SIZE : len(view) - overhead])
    return f"DATA {number}: " + ", ".join(map(frame_in_words, frames))
