"""One stream's two directions: which exist, what is pending, when each has ended."""

from __future__ import annotations

import pytest

from rudp.stream import Stream, is_client_initiated, is_unidirectional


def both_ways() -> Stream:
    return Stream(0, send_limit=1000, receive_limits=(1000, 2000))


@pytest.mark.parametrize(
    ("stream_id", "client", "one_way"),
    [(0, True, False), (1, False, False), (2, True, True), (3, False, True), (7, False, True)],
)
def test_the_two_lowest_bits_tell_opener_and_kind(stream_id: int, client: bool, one_way: bool) -> None:
    assert is_client_initiated(stream_id) == client
    assert is_unidirectional(stream_id) == one_way


def test_a_direction_that_is_not_there_has_ended() -> None:
    reader = Stream(3, send_limit=None, receive_limits=(10, 10))
    assert reader.send_done
    assert reader.send_acknowledged
    assert not reader.has_pending()
    assert not reader.receive_done
    writer = Stream(2, send_limit=10, receive_limits=None)
    assert writer.receive_done
    assert not writer.send_done


def test_pending_is_what_waits_to_be_handed_out_a_fin_too() -> None:
    stream = both_ways()
    assert stream.send is not None
    assert not stream.has_pending()
    stream.send.write(b"abc")
    assert stream.has_pending()
    stream.send.next_range(10, 10)
    assert not stream.has_pending()
    stream.send.finish()
    assert stream.has_pending()
    assert stream.send.next_range(0, 10) == (3, 0, True)
    assert not stream.has_pending()
    stream.send.on_lost(0, 3, True)
    assert stream.has_pending()


def test_sending_has_ended_when_all_and_the_fin_is_acknowledged() -> None:
    stream = both_ways()
    assert stream.send is not None
    assert stream.send_acknowledged
    stream.send.write(b"abc")
    assert not stream.send_acknowledged
    stream.send.next_range(10, 10)
    stream.send.on_acked(0, 3, False)
    assert stream.send_acknowledged
    assert not stream.send_done
    stream.send.finish()
    assert not stream.send_acknowledged
    stream.send.next_range(10, 10)
    stream.send.on_acked(3, 3, True)
    assert stream.send_acknowledged
    assert stream.send_done


def test_a_reset_direction_has_ended_when_the_peer_knows() -> None:
    stream = both_ways()
    assert stream.send is not None
    stream.send.write(b"abc")
    stream.reset_code = 5
    stream.send.reset()
    assert not stream.has_pending()
    assert not stream.send_done
    assert not stream.send_acknowledged
    stream.reset_acknowledged = True
    assert stream.send_done
    assert stream.send_acknowledged


def test_a_connections_fin_ends_sending_once_what_was_written_is_acknowledged() -> None:
    stream = both_ways()
    assert stream.send is not None
    stream.send.write(b"abc")
    stream.send.next_range(10, 10)
    stream.finish_sending()
    assert not stream.has_pending()
    assert not stream.send_done
    stream.send.on_acked(0, 3, False)
    assert stream.send_done


def test_a_stream_opened_after_the_peers_fin_has_nothing_to_receive() -> None:
    stream = both_ways()
    stream.finish_receiving()
    assert stream.receive_done
    assert stream.receive is not None
    assert stream.receive.at_eof
