"""The asyncio front end over real sockets on loopback."""

from __future__ import annotations

import asyncio
import gc
import logging
import selectors
import socket
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

import rudp
from rudp.udp import UdpSocket
from tests.loops import default_loop

pytestmark = pytest.mark.usefixtures("each_loop")

HOST = "127.0.0.1"


def run(coroutine: Coroutine[Any, Any, Any], loop_factory: Callable[[], Any] | None = None) -> Any:
    """Run on a loop of its own; a task that fails unseen fails the test."""
    problems: list[dict[str, Any]] = []

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        return await coroutine

    with asyncio.Runner(loop_factory=loop_factory or default_loop()) as runner:
        result = runner.run(main())
    assert not problems, problems
    return result


async def echo(connection: rudp.Connection) -> None:
    """Send back whatever comes, on every stream."""
    async for stream in connection.streams():
        while data := await stream.receive():
            await stream.send(data)
        await stream.send_eof()


@asynccontextmanager
async def pair(handler: Callable[[rudp.Connection], Awaitable[object]], **config: Any):
    """A server with this handler, and a client connection to it."""
    settings = rudp.Config(**config)
    async with await rudp.serve(handler, HOST, 0, config=settings) as server:
        async with rudp.connect(HOST, server.local_address[1], config=settings) as connection:
            yield connection
            if not connection.is_closed:
                await connection.close()


