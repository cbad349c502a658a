"""Packet numbers: 64 bits in an endpoint, the low 32 on the wire (RFC 9000 section 17.1 and appendix A).

Knows: how to cut a number and how to find it again near the largest one accepted.
Refuses to know: which numbers were received or sent.
Cost: O(1) each; `recover` is meant to be called once a run, not once a packet.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LIMIT", "PLAIN", "WINDOW", "recover", "truncate"]

WINDOW: Final = 1 << 32
LIMIT: Final = 1 << 64

_HALF: Final = WINDOW // 2
# While the largest number accepted is below this, what a header carries is the number itself.
PLAIN: Final = _HALF - 1
_MASK: Final = WINDOW - 1


def truncate(packet_number: int) -> int:
    """The low 32 bits of `packet_number`, which is what a header carries."""
    assert 0 <= packet_number < LIMIT
    return packet_number & _MASK


def recover(truncated: int, largest_accepted: int) -> int:
    """The number with these low 32 bits that lies nearest to the next expected one (RFC 9000 appendix A.3).

    `largest_accepted` is -1 as long as nothing was accepted. Right whenever the true number is above
    `largest_accepted + 1 - 2**31` and at most `largest_accepted + 1 + 2**31`.
    """
    assert 0 <= truncated < WINDOW
    assert -1 <= largest_accepted < LIMIT
    expected = largest_accepted + 1
    candidate = (expected & ~_MASK) | truncated
    if candidate <= expected - _HALF and candidate < LIMIT - WINDOW:
        return candidate + WINDOW
    if candidate > expected + _HALF and candidate >= WINDOW:
        return candidate - WINDOW
    return candidate
