"""Settings of all tests: hypothesis has no deadlines (a busy machine is no fault) and prints how to replay."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("rudp", deadline=None, print_blob=True)
settings.load_profile("rudp")
