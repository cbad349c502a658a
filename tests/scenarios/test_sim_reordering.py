"""Packets that come late are not lost: whole flows over paths that reorder, and what recovery made of it.

How much of the link a controller fills there is for its own tests; here it is what it was told.
"""

from __future__ import annotations

import pytest

from bench.flows import Flow, Result, run
from rudp.sim import Jitter, Node, Reorder

MBIT = 125_000


def flow(rate: float, rtt: float, seconds: float, *, loss: float = 0.0, forth: list[Node], back: list[Node]) -> Result:
    """One flow of a rate model over a line of `rate` bytes a second with a queue of one BDP."""
    outcome = run(
        [Flow("model", rtt, loss=loss, forth=forth, back=back)],
        rate=rate,
        queue_bytes=int(rate * rtt),
        seconds=seconds,
        seed=1,
    )
    return outcome.results[0]


def spurious_share(result: Result) -> float:
    assert result.stats is not None
    assert result.error is None
    print(f"sent {result.stats.packets_sent} lost {result.stats.packets_lost} spurious {result.stats.packets_spurious}")
    assert result.stats.packets_sent > 2_000
    return result.stats.packets_spurious / result.stats.packets_sent


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_jitter_as_long_as_the_delay(loss: float, ways: int) -> None:
    """0 to 30 ms a packet on 30 ms one way at 20 Mbit/s, order not kept: under 1 % sent again in vain.

    Only the first late ones are, two dozen at the most, and none from three seconds on: the rest learns from them.
    """
    forth: list[Node] = [Jitter(0.030)]
    back: list[Node] = [Jitter(0.030)] if ways == 2 else []
    result = flow(20 * MBIT, 0.060, 4.0, loss=loss, forth=forth, back=back)
    assert spurious_share(result) < 0.005


@pytest.mark.parametrize("loss", [0.0, 0.01])
@pytest.mark.parametrize("share", [0.01, 0.1])
def test_some_packets_five_milliseconds_late(share: float, loss: float) -> None:
    """100 Mbit/s x 50 ms: the first late packet teaches what the others need."""
    result = flow(100 * MBIT, 0.050, 2.0, loss=loss, forth=[Reorder(share, 0.005)], back=[])
    assert spurious_share(result) < 0.001


def test_packets_later_than_the_first_window() -> None:
    """30 ms late on 50 ms: more than min_rtt / 4, so that a few are lost in vain before it is known."""
    result = flow(20 * MBIT, 0.050, 4.0, forth=[Reorder(0.02, 0.030)], back=[])
    assert spurious_share(result) < 0.005


def test_a_path_that_keeps_order_is_never_suspected() -> None:
    """Random loss alone: no loss is spurious, and numbers still tell at once."""
    result = flow(20 * MBIT, 0.050, 4.0, loss=0.1, forth=[], back=[])
    assert spurious_share(result) == 0.0
