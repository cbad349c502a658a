"""What a wake-up costs and how much it may do: system calls of a small message, trains and buffers of a turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import rudp
from rudp.aio import driver as driver_module
from rudp.aio import system as system_module
from rudp.errors import ConnectionReset
from rudp.sim import run as simulate
from rudp.train import Train
from rudp.udp import UdpSocket
from tests.test_aio import HOST, pair, run

pytestmark = pytest.mark.usefixtures("each_loop")

MESSAGES = 64


class Counting(UdpSocket):
    """A socket that counts its system calls, by what they brought."""

    __slots__ = ("calls",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.calls: Counter[str] = Counter()
        receive, send = self._recv, self._sendmsg

        def counted_receive(*arguments: Any) -> Any:
            self.calls["looked"] += 1
            found = receive(*arguments)
            self.calls["received"] += 1
            return found

        def counted_send(*arguments: Any) -> Any:
            self.calls["sent"] += 1
            return send(*arguments)

        self._recv, self._sendmsg = counted_receive, counted_send

    def send(self, train: Train) -> bool:
        self.calls["trains"] += 1
        return super().send(train)

    def receive(self, *, first: bool = False) -> Any:
        received = super().receive(first=first)
        self.calls["buffers"] += received is not None
        return received


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[Counting]:
    opened: list[Counting] = []

    def open_socket(_: Any, local_addr: Any, *, family: int = 0, buffer_size: int) -> Counting:
        opened.append(Counting.open(local_addr, family=family, buffer_size=buffer_size))
        return opened[-1]

    monkeypatch.setattr(system_module._Machine, "open_socket", open_socket)
    return opened


async def echo_main(connection: rudp.Connection) -> None:
    while data := await connection.main_stream.receive():
        await connection.main_stream.send(data)


async def discard(connection: rudp.Connection) -> None:
    while await connection.main_stream.receive():
        pass


def test_a_small_message_is_one_datagram_and_hardly_more_than_one_look(sockets: list[Counting]) -> None:
    async def main() -> None:
        async with pair(echo_main) as connection:
            stream = connection.main_stream
            for _ in range(2 * MESSAGES):
                await stream.send(b"x" * 100)
                assert await stream.receive_exactly(100)
            before = [Counter(sock.calls) for sock in sockets]
            for _ in range(MESSAGES):
                await stream.send(b"x" * 100)
                assert await stream.receive_exactly(100)
            for sock, earlier in zip(sockets, before, strict=True):
                calls = sock.calls - earlier
                # A credit now and then, and a repetition where the machine is slow.
                assert calls["sent"] <= MESSAGES + MESSAGES // 4
                assert calls["looked"] - calls["received"] <= MESSAGES // driver_module.LONGEST_PATIENCE + 4
            await stream.send_eof()

    run(main())


def test_an_opening_and_its_close_are_five_datagrams_and_few_turns(
    sockets: list[Counting], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 40
    timers = 0
    on_timer = driver_module.Driver._on_timer

    def counted(driver: driver_module.Driver) -> None:
        nonlocal timers
        timers += 1
        on_timer(driver)

    monkeypatch.setattr(driver_module.Driver, "_on_timer", counted)

    async def main() -> None:
        nonlocal timers
        async with await rudp.serve(discard, HOST, 0) as server, await rudp.Endpoint.bind(HOST) as endpoint:
            loop = asyncio.get_running_loop()
            port = server.local_address[1]
            for _ in range(count):
                await (await endpoint.connect(HOST, port)).close()
            before, timers, start = [Counter(sock.calls) for sock in sockets], 0, loop.time()
            scheduled = 0
            call_soon = loop.call_soon

            def counting(*arguments: Any, **options: Any) -> Any:
                nonlocal scheduled
                scheduled += 1
                return call_soon(*arguments, **options)

            loop.call_soon = counting  # type: ignore[method-assign]
            try:
                for _ in range(count):
                    await (await endpoint.connect(HOST, port)).close()
            finally:
                del loop.call_soon  # type: ignore[attr-defined]
            served, asked = (sock.calls - earlier for sock, earlier in zip(sockets, before, strict=True))
            # SYN_ACK, and FIN with the acknowledgement of the client's; SYN, FIN, and the acknowledgement of the
            # server's. A repetition where the machine is slow.
            spare = count // 4
            assert 2 * count <= served["sent"] <= 2 * count + spare
            assert 3 * count <= asked["sent"] <= 3 * count + spare
            # Now and then the socket is asked for more; an acknowledgement may have the next SYN behind it.
            for calls in (served, asked):
                assert calls["looked"] - calls["received"] <= count // 2
            # For the SYN, for the first step of the handler and for what it leads to; all else happens in the turns
            # that read the socket.
            assert scheduled <= 3 * count + spare
            # The closed ones are forgotten together, not each by a timer of its own.
            assert timers <= spare + 60 * (loop.time() - start)

    run(main())


def test_a_reader_answers_in_the_turn_that_read_the_socket() -> None:
    async def main() -> None:
        async with pair(echo_main) as connection:
            stream = connection.main_stream
            loop = asyncio.get_running_loop()
            await stream.send(b"first")
            await stream.receive_exactly(5)
            scheduled: list[Any] = []
            call_soon = loop.call_soon
            loop.call_soon = lambda *a, **k: (scheduled.append(a), call_soon(*a, **k))[1]  # type: ignore[method-assign]
            try:
                for _ in range(20):
                    await stream.send(b"x" * 100)
                    await stream.receive_exactly(100)
            finally:
                del loop.call_soon  # type: ignore[attr-defined]
            # The first message goes out by one, as it is written in a task; all others in the turns that read.
            assert len([call for call in scheduled if getattr(call[0], "__name__", "") == "_on_wake"]) <= 2
            await stream.send_eof()

    run(main())


@pytest.mark.parametrize("trains", [1, 3])
def test_others_on_the_loop_get_their_turn(
    sockets: list[Counting], monkeypatch: pytest.MonkeyPatch, trains: int
) -> None:
    """However much waits to be sent and to be read, a turn of the loop does so much of it and no more."""
    monkeypatch.setattr(driver_module, "TRAINS_PER_WAKEUP", trains)
    monkeypatch.setattr(driver_module, "BUFFERS_PER_WAKEUP", 2)

    async def main() -> None:
        async with pair(discard) as connection:
            loop = asyncio.get_running_loop()
            most: Counter[str] = Counter()
            before = [Counter(sock.calls) for sock in sockets]
            going = True

            def tick() -> None:
                for index, sock in enumerate(sockets):
                    for name, count in (sock.calls - before[index]).items():
                        most[name] = max(most[name], count)
                    before[index] = Counter(sock.calls)
                if going:
                    loop.call_soon(tick)

            tick()
            await connection.main_stream.send(bytes(4_000_000))
            await connection.main_stream.send_eof()
            await connection.close()
            going = False
            # A turn may have an input, a timer and a command, or what was read ahead and what the socket has.
            assert 0 < most["trains"] <= 3 * trains
            assert 0 < most["buffers"] <= 2 * 2

    run(main())


def test_many_that_write_at_once_share_turns(sockets: list[Counting], monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that all have something to send don't go out in one turn, and none is forgotten."""
    monkeypatch.setattr(driver_module, "TRAINS_PER_WAKEUP", 4)
    bursts: list[int] = []
    flush = driver_module.Driver._flush

    def counted(driver: Any) -> None:
        before = driver.socket.calls["trains"]
        flush(driver)
        bursts.append(driver.socket.calls["trains"] - before)

    monkeypatch.setattr(driver_module.Driver, "_flush", counted)

    async def main() -> None:
        async with await rudp.serve(echo_main, HOST, 0) as server, await rudp.Endpoint.bind(HOST) as endpoint:
            port = server.local_address[1]
            connections = [await endpoint.connect(HOST, port) for _ in range(30)]
            for connection in connections:
                await connection.main_stream.send(b"together")
            for connection in connections:
                assert await connection.main_stream.receive_exactly(8) == b"together"
            await asyncio.gather(*(connection.close() for connection in connections))
            assert 0 < max(bursts) <= 4

    run(main())


