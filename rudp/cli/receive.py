"""`rudp receive`: waits for a `rudp send` and saves its file.

Knows: one transfer at a time, and what to tell the sender about it. Refuses to know: how a file is kept
(`incoming`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

import rudp
from rudp.cli.common import (
    DEFAULT_PORT,
    INTERRUPTED,
    PORT,
    Failure,
    address_text,
    any_host,
    listening,
    rate_text,
    reason,
    run,
    shut,
    size_text,
    time_text,
    warn,
)
from rudp.cli.incoming import Incoming
from rudp.cli.messages import PROTOCOL, Channel, check_offset, check_text
from rudp.cli.meter import Meter

__all__ = ["receive", "receive_files"]

KEEPALIVE: Final = 5.0  # seconds
LAST_WORD: Final = 10.0  # seconds the sender has to take the outcome and close


class Receiving:
    """A server for senders; `outcome` is the exit status once one transfer is over."""

    def __init__(self, folder: Path, *, overwrite: bool, keep: bool) -> None:
        self._folder = folder
        self._overwrite = overwrite
        self._keep = keep
        self._busy = False
        self.outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def __call__(self, connection: rudp.Connection) -> None:
        """Serve one sender."""
        sender = address_text(connection.remote_address)
        status = None
        try:
            channel = Channel(await connection.accept_stream())
            announced = await channel.receive()
            name = check_text(announced, "name")
            size = None if announced.get("size") is None else check_offset(announced, "size")
            if self._busy:
                await channel.send({"error": "busy with another transfer"})
            else:
                self._busy = True
                try:
                    status = await self._transfer(channel, sender, name, size)
                finally:
                    self._busy = False
            await channel.finish()
            await self._hear_out(connection)
        except (Failure, OSError, EOFError) as error:
            if status is None:
                warn(f"{sender}: {reason(error)}")
        if status is not None and not self._keep and not self.outcome.done():
            self.outcome.set_result(status)

    async def _transfer(self, channel: Channel, sender: str, name: str, size: int | None) -> int:
        """Take one file; returns an exit status, and tells sender and user."""
        incoming = Incoming(self._folder, name, overwrite=self._overwrite)
        try:
            await self._take(channel, incoming, sender, size)
        except (Failure, OSError, EOFError) as error:
            text = reason(error)
            kept = incoming.close()
            hint = f"; {size_text(incoming.size)} are kept, to go on from next time" if kept else ""
            warn(f"{incoming.name} from {sender} was not received whole: {text}{hint}")
            with suppress(OSError):
                await channel.send({"error": text})
            return 1
        finally:
            incoming.close()
        return 0

    async def _take(self, channel: Channel, incoming: Incoming, sender: str, size: int | None) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(incoming.open, size, resumable=size is not None)
        await channel.send({"offset": incoming.size, "sha256": incoming.hexdigest})
        offset = check_offset(await channel.receive(), "offset")
        if offset != incoming.size:
            if offset:
                raise Failure("the sender goes on where nothing ended")
            incoming.restart()
        start = loop.time()
        with Meter(incoming.name[:24], size, done=offset, to_stderr=True) as meter:
            while piece := await channel.receive_piece():
                if size is not None and incoming.size + len(piece) > size:
                    raise Failure("more came than was announced")
                incoming.write(piece)
                meter.update(incoming.size)
            meter.update(incoming.size, now=True)
        seconds = loop.time() - start
        last = await channel.receive()
        hexdigest = incoming.hexdigest
        await asyncio.to_thread(incoming.finish, check_offset(last, "size"), check_text(last, "sha256"))
        new = incoming.size - offset
        click.echo(
            f"received {incoming.name} from {sender}: {size_text(new)} in {time_text(seconds)},"
            f" {rate_text(new, seconds)}\nSHA-256, the same as the sender's:\n  {hexdigest}"
        )
        await channel.send({"saved": incoming.name})

    @staticmethod
    async def _hear_out(connection: rudp.Connection) -> None:
        """The sender closes first, once it has the outcome."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(LAST_WORD):
                async for _ in connection.streams():
                    pass


def _say_ready(addresses: list[Any]) -> None:
    warn(f"waiting on {', '.join(map(address_text, addresses))} for rudp send; Ctrl-C ends")


async def receive_files(
    folder: Path,
    host: str,
    port: int,
    *,
    overwrite: bool,
    keep: bool,
    ready: Callable[[list[Any]], None] = _say_ready,
) -> int:
    """Receive one file, or more if `keep`; returns the exit status. Raises Failure."""
    config = rudp.Config(application_protocol=PROTOCOL, keepalive=KEEPALIVE)
    receiving = Receiving(folder, overwrite=overwrite, keep=keep)
    with listening((host, port)):
        server: Any = await rudp.serve(receiving, host, port, config=config)
    try:
        ready([sock.getsockname() for sock in server.sockets])
        return await receiving.outcome
    except asyncio.CancelledError:
        server.abort_clients()
        raise
    finally:
        await shut(server)


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False, writable=True),
    default=Path(),
    help="The folder to save into, made if need be; the current one by default.",
)
@click.option("--host", help="Address to listen on; all of this machine's by default.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="0 for any free one.")
@click.option("--overwrite", is_flag=True, help="Replace a file of the same name.")
@click.option("--keep", is_flag=True, help="Go on receiving after the first file, until Ctrl-C.")
def receive(*, output: Path, host: str | None, port: int, overwrite: bool, keep: bool) -> None:
    """Wait for one `rudp send` and save its file.

    While it arrives it is called NAME.part. Anybody who can reach the port can send: nothing is encrypted,
    and nobody is asked who they are.
    """
    interrupted = 0 if keep else INTERRUPTED
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        why = "not a folder" if isinstance(error, FileExistsError) else reason(error)
        raise click.BadParameter(f"cannot save into {output}: {why}", param_hint="--output") from None
    run(
        receive_files(output, host or any_host(), port, overwrite=overwrite, keep=keep),
        interrupted=interrupted,
    )
