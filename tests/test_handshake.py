"""The opening: three packets, what happens when one of them is lost, doubled or answered by something else."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp import wire
from rudp.config import Config
from rudp.errors import ConnectionRefused, ConnectTimeout, VersionMismatch
from rudp.events import Connected
from rudp.handshake import FIRST_RETRY, LONGEST_RETRY
from rudp.state import State
from tests.pair import CLIENT, SERVER, Packet, Pair


def is_syn(packet: Packet) -> bool:
    return packet.kind == "SYN"


def is_syn_ack(packet: Packet) -> bool:
    return packet.kind == "SYN_ACK"


def from_client(packet: Packet) -> bool:
    return packet.kind == "DATA" and packet.sender == "c"


def opened(pair: Pair) -> bool:
    return bool(pair.events_of("c", Connected)) and bool(pair.events_of("s", Connected))


def test_three_packets_open_a_connection() -> None:
    pair = Pair(opened=False)
    pair.until(lambda: opened(pair))
    assert pair.kinds()[:3] == ["SYN", "SYN_ACK", "DATA"]
    syn, syn_ack, data = pair.log[:3]
    assert (len(syn.data), len(syn_ack.data)) == (1200, 1200)
    assert (syn.time, syn_ack.time, data.time) == (0.0, 0.05, 0.1)
    assert syn.opening.source_id == syn_ack.opening.destination_id == pair.client.id
    assert syn_ack.opening.source_id == pair.client.peer_id == pair.server.id
    assert wire.read_destination_id(memoryview(data.data)) == pair.server.id
    assert (data.number, data.has(wire.Ping)) == (0, True)
    assert pair.client.state is pair.server.state is State.ESTABLISHED
    pair.run(1)
    assert pair.client.stats(pair.now).smoothed_rtt == pytest.approx(0.1)
    assert pair.server.stats(pair.now).smoothed_rtt == pytest.approx(0.1)
    assert len(pair.log) == 4, "the fourth packet acknowledges the first DATA, and that is all"


def test_the_first_data_may_carry_data() -> None:
    pair = Pair(opened=False)
    for instant in (0.0, 0.05, 0.1):
        pair.now = instant
        pair._arrive()
        if pair.client.is_open:
            pair.client.send(0, b"with the third packet")
        pair.flush()
    pair.until(lambda: pair.received.get(("s", 0)) == b"with the third packet")
    assert pair.log[2].has(wire.Stream)
    assert pair.now == pytest.approx(0.15)


@pytest.mark.parametrize("lost", [is_syn, is_syn_ack, from_client], ids=["SYN", "SYN_ACK", "first DATA"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_packet_of_the_opening_is_made_good(lost: object, times: int) -> None:
    pair = Pair(opened=False)
    pair.drop(lost, times=times)  # type: ignore[arg-type]
    pair.until(lambda: opened(pair))
    pair.server.send(0, b"heard")
    pair.until(lambda: pair.received.get(("c", 0)) == b"heard")
    assert len(pair.endpoints["s"].connections) == 1
    assert len(pair.events_of("s", Connected)) == len(pair.events_of("c", Connected)) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.2, 3.0])
def test_a_doubled_syn_finds_the_same_connection(seconds: float) -> None:
    pair = Pair(opened=False)
    pair.copy(is_syn, seconds)
    pair.until(lambda: opened(pair))
    pair.run(5)
    assert len(pair.endpoints["s"].connections) == 1
    assert pair.client.state is pair.server.state is State.ESTABLISHED
    assert len(pair.packets("s", "SYN_ACK")) == 1, "the same try is answered once"


def test_a_doubled_syn_ack_is_answered() -> None:
    pair = Pair(opened=False)
    pair.copy(is_syn_ack, 1.0)
    pair.until(lambda: opened(pair))
    pair.run(0.5)
    before = len(pair.packets("c", "DATA"))
    pair.run(1)
    answers = pair.packets("c", "DATA")[before:]
    assert len(answers) >= 1
    assert answers[0].has(wire.Ping)
    assert pair.client.state is State.ESTABLISHED


def test_a_server_whose_first_data_was_lost_hears_of_it_by_its_own_repetition() -> None:
    """The client's own probes are lost as well: SYN_ACK comes again, and its answer opens the server's side."""
    pair = Pair(opened=False)
    pair.drop(from_client, times=2)
    pair.until(lambda: opened(pair))
    assert pair.now < 1.0


def test_tries_come_at_growing_intervals_and_end_in_a_timeout() -> None:
    pair = Pair(opened=False, config=Config(connect_timeout=7.0))
    pair.drop(is_syn)
    pair.until(lambda: bool(pair.ends("c")))
    times = [packet.time for packet in pair.packets("c", "SYN")]
    gaps = [b - a for a, b in pairwise(times)]
    expected = [min(LONGEST_RETRY, FIRST_RETRY * 2**n) for n in range(len(gaps))]
    assert gaps == pytest.approx(expected)
    assert [packet.opening.try_counter for packet in pair.packets("c", "SYN")] == list(range(len(times)))
    error = pair.ends("c")[0]
    assert isinstance(error, ConnectTimeout)
    assert isinstance(error, TimeoutError)
    assert (error.tries, error.seconds) == (len(times), pytest.approx(7.0))
    assert f"{len(times)} tries" in str(error)
    assert "7.0 s" in str(error)
    assert pair.now == pytest.approx(7.0)
    assert pair.client.state is State.CLOSED
    assert pair.next_instant() is None, "nothing is left to wake up for"


def test_half_open_connections_end_in_time() -> None:
    pair = Pair(opened=False, client=Config(connect_timeout=1.0), server=Config(connect_timeout=5.0))
    pair.drop(is_syn_ack)
    server = pair.endpoints["s"]
    pair.run(0.06)
    assert server.stats().half_open == server.stats().connections == 1
    assert not server.is_idle
    pair.until(lambda: not server.stats().half_open)
    assert pair.now == pytest.approx(5.05)
    assert server.stats().connections == 0
    assert server.next_timeout() is None
    assert server.is_idle
    assert not pair.events["s"], "there never was a connection"


def test_what_goes_to_an_unproven_address_is_bounded_with_repetitions() -> None:
    """Pair checks the bound at every packet; here the server has every reason to repeat itself."""
    pair = Pair(opened=False)
    pair.drop(lambda p: p.sender == "c", skip=1)
    pair.run(30)
    assert 1 < len(pair.packets("s", "SYN_ACK")) <= 3


def refusal(client: Config, server: Config) -> tuple[Pair, Exception]:
    pair = Pair(opened=False, client=client, server=server)
    pair.until(lambda: bool(pair.ends("c")))
    error = pair.ends("c")[0]
    assert isinstance(error, ConnectionRefused)
    assert isinstance(error, ConnectionRefusedError)
    assert pair.endpoints["s"].stats().refused == 1
    assert not pair.endpoints["s"].connections
    pair.run(5)
    assert pair.kinds() == ["SYN", "SYN_ACK"]
    assert not pair.events["s"]
    return pair, error


def test_another_protection_is_refused() -> None:
    _, error = refusal(Config(), Config(protection="none"))
    assert "protection" in str(error)
    assert "'none'" in str(error)


def test_no_common_application_protocol_is_refused() -> None:
    _, error = refusal(Config(application_protocol=("a", "b")), Config(application_protocol="c"))
    assert "offered a, b; accepted c" in str(error)


def test_a_full_server_refuses() -> None:
    pair = Pair(server=Config(max_connections=1))
    second = pair.connect("c", "s")
    pair.until(lambda: bool(pair.ends("c")))
    assert second.state is State.CLOSED
    assert "as many connections as it may" in str(pair.ends("c")[0])
    assert pair.client.state is State.ESTABLISHED


def test_the_application_protocol_is_the_server_s_choice() -> None:
    pair = Pair(client=Config(application_protocol=("a", "b")), server=Config(application_protocol=("b", "a")))
    assert pair.client.application_protocol == pair.server.application_protocol == "b"
    pair = Pair(server=Config(application_protocol="b"))
    assert pair.client.application_protocol is pair.server.application_protocol is None


@pytest.mark.parametrize("offered", [(), ("a", "b")])
def test_an_application_protocol_that_was_not_offered_is_no_choice(offered: tuple[str, ...]) -> None:
    """Whoever says so is no server of this client's, or one that takes no notice."""

    def choosing(data: bytes) -> bytes:
        packet = wire.decode_opening(memoryview(data))
        assert isinstance(packet, wire.SynAck)
        parameters = packet.parameters._replace(application_protocols=("c",))
        return wire.encode_opening(packet._replace(parameters=parameters))

    pair = Pair(client=Config(application_protocol=offered), opened=False)
    pair.alter(is_syn_ack, choosing)
    pair.until(lambda: bool(pair.ends("c")))
    (error,) = pair.ends("c")
    assert isinstance(error, ConnectionRefusedError)
    assert "'c', which was not offered" in str(error)
    assert pair.client.application_protocol is None


