"""Turns what is due (ACK, control frames, stream data) into trains.

Knows: how a train is filled: control frames open its first packet, stream data fills that to the brim and the
rest of the train; how much one train may hold. Refuses to know: why anything is due, how much may be sent (an
argument), timers, what becomes of the packets (it returns the records that `sent_packets` keeps).

    fill(...)   O(packets) in C, in Python O(trains) for cutting them and O(ranges of the stream) for all else
    single(...) one packet of given frames, for paths
    sealed(...) the same for closing
    probe(...)  one packet of a given size that says nothing, for path MTU discovery

A train carries one stream, and of that as many ranges as fit: scattered losses are mended by one train, not
by one each. Small writes of several streams share a non-canonical packet.

Several trains are made at once where there is enough to send, and a stream that alone has something gets one record
for all their packets: to decide, number and seal costs as much for one train as for eight. They are what one call each
would have made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeAlias

from rudp import wire
from rudp.control import ControlQueue
from rudp.protection import Protection
from rudp.stream import Stream
from rudp.train import Buffer
from rudp.turns import Turns
from rudp.wire import Ack, Frame, canonical_headers

__all__ = ["Packetizer", "StreamRange"]

# UDP_MAX_SEGMENTS of Linux, and the largest UDP payload over IPv4 (65,535 - 20 - 8).
MAX_SEGMENTS: Final = 64
MAX_TRAIN_SIZE: Final = 65507
# Trains made at once: what else each costs is a tenth by then, and half a megabyte stays in the processor's cache.
MAX_TRAINS: Final = 8
# Packets made at once of which no two fit into one call: what the asyncio front end holds for a stream (2 MiB and a
# large write) goes by one decision.
LARGE_PACKETS: Final = 64
# Bytes of PATH_CHALLENGE and PATH_RESPONSE, the smallest of which is sent to an unvalidated address.
PATH_FRAME_SIZE: Final = len(wire.encode_frame(wire.PathChallenge(bytes(8))))

_DATA: Final = wire.data_type(canonical=False)


class StreamRange(NamedTuple):
    """Stream content of a packet that carries other frames too."""

    stream_id: int
    start: int
    stop: int
    fin: bool

    def ranges(self) -> list[tuple[int, int, bool]]:
        """As a train's (`SentTrain.ranges`): one."""
        return [(self.start, self.stop, self.fin)]


# The constructor of a named tuple is a Python function, which takes twice as long.
_new_range: Final = partial(tuple.__new__, StreamRange)

# (trains, number, size, fields): one train or several, sealed, and the fields of the records of what they carry, in
# order: those are made when what they tell of is on its way. `trains` are their buffers; each has as many packets of
# full size as fit into one, but the last, which may have fewer and end in a shorter packet. Packets of which no two fit
# into one call are one train, however many. `number` packets and `size` bytes are those of all together. A plain tuple,
# as a named one takes four times as long to make, and this is for each train.
Packets: TypeAlias = tuple[list[list[Buffer]], int, int, list[tuple[Any, ...]]]
# Canonical packets, numbered: their headers and payloads, the fields of their records, how many they are, and their
# bytes.
_Runs: TypeAlias = tuple[list[bytes], list[Buffer], list[tuple[Any, ...]], int, int]


def _no_runs() -> _Runs:
    return [], [], [], 0, 0


@lru_cache(maxsize=64)
def _room(datagram_size: int, overhead: int) -> tuple[int, int]:
    """Bytes of payload of a full packet with frames, and of a canonical one; numbers that connections share."""
    return datagram_size - wire.DATA_HEADER_SIZE - overhead, datagram_size - wire.CANONICAL_HEADER_SIZE - overhead