async def settle() -> None:
    """Let the loop go round until nothing is left that is ready."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_byte_there_and_back():
    async def main():
        async with pair(echo) as connection:
            stream = await connection.open_stream()
            await stream.send(b"hello")
            await stream.send_eof()
            assert await stream.receive_exactly(5) == b"hello"
            assert await stream.receive() == b""
            assert await stream.receive() == b""
            assert connection.stats().state == "ESTABLISHED"
        assert connection.is_closed

    run(main())


@pytest.mark.parametrize("protection", ["none", "crc32"])
def test_megabytes_arrive_unaltered(protection):
    data = bytes(range(251)) * 20_000

    async def main():
        async with pair(echo, protection=protection, max_datagram_size=1400) as connection:
            stream = await connection.open_stream()

            async def send():
                await stream.send(data)
                await stream.send_eof()

            sending = asyncio.create_task(send())
            got = b"".join([piece async for piece in pieces(stream)])
            await sending
            assert got == data

    run(main())


async def pieces(stream):
    while data := await stream.receive():
        yield data


def test_streams_of_both_kinds_opened_by_either_side():
    async def handler(connection):
        mine = await connection.open_stream(unidirectional=True)
        await mine.send(b"from the server")
        await mine.send_eof()
        async for stream in connection.streams():
            assert not stream.can_send
            assert await stream.receive_exactly(15) == b"from the client"
            assert await stream.receive() == b""

    async def main():
        async with pair(handler) as connection:
            mine = await connection.open_stream(unidirectional=True)
            assert not mine.can_receive
            await mine.send(b"from the client")
            await mine.send_eof()
            theirs = await connection.accept_stream()
            assert theirs.id & 3 == 3
            assert await theirs.receive_exactly(15) == b"from the server"
            assert await theirs.receive() == b""
            with pytest.raises(rudp.StreamClosed):
                await theirs.send(b"x")
            with pytest.raises(rudp.StreamClosed):
                await mine.receive()

    run(main())


def test_an_opened_stream_is_seen_before_anything_is_sent_on_it():
    async def handler(connection):
        stream = await connection.accept_stream()
        await stream.send(b"you opened it")
        await stream.send_eof()
        assert await stream.receive() == b""

    async def main():
        async with pair(handler) as connection:
            stream = await connection.open_stream()
            assert await stream.receive_exactly(13) == b"you opened it"
            assert await stream.receive() == b""
            await stream.send_eof()

    run(main())


def test_a_server_may_speak_first_on_the_main_stream():
    async def handler(connection):
        await connection.main_stream.send(b"220 ready")
        assert await connection.main_stream.receive_exactly(4) == b"QUIT"

    async def main():
        async with pair(handler) as connection:
            assert await connection.main_stream.receive_exactly(9) == b"220 ready"
            await connection.main_stream.send(b"QUIT")

    run(main())


def test_the_main_stream_used_by_a_client_is_accepted_by_a_server():
    async def main():
        async with pair(echo) as connection:
            await connection.main_stream.send(b"hi")
            await connection.main_stream.send_eof()
            assert await connection.main_stream.receive_exactly(2) == b"hi"
            assert await connection.main_stream.receive() == b""

    run(main())


def test_a_hundred_streams_at_once():
    async def main():
        async with pair(echo) as connection:

            async def one(number):
                async with await connection.open_stream() as stream:
                    await stream.send(b"%d" % number * 100)
                    await stream.send_eof()
                    return b"".join([piece async for piece in pieces(stream)])

            # More than the peer admits at a time, so that open_stream has to wait.
            results = await asyncio.gather(*(one(number) for number in range(300)))
            assert results == [b"%d" % number * 100 for number in range(300)]

    run(main())


def test_receive_exactly_tells_what_there_was_when_the_stream_ends_early():
    async def handler(connection):
        await connection.main_stream.send(b"abc")

    async def main():
        async with pair(handler) as connection:
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await connection.main_stream.receive_exactly(10)
            assert caught.value.partial == b"abc"

    run(main())


def test_a_reader_that_stops_stops_the_writer_within_window_and_buffer():
    async def main():
        go_on = asyncio.Event()
        total = 0

        async def handler(connection):
            nonlocal total
            stream = await connection.accept_stream()
            await go_on.wait()
            while data := await stream.receive():
                total += len(data)

        window, buffer = 64 * 1024, 128 * 1024
        async with pair(handler, initial_receive_window=window, send_buffer=buffer) as connection:
            stream = await connection.open_stream(unidirectional=True)
            written = 0

            async def write():
                nonlocal written
                while written < 4_000_000:
                    await stream.send(bytes(10_000))
                    written += 10_000
                await stream.send_eof()

            writing = asyncio.create_task(write())
            while connection.stats().limited_by != "flow_control":
                await asyncio.sleep(0.001)
            await settle()
            held = written
            assert not writing.done()
            # A high-water mark may be overrun by one write; the window's bytes are acknowledged, so they come on top.
            assert held <= window + buffer + 10_000
            go_on.set()
            await writing
            assert written == 4_000_000
            await connection.close()
            assert total == written

    run(main())


def test_stop_sending_and_reset_end_in_typed_errors_on_the_other_side():
    async def handler(connection):
        stream = await connection.accept_stream()
        stream.stop_sending(7)
        stream.reset(9)
        with suppress(rudp.ConnectionClosed):
            await connection.accept_stream()

    async def main():
        async with pair(handler) as connection:
            stream = await connection.open_stream()
            with pytest.raises(rudp.StreamReset) as reset:
                await stream.receive()
            assert reset.value.code == 9
            with pytest.raises(rudp.StreamStopped) as stopped:
                while True:
                    await stream.send(bytes(100))
                    await asyncio.sleep(0)
            assert stopped.value.code == 7

    run(main())


def test_leaving_a_stream_by_an_exception_resets_it():
    async def main():
        seen = asyncio.Future()

        async def handler(connection):
            stream = await connection.accept_stream()
            try:
                while await stream.receive():
                    pass
            except rudp.StreamReset as error:
                seen.set_result(error.code)

        async with pair(handler) as connection:
            with pytest.raises(KeyError):
                async with await connection.open_stream() as stream:
                    await stream.send(b"half a")
                    raise KeyError("application error")
            assert await seen == 0

    run(main())


# -- ends -------------------------------------------------------------------------------------------------------


def test_nobody_listening_is_a_refused_connection():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HOST, 0))
            port = sock.getsockname()[1]
        with pytest.raises(ConnectionRefusedError) as caught:
            await rudp.connect(HOST, port)
        assert isinstance(caught.value, rudp.ConnectionRefused)
        assert str(port) in str(caught.value)

    run(main())


def test_a_silent_peer_is_a_timeout_that_tells_tries_and_seconds():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((HOST, 0))
            with pytest.raises(TimeoutError) as caught:
                await rudp.connect(HOST, silent.getsockname()[1], config=rudp.Config(connect_timeout=0.05))
        assert isinstance(caught.value, rudp.ConnectTimeout)
        assert caught.value.tries == 1
        assert caught.value.seconds >= 0.05 - 1e-9  # a difference of two clock readings
        assert "1 tries" in str(caught.value)

    run(main())


def test_different_protection_is_refused_with_the_reason():
    async def main():
        async with await rudp.serve(echo, HOST, 0, config=rudp.Config(protection="none")) as server:
            with pytest.raises(rudp.ConnectionRefused, match="protection is 'none'"):
                await rudp.connect(HOST, server.local_address[1], config=rudp.Config(protection="crc32"))

    run(main())


def test_application_protocols_are_agreed_on():
    async def main():
        seen = []

        async def handler(connection):
            seen.append(connection.application_protocol)

        settings = rudp.Config(application_protocol=("chat/2", "chat/1"))
        async with await rudp.serve(handler, HOST, 0, config=settings) as server:
            port = server.local_address[1]
            async with rudp.connect(HOST, port, config=rudp.Config(application_protocol="chat/1")) as connection:
                assert connection.application_protocol == "chat/1"
            with pytest.raises(rudp.ConnectionRefused, match="no common application protocol"):
                await rudp.connect(HOST, port, config=rudp.Config(application_protocol="mail/1"))
        assert seen == ["chat/1"]

    run(main())


def test_an_unknown_host_is_an_oserror():
    with pytest.raises(OSError, match=r"."):
        run(_connect_unknown())


async def _connect_unknown():
    await rudp.connect("host.invalid", 1)


@pytest.mark.parametrize("port", [-1, 65_536, 80_000])
def test_a_port_out_of_bounds_is_no_other_port(port):
    async def main():
        for operation in (rudp.serve(echo, HOST, port), rudp.serve(echo, None, port), _connect(port)):
            with pytest.raises(OverflowError, match=str(port)):
                await operation

    run(main())


def test_the_first_data_packet_may_carry_data():
    async def main():
        async with await rudp.serve(echo, HOST, 0) as server, await rudp.Endpoint.bind(HOST, 0) as endpoint:
            driver = endpoint._driver
            core = driver.connect(server.local_address, None)
            core.send(0, b"early", fin=True)
            connection = rudp.Connection(driver, core)
            driver.sinks[core.id] = connection
            await connection.wait_connected()
            assert await connection.main_stream.receive_exactly(5) == b"early"
            assert await connection.main_stream.receive() == b""
            assert connection.stats().packets_sent <= 3
            await connection.close()

    run(main())


def test_a_port_in_use_is_named():
    async def main():
        async with await rudp.serve(echo, HOST, 0) as server:
            with pytest.raises(rudp.SocketError) as caught:
                await rudp.serve(echo, HOST, server.local_address[1])
            assert str(server.local_address[1]) in str(caught.value)

    run(main())


def test_a_handler_that_raises_aborts_and_logs_one_line(caplog):
    async def handler(connection):
        await connection.accept_stream()
        raise ZeroDivisionError("a fault of the handler's")

    async def main():
        async with await rudp.serve(handler, HOST, 0) as server:
            connection = await rudp.connect(HOST, server.local_address[1])
            stream = await connection.open_stream()
            with pytest.raises(ConnectionResetError) as caught:
                await stream.receive()
            assert caught.value.code == 1
            assert caught.value.application
            with pytest.raises(rudp.ConnectionReset):
                await connection.wait_closed()

    with caplog.at_level(logging.ERROR, "rudp"):
        run(main())
    [record] = caplog.records
    assert "ZeroDivisionError" in str(record.exc_info)


def test_abort_tells_code_and_reason():
    async def main():
        ended = asyncio.Future()

        async def handler(connection):
            await connection.main_stream.send(b"welcome")
            try:
                await connection.main_stream.receive()
            except rudp.ConnectionReset as error:
                ended.set_result((error.code, error.reason, error.application))

        async with await rudp.serve(handler, HOST, 0) as server:
            connection = await rudp.connect(HOST, server.local_address[1])
            assert await connection.main_stream.receive() == b"welcome"
            connection.abort(42, "no more cake")
            assert await ended == (42, "no more cake", True)
            with pytest.raises(rudp.ConnectionAborted, match="no more cake"):
                await connection.wait_closed()
            with pytest.raises(rudp.ConnectionAborted):
                await connection.main_stream.send(b"x")

    run(main())


def test_close_with_a_code_delivers_everything_first():
    async def main():
        ended = asyncio.Future()

        async def handler(connection):
            got = 0
            try:
                while data := await connection.main_stream.receive():
                    got += len(data)
                await connection.wait_closed()
            except rudp.ConnectionReset as error:
                ended.set_result((got, error.code, error.reason))

        async with await rudp.serve(handler, HOST, 0) as server:
            connection = await rudp.connect(HOST, server.local_address[1])
            await connection.main_stream.send(bytes(300_000))
            await connection.close(3, "bye")
            assert await ended == (300_000, 3, "bye")

    run(main())


def test_close_with_unread_data_is_no_clean_end():
    async def main():
        sent = asyncio.Event()

        async def handler(connection):
            await connection.main_stream.send(b"nobody reads this")
            with pytest.raises(rudp.ConnectionReset) as caught:
                await connection.main_stream.receive()
            assert caught.value.code == rudp.ErrorCode.UNREAD_DATA
            sent.set()

        async with await rudp.serve(handler, HOST, 0) as server:
            connection = await rudp.connect(HOST, server.local_address[1])
            while not connection.stats().stream_bytes_received:
                await asyncio.sleep(0.001)
            with pytest.raises(rudp.ConnectionAborted):
                await connection.close()
            await sent.wait()

    run(main())


def test_leaving_the_block_after_an_abort_of_ones_own_raises_nothing():
    async def main():
        async with await rudp.serve(echo, HOST, 0) as server:
            async with rudp.connect(HOST, server.local_address[1]) as connection:
                connection.abort(5, "enough")
            with pytest.raises(rudp.ConnectionAborted, match="enough"):
                await connection.wait_closed()

    run(main())


def test_a_half_closed_connection_goes_on_receiving():
    async def handler(connection):
        assert await connection.main_stream.receive() == b""
        with pytest.raises(rudp.ConnectionClosed):
            await connection.accept_stream()
        await connection.main_stream.send(bytes(100_000))

    async def main():
        async with pair(handler) as connection:
            await connection.send_eof()
            with pytest.raises(rudp.ConnectionClosed):
                await connection.open_stream()
            got = b"".join([piece async for piece in pieces(connection.main_stream)])
            assert len(got) == 100_000

    run(main())


def test_after_the_end_everything_says_so():
    async def main():
        async with pair(echo) as connection:
            stream = await connection.open_stream()
            await stream.send_eof()
            assert await stream.receive() == b""
            await connection.close()
            assert connection.is_closed
            await connection.close()
            await connection.wait_closed()
            connection.abort()
            for operation in (connection.open_stream, connection.accept_stream):
                with pytest.raises(rudp.ConnectionClosed):
                    await operation()
            with pytest.raises(rudp.ConnectionClosed):
                await stream.send(b"x")
            await stream.aclose()
            assert [stream async for stream in connection.streams()] == []

    run(main())


# -- cancellation -----------------------------------------------------------------------------------------------


async def cancelled(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Start it, let it come to its await, cancel it."""
    task = asyncio.ensure_future(coroutine)
    await settle()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_cancelling_receive_takes_nothing():
    async def main():
        go_on = asyncio.Event()

        async def handler(connection):
            stream = await connection.accept_stream()
            await stream.send(b"abc")
            await go_on.wait()
            await stream.send(b"defgh")
            await stream.send_eof()
            assert await stream.receive() == b""

        async with pair(handler) as connection:
            stream = await connection.open_stream()
            task = asyncio.ensure_future(stream.receive_exactly(8))
            while connection.stats().stream_bytes_received < 3:
                await asyncio.sleep(0.001)
            await settle()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await stream.receive() == b"abc"
            await cancelled(stream.receive())
            await cancelled(connection.accept_stream())
            await cancelled(connection.wait_closed())
            go_on.set()
            assert await stream.receive_exactly(5) == b"defgh"
            assert await stream.receive() == b""
            await stream.send_eof()

    run(main())


