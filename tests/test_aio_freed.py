"""What is left of connections that have ended: nothing that only the garbage collector would find."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

import rudp
from tests.test_aio import HOST, pair, run


@pytest.fixture(autouse=True)
def _no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_connection_is_freed_with_its_last_reference():
    left: list[weakref.ref[Any]] = []

    async def handler(connection: rudp.Connection) -> None:
        left.append(weakref.ref(connection))
        await connection.main_stream.receive()

    async def main():
        async with await rudp.serve(handler, HOST) as server:
            connection = await rudp.connect(HOST, server.local_address[1])
            left.append(weakref.ref(connection))
            await connection.main_stream.send(b"x")
            await connection.close()
            del connection
        assert [one() for one in left] == [None, None]

    run(main())


def test_asyncio_s_pair_of_streams_too():
    left: list[weakref.ref[Any]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left.append(weakref.ref(writer.get_extra_info("connection")))
        await reader.read()
        writer.close()

    async def main():
        async with await rudp.start_server(handler, HOST) as server:
            _, writer = await rudp.open_connection(HOST, server.local_address[1])
            left.append(weakref.ref(writer.get_extra_info("connection")))
            writer.write(b"x")
            writer.close()
            await writer.wait_closed()
            del writer, _
        assert [one() for one in left] == [None, None]

    run(main())


def test_what_only_the_main_stream_knows_outlives_the_connection():
    async def handler(connection: rudp.Connection) -> None:
        connection.main_stream.reset(7)
        await connection.main_stream.receive()

    async def main():
        async with pair(handler) as connection:
            stream = connection.main_stream
            with pytest.raises(rudp.StreamReset):
                await stream.receive()
            connection.abort()
            with pytest.raises(rudp.ConnectionAborted):
                await connection.wait_closed()
            assert connection.main_stream is stream
            with pytest.raises(rudp.StreamReset) as caught:
                await connection.main_stream.receive()
            assert caught.value.code == 7

    run(main())


def test_what_a_receiver_had_taken_outlives_the_connection_that_ends_before_it_is_told():
    """From within a task another one is told in the loop's next turn."""
    accepted: list[rudp.Connection] = []
    taken: list[bytes] = []

    async def handler(connection: rudp.Connection) -> None:
        accepted.append(connection)
        with pytest.raises(rudp.ConnectionAborted):
            await connection.main_stream.receive_exactly(100)
        try:
            taken.append(await connection.main_stream.receive())
        except rudp.ConnectionAborted:
            taken.append(b"")

    async def main():
        async with await rudp.serve(handler, HOST) as server, await rudp.connect(
            HOST, server.local_address[1]
        ) as connection:
            await connection.main_stream.send(bytes(50))
            while not (accepted and accepted[0].stats().stream_bytes_received):
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            accepted[0].driver.abort("the endpoint was closed")
            while not taken:
                await asyncio.sleep(0)
            connection.abort()

    run(main())
    assert taken == [bytes(50)]
