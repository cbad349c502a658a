"""Whoever waits is woken, whatever ends the wait; what ends makes room; what fails in a callback stays there."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

import rudp
from rudp.aio import client as client_module
from rudp.aio import driver as driver_module
from rudp.aio.resolve import resolve
from rudp.errors import ConnectionClosed, StreamClosed, StreamReset
from rudp.sim import SimulatedLoop
from tests.test_aio import HOST, pair, run, settle

pytestmark = pytest.mark.usefixtures("each_loop")

MANY = bytes(300_000)


@asynccontextmanager
async def aborted(**config: Any):
    """A connection to a server that doesn't read; aborted when left."""
    with suppress(rudp.ConnectionAborted):
        async with pair(hold, **config) as connection:
            yield connection
            connection.abort()


async def hold(connection: rudp.Connection) -> None:
    """Read nothing until the connection ends."""
    with suppress(OSError):
        await connection.wait_closed()


def test_stop_sending_wakes_who_waits_to_receive():
    async def main():
        async with aborted() as connection:
            stream = await connection.open_stream()
            reader = asyncio.create_task(stream.receive())
            await settle()
            stream.stop_sending(1)
            with pytest.raises(StreamClosed):
                await asyncio.wait_for(reader, 5)
            with pytest.raises(StreamClosed):
                await stream.receive()

    run(main())


def test_a_reset_by_this_side_wakes_all_who_wait_to_send():
    async def main():
        async with aborted(initial_receive_window=4096, receive_window=4096, send_buffer=1000) as connection:
            stream = await connection.open_stream()
            await stream.send(MANY)
            senders = [asyncio.create_task(stream.send(b"more")) for _ in range(3)]
            await settle()
            stream.reset(1)
            for sender in senders:
                with pytest.raises(StreamClosed):
                    await asyncio.wait_for(sender, 5)

    run(main())


def test_the_end_of_the_connection_wakes_all_who_wait():
    async def main():
        limits = {"initial_receive_window": 4096, "receive_window": 4096, "send_buffer": 1000, "max_streams_bidi": 2}
        async with aborted(**limits) as connection:
            stream = await connection.open_stream()
            await stream.send(MANY)
            tasks = [asyncio.create_task(stream.send(b"more")) for _ in range(2)]
            tasks += [
                asyncio.create_task(stream.receive()),
                asyncio.create_task(connection.open_stream()),
                asyncio.create_task(connection.accept_stream()),
                asyncio.create_task(connection.wait_closed()),
            ]
            await settle()
            connection.abort(7, "enough")
            for task in tasks:
                with pytest.raises(rudp.ConnectionAborted):
                    await asyncio.wait_for(task, 5)

    run(main())


@pytest.mark.parametrize("end", ["send_eof", "close"])
def test_the_end_of_writing_wakes_who_waits_to_open_a_stream(end):
    async def main():
        async with aborted(max_streams_bidi=1) as connection:
            opener = asyncio.create_task(connection.open_stream())
            await settle()
            if end == "send_eof":
                await connection.send_eof()
            else:
                connection.begin_close()
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(opener, 5)

    run(main())


def test_a_stream_that_the_peer_reset_makes_room_for_another():
    async def main():
        got = []

        async def handler(connection):
            async for stream in connection.streams():
                await asyncio.sleep(0.05)
                try:
                    await stream.receive()
                except StreamReset as error:
                    got.append(error.code)

        async with pair(handler, max_streams_uni=1) as connection:
            for code in range(3):
                stream = await asyncio.wait_for(connection.open_stream(unidirectional=True), 5)
                stream.reset(code)
            stream = await asyncio.wait_for(connection.open_stream(unidirectional=True), 5)
            assert got == [0, 1, 2]
            stream.reset(3)

    run(main(), SimulatedLoop)


def test_an_end_that_is_read_late_makes_room_for_another():
    async def main():
        async def handler(connection):
            async for stream in connection.streams():
                while await stream.receive():
                    # The acknowledgements are out long before the end is read.
                    await asyncio.sleep(0.2)
                # Not left to whichever timer comes next.
                assert connection.driver._flush_due

        async with pair(handler, max_streams_uni=1) as connection:
            for _ in range(2):
                stream = await asyncio.wait_for(connection.open_stream(unidirectional=True), 5)
                await stream.send(b"x")
                await asyncio.sleep(0.05)
                await stream.send_eof()
            # To a peer that has closed no further stream is owed.
            await asyncio.sleep(0.5)

    run(main(), SimulatedLoop)


def test_a_reset_behind_data_reaches_the_reader_and_makes_room():
    async def main():
        ends: asyncio.Queue[BaseException | bytes] = asyncio.Queue()

        async def callback(reader, writer):
            try:
                ends.put_nowait(await reader.read())
            except (StreamReset, rudp.ConnectionAborted) as error:
                ends.put_nowait(error)

        config = rudp.Config(max_streams_bidi=2)
        server = await rudp.start_server(callback, HOST, 0, config=config)
        connection = await rudp.connect(HOST, server.sockets[0].getsockname()[1])
        for code in range(3):
            stream = await asyncio.wait_for(connection.open_stream(), 5)
            await stream.send(b"x" * 100)
            await asyncio.sleep(0.02)
            # Both wait at the server's socket when it looks: more data, then the reset.
            await stream.send(b"y" * 100)
            connection.driver._flush()
            stream.reset(code)
            connection.driver._flush()
            error = await asyncio.wait_for(ends.get(), 5)
            assert isinstance(error, StreamReset)
            assert error.code == code
        connection.abort()
        server.close()
        server.abort_clients()
        await server.wait_closed()

    run(main())