def test_cancelling_send_has_written_nothing():
    async def main():
        go_on = asyncio.Event()
        got = bytearray()

        async def handler(connection):
            stream = await connection.accept_stream()
            await go_on.wait()
            while data := await stream.receive():
                got.extend(data)

        async with pair(handler, initial_receive_window=8192, send_buffer=10_000) as connection:
            stream = await connection.open_stream(unidirectional=True)
            # The first write overfills the buffer by far more than the window takes, so the next one has to wait.
            written = 50_000
            await stream.send(b"y" * written)
            await cancelled(stream.send(b"not sent"))
            go_on.set()
            await stream.send(b"z")
            await stream.send_eof()
            await connection.close()
            assert bytes(got) == b"y" * written + b"z"

    run(main())


def test_cancelling_connect_leaves_no_socket_behind():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((HOST, 0))
            before = len(asyncio.all_tasks())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_connect(silent.getsockname()[1]), 0.02)
            await settle()
            assert len(asyncio.all_tasks()) == before
        gc.collect()

    run(main())


async def _connect(port: int) -> rudp.Connection:
    return await rudp.connect(HOST, port)


def test_cancelling_open_stream_that_waits_for_the_limit():
    async def main():
        async with pair(echo, max_streams_bidi=2) as connection:
            # Stream 0 counts as one of the two.
            first = await connection.open_stream()
            await cancelled(connection.open_stream())
            await first.send_eof()
            assert await first.receive() == b""
            second = await connection.open_stream()
            assert second.id == first.id + 4
            await second.send_eof()
            assert await second.receive() == b""

    run(main())


