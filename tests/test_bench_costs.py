"""The cost curves and the gates: the same calls every time, rows of the right shape, and what grows is caught."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench import costs, gates
from bench.costs import CURVES, Curve, Row, brief, measure, missed
from bench.costs_beds import DATAGRAM, Bed, Bulk, Crowd, Lossy, Messages, Turns
from rudp.cli.app import cli
from rudp.connection import Connection


def bench(*arguments: str) -> Result:
    """`rudp bench` in this process."""
    return CliRunner().invoke(cli, ["bench", *arguments])


def rows_of(curve: Curve, rounds: int = 1) -> list[Row]:
    """The rows alone."""
    return [item for item in measure(curve, rounds) if isinstance(item, Row)]


def streams_curve(count: int) -> Curve:
    """One busy stream beside `count` idle ones."""
    return CURVES["idle-streams"]._replace(sizes=(0, count))


BEDS: dict[str, Any] = {
    "bulk": Bulk,
    "small writes": lambda: Bulk(piece=100, behind=1000),
    "lossy window": lambda: Bulk(loss=0.05),
    "streams": lambda: Turns(20),
    "crowd": lambda: Crowd(20),
    "messages": lambda: Messages(50),
    "lossy link": lambda: Lossy(0.05),
}


@pytest.mark.parametrize("bed", BEDS.values(), ids=BEDS)
def test_a_bed_does_the_same_every_time(bed: Any) -> None:
    def counts() -> list[tuple[int, ...]]:
        made: Bed = bed()
        return [made.sample(300)._replace(nanoseconds=0, writing=0) for _ in range(3)]

    found = counts()
    assert found == counts()
    # What is sent arrives, but for what is on its way.
    assert sum(sample.payload for sample in found) > 0


def test_a_bed_piles_up_what_it_says() -> None:
    bulk = Bulk(behind=1_000_000, piece=100, streams=30, connections=20)
    bulk.sample(1000)
    assert len(bulk.server.connections) == 21
    assert bulk.server.connections[-1].stream_count == 31
    assert bulk._connection.unsent(0) >= 1_000_000
    flight = Bulk(window=4 << 20)
    flight.sample(6000)
    in_flight = flight._connection.stats(flight.now).bytes_in_flight
    assert (4 << 20) - 2 * DATAGRAM < in_flight <= 4 << 20
    assert Bulk(window=4 << 20, loss=0.02).sample(10_000).gaps > 0
    messages = Messages(50)
    sample = messages.sample(500)
    assert sample.trains == sample.packets
    assert 30 < len(list(messages._connection._recovery.sent_packets)) < 90


def test_a_lossy_link_loses_its_share() -> None:
    lossy = Lossy(0.1)
    lossy.sample(5000)
    stats = lossy._connection.stats(lossy.now)
    # Of what is still on its way nobody knows: at the end of a start-up that is a fifth of all.
    known = stats.packets_sent - stats.bytes_in_flight / DATAGRAM
    assert 0.08 < stats.packets_lost / known < 0.12
    assert stats.congestion == "model"


def test_rows_have_the_shape_of_the_curve() -> None:
    curve = CURVES["queued"]._replace(sizes=(0, 10, 50), packets=lambda _: 300)
    rows = rows_of(curve, rounds=3)
    assert [row.size for row in rows] == [0, 10, 50]
    assert rows[0].ratio == 1.0
    assert rows[0].limit is None
    assert all(row.limit == costs.FLAT for row in rows[1:])
    for row in rows:
        assert 0 < row.least <= row.microseconds <= row.most
        assert row.ratio_low <= row.ratio <= row.ratio_high
    assert Row.from_dict(json.loads(json.dumps(rows[1].as_dict()))).size == 10


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_every_curve_has_its_base_and_ends(curve: Curve) -> None:
    assert curve.base in curve.sizes
    assert list(curve.sizes) == sorted(curve.sizes)
    assert {curve.sizes[0], curve.sizes[-1], curve.base} == set(brief(curve).sizes)
    assert curve.limits(curve.sizes[-1]) is not None


def test_the_loss_curve_may_double_and_treble() -> None:
    limits = [CURVES["loss"].limits(loss) for loss in CURVES["loss"].sizes]
    assert limits == [2, 2, 2, 2, 2, 3]


def test_a_cost_that_grows_with_the_streams_open_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = streams_curve(5000)
    sound = gates.cost_gate(curve, 1.5, 3)
    original = Connection.next_train

    def next_train(self: Connection, now: float) -> Any:
        assert sum(1 for _ in self._streams.held) >= 0
        return original(self, now)

    monkeypatch.setattr(Connection, "next_train", next_train)
    planted = gates.cost_gate(curve, 1.5, 3)
    assert not planted.holds
    assert planted.figure > 1.3 * sound.figure
    assert "5000 streams" in "".join(missed(rows_of(curve)))


def test_gates_name_curves_and_sizes_that_there_are() -> None:
    for name, size, bound in gates.ENDS:
        assert CURVES[name].base < size <= CURVES[name].sizes[-1]
        assert bound > (CURVES[name].limits(size) or 0), "generous margins"


@pytest.mark.parametrize(("figure", "status"), [(1.4, 0), (1.6, 1)])
def test_a_gate_that_does_not_hold_is_a_failure(
    figure: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def some() -> Iterator[gates.Gate]:
        yield gates.Gate("sound", 1.0, 1.5)
        yield gates.Gate("the one", figure, 1.5)

    monkeypatch.setattr("sys.argv", ["gates"])
    monkeypatch.setattr(gates, "transfer_gates", some)
    monkeypatch.setattr(gates, "cost_gates", lambda: iter(()))
    assert gates.main() == status
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2
    assert "1.00" in told[0]
    assert told[1].startswith("OVER" if status else "ok")


def test_the_command_shows_writes_and_draws(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    done = bench("costs", "--only", "queued", "--brief", "--rounds", "1", "--json", str(file), "--plot", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "Small writes queued" in done.output
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["finished"]
    assert [row["size"] for row in content["rows"]] == [0, 100_000]
    assert (tmp_path / "costs.png").stat().st_size < 100_000
    content["rows"][1]["ratio"] = 7.0
    file.write_text(json.dumps(content), encoding="utf-8")
    again = bench("show", str(file), "--check")
    assert again.exit_code == 1
    assert "7.00 times what it is at 0, allowed are 1.2" in again.output
    assert "1 of 1 are over" in again.output


@pytest.mark.parametrize("curve", CURVES.values(), ids=lambda curve: curve.name)
def test_a_row_comes_back_from_json_with_its_size(curve: Curve) -> None:
    for size in curve.sizes:
        row = Row(curve.name, size, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, None)
        assert Row.from_dict(json.loads(json.dumps(row.as_dict()))) == row


def test_kept_curves_are_drawn_with_no_bar_cut_off(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra rudp-transport[plot]")
    from bench import plots_costs  # noqa: PLC0415 (it needs matplotlib)

    kept = json.loads((Path(__file__).parent.parent / "bench/results/costs.json").read_text(encoding="utf-8"))["rows"]
    figure = plots_costs.picture([Row.from_dict(row) for row in kept])
    panels = [panel for panel in figure.axes if panel.get_visible()]
    assert len(panels) == len(CURVES)
    for panel in panels:
        assert panel.get_ylabel() in {"us a packet", "us a write"}
        assert max(max(line.get_ydata()) for line in panel.lines) < panel.get_ylim()[1]


def test_a_curve_that_there_is_not_is_named() -> None:
    done = bench("costs", "--only", "queued,tides")
    assert done.exit_code == 2
    assert "no curve tides" in done.output
