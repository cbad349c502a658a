"""A run in words, packet by packet: who sent what when, and what the network did with it.

Knows: how a datagram reads (`in_words`), which packet a node dropped, changed, delayed or doubled, what the hosts'
names are. Refuses to know: what should have happened.

    story = Story({("10.0.0.1", 1): "client", ("10.0.0.2", 2): "server"})
    network.observe(story)
    ...
    print(story)

A watched run is the same run: same bytes, same instants. Cost: one record a packet, so watch the run that failed,
not all of them. It reads frames in plain text, so it serves connections that are not encrypted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from zlib import crc32

from rudp import wire
from rudp.errors import DecodeError
from rudp.sim.clock import Clock
from rudp.sim.node import Batch, Datagram, Node
from rudp.train import Address

__all__ = ["Story", "in_words"]

# Packets of a long story that are shown of its beginning and of its end.
HEAD: Final = 60
TAIL: Final = 140
_CHECKSUM: Final = 4
_BOUNDARY: Final = re.compile("(?<=[a-z])(?=[A-Z])")


def in_words(data: bytes) -> str:
    """One datagram: its packet and frames, with what matters of them; of no packet, that it is none."""
    try:
        return _packet(data)
    except DecodeError as error:
        return f"no packet ({error})"


def _packet(data: bytes) -> str:
    view = memoryview(data)
    kind = wire.DATA_TYPES.get(data[0]) if data else None
    if kind is None:
        packet = wire.decode_opening(view)
        tries = f" try {packet.try_counter + 1}" if isinstance(packet, wire.Syn | wire.SynAck) else ""
        refused = packet.parameters.refused if isinstance(packet, wire.SynAck) else None
        return f"{_name(packet)}{tries}" + (f" refuses: {refused}" if refused else "")
    number = wire.read_headers(view, len(view))[2][0]
    sealed = len(data) > _CHECKSUM and crc32(view[:-_CHECKSUM]) == int.from_bytes(view[-_CHECKSUM:], "big")
    overhead = _CHECKSUM if sealed else 0
    frames: list[wire.Frame]
    if kind.canonical:
        frames = [wire.Stream(*fields) for fields in wire.read_canonical(view, len(view), overhead)]
    else:
        frames = wire.decode_frames(view[wire.DATA_HEADER_SIZE : len(view) - overhead])
    return f"DATA {number}: " + (", ".join(map(_frame, frames)) or "PADDING")


def _name(value: object) -> str:
    """As docs/WIRE.md writes it: SynAck becomes SYN_ACK."""
    return _BOUNDARY.sub("_", type(value).__name__).upper()


def _frame(frame: wire.Frame) -> str:
    match frame:
        case wire.Ack(ranges=ranges):
            shown = ",".join(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in ranges[:8])
            return f"ACK {shown}" + (f" and {len(ranges) - 8} more" if len(ranges) > 8 else "")
        case wire.Stream(stream_id, offset, data, fin):
            return f"STREAM {stream_id} [{offset}..{offset + len(data)})" + " fin" * fin
        case wire.PathChallenge(data) | wire.PathResponse(data):
            return f"{_name(frame)} {data.hex()}"
        case wire.Ping() | wire.ImmediateAck():
            return _name(frame)
        case _:
            return f"{_name(frame)} " + " ".join(f"{name} {value!r}" for name, value in frame._asdict().items())


class _Entry:
    """A line of the story."""

    __slots__ = ("fates", "text", "time")

    def __init__(self, time: float, text: str) -> None:
        self.time = time
        self.text = text
        self.fates: list[str] = []


class Story:
    """Everything that was sent in a network, in order, with what became of it. Give it to `Network.observe`.

    `names` are of hosts by their addresses; `note` puts in what the application did.
    """

    def __init__(self, names: Mapping[Address, str] | None = None) -> None:
        self.names = dict(names or {})
        self.clock: Clock | None = None
        self._entries: list[_Entry] = []
        # By the identity of the datagram, which is kept so that no other gets it.
        self._packets: dict[int, tuple[Datagram, _Entry]] = {}

    def note(self, text: str, time: float | None = None) -> None:
        """Put in a line of one's own, at `time` (seconds) or now."""
        now = time if time is not None else 0.0 if self.clock is None else self.clock.now
        self._entries.append(_Entry(now, f"  {text}"))

    # What routes tell

    def sent(self, batch: Batch) -> None:
        """A host sends a batch."""
        for time, datagram in batch:
            who = f"{self._who(datagram.source)} -> {self._who(datagram.destination)}"
            mark = "" if datagram.ecn == 0 else f", ecn {datagram.ecn}"
            entry = _Entry(time, f"{who}  {in_words(datagram.data)} ({len(datagram.data)} B{mark})")
            self._entries.append(entry)
            self._packets[id(datagram)] = datagram, entry

    def received(self, batch: Batch) -> None:
        """A batch gets to a host's card, at times that may lie ahead."""
        for time, datagram in batch:
            self._fate(datagram, f"arrives {time:.6f}")

    def dropped(self, node: Node, batch: Batch) -> None:
        """A node drops packets."""
        for _, datagram in batch:
            self._fate(datagram, f"LOST at {_title(node)}")

    def watched(self, node: Node) -> Callable[[Batch], Batch]:
        """The node's `process`, one packet a call, with a look at what came of each."""
        process = node.process

        def watched(batch: Batch) -> Batch:
            out: Batch = []
            for time, datagram in batch:
                left = process([(time, datagram)])
                if not left:
                    self._fate(datagram, f"LOST at {_title(node)}")
                if len(left) > 1:
                    self._fate(datagram, f"doubled by {_title(node)}")
                for _, after in left:
                    if after is not datagram:
                        self._changed(datagram, after, node)
                out += left
            return out

        return watched

    def _changed(self, before: Datagram, after: Datagram, node: Node) -> None:
        known = self._packets.get(id(before))
        if known is None:
            return
        entry = known[1]
        self._packets[id(after)] = after, entry
        if after.data != before.data:
            entry.fates.append(f"CORRUPTED by {_title(node)}")
        if after.source != before.source:
            entry.fates.append(f"shown as from {_text(after.source)}")
        if after.destination != before.destination:
            entry.fates.append(f"brought to {self._who(after.destination)}")
        if after.ecn != before.ecn:
            entry.fates.append(f"marked {after.ecn}")

    def _fate(self, datagram: Datagram, text: str) -> None:
        known = self._packets.get(id(datagram))
        if known is not None:
            known[1].fates.append(text)

    def _who(self, address: Address) -> str:
        return self.names.get(address) or self.names.get((address[0], 0)) or _text(address)

    def lines(self) -> list[str]:
        """The whole story, a line for each packet and note."""
        entries = sorted(self._entries, key=lambda entry: entry.time)
        return [f"{e.time:12.6f}  {e.text}" + (f"   [{'; '.join(e.fates)}]" if e.fates else "") for e in entries]

    def __str__(self) -> str:
        lines = self.lines()
        if len(lines) > HEAD + TAIL:
            lines[HEAD:-TAIL] = [f"{'...':>12}  {len(lines) - HEAD - TAIL} lines are left out"]
        return "\n".join(lines)


def _title(node: Node) -> str:
    return type(getattr(node, "node", node)).__name__


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
