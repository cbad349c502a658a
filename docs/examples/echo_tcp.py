"""An echo server and its client over TCP, with asyncio. Compare echo_udp.py and echo_rudp.py.

Run it: python docs/examples/echo_tcp.py
"""

from __future__ import annotations

import asyncio


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client's connection, on the server."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def client(port: int) -> None:
    """Send three lines, one after the other, and print what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for text in ("one", "two", "three"):
        writer.write(f"{text}\n".encode())
        await writer.drain()
        print("echo:", (await reader.readline()).decode().strip())
    writer.write_eof()  # this side is finished ...
    await reader.read()  # ... and now the server has closed, too
    writer.close()
    await writer.wait_closed()


async def main() -> None:
    """Server and client in one loop."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        await client(server.sockets[0].getsockname()[1])


asyncio.run(main())
