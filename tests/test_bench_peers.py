"""The peer benchmark: what the meter finds, that every contender carries the bytes, what happens to who can't."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.load import CHUNK, LONGEST, Meter, chunks
from bench.peers import certificate, contenders, plan, process, show
from bench.peers.goals import judge
from bench.peers.interface import Setup
from bench.peers.process import Failed, Run, measure
from bench.peers.summary import Cell, summarize
from rudp.cli.app import cli

KEPT = Path(__file__).resolve().parent.parent / "bench" / "results" / "peers.json"
SIZE = 1_000_000
LIMIT = 30.0
FOUND, MISSING = contenders.there(contenders.NAMES)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate.make(tmp_path_factory.mktemp("certificate"))


def run(name: str, work: str, pem: tuple[str, str], **options: Any) -> dict[str, Any]:
    server = {"size": options.get("size", SIZE)} if work in ("bulk", "idle", "held") else {}
    many = work in ("idle", "held")
    return measure(Run(name, work, Setup(1400, *pem, many=many), options, server, LIMIT))


# What is carried.


def fed(meter: Meter, data: bytes, step: int) -> bool:
    done = False
    for at in range(0, len(data), step):
        done = meter.take(data[at : at + step])
    return done


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK + 5])
@pytest.mark.parametrize("step", [1392, 65_536, LONGEST, LONGEST + 1])
def test_the_meter_takes_what_was_sent_in_pieces_of_any_size(size: int, step: int) -> None:
    data = b"".join(chunks(size))
    assert len(data) == size
    assert fed(Meter(size), data, step)


def swapped(data: bytes, first: int, second: int, size: int) -> bytes:
    """Two pieces have changed places."""
    between = data[first + size : second]
    return data[:first] + data[second : second + size] + between + data[first : first + size] + data[second + size :]


DATA = b"".join(chunks(7 * CHUNK))
WRONG = {
    "a byte changed": DATA[:5000] + bytes([DATA[5000] ^ 1]) + DATA[5001:],
    "a packet lost": DATA[:14_000] + DATA[15_400:] + bytes(1400),
    "a packet twice": DATA[:14_000] + DATA[12_600:],
    "packets swapped": swapped(DATA, 2800, 4200, 1400),
    "writes swapped": swapped(DATA, CHUNK, 2 * CHUNK, CHUNK),
    "a write lost": DATA[:CHUNK] + DATA[2 * CHUNK :] + bytes(CHUNK),
    "nothing but zeros": bytes(len(DATA)),
    "too much": DATA + DATA[:1400],
}


@pytest.mark.parametrize("what", list(WRONG))
def test_the_meter_finds_what_is_out_of_place(what: str) -> None:
    with pytest.raises(RuntimeError, match=r"differs|arrived of"):
        fed(Meter(len(DATA)), WRONG[what], 100_000)


def test_the_meter_wants_everything() -> None:
    meter = Meter(len(DATA))
    assert not fed(meter, DATA[:-1], 65_536)
    with pytest.raises(RuntimeError, match="the end came at byte"):
        meter.take(b"")


# Who carries it.


@pytest.mark.parametrize("name", contenders.NAMES)
def test_each_contender_carries_bulk_data(name: str, pem: tuple[str, str]) -> None:
    if name in MISSING:
        pytest.skip(f"{name} isn't installed: {MISSING[name]}")
    figures = run(name, "bulk", pem, size=SIZE)
    assert figures["bytes"] == SIZE
    assert figures["seconds"] > 0
    assert figures["peak_sender"] > 1e6 < figures["peak_receiver"]


@pytest.mark.parametrize("name", ["rudp-none", "tcp-buffered", "aioquic", "qh3", "siokcp"])
def test_requests_are_answered(name: str, pem: tuple[str, str]) -> None:
    if name in MISSING:
        pytest.skip(f"{name} isn't installed: {MISSING[name]}")
    figures = run(name, "rpc", pem, depths=(1, 5), seconds=0.05)
    assert 0 < figures["p50_us_1"] <= figures["p99_us_1"]
    assert figures["per_second_5"] > 0


@pytest.mark.parametrize("name", ["rudp-none", "tcp-streams", "pyenet"])
def test_connections_open_close_rest_and_talk(name: str, pem: tuple[str, str]) -> None:
    if name in MISSING:
        pytest.skip(f"{name} isn't installed: {MISSING[name]}")
    figures = run(name, "handshakes", pem, depths=(1, 4), seconds=0.05)
    assert figures["per_second_1"] > 0 < figures["per_second_4"]
    figures = run(name, "idle", pem, count=6, seconds=0.2, talking=True)
    assert figures["connections"] == 6
    assert figures["talk_per_second"] > 0 < figures["talk_p99_ms"]


def test_bulk_runs_beside_idle_connections(pem: tuple[str, str]) -> None:
    figures = run("rudp-none", "held", pem, count=5, size=SIZE)
    assert figures["connections"] == 5
    assert figures["ratio"] == pytest.approx(figures["beside_MB_s"] / figures["alone_MB_s"])


# Who can't.


def test_a_run_that_takes_too_long_is_ended() -> None:
    run = Run("tcp-streams", "bulk", Setup(1400, "", ""), {"size": 10**12}, {"size": 10**12}, 1.0)
    with pytest.raises(Failed, match="no result after 1 s"):
        measure(run)


def test_a_side_that_fails_is_told_with_its_error() -> None:
    with pytest.raises(Failed, match=r"(server|client): FileNotFoundError"):
        measure(Run("tls-streams", "bulk", Setup(1400, "/nowhere", "/nowhere"), {"size": 1}, {"size": 1}, LIMIT))
    with pytest.raises(Failed, match="server: RuntimeError: 2 bytes arrived of 1"):
        measure(Run("tcp-streams", "bulk", Setup(1400, "", ""), {"size": 2}, {"size": 1}, LIMIT))


def test_a_peer_that_is_missing_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aioquic", None)
    monkeypatch.setitem(sys.modules, "aioquic.asyncio", None)
    monkeypatch.delitem(sys.modules, "bench.peers.adapters.aioquic", raising=False)
    found, missing = contenders.there(["aioquic", "bare-udp"])
    assert list(found) == ["bare-udp"]
    assert "aioquic" in missing["aioquic"]
    arguments = ["--work", "bulk", "--contenders", "aioquic,bare-udp", "--size", "1", "--rounds", "1"]
    result = CliRunner().invoke(cli, ["bench", "peers", *arguments])
    assert result.exit_code == 0
    assert "missing: aioquic: " in result.stdout
    assert "pip install 'rudp-transport[bench]', in a clone '.[bench]'" in result.stdout
    assert "bare-udp" in result.stdout


def test_a_peer_that_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(run: Run) -> dict[str, Any]:
        asked.append(run.contender)
        if run.contender == "tcp-streams":
            raise Failed("it broke")
        figures = ("cpu_sender", "cpu_receiver", "peak_sender", "peak_receiver", "seconds")
        return {"bytes": 1000, **dict.fromkeys(figures, len(asked))}

    monkeypatch.setattr(plan, "measure", measured)
    names = ["tcp-streams", "rudp-none", "bare-gso"]
    found = {name: contenders.find(name) for name in names}
    options = plan.Options(works=("bulk",), rounds=3)
    document = plan.sweep(found, {"nobody": "not there"}, options, ("", ""), lambda _: None)
    assert asked == ["tcp-streams", *["rudp-none", "bare-gso"] * 3]
    assert document["failures"] == [{"work": "bulk", "contender": "tcp-streams", "error": "it broke"}]
    assert list(show.notes(document)) == [
        "missing: nobody: not there", show.INSTALL, "failed: tcp-streams, bulk: it broke",
    ]  # fmt: skip
    assert len(list(show.tables(document))) == 2, "figures, and what the contenders are"
    found_cells = summarize(document["rows"])["bulk"]
    assert found_cells["rudp-none"]["seconds"] == (4, 2, 6)


def test_an_interrupted_sweep_gives_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(run: Run) -> dict[str, Any]:
        if run.contender == "bare-udp":
            raise KeyboardInterrupt
        return {"bytes": 1000, "cpu_sender": 1.0, "cpu_receiver": 1.0, "seconds": 1.0}

    monkeypatch.setattr(plan, "measure", measured)
    found = {name: contenders.find(name) for name in ("bare-gso", "bare-udp")}
    document = plan.sweep(found, {}, plan.Options(works=("bulk",)), ("", ""), lambda _: None)
    assert not document["finished"]
    assert [row["contender"] for row in document["rows"]] == ["bare-gso"]


def test_what_a_contender_cannot_do_is_said() -> None:
    found = {name: contenders.find(name) for name in ("bare-gso", "tls-streams")}
    options = plan.Options(works=("rpc",))._replace(rounds=0)
    document = plan.sweep(found, {}, options, ("", ""), lambda _: None)
    assert list(show.notes(document)) == [
        "left out of rpc: bare-gso: bulk only: it has no connections",
        f"left out of rpc: tls-streams: {plan.NO_CERTIFICATE}",
    ]


def test_a_certificate_is_made_without_cryptography_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    if shutil.which("openssl") is None:
        assert certificate.make(tmp_path) == ("", "")
        return
    made, key = certificate.make(tmp_path)
    assert "BEGIN CERTIFICATE" in Path(made).read_text(encoding="ascii")
    assert "PRIVATE KEY" in Path(key).read_text(encoding="ascii")


def made(**values: float) -> dict[str, Cell]:
    return {name: Cell(value, value, value) for name, value in values.items()}


def test_goals_are_ratios_to_the_best_of_the_others() -> None:
    found = {
        "bulk": {
            "rudp-none": made(MB_s=800.0),
            "siokcp": made(MB_s=250.0),
            "pyenet": made(MB_s=300.0),
            "quic-portal": made(MB_s=400.0),
        },
        "rpc": {"rudp-none": made(p50_us_1=100.0), "tcp-streams": made(p50_us_1=50.0)},
        "idle-1000": {"rudp-none": made(server_bytes_each=11_000.0)},
    }
    assert [(one.work, one.beside, round(one.value, 2), one.met) for one in judge(found)] == [
        ("bulk", "", 800.0, True),
        ("bulk", "quic-portal", 2.0, True),
        ("bulk", "pyenet", 2.67, False),
        ("rpc", "tcp-streams", 2.0, True),
        ("idle-1000", "", 11_000.0, False),
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--work", "bulk,sleep"], "no work sleep; there are bulk, rpc, connections"),
        (["--contenders", "nobody"], "no contender nobody; there are rudp-none"),
        (["--idle", "0"], "must be from 1 on"),
        (["--depths", "x"], "no whole numbers"),
    ],
)
def test_wrong_options_are_told(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(cli, ["bench", "peers", *arguments])
    assert result.exit_code == 2
    assert text in result.stderr


def test_what_was_measured_is_shown_by_show_as_by_from() -> None:
    shown = CliRunner().invoke(cli, ["bench", "show", str(KEPT)])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == CliRunner().invoke(cli, ["bench", "peers", "--from", str(KEPT)]).stdout


def test_lists_of_numbers_are_called_numbers() -> None:
    helped = CliRunner().invoke(cli, ["bench", "peers", "--help"]).stdout
    assert "--depths NUMBERS" in helped
    assert "--idle NUMBERS" in helped


def test_the_short_form_does_all_works_and_few_runs() -> None:
    options = plan.Options().smoke()
    assert [case.name for case in plan.cases(options)] == ["bulk", "rpc", "handshakes", "idle-50", "held"]
    assert [case.name for case in plan.cases(options._replace(works=("handshakes",)))] == ["handshakes"]
    assert set(plan.SHORT) <= set(contenders.NAMES)
    assert {case.work for case in plan.cases(options)} == set(process.CLIENTS)


@pytest.mark.parametrize("columns", ["60", "80", "120"])
@pytest.mark.parametrize("path", sorted(KEPT.parent.glob("peers*.json")), ids=lambda path: path.stem)
def test_tables_fit_into_eighty_columns_with_no_figure_cut_off(path: Path, columns: str) -> None:
    result = CliRunner(env={"COLUMNS": columns}).invoke(cli, ["bench", "peers", "--from", str(path)])
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert max(map(len, lines)) <= max(show.WIDTH, int(columns))
    assert "…" not in result.stdout


def test_kept_results_are_shown_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    result = CliRunner().invoke(cli, ["bench", "peers", "--from", str(KEPT), "--plot", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Bulk, one stream" in result.stdout
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "other.json").write_text(json.dumps({"benchmark": "loss"}), encoding="utf-8")
    result = CliRunner().invoke(cli, ["bench", "peers", "--from", str(tmp_path / "other.json")])
    assert result.exit_code == 1
    assert "can't be shown: it is another benchmark's" in result.stderr
