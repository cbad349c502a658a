"""The emulated link and the table over it: what a line does to packets, what is made of figures, and a short real run.

Laws:
- a packet leaves a line after its serialization, behind all before it, and half an RTT; a full queue drops it; of the
  rest a seeded share is lost, the same each time;
- a link that is not what it says is found out: delay, rate, queue, loss, order;
- figures are those of the span asked for, and a row holds only if rudp is level and within its bytes;
- where there are no namespaces it says so and ends with status 0; it leaves nothing behind.
"""

from __future__ import annotations

import json
import os
from array import array
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

if not hasattr(os, "sched_setscheduler"):
    pytest.skip("bench.kernel is for Linux only", allow_module_level=True)

from bench.kernel import command, namespace, table
from bench.kernel.bed import Bed
from bench.kernel.contenders import missing
from bench.kernel.emulator import LATE_CLASS, Report
from bench.kernel.link import Line, LinkSpec
from bench.kernel.probes import Flight, Plan, judge_delay, judge_loss, judge_overload, probe
from bench.kernel.show import put_into, report, rows_as_text
from bench.kernel.table import Row, Sample, from_json, judge, measure, rows

LINK = LinkSpec(rate=1_500_000, rtt=0.04)  # a full packet takes a millisecond
FULL = bytes(1500)


# -- the line ---------------------------------------------------------------------------------------------------


def test_a_packet_leaves_after_serialization_and_half_the_rtt_behind_those_before_it() -> None:
    line = Line(LINK, "seed")
    line.offer([FULL, FULL], 1.0)
    line.offer([bytes(750)], 1.0005)
    assert line.next_due == pytest.approx(1.021)
    assert line.take(1.0209) == []
    assert [(round(at, 9), len(packet)) for at, packet in line.take(2.0)] == [
        (1.021, 1500),
        (1.022, 1500),
        (1.0225, 750),
    ]
    assert line.next_due is None


def test_what_the_device_puts_before_a_packet_takes_no_time_and_no_room() -> None:
    line = Line(LINK, "seed", prefix=10)
    line.offer([bytes(10) + FULL], 0.0)
    assert line.next_due == pytest.approx(0.021)
    assert line.counters()["offered_bytes"] == 1500
    assert [len(packet) for _, packet in line.take(1.0)] == [1510]


def test_a_full_queue_drops_what_does_not_fit() -> None:
    line = Line(LINK, "seed")  # 60,000 bytes: 40 packets
    line.offer([FULL] * 50, 0.0)
    counters = line.counters()
    assert counters["queue_dropped_packets"] == 10
    assert counters["largest_queue_bytes"] == LINK.queue_bytes == 60_000
    assert line.waiting(0.0) == pytest.approx(0.04)


def test_loss_is_behind_the_queue_and_the_same_from_the_same_seed() -> None:
    def lost(seed: str) -> list[int]:
        line = Line(LinkSpec(1e9, 0.04, loss=0.1), seed)
        for number in range(10_000):
            line.offer([number.to_bytes(4, "big") + bytes(96)], number * 1e-3)
        came = {int.from_bytes(packet[:4], "big") for _, packet in line.take(1e9)}
        assert line.counters()["lost_packets"] == 10_000 - len(came)
        return [number for number in range(10_000) if number not in came]

    once = lost("a")
    assert once == lost("a") != lost("b")
    assert len(once) == pytest.approx(1000, abs=4 * 30)


# -- is it what it says? ------------------------------------------------------------------------------------------


def flight(spec: LinkSpec, per_second: float, seed: str = "seed", seconds: float = 3.0) -> Flight:
    """What would become of datagrams over a link that is exactly as it says."""
    line = Line(spec, seed)
    sent_at = [number / per_second for number in range(int(per_second * seconds))]
    for number, at in enumerate(sent_at):
        line.offer([number.to_bytes(4, "big") + bytes(1496)], at)
    came = [(int.from_bytes(packet[:4], "big"), at) for at, packet in line.take(1e9)]
    return Flight(
        len(sent_at),
        array("l", [number for number, _ in came]),
        array("d", [sent_at[number] for number, _ in came]),
        array("d", [at for _, at in came]),
        {},
    )


def off(checks: Any) -> list[str]:
    return [check.what for check in checks if not check.holds]


def test_a_link_that_is_what_it_says_passes() -> None:
    assert off(judge_delay(flight(LINK, 250), LINK)) == []
    assert off(judge_overload(flight(LINK, 1200), LINK)) == []
    lossy = replace(LINK, loss=0.05)
    assert off(judge_loss(flight(lossy, 800), lossy)) == []


