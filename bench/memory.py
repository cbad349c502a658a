"""What rudp holds in memory: behind a stopped reader, per idle connection, under junk.

Run: python -m bench.memory [--connections 1000] [--datagrams 1000000] [--json]

Sans-IO endpoints, so what is measured is the protocol's own state, without sockets and tasks. Three figures:

  stopped reader   a writer sends whenever `can_send` allows, its peer reads nothing for a minute of virtual time;
                   what both sides then hold, against the advertised window and the high-water mark
  idle             so many connections opened and then left alone; the bytes of each, client and server apart, by
                   tracemalloc (Python's own objects) and by the resident set (all of the process)
  junk             datagrams of random bytes and of almost valid packets at a server, from ever new addresses; the
                   memory after each tenth and the rate

The resident set is read from /proc/self/statm and left out where there is none.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from rudp import protection, wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.events import Connected, StreamWritable
from rudp.sim import Delay, Network
from rudp.train import Address

from .arguments import whole

CLIENT: Address = ("10.0.0.1", 40_001)
SERVER: Address = ("10.0.0.2", 10_000)
PIECE = bytearray(65_536)  # copied by send, as no shared bytes would be
PAGE = 4_096
IDLE_BYTES = 10_000
# Growth that says nothing: caches of bounded size fill up.
GRAIN = 65_536


def resident() -> int | None:
    """Bytes of this process in memory."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE
    except OSError:
        return None


def traced() -> int:
    """Bytes of Python's own objects since tracing began."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def stopped_reader() -> dict[str, Any]:
    """A writer that never stops, a reader that never reads."""
    network = Network(1, digest=False)
    config = Config()
    client = Endpoint(config, random=network.random("client"))
    server = Endpoint(config, random=network.random("server"), accept=True)
    written = 0

    def write(connection: Connection, event: object) -> None:
        nonlocal written
        if isinstance(event, Connected | StreamWritable):
            while connection.can_send(0):
                connection.send(0, PIECE)
                written += len(PIECE)

    client_host = network.add_host(CLIENT, client, on_event=write)
    server_host = network.add_host(SERVER, server, on_event=lambda _connection, _event: None)
    network.add_link(client_host, server_host, [Delay(0.01)])
    network.add_link(server_host, client_host, [Delay(0.01)])
    tracemalloc.start()
    before = traced()
    connection = client.connect(SERVER, network.now)
    client_host.service()
    network.run(until=10.0)
    after_ten = traced() - before
    network.run(until=60.0)
    after_sixty = traced() - before
    tracemalloc.stop()
    bound = config.initial_receive_window + config.send_buffer
    return {
        "advertised_window": config.initial_receive_window,
        "high_water_mark": config.send_buffer,
        "written": written,
        "state": connection.state.value,
        "received_unread": server.connections[0].stats(network.now).stream_bytes_received,
        "unacknowledged": connection.buffered(0),
        "memory_after_10_s": after_ten,
        "memory_after_60_s": after_sixty,
        # One write may overshoot the mark; an equal share again for the objects around the bytes would be too much.
        "bounded": written <= bound + len(PIECE) and after_sixty <= 1.25 * bound,
    }


class Crowd:
    """Connections between two endpoints joined without a network, so that only their own state is counted."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.client = Endpoint(Config(), random=Random(1))
        self.server = Endpoint(Config(max_opens_per_host=None), random=Random(2), accept=True)
        self.count = count

    def exchange(self) -> None:
        """Hand packets to and fro until neither has any."""
        moved = True
        while moved:
            moved = self._move(self.client, self.server, CLIENT) + self._move(self.server, self.client, SERVER) > 0

    def _move(self, source: Endpoint, destination: Endpoint, address: Address) -> int:
        trains = [(b"".join(train.buffers), train.segment_size) for train in source.datagrams_to_send(self.now)]
        self.now += 0.001
        for data, segment_size in trains:
            destination.receive(memoryview(data), segment_size, address, None, 0, self.now)
        return len(trains)

    def settle(self) -> None:
        """Let timers run until nobody has anything to say before the idle timeout."""
        for _ in range(10):
            self.now += 0.1
            for endpoint in (self.client, self.server):
                endpoint.handle_timeout(self.now)
            self.exchange()
        for endpoint in (self.client, self.server):
            while endpoint.next_event() is not None:
                pass

    def open(self) -> None:
        for _ in range(self.count):
            self.client.connect(SERVER, self.now)
            self.exchange()
        self.settle()


def held_by(endpoint: Endpoint) -> int:
    """Bytes of all objects that only this endpoint leads to: its connections, their parts, its tables."""
    seen: set[int] = set()
    total = 0
    heap: list[Any] = [endpoint]
    shared = (type, type(sys), type(held_by), type(Endpoint.receive), Config)
    while heap:
        item = heap.pop()
        if id(item) in seen or isinstance(item, shared):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        heap.extend(gc.get_referents(item))
    return total


