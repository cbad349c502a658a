"""A simulated network on virtual time: the same bytes at the same instants from the same seed.

    network = Network(seed=7)
    client = network.add_host(("10.0.0.1", 1), client_endpoint)
    server = network.add_host(("10.0.0.2", 2), server_endpoint)
    network.add_link(client, server, [Rate(1_250_000, queue_bytes=62_500), Delay(0.025), Loss(0.01)])
    network.add_link(server, client, [Delay(0.025), Loss(0.01)])
    connection = client_endpoint.connect(server.address, now=network.now)
    client.service()
    network.run(until=60.0, stop=lambda: done)

It sits beside the drivers, above the core: endpoints are driven by their sans-IO contract, whatever they are.
It uses no wall clock, no socket and no event loop.
"""

from rudp.sim.aio.loop import NotSimulated, SimulatedLoop
from rudp.sim.aio.machine import Machine
from rudp.sim.aio.run import run
from rudp.sim.clock import Clock, SimulationError, Stalled, TooManyEvents
from rudp.sim.codel import CoDel
from rudp.sim.host import Host, HostedEndpoint
from rudp.sim.line import Freeze, Rate
from rudp.sim.loss import BurstLoss, GilbertElliott, Loss, Mtu, Outage
from rudp.sim.nat import Nat, Rebind
from rudp.sim.network import Network
from rudp.sim.node import IP_UDP_OVERHEAD, Batch, Datagram, Node
from rudp.sim.nodes import Corrupt, Delay, Duplicate, During, Filter, Jitter, Reorder, Tap
from rudp.sim.seeds import seed
from rudp.sim.tracing import Trace

__all__ = [
    "IP_UDP_OVERHEAD",
    "Batch",
    "BurstLoss",
    "Clock",
    "CoDel",
    "Corrupt",
    "Datagram",
    "Delay",
    "Duplicate",
    "During",
    "Filter",
    "Freeze",
    "GilbertElliott",
    "Host",
    "HostedEndpoint",
    "Jitter",
    "Loss",
    "Machine",
    "Mtu",
    "Nat",
    "Network",
    "Node",
    "NotSimulated",
    "Outage",
    "Rate",
    "Rebind",
    "Reorder",
    "SimulatedLoop",
    "SimulationError",
    "Stalled",
    "Tap",
    "TooManyEvents",
    "Trace",
    "run",
    "seed",
]