def test_a_link_that_is_not_is_found_out() -> None:
    assert off(judge_delay(flight(replace(LINK, rtt=0.05), 250), LINK)) == ["delay p50", "delay p99"]
    assert off(judge_delay(flight(replace(LINK, rtt=0.039), 250), LINK)) == ["delay p50", "delay p99"]
    assert off(judge_delay(flight(replace(LINK, loss=0.01), 250), LINK)) == ["none lost"]
    assert off(judge_overload(flight(replace(LINK, rate=1_480_000, queue_bdp=1.0), 1200), LINK)) == ["rate"]
    assert off(judge_overload(flight(replace(LINK, queue_bdp=1.2), 1200), LINK)) == ["delay p99, queue full"]
    assert off(judge_overload(flight(replace(LINK, queue_bdp=0.8), 1200), LINK)) == ["delay p99, queue full"]
    lossy = replace(LINK, loss=0.05)
    assert off(judge_loss(flight(replace(LINK, loss=0.1), 800), lossy)) == ["loss"]
    mixed = flight(lossy, 800)
    mixed.numbers[5], mixed.numbers[6] = mixed.numbers[6], mixed.numbers[5]
    assert off(judge_loss(mixed, lossy)) == ["order kept"]


def test_an_emulator_that_is_off_ends_the_run_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        command, "validate", lambda cells, seed: judge_delay(flight(replace(LINK, rtt=0.05), 250), LINK)
    )
    monkeypatch.setattr(command, "available", lambda: None)
    with pytest.raises(SystemExit, match="not what it says"):
        command.main(["--contenders", "rudp"])


def test_lateness_is_a_percentile_of_all_packets() -> None:
    noted = Report(({}, {}), [], "", 0.0, 0)
    noted.late[0], noted.late[9] = 99, 1
    assert noted.lateness(0.99) == LATE_CLASS
    assert noted.lateness(0.995) == pytest.approx(10 * LATE_CLASS)


# -- what is made of the figures ----------------------------------------------------------------------------------


def test_figures_are_those_of_the_span() -> None:
    arrived = [(100.0 + second, 1000 * second) for second in range(11)]
    samples = [(100.0 + second, 1100 * second + 500, 0, 0.001 * second, 0.0) for second in range(11)]
    counters = {"offered_packets": 100, "queue_dropped_packets": 5}
    figures = judge(arrived, Report((counters, {}), samples, "", 0.0, 0), 100.0, 8.0, 4.0)
    assert figures["goodput"] == 1000
    assert figures["whole"] == 1000
    assert figures["sent"] == pytest.approx(1.1)
    assert figures["queue_p50"] == pytest.approx(0.006)
    assert figures["dropped"] == 0.05
    assert figures["curve"] == [1000 * second for second in range(1, 9)]


def test_where_nothing_arrived_there_is_no_ratio() -> None:
    figures = judge([], Report(({"offered_packets": 0, "queue_dropped_packets": 0}, {}), [], "", 0.0, 0), 0.0, 8.0, 4.0)
    assert figures["goodput"] == 0
    assert figures["sent"] is None


def sample(goodput: float, sent: float | None = 1.05) -> Sample:
    return Sample(goodput, goodput, sent, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, {}, {}, 0.0, [])


def row_of_rudp(goodput: float, sent: float | None = 1.05, loss: float = 0.0) -> Row:
    spec = replace(LINK, loss=loss)
    found = {
        (spec, "tcp-bbr"): [sample(100.0)],
        (spec, "rudp"): [sample(goodput / 2, sent), sample(goodput, sent), sample(goodput * 2, sent)],
        (spec, "tcp-cubic"): [sample(90.0)],
    }
    made = list(rows(found))
    assert [row.contender for row in made] == ["rudp", "tcp-bbr", "tcp-cubic"]
    assert [row.holds for row in made[1:]] == [None, None]
    assert made[0].best_rival == 100.0
    assert made[0].goodput == goodput
    return made[0]


def test_a_row_holds_if_rudp_is_first_or_level_within_its_bytes() -> None:
    assert row_of_rudp(101).holds
    assert row_of_rudp(97.5).holds
    assert row_of_rudp(96.5).holds is False
    assert row_of_rudp(101, sent=1.11).holds is False
    assert row_of_rudp(101, sent=1.3, loss=0.2).holds
    assert row_of_rudp(101, sent=None).holds is False


def test_the_table_says_where_rudp_is_behind_and_survives_json() -> None:
    made = [row_of_rudp(101), row_of_rudp(90), row_of_rudp(101, sent=2.0)]
    text = rows_as_text(made, 3, 15)
    assert [word in text for word in ("first", "BEHIND (0.90", "TOO MANY BYTES")] == [True] * 3
    data = json.loads(json.dumps(report(made, [], 3, 15, {})))
    assert [from_json(row) for row in data["rows"]] == made


