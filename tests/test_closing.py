"""The end of a connection: four-way, simultaneous, half, with losses, at each step of the opening, and by CLOSE."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp import wire
from rudp.closing import Closing
from rudp.config import Config
from rudp.errors import (
    LARGEST_ERROR_CODE,
    ConnectionAborted,
    ConnectionClosed,
    ConnectionLost,
    ConnectionRefused,
    ConnectionReset,
    ErrorCode,
    PeerUnresponsive,
    ProtocolError,
)
from rudp.events import Connected, PeerFinished, Terminated
from rudp.received_packets import PATIENCE
from rudp.state import State
from tests.pair import Packet, Pair


def is_fin(sender: str) -> object:
    return lambda packet: packet.sender == sender and packet.has(wire.Fin)


def is_data(packet: Packet) -> bool:
    return packet.kind == "DATA"


def is_close(packet: Packet) -> bool:
    return packet.has(wire.Close)


def quiet(pair: Pair) -> None:
    """Nothing is left of either side but what lingers, and then nothing at all."""
    pair.run(200)
    for endpoint in pair.endpoints.values():
        assert not endpoint.connections
        assert endpoint.stats().lingering == 0
        assert endpoint.next_timeout() is None


def test_four_way_close_with_half_close() -> None:
    pair = Pair()
    client, server = pair.client, pair.server
    start = len(pair.log)
    client.send(0, b"question")
    client.send_eof()
    assert client.state is State.FIN_WAIT_1
    with pytest.raises(ConnectionClosed):
        client.send(0, b"more")
    pair.until(lambda: server.state is State.CLOSE_WAIT)
    assert pair.received["s", 0] == b"question"
    assert server.at_eof(0)
    pair.until(lambda: client.state is State.FIN_WAIT_2)
    server.send(0, b"answer")
    pair.until(lambda: pair.received.get(("c", 0)) == b"answer")
    assert client.state is State.FIN_WAIT_2, "a half-closed connection may be open for ever"
    server.close()
    assert server.state is State.LAST_ACK
    pair.until(lambda: client.state is State.TIME_WAIT)
    pair.until(lambda: server.state is State.CLOSED)
    assert pair.ends("c") == pair.ends("s") == [None]
    assert len(pair.events_of("c", PeerFinished)) == len(pair.events_of("s", PeerFinished)) == 1
    order = [(p.sender, f) for p in pair.log[start:] for f in p.frames if isinstance(f, wire.Fin)]
    assert order == [("c", wire.Fin(1, 0, 8)), ("s", wire.Fin(0, 0, 6))]
    assert pair.log[-1].sender == "c", "the last packet acknowledges the server's FIN"
    assert pair.log[-1].has(wire.Ack)


def test_time_wait_keeps_an_id_and_a_reply_only() -> None:
    pair = Pair()
    probe_timeout = pair.client._recovery.rtt.probe_timeout()
    pair.client.close()
    pair.server.close()
    pair.until(pair.ended)
    pair.run(0.2)
    endpoint = pair.endpoints["c"]
    assert not endpoint.connections
    assert endpoint.stats().lingering == 1
    assert not endpoint.is_idle
    pair.run(3 * probe_timeout)
    assert endpoint.is_idle, "after three probe timeouts nobody needs the id"
    quiet(pair)


def test_simultaneous_close() -> None:
    pair = Pair()
    states = set()
    pair.client.close()
    pair.server.close()
    server = pair.server
    while not pair.ended():
        pair.step()
        states |= {pair.client.state, server.state}
    assert State.CLOSING in states
    assert pair.client.state is server.state is State.TIME_WAIT
    assert pair.ends("c") == pair.ends("s") == [None]
    quiet(pair)


def test_a_stream_opened_after_the_peers_fin_is_at_its_end() -> None:
    pair = Pair()
    server = pair.server
    pair.client.send_eof()
    pair.until(lambda: server.state is State.CLOSE_WAIT)
    stream_id = server.open_stream()
    assert not server.waits(stream_id), "nothing will come that one could wait for"
    assert server.receive(stream_id) == b""
    assert server.at_eof(stream_id)


def test_fin_before_missing_data() -> None:
    pair = Pair()
    server = pair.server
    pair.hold(lambda p: p.has(wire.Stream), 0.2, times=1)
    pair.client.send(0, bytes(1000))
    pair.flush()
    pair.client.send_eof()
    pair.until(lambda: server._closing.peer_fin is not None)
    assert server.state is State.ESTABLISHED, "FIN counts when all before it has arrived"
    assert not server.at_eof(0)
    pair.until(lambda: server.state is State.CLOSE_WAIT)
    assert pair.received["s", 0] == bytes(1000)


def run_close(pair: Pair) -> None:
    """The client closes, and the server when it sees that."""
    pair.client.send(0, b"x" * 3000)
    pair.client.close()
    server = pair.server
    pair.until(lambda: bool(pair.events_of("s", PeerFinished)), 60)
    server.close()
    pair.until(pair.ended, 60)
    assert pair.received["s", 0] == b"x" * 3000


@pytest.mark.parametrize("sender", ["c", "s"])
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_lost_fin_is_sent_again(sender: str, times: int) -> None:
    pair = Pair()
    pair.drop(is_fin(sender), times=times)  # type: ignore[arg-type]
    run_close(pair)
    assert pair.ends("c") == pair.ends("s") == [None]
    quiet(pair)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_lost_last_ack_is_answered_by_time_wait(times: int) -> None:
    pair = Pair()
    pair.drop(lambda p: p.sender == "c" and p.has(wire.Ack) and pair.client.state is State.TIME_WAIT, times=times)
    run_close(pair)
    assert pair.ends("c") == pair.ends("s") == [None]
    assert pair.packets("c", "DATA", wire.Close), "TIME-WAIT's reply says that all had arrived"
    quiet(pair)


def test_time_wait_answers_the_shortest_packet_however_many_ranges_had_come() -> None:
    """An answer is at most three times what asks for it, and what asks is a PING at times."""
    pair = Pair()
    pair.client.send_eof()
    server = pair.server
    pair.until(lambda: bool(pair.events_of("s", PeerFinished)))
    count = 0

    def every_second_and_no_ack(packet: Packet) -> bool:
        nonlocal count
        count += packet.sender == "s"
        return packet.sender == "c" or count % 2 == 0

    pair.drop(every_second_and_no_ack)
    for _ in range(100):
        server.send(0, b"x")
        pair.flush()
    server.close()
    pair.run(pair.delay)
    pair.rules.clear()
    pair.drop(lambda p: p.sender == "c" and pair.client.state is State.TIME_WAIT and not p.has(wire.Close))
    pair.until(pair.ended, 60)
    assert len(pair.client._received.ranges) > 20
    assert pair.client.linger is not None
    assert pair.client.linger.reply is not None
    assert len(pair.client.linger.reply) <= 3 * (wire.DATA_HEADER_SIZE + 1 + pair.overhead)
    assert pair.packets("c", "DATA", wire.Close)
    assert pair.ends("c") == pair.ends("s") == [None]


def test_a_close_whose_acks_are_all_lost_ends_in_order_by_reset() -> None:
    """Everything was acknowledged but the FIN, and the peer's memory of the connection is over."""
    pair = Pair()
    pair.drop(lambda p: p.sender == "c" and pair.client.state is State.TIME_WAIT and pair.now < 80)
    pair.client.close()
    server = pair.server
    pair.until(lambda: bool(pair.events_of("s", PeerFinished)))
    server.close()
    pair.run(2)
    assert server.state is State.LAST_ACK
    # As after the time that the reply is kept, and a restart of nothing.
    pair.endpoints["c"]._lingering.expire(pair.now + 1000)
    pair.rules.clear()
    pair.until(pair.ended)
    assert pair.packets("c", "RESET")
    assert pair.ends("s") == [None]


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.5))
def test_closing_through_loss(seed: int, loss: float) -> None:
    """All data arrives; at most one side ends in a typed error, and never without end."""
    random = Random(seed)
    pair = Pair(seed=seed)
    pair.drop(lambda _: random.random() < loss)
    pair.client.send(0, b"x" * 3000)
    server = pair.server
    server.send(0, b"y" * 100)
    pair.until(lambda: len(pair.received.get(("c", 0), b"")) == 100, 200)
    pair.client.close()
    pair.until(lambda: bool(pair.events_of("s", PeerFinished)) or bool(pair.ends("s")), 200)
    server.close()
    pair.until(pair.ended, 400)
    assert pair.received["s", 0] == b"x" * 3000
    errors = [error for name in "cs" for error in pair.ends(name) if error is not None]
    assert len(errors) <= 1, errors
    assert all(isinstance(error, ConnectionLost) for error in errors)


