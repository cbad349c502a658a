"""`rudp echo-server` and `rudp echo`: the same echo over rudp, TCP and UDP.

Knows: that rudp and TCP are streams with one and the same interface, and that UDP is datagrams that may get
lost. Refuses to know: what makes a stream reliable. The two front ends differ in one word: `asyncio` or
`rudp`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import click

import rudp
from rudp.cli.common import (
    DEFAULT_PORT,
    PORT,
    Failure,
    FloatRange,
    address_text,
    counted,
    explained,
    listening,
    refused,
    run,
    shut,
    time_text,
    warn,
)
from rudp.cli.stdin import StandardInput

__all__ = ["echo", "echo_server"]

CHUNK: Final = 65536
LONGEST_MESSAGE: Final = 32768  # bytes; it must fit one datagram
TRANSPORTS: Final = ("rudp", "tcp", "udp")


# The server.


async def _echo_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client; with workers in any of them, which find this by its name."""
    client = address_text(writer.get_extra_info("peername"))
    click.echo(f"{client} connected")
    total = 0
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
            total += len(data)
            click.echo(f"{client} {len(data)} bytes echoed")
        writer.write_eof()
        click.echo(f"{client} closed, {total} bytes in all")
    except OSError as error:
        click.echo(f"{client} lost: {error}")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _serve_streams(front: Any, host: str, port: int, name: str, workers: int | None) -> None:
    options = {"workers": workers} if workers is not None else {}
    with listening((host, port), name):
        server = await front.start_server(_echo_back, host, port, **options)
    try:
        suffix = f", {workers} workers" if workers is not None else ""
        _announce([sock.getsockname() for sock in server.sockets], name + suffix)
        await server.serve_forever()
    finally:
        await shut(server)


class _EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(data, addr)
        click.echo(f"{address_text(addr)} {len(data)} bytes echoed")


async def _serve_datagrams(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    with listening((host, port), "udp"):
        transport, _ = await loop.create_datagram_endpoint(_EchoDatagrams, local_addr=(host, port))
    try:
        _announce([transport.get_extra_info("sockname")], "udp")
        await loop.create_future()
    finally:
        transport.close()


def _announce(addresses: list[Any], name: str) -> None:
    places = dict.fromkeys(map(address_text, addresses))
    click.echo(f"listening on {', '.join(places)} ({name}); Ctrl-C ends")


async def _serve(transport: str, host: str, port: int, workers: int | None = None) -> int:
    if transport == "udp":
        await _serve_datagrams(host, port)
    else:
        await _serve_streams(asyncio if transport == "tcp" else rudp, host, port, transport, workers)
    return 0


# The client.


class _Client(ABC):
    """Something that sends a message and waits for it to come back."""

    @abstractmethod
    async def exchange(self, message: bytes) -> bytes:
        """Return the echo."""

    @abstractmethod
    async def close(self) -> None:
        """Close in good order."""


class _StreamClient(_Client):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def exchange(self, message: bytes) -> bytes:
        self._writer.write(message)
        await self._writer.drain()
        return await self._reader.readexactly(len(message))

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class _DatagramClient(_Client, asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._answers: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr
        self._answers.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        self._answers.put_nowait(exc)

    async def exchange(self, message: bytes) -> bytes:
        self._transport.sendto(message)
        while True:
            answer = await self._answers.get()
            if isinstance(answer, Exception):
                raise answer
            if answer == message:
                return answer

    async def close(self) -> None:
        self._transport.close()


async def _open(transport: str, host: str, port: int, timeout: float) -> _Client:
    if transport == "udp":
        loop = asyncio.get_running_loop()
        _, client = await loop.create_datagram_endpoint(_DatagramClient, remote_addr=(host, port))
        return client
    if transport == "tcp":
        return _StreamClient(*await asyncio.wait_for(asyncio.open_connection(host, port), timeout))
    # By its own clock it says how often it tried.
    config = rudp.Config(connect_timeout=timeout)
    return _StreamClient(*await rudp.open_connection(host, port, config=config))


@contextmanager
def _advised(doing: str, transport: str) -> Iterator[None]:
    """As `explained`, with what to look for where nobody answers, as rudp's own words do by themselves."""
    try:
        with explained(doing):
            yield
    except Failure as failure:
        cause = failure.__cause__
        silent = isinstance(cause, TimeoutError)
        if isinstance(cause, rudp.RudpError) or not (silent or refused(cause)):
            raise
        advice = f"is `rudp echo-server --transport {transport}` running there?"
        if silent and transport == "udp":
            advice = f"UDP sends nothing again, and cannot tell why; {advice}"
        raise Failure(f"{failure}; {advice}") from cause


async def _messages(words: tuple[str, ...]) -> AsyncIterator[bytes]:
    """What to echo: the arguments as one line, or standard input line by line."""
    if words:
        line = os.fsencode(" ".join(words)) + b"\n"
        for start in range(0, len(line), LONGEST_MESSAGE):
            yield line[start : start + LONGEST_MESSAGE]
        return
    stdin = StandardInput()
    while line := await stdin.readline(LONGEST_MESSAGE):
        yield line


async def _echo(transport: str, host: str, port: int, timeout: float, words: tuple[str, ...]) -> int:
    where = f"{address_text((host, port))} ({transport})"
    loop = asyncio.get_running_loop()
    if sys.stdout is None:
        raise Failure("standard output is closed")
    out = sys.stdout.buffer
    count = size = 0
    waited = 0.0
    with _advised(f"cannot connect to {where}", transport):
        client = await _open(transport, host, port, timeout)
    try:
        async for message in _messages(words):
            start = loop.time()
            with _advised(f"no echo from {where}", transport):
                answer = await asyncio.wait_for(client.exchange(message), timeout)
            waited += loop.time() - start
            count, size = count + 1, size + len(message)
            out.write(answer)
            out.flush()
    finally:
        await client.close()
    if count:
        each = time_text(waited / count)
        warn(f"{counted(count, 'message')}, {size} bytes echoed by {where}, {each} each")
    return 0


def _transport_option(command: Any) -> Any:
    choice = click.Choice(TRANSPORTS)
    return click.option("--transport", type=choice, default="rudp", show_default=True)(command)


@click.command("echo-server")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; :: or 0.0.0.0 for all.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="0 for any free one.")
@click.option("--workers", type=click.IntRange(1, 256), help="Serve from that many processes (rudp only).")
@_transport_option
def echo_server(host: str, port: int, transport: str, workers: int | None) -> None:
    """Send back whatever comes, until Ctrl-C."""
    if workers is not None and transport != "rudp":
        raise click.UsageError(f"--workers is for rudp, not {transport}")
    run(_serve(transport, host, port, workers), interrupted=0)


@click.command()
@click.argument("text", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the server is.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--timeout", type=FloatRange(0.1, 3600), default=10.0, show_default=True, help="Seconds.")
@_transport_option
def echo(*, text: tuple[str, ...], host: str, port: int, timeout: float, transport: str) -> None:
    """Send text and print what comes back.

    TEXT goes as one line; without it standard input is sent line by line.
    """
    run(_echo(transport, host, port, timeout, text))
