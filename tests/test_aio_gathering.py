"""When datagrams are let gather: in bulk flows that come one by one and ask for no answer, and then only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import rudp
from rudp.aio.driver import Driver
from rudp.aio.gathering import GAP, GATHER_TIME, MOST, WAKEUPS, Gathering
from rudp.sim import Delay, Machine, Network, Rate, run

FULL = 1200


def wakeups(gathering: Gathering, count: int, size: int = FULL, gap: float = 0.0001, start: float = 1.0) -> list[bool]:
    return [gathering.on_received(size, start + number * gap) for number in range(count)]


def test_bulk_that_comes_one_by_one_gathers_after_a_while() -> None:
    # The first has none before it.
    assert wakeups(Gathering(), WAKEUPS + 1) == [False] * WAKEUPS + [True]


def test_gathers_on_while_it_is_worth_it() -> None:
    gathering = Gathering()
    wakeups(gathering, WAKEUPS + 1)
    assert wakeups(gathering, 5, size=MOST, gap=0.0013) == [True] * 5
    assert not gathering.on_received(MOST - 1, 2.0)
    assert not gathering.on_received(FULL, 2.0001)


@pytest.mark.parametrize(
    ("size", "gap"),
    [(100, 0.0001), (MOST, 0.0001), (64_000, 0.0001), (FULL, GAP * 1.1), (0, 0.0001)],
    ids=["small", "already together", "merged", "seldom", "nothing"],
)
def test_other_traffic_is_read_at_once(size: int, gap: float) -> None:
    assert not any(wakeups(Gathering(), 100, size, gap))


def test_what_is_answered_is_read_at_once() -> None:
    gathering = Gathering()
    for number in range(100):
        assert not gathering.on_received(FULL, number * 0.0001)
        if number % (WAKEUPS - 1) == 0:
            gathering.on_sent()


# -- in a driver, in virtual time ---------------------------------------------------------------------------------

RATE = 12_500_000  # bytes a second: a full datagram every 0.1 ms
DELAY = 0.01
Handler = Callable[[rudp.Connection], Coroutine[Any, Any, None]]


def line() -> tuple[Network, Machine, Machine]:
    """A server and a client whose datagrams nobody merges."""
    network = Network(1)
    server = network.add_machine("server", merging=0.0)
    client = network.add_machine("client", merging=0.0)
    for source, destination in ((client, server), (server, client)):
        network.add_link(source, destination, [Rate(RATE), Delay(DELAY)])
    return network, server, client


def send_all(data: bytes, take: Handler, network: Network, server: Machine, client: Machine) -> None:
    """Send `data` from client to server, where `take` is the handler, and end in good order."""

    async def main() -> None:
        running = await server.run(rudp.serve(take, "", 7))
        async with rudp.connect("server", 7) as connection:
            await connection.main_stream.send(data)
            await connection.main_stream.send_eof()
        running.close()
        await server.run(running.wait_closed())

    run(main(), network=network, on=client)


def test_a_bulk_flow_wakes_its_receiver_seldom_and_arrives_whole() -> None:
    network, server, client = line()
    data = bytes(range(256)) * 12_000
    arrived = bytearray()
    wakeups_at: list[float] = []

    async def take(connection: rudp.Connection) -> None:
        while piece := await connection.main_stream.receive(1 << 20):
            arrived.extend(piece)
            wakeups_at.append(asyncio.get_running_loop().time())

    send_all(data, take, network, server, client)
    assert arrived == data
    datagrams = len(data) // FULL
    assert len(wakeups_at) < datagrams / 4
    # Nothing lay in the socket for longer than it gathers.
    assert network.now < 1.0


def test_a_question_after_a_bulk_flow_is_answered_at_once() -> None:
    network, server, client = line()
    took: list[float] = []

    async def answer(connection: rudp.Connection) -> None:
        stream = connection.main_stream
        while await stream.receive_exactly(FULL * 500):
            await stream.send(b"done")
            for _ in range(20):
                await stream.send(await stream.receive_exactly(FULL))
            return

    async def main() -> None:
        loop = asyncio.get_running_loop()
        running = await server.run(rudp.serve(answer, "", 7))
        async with rudp.connect("server", 7) as connection:
            stream = connection.main_stream
            await stream.send(bytes(FULL * 500))
            assert await stream.receive_exactly(4) == b"done"
            for _ in range(20):
                asked = loop.time()
                await stream.send(bytes(FULL))
                await stream.receive_exactly(FULL)
                took.append(loop.time() - asked)
            await stream.send_eof()
        running.close()
        await server.run(running.wait_closed())

    run(main(), network=network, on=client)
    serialization = 2 * (FULL + 200) / RATE
    assert len(took) == 20
    # Room for a probe of the path MTU before it, not for gathering.
    assert max(took) < 2 * DELAY + serialization + GATHER_TIME / 2, took


def test_a_socket_closed_while_datagrams_gather_ends_its_connections() -> None:
    network, server, client = line()
    ends: list[BaseException] = []

    async def take(connection: rudp.Connection) -> None:
        driver = connection.driver
        try:
            while await connection.main_stream.receive(1 << 20):
                if driver._gathering.active:
                    await driver_closes(connection)
        except rudp.RudpError as error:
            ends.append(error)
            raise

    async def driver_closes(connection: rudp.Connection) -> None:
        connection.abort(0, "enough")
        await asyncio.sleep(0.1)

    async def main() -> None:
        running = await server.run(rudp.serve(take, "", 7))
        with pytest.raises(rudp.RudpError):
            async with rudp.connect("server", 7) as connection:
                while True:
                    await connection.main_stream.send(bytes(1 << 18))
        running.close()
        await server.run(running.wait_closed())

    run(main(), network=network, on=client)
    assert len(ends) == 1


def test_what_came_before_an_error_is_answered_all_the_same() -> None:
    """In the loop's next turn, as if nothing had been: not when a timer of old happens to be due."""
    network, server, client = line()
    fails: list[bool] = []
    reported: list[str] = []

    def may_fail(driver: Driver) -> None:
        core: Any = driver.core
        usual = core.receive

        def receive(*arguments: Any) -> None:
            usual(*arguments)
            if fails:
                raise RuntimeError(f"mistake {fails.pop()}")

        core.receive = receive

    async def echo(connection: rudp.Connection) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
        may_fail(connection.driver)
        while piece := await connection.main_stream.receive():
            await connection.main_stream.send(piece)

    async def main() -> None:
        running = await server.run(rudp.serve(echo, "", 7))
        took = []
        async with rudp.connect("server", 7) as connection:
            for fault in (False, False, True):
                fails.extend([True] * fault)
                start = connection.loop.time()
                await connection.main_stream.send(b"x")
                await connection.main_stream.receive()
                took.append(connection.loop.time() - start)
        running.close()
        await server.run(running.wait_closed())
        assert took[2] == pytest.approx(took[1], rel=0.01)

    run(main(), network=network, on=client)
    assert reported == ["mistake True"]


def test_an_error_while_datagrams_gather_leaves_the_socket_with_a_reader() -> None:
    """A mistake of ours: the loop reports it, and what comes next is read as ever."""
    network, server, client = line()
    data = bytes(range(256)) * 6_000
    arrived = bytearray()
    reported: list[str] = []

    def fails_once(driver: Driver) -> None:
        core: Any = driver.core
        usual = core.receive

        def receive(*arguments: Any) -> None:
            if driver._gathering.active and not reported:
                reported.append("raised")
                raise RuntimeError("a mistake")
            usual(*arguments)

        core.receive = receive

    async def take(connection: rudp.Connection) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
        fails_once(connection.driver)
        while piece := await connection.main_stream.receive(1 << 20):
            arrived.extend(piece)

    send_all(data, take, network, server, client)
    assert reported == ["raised", "a mistake"]
    assert arrived == data