# -- data that nobody will read -------------------------------------------------------------------------------


def test_close_with_unread_data_aborts_on_both_sides() -> None:
    pair = Pair()
    pair.reading["c"] = False
    server = pair.server
    server.send(0, b"never read")
    pair.run(0.5)
    pair.client.close()
    assert pair.client.state is State.ABORTED
    pair.until(pair.ended)
    here, there = pair.ends("c")[0], pair.ends("s")[0]
    assert isinstance(here, ConnectionAborted)
    assert here.code == ErrorCode.UNREAD_DATA
    assert isinstance(there, ConnectionReset)
    assert (there.code, there.application) == (ErrorCode.UNREAD_DATA, False)
    assert server.state is State.DRAINING
    quiet(pair)


@pytest.mark.parametrize("server_closes", [False, True])
@pytest.mark.parametrize("ping", [False, True], ids=["canonical", "with frames"])
def test_data_that_arrives_after_close_aborts(server_closes: bool, ping: bool) -> None:
    """Alone, and in one run with the server's FIN, which would complete the close."""
    pair = Pair()
    pair.reading["c"] = False
    server = pair.server
    pair.client.close()
    pair.run(0.5)
    assert pair.client.state is State.FIN_WAIT_2
    if ping:
        server.ping()
    server.send(0, b"late" * 10)
    if server_closes:
        server.close()
    pair.until(lambda: bool(pair.ends("c")))
    pair.run(1)
    error = pair.ends("c")[0]
    assert isinstance(error, ConnectionAborted)
    assert error.code == ErrorCode.UNREAD_DATA
    there = pair.ends("s")[0]
    assert isinstance(there, ConnectionReset), "the server must not believe that its data was taken"
    assert there.code == ErrorCode.UNREAD_DATA
    quiet(pair)