def test_cancelling_who_waits_for_a_server_leaves_it_serving():
    async def main():
        server = await rudp.serve(echo, HOST, 0)
        connection = await rudp.connect(HOST, server.local_address[1])
        await cancelled(server.wait_closed())
        server.close()
        await cancelled(server.wait_closed())
        stream = await connection.open_stream()
        await stream.send(b"still there")
        await stream.send_eof()
        assert await stream.receive_exactly(11) == b"still there"
        assert await stream.receive() == b""
        await connection.close()
        await server.wait_closed()

    run(main())


def test_cancelling_close_does_not_stop_the_close():
    async def main():
        go_on = asyncio.Event()

        async def handler(connection):
            await go_on.wait()

        async with await rudp.serve(handler, HOST, 0) as server:
            connection = await rudp.connect(HOST, server.local_address[1])
            await cancelled(connection.close())
            go_on.set()
            await connection.wait_closed()

    run(main())


# -- endpoints, servers, sockets --------------------------------------------------------------------------------


def test_one_socket_both_accepts_and_connects():
    async def main():
        async with await rudp.Endpoint.bind(HOST, 0) as one, await rudp.Endpoint.bind(HOST, 0) as other:
            there = await one.connect(HOST, other.local_address[1])
            back = await other.connect(HOST, one.local_address[1])
            at_other, at_one = await other.accept(), await one.accept()
            assert there.remote_address == other.local_address
            assert at_other.remote_address == one.local_address
            for mine, theirs in ((there, at_other), (back, at_one)):
                await mine.main_stream.send(b"ping")
                assert await theirs.main_stream.receive_exactly(4) == b"ping"
                await asyncio.gather(mine.close(), theirs.close())
            waiting = asyncio.ensure_future(one.accept())
            await settle()
        with pytest.raises(rudp.ConnectionClosed):
            await waiting

    run(main())


