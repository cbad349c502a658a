"""What one input costs the core: CPU microseconds a packet, a request and a handshake, and where they go.

    python -m bench.wakeups                 the five workloads, and their parts
    python -m bench.wakeups --json          the same for other programs
    python -m bench.wakeups --workload flow --rtt 200    the flow with another RTT, in milliseconds
    python -m bench.wakeups --workload flow --card 5     with network cards that gather packets for 5 ms, not 1
    python -m bench.wakeups --workload fixed --datagram 9000    with larger packets

Everything is in one process and in memory, so the kernel and asyncio have no share in it. Workloads:

    flow        one bulk flow of 10 Mbit/s in the simulator, RTT 50 ms, configured as by default, over links with the
                MTU of an Ethernet, which it finds: 1,472-byte packets, two at a time, paced
    fixed       the same without path MTU discovery: 1,200-byte packets, of which a receiver reads two at a time, too
    request     100 bytes there and 100 back, one at a time, without delay between two endpoints
    handshake   connections opened and closed one after another; the server's share is timed apart
    bulk        1,400-byte packets in trains, which is what must not become dearer when single packets become cheaper

The first figures come from runs without a profiler: CPU time of the best of `--repeats` runs, since what disturbs only
adds. The split comes from further runs, sampled by a timer of CPU time: each sample counts for the module of rudp that
was running, C functions for the module that called them. So the split has a sampling error, the totals have not.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple, TypeAlias

import rudp
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.events import Connected, PeerFinished, StreamReadable, StreamWritable
from rudp.train import Address

from .arguments import amount, whole
from .flows import CARD, Flow, run

__all__ = ["bulk", "handshakes", "paced_flow", "requests", "split"]

# 10 Mbit/s in bytes a second; the queue is one BDP.
RATE: Final = 1_250_000.0
RTT: Final = 0.05
DATAGRAM: Final = Config().max_datagram_size
# Bytes of an Ethernet's largest IP packet (RFC 894).
ETHERNET_MTU: Final = 1500
REQUEST: Final = bytes(100)
# What the bulk writer writes at a time.
PIECE: Final = bytes(1 << 18)
# Seconds that pass between two inputs of the workloads without a simulator: a loopback's round trip.
STEP: Final = 50e-6
# Seconds of CPU between two samples; kernels round it up to their tick.
SAMPLE: Final = 0.001

# Seconds of CPU that are sampled: a tick of 4 ms gives 1,000 samples, so a part of 10 % is known to 1 %.
SPLIT_SECONDS: Final = 4.0

CLIENT: Final[Address] = ("192.0.2.1", 40_000)
SERVER: Final[Address] = ("192.0.2.2", 7_000)

# Which part a module of rudp belongs to; the first that its path starts with.
PARTS: Final = {
    "sim/": "simulator",
    "congestion/": "congestion",
    "pacer": "congestion",
    "wire/": "codec",
    "protection": "codec",
    "packet_number": "codec",
    "cuts": "codec",
    "runs": "codec",
    "endpoint": "endpoint",
    "connection": "connection",
    "deadlines": "connection",
    "liveness": "connection",
    "inbound": "inbound",
    "received_packets": "inbound",
    "path": "inbound",
    "path_mtu": "inbound",
    "outbound": "outbound",
    "packetizer": "outbound",
    "control": "outbound",
    "streams": "buffers",
    "stream": "buffers",
    "turns": "buffers",
    "send_buffer": "buffers",
    "receive_buffer": "buffers",
    "flow_control": "buffers",
    "ranges": "buffers",
    "recovery": "recovery",
    "unresolved": "recovery",
    "sent_packets": "recovery",
    "loss_detection": "recovery",
    "loss_episode": "recovery",
    "persistent_congestion": "recovery",
    "probe_timeout": "recovery",
    "delivery_rate": "recovery",
    "rtt": "recovery",
    "ecn": "recovery",
    "opening": "opening and closing",
    "handshake": "opening and closing",
    "admission": "opening and closing",
    "lifecycle": "opening and closing",
    "closing": "opening and closing",
    "lingering": "opening and closing",
    "state": "opening and closing",
}
OnEvent: TypeAlias = Callable[[Connection, object], None]
DRIVER: Final = "driver (of this benchmark)"
_RUDP: Final = f"{Path(rudp.__file__).parent}/"
_HERE: Final = f"{Path(__file__).parent}/"


class Cost(NamedTuple):
    """CPU seconds of so many units of work; `server` is the server's share where it was timed apart, `simulated` are
    the seconds that passed on a virtual clock."""

    seconds: float
    units: int
    server: float = 0.0
    simulated: float = 0.0

    @property
    def each(self) -> float:
        """Microseconds a unit."""
        return self.seconds / self.units * 1e6


class _Side:
    """One endpoint, and what a driver does after each input; `answer` is told its events."""

    def __init__(
        self, address: Address, seed: int, answer: OnEvent, *, accept: bool, config: Config | None = None
    ) -> None:
        self.address = address
        self.endpoint = Endpoint(config, random=random.Random(seed), accept=accept)
        self.answer = answer
        self.arrived: list[tuple[bytes, int]] = []
        self.timed = False
        self.seconds = 0.0

    def turn(self, peer: _Side, now: float) -> bool:
        """Take what arrived, let the application answer, send; whether there was anything to do."""
        endpoint, arrived = self.endpoint, self.arrived
        if not (arrived or endpoint.has_work):
            return False
        started = time.process_time() if self.timed else 0.0
        self.arrived = []
        for data, segment_size in arrived:
            endpoint.receive(memoryview(data), segment_size, peer.address, None, 0, now)
        while True:
            while (item := endpoint.next_event()) is not None:
                self.answer(*item)
            for train in endpoint.datagrams_to_send(now):
                peer.arrived.append((b"".join(train.buffers), train.segment_size))
            due = endpoint.next_timeout()
            if due is None or due > now:
                break
            endpoint.handle_timeout(now)
        if self.timed:
            self.seconds += time.process_time() - started
        return True


def _talk(client: _Side, server: _Side, now: float) -> float:
    """Go on until neither side has anything to say; the time then."""
    busy = True
    while busy:
        now += STEP
        busy = client.turn(server, now)
        busy = server.turn(client, now) or busy
    return now


def _talk_until(done: Callable[[], bool], client: _Side, server: _Side) -> None:
    """The same until `done`, timers included."""
    now = _talk(client, server, 1.0)
    while not done():
        now = max(now, min(side.endpoint.next_timeout() or now for side in (client, server)))
        for side in (client, server):
            side.endpoint.handle_timeout(now)
        now = _talk(client, server, now)


def paced_flow(seconds: float = 8.0, rtt: float = RTT, card: float = CARD, datagram: int | None = None) -> Cost:
    """Packets of a bulk flow of 10 Mbit/s, both ends and the simulator together, without readings of queue and window
    on the way. `card`: seconds for which network cards gather packets; `datagram`: bytes of a full one, None: what path
    MTU discovery finds."""
    outcome = run(
        [Flow(rtt=rtt)],
        rate=RATE,
        queue_bytes=int(RATE * rtt),
        seconds=seconds,
        seed=1,
        config=Config(max_datagram_size=datagram or DATAGRAM),
        sample=seconds,
        card=card,
        mtu=ETHERNET_MTU if datagram is None else None,
    )
    return Cost(outcome.cpu_seconds, outcome.bottleneck.received, simulated=outcome.seconds)


def requests(count: int = 3_000) -> Cost:
    """Round trips of REQUEST bytes, both ends together."""
    left = count

    def on_client(connection: Connection, event: object) -> None:
        nonlocal left
        if isinstance(event, StreamReadable):
            while connection.receive(0):
                pass
            left -= 1
        if isinstance(event, (Connected, StreamReadable)) and left:
            connection.send(0, REQUEST)

    def on_server(connection: Connection, event: object) -> None:
        if isinstance(event, StreamReadable):
            while data := connection.receive(0):
                connection.send(0, data)

    client, server = _Side(CLIENT, 1, on_client, accept=False), _Side(SERVER, 2, on_server, accept=True)
    started = time.process_time()
    client.endpoint.connect(SERVER, 1.0)
    _talk_until(lambda: not left, client, server)
    return Cost(time.process_time() - started, count)


def handshakes(count: int = 500) -> Cost:
    """Connections opened and closed in order, one at a time; `server` are the server's seconds."""

    def on_client(connection: Connection, event: object) -> None:
        if isinstance(event, Connected):
            connection.close()

    def on_server(connection: Connection, event: object) -> None:
        if isinstance(event, PeerFinished):
            connection.close()

    client, server = _Side(CLIENT, 1, on_client, accept=False), _Side(SERVER, 2, on_server, accept=True)
    server.timed = True
    now = 1.0
    started = time.process_time()
    for _ in range(count):
        client.endpoint.connect(SERVER, now)
        now = _talk(client, server, now)
    seconds = time.process_time() - started
    assert not client.endpoint.connections, "a connection was left open"
    assert not server.endpoint.connections, "a connection was left open"
    return Cost(seconds, count, server.seconds)


