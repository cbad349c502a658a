"""Traced runs: the same run as without, and a record of all that happened; seeds that are said and taken."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rudp import sim, trace
from rudp.endpoint import Endpoint
from rudp.events import Connected
from rudp.sim import CoDel, Delay, Duplicate, Loss, Network, Node, Rate, SimulationError, Stalled
from tests.sim_fakes import A, B, Pair
from tests.test_sim_network import scenario

ROOT = Path(__file__).resolve().parent.parent


def traced(pair: Pair, **settings: object) -> list[trace.Event]:
    """Run the pair and read its trace."""
    file = io.StringIO()
    with pair.network.trace(file, **settings):  # type: ignore[arg-type]
        pair.network.run()
    return list(trace.read(file.getvalue().splitlines()))


def test_a_traced_run_is_the_same_run() -> None:
    file = io.StringIO()
    untraced = scenario(7)
    # All but when the clock was last read: the last sample is up to an interval later than the last event.
    without_end = [word for word in untraced.split(" ") if not word.startswith("1.")]
    found = scenario(7, lambda network: network.trace(file, interval=0.003))
    assert [word for word in found.split(" ") if not word.startswith("1.")] == without_end
    events = list(trace.read(file.getvalue().splitlines()))
    assert [event.time for event in events] == sorted(event.time for event in events)
    names = Counter(event.name for event in events)
    assert set(names) == {trace.PACKET_SENT, trace.PACKET_RECEIVED, trace.PACKET_DROPPED, trace.QUEUE_UPDATED}
    again = io.StringIO()
    scenario(7, lambda network: network.trace(again, interval=0.003))
    assert again.getvalue() == file.getvalue()


@pytest.mark.parametrize("line", [Rate(50_000, 5_000), CoDel(50_000, 9_000, target=0.001, interval=0.01)])
def test_every_packet_is_accounted_for(line: Node) -> None:
    copies = Duplicate(0.2, 0.5)
    nodes: list[Node] = [Delay(0.1), line, Loss(0.3), copies]
    pair = Pair(nodes, seed=5)
    for i in range(50):
        pair.send_at(i * 0.02, bytes(4_000), segment_size=400)
    events = traced(pair, names={nodes[2]: "the radio"})
    names = Counter(event.name for event in events)
    assert names[trace.PACKET_SENT] == pair.host_a.datagrams_sent == 500
    assert names[trace.PACKET_RECEIVED] == pair.host_b.datagrams_received
    lost = Counter(event.data["node"] for event in events if event.name == trace.PACKET_DROPPED)
    assert lost == {f"{type(line).__name__} 1": line.dropped, "the radio": nodes[2].dropped}
    assert min(lost.values()) > 5
    assert names[trace.PACKET_SENT] + copies.duplicated == names[trace.PACKET_RECEIVED] + names[trace.PACKET_DROPPED]
    assert {event.group_id for event in events if event.name == trace.PACKET_SENT} == {"10.0.0.1:1001"}


def test_the_queue_is_read_as_it_is_now() -> None:
    # Packets of 128 bytes with headers, 10 ms each; ten come at once.
    for line in (Rate(12_800), CoDel(12_800)):
        pair = Pair([line])
        pair.send_at(0.0, bytes(1_000), segment_size=100)
        events = traced(pair, interval=0.025, packets=False)
        times, packets = trace.series(events, trace.QUEUE_UPDATED, "queued_packets")
        _, waiting = trace.series(events, trace.QUEUE_UPDATED, "waiting")
        at = dict(zip(times, zip(packets, waiting, strict=True), strict=True))
        assert at[0.025] == (8, pytest.approx(75.0, abs=1e-6))
        assert packets[-1] == 0


def test_connections_show_window_rtt_and_what_is_in_flight() -> None:
    network = Network(3)
    client, server = Endpoint(random=network.random("c")), Endpoint(random=network.random("s"), accept=True)
    here = network.add_host(A, client, on_event=lambda c, e: isinstance(e, Connected) and c.send(0, bytes(200_000)))
    there = network.add_host(B, server, on_event=lambda c, e: None)
    network.add_link(here, there, [Rate(1_250_000), Delay(0.02)])
    network.add_link(there, here, [Delay(0.02)])
    file = io.StringIO()
    with network.trace(file, interval=0.01):
        client.connect(B, network.now)
        here.service()
        network.run(until=1.0)
    events = list(trace.read(file.getvalue().splitlines()))
    (group,) = {e.group_id for e in events if e.name == trace.METRICS_UPDATED and e.group_id.startswith("10.0.0.1")}
    for field in ("congestion_window", "bytes_in_flight", "smoothed_rtt", "pacing_rate"):
        times, values = trace.series(events, trace.METRICS_UPDATED, field, group)
        assert len(set(values)) > 3, field
        assert times == sorted(times)
    kinds = Counter(e.data["header"]["packet_type"] for e in events if e.name == trace.PACKET_SENT)
    assert kinds["initial"] == kinds["handshake"] == 1
    assert kinds["1RTT"] > 140
    assert set(kinds) == {"initial", "handshake", "1RTT"}


def test_a_run_that_is_not_traced_calls_the_nodes_themselves() -> None:
    pair = Pair([delay := Delay(0.1)])
    pair.send_at(0.0, b"x")
    pair.network.run()
    first = pair.host_a.routes[B].send
    assert first.__self__._processes == (delay.process,)  # type: ignore[attr-defined]
    with pytest.raises(SimulationError, match="before the first packet"):
        pair.network.trace(io.StringIO())


def test_a_trace_is_written_to_a_file_and_complete_without_being_closed(tmp_path: Path) -> None:
    pair = Pair([Delay(0.5)])
    with pytest.raises(SimulationError, match="interval"):
        Pair().network.trace(io.StringIO(), interval=0.0)
    opened = pair.network.trace(tmp_path / "run.sqlog")
    pair.send_at(0.0, b"x")
    pair.network.run()
    opened.close()
    opened.close()
    pair.send_at(1.0, b"x")
    pair.network.run()
    with (tmp_path / "run.sqlog").open(encoding="utf-8") as file:
        assert [event.name for event in trace.read(file)] == [trace.PACKET_SENT, trace.PACKET_RECEIVED]
    kept = io.StringIO()
    pair = Pair([Delay(0.5)])
    pair.network.trace(kept)
    pair.send_at(0.0, b"x")
    pair.network.run()
    assert len(list(trace.read(kept.getvalue().splitlines()))) == 2


def test_a_trace_that_is_closed_early_tells_of_nothing_that_was_yet_to_come() -> None:
    pair = Pair([Rate(12_800, queue_bytes=256), Delay(0.5)])
    file = io.StringIO()
    with pair.network.trace(file):
        pair.send_at(0.0, bytes(300), segment_size=100)
        pair.send_at(1.0, b"x")
        pair.network.run(until=1.25)
    events = list(trace.read(file.getvalue().splitlines()))
    assert max(event.time for event in events) <= pair.network.now == 1.25
    told = Counter(event.name for event in events)
    assert (told[trace.PACKET_SENT], told[trace.PACKET_DROPPED], told[trace.PACKET_RECEIVED]) == (4, 1, 2)


def test_a_seed_comes_from_the_environment_or_the_caller_or_is_drawn_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUDP_SEED", "42")
    assert (sim.seed(), sim.seed(7), Network(None).seed, Network(7).seed) == (42, 42, 42, 7)
    for text in ("autumn", "--5", "-", "5-"):
        monkeypatch.setenv("RUDP_SEED", text)
        assert sim.seed() == text
    monkeypatch.setenv("RUDP_SEED", "-5")
    assert sim.seed() == -5
    monkeypatch.delenv("RUDP_SEED")
    assert (sim.seed(7), Network().seed) == (7, 0)
    assert capsys.readouterr().err == ""
    drawn = sim.seed()
    assert sim.seed() == Network(None).seed == drawn
    assert capsys.readouterr().err == f"seed {drawn}; for the same run again set RUDP_SEED={drawn}\n" * 3


def test_what_a_run_raises_names_its_seed() -> None:
    with pytest.raises(Stalled) as caught:
        Network("autumn").run(stop=lambda: False)
    assert caught.value.__notes__ == ["in a simulation with seed 'autumn', at 0.0 s"]


def test_pytest_shows_the_seed_of_a_test_that_fails(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("from rudp.sim import Network\ndef test_it():\n    Network(None)\n    assert False\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "for the same run again set RUDP_SEED=" in run.stdout
