"""Host names to addresses of machines, as getaddrinfo does on a real loop.

Knows: the names of a network's machines, "localhost", numeric addresses, the order in which addresses are tried.
Refuses to know: the machine's own resolver, services by name, how long a lookup takes: none takes time.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TypeAlias

from rudp.errors import SocketError
from rudp.sim.aio.machine import LOOPBACK_IPV4, LOOPBACK_IPV6, Machine
from rudp.sim.aio.sockets import ANY_IPV4, ANY_IPV6, at_port, is_ipv6
from rudp.train import Address
from rudp.udp_options import normalise_address

__all__ = ["AddressInfo", "look_up", "name_of"]

AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]


def look_up(
    machines: Mapping[str, Machine],
    here: Machine | None,
    host: str | bytes | None,
    port: str | int | None,
    *,
    family: int = 0,
    kind: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """What getaddrinfo answers on the machine `here`. Raises socket.gaierror for an unknown name."""
    name = host.decode() if isinstance(host, bytes) else host
    number = _port(port)
    found = [
        address
        for address in _addresses(machines, here, name, flags)
        if not family or (family == socket.AF_INET6) == is_ipv6(address)
    ]
    if not found:
        names = ", ".join([*machines, "localhost"])
        raise socket.gaierror(
            socket.EAI_NONAME, f"no machine of the simulated network is called {name!r}; there are {names}"
        )
    own = (socket.AF_INET, socket.AF_INET6)
    sort = socket.SOCK_STREAM if kind == socket.SOCK_STREAM else socket.SOCK_DGRAM
    protocol = socket.IPPROTO_TCP if sort == socket.SOCK_STREAM else socket.IPPROTO_UDP
    return [(own[is_ipv6(address)], sort, protocol, "", at_port(address, number)) for address in found]


def name_of(machines: Mapping[str, Machine], host: str) -> str:
    """The name of the machine at an address, or the address."""
    return next((machine.name for machine in machines.values() if host in machine.addresses), host)


def _port(port: str | int | None) -> int:
    if port is None:
        return 0
    if isinstance(port, str) and not port.isdigit():
        raise socket.gaierror(socket.EAI_SERVICE, f"the simulated network knows no service by name: {port!r}")
    return int(port)


def _addresses(
    machines: Mapping[str, Machine], here: Machine | None, name: str | None, flags: int
) -> tuple[str, ...] | list[str]:
    has_ipv6 = here is not None and any(map(is_ipv6, here.addresses))
    if not name:
        wildcard, loopback = (ANY_IPV4, ANY_IPV6), (LOOPBACK_IPV4, LOOPBACK_IPV6)
        both = wildcard if flags & socket.AI_PASSIVE else loopback
        return both if has_ipv6 else both[:1]
    try:
        return [normalise_address((name, 0))[0]]
    except SocketError:
        known = name.rstrip(".").lower()
    if known == "localhost":
        return (LOOPBACK_IPV6, LOOPBACK_IPV4) if has_ipv6 else (LOOPBACK_IPV4,)
    machine = machines.get(known)
    if machine is None:
        return ()
    # RFC 6724 section 6, rules 1 and 6: what can be reached first, and of that IPv6.
    return sorted(machine.addresses, key=lambda address: is_ipv6(address) is not has_ipv6)