def with_version(data: bytes, version: int) -> bytes:
    return data[:9] + version.to_bytes(4, "big") + data[13:]


def test_another_version_is_told_which_there_are() -> None:
    pair = Pair(opened=False)
    pair.alter(is_syn, lambda data: with_version(data, 77), times=1)
    pair.until(lambda: opened(pair))
    assert pair.kinds()[:4] == ["SYN", "VERSION", "SYN", "SYN_ACK"]
    assert len(pair.log[1].data) < 100
    assert pair.log[1].opening.versions == (1,), "which is the client's own, so it goes on trying"


def test_a_version_packet_without_ours_ends_the_opening() -> None:
    pair = Pair(opened=False)
    pair.drop(is_syn)
    pair.run(0.1)
    syn = pair.packets("c", "SYN")[0].opening
    for original, ends in ((syn.destination_id ^ 1, 0), (syn.destination_id, 1)):
        packet = wire.encode_opening(wire.Version(syn.source_id, original, (2, 3)))
        pair.inject(packet, SERVER, CLIENT)
        pair.run(0.01)
        assert len(pair.ends("c")) == ends, "only one that echoes the client's ids counts"
    error = pair.ends("c")[0]
    assert isinstance(error, VersionMismatch)
    assert "2, 3" in str(error)


