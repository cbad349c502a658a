"""What a machine's UDP sockets can do: opening them, options, ancillary data, forms of addresses.

Knows: socket options and control messages of segmentation offload (UDP_SEGMENT, UDP_GRO), ECN, destination
addresses, don't-fragment and the error queue; the two forms of an IPv4 address on a dual-stack socket; which
failure to open a socket means what. An option is there if the machine takes it: each is tried, none is
inferred from a platform's name. Numbers that Python's socket module lacks are filled in on Linux, where they
never change.
Refuses to know: trains, resumption, errors of single datagrams (udp.py).

Operations: `open_socket`, `enable_options` and `grow_buffers` once a socket; `pack_ancillary` and
`unpack_ancillary` once per combination of segment size, ECN mark and address: udp.py keeps their results.

Sources: udp(7), ip(7), ipv6(7); RFC 3542 (IPv6 ancillary data); RFC 3168 section 5 (ECN field); RFC 8899
section 4.1 (don't-fragment); RFC 4291 section 2.5.5.2 (IPv4-mapped addresses).
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from rudp.errors import SocketError
from rudp.train import Address

__all__ = [
    "Ancillary",
    "BufferSizes",
    "Capabilities",
    "address_from_kernel",
    "address_to_kernel",
    "connected_peer",
    "enable_options",
    "grow_buffers",
    "normalise_address",
    "open_error",
    "open_socket",
    "own_memory",
    "pack_ancillary",
    "parse_extended_error",
    "unpack_ancillary",
]

Ancillary: TypeAlias = list[tuple[int, int, bytes]]

_IS_LINUX: Final = sys.platform.startswith("linux")


def _number(*names: str, linux: int | None = None) -> int | None:
    """The first of `names` the socket module has, else the number on Linux, else None."""
    for name in names:
        value = getattr(socket, name, None)
        if value is not None:
            return int(value)
    return linux if _IS_LINUX else None


SOL_UDP: Final = 17
UDP_SEGMENT: Final = _number("UDP_SEGMENT", linux=103)
UDP_GRO: Final = _number("UDP_GRO", linux=104)
IP_TOS: Final = _number("IP_TOS", linux=1)
IP_RECVTOS: Final = _number("IP_RECVTOS", linux=13)
IPV6_TCLASS: Final = _number("IPV6_TCLASS", linux=67)
IPV6_RECVTCLASS: Final = _number("IPV6_RECVTCLASS", linux=66)
IP_PKTINFO: Final = _number("IP_PKTINFO", linux=8)
IPV6_PKTINFO: Final = _number("IPV6_PKTINFO", linux=50)
IPV6_RECVPKTINFO: Final = _number("IPV6_RECVPKTINFO", linux=49)
IP_DONTFRAG: Final = _number("IP_DONTFRAG", "IP_DONTFRAGMENT")
IPV6_DONTFRAG: Final = _number("IPV6_DONTFRAG", linux=62)
IP_MTU_DISCOVER: Final = _number("IP_MTU_DISCOVER", linux=10)
IPV6_MTU_DISCOVER: Final = _number("IPV6_MTU_DISCOVER", linux=23)
IP_RECVERR: Final = _number("IP_RECVERR", linux=11)
IPV6_RECVERR: Final = _number("IPV6_RECVERR", linux=25)
MSG_ERRQUEUE: Final = _number("MSG_ERRQUEUE", linux=0x2000)
SO_RCVBUFFORCE: Final = _number("SO_RCVBUFFORCE", linux=33)
SO_SNDBUFFORCE: Final = _number("SO_SNDBUFFORCE", linux=32)
# PROBE sets don't-fragment and ignores what ICMP claims about the path; DO also believes the claims.
_MTU_DISCOVER_MODES: Final = (3, 2)

_IPV4_PKTINFO: Final = struct.Struct("=i4s4s")  # interface, local address to use, destination in the header
_IPV6_PKTINFO: Final = struct.Struct("=16sI")  # address, interface
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")  # errno, origin, type, code, pad, info, data
_ORIGINS_ICMP: Final = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one socket can do on this machine, found by trying."""

    gso: bool  # a train leaves by one call
    gro: bool  # a train arrives by one call
    ecn: bool  # ECN marks are read and written
    pktinfo: bool  # the address a datagram was sent to is known; asked for on wildcard addresses only
    dont_fragment: bool  # datagrams are never fragmented by the hosts and routers of the path
    error_queue: bool  # ICMP errors arrive with the address they are about
    ancillary: bool  # sendmsg and recvmsg_into exist
    ipv6: bool  # IPv6 peers can be reached from this socket
    dual_stack: bool  # and IPv4 peers too


