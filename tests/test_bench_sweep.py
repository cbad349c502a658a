"""Sweeps: the same rows from any executor, what stops them and what they leave, the figures, the commands."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.context
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from bench import cells, fairness, loss, report, sweep, tables, windows
from bench.flows import APART, Flow, run
from rudp.cli.app import cli
from rudp.congestion.model import Model
from tests import loss_snapshot

RESULTS = Path(__file__).parent.parent / "bench" / "results"
SMALL = ["--rate", "10", "--rtt", "10", "--queue", "1", "--loss", "0,5", "--seconds", "2", "--controllers", "model"]


def bench(*arguments: str) -> Result:
    """`rudp bench` in this process."""
    return CliRunner().invoke(cli, ["bench", *arguments])


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_has_a_bar_that_counts_cells(terminal: bool) -> None:
    runner = CliRunner(env={"FORCE_COLOR": "1" if terminal else ""})
    result = runner.invoke(cli, ["bench", "loss", *SMALL, "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert ("2/2" in result.stderr) == terminal
    assert "2/2" not in result.stdout


# The table that is kept.


def test_the_small_loss_table_is_the_one_that_is_kept() -> None:
    kept = loss_snapshot.FILE.read_text(encoding="utf-8")
    now = loss_snapshot.HEAD + "".join(f"{loss_snapshot.line(loss.measure(cell))}\n" for cell in loss_snapshot.cells())
    changes = list(unified_diff(kept.splitlines(), now.splitlines(), "kept", "now", n=0, lineterm=""))
    if changes:
        pytest.fail(
            "cells changed. If they should have: python -m tests.loss_snapshot, and have the change reviewed\n"
            + "\n".join(changes),
            pytrace=False,
        )


# Sweeps.


def double(cell: int) -> int:
    """A cell that fails, among others."""
    if cell == 13:
        raise ValueError("unlucky")
    return 2 * cell


class Recording(sweep.Inline):
    """Notes what it was given."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.given: list[Any] = []
        self._interrupt_at = interrupt_at

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if len(self.given) == self._interrupt_at:
            raise KeyboardInterrupt
        self.given.append(args[0])
        return super().submit(fn, *args, **kwargs)


def test_the_dearest_cells_go_first_and_rows_come_in_the_order_of_the_cells() -> None:
    pool = Recording()
    outcome = sweep.run([3, 1, 4, 1, 5], double, pool, cost=float)
    assert pool.given == [5, 4, 3, 1, 1]
    assert outcome.rows == [6, 2, 8, 2, 10]
    assert not outcome.interrupted


@pytest.mark.parametrize("pool", [sweep.Inline(), ThreadPoolExecutor(2)], ids=["inline", "threads"])
def test_a_cell_that_fails_is_named_and_the_others_go_on(pool: Executor) -> None:
    seen: list[int] = []
    with pool:
        outcome = sweep.run([1, 13, 2], double, pool, on_row=seen.append)
    assert outcome.rows == [2, 4]
    assert [(cell, str(error)) for cell, error in outcome.failed] == [(13, "unlucky")]
    assert sorted(seen) == [1, 2, 13]


def test_an_interrupt_leaves_the_rows_there_are() -> None:
    outcome = sweep.run([1, 2, 3, 4], double, Recording(interrupt_at=2), cost=float)
    assert (outcome.rows, outcome.left_out, outcome.interrupted) == ([6, 8], [1, 2], True)


