"""`rudp demo`: the main job in one command, on real UDP sockets, through a relay that is a bad network.

Knows: the order of the show: opening, transfer, closing, the same by UDP alone, summary; and that it has to
end within its time limit. Refuses to know: how the relay (`relay`), the story of the packets (`witness`)
and the UDP transfer (`bare`) work.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import click

import rudp
from rudp import protection
from rudp.cli.bare import BareResult, send_bare
from rudp.cli.common import (
    FloatRange,
    counted,
    explained,
    probability,
    rate_text,
    rate_value,
    reason,
    run,
    shut,
    size_text,
    size_value,
    time_text,
    warn,
)
from rudp.cli.meter import Meter
from rudp.cli.relay import Conditions, Relay
from rudp.cli.witness import Sighting, Witness
from rudp.stats import Stats

__all__ = ["demo"]

MEGABYTE: Final = 10**6
CHUNK: Final = 65536
DIGEST_SIZE: Final = 64  # SHA-256 in hexadecimal
TRANSFER_SECONDS: Final = 10.0  # what the link's rate is chosen for when the data is large
DEFAULT_RATE: Final = 2.0 * MEGABYTE
SMALLEST_QUEUE: Final = 64_000
OPENING_SECONDS: Final = 2.0  # for the packet that completes the handshake to be seen
CLOSE_SECONDS: Final = 5.0
LAST_ACK_SECONDS: Final = 1.0  # for the acknowledgement of the server's FIN to be seen


@dataclass(frozen=True)
class Plan:
    """What to show."""

    size: int
    seed: int
    time_limit: float
    conditions: Conditions
    protection: str


@dataclass
class Outcome:
    """What was seen, for the summary."""

    connected: bool = False
    handshake_seconds: float = 0.0
    transfer_seconds: float = 0.0
    received: int = 0
    sent_digest: str = ""
    received_digest: str = ""
    stats: Stats | None = None
    server_duplicates: int = 0
    closed: bool = False
    problem: str = ""
    bare: BareResult | None = None

    @property
    def arrived(self) -> bool:
        return bool(self.received_digest) and self.received_digest == self.sent_digest


class Receiver:
    """The demo's server: takes one stream, and answers with the SHA-256 of what came."""

    def __init__(self) -> None:
        self.received = 0
        self.duplicates = 0  # packets that came a second time, when all had arrived

    async def __call__(self, connection: rudp.Connection) -> None:
        """Serve one connection until the client has closed its side; how it ends is the client's to tell."""
        with suppress(OSError):
            async for stream in connection.streams():
                digest = hashlib.sha256()
                while data := await stream.receive(4 * CHUNK):
                    digest.update(data)
                    self.received += len(data)
                self.duplicates = connection.stats().packets_duplicate
                await stream.send(digest.hexdigest().encode())
                await stream.send_eof()