class _Head:
    """The first packet while frames are put into it: it is made for the first of them."""

    __slots__ = ("ack_eliciting", "content", "parts", "room")

    def __init__(self, room: int) -> None:
        self.parts: list[Buffer] = []
        self.content: list[Frame | StreamRange] = []
        self.ack_eliciting = False
        self.room = room

    def add(self, frame: Frame, encoded: bytes) -> None:
        self.parts.append(encoded)
        self.content.append(frame)
        self.room -= len(encoded)
        if not isinstance(frame, Ack):
            self.ack_eliciting = True


class Packetizer:
    """Builds the trains of one connection."""

    # fmt: off
    __slots__ = (
        "_control", "_payload_size", "_room", "_turns", "datagram_size", "destination_id", "next_packet_number",
        "packets_per_train", "packets_retransmitted", "protection",
    )
    # fmt: on

    datagram_size: int
    """Bytes of a full packet."""
    packets_per_train: int
    """Full packets that a train holds at most; 1 of those of which no two fit into one call."""

    def __init__(
        self, destination_id: int, protection: Protection, datagram_size: int, turns: Turns, control: ControlQueue
    ) -> None:
        self._turns, self._control = turns, control
        self.destination_id = destination_id
        self.protection = protection
        self.resize(datagram_size)
        self.next_packet_number = 0
        # Packets that carried stream data which had been sent before.
        self.packets_retransmitted = 0

    def resize(self, datagram_size: int) -> None:
        """Full packets have `datagram_size` bytes from now on."""
        self.datagram_size = datagram_size
        self.packets_per_train = min(MAX_TRAIN_SIZE // datagram_size, MAX_SEGMENTS)
        self._room, self._payload_size = _room(datagram_size, self.protection.overhead)

    @property
    def smallest(self) -> int:
        """Bytes of a packet with a path frame and nothing else."""
        size: int = wire.DATA_HEADER_SIZE + PATH_FRAME_SIZE + self.protection.overhead
        return size

    def single(self, frames: list[Frame], now: float, *, in_flight: bool = False) -> Packets:
        """One packet of these frames; unless `in_flight`, nobody waits for its acknowledgement."""
        head = _Head(self._room)
        for frame in frames:
            head.add(frame, wire.encode_frame(frame))
        assert head.room >= 0, "frames do not fit into one packet"
        head.ack_eliciting = head.ack_eliciting and in_flight
        return self._finish(head, _no_runs(), now)

    def sealed(self, frames: bytes) -> bytes:
        """One packet of these frames as a datagram that nobody keeps a record of: what is said last."""
        number = self.next_packet_number
        self.next_packet_number += 1
        assert len(frames) <= self._room, "frames do not fit into one packet"
        return b"".join(self.protection.seal(number, [wire.data_header(_DATA, self.destination_id, number)], [frames]))

    def probe(self, size: int, now: float) -> Packets:
        """A PING padded to `size` bytes: what tells whether the path carries that much (RFC 8899 section 4.1)."""
        head = _Head(size - wire.DATA_HEADER_SIZE - self.protection.overhead)
        head.add(wire.Ping(), wire.encode_frame(wire.Ping()))
        head.parts.append(bytes(head.room))
        packets = self._finish(head, _no_runs(), now)
        fields = packets[3]
        fields[0] = (*fields[0], 0, True)  # the next are the ECN mark and `mtu_probe`
        return packets

    def fill(
        self, now: float, ack: Ack | None, urgent: Sequence[Frame], allowance: int, skip_at: int | None = None
    ) -> Packets | None:
        """The next trains, of at most `allowance` bytes; `ack` and `urgent` frames go whatever the allowance is.

        None when there is nothing to send or nothing may be sent. A train that begins at packet number `skip_at` or
        beyond is left to the next call.
        """
        turns = self._turns
        packets = allowance // self.datagram_size or int(self.small_fits(allowance))
        head = None
        if ack is not None or urgent or self._control.pending:
            head = self._head_of(ack, urgent, more=packets > 0)
        if not packets:
            return self._finish(head, _no_runs(), now) if head is not None else None
        most = self.packets_per_train
        if packets > most:
            packets = self._whole_trains(packets, most, skip_at)
        ready, number = turns.ready, self.next_packet_number
        goes_on = ready is not None
        if ready and (head is not None or (len(ready) > 1 and self._is_shared(ready[0]))):
            head = head or _Head(self._room)
            before = turns.retransmitted
            goes_on = self._fill_head(head) is not None
            self.packets_retransmitted += turns.retransmitted != before
            packets -= 1
            if not head.parts:
                head = None
        if head is not None:
            number += 1
        runs = self._take_runs(packets, number, now) if goes_on else _no_runs()
        if head is None:
            if not runs[3]:
                return None
        elif runs[3] and head.room:
            head.parts.append(bytes(head.room))
        return self._finish(head, runs, now)

    def _head_of(self, ack: Ack | None, urgent: Sequence[Frame], *, more: bool) -> _Head | None:
        """A packet that begins with these frames, and with those that wait if `more` may go; None without one."""
        head = _Head(self._room)
        if ack is not None:
            head.add(ack, wire.encode_ack(ack, head.room))
        for frame in urgent:
            head.add(frame, wire.encode_frame(frame))
        if more and self._control.pending:
            for frame, encoded in self._control.take(head.room, wire.MAX_FRAMES - len(head.content)):
                head.add(frame, encoded)
        return head if head.parts else None

    def _whole_trains(self, packets: int, most: int, skip_at: int | None) -> int:
        """How many of `packets` go now: one train where more frames wait, else several whole ones."""
        if not self._turns.ready or self._control.pending:
            return most
        trains = packets // most
        if skip_at is not None and (before_skip := -((self.next_packet_number - skip_at) // most)) < trains:
            trains = before_skip
        bound = MAX_TRAINS if most > 1 else LARGE_PACKETS
        return most * (trains if trains < bound else bound)

    def small_fits(self, allowance: int) -> bool:
        """Whether the last bytes of a window, too few for a whole packet, hold all that waits."""
        turns, control = self._turns, self._control
        stream = turns.next_ready()
        if stream is None or control or turns.ready_count > 1:
            return bool(control) and stream is None and allowance * 2 > self.datagram_size
        send, window = stream.send, stream.send_window
        assert send is not None
        assert window is not None
        # One that was given up, or must wait for credit, goes out of the line, and whoever comes then may have more.
        size = self.datagram_size - self._room + wire.STREAM_HEADER_SIZE * max(1, send.pieces) + send.pending
        return size <= allowance and send.can_send(window.limit)

    def _is_shared(self, stream: Stream) -> bool:
        """Whether the data of the stream whose turn it is, while others wait, is small: one packet carries several."""
        assert stream.send is not None
        least: int = self._room - wire.STREAM_HEADER_SIZE
        return stream.send.pending < least

    def _fill_head(self, head: _Head) -> Stream | None:
        """Fill the first packet with stream data; the stream that filled it to the brim, if it can go on."""
        turns, header = self._turns, wire.STREAM_HEADER_SIZE
        while head.room > header and len(head.content) < wire.MAX_FRAMES:
            stream = turns.next_ready()
            if stream is None:
                return None
            taken = turns.take(stream, head.room - header)
            if taken is None:
                continue
            offset, length, fin = taken
            assert stream.send is not None
            head.parts.append(wire.stream_frame_header(stream.id, offset, length, fin))
            if length:
                head.parts += stream.send.slices(offset, length, length)
            head.content.append(_new_range((stream.id, offset, offset + length, fin)))
            head.ack_eliciting = True
            head.room -= header + length
            if (
                head.room > header
                or stream.send.pending < self._room - wire.CANONICAL_HEADER_SIZE
            ):
                turns.end_turn(stream)
            else:
                return stream
        return None

    def _take_runs(self, packets: int, number: int, now: float) -> _Runs:
        """Up to `packets` canonical packets, numbered from `number` on, of streams by turns: of each one run of all
        that is lost here and there, and one for each further range.

        Lost ranges come first, each a few packets long, then new data. Only the last packet of a train may be shorter
        than the others, so a range that ends in one ends the train. Further streams follow if each fills a train.
        """
        headers: list[bytes] = []
        payloads: list[Buffer] = []
        records: list[tuple[Any, ...]] = []
        turns, most, full, stride = self._turns, self.packets_per_train, self.datagram_size, self._payload_size
        first, last_size, to = number, full, self.destination_id
        while packets > 0 and (ready := turns.ready):
            stream = ready[0]
            # Trains go to one stream each where several wait; the first may have a packet of frames before it.
            share = left = packets if len(ready) == 1 else (packets - 1) % most + 1
            send = stream.send
            assert send is not None
            if records and send.pending < share * stride:
                break
            if send.lost and (offsets := turns.take_scattered(stream, stride, left)):
                headers += wire.scattered_headers(to, number, stream.id, offsets)
                payloads += send.payloads(offsets, stride)
                records.append(self._scattered(stream, offsets, number, now))
                number += len(offsets)
                left -= len(offsets)
            # A stream that has nothing, as it was reset since it was given its turn, leaves the line by being asked.
            retransmitted = turns.retransmitted
            while left > 0 and (taken := turns.take(stream, left * stride)) is not None:
                offset, length, fin = taken
                run = send.slices(offset, length, stride)
                count, last_size = len(run), len(run[-1]) + full - stride
                if turns.retransmitted != retransmitted:
                    retransmitted = turns.retransmitted
                    self.packets_retransmitted += count
                headers += canonical_headers(to, number, count, stream.id, offset, stride, fin)
                payloads += run
                packet, size = full if count > 1 else last_size, full * count + last_size - full
                records.append(
                    (number, count, now, packet, size, True, True, stream.id, offset, stride, offset + length, fin)
                )
                number += count
                left -= count
                if last_size < full:
                    break
            if stream.queued:
                turns.end_turn(stream)
            # Behind a short packet nothing follows, were it the last of a whole train: those before the last are full.
            if records and (left or last_size < full):
                break
            packets -= share - left
        count = number - first
        return headers, payloads, records, count, full * count + last_size - full

    def _scattered(self, stream: Stream, offsets: list[int], number: int, now: float) -> tuple[Any, ...]:
        """The record of canonical packets from `offsets` of a stream: lost ranges, of which there are several.

        One for each would cost as much as all else that a lost packet does.
        """
        size, full, count = self._payload_size, self.datagram_size, len(offsets)
        self.packets_retransmitted += count
        first, stop = offsets[0], offsets[-1] + size
        apart = () if stop - first == count * size else tuple(offsets)
        return number, count, now, full, full * count, True, True, stream.id, first, size, stop, False, apart

    def _finish(self, head: _Head | None, runs: _Runs, now: float) -> Packets:
        """Number the first packet, if it has frames, and seal all."""
        headers, payloads, records, count, size = runs
        first = self.next_packet_number
        if head is not None:
            headers.insert(0, wire.data_header(_DATA, self.destination_id, first))
            payload = b"".join(head.parts)
            payloads.insert(0, payload)
            own, asks = wire.DATA_HEADER_SIZE + len(payload) + self.protection.overhead, head.ack_eliciting
            records.insert(0, (first, 1, now, own, own, asks, asks, -1, 0, 0, 0, False, (), tuple(head.content)))
            size += own
            count += 1
        self.next_packet_number = first + count
        buffers = self.protection.seal(first, headers, payloads)
        most = self.packets_per_train
        if most == 1 or count <= most:
            return [buffers], count, size, records
        step = most * (len(buffers) // count)
        trains = [buffers[i : i + step] for i in range(0, len(buffers), step)]
        return trains, count, size, records