def test_a_half_closed_side_may_still_read_then_close() -> None:
    pair = Pair()
    pair.reading["c"] = False
    server = pair.server
    pair.client.send_eof()
    pair.run(0.5)
    server.send(0, b"late")
    pair.run(0.5)
    assert pair.read("c", pair.client) == b"late"
    pair.client.close()
    server.close()
    pair.until(pair.ended)
    assert pair.ends("c") == pair.ends("s") == [None]


# -- abort ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["c", "s"])
def test_abort_ends_both_sides_at_once(side: str) -> None:
    pair = Pair()
    mine, peer = (pair.client, pair.server) if side == "c" else (pair.server, pair.client)
    other = "s" if side == "c" else "c"
    mine.send(0, bytes(100_000))
    mine.abort(7, "enough")
    assert mine.state is State.ABORTED
    pair.until(pair.ended)
    here, there = pair.ends(side)[0], pair.ends(other)[0]
    assert isinstance(here, ConnectionAborted)
    assert (here.code, here.reason) == (7, "enough")
    assert isinstance(there, ConnectionReset)
    assert (there.code, there.reason, there.application) == (7, "enough", True)
    assert "enough" in str(there)
    assert peer.state is State.DRAINING
    assert not [p for p in pair.packets(other) if p.time > pair.now - 0.01], "CLOSE gets no answer"
    quiet(pair)


