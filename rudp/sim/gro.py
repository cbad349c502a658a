"""Trains into datagrams, and datagrams into received buffers, as a kernel with UDP_SEGMENT and UDP_GRO would.

Knows: what the kernel may put into one buffer: neighbours of one flow (addresses and ECN mark), all of one
size but the last, which may be shorter; how many and how much (`MAX_SEGMENTS`, `MAX_PAYLOAD`).
Refuses to know: when packets come, who reads them.

Both functions keep every byte: the concatenation of what goes in is the concatenation of what comes out.
Cost: one slice a packet when splitting; one short loop and one join a buffer when merging.
Sources: Linux net/ipv4/udp_offload.c (what is merged); design of the train.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Final, TypeAlias

from rudp.sim.clock import SimulationError
from rudp.sim.node import Batch, Datagram
from rudp.train import Address, Train

__all__ = ["MAX_PAYLOAD", "MAX_SEGMENTS", "Received", "merge", "split"]

# The largest UDP payload over IPv4, and so of a buffer: 65,535 less IP and UDP header.
MAX_PAYLOAD: Final = 65_507
# The kernel's UDP_MAX_SEGMENTS and UDP_GRO_CNT_MAX.
MAX_SEGMENTS: Final = 64
# Of datagrams up to this size a buffer has room for as many.
SMALL: Final = MAX_PAYLOAD // MAX_SEGMENTS

_new_datagram: Final = partial(tuple.__new__, Datagram)


# One received buffer: datagrams of one size, of which the last may be shorter, and that size; source, destination and
# ECN mark of all of them. A plain tuple, as a named one takes four times as long to make.
Received: TypeAlias = tuple[bytearray, int, Address, Address, int]


def split(train: Train, source: Address, now: float) -> Batch:
    """The datagrams of a train, each with the time `now`; `source` is where it comes from if it doesn't say.

    Raises SimulationError for a train that a kernel would refuse.
    """
    buffers, size, stated, local, remote, ecn = train
    source = local or source
    data = b"".join(buffers)
    total = len(data)
    if total == stated and total <= size <= MAX_PAYLOAD:
        return [(now, _new_datagram((data, source, remote, ecn)))]
    # Datagrams of which no two fit into one call go by one each.
    if total != stated or total > MAX_SEGMENTS * size or (total > MAX_PAYLOAD and not size * 2 > MAX_PAYLOAD >= size):
        raise SimulationError(
            f"no kernel sends this train: {total} bytes in {len(buffers)} buffers, stated size {stated}, "
            f"segment size {size} (at most {MAX_SEGMENTS} segments and {MAX_PAYLOAD} bytes)"
        )
    batch: Batch = []
    for start in range(0, total, size):
        batch.append((now, _new_datagram((data[start : start + size], source, remote, ecn))))
    return batch


def merge(batch: Batch, probability: float, random: Random) -> list[Received]:
    """Received buffers for the datagrams of a batch, in order.

    Where two neighbours may share a buffer they do with `probability`: 0 gives a buffer for each datagram, 1
    the longest buffers possible, anything between draws where to cut. A datagram alone is a buffer: who has but one
    needs no call.
    """
    if probability <= 0.0:
        return [
            (bytearray(data), len(data), source, destination, ecn) for _, (data, source, destination, ecn) in batch
        ]
    return _merge(batch, probability, random)


def _merge(batch: Batch, probability: float, random: Random) -> list[Received]:
    draw = random.random if probability < 1.0 else None
    merged: list[Received] = []
    pieces: list[bytes] = []
    segment_size = room = 0
    flow: tuple[Address, Address, int] | None = None  # addresses and mark of what is being merged
    for _, datagram in batch:
        data = datagram[0]
        size = len(data)
        if room and 0 < size <= segment_size and datagram[1:] == flow and (draw is None or draw() < probability):
            pieces.append(data)
            room = room - 1 if size == segment_size else 0
            continue
        if flow is not None:
            merged.append((bytearray().join(pieces), segment_size, *flow))
        flow = datagram[1:]
        pieces = [data]
        segment_size = size
        room = (MAX_SEGMENTS if size <= SMALL else MAX_PAYLOAD // size) - 1 if size else 0
    assert flow is not None, "a batch is not empty"
    merged.append((bytearray().join(pieces), segment_size, *flow))
    return merged
