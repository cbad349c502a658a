"""An ACK that comes with a request is reckoned when the answer has left, and as if it had been when it came."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rudp import wire
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import ConnectionAborted, ErrorCode
from rudp.events import Connected, StreamReadable, Terminated
from rudp.inbound import Inbound
from rudp.train import Address

CLIENT: Address = ("192.0.2.1", 40_000)
SERVER: Address = ("192.0.2.2", 7_000)
STEP = 0.002


class Talk:
    """A client that asks and a server that answers, over a path on which everything takes STEP."""

    def __init__(self, size: int = 100) -> None:
        self.now = 1.0
        self.asks = 0
        self.size = size
        self.client = Endpoint(random=random.Random(1))
        self.server = Endpoint(random=random.Random(2), accept=True)
        self.mine = self.client.connect(SERVER, self.now)
        self.errors: list[Exception | None] = []
        self.held = 0

    @property
    def theirs(self) -> Connection:
        return self.server.connections[0]

    def answer(self, endpoint: Endpoint) -> None:
        """What the programs do about events."""
        while (item := endpoint.next_event()) is not None:
            connection, event = item
            if isinstance(event, StreamReadable):
                while data := connection.receive(0):
                    if connection is not self.mine:
                        connection.send(0, data)
            if isinstance(event, Terminated):
                self.errors.append(event.error)
            if isinstance(event, (Connected, StreamReadable)) and connection is self.mine and self.asks:
                self.asks -= 1
                connection.send(0, bytes(self.size))

    def send(self, endpoint: Endpoint) -> list[bytes]:
        return [b"".join(train.buffers) for train in endpoint.datagrams_to_send(self.now)]

    def take(self, endpoint: Endpoint, datagrams: list[bytes], source: Address) -> None:
        for data in datagrams:
            endpoint.receive(memoryview(data), len(data), source, None, 0, self.now)
            self.held += any(c._inbound.held_ack is not None for c in endpoint.connections)

    def turn(self) -> None:
        """One way, and the other."""
        for one, other, source in ((self.client, self.server, CLIENT), (self.server, self.client, SERVER)):
            datagrams = self.send(one)
            self.now += STEP
            self.take(other, datagrams, source)
            self.answer(other)

    def run(self, asks: int) -> None:
        self.asks = asks
        self.answer(self.client)
        for _ in range(asks + 6):
            self.turn()


def outstanding(connection: Connection) -> int:
    return int(connection._recovery.sent_packets.bytes_in_flight)


def warmed() -> Talk:
    talk = Talk()
    talk.run(20)
    assert talk.asks == 0
    talk.send(talk.client), talk.send(talk.server)
    return talk


def ask(talk: Talk) -> tuple[list[bytes], int]:
    """Have a request on its way whose packet acknowledges the last answer's."""
    talk.mine.send(0, bytes(100))
    talk.now += STEP
    talk.take(talk.server, talk.send(talk.client), CLIENT)
    talk.answer(talk.server)
    answer = talk.send(talk.server)
    talk.now += STEP
    talk.take(talk.client, answer, SERVER)
    return answer, outstanding(talk.mine)


def test_an_answer_leaves_before_what_was_acknowledged_beside_its_request_is_reckoned() -> None:
    talk = warmed()
    _, before = ask(talk)
    assert before > 100, "the request counts as on its way, though its acknowledgement is there"
    assert talk.mine.receive(0) == bytes(100)
    talk.mine.send(0, bytes(100))
    trains = talk.client.datagrams_to_send(talk.now)
    train = next(trains)
    assert outstanding(talk.mine) == before, "nor is the answer itself accounted for"
    talk.mine.stats(talk.now)
    assert outstanding(talk.mine) == before + train.size
    assert not list(trains)
    assert outstanding(talk.mine) == train.size, "once the answer is out, only that is on its way"


def test_without_an_answer_the_acknowledgement_counts_at_once() -> None:
    talk = warmed()
    _, before = ask(talk)
    assert before
    talk.mine.receive(0)
    talk.send(talk.client)
    assert outstanding(talk.mine) == 0


@pytest.mark.parametrize("size", [1, 100, 500, 900, 1_100])
def test_what_is_known_afterwards_is_the_same(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(talk: Talk) -> Any:
        return [
            (outstanding(c), c.send_buffered, c._recovery.delivered, c._recovery.rtt.latest_rtt, c._recovery.pto_count)
            for c in (talk.mine, talk.theirs)
        ]

    talk = Talk(size)
    talk.run(30)
    assert (talk.held > 20) == (size <= 500), "only what is no part of something large waits"
    monkeypatch.setattr(Inbound, "_holds", lambda *_: False)
    plain = Talk(size)
    plain.run(30)
    assert plain.held == 0
    assert plain.asks == talk.asks == 0
    assert figures(talk) == figures(plain)


def test_a_timer_finds_the_acknowledgement_that_has_come() -> None:
    talk = warmed()
    ask(talk)
    due = talk.client.next_timeout()
    assert due is not None
    talk.now = due + 1.0
    talk.client.handle_timeout(talk.now)
    assert outstanding(talk.mine) == 0
    assert talk.mine._recovery.pto_count == 0
    assert not talk.mine._outbound.probes


def test_who_acknowledges_what_is_sent_next_is_found_out() -> None:
    talk = warmed()
    packetizer = talk.theirs._outbound.packetizer
    number = talk.mine._recovery.next_packet_number
    frames = [
        wire.Ack(number, 0.0, ((0, number + 1),), None),
        wire.Stream(0, talk.theirs._streams.find(0).send.written, bytes(100), False),  # type: ignore[union-attr]
    ]
    forged = b"".join(packetizer.single(frames, talk.now)[0][0])
    talk.take(talk.client, [forged], SERVER)
    talk.answer(talk.client)
    talk.send(talk.client)
    assert len(talk.errors) == 1
    assert isinstance(talk.errors[0], ConnectionAborted)
    assert talk.errors[0].code == ErrorCode.PROTOCOL_VIOLATION


def test_a_second_acknowledgement_settles_the_first() -> None:
    talk = warmed()
    ask(talk)
    held = talk.mine._inbound.held_ack
    assert held is not None
    ask(talk)
    assert talk.mine._inbound.held_ack is not held
    talk.send(talk.client)
    assert outstanding(talk.mine) == 0


def test_reading_all_there_is_brings_the_next_event() -> None:
    talk = warmed()
    for _ in range(3):
        ask(talk)
        connection, event = talk.client.next_event() or (None, None)
        assert connection is talk.mine
        assert isinstance(event, StreamReadable)
        assert talk.client.next_event() is None
        assert not talk.mine.waits(0)
        assert talk.mine.receive(0, 60) == bytes(60)
        assert not talk.mine.waits(0), "there is more"
        assert talk.mine.receive(0, 60) == bytes(40)
        assert talk.mine.waits(0)


def test_bytes_left_unread_bring_no_second_event() -> None:
    talk = warmed()
    ask(talk)
    assert talk.client.next_event() is not None
    talk.mine.receive(0, 60)
    ask(talk)
    assert talk.client.next_event() is None
    assert talk.mine.receive(0) == bytes(140)
