"""Parts of the command line without a connection: what is typed, files and their names, relay, UDP alone."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import socket
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.cli.bare import BareResult, send_bare
from rudp.cli.common import (
    Failure,
    address_text,
    counted,
    host_and_port,
    printable,
    probability,
    rate_value,
    reason,
    size_text,
    size_value,
    time_text,
)
from rudp.cli.incoming import Incoming, safe_name
from rudp.cli.meter import Meter
from rudp.cli.relay import Conditions, Direction, Relay


@pytest.mark.parametrize(
    ("text", "value"),
    [("20MB", 20_000_000), ("1.5GB", 1_500_000_000), ("512KiB", 524_288), ("4096", 4096), ("3 k", 3000)],
)
def test_sizes_are_read(text: str, value: int) -> None:
    assert size_value(text) == value


@pytest.mark.parametrize("text", ["", "MB", "-1", "1TB", "1 2", "0x10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size"):
        size_value(text)


def test_rates_are_read_in_bits_and_given_in_bytes() -> None:
    assert rate_value("16Mbit") == 2_000_000
    assert rate_value("1Gbit/s") == 125_000_000
    assert rate_value("800bit") == 100
    for wrong in ("16MB", "0Mbit", "fast"):
        with pytest.raises(click.BadParameter, match="is no rate"):
            rate_value(wrong)


def test_probabilities_are_read() -> None:
    assert probability("0.1") == probability("10%") == 0.1
    assert probability("0") == 0
    for wrong in ("1", "100%", "-0.1", "nan", "x"):
        with pytest.raises(click.BadParameter, match="is no probability"):
            probability(wrong)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("example.org:99", ("example.org", 99)),
        ("example.org", ("example.org", 10000)),
        ("[::1]:5", ("::1", 5)),
        ("[fe80::1]", ("fe80::1", 10000)),
        ("::1", ("::1", 10000)),
    ],
)
def test_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    assert host_and_port(text) == address


@pytest.mark.parametrize("text", ["", ":5", "host:", "host:http", "[::1]:x", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no HOST:PORT"):
        host_and_port(text)


@pytest.mark.parametrize("port", ["0", "00000", "65536", "99999", "9" * 5000])
def test_a_port_that_there_is_not_is_named(port: str) -> None:
    with pytest.raises(click.BadParameter, match=rf"^port {port[:17]}(\.\.\.)?.* is not from 1 to 65535$"):
        host_and_port(f"host:{port}")
    assert host_and_port("[::1]:0000080") == ("::1", 80)


def test_one_is_not_told_as_several() -> None:
    assert [counted(n, "cell") for n in (0, 1, 2, 1000)] == ["0 cells", "1 cell", "2 cells", "1,000 cells"]


def test_addresses_sizes_and_times_are_written_for_people() -> None:
    assert address_text(("::ffff:10.0.0.1", 5, 0, 0)) == "10.0.0.1:5"
    assert address_text(("::1", 5, 0, 0)) == "[::1]:5"
    assert [size_text(n) for n in (0, 999, 1000, 20_000_000, 123_456_789_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "20.0 MB",
        "123 GB",
    ]
    assert [time_text(t) for t in (0.0213, 12.34, 125, 7325)] == ["21.3 ms", "12.3 s", "2:05 min", "2:02:05"]


def test_reasons_are_one_plain_line() -> None:
    assert reason(ConnectionRefusedError(111, "Connect call failed ('::1', 5, 0, 0)")) == "connection refused"
    assert (
        reason(OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] x")) == "connection refused"
    )
    assert reason(TimeoutError()) == "timed out"
    assert "no such host" in reason(socket.gaierror(-2, "Name or service not known"))
    assert "no such host" in reason(UnicodeError("label empty or too long"))
    assert printable("a\x1b[31m\nb" + "c" * 900, 20) == "a?[31m?bccccccccc..."


def test_a_live_bar_leaves_room_for_an_echoed_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("FORCE_COLOR", "1"), ("TTY_COMPATIBLE", "1")):
        monkeypatch.setenv(name, value)
    with Meter("name", 1000) as meter:
        meter.update(500, "n" * 200, now=True)
    drawn = click.unstyle(capsys.readouterr().out).replace("\r", "\n").split("\n")
    assert any("name" in line for line in drawn)
    assert any("nnn" in line for line in drawn)
    assert max(map(len, drawn)) == 78


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("plain.txt", "plain.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (".ssh", "_ssh"),
        ("a:b", "a_b"),
        ("con.txt", "con.txt_"),
        ("x.part", "x.part_"),
        ("a\x00b\x1b", "a_b_"),
        ("trailing. ", "trailing"),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text(max_size=400))
def test_every_name_stays_in_its_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe == Path(safe).name
    assert safe not in {"", ".", ".."}
    assert not safe.startswith(".")
    assert not safe.lower().endswith(".part")
    assert len(safe.encode()) <= 255 - len(".part")
    assert safe.isprintable()
    assert safe_name(safe) == safe


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def received(folder: Path, name: str = "f", **options: Any) -> Incoming:
    return Incoming(folder, name, overwrite=options.get("overwrite", False))


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    incoming = received(tmp_path)
    incoming.open(6, resumable=True)
    incoming.write(b"abc")
    assert [path.name for path in tmp_path.iterdir()] == ["f.part"]
    incoming.write(b"def")
    incoming.finish(6, sha(b"abcdef"))
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"abcdef"


def test_an_interrupted_file_goes_on(tmp_path: Path) -> None:
    first = received(tmp_path)
    first.open(6, resumable=True)
    first.write(b"abc")
    assert first.close()
    second = received(tmp_path)
    second.open(6, resumable=True)
    assert (second.size, second.hexdigest) == (3, sha(b"abc"))
    second.write(b"def")
    second.finish(6, sha(b"abcdef"))
    assert (tmp_path / "f").read_bytes() == b"abcdef"


def test_a_part_of_another_file_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"longer than what comes")
    incoming = received(tmp_path)
    incoming.open(3, resumable=True)
    assert incoming.size == 0
    incoming.write(b"abc")
    incoming.finish(3, sha(b"abc"))
    assert (tmp_path / "f").read_bytes() == b"abc"


def test_what_cannot_be_resumed_leaves_nothing(tmp_path: Path) -> None:
    incoming = received(tmp_path)
    incoming.open(None, resumable=False)
    incoming.write(b"abc")
    assert not incoming.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "digest"), [(3, sha(b"xyz")), (4, sha(b"abc"))])
def test_a_file_that_differs_is_not_saved(tmp_path: Path, size: int, digest: str) -> None:
    incoming = received(tmp_path)
    incoming.open(size, resumable=True)
    incoming.write(b"abc")
    with pytest.raises(Failure, match="differs"):
        incoming.finish(size, digest)
    incoming.close()
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(Failure, match="--overwrite"):
        received(tmp_path).open(3, resumable=True)
    incoming = received(tmp_path, overwrite=True)
    incoming.open(3, resumable=True)
    incoming.write(b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    incoming.finish(3, sha(b"new"))
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_folder_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(Failure, match="folder"):
        received(tmp_path, overwrite=True).open(3, resumable=True)


def test_a_part_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "f.part").symlink_to(victim)
    with pytest.raises(Failure, match="no plain file"):
        received(tmp_path).open(3, resumable=True)
    assert victim.read_bytes() == b"precious"


def test_a_file_too_large_for_the_disk_is_refused_at_once(tmp_path: Path) -> None:
    too_much = shutil.disk_usage(tmp_path).total + 1
    incoming = received(tmp_path)
    with pytest.raises(Failure, match="are needed"):
        incoming.open(too_much, resumable=True)
    incoming.close()
    assert not list(tmp_path.iterdir())


def exits(conditions: Conditions, sizes: list[int]) -> tuple[list[list[float]], Direction]:
    direction = Direction(conditions, random.Random(7))
    return [direction.exits(size, 0.0)[0] for size in sizes], direction


def test_the_relay_keeps_its_rate_and_its_queue() -> None:
    calm = Conditions(loss=0, delay=0.5, reorder=0, duplicate=0, rate=1028, queue=2056)
    times, direction = exits(calm, [1000] * 5)
    assert times == [[1.5], [2.5], [3.5], [], []]
    assert direction.overflowed == 2


def test_the_relay_loses_doubles_and_delays_by_its_odds() -> None:
    rough = Conditions(loss=0.2, delay=0.0, reorder=0.1, duplicate=0.05, rate=1e12, queue=10**12)
    times, direction = exits(rough, [100] * 10_000)
    assert direction.lost == times.count([])
    assert direction.duplicated == sum(len(copies) == 2 for copies in times)
    assert 1800 < direction.lost < 2200
    assert 700 < direction.reordered < 900
    assert 300 < direction.duplicated < 500
    assert times == exits(rough, [100] * 10_000)[0]


async def bare(conditions: Conditions, size: int) -> tuple[BareResult, Relay]:
    relay = await Relay.open(conditions, seed=5)
    try:
        data = random.Random(1).randbytes(size)
        result = await send_bare(
            data,
            relay.address,
            relay.lead_to,
            rate=conditions.rate,
            time_limit=60,
            quiet=0.05,
            progress=lambda sent, arrived: None,
        )
    finally:
        relay.close()
    return result, relay


def test_udp_alone_arrives_whole_when_nothing_is_lost() -> None:
    calm = Conditions(loss=0, delay=0.001, reorder=0, duplicate=0, rate=4e6, queue=10**6)
    result, _ = asyncio.run(bare(calm, 200_000))
    assert result.identical
    assert (result.bytes_arrived, result.duplicates) == (200_000, 0)


def test_udp_alone_lacks_what_the_relay_lost() -> None:
    rough = Conditions(loss=0.1, delay=0.001, reorder=0.1, duplicate=0.1, rate=4e6, queue=10**6)
    result, relay = asyncio.run(bare(rough, 400_000))
    assert not result.identical
    assert result.sent == relay.to_server.seen
    assert result.arrived == result.sent - relay.to_server.lost - relay.to_server.overflowed
    assert result.duplicates == relay.to_server.duplicated
    assert result.out_of_order > 0
