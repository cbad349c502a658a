"""What is handed on to another worker comes out as it went in, whatever was merged on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rudp.aio.forwarding import Forwarding, open_mailbox
from rudp.steering import Stray
from rudp.udp import LARGE_MERGED_SIZE

REMOTE, LOCAL = ("192.0.2.1", 4433), ("192.0.2.2", 4433)


@pytest.fixture
def workers() -> Iterator[list[Forwarding]]:
    mailboxes = [open_mailbox() for _ in range(3)]
    outboxes = [outbox for _, outbox in mailboxes]
    found = [Forwarding(index, inbox, outboxes) for index, (inbox, _) in enumerate(mailboxes)]
    yield found
    for worker in found:
        worker.close()


def taken(worker: Forwarding) -> list[tuple[bytes, tuple[object, ...]]]:
    """All datagrams that wait, each with what was said of it."""
    found: list[tuple[bytes, tuple[object, ...]]] = []
    while (received := worker.receive()) is not None:
        data, segment_size, *others = received
        found += [(bytes(data[at : at + segment_size]), tuple(others)) for at in range(0, len(data), segment_size)]
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(segment_size=st.integers(20, 65_507), share=st.floats(0.0, 1.0), to_all=st.booleans())
def test_datagrams_arrive_whole_and_in_order(
    workers: list[Forwarding], segment_size: int, share: float, to_all: bool
) -> None:
    size = 1 + int(share * (LARGE_MERGED_SIZE - 1))
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    workers[0].send(Stray(None if to_all else 2, data, segment_size, REMOTE, LOCAL, 1))
    sent = [(data[at : at + segment_size], (REMOTE, LOCAL, 1)) for at in range(0, size, segment_size)]
    assert taken(workers[2]) == sent
    assert taken(workers[1]) == (sent if to_all else [])
    assert taken(workers[0]) == []


def test_what_finds_no_room_is_counted(workers: list[Forwarding]) -> None:
    for _ in range(1000):
        workers[0].send(Stray(1, bytes(LARGE_MERGED_SIZE), 65_507, REMOTE, None, 0))
        if workers[0].counters.dropped:
            break
    counters = workers[0].counters
    assert counters.dropped
    assert sum(len(data) for data, _ in taken(workers[1])) > 0
    assert workers[1].counters.received == counters.handed_on