class BufferSizes(NamedTuple):
    """Bytes of payload and overhead that the kernel may hold for one socket, asked for and granted."""

    asked: int
    receive: int
    send: int


# --- options --------------------------------------------------------------------------------------


def _enable(sock: socket.socket, level: int, option: int | None, value: int = 1) -> bool:
    if option is None:
        return False
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def _families(sock: socket.socket, dual_stack: bool) -> tuple[bool, bool]:
    """Whether the socket carries IPv4, and whether IPv6."""
    is_ipv6 = sock.family == socket.AF_INET6
    return not is_ipv6 or dual_stack, is_ipv6


def _is_dual_stack(sock: socket.socket) -> bool:
    if sock.family != socket.AF_INET6:
        return False
    try:
        return not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:
        return False


def _forbid_fragments(sock: socket.socket, level: int, discover: int | None, dontfrag: int | None) -> bool:
    discovering = any(_enable(sock, level, discover, mode) for mode in _MTU_DISCOVER_MODES)
    return _enable(sock, level, dontfrag) or discovering


def enable_options(sock: socket.socket, *, wildcard: bool, offload: bool) -> Capabilities:
    """Switch on what `sock` takes of offload, ECN, destination addresses, don't-fragment, error queue."""
    dual_stack = _is_dual_stack(sock)
    ipv4, ipv6 = _families(sock, dual_stack)
    ip, ip6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
    _silence_connection_reset(sock)
    ancillary = hasattr(sock, "sendmsg") and hasattr(sock, "recvmsg_into")

    def everywhere(option4: int | None, option6: int | None) -> bool:
        done4 = _enable(sock, ip, option4) if ipv4 else True
        done6 = _enable(sock, ip6, option6) if ipv6 else True
        return done4 and done6

    # On a dual-stack socket IPV6_PKTINFO tells the address of IPv4 datagrams too, as a mapped one.
    pktinfo_option = (ip6, IPV6_RECVPKTINFO) if ipv6 else (ip, IP_PKTINFO)
    fragments4 = _forbid_fragments(sock, ip, IP_MTU_DISCOVER, IP_DONTFRAG) if ipv4 else True
    fragments6 = _forbid_fragments(sock, ip6, IPV6_MTU_DISCOVER, IPV6_DONTFRAG) if ipv6 else True
    return Capabilities(
        # The option's value 0 changes nothing; a kernel that takes it takes the control message as well.
        gso=ancillary and offload and _enable(sock, SOL_UDP, UDP_SEGMENT, 0),
        gro=ancillary and offload and _enable(sock, SOL_UDP, UDP_GRO),
        ecn=ancillary and everywhere(IP_RECVTOS, IPV6_RECVTCLASS),
        pktinfo=ancillary and wildcard and _enable(sock, *pktinfo_option),
        dont_fragment=fragments4 and fragments6,
        error_queue=ancillary and MSG_ERRQUEUE is not None and everywhere(IP_RECVERR, IPV6_RECVERR),
        ancillary=ancillary,
        ipv6=ipv6,
        dual_stack=dual_stack,
    )


def _granted(sock: socket.socket, option: int) -> int:
    # Linux answers with twice the size asked for, the half being its own bookkeeping (socket(7)).
    size = sock.getsockopt(socket.SOL_SOCKET, option)
    return size // 2 if _IS_LINUX else size


def _grow(sock: socket.socket, option: int, force: int | None, size: int) -> int:
    present = _granted(sock, option)
    if present >= size or _enable(sock, socket.SOL_SOCKET, force, size):
        return _granted(sock, option)
    # Some kernels grant less than asked, others refuse altogether: ask for half then.
    while size > present and not _enable(sock, socket.SOL_SOCKET, option, size):
        size //= 2
    return _granted(sock, option)


def grow_buffers(sock: socket.socket, size: int) -> BufferSizes:
    """Ask for `size` bytes of receive and of send buffer, and never shrink what is there."""
    receive = _grow(sock, socket.SO_RCVBUF, SO_RCVBUFFORCE, size)
    send = _grow(sock, socket.SO_SNDBUF, SO_SNDBUFFORCE, size)
    return BufferSizes(size, receive, send)


# --- ancillary data -------------------------------------------------------------------------------


