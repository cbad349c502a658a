"""How often an opening fails by the default settings: `python -m tests.handshake_odds [LOSS] [OPENINGS]`.

Each opening is a simulation of its own: LOSS of the packets lost in either direction, 20 ms each way. The figures
of docs/DESIGN.md (decision 5) come from here.
"""

from __future__ import annotations

import sys

from rudp import events
from rudp.endpoint import Endpoint
from rudp.sim import Delay, Loss, Network


def opens(loss: float, seed: int) -> bool:
    """Whether one opening succeeds."""
    heard: list[events.Event] = []
    network = Network(seed, digest=False)
    client_endpoint = Endpoint(random=network.random("client"))
    server_endpoint = Endpoint(random=network.random("server"), accept=True)
    client = network.add_host(
        ("192.0.2.1", 1), client_endpoint, on_event=lambda _connection, event: heard.append(event)
    )
    server = network.add_host(("192.0.2.2", 2), server_endpoint)
    network.add_link(client, server, [Loss(loss), Delay(0.020)])
    network.add_link(server, client, [Loss(loss), Delay(0.020)])
    client_endpoint.connect(server.address, network.now)
    client.service()
    network.run(stop=lambda: bool(heard))
    return isinstance(heard[0], events.Connected)


def main() -> None:
    """Print one line."""
    loss = float(sys.argv[1]) if len(sys.argv) > 1 else 0.3
    openings = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    failed = sum(not opens(loss, seed) for seed in range(openings))
    print(f"{loss:.0%} loss each way: {failed} of {openings} openings failed")


if __name__ == "__main__":
    main()
