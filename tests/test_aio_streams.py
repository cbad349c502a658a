"""One contract for asyncio's streams over TCP and over rudp: every test runs the same program with either module.

With rudp it runs twice: on the machine's sockets, and on the simulated loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

import rudp
from rudp.sim import SimulatedLoop
from tests import test_aio
from tests.test_aio import HOST, settle

pytestmark = pytest.mark.usefixtures("each_loop")


class Simulated:
    """rudp on the simulated loop."""

    open_connection = staticmethod(rudp.open_connection)
    start_server = staticmethod(rudp.start_server)


MODULES = pytest.mark.parametrize("net", [asyncio, rudp, Simulated], ids=["tcp", "rudp", "simulated"])


def loop_factory(net: Any) -> Any:
    """What makes a loop of the kind that the module needs."""
    return SimulatedLoop if net is Simulated else None


def run(coroutine: Coroutine[Any, Any, Any], net: Any = rudp) -> Any:
    """Run on a loop of its own."""
    return test_aio.run(coroutine, loop_factory(net))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The teaching text's echo server: send back what comes, until the end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def open_pair(net: Any, callback, **options):
    """A server with this callback and a client's reader and writer."""
    server = await net.start_server(callback, HOST, 0, **options)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await net.open_connection(HOST, port, **options)
    return server, reader, writer


async def close_pair(server, writer) -> None:
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@MODULES
def test_the_same_echo_program(net):
    async def main():
        server, reader, writer = await open_pair(net, echo)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.writelines([b"a" * 1000, b"b" * 1000])
        assert await reader.readexactly(2000) == b"a" * 1000 + b"b" * 1000
        assert writer.can_write_eof()
        writer.write_eof()
        assert await reader.read() == b""
        assert reader.at_eof()
        await close_pair(server, writer)
        assert writer.is_closing()

    run(main(), net)


@MODULES
def test_megabytes_both_ways_with_drain(net):
    data = bytes(range(251)) * 12_000

    async def main():
        server, reader, writer = await open_pair(net, echo)

        async def write():
            for at in range(0, len(data), 50_000):
                writer.write(data[at : at + 50_000])
                await writer.drain()
            writer.write_eof()

        writing = asyncio.ensure_future(write())
        assert await reader.read() == data
        await writing
        await close_pair(server, writer)

    run(main(), net)


@MODULES
def test_a_server_may_speak_first(net):
    async def greet(reader, writer):
        writer.write(b"220 ready\r\n")
        await writer.drain()
        assert await reader.readline() == b"QUIT\r\n"
        writer.close()
        await writer.wait_closed()

    async def main():
        server, reader, writer = await open_pair(net, greet)
        assert await reader.readline() == b"220 ready\r\n"
        writer.write(b"QUIT\r\n")
        assert await reader.read() == b""
        await close_pair(server, writer)

    run(main(), net)


@MODULES
def test_drain_waits_for_a_reader_that_does_not_read(net):
    async def main():
        go_on = asyncio.Event()
        got = 0

        async def slow(reader, writer):
            nonlocal got
            await go_on.wait()
            while data := await reader.read(65536):
                got += len(data)
            writer.close()

        server, _, writer = await open_pair(net, slow)
        total = 0

        async def write():
            nonlocal total
            for _ in range(400):
                writer.write(bytes(65536))
                total += 65536
                await writer.drain()
            writer.write_eof()

        writing = asyncio.ensure_future(write())
        before = -1
        while before != total:
            before = total
            # TCP's buffers fill in the kernel's own time: give it some before believing that the writer stands still.
            await asyncio.sleep(0.02)
        assert not writing.done()
        assert 0 < total < 400 * 65536
        go_on.set()
        await writing
        await close_pair(server, writer)
        while got < total:
            await asyncio.sleep(0.001)
        assert got == 400 * 65536

    run(main(), net)


def test_pause_reading_shrinks_the_window_to_nothing():
    async def main():
        paused = asyncio.Event()
        go_on = asyncio.Event()

        async def pausing(reader, writer):
            writer.transport.pause_reading()
            paused.set()
            await go_on.wait()
            writer.transport.resume_reading()
            await echo(reader, writer)

        settings = rudp.Config(initial_receive_window=32 * 1024)
        server, reader, writer = await open_pair(rudp, pausing, config=settings)
        await paused.wait()
        writer.write(b"x" * 200_000)
        connection = writer.get_extra_info("connection")
        while connection.stats().limited_by != "flow_control":
            await asyncio.sleep(0.001)
        # A stream's window is a third less than its connection's: that is the one that closes.
        assert connection.stats().stream_bytes_sent == 32 * 1024
        go_on.set()
        assert await reader.readexactly(200_000) == b"x" * 200_000
        await close_pair(server, writer)

    run(main())


