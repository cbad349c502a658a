"""The benchmark of workers: what its clients do is counted right, and its table says what limited."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from bench import workers
from bench.workers import BULK, Load, Sample, summary, table


def test_the_clients_do_what_they_say() -> None:
    async def main() -> None:
        async with await rudp.serve(workers.handle, "127.0.0.1", 0, config=workers.CONFIG) as server:
            port = server.local_address[1]
            assert await workers._bulk(port, 1_000_000 * BULK) == 1_000_000 * BULK
            before = server.stats().datagrams_received
            assert await workers._openings(port, 0.0) == 0
            opened = await workers._openings(port, 0.01)
            # SYN, the first DATA with FIN, and the last ACK or more.
            assert server.stats().datagrams_received - before >= 2 * opened >= 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("server", "machine", "limit"), [(0.95, 2.0, "server"), (0.6, 1.9, "machine"), (0.2, 0.5, "waiting")]
)
def test_the_limit_is_named(server: float, machine: float, limit: str) -> None:
    found = summary([Sample(Load(1000, 2.0, 0.5), (server * 2,), 10, machine * 2)] * 3, cores=2)
    assert found["limit"] == limit
    assert found["rate"] == 500
    assert found["server_cpu_each"] == pytest.approx(server / 500)
    assert found["server_alone"] == pytest.approx(500 / server)
    busy = found["server_busy"] + found["clients_busy"] + found["others_busy"]
    assert busy == pytest.approx(max(machine, server + 0.25))


def test_more_workers_than_cores_promise_no_more_than_there_are() -> None:
    sample = Sample(Load(1000, 1.0, 0.5), (0.25, 0.25, 0.25, 0.25), 0, 1.5)
    assert summary([sample], cores=2)["server_alone"] == 2000


def test_the_table_has_every_server() -> None:
    row = summary([Sample(Load(1000, 1.0, 0.5), (0.5, 0.5), 10, 2.0)], cores=2)
    results = {work: {"1": row, "2, handed on": row} for work in ("openings", "bulk")}
    text = table({"cores": 2, "clients": 2, "rounds": 1, "results": results})
    assert text.count("2, handed on") == 2
    assert "machine" in text


def test_the_machine_s_time_goes_on() -> None:
    before = workers.machine_cpu()
    if before is None:
        pytest.skip("no /proc/stat here")
    sum(range(3_000_000))
    after = workers.machine_cpu()
    assert after is not None
    assert after >= before
