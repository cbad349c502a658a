"""Opening over a network that loses: what the first round-trip estimate may be taken from."""

from __future__ import annotations

import pytest

from rudp.wire.values import PacketType
from tests.core_pair import Datagram, Pair


def test_a_repeated_syn_ack_gives_the_client_no_rtt_sample() -> None:
    """It echoes a SYN of long ago: taken for its answer, it would make every probe seconds late."""
    pair = Pair(opened=False)
    seen = {PacketType.SYN: 0, PacketType.SYN_ACK: 0}

    def fate(datagram: Datagram) -> list[tuple[float, bytes]]:
        kind = datagram.data[0]
        if kind in seen:
            kind = PacketType(kind)
            seen[kind] += 1
            lost = seen[kind] > 1 if kind == PacketType.SYN else seen[kind] <= 2
            if lost:
                return []
        return [(pair.delay, datagram.data)]

    pair.fate = fate
    pair.open()
    assert seen[PacketType.SYN_ACK] == 3
    assert pair.client.stats(pair.now).smoothed_rtt < 0.05


def test_an_ack_repeated_by_a_probe_gives_no_rtt_sample() -> None:
    """It says for how long its number has been there, but not that it was lost before."""
    pair = Pair()
    before = pair.client.stats(pair.now).smoothed_rtt
    pair.fate = lambda datagram: [] if datagram.sender == "server" else [(pair.delay, datagram.data)]
    pair.client.send(0, b"x")
    pair.run(0.05)
    pair.server.send(0, b"y")
    pair.run(0.01)
    acknowledged = pair.client.buffered(0) == 0
    assert not acknowledged
    # From here on nothing of the client's arrives, so that what it hears is repeated.
    pair.fate = lambda datagram: [] if datagram.sender == "client" else [(pair.delay, datagram.data)]
    pair.run(3.0)
    assert pair.client.buffered(0) == 0
    assert pair.client.stats(pair.now).smoothed_rtt == pytest.approx(before)