def test_a_callback_that_raises_leaves_other_connections_alone():
    async def main():
        loop = asyncio.get_running_loop()
        problems = []
        loop.set_exception_handler(lambda _, context: problems.append(context))
        calls = []

        def callback(reader, writer):
            calls.append(writer)
            if len(calls) == 1:
                raise ValueError("a fault of the callback")
            writer.write(b"hello")
            writer.close()

        server = await rudp.start_server(callback, HOST, 0)
        port = server.sockets[0].getsockname()[1]
        _, first = await rudp.open_connection(HOST, port)
        first.write(b"x")
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(first.wait_closed(), 5)
        reader, second = await rudp.open_connection(HOST, port)
        assert await asyncio.wait_for(reader.read(), 5) == b"hello"
        second.close()
        await second.wait_closed()
        assert len(calls) == 2
        (problem,) = problems
        assert isinstance(problem["exception"], ValueError)
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_of_two_addresses_that_answer_at_once_one_is_closed(monkeypatch):
    async def main():
        async with await rudp.serve(hold, HOST, 0) as server:
            port = server.local_address[1]

            async def twice(*_):
                return [(HOST, port), (HOST, port)]

            monkeypatch.setattr(client_module, "resolve", twice)
            monkeypatch.setattr(client_module, "ATTEMPT_DELAY", 0.0)
            made = []
            real = client_module._try

            async def both(*arguments):
                connection = await real(*arguments)
                made.append(connection)
                while len(made) < 2:
                    await asyncio.sleep(0)
                return connection

            monkeypatch.setattr(client_module, "_try", both)
            winner = await rudp.connect("name", port)
            await settle()
            await asyncio.sleep(0.05)
            loser = made[1 - made.index(winner)]
            assert not winner.is_closed
            assert loser.is_closed or not loser.core.is_writable
            for connection in made:
                connection.abort()

    run(main())


def test_connections_that_nobody_accepted_and_that_ended_are_not_held():
    async def main():
        async with await rudp.Endpoint.bind(HOST) as endpoint, await rudp.Endpoint.bind(HOST) as other:
            for _ in range(300):
                connection = await other.connect(HOST, endpoint.local_address[1])
                while not endpoint.stats().connections - endpoint.stats().half_open:
                    await asyncio.sleep(0)
                connection.abort()
                while endpoint.stats().connections:
                    await asyncio.sleep(0)
            assert len(endpoint._accepted) < 150
            connection = await other.connect(HOST, endpoint.local_address[1])
            accepted = await asyncio.wait_for(endpoint.accept(), 5)
            assert not accepted.is_closed
            assert accepted.remote_address[1] == other.local_address[1]

    run(main())


def test_a_callback_gets_one_way_streams_too():
    async def main():
        got: asyncio.Queue[bytes] = asyncio.Queue()

        async def callback(reader, writer):
            try:
                data = await reader.read()
            finally:
                writer.close()
            if writer.get_extra_info("stream_id"):
                assert not writer.can_write_eof()
                got.put_nowait(data)

        server = await rudp.start_server(callback, HOST, 0, config=rudp.Config(max_streams_uni=1))
        with suppress(rudp.ConnectionAborted):
            async with rudp.connect(HOST, server.sockets[0].getsockname()[1]) as connection:
                for index in range(3):
                    stream = await asyncio.wait_for(connection.open_stream(unidirectional=True), 5)
                    await stream.send(b"%d" % index)
                    await stream.send_eof()
                    assert await asyncio.wait_for(got.get(), 5) == b"%d" % index
                await connection.main_stream.send_eof()
                await settle()
                connection.abort()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_slow_resolver_does_not_block_the_loop(monkeypatch):
    answer = threading.Event()
    real = socket.getaddrinfo

    def slow(*arguments, **options):
        assert answer.wait(5), "the loop waited for the resolver, which waits for the loop"
        return real(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main():
        server = await rudp.serve(hold, "", 0)
        connecting = asyncio.ensure_future(asyncio.wait_for(rudp.connect("localhost", server.local_address[1]), 10))
        await settle()
        assert not connecting.done()
        answer.set()
        connection = await connecting
        connection.abort()
        server.close()
        await server.wait_closed()

    # uvloop asks the C library itself.
    run(main(), asyncio.new_event_loop)


@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.1", 0, ("127.0.0.1", 7)),
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 7)),
        ("::1", 0, ("::1", 7, 0, 0)),
        ("::1", socket.AF_INET6, ("::1", 7, 0, 0)),
        ("::ffff:192.0.2.1", 0, ("192.0.2.1", 7)),
    ],
)
def test_what_is_an_address_already_asks_nobody(monkeypatch, host, family, address):
    async def main():
        def asked(*arguments, **options):
            raise AssertionError("the resolver was asked")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", asked)
        assert await resolve(host, 7, family) == [address]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET6), ("::1", socket.AF_INET), ("1.2.3.4.5", 0)]
)
def test_what_is_no_address_of_the_family_is_the_systems_to_refuse(host, family):
    async def main():
        with pytest.raises(socket.gaierror):
            await resolve(host, 7, family)

    asyncio.run(main())


