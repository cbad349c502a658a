"""How a received buffer falls into runs: packets that are taken together.

Knows: types, connection ids and truncated packet numbers of the packets in a buffer, and that loss leaves gaps.
Refuses to know: which numbers are meant in full, what was received before, what packets carry.

A run is of one type and one connection, and its numbers ascend. It lies in one piece of the buffer, but a lost packet
leaves a gap in its numbers: so it comes with its ranges of numbers, and costs what they are, not what its packets are.

    read_runs     a whole train O(packets) in C, at a third of what `split_runs` takes
    split_runs    O(runs + gaps), and O(packets) in C; O(packets) when types, ids or the order change in the buffer
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import sub
from typing import Final, TypeAlias

from rudp import wire
from rudp.errors import DecodeError
from rudp.wire import DATA_HEADER_SIZE, read_header

__all__ = ["MAX_SPREAD", "Run", "read_runs", "split_runs"]

# Numbers that a run may span: each is to be recovered as the one before it is (RFC 9000 appendix A.3), so they must lie
# close together in comparison with 2^31; and a buffer has no more packets than bytes.
MAX_SPREAD: Final = 1 << 16

# Byte 0 and connection id of a run's packets, from which packet of the buffer on they are and how many, and their
# numbers, truncated, in ranges [first, stop). A plain tuple, as a named one takes five times as long to make.
Run: TypeAlias = tuple[int, int, int, int, tuple[tuple[int, int], ...]]


def read_runs(view: memoryview, segment_size: int) -> tuple[int, Sequence[Run]]:
    """How many packets a received buffer has, and the runs. Raises DecodeError if there is none, or one is shorter than
    a header.
    """
    if DATA_HEADER_SIZE <= len(view) <= segment_size:
        kind, destination_id, first = read_header(view)
        return 1, ((kind, destination_id, 0, 1, ((first, first + 1),)),)
    if segment_size <= 0 or not view:
        raise DecodeError("nothing is no packet")
    if (train := wire.read_train(view, segment_size)) is not None:
        kind, destination_id, first, count = train
        return count, ((kind, destination_id, 0, count, ((first, first + count),)),)
    if (gapped := wire.read_numbers(view, segment_size)) is not None:
        kind, destination_id, numbers = gapped
        if (ranges := _ranges(numbers)) is not None:
            count = len(numbers)
            return count, ((kind, destination_id, 0, count, ranges),)
    types, ids, numbers = wire.read_headers(view, segment_size)
    return len(types), split_runs(types, ids, numbers)


def split_runs(types: tuple[int, ...], ids: tuple[int, ...], numbers: tuple[int, ...]) -> list[Run]:
    """Cut the packets of a buffer into runs. What is not DATA comes one by one."""
    count = len(types)
    first, kind = numbers[0], types[0]
    if kind in wire.DATA_TYPES and types.count(kind) == count and ids.count(ids[0]) == count:
        if numbers[-1] - first == count - 1 and numbers == tuple(range(first, first + count)):
            return [(kind, ids[0], 0, count, ((first, first + count),))]
        if (ranges := _ranges(numbers)) is not None:
            return [(kind, ids[0], 0, count, ranges)]
    runs: list[Run] = []
    start = 0
    for index in range(1, count + 1):
        if (
            index < count
            and types[index] == types[start]
            and ids[index] == ids[start]
            and numbers[index] == numbers[index - 1] + 1
            and types[index] in wire.DATA_TYPES
        ):
            continue
        ranges = ((numbers[start], numbers[start] + index - start),)
        runs.append((types[start], ids[start], start, index - start, ranges))
        start = index
    return runs


def _ranges(numbers: tuple[int, ...]) -> tuple[tuple[int, int], ...] | None:
    """Ascending numbers as ranges; None when they don't ascend, or lie far apart."""
    steps = list(map(sub, numbers[1:], numbers))
    if numbers[-1] - numbers[0] >= MAX_SPREAD or min(steps) < 1:
        return None
    gaps = [at for at, step in enumerate(steps) if step != 1]
    starts = [numbers[0], *[numbers[at + 1] for at in gaps]]
    stops = [*[numbers[at] + 1 for at in gaps], numbers[-1] + 1]
    return tuple(zip(starts, stops, strict=True))
