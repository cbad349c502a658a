"""Laws of `rudp.probe_timeout`: twice as long each time, and no longer than the cap unless the first wait is."""

from __future__ import annotations

import pytest

from rudp.probe_timeout import probe_delay

CAP = 3.0


def test_each_wait_is_twice_the_one_before_until_the_cap() -> None:
    waits = [probe_delay(0.25, count) for count in range(8)]
    assert waits == [0.25, 0.5, 1.0, 2.0, CAP, CAP, CAP, CAP]


@pytest.mark.parametrize("probe_timeout", [0.001, 0.3, CAP, 5.0])
def test_no_count_leads_beyond_the_cap_nor_below_the_first_wait(probe_timeout: float) -> None:
    assert probe_delay(probe_timeout, 0) == probe_timeout
    for count in (15, 16, 17, 100, 10_000):
        assert probe_delay(probe_timeout, count) == max(probe_timeout, CAP)
