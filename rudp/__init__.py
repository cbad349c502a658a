"""rudp: a reliable transport over UDP."""

from rudp._version import __version__

__all__ = ["__version__"]
