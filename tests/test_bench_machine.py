"""What benchmarks write of the machine they ran on."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path

import pytest

from bench.machine import machine, system

KEPT = sorted((Path(__file__).parent.parent / "bench" / "results").glob("*.json"))


@pytest.mark.parametrize(
    ("release", "told"),
    [("6.18.44-custom-v595", "Linux 6.18"), ("10", "Linux 10"), ("5.15.0-91-generic", "Linux 5.15"), ("", "Linux")],
)
def test_the_kernel_by_major_and_minor_version(monkeypatch: pytest.MonkeyPatch, release: str, told: str) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert system() == told
    assert machine()["system"].startswith(f"{told}, ")


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_results_name_no_build(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    told = found.get("system") if isinstance(found, dict) else None
    assert told is None or re.fullmatch(r"\w+ \d+(\.\d+)?(, \w+( cores)?)*", told)