class Show:
    """One run of the demo."""

    def __init__(self, plan: Plan, relay: Relay) -> None:
        self._plan = plan
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + plan.time_limit
        self._witness = Witness(protection.by_name(plan.protection).overhead)
        self._outcome = Outcome()
        self._data = random.Random(plan.seed).randbytes(plan.size)

    async def run(self) -> Outcome:
        """Everything, in order."""
        plan, outcome = self._plan, self._outcome
        self._introduce()
        config = rudp.Config(protection=plan.protection, max_datagram_size=1400, path_mtu_discovery=False)
        receiver = Receiver()
        server = await rudp.serve(receiver, "127.0.0.1", 0, config=config)
        try:
            self._relay.lead_to(server.sockets[0].getsockname()[:2])
            self._relay.watcher = self._witness
            # Some time is kept for the transfer by UDP alone, which may be cut short, and for the summary.
            try:
                async with asyncio.timeout_at(self._deadline - plan.time_limit / 6):
                    await self._by_rudp(receiver, config)
            except TimeoutError as error:
                outcome.problem = reason(error) if str(error) else "not finished within the time limit"
            except (rudp.RudpError, OSError, EOFError) as error:
                outcome.problem = reason(error)
        finally:
            outcome.received = receiver.received
            self._relay.watcher = None
            await shut(server)
        if not outcome.connected:
            await self._tell_opening()
        if outcome.problem:
            click.echo(f"  failed: {outcome.problem}")
        await self._by_udp()
        return outcome

    def _introduce(self) -> None:
        plan, conditions = self._plan, self._plan.conditions
        title = f"rudp {rudp.__version__}: {size_text(plan.size)} over a bad network on this machine"
        click.secho(title, bold=True)
        click.echo(
            f"  each way: {conditions.loss:.1%} lost, {time_text(conditions.delay)} delay,"
            f" {conditions.reorder:.1%} reordered, {conditions.duplicate:.1%} doubled\n"
            f"  link {conditions.rate * 8 / MEGABYTE:.1f} Mbit/s, queue {size_text(conditions.queue)},"
            f" protection {plan.protection}, seed {plan.seed}"
        )

    async def _by_rudp(self, receiver: Receiver, config: rudp.Config) -> None:
        outcome = self._outcome
        start = self._loop.time()
        connection = await rudp.connect(*self._relay.address, config=config)
        try:
            outcome.handshake_seconds = self._loop.time() - start
            outcome.connected = True
            stream = await connection.open_stream()
            await self._tell_opening()
            start = self._loop.time()
            sending = asyncio.create_task(self._send(stream))
            try:
                await self._show_progress(connection, receiver, sending)
                await sending
                answer = await stream.receive_exactly(DIGEST_SIZE)
            finally:
                sending.cancel()
            outcome.transfer_seconds = self._loop.time() - start
            outcome.received_digest = answer.decode("ascii", "replace")
            outcome.stats = connection.stats()
            outcome.server_duplicates = receiver.duplicates
            self._witness.watch_closing()
            start = self._loop.time()
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.close()
                await connection.wait_closed()
            outcome.closed = True
            await self._tell_closing(self._loop.time() - start)
        except BaseException:
            connection.abort(1, "the demo ended early")
            raise

    async def _send(self, stream: rudp.Stream) -> None:
        self._outcome.sent_digest = hashlib.sha256(self._data).hexdigest()
        view = memoryview(self._data)
        for offset in range(0, len(view), CHUNK):
            await stream.send(view[offset : offset + CHUNK])
        await stream.send_eof()

    async def _show_progress(
        self, connection: rudp.Connection, receiver: Receiver, sending: asyncio.Task[None]
    ) -> None:
        """Until all has arrived, or sending has failed."""
        click.secho("\nTransfer by rudp", bold=True)
        with Meter("  rudp", self._plan.size, line_interval=1.0) as meter:
            while receiver.received < self._plan.size:
                if sending.done():
                    sending.result()
                meter.update(receiver.received, _figures(connection.stats()))
                await asyncio.sleep(0.05)
            meter.update(receiver.received, _figures(connection.stats()), now=True)

    async def _tell_opening(self) -> None:
        with suppress(TimeoutError):
            if self._outcome.connected:
                await asyncio.wait_for(self._witness.opened.wait(), OPENING_SECONDS)
        click.secho("\nThree-way handshake, as the relay saw it", bold=True)
        _tell(self._witness.opening)
        if self._outcome.connected:
            click.echo(f"  the client was connected after {time_text(self._outcome.handshake_seconds)}")

    async def _tell_closing(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._witness.closed.wait(), LAST_ACK_SECONDS)
        click.secho("\nFour-way close, as the relay saw it", bold=True)
        _tell(self._witness.closing)
        click.echo(f"  the client's side was closed after {time_text(seconds)}")

    async def _by_udp(self) -> None:
        left = self._deadline - self._loop.time() - 2
        if left <= 0:
            return
        click.secho("\nThe same data by UDP alone, through the same relay", bold=True)
        with Meter("  UDP", self._plan.size, line_interval=2.0) as meter:

            def progress(sent: int, arrived: int) -> None:
                meter.update(sent, f"arrived so far {size_text(arrived)}", now=sent >= self._plan.size)

            self._outcome.bare = await send_bare(
                self._data,
                self._relay.address,
                self._relay.lead_to,
                rate=self._plan.conditions.rate,
                time_limit=left,
                progress=progress,
            )


def _figures(stats: Stats) -> str:
    return (
        f"RTT {stats.smoothed_rtt * 1000:.0f} ms, window {size_text(stats.congestion_window)}, "
        f"lost {stats.packets_lost}, resent {stats.packets_retransmitted}"
    )


def _tell(story: list[Sighting]) -> None:
    for sighting in story:
        at = (sighting.time - story[0].time) * 1000
        fate = f"   [{sighting.fate}]" if sighting.fate else ""
        click.echo(f"  {at:8.1f} ms  {sighting.direction}  {sighting.what:9s} {sighting.detail}{fate}")