def pack_ancillary(segment_size: int, ecn: int, local: Address | None, to_ipv6: bool) -> Ancillary:
    """Control messages of one sendmsg. `segment_size` 0: no segmentation; `to_ipv6`: the peer isn't mapped.

    `local` is left out if it is of the other family.
    """
    ancillary: Ancillary = []
    if segment_size and UDP_SEGMENT is not None:
        ancillary.append((SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment_size)))
    level, option = (socket.IPPROTO_IPV6, IPV6_TCLASS) if to_ipv6 else (socket.IPPROTO_IP, IP_TOS)
    if ecn and option is not None:
        ancillary.append((level, option, struct.pack("=i", ecn)))
    if local is not None:
        if len(local) == 4 and to_ipv6 and IPV6_PKTINFO is not None:
            packed = _IPV6_PKTINFO.pack(socket.inet_pton(socket.AF_INET6, local[0]), local[3])
            ancillary.append((level, IPV6_PKTINFO, packed))
        elif len(local) == 2 and not to_ipv6 and IP_PKTINFO is not None:
            packed = _IPV4_PKTINFO.pack(0, socket.inet_pton(socket.AF_INET, local[0]), bytes(4))
            ancillary.append((level, IP_PKTINFO, packed))
    return ancillary


def unpack_ancillary(
    ancillary: Sequence[tuple[int, int, bytes]], port: int
) -> tuple[int, Address | None, int]:
    """From one recvmsg: segment size (0: not merged), address that was hit (None: unknown), ECN mark."""
    segment_size, ecn = 0, 0
    local: Address | None = None
    for level, option, data in ancillary:
        if level == SOL_UDP:
            if option == UDP_GRO:
                segment_size = int.from_bytes(data[:4], sys.byteorder)
        elif level == socket.IPPROTO_IP:
            if option in (IP_TOS, IP_RECVTOS):
                ecn = int.from_bytes(data, sys.byteorder) & 3
            elif option == IP_PKTINFO and len(data) >= _IPV4_PKTINFO.size:
                local = (socket.inet_ntop(socket.AF_INET, data[4:8]), port)
        elif level == socket.IPPROTO_IPV6:
            if option == IPV6_TCLASS:
                ecn = int.from_bytes(data, sys.byteorder) & 3
            elif option == IPV6_PKTINFO and len(data) >= _IPV6_PKTINFO.size:
                packed, interface = _IPV6_PKTINFO.unpack_from(data)
                local = _ipv6_address(packed, port, interface)
    return segment_size, local, ecn


def parse_extended_error(ancillary: Sequence[tuple[int, int, bytes]]) -> int | None:
    """The errno of an ICMP error read from the error queue; None when the error is not from the network."""
    for level, option, data in ancillary:
        about_error = (level == socket.IPPROTO_IP and option == IP_RECVERR) or (
            level == socket.IPPROTO_IPV6 and option == IPV6_RECVERR
        )
        if about_error and len(data) >= _EXTENDED_ERROR.size:
            number, origin, *_ = _EXTENDED_ERROR.unpack_from(data)
            return int(number) if origin in _ORIGINS_ICMP else None
    return None


# --- addresses ------------------------------------------------------------------------------------


def _ipv6_address(packed: bytes, port: int, scope: int) -> Address:
    if packed[:12] == _MAPPED_PREFIX:
        return socket.inet_ntop(socket.AF_INET, packed[12:]), port
    # A scope means something for link-local addresses only (RFC 4007); elsewhere it would make equals differ.
    is_link_local = packed[0] == 0xFE and packed[1] & 0xC0 == 0x80
    return socket.inet_ntop(socket.AF_INET6, packed), port, 0, scope if is_link_local else 0


def normalise_address(address: Sequence[object]) -> Address:
    """The one form of a numeric address, in which addresses of the same peer are equal.

    IPv4 and IPv4-mapped: (host, port). IPv6: (host, port, 0, scope), scope 0 unless link-local; `host` may
    name the interface after a `%`. Raises SocketError for a host name, a bad address or a bad port.
    """
    host, port = str(address[0]), address[1]
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise SocketError(
            errno.EINVAL, f"bad UDP port {port!r} with host {host!r}: give an integer from 0 to 65535"
        )
    name, _, zone = host.partition("%")
    scope = address[3] if len(address) > 3 else 0
    try:
        if ":" not in name:
            return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, name)), port
        packed = socket.inet_pton(socket.AF_INET6, name)
    except (OSError, ValueError) as error:
        reason = "it is neither a numeric IPv4 nor IPv6 address; resolve host names first"
        raise SocketError(errno.EINVAL, f"bad address {host!r}: {reason}") from error
    if zone:
        try:
            scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
        except OSError as error:
            raise SocketError(
                errno.ENODEV, f"bad address {host!r}: no interface of this machine is called {zone!r}"
            ) from error
    return _ipv6_address(packed, port, scope if isinstance(scope, int) else 0)


def address_from_kernel(address: Address) -> Address:
    """`normalise_address` for what an IPv6 socket returns, which is numeric and canonical already."""
    host = address[0]
    # Only mapped addresses are written with dots behind this prefix; ::ffff:0:0:1 is another address.
    if host[:7] == "::ffff:" and "." in host:
        return host[7:], address[1]
    if len(address) == 4 and address[2]:
        return host, address[1], 0, address[3]
    return address


