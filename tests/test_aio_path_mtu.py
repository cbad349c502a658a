"""Path MTU discovery over real sockets on loopback."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.aio import driver
from rudp.train import Train
from rudp.udp import UdpSocket
from tests.test_aio import echo, pair, run

LOOPBACK = 65507
SIZE = 8_000_000


async def there_and_back(connection: rudp.Connection, size: int) -> None:
    """So many bytes to an echo and back, compared."""
    data = bytes(range(250)) * (size // 250)
    stream = await connection.open_stream()

    async def write() -> None:
        await stream.send(data)
        await stream.send_eof()

    writing = asyncio.create_task(write())
    assert await stream.receive_exactly(len(data)) == data
    await writing


def test_on_loopback_packets_grow_to_what_an_ipv4_datagram_holds() -> None:
    async def main() -> rudp.Stats:
        async with pair(echo) as connection:
            await there_and_back(connection, SIZE)
            return connection.stats()

    stats = run(main())
    assert (stats.max_datagram_size, stats.path_mtu_state) == (LOOPBACK, "SEARCH_COMPLETE")


@pytest.mark.parametrize("when", ["at once", "when it had waited", "as the last of a wake-up"])
def test_an_interface_that_refuses_large_datagrams_is_learnt_from(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    usual = UdpSocket.send
    waited: list[Train] = []
    refused: list[int] = []

    def send(sock: UdpSocket, train: Train) -> bool:
        if train.segment_size <= 1392:
            return usual(sock, train)
        if when == "when it had waited" and train not in waited:
            waited.append(train)
            return False
        sock.counters.too_big += 1
        refused.append(train.segment_size)
        return True

    monkeypatch.setattr(UdpSocket, "send", send)
    if when == "as the last of a wake-up":
        monkeypatch.setattr(driver, "TRAINS_PER_WAKEUP", 1)

    async def main() -> rudp.Stats:
        async with pair(echo, datagram_size_limit=1472) as connection:
            await there_and_back(connection, SIZE // 10)
            return connection.stats()

    stats = run(main())
    assert (stats.max_datagram_size, stats.path_mtu_state) == (1392, "SEARCH_COMPLETE")
    assert max(map(refused.count, refused)) <= 2, "once on either side"


@pytest.mark.parametrize("waits", [False, True])
def test_a_size_that_is_refused_in_mid_transfer_is_refused_once(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    """The kernel heard of a smaller path MTU: of the trains made for the old none is offered, though one had waited."""
    usual = UdpSocket.send
    large: list[UdpSocket] = []
    waited: list[Train] = []
    refused: list[UdpSocket] = []

    def send(sock: UdpSocket, train: Train) -> bool:
        if train.segment_size > 1392:
            large.append(sock)
            if large.count(sock) > 20:
                if waits and train not in waited:
                    waited.append(train)
                    return False
                sock.counters.too_big += 1
                if train.size > train.segment_size:
                    refused.append(sock)
                return True
        return usual(sock, train)

    monkeypatch.setattr(UdpSocket, "send", send)

    async def main() -> rudp.Stats:
        async with pair(echo, datagram_size_limit=1472) as connection:
            await there_and_back(connection, SIZE)
            return connection.stats()

    stats = run(main())
    assert stats.max_datagram_size <= 1392
    assert stats.packets_lost == 0
    assert len(refused) == len(set(refused)) == 2, "once on either side, and probes of one packet"


@pytest.mark.parametrize("limit", [1200, 9000])
def test_a_limit_is_kept(limit: int) -> None:
    async def main() -> rudp.Stats:
        async with pair(echo, datagram_size_limit=limit) as connection:
            await there_and_back(connection, SIZE // 10)
            return connection.stats()

    assert run(main()).max_datagram_size == limit
