"""The event loops that tests of the front end run on: asyncio's own, and uvloop's where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

try:
    import uvloop
except ImportError:  # not on Windows, nor on a Python newer than its wheels
    uvloop = None

# Makes the loop of `tests.test_aio.run`; None: asyncio's own.
_chosen: list[Callable[[], Any] | None] = [None]


def default_loop() -> Callable[[], Any] | None:
    """What makes a loop for the test that runs."""
    return _chosen[-1]


@pytest.fixture(params=["asyncio", "uvloop"])
def each_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a test on every loop: `pytestmark = pytest.mark.usefixtures("each_loop")` at the top of a file."""
    if request.param == "uvloop" and uvloop is None:
        pytest.skip("uvloop is not installed: it comes with the extra `test` where it has wheels")
    _chosen.append(uvloop.new_event_loop if request.param == "uvloop" else None)
    yield
    _chosen.pop()
