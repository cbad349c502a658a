"""What attacks cost: memory and CPU beside honest load, and what honest connections keep of a core meanwhile.

Run: python -m bench.attacks [--datagrams 1500] [--rounds 3] [--only TEXT] [--json FILE] [--write] [--check]

All in memory, the core alone: datagrams are handed to an endpoint as a driver hands them, and after each it does what a
driver does then. Attack and honest load take turns, and of each the least of all rounds counts (process CPU time; other
programs only add to it). Figures:

  CPU      microseconds a datagram that is received alone, answers included, and the same beside that of an honest full
           packet of stream data, or, for attacks by ACKs, of an honest ACK, which lets the victim send as much
  memory   what the victim holds after so many datagrams (tracemalloc), beside what equal honest load makes it hold:
           for attacks on a connection one whose peer has filled its credit while nobody reads, for attacks on the
           endpoint as many clients just connecting as may be half open
  kept     of an honest bulk flow's speed under 20,000 attack datagrams a second, which come in wake-ups of 16 buffers
           as the asyncio driver takes them: for a flow that takes all of a core, and for one of 1 Gbit/s. Of a burst
           that can't go on so many come as can

--write puts the table into docs/SECURITY.md, from what --json wrote last (bench/results/attacks.json).
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rudp.config import Config
from rudp.train import Address

from .arguments import target, whole
from .attack_list import ATTACKS, FULL, RATE, Attack, Datagram, honest_data
from .hostile import GENEROUS, PEER, Peer, forged_syn, spoofed

RESULTS: Final = Path(__file__).parent / "results" / "attacks.json"
PAGE: Final = Path(__file__).parent.parent / "docs" / "SECURITY.md"
BEGIN, END = "<!-- attacks -->\n", "<!-- /attacks -->\n"
BATCH: Final = 16  # buffers a wake-up: aio.driver.BUFFERS_PER_WAKEUP
MERGED: Final = 64  # datagrams of one size and sender that the socket puts into a buffer
GIGABIT: Final = 125e6
CPU_GOAL, MEMORY_GOAL, KEPT_GOAL = 3.0, 2.0, 0.5
# Bytes and seconds around what is measured that are nobody's.
GRAIN: Final = 8192


def _clock_cost() -> float:
    """Seconds that two looks at the clock take."""
    clock = time.process_time
    found = []
    for _ in range(1000):
        start = clock()
        found.append(clock() - start)
    return min(found)


def singly(peer: Peer, datagrams: Iterator[Datagram], number: int) -> float:
    """Seconds of CPU for a datagram, each received alone."""
    clock, spent = time.process_time, 0.0
    for data, remote in islice(datagrams, number):
        start = clock()
        peer.arrive(data, remote)
        peer.answers()
        spent += clock() - start
        peer.now += 1 / RATE
    return spent / number


def _buffers(batch: Sequence[Datagram]) -> list[tuple[bytes, Address, int]]:
    """Datagrams as a socket hands them: those of one sender and size in one buffer."""
    found: list[tuple[list[bytes], Address]] = []
    for data, remote in batch:
        if found and found[-1][1] == remote and len(found[-1][0]) < MERGED and len(found[-1][0][0]) == len(data) > 0:
            found[-1][0].append(data)
        else:
            found.append(([data], remote))
    return [(b"".join(parts), remote, len(parts[0])) for parts, remote in found]


def in_wakeups(peer: Peer, datagrams: Iterator[Datagram], number: int) -> float:
    """Seconds of CPU for a datagram of a flood."""
    clock, spent, done = time.process_time, 0.0, 0
    while done < number:
        batch = list(islice(datagrams, BATCH))
        done += len(batch)
        buffers = _buffers(batch)
        start = clock()
        for data, remote, size in buffers:
            peer.arrive(data, remote, size)
        peer.answers()
        spent += clock() - start
        peer.now += len(batch) / RATE
    return spent / done


def bulk(trains: int) -> float:
    """Seconds of CPU that a receiver takes for a byte of a bulk flow in trains, its acknowledgements included."""
    peer = Peer(read=True)
    clock, spent, offset = time.process_time, 0.0, 0
    for _ in range(trains):
        parts = [peer.data(0, offset + FULL * number, bytes(FULL)) for number in range(46)]
        offset += 46 * FULL
        data = b"".join(parts)
        start = clock()
        peer.arrive(data, PEER, len(parts[0]))
        peer.answers()
        spent += clock() - start
        peer.now += 46 * FULL / GIGABIT
    return spent / offset


def held(peer: Peer, datagrams: Iterator[Datagram], number: int) -> int:
    """Bytes that the victim holds more after so many datagrams."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for data, remote in islice(datagrams, number):
        peer.arrive(data, remote)
        peer.answers()
        peer.now += 1 / RATE
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


