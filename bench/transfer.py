"""Bulk over loopback, two processes: rudp beside asyncio TCP and bare UDP, alternating in one run.

Invariant of the comparison: equal work. Every contender moves the same bytes from one process to another over
127.0.0.1, and the receiver compares every byte with what must come. Datagrams are of the same size but for TCP, which
has loopback's 64 KB MTU, and for "rudp-pmtud", which is rudp-none as it comes, with path MTU discovery: "tcp" reads
through asyncio's streams, as rudp's own API is used, "tcp-buffered" through a BufferedProtocol, the fastest way asyncio
has. Bare UDP sends one datagram a call with a window that the receiver opens, and neither orders nor repeats anything:
it is what the system calls alone cost. "rudp-portable" is rudp-none with one datagram a call each way, as on systems
without segmentation offload: to be compared with bare UDP.

    python -m bench.transfer --only udp,rudp-portable,rudp-none

    python -m bench.transfer                        the table
    python -m bench.transfer --json                 the same as JSON
    python -m bench.transfer --smoke                a few megabytes of each, for .ci/run: is it whole, is it not absurd
    python -m bench.transfer --size 512 --rounds 5 --datagram 1400 --only rudp-none,tcp

goodput is payload bytes by the receiver's wall clock from the first byte to the last; CPU seconds per GB are each
process's own user and system time over the same span, of set-up and interpreter nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from random import SystemRandom
from typing import Any, Final, NamedTuple

import rudp
from rudp.udp import UdpSocket

from .arguments import whole
from .load import Meter, Span, block, chunks
from .machine import machine

MEGABYTE: Final = 1_000_000
HOST: Final = "127.0.0.1"


class Sample(NamedTuple):
    """One transfer: bytes, the receiver's seconds, CPU seconds of either side."""

    size: int
    seconds: float
    cpu_sender: float
    cpu_receiver: float
    detail: dict[str, Any]


class _Portable:
    """The machine without segmentation offload: what a loop's `rudp_system` may be."""

    def open_socket(self, local_addr: Sequence[object], *, family: int = 0, buffer_size: int) -> UdpSocket:
        """As `UdpSocket.open`."""
        return UdpSocket.open(local_addr, family=family, buffer_size=buffer_size, offload=False)

    def wrap_socket(self, sock: Any, *, buffer_size: int) -> UdpSocket:
        """As `UdpSocket.wrap`."""
        return UdpSocket.wrap(sock, buffer_size=buffer_size, offload=False)

    def random(self) -> SystemRandom:
        """The system's chance."""
        return SystemRandom()

    def started(self, sock: Any, core: Any) -> None:
        """Nothing is to be noted."""


def _use_portable(portable: bool) -> None:
    if portable:
        asyncio.get_running_loop().rudp_system = _Portable()  # type: ignore[attr-defined]


# -- rudp -------------------------------------------------------------------------------------------------------


def _config(protection: str, datagram: int) -> rudp.Config:
    if not datagram:
        return rudp.Config(protection=protection)
    return rudp.Config(protection=protection, max_datagram_size=datagram, path_mtu_discovery=False)


async def rudp_receiver(pipe: Pipe, size: int, protection: str, datagram: int, portable: bool = False) -> None:
    """Serve one connection on loopback and count what its main stream brings."""
    _use_portable(portable)
    meter = Meter(size)
    done = asyncio.Event()

    async def handler(connection: rudp.Connection) -> None:
        stream = connection.main_stream
        while not meter.take(await stream.receive(1 << 20)):
            pass
        await stream.send(b"done")
        await stream.send_eof()
        assert await stream.receive() == b""
        pipe.send({"stats": repr(connection.stats())})
        done.set()

    async with await rudp.serve(handler, HOST, 0, config=_config(protection, datagram)) as server:
        pipe.send(server.local_address[1])
        await done.wait()
    pipe.send((meter.span.seconds, meter.span.cpu))


async def rudp_sender(
    port: int, size: int, protection: str, datagram: int, portable: bool = False
) -> tuple[float, dict[str, Any]]:
    """Send `size` bytes on the main stream and wait for the receiver's word."""
    _use_portable(portable)
    span = Span()
    async with rudp.connect(HOST, port, config=_config(protection, datagram)) as connection:
        stream = connection.main_stream
        span.start()
        for chunk in chunks(size):
            await stream.send(chunk)
        await stream.send_eof()
        assert await stream.receive_exactly(4) == b"done"
        span.stop()
        assert await stream.receive() == b""
        stats = connection.stats()
        detail = {
            "packets_sent": stats.packets_sent,
            "packets_received": stats.packets_received,
            "packets_lost": stats.packets_lost,
            "smoothed_rtt_ms": round(stats.smoothed_rtt * 1000, 3),
            "congestion_window": stats.congestion_window,
            "max_datagram_size": stats.max_datagram_size,
        }
    return span.cpu, detail