def test_processes_give_the_same_rows_as_this_process() -> None:
    chosen = list(loss.grid(["new_reno", "model"], [10.0], [10.0], [0.0, 5.0], [1.0], seconds=2.0))
    with sweep.executor(jobs=1) as here, sweep.executor(jobs=2) as apart:
        assert isinstance(here, sweep.Inline)
        one = sweep.run(chosen, loss.measure, here)
        two = sweep.run(chosen, loss.measure, apart, cost=loss.cost)
    assert len(one.rows) == 4
    assert one.rows == two.rows


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_table_as_processes(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra rudp-transport[dask]")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    by_dask, by_process = tmp_path / "dask.json", tmp_path / "process.json"
    with distributed.LocalCluster(**options) as cluster:
        there = bench("loss", *SMALL, "--json", str(by_dask), "--dask", cluster.scheduler_address)
    here = bench("loss", *SMALL, "--json", str(by_process), "--jobs", "1")
    assert (there.exit_code, here.exit_code) == (0, 0), there.output + here.output
    assert by_dask.read_bytes() == by_process.read_bytes()
    assert there.stdout == here.stdout


def test_without_dask_the_flag_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = bench("loss", *SMALL, "--dask")
    assert result.exit_code == 1
    assert "pip install 'rudp-transport[dask]'" in result.stderr
    assert "Traceback" not in result.output


def test_without_matplotlib_nothing_is_measured_and_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sweep, "run", lambda *_, **__: pytest.fail("measured first"))
    result = bench("loss", *SMALL, "--plot", str(tmp_path / "plots"))
    assert result.exit_code == 1
    assert "pip install 'rudp-transport[plot]'" in result.stderr


