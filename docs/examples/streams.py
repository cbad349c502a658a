"""rudp's own asyncio interface: a connection with several streams, a server that answers on each.

Run it: python docs/examples/streams.py
"""

from __future__ import annotations

import asyncio

import rudp


async def answer(stream: rudp.Stream) -> None:
    """One stream of a client: read its question to the end, answer, end."""
    async with stream:
        question = b""
        while data := await stream.receive():
            question += data
        await stream.send(question.upper())


async def handle(connection: rudp.Connection) -> None:
    """One client. When this returns, the connection is closed in good order."""
    async with asyncio.TaskGroup() as answers:
        async for stream in connection.streams():  # ends when the client closes
            answers.create_task(answer(stream))


async def ask(connection: rudp.Connection, question: str) -> str:
    """One question on a stream of its own: what is lost on another stream doesn't hold it up."""
    stream = await connection.open_stream()
    await stream.send(question.encode())
    await stream.send_eof()
    parts = []
    while data := await stream.receive():
        parts.append(data)
    return b"".join(parts).decode()


async def main() -> None:
    """Server and client in one loop."""
    async with await rudp.serve(handle, "127.0.0.1", 0) as server:
        host, port = server.local_address[:2]
        async with rudp.connect(host, port) as connection:
            questions = ("first", "second", "third")
            for text in await asyncio.gather(*(ask(connection, question) for question in questions)):
                print("answer:", text)
            stats = connection.stats()
            print(f"state {stats.state}, {stats.packets_sent} packets sent, {stats.packets_lost} lost")
        print("the client's connection is closed:", connection.is_closed)


asyncio.run(main())