def test_a_lost_close_is_repeated_when_the_peer_goes_on() -> None:
    pair = Pair()
    server = pair.server
    pair.drop(is_close, times=2)
    pair.client.abort(7, "enough")
    pair.run(0.2)
    assert server.state is State.ESTABLISHED
    server.send(0, b"hello?")
    pair.until(pair.ended)
    error = pair.ends("s")[0]
    assert isinstance(error, ConnectionReset)
    assert error.code == 7
    quiet(pair)


def test_the_repeated_close_thins_out() -> None:
    pair = Pair()
    pair.drop(is_close)
    server = pair.server
    pair.client.abort()
    for _ in range(1000):
        server.ping()
        pair.run(0.001)
    assert len(pair.packets("c", "DATA", wire.Close)) < 12


@pytest.mark.parametrize("reason", ["x" * 5000, "ü" * 1000, "€" * 342, "\udcff" * 2000, ""])
def test_a_long_reason_is_cut(reason: str) -> None:
    pair = Pair()
    pair.client.abort(1, reason)
    pair.until(pair.ended)
    error = pair.ends("s")[0]
    assert isinstance(error, ConnectionReset)
    assert len(error.reason.encode()) <= wire.MAX_REASON_SIZE
    assert reason.encode(errors="replace").decode().startswith(error.reason)
    assert len(error.reason.encode()) > wire.MAX_REASON_SIZE - 4 or not reason


@pytest.mark.parametrize("code", [-1, LARGEST_ERROR_CODE + 1])
def test_a_code_out_of_bounds_changes_nothing(code: int) -> None:
    pair = Pair()
    for command in (
        lambda: pair.client.abort(code, "x"),
        lambda: pair.client.reset_stream(0, code),
        lambda: pair.client.stop_sending(0, code),
    ):
        with pytest.raises(ValueError, match="must be from 0 to 4294967295"):
            command()
    assert pair.client.state is State.ESTABLISHED
    pair.client.send(0, b"well")
    pair.run(1)
    assert pair.received["s", 0] == b"well"


# -- at each step of the opening --------------------------------------------------------------------------------

STEPS = [0.0, 0.01, 0.05, 0.06, 0.1, 0.11, 0.15, 0.16, 0.2, 0.3]


