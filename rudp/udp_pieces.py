"""A train that goes in several calls: what each takes, what is left, how often it failed.

Knows: where calls begin and end, and that datagrams which lie in buffers of their own need not be joined first.
Refuses to know: sockets, and what a failure means.

    left    O(1) a call in Python; where datagrams don't lie apart, all bytes are joined once

A packetizer hands out a header, a payload and a trailer for each packet. So datagrams of which no two fit into one
call, and all of a machine without offload, cost a slice of a list each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from rudp.train import Address, Buffer, Train

__all__ = ["FEW_BUFFERS", "Pieces"]

# More buffers than that are joined: handing one to the kernel takes some 80 ns, copying a packet's 25. So there are
# never more than IOV_MAX either, 1,024 on every system seen.
FEW_BUFFERS: Final = 8


class Pieces:
    """What is left of `train` from byte `offset` on, in calls of `step` bytes, and what has been given up for it."""

    __slots__ = ("_data", "ecn", "local", "offset", "queue_full", "repeats", "reported", "step", "train")

    def __init__(self, train: Train, step: int, local: Address | None) -> None:
        self.train = train
        self.offset = 0
        self.step = step
        self.local = local
        self.ecn = train.ecn
        self.repeats = 0
        self.queue_full = 0
        self.reported = False
        self._data: memoryview | None = None

    def left(self) -> Iterator[tuple[int, Sequence[Buffer]]]:
        """For each call that is to be made still: the size of the datagrams it sends, 0 of a single one, and buffers.

        `offset` and `step` are those at the first one asked for.
        """
        buffers, segment_size, size = self.train[:3]
        offset, step = self.offset, self.step
        if step == segment_size and (each := self._buffers_each()):
            for at in range(offset // step * each, len(buffers), each):
                yield 0, buffers[at : at + each]
            return
        if self._data is None:
            self._data = memoryview(b"".join(buffers))
        for at in range(offset, size, step):
            yield (segment_size if step > segment_size < size - at else 0), (self._data[at : at + step],)

    def _buffers_each(self) -> int:
        """How many buffers each datagram has for itself; 0 if they don't lie apart like that."""
        buffers, segment_size, size = self.train[:3]
        count = -(-size // segment_size)
        each, odd = divmod(len(buffers), count)
        if odd or not 0 < each <= FEW_BUFFERS:
            return 0
        ends = [*accumulate(map(len, buffers))][each - 1 :: each]
        return each if ends == [*range(segment_size, size, segment_size), size] else 0