def address_to_kernel(address: Address) -> Address:
    """A normalised address as an IPv6 socket takes it: IPv4 becomes IPv4-mapped."""
    return (f"::ffff:{address[0]}", address[1], 0, 0) if len(address) == 2 else address


# --- errors ---------------------------------------------------------------------------------------

_ADVICE: Final = {
    errno.EADDRINUSE: "the port is in use by another socket; stop that program, or choose another port "
    "(0 lets the system choose a free one)",
    errno.EACCES: "permission denied; ports below 1024 often need administrator rights: choose a higher one",
    errno.EPERM: "permission denied; a security policy forbids it",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address; use one of its own addresses, "
    "or 0.0.0.0 or :: for all of them",
    errno.EAFNOSUPPORT: "this machine does not support that address family; use the other one",
    errno.EMFILE: "this process has too many files open; close some, or raise its limit (ulimit -n)",
    errno.ENFILE: "the machine has too many files open; close some",
}


def open_error(error: OSError, address: object) -> SocketError:
    """What went wrong when opening a socket at `address`, why, and what to do; keeps the errno."""
    number = error.errno if isinstance(error.errno, int) else errno.EINVAL
    where = address
    if isinstance(address, tuple) and len(address) > 1:
        where = f"{address[0] or '*'} port {address[1]}"
    advice = _ADVICE.get(number) or os.strerror(number)
    return SocketError(number, f"cannot open a UDP socket at {where}: {advice}")


# --- opening --------------------------------------------------------------------------------------

# The dual-stack attempt ended because there is no IPv6 here, or none that serves IPv4 too.
_NO_DUAL_STACK: Final = frozenset(
    (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENOPROTOOPT, errno.EPROTONOSUPPORT)
)
_SIO_UDP_CONNRESET: Final = 0x9800000C


def open_socket(local_addr: Sequence[object] | None, family: int, reuse_port: bool) -> socket.socket:
    """A UDP socket bound as `UdpSocket.open` says. Raises SocketError."""
    host, port = (local_addr[0] or "", local_addr[1]) if local_addr is not None else ("", 0)
    if local_addr is not None and host:
        candidates = [normalise_address(local_addr)]
    else:
        candidates = []
        if family in (0, socket.AF_INET6) and socket.has_ipv6:
            candidates.append(normalise_address(("::", port)))
        if family in (0, socket.AF_INET):
            candidates.append(normalise_address(("0.0.0.0", port)))
    failure = OSError(errno.EAFNOSUPPORT, "no such address family")
    for address in candidates:
        try:
            return _bind(address, family, reuse_port)
        except SocketError:
            raise
        except OSError as error:
            failure = error
            if error.errno not in _NO_DUAL_STACK:
                break
    raise open_error(failure, (host, port)) from failure


def _bind(address: Address, family: int, reuse_port: bool) -> socket.socket:
    own_family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
    if family not in (0, own_family):
        raise SocketError(
            errno.EAFNOSUPPORT,
            f"cannot open a UDP socket at {address[0]}: the address is of {own_family.name}, "
            f"but family asks for another; leave family at 0",
        )
    sock = socket.socket(own_family, socket.SOCK_DGRAM)
    try:
        if own_family == socket.AF_INET6:
            dual_stack = family == 0 and address[0] == "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        if reuse_port:
            _share_port(sock)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _share_port(sock: socket.socket) -> None:
    if not _enable(sock, socket.SOL_SOCKET, _number("SO_REUSEPORT")):
        raise SocketError(
            errno.EOPNOTSUPP,
            "cannot share a UDP port: this machine has no SO_REUSEPORT; use one socket, without reuse_port",
        )


def _silence_connection_reset(sock: socket.socket) -> None:
    # Windows reports ICMP port unreachable as ConnectionResetError from recvfrom, without the peer's address.
    # Python may refuse the code that turns this off; UdpSocket.receive copes with the error anyway.
    ioctl = getattr(sock, "ioctl", None)
    if ioctl is not None:
        with contextlib.suppress(OSError, ValueError):
            ioctl(_SIO_UDP_CONNRESET, False)


def connected_peer(sock: socket.socket) -> Address | None:
    """The one peer of a connected socket."""
    try:
        return address_from_kernel(sock.getpeername())
    except OSError:
        return None


def own_memory(size: int) -> memoryview:
    """Memory whose pages are taken once they are written to, and which no forked child shares."""
    if sys.platform == "win32":
        return memoryview(mmap.mmap(-1, size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
