"""One worker against two (or more) on one port: openings a second and the sum of goodput, over loopback.

Invariant of the comparison: the same load on every server, from client processes of their own, all servers taking turns
in one run. Figures are of the whole: a client opens and closes connections as fast as they are answered, or sends and
waits until the server says how many bytes it got.

    python -m bench.workers                             the table
    python -m bench.workers --workers 1,2,4 --clients 2 --rounds 5 --seconds 2 --size 100 --json FILE

Clients share the machine with the servers, so what a server could do with its cores to itself is reckoned from its CPU
time: cores / CPU seconds for each opening, or for each byte. `busy` is CPU seconds per second of wall clock, of which
one process has 1 at most and all together the number of cores. The table says by these what limits: the server when
each worker is busy all the time, the machine when no core is idle (others may use it, too), else waiting: for delayed
acknowledgements, timers, the next turn.

"2, handed on" has no steering by the kernel: what a worker gets for another one it hands on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final, NamedTuple

import rudp
from rudp.cli.common import counted

from .arguments import amount, target, whole
from .machine import machine

HOST: Final = "127.0.0.1"
# All clients come from one host.
CONFIG: Final = rudp.Config(protection="none", max_opens_per_host=None)
MEGABYTE: Final = 1_000_000
CHUNK: Final = bytes(1 << 18)
# Openings of one client process at a time, and its bulk connections.
OPENING: Final = 64
BULK: Final = 2
# A share of a core, or of all cores, that counts as all of it.
FULL: Final = 0.9


class Load(NamedTuple):
    """What the clients did: openings or bytes, seconds of wall clock, CPU seconds of all of them."""

    done: int
    seconds: float
    cpu: float


class Sample(NamedTuple):
    """One round on one server: the load, and CPU seconds of each worker."""

    load: Load
    cpu: tuple[float, ...]
    handed_on: int
    machine: float  # CPU seconds of the whole machine, whoever took them


async def handle(connection: rudp.Connection) -> None:
    """Count what comes on each stream, and say so at its end."""
    async for stream in connection.streams():
        size = 0
        while data := await stream.receive(1 << 18):
            size += len(data)
        await stream.send(size.to_bytes(8, "big"))
        await stream.send_eof()


# -- a client's process --------------------------------------------------------------------------------------------


async def _openings(port: int, seconds: float) -> int:
    """Open and close connections for a while; how many."""
    end = time.perf_counter() + seconds

    async def one_after_the_other(endpoint: rudp.Endpoint) -> int:
        count = 0
        while time.perf_counter() < end:
            connection = await endpoint.connect(HOST, port)
            await connection.close()
            count += 1
        return count

    async with await rudp.Endpoint.bind(HOST, 0, config=CONFIG) as endpoint:
        return sum(await asyncio.gather(*(one_after_the_other(endpoint) for _ in range(OPENING))))


async def _bulk(port: int, size: int) -> int:
    """Send `size` bytes over some connections, each from a socket of its own; how many the server got."""

    async def one() -> int:
        async with rudp.connect(HOST, port, config=CONFIG) as connection:
            stream = await connection.open_stream()
            left = size // BULK
            while left:
                await stream.send(CHUNK[:left])
                left -= min(left, len(CHUNK))
            await stream.send_eof()
            return int.from_bytes(await stream.receive_exactly(8), "big")

    return sum(await asyncio.gather(*(one() for _ in range(BULK))))


def client(pipe: Pipe) -> None:
    """Do what comes through the pipe until it ends."""
    while (task := pipe.recv()) is not None:
        work, port, amount = task
        started, cpu = time.perf_counter(), time.process_time()
        done = asyncio.run(_openings(port, amount) if work == "openings" else _bulk(port, amount))
        pipe.send(Load(done, time.perf_counter() - started, time.process_time() - cpu))


class Clients:
    """Client processes that do the same at the same time."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = []
        self._pipes: list[Pipe] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=client, args=(theirs,))
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    async def work(self, kind: str, port: int, amount: float) -> Load:
        """Have all do it; what they did together."""
        for pipe in self._pipes:
            pipe.send((kind, port, amount))
        loads = [await asyncio.to_thread(pipe.recv) for pipe in self._pipes]
        return Load(
            sum(load.done for load in loads), max(load.seconds for load in loads), sum(load.cpu for load in loads)
        )

    def end(self) -> None:
        """End them."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join()


def machine_cpu() -> float | None:
    """CPU seconds that this machine has given to anybody so far, what its host kept included; None where unknown."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return None
    # proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
    ticks = [int(word) for word in line.split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


# -- the servers ---------------------------------------------------------------------------------------------------


async def _sample(server: rudp.WorkerServer, clients: Clients, kind: str, amount: float) -> Sample:
    before = await server.stats()
    cpu_before = machine_cpu()
    load = await clients.work(kind, server.local_address[1], amount)
    cpu_after = machine_cpu()
    after = await server.stats()
    if before.silent or after.silent:
        raise RuntimeError(f"workers {before.silent or after.silent} did not answer: raise the time, or lower the load")
    cpu = tuple(b.cpu_seconds - a.cpu_seconds for a, b in zip(before.workers, after.workers, strict=True))
    handed_on = sum(b.handed_on - a.handed_on for a, b in zip(before.workers, after.workers, strict=True))
    machine = sum(cpu) + load.cpu if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    return Sample(load, cpu, handed_on, machine)


def summary(samples: Sequence[Sample], cores: int) -> dict[str, Any]:
    """The medians of some rounds, and what limited them."""

    def median(values: list[float]) -> float:
        return statistics.median(values)

    workers = len(samples[0].cpu)
    rate = median([sample.load.done / sample.load.seconds for sample in samples])
    cost = median([sum(sample.cpu) / sample.load.done for sample in samples])
    busy = median([sum(sample.cpu) / sample.load.seconds for sample in samples])
    clients = median([sample.load.cpu / sample.load.seconds for sample in samples])
    machine = median([sample.machine / sample.load.seconds for sample in samples])
    limit = "waiting"
    if busy >= FULL * workers:
        limit = "server"
    elif machine >= FULL * cores:
        limit = "machine"
    return {
        "rate": rate,
        "server_cpu_each": cost,
        "server_alone": min(workers, cores) / cost,
        "server_busy": busy,
        "clients_busy": clients,
        "others_busy": max(0.0, machine - busy - clients),
        "share_of_busiest_worker": median([max(sample.cpu) / sum(sample.cpu) for sample in samples]),
        "handed_on_each": median([sample.handed_on / sample.load.done for sample in samples]),
        "limit": limit,
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every server in turn, round by round."""
    counts = [int(word) for word in options.workers.split(",")]
    plans = {str(count): rudp.Workers(count) for count in counts}
    if max(counts) > 1:
        plans[f"{max(counts)}, handed on"] = rudp.Workers(max(counts), steering="forwarding")
    servers = {name: await rudp.serve(handle, HOST, 0, config=CONFIG, workers=plan) for name, plan in plans.items()}
    clients = Clients(options.clients)
    works = {"openings": options.seconds, "bulk": options.size * MEGABYTE}
    samples: dict[tuple[str, str], list[Sample]] = {(work, name): [] for work in works for name in servers}
    for round_ in range(options.rounds + 1):
        for work, much in works.items():
            for name, server in servers.items():
                sample = await _sample(server, clients, work, much)
                if round_:  # the first is to warm up
                    samples[work, name].append(sample)
    clients.end()
    for server in servers.values():
        await server.aclose()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    results = {work: {name: summary(samples[work, name], cores) for name in servers} for work in works}
    return {
        **machine(),
        "cores": cores,
        "clients": options.clients,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "megabytes": options.size,
        "results": results,
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    heads = {
        "openings": ("open and close", "a second", "us each", 1.0, 1e6),
        "bulk": (f"{report['clients']} clients x {BULK} connections, sent to the server", "MB/s", "s/GB", 1e-6, 1e9),
    }
    rounds = counted(report["rounds"], "round")
    lines = [f"{report['cores']} cores, {report['clients']} client processes, median of {rounds}"]
    for work, (title, unit, cost_unit, scale, cost_scale) in heads.items():
        lines += ["", title]
        lines.append(
            f"{'workers':>14} {unit:>10} {'server ' + cost_unit:>15} {'cores alone':>12} {'server busy':>12}"
            f" {'clients':>8} {'others':>7} {'handed on':>10}  limited by"
        )
        for name, row in report["results"][work].items():
            handed = row["handed_on_each"] if work == "openings" else row["handed_on_each"] * MEGABYTE
            lines.append(
                f"{name:>14} {row['rate'] * scale:>10,.0f} {row['server_cpu_each'] * cost_scale:>15,.2f}"
                f" {row['server_alone'] * scale:>12,.0f} {row['server_busy']:>12.2f} {row['clients_busy']:>8.2f}"
                f" {row['others_busy']:>7.2f} {handed:>10.2f}  {row['limit']}"
            )
    lines += ["", "cores alone: what as many cores as workers would do by the server's CPU time, clients elsewhere.",
              "handed on: messages between workers, for each opening, or each MB."]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="One worker against two on one port.")
    parser.add_argument("--workers", default="1,2", help="numbers of workers, separated by commas")
    parser.add_argument("--clients", type=whole(1, 1024), default=2, help="client processes")
    parser.add_argument("--rounds", type=whole(1), default=5)
    parser.add_argument("--seconds", type=amount(0.1, 3600), default=2.0, help="of openings, each round")
    parser.add_argument("--size", type=whole(1), default=200, help="MB a client sends, each round")
    parser.add_argument("--json", type=target, help="write all figures to this file")
    options = parser.parse_args()
    if not re.fullmatch(r"[1-9]\d{0,2}(,[1-9]\d{0,2})*", options.workers):
        parser.error("--workers takes whole numbers from 1 to 999, as in 1,2")
    report = asyncio.run(measure(options))
    print(table(report))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
