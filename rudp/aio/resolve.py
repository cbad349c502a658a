"""Host names to addresses, without blocking the loop. Knows getaddrinfo; refuses to know what the addresses are for."""

from __future__ import annotations

import asyncio
import socket

from rudp.train import Address
from rudp.udp_options import normalise_address

__all__ = ["resolve"]


async def resolve(host: str, port: int, family: int = 0) -> list[Address]:
    """The addresses of a host, best first (RFC 6724, as the system orders them), without repetition.

    Raises socket.gaierror (an OSError) for an unknown host.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    addresses = [normalise_address(info[4]) for info in found]
    return list(dict.fromkeys(addresses))
