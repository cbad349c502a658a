"""bench.wakeups: each workload does its work, and the split names every part of rudp that has a share in it."""

from __future__ import annotations

from pathlib import Path

import pytest

import rudp
from bench import wakeups

PACKAGE = Path(rudp.__file__).parent


def test_workloads_do_what_they_count() -> None:
    # 10 Mbit/s for a second and a half are some 1,500 packets of 1,228 bytes on the line, less what the start leaves.
    assert 1_000 < wakeups.paced_flow(1.5, datagram=1_200).units < 1_600
    # And some 1,250 of 1,500 where path MTU discovery finds that they pass.
    assert 900 < wakeups.paced_flow(1.5).units < 1_350
    assert wakeups.requests(20).units == 20
    opened = wakeups.handshakes(5)
    assert opened.units == 5
    assert 0.0 < opened.server <= opened.seconds
    # Packets of 1,370 bytes of payload, and what acknowledges them.
    assert wakeups.bulk(1_000_000).units >= 1_000_000 // 1_370


@pytest.mark.parametrize("prefix", wakeups.PARTS)
def test_parts_name_modules_that_exist(prefix: str) -> None:
    assert (PACKAGE / prefix).is_dir() if prefix.endswith("/") else (PACKAGE / f"{prefix}.py").is_file()


def test_split_adds_up() -> None:
    parts = wakeups.split(lambda: wakeups.requests(300), seconds=0.2)
    assert sum(parts.values()) == pytest.approx(1.0)
    assert parts.keys() <= {*wakeups.PARTS.values(), wakeups.DRIVER, "others"}