def test_a_short_syn_of_another_version_is_not_answered() -> None:
    pair = Pair(opened=False)
    pair.alter(is_syn, lambda data: with_version(data, 77)[:1199])
    pair.run(1)
    assert set(pair.kinds()) == {"SYN"}


# -- RETRY ----------------------------------------------------------------------------------------------------


def test_retry_on_request() -> None:
    pair = Pair(opened=False, server=Config(retry="always"))
    pair.until(lambda: opened(pair))
    assert pair.kinds()[:5] == ["SYN", "RETRY", "SYN", "SYN_ACK", "DATA"]
    assert pair.log[2].opening.cookie
    assert pair.log[2].time == pair.log[1].time + pair.delay, "the second SYN goes at once"
    assert len(pair.endpoints["s"].connections) == 1


def test_retry_comes_by_itself_past_max_half_open() -> None:
    pair = Pair(opened=False, server=Config(max_half_open=2))
    pair.drop(lambda p: p.sender == "s" and p.destination[0] == "192.0.2.9")
    syn = None
    pair.flush()
    for number in range(5):
        syn = pair.log[0].opening._replace(source_id=number + 1)
        pair.inject(wire.encode_opening(syn), ("192.0.2.9", 1000 + number), SERVER)
    pair.until(lambda: opened(pair))
    stats = pair.endpoints["s"].stats()
    assert stats.half_open == 2
    assert stats.retries_sent == 4
    assert [p.kind for p in pair.packets("s") if p.destination == CLIENT][:2] == ["RETRY", "SYN_ACK"]


def test_no_cookie_no_state_when_retry_is_off() -> None:
    pair = Pair(opened=False, server=Config(max_half_open=0, retry="never"), client=Config(connect_timeout=1))
    pair.run(2)
    assert set(pair.kinds()) == {"SYN"}
    assert isinstance(pair.ends("c")[0], ConnectTimeout)


def cookie_syn(pair: Pair) -> wire.Syn:
    """The SYN with a cookie that the client sends after RETRY."""
    pair.until(lambda: any(p.opening.cookie for p in pair.packets("c", "SYN")))
    found = pair.packets("c", "SYN")[-1].opening
    assert isinstance(found, wire.Syn)
    return found


