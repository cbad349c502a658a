"""Closing over a network that loses: what an end needs to hear, however often it was lost."""

from __future__ import annotations

import pytest

from rudp import wire
from tests.core_pair import Datagram, Pair, read_all


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


@pytest.mark.parametrize("closes_after", [0.0, 3.5])
def test_a_window_grows_again_though_all_was_sent_once(closes_after: float) -> None:
    """Of a connection that is closed, or is yet to be when its last flight is lost: that is sent as fast as any other.

    A small window is acknowledged as a whole. Its ACKs were taken for the last one, of which nobody is told, so that
    every two packets took a round trip.
    """
    pair = Pair(delay=0.1)
    pair.client.send(0, bytes(200_000))
    pair.run(4.0)
    read_all(pair.server, 0)
    usual, back = pair.fate, pair.now + 3.0
    pair.fate = lambda datagram: [] if datagram.sender == "client" and pair.now < back else usual(datagram)
    pair.client.send(0, bytes(170_000), fin=True)
    pair.run(closes_after)
    pair.client.close()
    pair.until(lambda: pair.server._streams.received_total == 370_000)
    assert pair.now < back + 2.0
