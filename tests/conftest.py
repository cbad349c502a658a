"""Settings of all tests: hypothesis has no deadlines (a busy machine is no fault) and prints how to replay."""

from __future__ import annotations

from hypothesis import settings

from tests.loops import each_loop

__all__ = ["each_loop"]

settings.register_profile("rudp", deadline=None, print_blob=True)
settings.load_profile("rudp")