def _credit_filled(peer: Peer) -> Iterator[Datagram]:
    """Two streams of data up to the connection's credit."""
    window, each = peer.server._streams.receive_window.window, Config().initial_receive_window
    for number in range(window // FULL):
        at = number * FULL
        stream_id, offset = (0, at) if at + FULL <= each else (4, at - each // FULL * FULL)
        yield peer.data(stream_id, offset, bytes(FULL)), PEER


def _clients(peer: Peer) -> Iterator[Datagram]:
    """As many clients as may be half open, all of them honest."""
    for number in range(peer.endpoint.config.max_half_open):
        yield forged_syn(number, 0, GENEROUS), spoofed(number)


def honest_memory() -> dict[str, int]:
    """What equal honest load makes a victim hold, by kind."""
    tracemalloc.start()
    filled = Peer()
    connection = held(filled, _credit_filled(filled), 10_000)
    server = Peer()
    endpoint = held(server, _clients(server), 10_000)
    tracemalloc.stop()
    return {"connection": connection, "endpoint": endpoint}


def attack_memory(attack: Attack, number: int) -> int:
    """What the attack makes its victim hold; nobody reads."""
    tracemalloc.start()
    peer = attack.prepare()
    peer.read = False
    bytes_held = held(peer, attack.datagrams(peer), number)
    tracemalloc.stop()
    return max(0, bytes_held)


def measure(number: int, rounds: int, chosen: Sequence[Attack] = ATTACKS) -> dict[str, Any]:
    """All figures, one row an attack."""
    lost = _clock_cost()
    honest_cpu = honest_flood = bulk_byte = float("inf")
    cpu = {attack.name: float("inf") for attack in chosen}
    flood, like = dict(cpu), dict(cpu)
    for _ in range(rounds):
        for attack in chosen:
            peer = Peer(read=True)
            honest_cpu = min(honest_cpu, singly(peer, honest_data(peer), max(1, number // 4)) - lost)
            many = max(number, min(attack.least, number * 20))
            # What is compared with its like has as many of that; the others are a second of the flood.
            alone = many if attack.like is None else number
            peer = attack.prepare()
            cpu[attack.name] = min(cpu[attack.name], singly(peer, attack.datagrams(peer), alone) - lost)
            if attack.like is not None:
                peer = attack.prepare()
                like[attack.name] = min(like[attack.name], singly(peer, attack.like(peer), number // 4) - lost)
            peer = attack.prepare()
            flood[attack.name] = min(flood[attack.name], in_wakeups(peer, attack.datagrams(peer), many))
        peer = Peer(read=True)
        honest_flood = min(honest_flood, in_wakeups(peer, honest_data(peer), number))
        bulk_byte = min(bulk_byte, bulk(max(1, number // 20)))
    memory = honest_memory()
    rows = []
    for attack in chosen:
        bytes_held = attack_memory(attack, number)
        equal = honest_cpu if attack.like is None else like[attack.name]
        left = max(0.0, 1 - attack.a_second * flood[attack.name])
        rows.append(
            {
                "attack": attack.name,
                "by": attack.by,
                "per": attack.per,
                "cpu_us": round(cpu[attack.name] * 1e6, 1),
                "cpu_factor": round(cpu[attack.name] / equal, 2),
                "honest_us": round(equal * 1e6, 1),
                "memory": bytes_held,
                "memory_factor": round(max(0, bytes_held - GRAIN) / memory[attack.per], 2),
                "flood_us": round(flood[attack.name] * 1e6, 1),
                "kept_core": round(left, 2),
                "kept_gigabit": round(min(1.0, left / (GIGABIT * bulk_byte)), 2),
            }
        )
    return {
        "datagrams": number,
        "rounds": rounds,
        "honest_us": round(honest_cpu * 1e6, 1),
        "honest_flood_us": round(honest_flood * 1e6, 1),
        "bulk_ns_a_byte": round(bulk_byte * 1e9, 2),
        "honest_memory": memory,
        "rows": rows,
    }


def missed(figures: dict[str, Any]) -> list[str]:
    """Bounds that do not hold."""
    found = []
    for row in figures["rows"]:
        for name, bad in (
            ("cpu_factor", row["cpu_factor"] > CPU_GOAL),
            ("memory_factor", row["memory_factor"] > MEMORY_GOAL),
            ("kept_core", row["kept_core"] < KEPT_GOAL),
        ):
            if bad:
                found.append(f"{row['attack']}: {name} {row[name]}")
    return found


def table(figures: dict[str, Any]) -> str:
    """The table of docs/SECURITY.md."""
    rows = {row["attack"]: row for row in figures["rows"]}
    lines = [
        "| attack | by | defence | test | memory | CPU | kept: a core, 1 Gbit/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for attack in ATTACKS:
        row = rows.get(attack.name)
        tests = ", ".join(f"`{name}`" for name in attack.tests)
        measured = "| | | |"
        if row is not None:
            kept = f"{row['kept_core']:.0%}, {row['kept_gigabit']:.0%}"
            measured = f"| {row['memory_factor']:.2f} | {row['cpu_factor']:.2f} | {kept} |"
        lines.append(f"| {attack.name} | {attack.by} | {attack.defence} | {tests} {measured}")
    return "\n".join(lines) + "\n"


def summary(figures: dict[str, Any]) -> str:
    """What stands above the table."""
    memory = figures["honest_memory"]
    return (
        f"Measured by `python -m bench.attacks --json bench/results/attacks.json`: {figures['datagrams']:,} datagrams "
        f"of each, {RATE:,} where the first cost more than all further ones, the least of {figures['rounds']} rounds. "
        f"An honest full packet received alone takes "
        f"{figures['honest_us']} µs in the core, in a flood of them {figures['honest_flood_us']} µs, a byte in a train "
        f"{figures['bulk_ns_a_byte']} ns. Equal honest load holds {memory['connection']:,} bytes (a connection) and "
        f"{memory['endpoint']:,} (an endpoint).\n"
    )


def written(page: str, figures: dict[str, Any]) -> str:
    """The page with the table in its place."""
    start, stop = page.index(BEGIN) + len(BEGIN), page.index(END)
    return page[:start] + summary(figures) + "\n" + table(figures) + page[stop:]


def main() -> int:
    parser = argparse.ArgumentParser(description="What attacks cost beside honest load.")
    parser.add_argument("--datagrams", type=whole(1), default=1_500, help="of each attack and round (1500)")
    parser.add_argument("--rounds", type=whole(1), default=3, help="the least of so many counts (3)")
    parser.add_argument("--json", type=target, help="write all figures to this file")
    parser.add_argument("--write", action="store_true", help="only put the kept results into docs/SECURITY.md")
    parser.add_argument("--only", default="", help="attacks whose name contains this")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound does not hold")
    arguments = parser.parse_args()
    if arguments.write:
        figures = json.loads(RESULTS.read_text(encoding="utf-8"))
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
        return 0
    chosen = [attack for attack in ATTACKS if arguments.only in attack.name]
    if not chosen:
        parser.error(f"no attack's name contains {arguments.only!r}")
    figures = measure(arguments.datagrams, arguments.rounds, chosen)
    print(summary(figures))
    print(f"{'attack':46}{'us':>8}{'CPU':>7}{'memory':>8}{'flood us':>10}{'core':>7}{'1 Gbit/s':>10}")
    for row in figures["rows"]:
        print(
            f"{row['attack']:46}{row['cpu_us']:8}{row['cpu_factor']:7}{row['memory_factor']:8}{row['flood_us']:10}"
            f"{row['kept_core']:7}{row['kept_gigabit']:10}"
        )
    for line in missed(figures):
        print("missed:", line)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if arguments.check and missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
