"""Laws of what is left of closed connections."""

from rudp.lingering import KEPT_SECONDS, LONGEST_INTERVAL, MAX_LINGERING, Linger, Lingering
from rudp.probe_timeout import MAX_PROBE_TIMEOUT


def test_without_a_reply_an_id_is_kept_for_three_probe_timeouts() -> None:
    lingering = Lingering()
    lingering.add(1, Linger(0.1, None), 10.0)
    assert lingering.needed
    assert lingering.next_timeout() == 10.0 + 3 * 0.1
    assert lingering.reply(1, 10.1) is None
    lingering.expire(10.29)
    assert 1 in lingering
    lingering.expire(10.31)
    assert 1 not in lingering
    assert not lingering.needed
    assert lingering.next_timeout() is None


def test_a_reply_is_kept_for_as_long_as_a_peer_may_retransmit_but_no_socket_waits_for_it() -> None:
    lingering = Lingering()
    lingering.add(1, Linger(0.1, b"done"), 10.0)
    lingering.expire(10.31)
    assert not lingering.needed
    assert lingering.reply(1, 10.0 + KEPT_SECONDS - 0.1) == b"done"
    assert lingering.next_timeout() == 10.0 + KEPT_SECONDS
    lingering.expire(10.0 + KEPT_SECONDS)
    assert len(lingering) == 0
    assert lingering.next_timeout() is None


def test_however_many_there_are_nobody_is_woken_for_one() -> None:
    """What has been kept long enough goes when the next one comes; the last have one wake-up, or two."""
    lingering = Lingering()
    for number in range(1_000):
        lingering.add(number, Linger(0.1, b"done" if number % 2 else None), number * 0.1)
        assert lingering.needed
        assert lingering.next_timeout() == number * 0.1 + 3 * 0.1
        assert len(lingering) <= KEPT_SECONDS / 0.1 / 2 + 3
    lingering.expire(99.9 + 0.31)
    assert not lingering.needed
    assert lingering.next_timeout() == 99.9 + KEPT_SECONDS
    assert 999 in lingering
    lingering.expire(99.9 + KEPT_SECONDS)
    assert len(lingering) == 0
    assert lingering.next_timeout() is None


def test_silent_ones_are_bounded_as_those_with_a_reply_are() -> None:
    lingering = Lingering()
    lingering.add(-1, Linger(10.0, b"done"), 0.0)
    for number in range(MAX_LINGERING + 10):
        lingering.add(number, Linger(10.0, None), 0.0)
    assert len(lingering) == MAX_LINGERING
    assert -1 in lingering
    assert 10 not in lingering
    assert 11 in lingering


def test_a_peer_that_backs_off_gets_an_answer_to_every_probe() -> None:
    lingering = Lingering()
    lingering.add(1, Linger(0.1, b"done"), 0.0)
    at, gap = 0.05, 0.2
    while at < KEPT_SECONDS:
        assert lingering.reply(1, at) == b"done"
        assert lingering.reply(1, at) == b"done"
        at, gap = at + gap, min(gap * 2, MAX_PROBE_TIMEOUT)


def test_two_memories_that_answer_each_other_stop_when_one_is_asked_too_early() -> None:
    ends = (Lingering(), Lingering())
    for end in ends:
        end.add(1, Linger(0.1, b"done"), 0.0)
    replies = 0
    while ends[replies % 2].reply(1, replies * 0.15):
        replies += 1
    assert 2 <= replies <= 12


def test_a_flood_is_answered_by_pairs_now_and_then() -> None:
    lingering = Lingering()
    lingering.add(1, Linger(0.1, b"done"), 0.0)
    replies = sum(lingering.reply(1, i * 0.01) is not None for i in range(int(KEPT_SECONDS / 0.01)))
    assert replies < 2 * (KEPT_SECONDS / LONGEST_INTERVAL + 6)


def test_an_end_with_a_long_round_trip_is_kept_three_probe_timeouts_at_least() -> None:
    lingering = Lingering()
    lingering.add(1, Linger(KEPT_SECONDS / 3, b"done"), 0.0)
    lingering.expire(KEPT_SECONDS - 1)
    assert 1 in lingering
    assert lingering.needed


def test_no_end_is_kept_for_longer_than_a_minute_whatever_its_peer_says_of_round_trips() -> None:
    lingering = Lingering()
    lingering.add(1, Linger(200.0, b"done"), 0.0)
    lingering.add(2, Linger(200.0, None), 0.0)
    lingering.expire(KEPT_SECONDS)
    assert not lingering.needed
    assert len(lingering) == 0


def test_the_number_kept_is_bounded_and_the_oldest_give_way() -> None:
    lingering = Lingering()
    for connection_id in range(MAX_LINGERING + 10):
        lingering.add(connection_id, Linger(0.1, b"done"), connection_id * 1e-6)
    assert len(lingering) == MAX_LINGERING
    assert 9 not in lingering
    assert 10 in lingering
    assert MAX_LINGERING + 9 in lingering