@pytest.mark.parametrize(
    ("changed", "address", "later"),
    [
        ({"source_id": 5}, CLIENT, 0.0),
        ({"destination_id": 5}, CLIENT, 0.0),
        ({"parameters": wire.Parameters(protection=1, idle_timeout=5.0)}, CLIENT, 0.0),
        ({}, ("10.0.0.9", CLIENT[1]), 0.0),
        ({}, (CLIENT[0], CLIENT[1] + 1), 0.0),
        ({}, CLIENT, 16.0),
        ({"cookie": b"x" * 24}, CLIENT, 0.0),
        ({"cookie": b"x"}, CLIENT, 0.0),
    ],
)
def test_a_cookie_is_bound_to_what_it_was_given_for(
    changed: dict[str, object], address: tuple[str, int], later: float
) -> None:
    pair = Pair(opened=False, server=Config(retry="always"))
    pair.drop(lambda p: p.kind == "SYN" and bool(p.opening.cookie))
    syn = cookie_syn(pair)
    pair.run(later)
    assert not pair.endpoints["s"].stats().connections
    pair.inject(wire.encode_opening(syn._replace(**changed)), address, SERVER)
    pair.run(0.01)
    assert not pair.endpoints["s"].stats().connections
    assert pair.packets("s")[-1].kind == "RETRY"


def test_the_right_cookie_is_taken() -> None:
    pair = Pair(opened=False, server=Config(retry="always"))
    pair.drop(lambda p: p.kind == "SYN" and bool(p.opening.cookie))
    syn = cookie_syn(pair)
    pair.inject(wire.encode_opening(syn), CLIENT, SERVER)
    pair.run(0.01)
    assert pair.endpoints["s"].stats().half_open == 1


def test_one_retry_a_connect() -> None:
    pair = Pair(opened=False, server=Config(retry="always"))
    pair.drop(lambda p: p.kind == "SYN_ACK")
    syn = cookie_syn(pair)
    first = pair.packets("s", "RETRY")[0].opening
    before = len(pair.packets("c", "SYN"))
    for cookie in (b"another", b"third"):
        pair.inject(wire.encode_opening(first._replace(cookie=cookie)), SERVER, CLIENT)
        pair.run(0.001)
    assert len(pair.packets("c", "SYN")) == before, "only the first brings forth a SYN at once"
    assert syn.cookie == first.cookie
    pair.run(1)
    assert pair.packets("c", "SYN")[before].opening.cookie == b"third", "the next try brings what is asked for now"


@pytest.mark.parametrize("how", ["moved", "expired", "restarted"])
def test_a_cookie_that_is_good_no_more_is_replaced(how: str) -> None:
    """Found by the swarm: whose address had changed between RETRY and SYN_ACK tried in vain until connect_timeout."""
    pair = Pair(opened=False, server=Config(retry="always"), client=Config(connect_timeout=60))
    with_cookie = pair.drop(lambda p: is_syn(p) and bool(p.opening.cookie), times=1)
    pair.until(lambda: with_cookie.applied > 0)
    if how == "moved":
        pair.move("c", ("10.0.0.9", 9))
    elif how == "expired":
        gone = pair.drop(lambda _: True)
        pair.run(20)
        pair.rules.remove(gone)
    else:
        pair.add("s", SERVER, accept=True, config=Config(retry="always"))
    pair.until(lambda: pair.client.is_open, 10)


def test_no_retry_with_a_wrong_echo_and_none_after_syn_ack() -> None:
    pair = Pair(opened=False)
    pair.drop(is_syn)
    pair.run(0.1)
    syn = pair.packets("c", "SYN")[0].opening
    pair.inject(wire.encode_opening(wire.Retry(syn.source_id, syn.destination_id ^ 1, b"cookie")), SERVER, CLIENT)
    pair.run(0.01)
    assert len(pair.packets("c", "SYN")) == 1
    pair = Pair()
    syn = pair.packets("c", "SYN")[0].opening
    sent = len(pair.log)
    pair.inject(wire.encode_opening(wire.Retry(syn.source_id, syn.destination_id, b"cookie")), SERVER, CLIENT)
    pair.run(1)
    assert len(pair.log) == sent


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.5))
def test_openings_through_loss(seed: int, loss: float) -> None:
    """Whatever is lost, either both sides open, or it ends in ConnectTimeout on whoever did not."""
    random = Random(seed)
    pair = Pair(seed=seed, opened=False)
    pair.drop(lambda _: random.random() < loss)
    pair.run(60)
    for name in ("c", "s"):
        for error in pair.ends(name):
            assert isinstance(error, TimeoutError | ConnectionError), (name, error)
    assert len(pair.events_of("s", Connected)) <= 1
