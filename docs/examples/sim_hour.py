"""An hour of three sensors and a hub, in virtual time: their programs are ordinary asyncio, and know nothing of it.

Each sensor takes a reading every ten seconds and keeps it until the hub has confirmed it. Every link loses 5 % of its
packets; one is down for ten minutes, which ends its connection, and the sensor opens another. The clock jumps from
event to event, so the hour takes a second or two, and the same seed gives the same hour.
Run it: python docs/examples/sim_hour.py
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import rudp
from rudp.sim import Delay, Jitter, Loss, Network, Outage, run

READINGS = 360
SECONDS = 10
PORT = 4433
late: dict[str, list[float]] = {}


# -- programs: nothing here is about simulation ------------------------------------------------------------------------


async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The hub, for one connection: note how late a reading comes, and confirm it."""
    with suppress(OSError):
        while line := await reader.readline():
            name, taken = line.decode().split()
            late.setdefault(name, []).append(asyncio.get_running_loop().time() - float(taken))
            writer.write(line)
            await writer.drain()
    writer.close()


class Sensor:
    """Measures and delivers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unconfirmed: dict[bytes, None] = {}
        self.finished = False
        self.news = asyncio.Event()

    async def run(self) -> None:
        """Measure to the end; when a connection ends before, say so, wait half a minute and open another."""
        measuring = asyncio.create_task(self.measure())
        while self.unconfirmed or not self.finished:
            try:
                await self.deliver()
            except OSError as error:
                print(f"{asyncio.get_running_loop().time():7.1f} s {self.name}: {type(error).__name__}")
                await asyncio.sleep(30)
        await measuring

    async def measure(self) -> None:
        """Take the readings."""
        for _ in range(READINGS):
            self.unconfirmed[f"{self.name} {asyncio.get_running_loop().time():.6f}\n".encode()] = None
            self.news.set()
            await asyncio.sleep(SECONDS)
        self.finished = True
        self.news.set()

    async def deliver(self) -> None:
        """Send each reading once over one connection, until all are confirmed. Raises what ends the connection."""
        reader, writer = await rudp.open_connection("hub", PORT)
        confirming = asyncio.create_task(self.confirm(reader))
        sent: set[bytes] = set()
        try:
            while not confirming.done() and (self.unconfirmed or not self.finished):
                self.news.clear()
                fresh = [reading for reading in self.unconfirmed if reading not in sent]
                sent.update(fresh)
                writer.writelines(fresh)
                await self.news.wait()
            writer.write_eof()
            await confirming
        finally:
            confirming.cancel()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def confirm(self, reader: asyncio.StreamReader) -> None:
        """Forget what the hub confirms, until the connection ends."""
        try:
            while line := await reader.readline():
                del self.unconfirmed[line]
                self.news.set()
        finally:
            self.news.set()


# -- the network they run on -------------------------------------------------------------------------------------------


async def main() -> None:
    """Put each program on its machine."""
    server = await hub.run(rudp.start_server(collect, "0.0.0.0", PORT))
    async with asyncio.TaskGroup() as group:
        for name, machine in machines.items():
            group.create_task(machine.run(Sensor(name).run()))
    server.close()
    await server.wait_closed()


network = Network(seed=1)
hub = network.add_machine("hub")
machines = {name: network.add_machine(name) for name in ("north", "south", "west")}
for name, machine in machines.items():
    broken = [Outage(1800, 2400)] if name == "west" else []
    network.add_link(machine, hub, [Jitter(0.01), Delay(0.03), Loss(0.05), *broken])
    network.add_link(hub, machine, [Jitter(0.01), Delay(0.03), Loss(0.05)])
run(main(), network=network)

for name, seconds in sorted(late.items()):
    seconds.sort()
    half, last = seconds[len(seconds) // 2], seconds[-1]
    print(f"{name}: {len(seconds)} readings, half of them within {half * 1000:.0f} ms, the last after {last:.1f} s")
print(f"the clock says {network.now / 60:.0f} minutes; {network.events} events on the network")
