"""Congestion control: one interface (`controller`), one file per controller, and the names they go by."""

from __future__ import annotations

from inspect import isabstract

from rudp.congestion.bbr import Bbr
from rudp.congestion.controller import (
    AckSample,
    CongestionController,
    LossEvent,
    RandomBits,
    initial_window,
    usable_window,
)
from rudp.congestion.cubic import Cubic
from rudp.congestion.model import Model
from rudp.congestion.new_reno import NewReno
from rudp.errors import ConfigurationError

__all__ = ["AckSample", "CongestionController", "LossEvent", "RandomBits", "by_name", "initial_window", "usable_window"]

_CONTROLLERS: dict[str, type[CongestionController]] = {kind.name: kind for kind in (Bbr, Cubic, Model, NewReno)}


def by_name(name: str | type[CongestionController]) -> type[CongestionController]:
    """Return the controller class called `name`; a class is returned as it is.

    Raises ConfigurationError for a name nobody has, for what is neither a name nor a controller class, and for a class
    that lacks methods.
    """
    if isinstance(name, type) and issubclass(name, CongestionController):
        if isabstract(name):
            missing = ", ".join(sorted(name.__abstractmethods__))
            raise ConfigurationError(f"congestion={name.__name__}: a controller needs {missing}")
        return name
    if not isinstance(name, str):
        raise ConfigurationError(f"congestion must be a name or a CongestionController class, not {name!r}")
    try:
        return _CONTROLLERS[name]
    except KeyError:
        known = ", ".join(sorted(_CONTROLLERS))
        raise ConfigurationError(f"unknown congestion controller {name!r}; known: {known}") from None
