"""Commands `python -m bench.NAME` say in one line what they can't do, before they measure."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from bench import attacks

ODD = [
    ("attacks", "--datagrams 0", "0 must be from 1"),
    ("attacks", "--rounds -1", "-1 must be from 1"),
    ("attacks", "--only nosuch --check", "no attack's name contains 'nosuch'"),
    ("attacks", "--json {}/none/x.json", "there is no folder {}/none"),
    ("attacks", "--json {}", "is a folder"),
    ("budget", "--size 0", "0 must be from 1"),
    ("memory", "--connections 0", "0 must be from 1"),
    ("memory_asyncio", "--datagrams 0.5", "'0.5' is no whole number"),
    ("scenarios", "--seeds 0", "0 must be from 1"),
    ("scenarios", "--workers 0", "0 must be from 1"),
    ("sim_speed", "--megabytes nan", "nan must be from 0.1"),
    ("theory", "--packets 0", "0 must be from 10,000"),
    ("transfer", "--datagram 5", "5 must be from 1,200"),
    ("transfer", "--rounds 0", "0 must be from 1"),
    ("transfer", "--only tcp,nosuch", "no contender nosuch"),
    ("virtual_hour", "--seconds nan", "nan must be from 1"),
    ("virtual_hour", "--bulk-seconds x", "'x' is no number"),
    ("wakeups", "--rtt -5", "-5 must be from 0.1"),
    ("wakeups", "--card nan", "nan must be from 0"),
    ("wakeups", "--datagram 5", "5 must be from 1,200"),
    ("wakeups", "--repeats 0", "0 must be from 1"),
    ("workers", "--seconds -1", "-1 must be from 0.1"),
    ("workers", "--workers 0", "whole numbers from 1"),
    ("workers", "--workers 1,,2", "whole numbers from 1"),
]


@pytest.mark.parametrize(("name", "options", "said"), ODD)
def test_odd_options_are_refused(
    name: str, options: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [name, *options.format(tmp_path).split()])
        import_module(f"bench.{name}").main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said.format(tmp_path) in told.err


def test_scenarios_want_a_number_for_a_first_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scenarios"])
    monkeypatch.setenv("RUDP_SEED", "monday")
    with pytest.raises(SystemExit):
        import_module("bench.scenarios").main()
    assert "RUDP_SEED must be a whole number here" in capsys.readouterr().err


def test_a_file_that_is_there_may_be_written_over(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("", encoding="utf-8")
    assert attacks.target(str(tmp_path / "x.json")) == tmp_path / "x.json"
