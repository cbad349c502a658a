"""How a buffer falls into runs: by type, connection and order; gaps of lost packets don't count."""

from __future__ import annotations

from itertools import chain, pairwise, starmap
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp import wire
from rudp.errors import DecodeError
from rudp.runs import MAX_SPREAD, Run, read_runs, split_runs

PACKETS = st.lists(
    st.tuples(
        st.sampled_from([0x50, 0x54, 0x60, 0x61, 0x70, 0x99]), st.integers(0, 2), st.integers(2**32 - 3, 2**32 + 3)
    ),
    min_size=1,
    max_size=30,
)


def numbers_of(run: Run) -> list[int]:
    *_, ranges = run
    return list(chain.from_iterable(starmap(range, ranges)))


@given(PACKETS)
def test_runs_cover_the_buffer_and_are_of_one_kind(packets: list[tuple[int, int, int]]) -> None:
    types, ids, numbers = zip(*[(kind, who, number % 2**32) for kind, who, number in packets], strict=True)
    at = 0
    for run in split_runs(types, ids, numbers):
        kind, who, start, size, ranges = run
        stop = start + size
        assert start == at
        assert size == 1 or types[at] in wire.DATA_TYPES
        assert set(types[at:stop]) == {kind}
        assert set(ids[at:stop]) == {who}
        assert numbers_of(run) == list(numbers[at:stop])
        assert all(a[1] < b[0] for a, b in pairwise(ranges))
        at = stop
    assert at == len(packets)


@given(st.integers(0, 2**32 - 200), st.sets(st.integers(0, 99), min_size=1))
def test_what_loss_leaves_of_a_train_is_one_run(first: int, kept: set[int]) -> None:
    numbers = tuple(first + index for index in sorted(kept))
    count = len(numbers)
    (run,) = split_runs((wire.DATA_CANONICAL,) * count, (7,) * count, numbers)
    assert run[:4] == (wire.DATA_CANONICAL, 7, 0, count)
    assert numbers_of(run) == list(numbers)


def test_out_of_order_packets_are_runs_of_their_own() -> None:
    runs = split_runs((wire.DATA,) * 5, (7,) * 5, (10, 11, 9, 13, 12))
    assert [ranges for *_, ranges in runs] == [((10, 12),), ((9, 10),), ((13, 14),), ((12, 13),)]


def test_numbers_far_apart_are_not_of_one_run() -> None:
    far = MAX_SPREAD + Random(1).randrange(1000)
    assert len(split_runs((wire.DATA,) * 2, (7,) * 2, (5, 5 + far))) == 2
    assert len(split_runs((wire.DATA,) * 2, (7,) * 2, (5, 4 + MAX_SPREAD))) == 1


@given(
    first=st.integers(0, 2**32 - 300) | st.integers(2**32 - 100, 2**32 - 1),
    count=st.integers(1, 150),
    size=st.integers(11, 40),
    rest=st.integers(0, 39),
    changes=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 13), st.integers(1, 255)), max_size=3),
    gaps=st.lists(st.integers(0, 150), max_size=5),
)
def test_a_whole_train_is_read_as_any_other_buffer(
    *, first: int, count: int, size: int, rest: int, changes: list[tuple[int, int, int]], gaps: list[int]
) -> None:
    numbers = [first + index + sum(gap <= index for gap in gaps) for index in range(count + 1)]
    headers = [wire.data_header(wire.DATA_CANONICAL, 7, number) for number in numbers]
    data = bytearray(b"".join(header.ljust(size, b"x")[:size] for header in headers[:-1]))
    data += headers[-1].ljust(size, b"x")[: rest % size]
    for packet, place, change in changes:
        data[(packet * size + place) % len(data)] ^= change
    view = memoryview(data)
    try:
        columns = wire.read_headers(view, size)
    except DecodeError:
        columns = None
    if columns is None:
        with pytest.raises(DecodeError):
            read_runs(view, size)
        return
    packets, runs = read_runs(view, size)
    assert packets == len(columns[0])
    assert list(runs) == split_runs(*columns)
    assert [run[:2] for run in runs] == [(columns[0][run[2]], columns[1][run[2]]) for run in runs]
