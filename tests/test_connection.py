"""The contract of one connection: commands and their errors in every state, events, figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rudp import wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.errors import ConnectionClosed, StreamClosed, StreamLimitReached, StreamReset
from rudp.events import (
    Connected,
    PeerFinished,
    SendingStopped,
    StreamOpened,
    StreamReadable,
    StreamsAvailable,
    StreamWritable,
)
from rudp.events import StreamReset as StreamResetEvent
from rudp.state import State
from tests.pair import CLIENT, SERVER, Pair

WRITING: dict[str, Callable[[Connection], Any]] = {
    "send": lambda connection: connection.send(0, b"x"),
    "send_within": lambda connection: connection.send_within(0, b"x"),
    "open_stream": lambda connection: connection.open_stream(),
}
ALWAYS: dict[str, Callable[[Connection], Any]] = {
    "close": lambda connection: connection.close(),
    "abort": lambda connection: connection.abort(1, "x"),
    "send_eof": lambda connection: connection.send_eof(),
    "ping": lambda connection: connection.ping(),
    "receive": lambda connection: connection.receive(0),
    "reset_stream": lambda connection: connection.reset_stream(0, 1),
    "stop_sending": lambda connection: connection.stop_sending(0, 1),
    "at_eof": lambda connection: connection.at_eof(0),
    "buffered": lambda connection: connection.buffered(0),
    "stats": lambda connection: connection.stats(0.0),
}


def states() -> dict[str, Callable[[], tuple[Pair, Connection]]]:
    def syn_sent() -> tuple[Pair, Connection]:
        pair = Pair(opened=False)
        return pair, pair.client

    def established() -> tuple[Pair, Connection]:
        pair = Pair()
        return pair, pair.client

    def fin_wait() -> tuple[Pair, Connection]:
        pair = Pair()
        pair.client.send_eof()
        pair.run(0.5)
        return pair, pair.client

    def close_wait() -> tuple[Pair, Connection]:
        pair = Pair()
        pair.server.send_eof()
        pair.run(0.5)
        return pair, pair.client

    def ended() -> tuple[Pair, Connection]:
        pair = Pair()
        pair.client.abort()
        pair.run(0.5)
        return pair, pair.client

    return {
        "SYN-SENT": syn_sent,
        "ESTABLISHED": established,
        "FIN-WAIT-2": fin_wait,
        "CLOSE-WAIT": close_wait,
        "ABORTED": ended,
    }


@pytest.mark.parametrize("state", states())
@pytest.mark.parametrize("command", WRITING)
def test_writing_needs_an_open_side(state: str, command: str) -> None:
    _, connection = states()[state]()
    assert connection.state.value == state
    if state in ("ESTABLISHED", "CLOSE-WAIT"):
        assert connection.is_writable
        WRITING[command](connection)
    elif state == "SYN-SENT":
        # Stream 0 is there from the start; further ones need the server's limit.
        assert connection.is_writable
        if command == "open_stream":
            with pytest.raises(StreamLimitReached):
                WRITING[command](connection)
        else:
            WRITING[command](connection)
    else:
        assert not connection.is_writable
        with pytest.raises(ConnectionClosed, match=state):
            WRITING[command](connection)


@pytest.mark.parametrize("state", states())
@pytest.mark.parametrize("command", ALWAYS)
def test_other_commands_work_in_every_state(state: str, command: str) -> None:
    pair, connection = states()[state]()
    ALWAYS[command](connection)
    pair.rules.clear()
    pair.run(60)
    assert len(pair.ends("c")) <= 1
    assert len(pair.ends("s")) <= 2


def test_getters() -> None:
    pair = Pair(config=Config(application_protocol="echo"))
    client, server = pair.client, pair.server
    assert (client.is_client, server.is_client) == (True, False)
    assert client.remote_address == SERVER
    assert server.remote_address == CLIENT
    assert client.peer_id == server.id
    assert server.peer_id == client.id
    assert client.application_protocol == server.application_protocol == "echo"
    assert client.config.application_protocols == ("echo",)
    assert client.local_address is None or client.local_address == CLIENT
    assert client.is_open


def test_both_sides_may_speak_first_on_stream_0() -> None:
    pair = Pair()
    pair.server.send(0, b"welcome")
    pair.run(1)
    assert pair.received["c", 0] == b"welcome"
    pair.client.send(0, b"thanks", fin=True)
    pair.run(1)
    assert pair.received["s", 0] == b"thanks"
    assert pair.server.at_eof(0)
    assert not pair.events_of("s", StreamOpened), "stream 0 is there from the start"


@pytest.mark.parametrize("side", ["c", "s"])
@pytest.mark.parametrize("unidirectional", [False, True])
def test_a_new_stream_announces_itself(side: str, unidirectional: bool) -> None:
    pair = Pair()
    mine, peer, other = (pair.client, pair.server, "s") if side == "c" else (pair.server, pair.client, "c")
    stream_id = mine.open_stream(unidirectional)
    pair.run(0.2)
    assert pair.events_of(other, StreamOpened) == [StreamOpened(stream_id)]
    if unidirectional:
        with pytest.raises(StreamClosed):
            mine.receive(stream_id)
    mine.send(stream_id, b"there", fin=True)
    pair.run(0.5)
    assert pair.received[other, stream_id] == b"there"
    if unidirectional:
        with pytest.raises(StreamClosed):
            peer.send(stream_id, b"back")
    else:
        peer.send(stream_id, b"back", fin=True)
        pair.run(0.5)
        assert pair.received[side, stream_id] == b"back"
        assert not mine.has_stream(stream_id)


def test_the_stream_limit() -> None:
    pair = Pair(config=Config(max_streams_bidi=3))
    client, server = pair.client, pair.server
    opened = [client.open_stream(), client.open_stream()]
    with pytest.raises(StreamLimitReached, match="3 bidirectional"):
        client.open_stream()
    pair.run(0.5)
    for connection in (client, server):
        connection.send(opened[0], b"done", fin=True)
    pair.run(1)
    assert pair.events_of("c", StreamsAvailable) == [StreamsAvailable(False)]
    client.open_stream()


def test_reset_and_stop_sending_are_told() -> None:
    pair = Pair()
    pair.reading["s"] = False
    client, server = pair.client, pair.server
    first, second = client.open_stream(), client.open_stream()
    for stream_id in (first, second):
        client.send(stream_id, b"something")
    pair.run(0.5)
    client.reset_stream(first, 77)
    server.stop_sending(second, 88)
    pair.run(0.5)
    assert pair.events_of("s", StreamResetEvent)[0] == StreamResetEvent(first, 77)
    assert pair.events_of("c", SendingStopped) == [SendingStopped(second, 88)]
    with pytest.raises(StreamReset) as caught:
        server.receive(first)
    assert caught.value.code == 77


def test_events_come_in_order_and_edges_only() -> None:
    pair = Pair()
    pair.reading["s"] = False
    for _ in range(5):
        pair.client.send(0, b"x")
        pair.run(0.2)
    assert len(pair.events_of("s", StreamReadable)) == 1
    pair.client.close()
    server = pair.server
    pair.run(0.5)
    kinds = [type(event) for _, event in pair.events["s"]]
    assert kinds == [Connected, StreamReadable, PeerFinished]
    assert pair.read("s", server) == b"xxxxx"
    assert server.at_eof(0)


def test_who_sends_within_a_bound_is_told_when_half_of_it_has_left() -> None:
    bound = 50_000
    pair = Pair(config=Config(send_buffer=bound))
    client, data = pair.client, bytes(20_000)
    wrote = 0
    while client.can_send(0):
        assert client.send_within(0, data)
        wrote += len(data)
    assert wrote == 60_000
    assert not client.send_within(0, data), "as much waits as may"
    assert client.unsent(0) == wrote, "nothing of it was written"
    assert client.send_within(0, b"x", most=wrote + 1)
    pair.until(lambda: any(isinstance(event, StreamWritable) for _, event in pair.events["c"]))
    assert client.unsent(0) <= bound // 2
    client.send(0, data, fin=True)
    with pytest.raises(StreamClosed):
        client.send_within(0, b"y")
    pair.until(lambda: len(pair.received.get(("s", 0), b"")) == wrote + 1 + len(data))


def test_figures() -> None:
    pair = Pair()
    pair.drop(lambda p: p.has(wire.Stream), times=1, skip=5)
    pair.client.send(0, bytes(100_000))
    pair.until(lambda: len(pair.received.get(("s", 0), b"")) == 100_000)
    pair.run(2)
    sent, got = pair.client.stats(pair.now), pair.server.stats(pair.now)
    assert sent.state == "ESTABLISHED"
    assert (sent.stream_bytes_sent, got.stream_bytes_received) == (100_000, 100_000)
    assert (sent.packets_lost, sent.packets_spurious) == (1, 0)
    assert 0 < sent.stream_bytes_retransmitted <= 1200
    assert sent.packets_retransmitted == 1
    assert sent.bytes_in_flight == sent.send_buffered == 0
    assert sent.bytes_sent == sum(len(p.data) for p in pair.packets("c"))
    assert sent.packets_sent == len(pair.packets("c", "DATA"))
    assert got.packets_received == sent.packets_sent - 1
    assert sent.limited_by == "application"
    assert sent.smoothed_rtt == pytest.approx(0.1, rel=0.3)


def test_a_replayed_connection_costs_nothing() -> None:
    pair = Pair()
    pair.client.send(0, bytes(20_000))
    pair.run(1)
    before = pair.server.stats(pair.now)
    for packet in pair.packets("c", "DATA"):
        pair.inject(packet.data, CLIENT, SERVER)
    sent = len(pair.log)
    pair.run(1)
    after = pair.server.stats(pair.now)
    assert after.packets_received == before.packets_received
    assert after.packets_duplicate > before.packets_duplicate
    assert after.stream_bytes_received == before.stream_bytes_received
    assert len(pair.log) == sent
    assert pair.server.state is State.ESTABLISHED