def idle(count: int) -> dict[str, Any]:
    """So many connections, open and silent."""
    crowd = Crowd(1)
    crowd.open()  # what the first connection of a process brings along is not theirs
    gc.collect()
    resident_before = resident()
    untraced = Crowd(count)
    untraced.open()
    gc.collect()
    resident_after = resident()
    tracemalloc.start()
    before = traced()
    crowd = Crowd(count)
    crowd.open()
    both = traced() - before
    tracemalloc.stop()
    timeouts = [endpoint.next_timeout() for endpoint in (crowd.client, crowd.server)]
    client, server = held_by(crowd.client), held_by(crowd.server)
    assert len(crowd.client.connections) == len(crowd.server.connections) == count
    share = client / (client + server)
    return {
        "connections": count,
        "client_bytes": round(both * share / count),
        "server_bytes": round(both * (1 - share) / count),
        "resident_bytes_both": None
        if resident_before is None or resident_after is None
        else round((resident_after - resident_before) / count),
        "next_wake_up_in": round(min(t for t in timeouts if t is not None) - crowd.now, 1),
    }


def junk(random: Random) -> Iterator[bytes]:
    """Random bytes, bytes under every first byte we know, packets of unknown connections, cut and padded SYNs."""
    parameters = wire.Parameters(protection=protection.by_name(Config().protection).id)
    while True:
        size = random.choice((0, 1, 8, 12, 13, 25, 26, 60, 300, 1200, 1400))
        yield random.randbytes(size)
        yield bytes((random.randrange(0x50, 0x80),)) + random.randbytes(random.randrange(1, 1400))
        yield bytes((0x61,)) + random.randbytes(1199)
        syn = wire.encode_opening(wire.Syn(random.getrandbits(64), random.getrandbits(64), 0, parameters, b""))
        yield syn[: random.randrange(1, 1200)]
        broken = bytearray(syn)
        broken[random.randrange(len(broken))] ^= 1 + random.randrange(255)
        yield bytes(broken)
        # Now and then a real SYN: half-open connections and cookies are part of what must stay bounded.
        if random.random() < 0.02:
            yield syn


class Flood:
    """A server under junk. Answers are taken and dropped, timers run, as a driver would."""

    def __init__(self) -> None:
        self.server = Endpoint(Config(), random=Random(4), accept=True)
        self.pool = [datagram for datagram, _ in zip(junk(Random(3)), range(20_000), strict=False)]
        self.now = 0.0
        self.sent = self.sent_bytes = self.answers = self.answered_bytes = 0

    def run(self, count: int) -> None:
        """So many datagrams, ten thousand a second of virtual time, each from another address."""
        server, pool = self.server, self.pool
        for index in range(self.sent, self.sent + count):
            datagram = pool[index % len(pool)]
            remote = (f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}", 1024 + index % 60_000)
            self.sent_bytes += len(datagram)
            server.receive(memoryview(datagram), max(1, len(datagram)), remote, None, 0, self.now)
            self.now += 1e-4
            if index % 32 == 0:
                self.answer()
        self.sent += count

    def answer(self) -> None:
        server = self.server
        timeout = server.next_timeout()
        if timeout is not None and timeout <= self.now:
            server.handle_timeout(self.now)
        for train in server.datagrams_to_send(self.now):
            self.answers += 1
            self.answered_bytes += train.size
        while server.next_event() is not None:
            pass


def flood(count: int) -> dict[str, Any]:
    """Junk at a server: the rate and the resident set untraced, then Python's own bytes for a fifth of it, traced."""
    run = Flood()
    tenths = []
    started = time.process_time()
    for _ in range(10):
        run.run(count // 10)
        tenths.append(resident())
    seconds = time.process_time() - started
    figures = run.server.stats()
    tracemalloc.start()
    gc.collect()
    traced_run = Flood()
    before = traced()
    traced_tenths = []
    for _ in range(10):
        traced_run.run(count // 50)
        traced_tenths.append(traced() - before)
    tracemalloc.stop()
    # The first tenths fill the tables up to their bounds; from then on nothing may be added.
    second, last = tenths[1], tenths[-1]
    flat = max(traced_tenths[8:]) <= 1.1 * max(traced_tenths[3:6]) + GRAIN
    if second is not None and last is not None:
        flat = flat and last <= 1.05 * second
    return {
        "datagrams": run.sent,
        "per_second": round(run.sent / seconds),
        "bytes": run.sent_bytes,
        "answers": run.answers,
        "answered_bytes": run.answered_bytes,
        "half_open": figures.half_open,
        "connections": figures.connections,
        "resident_by_tenth": tenths,
        "traced_by_tenth": traced_tenths,
        "flat": flat,
    }


def show(figures: dict[str, Any]) -> None:
    """The figures as plain lines."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return " ".join(text(item) for item in value)
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

    for name, part in figures.items():
        print(name)
        for label, value in part.items():
            print(f"  {label.replace('_', ' '):24}{text(value)}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of the sans-IO core.")
    parser.add_argument("--connections", type=whole(1), default=1_000, help="idle connections (1000)")
    parser.add_argument("--datagrams", type=whole(1), default=1_000_000, help="junk datagrams (1000000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = {
        "stopped reader": stopped_reader(),
        "idle connections": idle(arguments.connections),
        "junk": flood(arguments.datagrams),
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        show(figures)
    good = figures["stopped reader"]["bounded"] and figures["junk"]["flat"]
    return 0 if good and figures["idle connections"]["server_bytes"] < IDLE_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
