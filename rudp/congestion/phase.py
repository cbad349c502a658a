"""The phases of the controller "model". Knows: their names. Refuses to know: what is done in them (`model`)."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where the controller is; see the docstring of `model`."""

    STARTUP = "startup"
    DRAIN = "drain"
    STEADY = "steady"
    PROBE_RTT = "probe_rtt"
