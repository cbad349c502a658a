"""`python -m bench.kernel`: see `command`. Where there is no Linux, says so; what needs it isn't even imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, prog: str = "python -m bench.kernel") -> int:
    """The command line, called as `prog`; the status to end with."""
    if not sys.platform.startswith("linux"):
        print(f"bench.kernel can't run here: it needs Linux's network namespaces, and this is {sys.platform}")
        return 0
    from . import command  # noqa: PLC0415 (can't be imported elsewhere)

    return command.main(arguments, prog)


if __name__ == "__main__":
    sys.exit(main())
