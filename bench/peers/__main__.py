"""`python -m bench.peers`: the same as `rudp bench peers`."""

from __future__ import annotations

from ..commands import main

if __name__ == "__main__":
    main("peers")
