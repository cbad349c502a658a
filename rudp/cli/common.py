"""What the commands share: running, errors as one line, addresses, quantities.

Knows: how a failure is told (one line on standard error, a non-zero exit status, no traceback) and how
addresses, sizes and rates are written and read. Refuses to know: any command.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from math import isnan
from typing import Any, NoReturn

import click

from rudp.errors import RudpError

__all__ = [
    "DEFAULT_PORT",
    "INTERRUPTED",
    "PORT",
    "Failure",
    "FloatRange",
    "address_text",
    "any_host",
    "counted",
    "explained",
    "host_and_port",
    "listening",
    "printable",
    "probability",
    "rate_text",
    "rate_value",
    "reason",
    "refused",
    "run",
    "shut",
    "size_text",
    "size_value",
    "time_text",
    "warn",
]

DEFAULT_PORT = 10000
PORT = click.IntRange(0, 65535)
SHUT_SECONDS = 2.0
INTERRUPTED = 130  # as shells report a command that ended by Ctrl-C

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", re.IGNORECASE)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]|)bit(?:/s|ps)?", re.IGNORECASE)


class Failure(Exception):
    """Something the user should read as one line."""


class FloatRange(click.FloatRange):
    """click's, which lets nan pass: it is neither below the least nor above the most."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number: float = super().convert(value, param, ctx)
        if isnan(number):
            self.fail("nan is no number that anything could take.", param, ctx)
        return number


def run(work: Coroutine[Any, Any, int], *, interrupted: int = INTERRUPTED) -> NoReturn:
    """Run a command to its exit status. `interrupted` is the status after Ctrl-C."""
    try:
        status = asyncio.run(work)
    except KeyboardInterrupt:
        warn("interrupted" if interrupted else "stopped")
        status = interrupted
    except (Failure, RudpError, EOFError, OSError) as error:
        warn(reason(error))
        status = 1
    raise SystemExit(status)


async def shut(server: Any) -> None:
    """Close a server, of asyncio or rudp, and wait a little for its connections to end by themselves."""
    server.close()
    try:
        await asyncio.wait_for(server.wait_closed(), SHUT_SECONDS)
    except TimeoutError:
        if hasattr(server, "abort_clients"):  # asyncio has it from Python 3.13 on
            server.abort_clients()


def warn(text: str) -> None:
    """One line on standard error."""
    click.echo(f"rudp: {printable(text)}", err=True)


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the system or a peer did into a Failure that says what was being done."""
    try:
        yield
    except (RudpError, OSError, EOFError, UnicodeError) as error:
        raise Failure(f"{doing}: {reason(error)}") from error


@contextmanager
def listening(address: Any, kind: str = "") -> Iterator[None]:
    """What fails while a socket is bound, as a Failure that says what to do about a port that is taken."""
    where = address_text(address) + (f" ({kind})" if kind else "")
    try:
        with explained(f"cannot listen on {where}"):
            yield
    except Failure as failure:
        cause = failure.__cause__
        if isinstance(cause, RudpError) or _number(cause) != errno.EADDRINUSE:  # rudp's own words say what to do
            raise
        raise Failure(f"{failure}; end what has that port, or choose another by --port") from cause


def refused(error: BaseException | None) -> bool:
    """Whether nobody listens there."""
    return isinstance(error, ConnectionRefusedError) or _number(error) == errno.ECONNREFUSED


def _number(error: BaseException | None) -> int:
    """The system's number of an error, 0 if it has none."""
    if not isinstance(error, OSError):
        return 0
    # asyncio wraps several attempts in one error that keeps their numbers only in its text.
    return error.errno or int((_ERRNO.search(str(error)) or ["", "0"])[1])


def reason(error: BaseException) -> str:
    """Why it failed, for people."""
    if isinstance(error, socket.gaierror):
        return f"no such host ({error.strerror})"
    if isinstance(error, UnicodeError):
        return "no such host (its name is malformed)"  # Python encodes host names itself before it asks
    if isinstance(error, asyncio.IncompleteReadError):
        return "the peer ended in mid-message"
    if isinstance(error, RudpError):
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    if number := _number(error):
        text = os.strerror(number)
        return text[0].lower() + text[1:]
    if isinstance(error, TimeoutError) and not str(error):
        return "timed out"
    return str(error) or type(error).__name__


def printable(text: str, limit: int = 500) -> str:
    """Text that a peer or a file name may have brought, without anything a terminal would act on."""
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def any_host() -> str:
    """The address that stands for all of this machine's, IPv6 and IPv4 where both can be had."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


def address_text(address: Any) -> str:
    """`host:port`, with brackets around an IPv6 host, and IPv4 in IPv6 shown as IPv4."""
    if not address:
        return "unknown address"
    host, port = str(address[0]), address[1]
    if host.lower().startswith("::ffff:") and "." in host:
        host = host[7:]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def counted(number: int, what: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size_text(size: float) -> str:
    """A number of bytes, in decimal units."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}" if size < 100 * scale else f"{size / scale:.0f} {unit}"
    return f"{size:.0f} B"


def rate_text(size: float, seconds: float) -> str:
    """Bytes over seconds, in decimal units."""
    return f"{size_text(size / seconds)}/s" if seconds > 0 else "-"


def time_text(seconds: float) -> str:
    """A duration of milliseconds to hours."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d} min"


def size_value(text: str) -> int:
    """Bytes, as in 20MB, 1.5GB, 512KiB or 4096."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise click.BadParameter(f"{text!r} is no size; write it as in 20MB, 1.5GB, 512KiB or 4096")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def rate_value(text: str) -> float:
    """Bytes per second, given in bits: 16Mbit, 1Gbit."""
    match = _RATE.fullmatch(text.strip())
    if not match or not float(match[1]):
        raise click.BadParameter(f"{text!r} is no rate; write it as in 16Mbit or 1Gbit")
    return float(match[1]) * _UNITS[match[2].lower()] / 8


def probability(text: str) -> float:
    """A probability below 1, as in 0.1 or 10%."""
    bare = str(text).strip()
    try:
        number = float(bare[:-1]) / 100 if bare.endswith("%") else float(bare)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise click.BadParameter(f"{text!r} is no probability from 0 to below 1; write it as in 0.1 or 10%")
    return number


def host_and_port(text: str) -> tuple[str, int]:
    """HOST:PORT, HOST alone for the default port, [ADDRESS]:PORT for IPv6."""
    port: str | None
    if match := re.fullmatch(r"\[([^\]]+)\](?::(.*))?", text.strip()):
        host, port = match[1], match[2]
    elif text.count(":") == 1:
        host, port = text.strip().split(":")
    else:
        host, port = text.strip(), None
    if not host or (port is not None and not (port.isascii() and port.isdigit())):
        raise click.BadParameter(f"{text!r} is no HOST:PORT; IPv6 goes in brackets, as in [::1]:10000")
    number = DEFAULT_PORT if port is None else int(port.lstrip("0")[:6] or "0")  # as few digits as tell
    if not 1 <= number <= 65535:
        raise click.BadParameter(f"port {printable(str(port), 20)} is not from 1 to 65535")
    return host, number
