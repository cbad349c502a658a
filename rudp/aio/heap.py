"""Keeps the C library from giving back memory that is wanted again a moment later.

Knows: what glibc's malloc does with large pieces (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD). Refuses to
know: who asks for them.

A reader in bulk takes pieces of a quarter of a megabyte and drops them. Above 128 KiB malloc maps each for itself, and
of what is freed at the heap's end it keeps 128 KiB: the kernel takes all pages back and brings them anew, zeroed, for
the next piece, which is a third of what a receiver's CPU does. Both bounds grow when a larger piece that was mapped is
freed, to its size and to twice that. So one such piece is asked for, never touched, and freed. Where malloc is another
one, or was told its bounds, this does nothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["keep_freed_memory"]

# Bytes: what a wake-up reads at most, some times over.
PIECE: Final = 4 << 20


def keep_freed_memory() -> None:
    """Have up to twice PIECE stay with the process when it is freed. Some ten microseconds; once is enough."""
    bytes(PIECE)
