"""What this machine's UDP sockets can do, found by trying, and the portable path that works without any of it.

Run it: python docs/examples/capabilities.py
"""

from __future__ import annotations

import select
from dataclasses import asdict

from rudp import Config
from rudp.train import Train
from rudp.udp import UdpSocket, segments_per_call


def show(offload: bool | None) -> None:
    """A socket's capabilities, and a train of 10 datagrams sent to itself through it.

    Without offload they arrive one by one, and the socket merges those that wait behind the first.
    """
    sock = UdpSocket.open(("127.0.0.1", 0), offload=offload, buffer_size=Config().socket_buffer)
    print("offload", "as the machine has it" if offload is None else "switched off")
    print("  can:", ", ".join(name for name, able in asdict(sock.capabilities).items() if able))
    print(f"  buffers asked for {sock.buffer_sizes.asked}, granted {sock.buffer_sizes.receive} to receive")
    sock.send(Train([bytes(12_000)], 1_200, 12_000, None, sock.local_address, 0))
    datagrams = calls = 0
    while datagrams < 10 and select.select([sock], [], [], 1.0)[0]:
        received = sock.receive()
        if received is not None:
            calls += 1
            datagrams += -(-len(received.data) // received.segment_size)
    print(f"  10 datagrams sent, {datagrams} received in {calls} buffers")
    sock.close()


print(f"a train of 1,200-byte datagrams has at most {segments_per_call(1200)}")
show(offload=None)
show(offload=False)
