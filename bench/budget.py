"""Where the microseconds of a bulk transfer go: python -m bench.budget

Knows: how to sample both processes of a transfer over loopback, and which part of rudp a sample belongs to. Refuses to
know: how fast it is beside others (`peers`), what the core costs alone (`wakeups`).

One stream, one way, asyncio, packets of 1,400 bytes or those that path MTU discovery finds, two processes. A timer of
CPU time samples each: what runs counts for the part that called it, the kernel's work for the call that asked for it.
Kernels tick every four milliseconds, so two gigabytes give some 300 samples a side, and a part of 10 % is good to two.
Microseconds are of CPU for a train's worth of payload, on a machine as busy as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import signal
from collections import Counter
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from types import FrameType
from typing import Any, Final

import rudp

from .arguments import whole
from .wakeups import PARTS

__all__ = ["measure", "part_of"]

HOST: Final = "127.0.0.1"
CHUNK: Final = bytes(262_139)
READ: Final = 1 << 20
# Payload bytes of a train of 46 packets of 1,400 bytes.
TRAIN: Final = 46 * 1_370
SAMPLE: Final = 0.001
SECONDS: Final = 120.0
_RUDP: Final = f"{Path(rudp.__file__).parent}/"
_ASYNCIO: Final = f"{Path(asyncio.__file__).parent}/"
# Functions that decide about a sample, whatever runs within.
WITHIN: Final = {
    "UdpSocket.send": "kernel: send, with joining a train for it",
    "UdpSocket._receive_one": "kernel: receive",
    "UdpSocket._merge": "kernel: receive",
    "Inbound._take_frames": "ACKs and credit: read, reckoned",
}
ANSWERING: Final = {"Outbound.next_train": "ACKs and credit: made"}


def part_of(frame: FrameType | None, *, answers: bool) -> str:
    """The part that a sample belongs to; `answers`: on this side all that is sent is an answer."""
    leaf = ""
    while frame is not None:
        code = frame.f_code
        found = WITHIN.get(code.co_qualname) or (ANSWERING.get(code.co_qualname) if answers else None)
        if found is not None:
            return found
        if not leaf:
            leaf = _part(code.co_filename)
        frame = frame.f_back
    return leaf or "others"


def _part(file: str) -> str:
    if file.startswith(_RUDP):
        name = file[len(_RUDP) :].removesuffix(".py")
        if name.startswith(("aio/", "udp")):
            return "driver: rudp's"
        return next((part for prefix, part in PARTS.items() if name == prefix or name.startswith(prefix)), "others")
    if file.startswith(_ASYNCIO) or file.endswith("selectors.py"):
        return "driver: asyncio's, with the wait"
    return "application" if "/bench/" in file else ""


class _Sampler:
    """Samples of this process, and its CPU seconds, from `start` to `stop`."""

    def __init__(self, *, answers: bool) -> None:
        self.hits: Counter[str] = Counter()
        self.seconds = 0.0
        self._answers = answers

    def start(self) -> None:
        signal.signal(signal.SIGPROF, lambda _, frame: self.hits.update((part_of(frame, answers=self._answers),)))
        signal.setitimer(signal.ITIMER_PROF, SAMPLE, SAMPLE)
        self.seconds = -_cpu()

    def stop(self) -> tuple[float, dict[str, int]]:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        return self.seconds + _cpu(), dict(self.hits)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _config(found: bool) -> rudp.Config:
    size: dict[str, Any] = {} if found else {"max_datagram_size": 1_400, "path_mtu_discovery": False}
    return rudp.Config(protection="none", **size)


async def _receive(pipe: Pipe, size: int, found: bool) -> None:
    sampler, done = _Sampler(answers=True), asyncio.Event()

    async def handle(connection: rudp.Connection) -> None:
        stream, left = connection.main_stream, size
        while left > 0:
            left -= len(await stream.receive(READ))
            if not sampler.seconds:
                sampler.start()
        pipe.send(sampler.stop())
        await stream.send(b"done")
        await connection.close()
        done.set()

    async with await rudp.serve(handle, HOST, 0, config=_config(found)) as server:
        pipe.send(server.local_address[1])
        await asyncio.wait_for(done.wait(), SECONDS)


async def _send(pipe: Pipe, port: int, size: int, found: bool) -> None:
    sampler = _Sampler(answers=False)
    async with await rudp.connect(HOST, port, config=_config(found)) as connection:
        stream = connection.main_stream
        sampler.start()
        for at in range(0, size, len(CHUNK)):
            await stream.send(CHUNK[: size - at])
        await stream.receive()
        pipe.send(sampler.stop())


def _run(side: str, *arguments: Any) -> None:
    asyncio.run(_receive(*arguments) if side == "receive" else _send(*arguments))


def measure(size: int, found: bool = False) -> dict[str, dict[str, float]]:
    """Microseconds of CPU for a train's worth of payload by side and part, of a transfer of `size` bytes."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False), context.Pipe(duplex=False)
    receiver = context.Process(target=_run, args=("receive", here[1], size, found), daemon=True)
    receiver.start()
    sender = context.Process(target=_run, args=("send", there[1], here[0].recv(), size, found), daemon=True)
    sender.start()
    told = {"sender": there[0].recv(), "receiver": here[0].recv()}
    for process in (sender, receiver):
        process.join(SECONDS)
    budget = {}
    for side, (seconds, hits) in told.items():
        each = seconds / size * TRAIN * 1e6
        total = sum(hits.values()) or 1
        budget[side] = {part: count / total * each for part, count in Counter(hits).most_common()}
    return budget


def main() -> None:
    """Print both sides' budgets."""
    parser = argparse.ArgumentParser(prog="python -m bench.budget", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=whole(1), default=2_000, help="megabytes")
    parser.add_argument("--found", action="store_true", help="packets of the size that path MTU discovery finds")
    arguments = parser.parse_args()
    for side, parts in measure(arguments.size * 1_000_000, arguments.found).items():
        print(f"{side}: {sum(parts.values()):.1f} us of CPU a train of {TRAIN:,} bytes")
        for part, cost in parts.items():
            print(f"    {part:44}{cost:6.1f}")


if __name__ == "__main__":
    main()