def test_many_connections_from_one_socket():
    async def main():
        async with await rudp.serve(echo, HOST, 0) as server, await rudp.Endpoint.bind(HOST, 0) as endpoint:

            async def one(number):
                async with await endpoint.connect(HOST, server.local_address[1]) as connection:
                    stream = await connection.open_stream()
                    await stream.send(b"%d" % number)
                    await stream.send_eof()
                    return await stream.receive_exactly(len(b"%d" % number)), await stream.receive()

            results = await asyncio.gather(*(one(number) for number in range(100)))
            assert results == [(b"%d" % number, b"") for number in range(100)]

    run(main())


def test_a_name_resolves_to_whichever_address_answers():
    async def main():
        async with await rudp.serve(echo, HOST, 0) as server:
            async with rudp.connect("localhost", server.local_address[1]) as connection:
                assert connection.remote_address[0] == HOST

    run(main())


def test_ipv6_and_dual_stack():
    async def main():
        async with await rudp.serve(echo, "", 0) as server:
            port = server.local_address[1]
            for host in (HOST, "::1"):
                try:
                    connection = await rudp.connect(host, port)
                except rudp.SocketError as error:
                    if host == "::1":
                        pytest.skip(f"no IPv6 here: {error}")
                    raise
                stream = await connection.open_stream()
                await stream.send(host.encode())
                await stream.send_eof()
                assert await stream.receive_exactly(len(host)) == host.encode()
                assert await stream.receive() == b""
                await connection.close()

    run(main())


