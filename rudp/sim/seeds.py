"""The seed of a run: from the environment variable `RUDP_SEED`, or drawn, and then said, so that it can be run again.

Knows: the variable, standard error. Refuses to know: what is done with the seed.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from random import SystemRandom

__all__ = ["VARIABLE", "seed"]

VARIABLE = "RUDP_SEED"


def seed(default: int | str | None = None) -> int | str:
    """The value of `RUDP_SEED` (an int if it is one), else `default`, else a drawn one.

    A process draws once. What was drawn is written to standard error each time it is asked for, with the
    variable to set for the same run; pytest shows that with a test that fails.
    """
    value = os.environ.get(VARIABLE)
    if value:
        return int(value) if value.removeprefix("-").isdecimal() else value
    if default is not None:
        return default
    drawn = _draw()
    sys.stderr.write(f"seed {drawn}; for the same run again set {VARIABLE}={drawn}\n")
    return drawn


@cache
def _draw() -> int:
    return SystemRandom().getrandbits(32)