def test_an_endpoint_that_is_closed_tells_all_its_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that it would tell in a later turn: there is none."""
    monkeypatch.setattr(driver_module, "TRAINS_PER_WAKEUP", 4)
    ends: list[float] = []

    async def see(connection: rudp.Connection) -> None:
        with pytest.raises(ConnectionReset, match="the endpoint was closed"):
            await connection.main_stream.receive()
        ends.append(asyncio.get_running_loop().time())

    async def main() -> float:
        async with await rudp.serve(see, HOST, 0) as server:
            async with await rudp.Endpoint.bind(HOST) as endpoint:
                for _ in range(30):
                    await endpoint.connect(HOST, server.local_address[1])
                await asyncio.sleep(0.1)
                closed = asyncio.get_running_loop().time()
        return closed

    closed = simulate(main())
    assert len(ends) == 30
    assert max(ends) < closed + 0.1


async def echo_two(connection: rudp.Connection) -> None:
    """Answers on two streams, each by a task of its own."""
    streams = [await connection.accept_stream() for _ in range(2)]
    await asyncio.gather(*map(echo, streams))


async def echo(stream: rudp.Stream) -> None:
    while data := await stream.receive():
        await stream.send(data)
    await stream.send_eof()


def test_an_answer_leaves_before_who_wrote_it_waits_again(sockets: list[Counting]) -> None:
    async def main() -> None:
        waiting: list[bool] = []
        server: list[rudp.Connection] = []

        async def serve(connection: rudp.Connection) -> None:
            server.append(connection)
            await echo(connection.main_stream)

        async with pair(serve) as connection:
            stream = connection.main_stream
            await stream.send(b"x" * 100)
            await stream.receive_exactly(100)
            udp = server[0].driver.socket
            send = udp._sendmsg

            def noted(*arguments: Any) -> Any:
                reader = server[0].main_stream._reader
                waiting.append(reader is not None and not reader.done())
                return send(*arguments)

            udp._sendmsg = noted
            for _ in range(10):
                await stream.send(b"x" * 100)
                await stream.receive_exactly(100)
            # An acknowledgement now and then goes by itself, by a timer.
            assert waiting.count(False) >= 8
            await stream.send_eof()

    run(main())


def test_answers_on_several_streams_share_a_packet(sockets: list[Counting]) -> None:
    async def main() -> None:
        async with pair(echo_two) as connection:
            streams = [connection.main_stream, await connection.open_stream()]

            async def exchange() -> None:
                for stream in streams:
                    await stream.send(b"x" * 100)
                for stream in streams:
                    await stream.receive_exactly(100)

            await exchange()
            before = [Counter(sock.calls) for sock in sockets]
            for _ in range(MESSAGES):
                await exchange()
            for sock, earlier in zip(sockets, before, strict=True):
                assert (sock.calls - earlier)["sent"] <= MESSAGES + MESSAGES // 4
            for stream in streams:
                await stream.send_eof()

    run(main())


def test_what_was_read_ahead_behind_small_datagrams_is_taken_in_that_turn(sockets: list[Counting]) -> None:
    """Datagrams that the kernel merged are small and alone, as far as their buffer tells, and aren't."""

    async def main() -> None:
        async with await rudp.Endpoint.bind(HOST) as endpoint:
            address, core = endpoint.local_address, endpoint._driver.core
            first, second = UdpSocket.open((HOST, 0)), UdpSocket.open((HOST, 0))
            try:
                for known in range(1, 5):  # one at a time, until nobody looks behind them
                    first.send(Train([bytes(100)], 100, 100, None, address, 0))
                    while core.stats().datagrams_received < known:
                        await asyncio.sleep(0.001)
                first.send(Train([bytes(300)], 100, 300, None, address, 0))
                second.send(Train([bytes(200)], 200, 200, None, address, 0))
                for _ in range(20):
                    await asyncio.sleep(0)  # they are there already, on loopback
                assert core.stats().datagrams_received == 8
            finally:
                first.close()
                second.close()

    run(main())