# -- kernel TCP through asyncio ---------------------------------------------------------------------------------


async def tcp_receiver(pipe: Pipe, size: int) -> None:
    """The same over asyncio's TCP streams."""
    meter = Meter(size)
    done = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not meter.take(await reader.read(1 << 20)):
            pass
        writer.write(b"done")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        done.set()

    server = await asyncio.start_server(handler, HOST, 0, limit=1 << 20)
    async with server:
        pipe.send(server.sockets[0].getsockname()[1])
        await done.wait()
    pipe.send({"stats": ""})
    pipe.send((meter.span.seconds, meter.span.cpu))


async def tcp_sender(port: int, size: int) -> tuple[float, dict[str, Any]]:
    """The same over asyncio's TCP streams."""
    span = Span()
    reader, writer = await asyncio.open_connection(HOST, port)
    span.start()
    for chunk in chunks(size):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
    assert await reader.readexactly(4) == b"done"
    span.stop()
    writer.close()
    await writer.wait_closed()
    return span.cpu, {}


class _Buffered(asyncio.BufferedProtocol):
    """The receiver with the least that asyncio can do: one buffer, read in place."""

    def __init__(self, meter: Meter, done: asyncio.Event) -> None:
        self._buffer = bytearray(1 << 20)
        self._meter = meter
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._meter.take(memoryview(self._buffer)[:nbytes]):
            self._transport.write(b"done")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._done.set()


async def tcp_protocol_receiver(pipe: Pipe, size: int) -> None:
    """Over TCP with a BufferedProtocol in place of streams: the fastest that asyncio offers."""
    meter = Meter(size)
    done = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(lambda: _Buffered(meter, done), HOST, 0)
    async with server:
        pipe.send(server.sockets[0].getsockname()[1])
        await done.wait()
    pipe.send({"stats": ""})
    pipe.send((meter.span.seconds, meter.span.cpu))


# -- bare UDP, one datagram a call ------------------------------------------------------------------------------

# Datagrams the sender may be ahead of the receiver: few enough for the receiver's socket buffer to hold them all.
WINDOW: Final = 128


