"""Memory that a reader in bulk drops isn't fetched from the kernel again for the next piece."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
from rudp.aio.heap import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
part = bytes(1 << 16)
def pieces():
    held = [b"".join([part, part, part, part]) for _ in range(4)]
for _ in range(3):
    pieces()
before = faults()
for _ in range(50):
    pieces()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_pieces_that_are_dropped_are_not_fetched_again() -> None:
    def faults(how: str) -> int:
        arguments = [sys.executable, "-c", PROGRAM, how]
        root = Path(__file__).parent.parent
        return int(subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=True, timeout=60).stdout)

    assert faults("leave") > 20 * faults("keep")
