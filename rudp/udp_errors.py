"""What the error numbers of a UDP socket's calls mean, and what is told of a datagram that came to nothing.

Knows: which of them speak of an earlier datagram, of offload, of an address, of the socket itself.
Refuses to know: sockets, and what to do about it.
"""

from __future__ import annotations

import errno
from typing import Final, NamedTuple

from rudp.train import Address

__all__ = ["CERTAINLY_ICMP", "LOCAL_ADDRESS_ERRORS", "MAYBE_ICMP", "OFFLOAD_ERRORS", "SOCKET_GONE", "PeerError"]

# What ICMP may say of an earlier datagram. It may as well be about the present one: repeating the call tells.
MAYBE_ICMP: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETRESET", "ENOPROTOOPT",
        "EPROTO", "EOPNOTSUPP", "EACCES", "ENONET", "EMSGSIZE",
    )
    if hasattr(errno, name)
)  # fmt: skip
CERTAINLY_ICMP: Final = frozenset((errno.ECONNREFUSED, errno.ECONNRESET))
OFFLOAD_ERRORS: Final = frozenset((errno.EIO, errno.EINVAL, errno.EMSGSIZE))
LOCAL_ADDRESS_ERRORS: Final = frozenset(
    (errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENETUNREACH, errno.EHOSTUNREACH)
)
SOCKET_GONE: Final = frozenset((errno.EBADF, errno.ENOTSOCK))


class PeerError(NamedTuple):
    """A datagram to `remote` came to nothing. None: the system doesn't say to whom (Windows)."""

    remote: Address | None
    error: OSError
