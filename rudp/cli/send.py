"""`rudp send FILE HOST:PORT`: one file, or standard input, to a `rudp receive`.

Knows: that the receiver may have a part of the file already, and that only its word at the end makes the
transfer a success. Refuses to know: where and how the receiver keeps it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import click

import rudp
from rudp.cli.common import (
    Failure,
    FloatRange,
    address_text,
    explained,
    host_and_port,
    printable,
    rate_text,
    run,
    size_text,
    time_text,
)
from rudp.cli.incoming import hash_prefix
from rudp.cli.messages import PIECE, PROTOCOL, Channel, StrangePeer, check_offset, check_text
from rudp.cli.meter import Meter
from rudp.cli.stdin import StandardInput

__all__ = ["FileSource", "StandardInputSource", "send", "send_source"]

KEEPALIVE: Final = 5.0  # seconds; the other side may be hashing a part for a while


class Source(Protocol):
    """What is sent: a name, a size if known, and bytes from an offset on."""

    name: str
    size: int | None

    async def skip(self, offset: int, hexdigest: str) -> tuple[int, hashlib._Hash]:
        """Where to begin, given what the receiver has, and the hash up to there."""

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""

    def close(self) -> None:
        """Let go."""


class FileSource:
    """A file on disk, as long as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        with explained(f"cannot read {path}"):
            if path.exists() and not path.is_file() and not path.is_dir():
                raise Failure(f"{path} is no plain file; rudp send - sends standard input, which may be anything")
            self._file: BinaryIO = path.open("rb")
            self.size: int | None = os.fstat(self._file.fileno()).st_size
        self.name = path.name
        self._left = self.size or 0

    async def skip(self, offset: int, hexdigest: str) -> tuple[int, hashlib._Hash]:
        """Skip what the receiver has, if it is the same."""
        if 0 < offset <= self._left:
            digest = await asyncio.to_thread(hash_prefix, self._file, offset)
            if digest.hexdigest() == hexdigest:
                self._left -= offset
                return offset, digest
        self._file.seek(0)
        return 0, hashlib.sha256()

    async def read(self) -> bytes:
        """The next piece. Raises Failure if the file got shorter."""
        with explained(f"cannot read {self.name}"):
            data = self._file.read(min(PIECE, self._left))
        if not data and self._left:
            raise Failure(f"{self.name} got shorter while it was sent")
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StandardInputSource:
    """Standard input: of unknown size, and not to be had twice."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size: int | None = None
        self._stdin = StandardInput()

    async def skip(self, offset: int, hexdigest: str) -> tuple[int, hashlib._Hash]:
        """Nothing can be skipped."""
        del offset, hexdigest
        return 0, hashlib.sha256()

    async def read(self) -> bytes:
        """What there is, b"" at the end."""
        with explained("cannot read standard input"):
            return await self._stdin.read()

    def close(self) -> None:
        """Standard input stays open."""


class Sending:
    """One transfer on one stream."""

    def __init__(self, source: Source, channel: Channel, where: str) -> None:
        self._source = source
        self._where = where
        self._channel = channel
        self._digest = hashlib.sha256()
        self.offset = 0
        self.sent = 0

    async def run(self) -> str:
        """Send everything; return the name under which the receiver saved it."""
        source, channel = self._source, self._channel
        await channel.send({"name": source.name, "size": source.size, "resumable": source.size is not None})
        try:
            offer = await channel.receive()
            there, hexdigest = check_offset(offer, "offset"), check_text(offer, "sha256")
        except StrangePeer as strange:
            raise Failure(f"what answers at {self._where} is not `rudp receive` (it {strange.did})") from strange
        self.offset, self._digest = await source.skip(there, hexdigest)
        self.sent = self.offset
        await channel.send({"offset": self.offset})
        # The receiver's last word may come early: it ran out of space, say.
        verdict = asyncio.create_task(channel.receive())
        pump = asyncio.create_task(self._pump())
        try:
            await asyncio.wait((verdict, pump), return_when=asyncio.FIRST_COMPLETED)
            if not verdict.done():
                await pump
            return printable(check_text(await verdict, "saved"))
        finally:
            for task in (verdict, pump):
                task.cancel()
            await asyncio.gather(verdict, pump, return_exceptions=True)

    async def _pump(self) -> None:
        label = printable(self._source.name, 24)
        with Meter(label, self._source.size, done=self.offset, to_stderr=True) as meter:
            while data := await self._source.read():
                await self._channel.send_piece(data)
                self._digest.update(data)
                self.sent += len(data)
                meter.update(self.sent)
            meter.update(self.sent, now=True)
        await self._channel.send_piece(b"")
        await self._channel.send({"size": self.sent, "sha256": self._digest.hexdigest()})
        await self._channel.finish()

    @property
    def hexdigest(self) -> str:
        """SHA-256 of what was sent, an earlier part included."""
        return self._digest.hexdigest()


async def send_source(source: Source, host: str, port: int, timeout: float) -> int:
    """Send one source; returns the exit status. Raises Failure."""
    where = address_text((host, port))
    loop = asyncio.get_running_loop()
    config = rudp.Config(application_protocol=PROTOCOL, connect_timeout=timeout, keepalive=KEEPALIVE)
    try:
        with explained(f"cannot connect to {where}"):
            connection = await rudp.connect(host, port, config=config)
        try:
            sending = Sending(source, Channel(await connection.open_stream()), where)
            start = loop.time()
            with explained(f"{source.name} was not sent whole to {where}"):
                saved = await sending.run()
            seconds = loop.time() - start
            with explained(f"{where} has the file, but did not close in good order"):
                await connection.close()
        except BaseException:
            connection.abort(1, "not finished")
            raise
    finally:
        source.close()
    new = sending.sent - sending.offset
    kept = f" ({size_text(sending.offset)} were there already)" if sending.offset else ""
    click.echo(
        f"sent {saved}: {size_text(new)} in {time_text(seconds)}, {rate_text(new, seconds)}{kept}\n"
        f"SHA-256, confirmed by {where}:\n  {sending.hexdigest}"
    )
    return 0


@click.command()
@click.argument("file")
@click.argument("to", metavar="HOST:PORT", type=host_and_port)
@click.option("--name", help="The name to save it under, instead of the file's own.")
@click.option(
    "--timeout", type=FloatRange(0.1, 3600), default=10.0, show_default=True, help="Seconds to connect."
)
def send(*, file: str, to: tuple[str, int], name: str | None, timeout: float) -> None:
    """Send a file to a `rudp receive`.

    FILE may be - for standard input, and HOST alone stands for HOST:10000. An interrupted transfer goes on where it
    stopped when it is started again. The exit status is 0 when the receiver has confirmed the file's SHA-256.
    """

    async def work() -> int:
        source: Source = StandardInputSource(name or "stdin") if file == "-" else FileSource(Path(file))
        source.name = name or source.name
        return await send_source(source, *to, timeout)

    run(work())