def test_a_socket_of_ones_own_and_a_local_address():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HOST, 0))
            port = sock.getsockname()[1]
            async with await rudp.serve(echo, sock=sock) as server:
                assert server.local_address[1] == port
                async with rudp.connect(HOST, port, local_addr=("127.0.0.2", 0)) as connection:
                    assert connection.local_address[0] == "127.0.0.2"
                mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                async with rudp.connect(HOST, port, sock=mine) as connection:
                    assert connection.local_address[1] == mine.getsockname()[1]
                await connection.driver.closed
                assert mine.fileno() == -1

    run(main())


def test_what_the_socket_can_do_and_was_granted_is_told():
    async def main():
        settings = rudp.Config(socket_buffer=100_000)
        endpoint = await rudp.Endpoint.bind(HOST, config=settings)
        async with await rudp.serve(echo, HOST, 0) as server, endpoint:
            connection = await endpoint.connect(HOST, server.local_address[1])
            assert connection.udp is endpoint.udp
            assert endpoint.udp.buffer_sizes.asked == 100_000
            assert endpoint.udp.buffer_sizes.receive > 0
            assert server.udp.capabilities.dual_stack is False
            assert server.udp.counters.truncated == 0
            await connection.close()

    run(main())


def test_a_socket_closed_under_its_connections_ends_them():
    async def main():
        async with await rudp.serve(echo, HOST, 0) as server:
            mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            connection = await rudp.connect(HOST, server.local_address[1], sock=mine)
            stream = await connection.open_stream()
            # The server measures the RTT by its answer: without one it remembers a connection for three seconds.
            await stream.send(b"x")
            assert await stream.receive_exactly(1) == b"x"
            mine.close()
            with pytest.raises(rudp.ConnectionAborted, match="socket was closed"):
                await stream.send(b"x")
                await stream.receive()
            server.abort_clients()

    run(main())


def test_a_server_is_closed_once_its_connections_have_ended():
    async def main():
        server = await rudp.serve(echo, HOST, 0)
        connection = await rudp.connect(HOST, server.local_address[1])
        server.close()
        assert not server.is_serving()
        stream = await connection.open_stream()
        await stream.send(b"still there")
        assert await stream.receive_exactly(11) == b"still there"
        waiting = asyncio.ensure_future(server.wait_closed())
        await settle()
        assert not waiting.done()
        await stream.aclose()
        await connection.close()
        await waiting
        assert server.sockets == ()

    run(main())


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_aclose_lets_what_was_written_arrive(timeout):
    async def main():
        data = bytes(2_000_000)

        async def handler(connection):
            stream = await connection.accept_stream()
            assert await stream.receive() == b"?"
            await stream.send(data)
            await stream.receive()

        server = await rudp.serve(handler, HOST, 0)
        connection = await rudp.connect(HOST, server.local_address[1])
        await connection.main_stream.send(b"?")
        first = await connection.main_stream.receive()
        closing = asyncio.ensure_future(server.aclose(timeout))
        assert first + await connection.main_stream.receive_exactly(len(data) - len(first)) == data
        assert await connection.main_stream.receive() == b""
        await connection.close()
        await closing
        assert not server.sockets

    run(main())


def test_aclose_gives_up_connections_and_handlers_after_its_time():
    async def main():
        cancelled = []
        started = asyncio.Event()

        async def handler(connection):
            started.set()
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled.append(connection)
                raise

        server = await rudp.serve(handler, HOST, 0)
        connection = await rudp.connect(HOST, server.local_address[1])
        await started.wait()
        await server.aclose(0.01)
        assert len(cancelled) == 1
        assert not server.sockets
        with pytest.raises((rudp.ConnectionReset, rudp.ConnectionClosed)):
            await connection.wait_closed()
            connection.check()

    run(main())