# The commands.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seconds", "nan"), "nan is no number"),
        (("--queue", "0.5", "--check"), "nothing to check"),
        (("--rate", ""), "are no numbers"),
        (("--queue", ","), "are no numbers"),
        (("--json", "{}/none/loss.json"), "there is no folder {}/none"),
        (("--json", "{}"), "is a directory"),
        (("--plot", "{}/file/plots"), "there is no folder {}/file"),
        (("--plot", "{}/file"), "is a file"),
    ],
)
def test_what_can_not_be_measured_or_written_is_told_before_anything_is_measured(
    options: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sweep, "run", lambda *_, **__: pytest.fail("measured first"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = bench("loss", *SMALL, *(option.format(tmp_path) for option in options))
    assert result.exit_code == 2, result.output
    assert said.format(tmp_path) in " ".join(result.stderr.split())


def test_the_module_is_the_same_as_the_command() -> None:
    command = bench("loss", *SMALL, "--json", "-", "--jobs", "1")
    assert command.exit_code == 0, command.output
    module = subprocess.run(
        [sys.executable, "-W", "error", "-m", "bench.loss", *SMALL, "--json", "-"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert module.stdout == command.stdout
    content = json.loads(command.stdout)
    assert content["finished"] is True
    assert [row["loss"] for row in content["rows"]] == [0, 5]


@pytest.mark.parametrize("name", ["loss", "fairness", "windows", "costs"])
def test_tables_and_help_fit_a_terminal_of_80(name: str) -> None:
    told = bench("show", str(RESULTS / f"{name}.json"))
    assert told.exit_code == 0, told.output
    helped = bench(name, "--help")
    assert max(len(line.rstrip()) for line in (told.stdout + helped.stdout).splitlines()) <= 80
    assert "..." not in bench("--help").stdout.partition("Commands:")[2]


def test_a_loss_table_with_every_figure_fits_a_terminal_of_80() -> None:
    kept = report.read(RESULTS / "loss.json")["rows"]
    console = Console(width=80, record=True)
    for table in tables.loss_tables([loss.Row.from_dict(row) for row in kept], detailed=True):
        assert console.measure(table, options=console.options.update(max_width=1000)).maximum <= 80


def test_what_was_written_is_shown_and_checked_again(tmp_path: Path) -> None:
    file = tmp_path / "loss.json"
    first = bench("loss", *SMALL, "--json", str(file), "--jobs", "1")
    again = bench("show", str(file))
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout
    content = report.read(file)
    content["rows"][0]["share"] = 0.5
    file.write_text(report.text(content), encoding="utf-8")
    checked = bench("show", str(file), "--check")
    assert checked.exit_code == 1
    assert "goodput 50.0% of (1 - p) C, not 95%" in checked.stdout


def test_a_check_of_cells_for_which_no_goal_is_set_is_no_success(tmp_path: Path) -> None:
    content = report.read(RESULTS / "loss.json")
    content["rows"] = [row for row in content["rows"] if row["queue"] != 1][:1]
    file = tmp_path / "loss.json"
    file.write_text(report.text(content), encoding="utf-8")
    checked = bench("show", str(file), "--check")
    assert checked.exit_code == 1
    assert "nothing to check" in checked.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"rows": []}', '{"benchmark": "loss", "rows": [{"share": 1}]}'])
def test_a_file_that_is_no_result_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(content, encoding="utf-8")
    result = bench("show", str(file))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "can't be shown: " in result.stderr
    assert "--json" not in result.stderr  # a command that would write over the file


@pytest.mark.parametrize("name", sorted(path.stem for path in RESULTS.glob("*.json")))
def test_a_kept_result_is_shown_or_it_is_said_what_to_do_instead(name: str) -> None:
    path = RESULTS / f"{name}.json"
    result = bench("show", str(path))
    if name.partition("-")[0] in report.SHOWN:
        assert result.exit_code == 0, result.output
        assert result.stdout
    else:
        kernel = name.startswith("kernel")
        instead = f"use rudp bench kernel --redraw {path}" if kernel else "show reads what bench loss, fairness, "
        assert result.exit_code == 1
        assert instead in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("loss", "--rate", "fast"),
        ("loss", "--loss", "100"),
        ("loss", "--controllers", "nobody"),
        ("fairness", "--scenario", "unfair"),
        ("fairness", "--rate", "0.1", "--rtt", "10"),
    ],
)
def test_what_cant_be_run_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    result = bench(*arguments)
    assert result.exit_code == 2, result.output
    assert "Error:" in result.stderr


def test_a_controller_that_is_not_there_is_named_and_left_out() -> None:
    result = bench("loss", *SMALL[:-1], "model,nobody", "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert "nobody" in result.stderr
    assert "nobody" not in result.stdout


def test_an_interrupted_sweep_is_shown_and_written_as_far_as_it_came(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "partial.json"
    monkeypatch.setattr(sweep, "executor", lambda *_: nullcontext(Recording(interrupt_at=1)))
    result = bench("loss", *SMALL, "--json", str(file))
    assert result.exit_code == 130
    assert "interrupted: of 2 cells 1 had finished" in result.stderr
    content = report.read(file)
    assert (content["finished"], len(content["rows"])) == (False, 1)
    assert "10 Mbit/s, RTT 10 ms" in result.stdout


def test_an_interrupt_before_the_first_cell_says_that_none_had_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "executor", lambda *_: nullcontext(Recording(interrupt_at=0)))
    result = bench("loss", *SMALL, "--loss", "0")
    assert result.exit_code == 130
    assert "interrupted: of 1 cell none had finished" in result.stderr
    assert "\n1 cell; protection" in f"\n{result.stderr}"


def test_ctrl_c_ends_the_workers() -> None:
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import rudp.cli; rudp.cli.main()"
    arguments = ["--rate", "10,1000", "--rtt", "10", "--queue", "1", "--loss", "0", "--seconds", "600",
                 "--controllers", "model", "--jobs", "2"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", start, "bench", "loss", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert time.monotonic() - started < 60


def test_ctrl_c_while_a_worker_starts_comes_when_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it is left with half of what it needs, says so, and can't be ended."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = multiprocessing.context.SpawnProcess.start

    def start(process: multiprocessing.context.SpawnProcess) -> None:
        signal.raise_signal(signal.SIGINT)
        started(process)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start)
    pool = sweep.Processes(1)
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.submit(len, ())
        assert len(multiprocessing.active_children()) == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
        pool.abandon()


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system has no signal masks")
def test_workers_never_get_ctrl_c_not_even_while_they_import() -> None:
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pool = sweep.Processes(2)
    try:
        for future in [pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()) for _ in range(2)]:
            assert signal.SIGINT in future.result()
    finally:
        pool.shutdown()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


# The figures.


def test_jains_index_is_one_for_equals_and_a_share_for_one_who_has_all() -> None:
    assert fairness.jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert fairness.jain([5.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert fairness.jain([0.0, 0.0]) == 0.0


def test_no_fairness_cell_leaves_a_flow_less_than_eight_packets() -> None:
    chosen = list(fairness.grid(["new_reno"]))
    assert {cell.scenario for cell in chosen} == set(fairness.SCENARIOS)
    for cell in chosen:
        flows = cell.flows()
        least = cells.bdp(cell.rate, min(flow.rtt for flow in flows) * 1000)
        assert least / len(flows) >= 8 * cells.CONFIG.max_datagram_size


def test_a_loss_cell_is_what_the_link_lets_it_be() -> None:
    row = loss.measure(loss.Cell("new_reno", 10.0, 50.0, 0.0, 1.0, seconds=6.0, steady_from=3.0))
    assert 0.5 < row.share < 1.005
    assert row.queue_p50 <= row.queue_p95 <= 51.0
    assert row.seconds_100kb is not None
    assert row.seconds_100kb > 0.1 + 100_000 / 1.25e6  # the handshake and one way, then the line
    # Slow start doubles from the first round on; a round later the window has filled the link.
    assert row.rounds is not None
    assert row.rounds_allowed - 3 < row.rounds < row.rounds_allowed
    assert loss.Row.from_dict(json.loads(json.dumps(row.as_dict()))).cell == row.cell


def test_acks_are_lost_only_where_both_directions_lose() -> None:
    rows = [loss.measure(loss.Cell("model", 10.0, 10.0, 10.0, 1.0, both, 0, 2.0, 1.0)) for both in (False, True)]
    assert rows[0].share != rows[1].share


def test_two_equal_flows_are_told_from_one_that_starves() -> None:
    row = fairness.measure(fairness.Cell("equal-2", "new_reno", 10.0, 50.0, brief=True))
    assert row.jain_least <= row.jain_mean <= 1.0
    assert sum(row.shares) == pytest.approx(2.0)
    assert len(row.series) == 2
    starved = fairness.Row.from_dict(row.as_dict() | {"jain_least": 0.5})
    assert fairness.goals_missed(starved) == ["Jain's index 0.500 in one window, under 0.95"]


def test_a_fast_flows_own_trains_are_no_part_of_a_short_path() -> None:
    """They passed for it in drains: the first of two flows had a third more than its share, at 1 Gbit/s two thirds."""
    row = fairness.measure(fairness.Cell("equal-2", "model", 500.0, 10.0, brief=True, start=1))
    assert row.jain_least > 0.95, f"{row.shares}"
    assert row.used > 0.95


def test_a_controller_says_of_how_many_acks_it_is_to_be_told_on_a_near_path() -> None:
    class Fewer(Model):
        near_acks = 0

    acks = []
    for controller in (Model, Fewer):
        flow = Flow(controller, rtt=0.01)
        outcome = run([flow], rate=50e6, queue_bytes=500_000, seconds=2.0, seed=1, config=cells.CONFIG)
        acks.append(outcome.packets - outcome.bottleneck.received)
    assert acks[0] > 1.3 * acks[1], acks


def test_starts_draw_other_times_and_a_line_has_their_worst() -> None:
    drawn = list(fairness.grid(["model"], [(10.0, 50.0)], ["late"], starts=3))
    assert [cell.start for cell in drawn] == [0, 1, 2]
    assert drawn[0] == fairness.Cell("late", "model", 10.0, 50.0)
    times = [tuple(flow.start for flow in cell.flows()) for cell in drawn]
    assert times[0] == (0.0, fairness.LATE)
    assert len(set(times)) == 3
    assert times[1] == tuple(flow.start for flow in fairness.Cell("late", "model", 10.0, 50.0, start=1).flows())
    for first, second in times:
        assert 0.0 <= first <= fairness.SPREAD
        assert fairness.LATE <= second <= fairness.LATE + fairness.SPREAD
    rows = [
        fairness.Row(cell, least, 0.97, [0.9, 1.1], 0.98, 5.0, 1.0, 2.0, 10.0, 20.0, [])
        for cell, least in zip(drawn, (0.96, 0.91, 0.95), strict=True)
    ]
    (table,) = tables.fairness_tables(rows)
    found = {column.header: [str(text) for text in column.cells] for column in table.columns}
    assert found["goals\nmet"] == ["2 of 3"]
    assert found["Jain\nleast"] == ["0.910"]
    assert fairness.Row.from_dict(json.loads(json.dumps(rows[1].as_dict()))).cell.start == 1


def test_windows_are_thinned_and_in_parts_of_a_bdp() -> None:
    row = windows.measure(windows.Cell("new_reno", 10.0, 50.0, seconds=4.0))
    assert len(row.times) == len(row.window) == len(row.queue) <= windows.POINTS
    assert 0.5 < max(row.in_flight) < 4.0
    assert max(row.queue) <= 50.0 + 1.0


def test_a_flow_of_a_size_ends_there_and_what_is_kept_of_it_is_bounded() -> None:
    outcome = run([Flow("new_reno", 0.01, size=3_000_000)], rate=12_500_000, queue_bytes=125_000, seconds=2.0)
    (result,) = outcome.results
    assert result.arrived[-1][1] == result.bytes_at(2.0) == 3_000_000
    assert result.error is None
    assert result.arrived == sorted(result.arrived)
    assert len(result.arrived) <= 2 * (2.0 / APART + 1)


# The pictures.


def near(one: str, other: str) -> bool:
    """Whether two colours, as #RRGGBB, are hard to tell apart."""
    return all(abs(int(one[at : at + 2], 16) - int(other[at : at + 2], 16)) <= 12 for at in (1, 3, 5))


def test_every_picture_is_drawn_and_small(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra rudp-transport[plot]")
    from PIL import Image  # noqa: PLC0415 (matplotlib brings it)

    from bench import plots  # noqa: PLC0415

    row = loss.Row(loss.Cell("model", 10.0, 50.0, 0.0, 1.0), 0.9, 0.8, 0.1, 5.0, 9.0, 0.3, None, 4.0, 5.0, 0.01)
    lossy = [
        loss.Row(cell, 0.9, 0.8, 0.1, 5.0, 9.0, 0.3, None, None, 5.0, None)
        for cell in loss.grid(cells.CONTROLLERS, (10.0, 1000.0))
    ]  # fmt: skip
    fair = [
        fairness.Row(cell, 0.9, 0.95, [1.0] * len(cell.flows()), 1.0, None, 1.0, 2.0, 1.0, 11.0, [[5.0] * 40] * 2)
        for cell in fairness.grid(["cubic", "model"])
    ]
    series = [0.5 + index % 7 / 7 for index in range(400)]
    window = [windows.Row(cell, 1.0, list(map(float, range(400))), series, series, series)
              for cell in windows.grid(cells.CONTROLLERS)]  # fmt: skip
    assert plots.whose(cells.CONTROLLERS) == "; model is rudp's default; all four are rudp's own controllers"
    assert plots.whose(["cubic", "bbr"]) == "; both are rudp's own controllers"
    assert not plots.whose(["model"])
    drawn = [
        path
        for name, rows in (("loss", lossy), ("fairness", fair), ("windows", window))
        for path in plots.draw(name, rows, tmp_path)
    ]
    assert [path.stem for path in drawn] == [
        "loss-goodput", "loss-all", "loss-queue", "loss-times", "fairness", "fairness-time", "windows",
    ]  # fmt: skip
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 150_000, path
    heat = Image.open(tmp_path / "loss-all.png").convert("RGB")
    seen = {f"#{red:02X}{green:02X}{blue:02X}" for _, (red, green, blue) in heat.getcolors(1 << 20)}
    for name in cells.CONTROLLERS:
        assert any(near(one, plots.colour(name)) for one in seen), f"{name} is written in another colour"
    assert list(plots.draw("loss", [row], tmp_path)) == []  # one cell makes no picture
