"""The simulator's page: its table has every node with its parameters, its code runs, its names are there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from rudp import sim, stats, trace
from rudp.sim import Network, Node
from tests.sim_fakes import Pair, attached, numbers, packets

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "SIMULATOR.md").read_text(encoding="utf-8")
NODES = [
    thing for name, thing in sorted(vars(sim).items())
    if isinstance(thing, type) and issubclass(thing, Node) and not inspect.isabstract(thing)
]  # fmt: skip


def rows() -> dict[str, tuple[str, str]]:
    """Name of a node -> what the table says in its first column, and in the others."""
    table = re.search(r"<!-- nodes -->(.*?)<!-- /nodes -->", TEXT, re.DOTALL)
    assert table
    found = {}
    for line in table[1].strip().splitlines()[2:]:
        first, rest = line.removeprefix("| ").split(" | ", 1)
        found[first.strip("`").split("(")[0]] = (first, rest)
    return found


def test_the_table_has_every_node_and_no_other() -> None:
    assert sorted(rows()) == sorted(node.__name__ for node in NODES)
    assert len(NODES) > 15


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_a_row_has_the_signature_and_every_parameter(node: type[Node]) -> None:
    first, rest = rows()[node.__name__]
    signature = inspect.signature(node)
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    bare = signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
    assert first == f"`{node.__name__}{bare}`"
    for name in signature.parameters:
        assert re.search(rf"`{name}\b|all:", rest), f"{node.__name__}: no word on {name}"


def namespace() -> dict[str, Any]:
    """What the page's pieces of code take for granted."""
    pair = Pair()
    hosts = [(pair.host_a, 0.01)]
    server, client, network = pair.host_b, pair.host_a, pair.network
    return {
        **vars(sim), "trace": trace, "network": network, "client": client, "server": server, "hosts": hosts,
        "on_client_event": lambda *_: None, "on_server_event": lambda *_: None, "bottleneck": sim.Rate(1_000),
    }  # fmt: skip


@pytest.mark.parametrize("index", range(len(re.findall(r"```python\n", TEXT))))
def test_the_code_runs(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What the piece that reads a trace reads.
    trace.Writer((tmp_path / "run.sqlog").write_text, title="of before")
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[index]
    found = namespace()
    exec(compile(code, f"piece {index} of SIMULATOR.md", "exec"), found)
    if "EveryTenth" in found:
        assert numbers(attached(found["EveryTenth"]()).process(packets(21))) == [n for n in range(21) if n % 10 != 9]


def test_the_events_and_their_data_are_those_of_a_trace() -> None:
    table = TEXT.split("| event | when | data |")[1].split("\n\n")[0]
    for name in ("PACKET_SENT", "PACKET_RECEIVED", "PACKET_DROPPED", "METRICS_UPDATED", "QUEUE_UPDATED"):
        assert f"`{getattr(trace, name)}`" in table
    for field in re.findall(r"`(\w+)`", table.split("recovery_metrics_updated")[1].split("\n")[0]):
        known = {"rtt_variance": "rttvar", "interval": "state"}.get(field, field)
        assert known in stats.Stats.__dataclass_fields__, field


def test_members_that_the_reference_names_are_there() -> None:
    reference = (Path(__file__).resolve().parent.parent / "docs" / "API.md").read_text(encoding="utf-8")
    section = reference.split("## Simulation\n")[1].split("\n## ")[0]
    things = {"Network": Network(), "Machine": Network().add_machine("one")}
    for table in section.split("| member of `rudp.sim.")[1:]:
        thing = things.pop(table.split("`")[0])
        first = "\n".join(line.split(" | ")[0] for line in table.splitlines() if line[:3] == "| `")
        for name in re.findall(r"`(?:await )?(\w+)[(`]", first):
            assert hasattr(thing, name), name
    assert not things
    for name in re.findall(r"`rudp\.sim\.(\w+)", section):
        assert hasattr(sim, name), name
    for name in re.findall(r"`rudp\.trace\.(\w+)", section):
        assert hasattr(trace, name), name