def _summary(plan: Plan, relay_counts: str, outcome: Outcome) -> None:
    click.secho("\nSummary", bold=True)
    if outcome.arrived:
        speed = rate_text(plan.size, outcome.transfer_seconds)
        _row("rudp", f"all {plan.size:,} bytes arrived in {time_text(outcome.transfer_seconds)} ({speed})")
    else:
        problem = outcome.problem or "not the same bytes"
        _row("rudp", f"FAILED: {outcome.received:,} of {plan.size:,} bytes arrived: {problem}")
    if outcome.received_digest:
        verdict = "equal at both ends" if outcome.arrived else "DIFFERENT"
        _row("SHA-256", f"{verdict}: {outcome.received_digest[:32]}...")
    if stats := outcome.stats:
        lost = f"{stats.packets_lost:,} found lost, {stats.packets_spurious:,} of them wrongly"
        _row("packets", f"{stats.packets_sent:,} sent, {lost}")
        again = f"{size_text(stats.stream_bytes_retransmitted)} in {stats.packets_retransmitted:,} packets"
        _row("sent again", again)
        twice = counted(outcome.server_duplicates, "packet")
        _row("came twice", f"{twice} at the server, {stats.packets_duplicate:,} at the client")
        least, mean = stats.min_rtt * 1000, stats.smoothed_rtt * 1000
        _row("round trip", f"{least:.1f} ms at least, {mean:.1f} ms on average")
    _row("close", "both sides, in good order" if outcome.closed else "not in good order")
    if bare := outcome.bare:
        missing = bare.sent - bare.arrived
        whole = "whole, by luck" if bare.identical else "broken"
        lost = f"{missing:,} of {bare.sent:,} datagrams lost ({missing / max(1, bare.sent):.1%})"
        _row("UDP alone", f"{lost}, {bare.out_of_order:,} out of order: {whole}")
        if bare.bytes_sent < plan.size:
            _row("", f"there was time for the first {size_text(bare.bytes_sent)} only")
    _row("relay", relay_counts)


def _row(name: str, text: str) -> None:
    click.echo(f"  {name:<11}{text}")


async def _demo(plan: Plan) -> int:
    with explained("cannot open the relay's sockets"):
        relay = await Relay.open(plan.conditions, plan.seed)
    try:
        outcome = await Show(plan, relay).run()
    finally:
        relay.close()
    there, back = relay.to_server, relay.to_client
    counts = (
        f"lost {there.lost + back.lost:,} of {there.seen + back.seen:,} datagrams, "
        f"{there.overflowed + back.overflowed:,} more to a full queue"
    )
    _summary(plan, counts, outcome)
    if not outcome.arrived:
        warn(f"not all arrived: {outcome.problem or 'what arrived differs'}")
    return 0 if outcome.arrived else 1


_option = partial(click.option, show_default=True)


@click.command()
@_option("--loss", type=probability, metavar="P", default=0.1, help="Packets lost, each way.")
@_option("--delay", type=FloatRange(0, 2), default=0.02, help="Seconds, each way.")
@_option("--reorder", type=probability, metavar="P", default=0.02, help="Packets that others overtake.")
@_option("--duplicate", type=probability, metavar="P", default=0.01, help="Packets that come twice.")
@_option("--size", type=size_value, metavar="SIZE", default="20MB", help="How much to transfer, 1 MB or more.")
@_option(
    "--rate",
    type=rate_value,
    metavar="RATE",
    help="Rate of the link; chosen to suit the size, 16Mbit at least.",
)
@_option("--seed", type=int, default=1, help="Draws what befalls the packets.")
@_option("--time-limit", type=FloatRange(2), default=40.0, help="Seconds for everything.")
@_option("--protection", type=click.Choice(protection.names()), default="crc32", help="Packet trailer.")
def demo(
    *,
    loss: float,
    delay: float,
    reorder: float,
    duplicate: float,
    size: int,
    rate: float | None,
    seed: int,
    time_limit: float,
    protection: str,
) -> None:
    """Watch a transfer survive a bad network.

    A server and a client on this machine talk over real UDP sockets through a relay that loses, delays,
    reorders and duplicates packets. You see the three-way handshake, the transfer, the four-way close, and
    what UDP alone loses on the same way. The exit status is 0 when everything arrived.
    """
    if size < MEGABYTE:
        raise click.BadParameter("must be 1MB or more", param_hint="--size")
    link = rate or max(DEFAULT_RATE, size / TRANSFER_SECONDS)
    queue = max(SMALLEST_QUEUE, int(link * (2 * delay + 0.02)))
    conditions = Conditions(loss=loss, delay=delay, reorder=reorder, duplicate=duplicate, rate=link, queue=queue)
    run(_demo(Plan(size, seed, time_limit, conditions, protection)))