def bulk(size: int = 40_000_000) -> Cost:
    """Full packets of one stream without protection, a train at a time, both ends together."""
    config = Config(protection="none", max_datagram_size=1_400, path_mtu_discovery=False)
    left = size
    unread = size

    def on_client(connection: Connection, event: object) -> None:
        nonlocal left
        if isinstance(event, (Connected, StreamWritable)):
            while left > 0 and connection.can_send(0):
                connection.send(0, PIECE)
                left -= len(PIECE)

    def on_server(connection: Connection, event: object) -> None:
        nonlocal unread
        if isinstance(event, StreamReadable):
            while data := connection.receive(0, 1 << 20):
                unread -= len(data)

    client = _Side(CLIENT, 1, on_client, accept=False, config=config)
    server = _Side(SERVER, 2, on_server, accept=True, config=config)
    started = time.process_time()
    client.endpoint.connect(SERVER, 1.0)
    _talk_until(lambda: unread <= 0, client, server)
    seconds = time.process_time() - started
    return Cost(seconds, server.endpoint.stats().datagrams_received)


WORKLOADS: Final[dict[str, Callable[[], Cost]]] = {
    "flow": paced_flow,
    "fixed": partial(paced_flow, datagram=DATAGRAM),
    "request": requests,
    "handshake": handshakes,
    "bulk": bulk,
}