def test_cancelling_receive_exactly_and_accept_takes_nothing():
    async def main():
        async with await rudp.Endpoint.bind(HOST) as endpoint, await rudp.Endpoint.bind(HOST) as other:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(endpoint.accept(), 0.01)
            connection = await other.connect(HOST, endpoint.local_address[1])
            await connection.main_stream.send(b"abc")
            accepted = await asyncio.wait_for(endpoint.accept(), 5)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(accepted.main_stream.receive_exactly(5), 0.05)
            await connection.main_stream.send(b"de")
            assert await accepted.main_stream.receive(1) == b"a"
            assert await accepted.main_stream.receive_exactly(4) == b"bcde"

    run(main())


def test_who_was_refused_closes_its_socket():
    async def main():
        async with await rudp.serve(hold, HOST, 0, config=rudp.Config(protection="crc32")) as server:
            drivers = []
            real = client_module.Driver

            def made(*arguments, **options):
                drivers.append(real(*arguments, **options))
                return drivers[-1]

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(client_module, "Driver", made)
                with pytest.raises(rudp.ConnectionRefused):
                    await rudp.connect(HOST, server.local_address[1], config=rudp.Config(protection="none"))
            (driver,) = drivers
            await asyncio.wait_for(asyncio.shield(driver.closed), 5)
            assert driver.socket.fileno() == -1

    run(main())


def test_what_was_written_before_aclose_reaches_a_callback_s_reader():
    async def main():
        got: asyncio.Queue[tuple[int, BaseException | None]] = asyncio.Queue()
        main_writers = []

        async def callback(reader, writer):
            if not writer.get_extra_info("stream_id"):
                main_writers.append(writer)
                return
            size = len(await reader.read())
            writer.write(b"nobody wants this")
            try:
                await writer.drain()
            except ConnectionError as error:
                got.put_nowait((size, error))
            writer.close()

        server = await rudp.start_server(callback, HOST, 0)
        with suppress(rudp.ConnectionAborted):
            async with rudp.connect(HOST, server.sockets[0].getsockname()[1]) as connection:
                async with await connection.open_stream() as stream:
                    await stream.send(MANY)
                size, error = await asyncio.wait_for(got.get(), 5)
                assert size == len(MANY)
                assert isinstance(error, ConnectionResetError | BrokenPipeError)
                connection.abort()
        for writer in main_writers:
            writer.close()
        server.close()
        server.abort_clients()
        await server.wait_closed()

    run(main())


def test_what_the_socket_has_read_ahead_is_taken_without_another_datagram(monkeypatch):
    monkeypatch.setattr(driver_module, "BUFFERS_PER_WAKEUP", 2)

    async def main():
        endpoint = await rudp.Endpoint.bind(HOST, 0)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # The second is received with a look at the third, which doesn't go with it.
        for size in (30, 30, 40):
            sender.sendto(bytes(size), endpoint.local_address)
        for _ in range(50):
            await asyncio.sleep(0)
        assert endpoint.stats().datagrams_received == 3
        sender.close()
        await endpoint.close()

    asyncio.run(main())


def test_who_takes_the_main_stream_does_not_get_it_from_accept_stream_again():
    async def main():
        async with await rudp.Endpoint.bind(HOST) as endpoint, await rudp.Endpoint.bind(HOST) as other:
            connection = await other.connect(HOST, endpoint.local_address[1])
            await connection.main_stream.send(b"first")
            accepted = await asyncio.wait_for(endpoint.accept(), 5)
            while accepted.stats().stream_bytes_received < 5:
                await asyncio.sleep(0.001)
            assert await accepted.main_stream.receive() == b"first"
            stream = await connection.open_stream()
            await stream.send(b"second")
            assert (await asyncio.wait_for(accepted.accept_stream(), 5)).id == stream.id

    run(main())


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has eager tasks")
def test_a_handler_that_ends_before_its_task_is_known_is_forgotten_too():
    """An eager task runs as far as it can while it is made: a handler that fails at once is at its end by then."""

    def eager(loop, coroutine, *, eager_start=True, **named):
        """`eager_task_factory` of CPython 3.13.0 doesn't know an argument with which uvloop calls it."""
        return asyncio.eager_task_factory(loop, coroutine, **named)

    async def main():
        asyncio.get_running_loop().set_task_factory(eager)

        async def handler(connection):
            raise LookupError("at once")

        async with await rudp.serve(handler, HOST, 0) as server:
            connection = await rudp.connect(HOST, server.local_address[1])
            with pytest.raises((rudp.ConnectionReset, rudp.ConnectionClosed)):
                await connection.main_stream.receive()
            assert not server._tasks

    run(main())