def test_earlier_figures_are_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(report([row_of_rudp(90)], [], 3, 15, {})))
    assert command.main(["--redraw", str(kept)]) == 0
    assert command.main(["--redraw", str(kept), "--check"]) == 1
    assert "BEHIND" in capsys.readouterr().out


def test_the_page_shows_the_figures_that_are_kept() -> None:
    root = Path(__file__).resolve().parent.parent
    data = json.loads((root / "bench/results/kernel.json").read_text(encoding="utf-8"))
    made = [from_json(row) for row in data["rows"]]
    page = (root / "docs/BENCHMARKS.md").read_text(encoding="utf-8")
    assert put_into(page, made) == page, (
        "run: python -m bench.kernel --redraw bench/results/kernel.json --docs docs/BENCHMARKS.md"
    )
    assert {(row.rate, row.rtt, row.loss) for row in made} == {(spec.rate, spec.rtt, spec.loss) for spec in table.CELLS}
    assert all(check["holds"] for check in data["validation"])
    with pytest.raises(ValueError, match="no place"):
        put_into("nothing", made)


def test_help_names_the_command_as_it_was_called(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "usage: python -m bench.kernel " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["--help"], "rudp bench kernel")
    told = capsys.readouterr().out
    assert "usage: rudp bench kernel " in told
    assert "bench.kernel" not in told


def test_the_cells_of_the_table() -> None:
    assert [table.title(spec) for spec in command._cells("100/50/0.1,20/100/20")] == [
        "100 Mbit/s x 50 ms, loss 0.1 %",
        "20 Mbit/s x 100 ms, loss 20 %",
    ]
    assert command._cells("100/50/0,100/50/0.1,100/50/1,100/50/5,100/50/10,20/100/0,20/100/1,20/100/20") == table.CELLS
    with pytest.raises(SystemExit):
        command.main(["--cells", "100/50"])


# -- where it can't run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--seconds nan", "--seconds must be more than 5"),
        ("--rounds 0", "--rounds at least 1"),
        ("--cells nan/50/0", "Mbit/s / ms of RTT / % of loss"),
        ("--json {}/none/x.json", "there is no folder {}/none"),
        ("--redraw {}/none", "can't be shown"),
        ("--redraw {}/empty.json", "can't be shown"),
    ],
)
def test_odd_options_are_refused(arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        command.main(arguments.format(tmp_path).split())
    assert ended.value.code == 2
    assert said.format(tmp_path) in capsys.readouterr().err


def test_says_why_it_can_not_run_and_ends_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> int:
        raise PermissionError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(namespace, "_new_namespace", refused)
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    assert command.main([]) == 0
    assert "CAP_NET_ADMIN" in capsys.readouterr().out
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert command.main([]) == 0
    assert "/dev/net/tun" in capsys.readouterr().out


def test_a_contender_that_is_not_there_is_named() -> None:
    assert "no controller 'nonesuch'" in str(missing("tcp-nonesuch"))
    assert "nonesuch" in str(missing("rudp-nonesuch"))
    assert "unknown contender" in str(missing("sctp"))
    assert missing("rudp") is missing("rudp-new_reno") is missing("tcp-reno") is None


# -- the real thing, in short -------------------------------------------------------------------------------------

WHY_NOT = namespace.available()
real = pytest.mark.skipif(WHY_NOT is not None, reason=f"no network namespaces with TUN devices: {WHY_NOT}")


@real
def test_real_datagrams_cross_the_link_not_too_early_and_lost_ones_are_accounted_for() -> None:
    resource_tracker.ensure_running()  # multiprocessing's own; it stays
    descriptors = len(os.listdir("/proc/self/fd"))
    spec = LinkSpec(2_500_000, 0.02, loss=0.2)
    came = probe(spec, Plan(1000, 0.3, 500), back=False, seed="real")
    assert len(came.numbers) < came.sent == 300
    assert list(came.numbers) == sorted(came.numbers)
    assert min(came.delays) >= 0.01 + 500 / spec.rate
    assert sum(came.drops.values()) == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors


@real
@pytest.mark.parametrize("name", ["rudp", "tcp-reno"])
def test_real_flows_cross_the_link(name: str) -> None:
    found = measure(LinkSpec(1_250_000, 0.02, loss=0.01), name, 1.0, "real", settled=0.5)
    assert 0 < found.goodput < 1_250_000
    assert found.sent is not None
    assert found.sent > 1.0
    assert found.acks > 0
    assert found.sender["controller"] == ("model" if name == "rudp" else "reno")
    assert found.stray == 0


@real
def test_what_fails_at_an_end_is_told_and_nothing_is_left_running() -> None:
    with pytest.raises(RuntimeError, match="TypeError"), Bed(LINK, "real") as bed:
        emulator = bed._emulator._process.pid
        bed.start(0, measure).hear()
    assert not os.path.exists(f"/proc/{emulator}")