def split(workload: Callable[[], Cost], seconds: float = SPLIT_SECONDS) -> dict[str, float]:
    """Share of each part in a workload's CPU time, the largest first, by samples of so many seconds at least."""
    hits: Counter[str] = Counter()

    def sample(_signal: int, frame: FrameType | None) -> None:
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(_RUDP):
                hits[_part(file[len(_RUDP) :])] += 1
                return
            if file.startswith(_HERE):
                hits[DRIVER] += 1
                return
            frame = frame.f_back

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, SAMPLE, SAMPLE)
    until = time.process_time() + seconds
    try:
        while time.process_time() < until:
            workload()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
    total = hits.total()
    return {part: number / total for part, number in hits.most_common()}


def _part(module: str) -> str:
    name = module.removesuffix(".py")
    for prefix, part in PARTS.items():
        if name == prefix or (prefix.endswith("/") and name.startswith(prefix)):
            return part
    return "others"


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of the core per packet, request and handshake.")
    parser.add_argument("--repeats", type=whole(1), default=3, help="runs of each workload, of which the best counts")
    parser.add_argument("--workload", choices=[*WORKLOADS], help="only this one")
    parser.add_argument("--rtt", type=amount(0.1, 1e4), default=RTT * 1e3, help="ms, of the paced flows (default: 50)")
    parser.add_argument("--card", type=amount(0, 1e3), default=CARD * 1e3, help="ms, of the paced flows (default: 1)")
    size = whole(1_200, 65_507)
    parser.add_argument("--datagram", type=size, default=DATAGRAM, help=f"bytes, of `fixed` (default: {DATAGRAM})")
    parser.add_argument("--no-split", action="store_true", help="totals only")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    found: dict[str, dict[str, object]] = {}
    flow = partial(paced_flow, rtt=arguments.rtt / 1e3, card=arguments.card / 1e3)
    fixed = partial(flow, datagram=arguments.datagram)
    workloads: dict[str, Callable[[], Cost]] = {**WORKLOADS, "flow": flow, "fixed": fixed}
    for name, workload in workloads.items():
        if arguments.workload not in (None, name):
            continue
        best = min((workload() for _ in range(arguments.repeats)), key=lambda cost: cost.each)
        server = best.server / best.units * 1e6
        parts = {} if arguments.no_split else split(workload)
        speed = best.simulated / best.seconds
        found[name] = {"us_each": best.each, "us_server": server, "times_real_time": speed, "parts": parts}
        if arguments.json:
            continue
        note = f", the server's {server:.1f} us" if server else f", {speed:.0f} times real time" if speed else ""
        print(f"{name}: {best.each:.1f} us each{note}")
        for part, share in parts.items():
            print(f"    {part:28}{share * best.each:8.2f} us{share:8.1%}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
