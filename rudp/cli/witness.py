"""What the relay saw of a connection's opening and closing, told packet by packet.

Knows: which packets belong to the three-way handshake and to the four-way close. Refuses to know: the
layout, which is `wire`'s, and everything between the two. It reads frames, so it serves plain connections
only.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from rudp import wire
from rudp.cli.relay import TO_CLIENT, TO_SERVER
from rudp.errors import DecodeError

__all__ = ["Sighting", "Witness"]

LONGEST_STORY = 200
REPEATED = 255  # docs/WIRE.md: the try counter of a SYN_ACK that answers no single SYN


class Sighting(NamedTuple):
    """One packet: when (event loop seconds), where to, what, and what befell it ("" when it came through)."""

    time: float
    direction: str
    what: str
    detail: str
    fate: str


class Witness:
    """A relay's watcher. `overhead` is the size of the packets' trailer."""

    def __init__(self, overhead: int) -> None:
        self._overhead = overhead
        self._data_seen = {TO_SERVER: False, TO_CLIENT: False}
        self._closing = False
        self._fin_numbers: dict[str, list[int]] = {TO_SERVER: [], TO_CLIENT: []}
        self._fin_acknowledged = {TO_SERVER: False, TO_CLIENT: False}
        self.opened = asyncio.Event()  # the client's first DATA came through: the handshake is complete
        self.closed = asyncio.Event()  # the acknowledgements of both FINs came through
        self.opening: list[Sighting] = []
        self.closing: list[Sighting] = []

    def watch_closing(self) -> None:
        """The connection is about to be closed: read frames from now on."""
        self._closing = True

    def __call__(self, time: float, direction: str, data: bytes, fate: str) -> None:
        view = memoryview(data)
        try:
            if data[0] in wire.DATA_TYPES:
                self._see_data(time, direction, view, fate)
            else:
                self._see_opening(time, direction, view, fate)
        except (DecodeError, IndexError):
            self.opening.append(Sighting(time, direction, "?", f"{len(data)} bytes, not of rudp", fate))

    def _see_opening(self, time: float, direction: str, view: memoryview, fate: str) -> None:
        packet = wire.decode_opening(view)
        detail = f"{len(view)} bytes"
        if isinstance(packet, wire.Syn | wire.SynAck):
            detail += ", again" if packet.try_counter == REPEATED else f", try {packet.try_counter + 1}"
        name = {"SynAck": "SYN_ACK"}.get(type(packet).__name__, type(packet).__name__.upper())
        story = self.closing if self._closing else self.opening
        self._tell(story, Sighting(time, direction, name, detail, fate))

    def _see_data(self, time: float, direction: str, view: memoryview, fate: str) -> None:
        number = wire.read_headers(view, len(view))[2][0]
        if not self._data_seen[direction]:
            self._data_seen[direction] = not fate
            if self._data_seen[TO_SERVER]:
                self.opened.set()
            detail = f"{len(view)} bytes, packet number {number}"
            self._tell(self.opening, Sighting(time, direction, "DATA", detail, fate))
        if self._closing and not wire.DATA_TYPES[view[0]].canonical:
            self._see_closing(time, direction, view, number, fate)

    def _see_closing(self, time: float, direction: str, view: memoryview, number: int, fate: str) -> None:
        other = TO_CLIENT if direction == TO_SERVER else TO_SERVER
        seen = []
        for frame in wire.decode_frames(view[wire.DATA_HEADER_SIZE : len(view) - self._overhead]):
            if isinstance(frame, wire.Fin):
                self._fin_numbers[direction].append(number)
                seen.append("FIN")
            elif isinstance(frame, wire.Close):
                seen.append("CLOSE")
            elif isinstance(frame, wire.Ack) and not self._fin_acknowledged[other]:
                fins = self._fin_numbers[other]
                if any(start <= fin < stop for fin in fins for start, stop in frame.ranges):
                    self._fin_acknowledged[other] = not fate
                    seen.append("ACK")
        if all(self._fin_acknowledged.values()):
            self.closed.set()
        if seen:
            detail = f"{len(view)} bytes, packet number {number}"
            self._tell(self.closing, Sighting(time, direction, " + ".join(seen), detail, fate))

    @staticmethod
    def _tell(story: list[Sighting], sighting: Sighting) -> None:
        if len(story) < LONGEST_STORY:
            story.append(sighting)
