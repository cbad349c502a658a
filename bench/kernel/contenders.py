"""Who sends over the emulated link: rudp over real sockets, and the kernel's TCP with a controller of its choice.

Knows: how each sends as fast as it may for a time, and how it tells what arrived. Refuses to know: the link.

All do equal work: one flow from end 0 to end 1 of bytes that differ from place to place, each compared on arrival.
Names: "rudp" with its default configuration, "rudp-<controller>", "tcp-<controller>" (TCP_CONGESTION on the socket).
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final

import rudp
from rudp.congestion import by_name

from ..load import CHUNK, Meter, block
from .bed import drops_of_the_host
from .emulator import ADDRESSES

__all__ = ["missing", "receive", "send"]

PORT: Final = 4433
# Seconds between two notes of what has arrived.
NOTE: Final = 0.01
# Seconds in which a connection must be open; at 20 % loss both ways an opening takes a few tries.
OPENING: Final = 20.0
TCP_INFO_HEAD: Final = 8  # bytes before the 32-bit fields of struct tcp_info (linux/tcp.h)
TCP_INFO_FIELDS: Final = {"rtt": 15, "snd_cwnd": 18, "total_retrans": 23}


def missing(name: str) -> str | None:
    """Why a contender can't run here; None: it can."""
    kind, _, controller = name.partition("-")
    if kind == "tcp":
        with socket.socket() as sock:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, controller.encode())
            except OSError as error:
                known = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().strip()
                return f"the kernel's TCP has no controller {controller!r} ({error}); it has: {known}"
        return None
    if kind != "rudp":
        return f"unknown contender {name!r}: rudp, rudp-<controller> or tcp-<controller>"
    if controller:
        try:
            by_name(controller)
        except ValueError as error:
            return str(error)
    return None


def receive(pipe: Pipe, name: str) -> None:
    """Take one connection; say "ready", and when told anything, what arrived when and how that went."""
    log = _Log()
    if name.startswith("tcp-"):
        _receive_tcp(pipe, log)
    else:
        asyncio.run(_receive_rudp(pipe, name, log))
    pipe.send((log.notes, {"cpu_s": _cpu(), "drops": drops_of_the_host()}))


def send(pipe: Pipe, name: str, seconds: float) -> None:
    """Open a connection and send for a time; say when that began and how it went, then wait for the end."""
    started = time.monotonic()
    if name.startswith("tcp-"):
        detail = _send_tcp(name, started + seconds)
    else:
        detail = asyncio.run(_send_rudp(name, started + seconds))
    pipe.send((started, {**detail, "cpu_s": _cpu(), "drops": drops_of_the_host()}))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round(usage.ru_utime + usage.ru_stime, 3)


class _Log:
    """What had arrived when."""

    def __init__(self) -> None:
        self.notes: list[tuple[float, int]] = []
        self._meter = Meter(1 << 62, block(CHUNK))
        self._next = 0.0

    def take(self, data: bytes | memoryview) -> bool:
        """Count and compare a piece. True when a note was made, every `NOTE` seconds."""
        self._meter.take(data)
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + NOTE
        self.notes.append((now, self._meter.received))
        return True


# -- the kernel's TCP ---------------------------------------------------------------------------------------------


def _receive_tcp(pipe: Pipe, log: _Log) -> None:
    buffer = memoryview(bytearray(1 << 20))
    with socket.create_server((ADDRESSES[1], PORT)) as server:
        pipe.send("ready")
        server.settimeout(OPENING)
        connection, _ = server.accept()
    with connection:
        connection.settimeout(0.1)
        while True:
            try:
                size = connection.recv_into(buffer)
            except TimeoutError:
                if pipe.poll():
                    return
                continue
            if not size or (log.take(buffer[:size]) and pipe.poll()):
                return


def _send_tcp(name: str, deadline: float) -> dict[str, Any]:
    controller = name.partition("-")[2]
    chunk = memoryview(block(CHUNK))
    with socket.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, controller.encode())
        sock.settimeout(OPENING)
        sock.connect((ADDRESSES[1], PORT))
        total = 0
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                total += sock.send(chunk[total % CHUNK :])
            except TimeoutError:
                break
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        used = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
    fields = struct.unpack_from(f"{(len(info) - TCP_INFO_HEAD) // 4}I", info, TCP_INFO_HEAD)
    return {"controller": used, **{name: fields[index] for name, index in TCP_INFO_FIELDS.items()}}


# -- rudp ---------------------------------------------------------------------------------------------------------


def _config(name: str) -> rudp.Config:
    controller = name.partition("-")[2]
    return rudp.Config(congestion=controller) if controller else rudp.Config()


async def _receive_rudp(pipe: Pipe, name: str, log: _Log) -> None:
    stop = asyncio.Event()

    async def handler(connection: rudp.Connection) -> None:
        stream = connection.main_stream
        while data := await stream.receive(1 << 20):
            log.take(data)

    server = await rudp.serve(handler, ADDRESSES[1], PORT, config=_config(name))
    asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
    pipe.send("ready")
    await stop.wait()
    server.abort_clients()
    server.close()


async def _send_rudp(name: str, deadline: float) -> dict[str, Any]:
    chunk = block(CHUNK)
    connection = await rudp.connect(ADDRESSES[1], PORT, config=_config(name))
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            while True:
                await connection.main_stream.send(chunk)
    except TimeoutError:
        pass
    stats = connection.stats()
    connection.abort(0, "enough")
    return {
        "controller": stats.congestion,
        "smoothed_rtt_ms": round(stats.smoothed_rtt * 1000, 2),
        "congestion_window": stats.congestion_window,
        "packets_sent": stats.packets_sent,
        "packets_lost": stats.packets_lost,
        "packets_spurious": stats.packets_spurious,
        "bytes_retransmitted": stats.stream_bytes_retransmitted,
        "max_datagram_size": stats.max_datagram_size,
    }
