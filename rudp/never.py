"""A time before all others, one object for all connections: each call of float makes another, of 24 bytes.

Knows: that. For a time after all others there is `math.inf`.
"""

from __future__ import annotations

from math import inf
from typing import Final

__all__ = ["NEVER_YET"]

NEVER_YET: Final = -inf
"""Seconds."""
