"""Host names to addresses, without blocking the loop. Knows getaddrinfo; refuses to know what the addresses are for."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from rudp.errors import SocketError
from rudp.train import Address
from rudp.udp_options import normalise_address

__all__ = ["check_port", "resolve"]

LARGEST_PORT: Final = 65535


def check_port(port: int) -> None:
    """Raise OverflowError, as the socket module does, for a port that doesn't fit; getaddrinfo would cut it."""
    if not 0 <= port <= LARGEST_PORT:
        raise OverflowError(f"port {port}: must be from 0 to {LARGEST_PORT}")


def _numeric(host: str, port: int, family: int) -> Address | None:
    """The address that `host` says in full, as most do that are no names; None: ask the system."""
    own = socket.AF_INET6 if ":" in host else socket.AF_INET
    # What is behind a % is the system's to understand.
    if family not in (0, own) or "%" in host:
        return None
    try:
        return normalise_address((host, port))
    except SocketError:
        return None


async def resolve(host: str, port: int, family: int = 0) -> list[Address]:
    """The addresses of a host, best first (RFC 6724, as the system orders them), without repetition.

    Raises socket.gaierror (an OSError) for an unknown host, OverflowError for a port out of bounds.
    """
    check_port(port)
    if (address := _numeric(host, port, family)) is not None:
        # Without a thread, whose start and end take as long as all else that opens a connection.
        return [address]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    addresses = [normalise_address(info[4]) for info in found]
    return list(dict.fromkeys(addresses))