def test_serve_forever_ends_by_cancellation_and_aborts_its_connections():
    async def main():
        server = await rudp.serve(echo, HOST, 0)
        serving = asyncio.ensure_future(server.serve_forever())
        connection = await rudp.connect(HOST, server.local_address[1])
        await cancelled_task(serving)
        with pytest.raises(rudp.ConnectionReset):
            await connection.wait_closed()
        await server.wait_closed()

    run(main())


async def cancelled_task(task: asyncio.Task[Any]) -> None:
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_endpoint_that_does_not_accept_ignores_a_syn():
    async def main():
        async with await rudp.serve(echo, HOST, 0) as server:
            connection = await rudp.connect(HOST, server.local_address[1])
            with pytest.raises(rudp.ConnectTimeout):
                await rudp.connect(*connection.local_address[:2], config=rudp.Config(connect_timeout=0.05))
            await connection.close()

    run(main())


class LoopWithoutAddReader(asyncio.SelectorEventLoop):
    """As Windows' proactor loop, which can't watch a socket for reading or writing."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        raise NotImplementedError

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:
        raise NotImplementedError


def test_a_loop_without_add_reader_serves_as_well():
    async def main():
        async with pair(echo) as connection:
            stream = await connection.open_stream()
            await stream.send(bytes(1_000_000))
            await stream.send_eof()
            assert sum([len(piece) async for piece in pieces(stream)]) == 1_000_000

    run(main(), LoopWithoutAddReader)


@pytest.mark.parametrize("factory", [None, LoopWithoutAddReader])
def test_a_full_socket_buffer_holds_one_train_and_goes_on(factory, monkeypatch):
    refusals = []

    async def main():
        # Of packets that path MTU discovery finds on loopback a few batches are all there is to send.
        async with pair(echo, path_mtu_discovery=False) as connection:
            sock = connection.driver.socket
            real = sock.send
            held = []

            def send(train):
                if len(refusals) < 20 and not held:
                    held.append(train)
                    refusals.append(train.size)
                    return False
                if held:
                    assert train is held.pop(), "another train was asked for while one was held"
                return real(train)

            def send_of(self, train):
                return send(train) if self is sock else real_send(self, train)

            monkeypatch.setattr(UdpSocket, "send", send_of)
            stream = await connection.open_stream()
            await stream.send(bytes(5_000_000))
            await stream.send_eof()
            assert sum([len(piece) async for piece in pieces(stream)]) == 5_000_000

    real_send = UdpSocket.send
    run(main(), factory)
    assert len(refusals) > 10


def test_the_portable_path_serves_as_well(monkeypatch):
    real_open = UdpSocket.open.__func__
    monkeypatch.setattr(
        UdpSocket, "open", classmethod(lambda cls, *args, **kwargs: real_open(cls, *args, **kwargs, offload=False))
    )

    async def main():
        async with pair(echo) as connection:
            assert not connection.driver.socket.capabilities.gso
            stream = await connection.open_stream()
            await stream.send(bytes(300_000))
            await stream.send_eof()
            assert sum([len(piece) async for piece in pieces(stream)]) == 300_000

    run(main())


def test_data_that_cannot_be_flushed_before_the_loop_ends_warns():
    async def handler(connection):
        await asyncio.Event().wait()

    async def main():
        server = await rudp.serve(handler, HOST, 0, config=rudp.Config(initial_receive_window=4096))
        _, writer = await rudp.open_connection(HOST, server.local_address[1])
        writer.write(bytes(100_000))
        writer.close()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
    assert [w for w in caught if w.category is ResourceWarning and "unacknowledged data" in str(w.message)]


def test_an_ended_stream_is_not_remembered():
    async def main():
        async with pair(echo) as connection:
            for _ in range(500):
                stream = await connection.open_stream()
                await stream.send(b"x")
                await stream.send_eof()
                assert await stream.receive() == b"x"
                assert await stream.receive() == b""
            assert len(connection._streams) < 100

    run(main())