@MODULES
def test_extra_info(net):
    async def main():
        server, reader, writer = await open_pair(net, echo)
        assert writer.get_extra_info("peername") == server.sockets[0].getsockname()
        assert writer.get_extra_info("sockname")[1] == writer.get_extra_info("socket").getsockname()[1]
        assert writer.get_extra_info("nothing", "default") == "default"
        writer.write_eof()
        assert await reader.read() == b""
        await close_pair(server, writer)

    run(main(), net)


@MODULES
def test_refused_when_nobody_listens(net):
    async def main():
        kind = socket.SOCK_STREAM if net is asyncio else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.bind((HOST, 0))
            port = sock.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await net.open_connection(HOST, port)

    run(main(), net)


@MODULES
def test_abort_resets_the_peer(net):
    async def main():
        ended = asyncio.get_running_loop().create_future()

        async def wait(reader, writer):
            try:
                await reader.read()
                ended.set_result(None)
            except ConnectionError as error:
                ended.set_result(error)
            writer.close()

        server, _, writer = await open_pair(net, wait)
        writer.write(b"x")
        await settle()
        writer.transport.abort()
        await writer.wait_closed()
        error = await ended
        # TCP ends such a connection by FIN, so its reader can't tell; rudp's is told.
        assert error is None if net is asyncio else isinstance(error, ConnectionResetError)
        server.close()
        await server.wait_closed()

    run(main(), net)


@MODULES
def test_writing_after_write_eof_is_an_error(net):
    async def main():
        server, reader, writer = await open_pair(net, echo)
        writer.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            writer.write(b"x")
        assert await reader.read() == b""
        await close_pair(server, writer)

    run(main(), net)


@MODULES
def test_write_buffer_limits_pause_and_resume_the_protocol(net):
    class Client(asyncio.Protocol):
        def __init__(self) -> None:
            self.log: list[str] = []

        def pause_writing(self) -> None:
            self.log.append("pause")

        def resume_writing(self) -> None:
            self.log.append("resume")

    async def main():
        server, _, writer = await open_pair(net, echo)
        transport = writer.transport
        transport.set_write_buffer_limits(high=1000, low=100)
        assert transport.get_write_buffer_limits() == (100, 1000)
        with pytest.raises(ValueError, match="high"):
            transport.set_write_buffer_limits(high=1, low=2)
        client = Client()
        protocol = transport.get_protocol()
        transport.set_protocol(client)
        transport.pause_reading()
        transport.write(bytes(8_000_000))
        assert client.log == ["pause"]
        transport.set_protocol(protocol)
        writer.transport.abort()
        server.close()
        await settle()

    # The echo server's task fails with the connection, and asyncio logs that, with either transport.
    with asyncio.Runner(loop_factory=loop_factory(net)) as runner:
        runner.run(main())


def test_each_further_stream_is_handed_to_the_callback():
    async def main():
        server = await rudp.start_server(echo, HOST, 0)
        async with rudp.connect(HOST, server.local_address[1]) as connection:
            for number in range(3):
                stream = await connection.open_stream()
                await stream.send(b"%d" % number)
                await stream.send_eof()
                assert await stream.receive_exactly(1) == b"%d" % number
                assert await stream.receive() == b""
            await connection.send_eof()
            assert await connection.main_stream.receive() == b""
        server.close()
        await server.wait_closed()

    run(main())


def test_a_server_that_is_cancelled_in_drain_leaves_the_loop_clean():
    async def main():
        async def stuck(reader, writer):
            writer.write(bytes(3_000_000))
            await writer.drain()

        settings = rudp.Config(initial_receive_window=16 * 1024, send_buffer=64 * 1024)
        server, _, writer = await open_pair(rudp, stuck, config=settings)
        await settle()
        writer.transport.abort()
        server.abort_clients()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_writing_under_a_closing_connection_goes_nowhere_as_with_tcp():
    async def main():
        server, reader, writer = await open_pair(rudp, echo)
        writer.get_extra_info("connection").core.close()
        writer.write(b"too late")
        assert await reader.read() == b""
        await close_pair(server, writer)

    run(main())