async def udp_receiver(pipe: Pipe, size: int, datagram: int) -> None:
    """Count datagrams; tell the sender every half window how many came."""
    meter = Meter(size, block(datagram))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((HOST, 0))
        sock.settimeout(10)
        pipe.send(sock.getsockname()[1])
        count = 0
        done = False
        while not done:
            data, sender = sock.recvfrom(datagram)
            count += 1
            done = meter.take(data)
            if count % (WINDOW // 2) == 0 or done:
                sock.sendto(count.to_bytes(8, "big"), sender)
    pipe.send({"stats": ""})
    pipe.send((meter.span.seconds, meter.span.cpu))


async def udp_sender(port: int, size: int, datagram: int) -> tuple[float, dict[str, Any]]:
    """One sendto a datagram, at most `WINDOW` ahead of what the receiver has told."""
    span = Span()
    payload = block(datagram)
    total = -(-size // datagram)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HOST, port))
        sock.settimeout(10)
        span.start()
        told = 0
        for number in range(total):
            while number - told >= WINDOW:
                told = int.from_bytes(sock.recv(8), "big")
            sock.send(payload if number < total - 1 else payload[: size - number * datagram])
        while told < total:
            told = int.from_bytes(sock.recv(8), "big")
        span.stop()
    return span.cpu, {}


# -- running ----------------------------------------------------------------------------------------------------


class Contender(NamedTuple):
    """A way to move bytes: what the receiving process runs and what the sending one."""

    receiver: Callable[..., Awaitable[None]]
    sender: Callable[..., Awaitable[tuple[float, dict[str, Any]]]]
    arguments: tuple[Any, ...]


def contenders(datagram: int) -> dict[str, Contender]:
    """All ways, by name."""
    return {
        "rudp-none": Contender(rudp_receiver, rudp_sender, ("none", datagram)),
        "rudp-crc32": Contender(rudp_receiver, rudp_sender, ("crc32", datagram)),
        "rudp-pmtud": Contender(rudp_receiver, rudp_sender, ("none", 0)),
        "rudp-portable": Contender(rudp_receiver, rudp_sender, ("none", datagram, True)),
        "tcp": Contender(tcp_receiver, tcp_sender, ()),
        "tcp-buffered": Contender(tcp_protocol_receiver, tcp_sender, ()),
        "udp": Contender(udp_receiver, udp_sender, (datagram,)),
    }


def _receive(pipe: Pipe, name: str, size: int, datagram: int) -> None:
    contender = contenders(datagram)[name]
    asyncio.run(_call(contender.receiver, pipe, size, *contender.arguments))


async def _call(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    return await function(*arguments)


def _send(pipe: Pipe, name: str, port: int, size: int, datagram: int) -> None:
    contender = contenders(datagram)[name]
    pipe.send(asyncio.run(_call(contender.sender, port, size, *contender.arguments)))


def measure(name: str, size: int, datagram: int) -> Sample:
    """One transfer in two fresh processes."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    receiver = context.Process(target=_receive, args=(theirs, name, size, datagram))
    receiver.start()
    try:
        port = _next(ours, receiver)
        sender_ours, sender_theirs = context.Pipe()
        sender = context.Process(target=_send, args=(sender_theirs, name, port, size, datagram))
        sender.start()
        try:
            cpu_sender, detail = _next(sender_ours, sender)
        finally:
            sender.join(30)
            sender.kill()
        _next(ours, receiver)
        seconds, cpu_receiver = _next(ours, receiver)
    finally:
        receiver.join(30)
        receiver.kill()
    return Sample(size, seconds, cpu_sender, cpu_receiver, detail)


def _next(pipe: Pipe, process: Any) -> Any:
    """What a process says next; an error when it says nothing."""
    for _ in range(1200):
        if pipe.poll(0.1):
            return pipe.recv()
        if process.exitcode not in (None, 0):
            break
    raise RuntimeError(f"{process.name} ended with exit code {process.exitcode} and without a result")


def run(names: list[str], size: int, rounds: int, datagram: int) -> dict[str, Any]:
    """All contenders in turn, round after round; medians."""
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            samples[name].append(measure(name, size, datagram))
    return {
        "what": "bulk over loopback, two processes, asyncio front end",
        **machine(),
        "bytes": size,
        "rounds": rounds,
        "datagram": datagram,
        "results": {name: summary(found) for name, found in samples.items()},
    }


def summary(samples: list[Sample]) -> dict[str, Any]:
    """Medians over the rounds, and the spread."""
    rates = [sample.size / sample.seconds / MEGABYTE for sample in samples]
    gigabytes = samples[0].size / 1e9
    return {
        "goodput_MB_s": round(statistics.median(rates), 1),
        "least_MB_s": round(min(rates), 1),
        "most_MB_s": round(max(rates), 1),
        "cpu_s_per_GB_sender": round(statistics.median(s.cpu_sender for s in samples) / gigabytes, 2),
        "cpu_s_per_GB_receiver": round(statistics.median(s.cpu_receiver for s in samples) / gigabytes, 2),
        "detail": samples[-1].detail,
    }


def show(report: dict[str, Any]) -> None:
    """The report as a table."""
    print(
        f"{report['what']}; {report['bytes'] / MEGABYTE:.0f} MB, {report['datagram']}-byte datagrams, median of "
        f"{report['rounds']}; CPython {report['python']}, {report['system']}, {report['cores']} cores"
    )
    print(f"{'':14} {'MB/s':>8} {'least':>8} {'most':>8} {'CPU s/GB sender':>16} {'receiver':>9}")
    for name, row in report["results"].items():
        print(
            f"{name:14} {row['goodput_MB_s']:8.1f} {row['least_MB_s']:8.1f} {row['most_MB_s']:8.1f} "
            f"{row['cpu_s_per_GB_sender']:16.2f} {row['cpu_s_per_GB_receiver']:9.2f}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.transfer", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=whole(1), default=512, help="megabytes per transfer (default 512)")
    parser.add_argument("--rounds", type=whole(1), default=5, help="transfers of each (default 5)")
    parser.add_argument("--datagram", type=whole(1_200, 65_507), default=1400, help="UDP payload bytes (default 1400)")
    parser.add_argument("--only", help="names, comma-separated: " + ", ".join(contenders(0)))
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--smoke", action="store_true", help="8 MB of each, once")
    options = parser.parse_args()
    known = list(contenders(options.datagram))
    names = options.only.split(",") if options.only else known
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no contender {', '.join(unknown)}; there are {', '.join(known)}")
    size, rounds = (8, 1) if options.smoke else (options.size, options.rounds)
    report = run(names, size * MEGABYTE, rounds, options.datagram)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


if __name__ == "__main__":
    main()
