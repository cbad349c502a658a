"""How many connections a host may open: a rate for each, in a table of fixed size.

Knows: which part of an address is a host, when each place of the table has paid for what was opened. Refuses to know:
what an opening is, and who proved its address (the caller charges only those who did).

    allows      O(1), a comparison while no host is beyond its rate
    charge      O(1), a keyed hash

A place of the table holds one number, however many hosts fall on it; they share its rate. Which do is decided by a
keyed hash, so nobody can choose to share a place with another.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import Final

from rudp.never import NEVER_YET

__all__ = ["HostLimit", "host_of"]

# Hosts told apart, 8 bytes each from the first charge on: of a thousand busy ones a fifth share a place with another.
PLACES: Final = 4096
# Seconds' worth of the rate that may be taken at once.
BURST: Final = 0.5
# Last bits of an IPv6 address, of which whoever has one value has all (RFC 6177).
OF_HOST: Final = 64


class HostLimit:
    """At most `rate` a second for each host, and half as many at once; `key` is secret, 16 to 64 bytes."""

    __slots__ = ("_interval", "_key", "_latest", "_paid_at")

    def __init__(self, rate: float, key: bytes) -> None:
        self._interval = 1 / rate
        self._key = key
        # When what was taken will be paid for, by place; and the latest of all.
        self._paid_at: array[float] | None = None
        self._latest = NEVER_YET

    def allows(self, address: str, now: float) -> bool:
        """Whether the host of `address` may take one more."""
        paid_at = self._paid_at
        return self._latest <= now or paid_at is None or paid_at[self._place(address)] <= now

    def charge(self, address: str, now: float) -> None:
        """The host of `address` took one; more may be taken than `allows` said, and are paid for later."""
        if self._paid_at is None:
            self._paid_at = array("d", [NEVER_YET]) * PLACES
        place = self._place(address)
        paid_at = max(self._paid_at[place], now - BURST) + self._interval
        self._paid_at[place] = paid_at
        self._latest = max(self._latest, paid_at)

    def _place(self, address: str) -> int:
        digest = blake2b(host_of(address).encode(), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big") % PLACES


def host_of(address: str) -> str:
    """What of an IP address, as text, stands for one host: all of IPv4, the first 64 bits of IPv6."""
    if ":" not in address:
        return address
    whole = IPv6Address(address)
    return str(whole.ipv4_mapped or IPv6Address(int(whole) >> OF_HOST << OF_HOST))
