"""Several endpoints, one port: which worker a datagram is for, and what came to another one than that.

Knows: the rule, which is a function of the first nine bytes alone (they are the same in every version), as Python and
as a program in classic BPF for the kernel; datagrams for others that wait to be handed on.
Refuses to know: sockets and processes, how datagrams get from one worker to another.

    SYN              by the id that the client drew at random: repeated, with a cookie or from another address it is
                     the same, and so is the worker
    RESET            for everyone: it carries the id of whom it came from, and only its receiver knows the token
    all others       by the top byte of the destination id, which its receiver chose: the worker's index

`owner` costs a comparison or two, an entry handed on a copy of its bytes. A kernel that runs the program leaves little
of that: RESETs, and what it merged of several connections of one client.

Sources: bpf(2), socket(7) on SO_ATTACH_REUSEPORT_CBPF, linux/bpf_common.h.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final, NamedTuple

from rudp.train import Address
from rudp.wire import DATA_TYPES, PacketType

__all__ = ["MAX_WORKERS", "Stray", "Strays", "owner", "program"]

# The index has one byte of the id.
MAX_WORKERS: Final = 256
# Buffers that wait to be handed on; a driver does so each wake-up. Nobody but an attacker sends more of them at once.
MAX_STRAYS: Final = 1024

SYN: Final = PacketType.SYN.value
RESET: Final = PacketType.RESET.value
_KINDS: Final = frozenset(PacketType) - {RESET} | frozenset(DATA_TYPES)
_ID_BITS: Final = 56
_LOW_HALF: Final = 0xFFFF_FFFF

# struct sock_filter: code, jump if true, jump if false, operand.
_INSTRUCTION: Final = Struct("=HBBI")
_LOAD_BYTE: Final = 0x30  # A = byte at the operand (BPF_LD | BPF_B | BPF_ABS)
_LOAD_WORD: Final = 0x20  # A = 32 bits there, big-endian
_JUMP_IF_EQUAL: Final = 0x15
_MODULO: Final = 0x94
_RETURN: Final = 0x06
_RETURN_A: Final = 0x16
# Beyond every index: the kernel falls back to its hash of the addresses.
_NOBODY: Final = 0xFFFF_FFFF


class Stray(NamedTuple):
    """Datagrams for another worker, None: for every other; the rest is as they were received."""

    worker: int | None
    data: bytes
    segment_size: int
    remote: Address
    local: Address | None
    ecn: int


def owner(kind: int, destination_id: int, workers: int) -> int | None:
    """The index of the worker that a datagram with this byte 0 and this id is for; None: any, or none of them."""
    if kind == SYN:
        return (destination_id & _LOW_HALF) % workers
    if kind not in _KINDS:
        return None
    index = destination_id >> _ID_BITS
    return index if index < workers else None


def program(workers: int) -> list[bytes]:
    """`owner` as instructions of classic BPF, which the kernel runs over a datagram's payload."""
    return [
        _INSTRUCTION.pack(*instruction)
        for instruction in (
            (_LOAD_BYTE, 0, 0, 0),
            (_JUMP_IF_EQUAL, 3, 0, SYN),
            (_JUMP_IF_EQUAL, 5, 0, RESET),
            (_LOAD_BYTE, 0, 0, 1),
            (_RETURN_A, 0, 0, 0),
            (_LOAD_WORD, 0, 0, 5),
            (_MODULO, 0, 0, workers),
            (_RETURN_A, 0, 0, 0),
            (_RETURN, 0, 0, _NOBODY),
        )
    ]


class Strays:
    """What came to worker `index` of `workers` and is for others."""

    __slots__ = ("_index", "_waiting", "_workers", "count")

    def __init__(self, index: int, workers: int) -> None:
        self._index = index
        self._workers = workers
        self._waiting: deque[Stray] = deque()
        self.count = 0  # datagrams, handed on or not

    def take(
        self, kind: int, destination_id: int, view: memoryview, segment_size: int,
        source: tuple[Address, Address | None, int],
    ) -> bool:  # fmt: skip
        """Take datagrams of one id if they are for another worker: False when they are for this one, or nobody."""
        worker = owner(kind, destination_id, self._workers)
        if worker is None or worker == self._index:
            return False
        self._add(worker, view, segment_size, source)
        return True

    def take_for_all(self, view: memoryview, source: tuple[Address, Address | None, int]) -> None:
        """Take a datagram of which only its receiver knows that it is for him."""
        self._add(None, view, len(view), source)

    def _add(
        self, worker: int | None, view: memoryview, segment_size: int, source: tuple[Address, Address | None, int]
    ) -> None:
        self.count += -(-len(view) // segment_size)
        if len(self._waiting) < MAX_STRAYS:
            self._waiting.append(Stray(worker, bytes(view), segment_size, *source))

    def next(self) -> Stray | None:
        """The oldest, to be handed on now."""
        return self._waiting.popleft() if self._waiting else None
