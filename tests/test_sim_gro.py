"""Cutting trains and merging arrivals: never a byte changed, never a buffer that a kernel would not make."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.sim import Datagram, Network, SimulationError
from rudp.sim.gro import MAX_PAYLOAD, MAX_SEGMENTS, Received, merge, split
from rudp.train import Train
from tests.sim_fakes import A, B, C

datagrams = st.builds(
    Datagram,
    st.one_of(st.binary(max_size=8), st.sampled_from([bytes(1_200), bytes(9_000), b"abc"])),
    st.sampled_from([A, C]),
    st.just(B),
    st.integers(0, 3) | st.just(0),
)


def pieces(buffer: Received) -> list[Datagram]:
    data, segment_size, source, destination, ecn = buffer
    size = max(segment_size, 1)
    starts = range(0, len(data), size) if data else [0]
    return [Datagram(bytes(data[i : i + size]), source, destination, ecn) for i in starts]


@given(
    st.lists(datagrams, min_size=1, max_size=150), st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.integers(0, 99)
)
def test_merging_keeps_every_datagram_in_order(sent: list[Datagram], probability: float, seed: int) -> None:
    received = list(merge([(0.0, datagram) for datagram in sent], probability, Network(seed).random("merge")))
    assert [piece for buffer in received for piece in pieces(buffer)] == sent
    for buffer in received:
        assert len(buffer[0]) <= MAX_PAYLOAD
        assert len(pieces(buffer)) <= MAX_SEGMENTS
        assert len(pieces(buffer)) == 1 or probability > 0.0
    if probability == 1.0:
        assert not any(could_merge(*pair) for pair in pairwise(received))


def could_merge(one: Received, other: Received) -> bool:
    """Whether a buffer could have taken the first datagram of the next one too."""
    last, first = pieces(one)[-1], pieces(other)[0]
    return (
        one[2:] == other[2:]
        and len(last.data) == one[1] >= len(first.data) > 0
        and (len(pieces(one)) + 1) * one[1] <= MAX_PAYLOAD
        and len(pieces(one)) < MAX_SEGMENTS
    )


def test_whole_and_no_and_some_merging() -> None:
    batch = [(0.0, Datagram(bytes([i]) * 10, A, B, 0)) for i in range(50)]
    random = Network(1).random("merge")
    assert [len(data) for data, *_ in merge(batch, 1.0, random)] == [500]
    assert [len(data) for data, *_ in merge(batch, 0.0, random)] == [10] * 50
    assert len({len(list(merge(batch, 0.5, random))) for _ in range(20)}) > 5


@given(
    st.lists(st.binary(min_size=1, max_size=3_000), min_size=1, max_size=8),
    st.integers(500, 2_000),
    st.integers(0, 3),
)
def test_a_train_is_cut_at_its_segment_size(buffers: list[bytes], size: int, ecn: int) -> None:
    whole = b"".join(buffers)
    batch = split(Train(buffers, size, len(whole), None, B, ecn), A, 1.5)
    assert b"".join(datagram.data for _, datagram in batch) == whole
    assert all(len(datagram.data) == size for _, datagram in batch[:-1])
    assert 1 <= len(batch[-1][1].data) <= size
    assert {(time, *datagram[1:]) for time, datagram in batch} == {(1.5, A, B, ecn)}
    assert all(type(datagram) is Datagram for _, datagram in batch)
    # What is cut can come back whole.
    (received,) = merge(batch, 1.0, Network(1).random("merge"))
    assert received == (bytearray(whole), min(size, len(whole)), A, B, ecn)


def test_an_empty_datagram_is_one_too() -> None:
    batch = split(Train([], 0, 0, None, B, 0), A, 1.0)
    assert batch == [(1.0, Datagram(b"", A, B, 0))]
    assert list(merge(batch * 2, 1.0, Network(1).random("merge"))) == [(bytearray(), 0, A, B, 0)] * 2


@pytest.mark.parametrize("size", [32_754, 65_507])
def test_datagrams_of_which_no_two_fit_into_one_call_go_by_one_each(size: int) -> None:
    data = bytes(3 * size + 1)
    batch = split(Train([data], size, len(data), None, B, 0), A, 1.0)
    assert [len(datagram.data) for _, datagram in batch] == [size, size, size, 1]


@pytest.mark.parametrize(
    "train",
    [
        Train([b"abc"], 0, 3, None, B, 0),
        Train([b"abc"], 3, 4, None, B, 0),
        Train([bytes(65)], 1, 65, None, B, 0),
        Train([bytes(65_508)], 1_400, 65_508, None, B, 0),
        Train([bytes(65_508)], 32_753, 65_508, None, B, 0),
        Train([bytes(65_508)], 65_508, 65_508, None, B, 0),
    ],
)
def test_a_train_no_kernel_would_send_is_refused(train: Train) -> None:
    with pytest.raises(SimulationError, match="no kernel sends this train"):
        split(train, A, 0.0)