@pytest.mark.parametrize("ending", ["close", "abort", "send_eof"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("side", ["c", "s"])
@pytest.mark.parametrize("send_first", [True, False])
def test_the_end_at_each_step_of_the_opening(ending: str, step: float, side: str, send_first: bool) -> None:
    """Whenever it comes: no side hangs, no side ends twice, the ends fit each other."""
    pair = Pair(opened=False)
    pair.run(step)
    held = pair.endpoints[side].connections
    if not held:
        return
    if send_first and held[0].is_open:
        held[0].send(0, b"data")
    getattr(held[0], ending)()
    if ending == "send_eof":
        pair.run(1)
        pair.client.close()
        for connection in pair.endpoints["s"].connections:
            connection.close()
    pair.run(100)
    assert len(pair.ends(side)) == 1
    assert all(len(pair.ends(name)) <= 1 for name in "cs")
    assert not any(endpoint.connections for endpoint in pair.endpoints.values())
    for name in "cs":
        assert len(pair.events_of(name, Connected)) <= 1
        events = [event for _, event in pair.events[name]]
        assert not any(isinstance(event, Terminated) for event in events[:-1]), "Terminated is the last event"
    quiet(pair)


def test_a_server_that_aborts_half_open_refuses() -> None:
    pair = Pair(opened=False)
    pair.drop(lambda p: p.kind == "SYN_ACK", times=1)
    pair.run(0.06)
    pair.endpoints["s"].refuse_half_open(9, "not today")
    pair.until(pair.ended)
    error = pair.ends("c")[0]
    assert isinstance(error, ConnectionRefused)
    assert "not today" in str(error)
    assert not pair.events_of("c", Connected)


def test_a_server_that_aborts_half_open_reaches_a_client_that_is_connected() -> None:
    pair = Pair(opened=False)
    pair.drop(is_data, times=1)
    pair.run(0.12)
    assert pair.client.state is State.ESTABLISHED
    pair.endpoints["s"].refuse_half_open(9, "not today")
    pair.until(pair.ended)
    error = pair.ends("c")[0]
    assert isinstance(error, ConnectionReset)
    assert (error.code, error.reason) == (9, "not today")


def test_a_client_that_ends_before_its_first_data_arrives_ends_the_server() -> None:
    """Its DATA, CLOSE included, is lost: the server's next SYN_ACK is answered."""
    pair = Pair(opened=False)
    pair.drop(is_data, times=2)
    pair.until(lambda: pair.client.is_open)
    pair.client.abort(3, "changed my mind")
    pair.run(2)
    error = pair.ends("s")[0]
    assert isinstance(error, ConnectionReset)
    assert error.code == 3
    quiet(pair)


# -- late packets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.0, 1.0, 100.0])
def test_late_packets_after_the_end(after: float) -> None:
    """Every packet of a finished connection comes once more, in any order: nothing comes to life."""
    pair = Pair()
    run_close(pair)
    events = {name: len(found) for name, found in pair.events.items()}
    pair.run(after)
    for packet in reversed(list(pair.log)):
        pair.inject(packet.data, packet.source, packet.destination)
    pair.run(60)
    for name in "cs":
        later = [event for _, event in pair.events[name][events[name] :]]
        # A SYN that comes again opens half a connection, which ends by itself and was never announced.
        assert all(isinstance(event, Terminated) for event in later), later
        assert not pair.endpoints[name].connections
    quiet(pair)


def test_commands_after_the_end_do_nothing() -> None:
    pair = Pair()
    run_close(pair)
    client = pair.client
    lingering = pair.endpoints["c"].stats().lingering
    sent, events = len(pair.log), len(pair.events["c"])
    for _ in range(3):
        client.close()
        client.abort()
        client.send_eof()
        client.ping()
        pair.flush()
    with pytest.raises(ConnectionClosed, match="TIME-WAIT"):
        client.send(0, b"x")
    with pytest.raises(ConnectionClosed):
        client.open_stream()
    assert (len(pair.log), len(pair.events["c"])) == (sent, events)
    assert pair.endpoints["c"].stats().lingering == lingering
    quiet(pair)


# -- bounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half_first", [False, True])
def test_fin_wait_2_is_bounded_after_close(half_first: bool) -> None:
    config = Config(close_timeout=5.0, idle_timeout=0)
    pair = Pair(config=config)
    server = pair.server
    if half_first:
        pair.client.send_eof()
        pair.run(20)
        assert pair.client.state is State.FIN_WAIT_2, "after a half-close there is no bound"
    start = pair.now
    pair.client.close()
    pair.until(lambda: bool(pair.ends("c")))
    assert 5.0 <= pair.now - start < 5.5
    error = pair.ends("c")[0]
    assert isinstance(error, PeerUnresponsive)
    assert "close_timeout, 5 s" in str(error)
    pair.until(lambda: bool(pair.ends("s")))
    there = pair.ends("s")[0]
    assert isinstance(there, ConnectionReset)
    assert there.code == ErrorCode.CLOSE_TIMEOUT
    assert server.state is State.DRAINING


def test_who_asks_when_to_be_woken_before_a_close_has_gone_on_is_woken_in_time_all_the_same() -> None:
    pair = Pair(config=Config(close_timeout=5.0, idle_timeout=0))
    pair.client.send_eof()
    pair.run(1)
    assert pair.client.state is State.FIN_WAIT_2
    pair.client.close()
    assert pair.client.next_timeout() is None, "its patience doesn't count yet"
    pair.run(6)
    assert isinstance(pair.ends("c")[0], PeerUnresponsive)


# -- the part itself --------------------------------------------------------------------------------------------


def test_fins_that_differ_are_an_error() -> None:
    closing = Closing()
    closing.on_fin(wire.Fin(1, 0, 10))
    closing.on_fin(wire.Fin(1, 0, 10))
    for other in (wire.Fin(2, 0, 10), wire.Fin(1, 1, 10), wire.Fin(1, 0, 11)):
        with pytest.raises(ProtocolError) as caught:
            closing.on_fin(other)
        assert caught.value.code is ErrorCode.FINAL_SIZE_ERROR


@pytest.mark.parametrize(("opened", "highest"), [([2, 0], 5), ([1, 1], 5), ([1, 0], 11)])
def test_more_than_the_fin_spoke_of_is_an_error(opened: list[int], highest: int) -> None:
    closing = Closing()
    closing.check(opened, highest)
    closing.on_fin(wire.Fin(1, 0, 10))
    with pytest.raises(ProtocolError):
        closing.check(opened, highest)
    closing.check([1, 0], 10)


def test_a_fin_is_complete_once() -> None:
    closing = Closing()
    assert not closing.is_complete(0)
    closing.on_fin(wire.Fin(1, 0, 10))
    assert not closing.is_complete(9)
    assert closing.is_complete(10)
    closing.peer_finished = True
    assert not closing.is_complete(10)


@pytest.mark.parametrize("half", [False, True])
def test_a_farewell_reaches_the_peer_however_far_the_close_has_come(half: bool) -> None:
    pair = Pair()
    pair.client.send(0, b"all")
    if half:
        pair.client.send_eof()
        pair.run(1)
        assert pair.client.state is State.FIN_WAIT_2
    pair.client.close(5, "bye")
    pair.client.close()
    pair.run(2)
    assert pair.received["s", 0] == b"all"
    assert pair.ends("c") == [None]
    (error,) = pair.ends("s")
    assert isinstance(error, ConnectionReset)
    assert (error.code, error.reason) == (5, "bye")


def test_a_close_before_the_opening_is_complete_does_not_hide_that_data_was_never_sent() -> None:
    pair = Pair(opened=False)
    pair.client.send(0, b"never sent")
    pair.client.close()
    (error,) = [event.error for event in pair.client.take_events() if isinstance(event, Terminated)]
    assert isinstance(error, ConnectionAborted)
    assert pair.client.state is State.CLOSED


@pytest.mark.parametrize("what", ["end", "reset", "end beside others"])
def test_on_a_near_path_what_the_end_of_a_stream_holds_up_waits_no_longer(what: str) -> None:
    """FIN waits until RESET_STREAM is acknowledged, the next stream until its predecessor's end is."""
    pair = Pair(delay=0.0001)
    pair.run(0.05)
    stream = pair.client.open_stream()
    pair.client.send(stream, b"what came just before")
    pair.run(0.0005)
    assert not pair.client.stats(pair.now).bytes_in_flight
    if what == "reset":
        pair.client.reset_stream(stream, 7)
    else:
        pair.client.send(stream, b"the last", fin=True)
    if what == "end beside others":
        pair.client.send(0, b"other")
    pair.run(PATIENCE / 2)
    assert pair.client.stats(pair.now).bytes_in_flight
    pair.run(PATIENCE)
    assert not pair.client.stats(pair.now).bytes_in_flight


def test_on_a_near_path_fin_is_acknowledged_at_once_whatever_came_just_before() -> None:
    pair = Pair(delay=0.0001)
    pair.run(0.05)
    pair.client.send(0, b"what came just before")
    pair.run(0.0005)
    assert not pair.client.stats(pair.now).bytes_in_flight
    pair.client.close()
    pair.run(0.0005)
    assert pair.client.state is State.FIN_WAIT_2
