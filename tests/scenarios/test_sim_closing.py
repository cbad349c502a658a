"""Closing over a network that loses: what an end needs to hear, however often it was lost."""

from __future__ import annotations

from rudp import wire
from tests.core_pair import Datagram, Pair


def test_a_probe_carries_what_has_been_received_so_far() -> None:
    """The peer may have lost every acknowledgement so far, and its own backoff is long by then."""
    pair = Pair()
    pair.server.send(0, b"x" * 5_000)
    pair.run(1.0)
    probes: list[Datagram] = []

    def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
        if datagram.sender == "client":
            probes.append(datagram)
            return []
        return [(pair.delay, datagram.data)]

    pair.fate = fate
    pair.client.send(0, b"y")
    pair.run(2.0)
    assert len(probes) > 4
    for probe in probes[1:]:
        frames = probe.frames(pair.overhead)
        assert any(isinstance(frame, wire.Ack) for frame in frames), frames
