"""Who takes part: the contenders by name, in the order of the table, and who is missing.

Knows: which adapter has which contender. Refuses to know: what an adapter does; it is imported when it is needed, so
that a library which isn't installed is named and left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from .interface import Contender

__all__ = ["NAMES", "find", "there"]

ADAPTERS: Final = {
    "rudp-none": "rudp",
    "rudp-crc32": "rudp",
    "rudp-pmtud": "rudp",
    "rudp-uvloop": "rudp",
    "rudp-portable": "rudp",
    "bare-gso": "bare",
    "bare-udp": "bare",
    "tcp-buffered": "tcp",
    "tcp-streams": "tcp",
    "tcp-uvloop": "tcp",
    "tls-streams": "tcp",
    "aioquic": "aioquic",
    "qh3": "qh3",
    "quic-portal": "quic_portal",
    "aiopquic": "aiopquic",
    "siokcp": "siokcp",
    "pyenet": "pyenet",
}
NAMES: Final = tuple(ADAPTERS)


def find(name: str) -> Contender:
    """One contender. Raises ImportError when what it needs isn't installed."""
    module = import_module(f".adapters.{ADAPTERS[name]}", __package__)
    contender: Contender = module.CONTENDERS[name]
    for needed in contender.needs:
        if find_spec(needed) is None:
            raise ModuleNotFoundError(f"No module named {needed!r}", name=needed)
    return contender


def there(names: Iterable[str]) -> tuple[dict[str, Contender], dict[str, str]]:
    """Those that can take part, and why the others can't."""
    found: dict[str, Contender] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            found[name] = find(name)
        except ImportError as error:
            missing[name] = str(error)
    return found, missing
