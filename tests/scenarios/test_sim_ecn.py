"""ECN from end to end: marks reach the controller on paths that handle them, and cost nothing on those that do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.flows import Flow, Run, run
from rudp.congestion import AckSample
from rudp.congestion.new_reno import NewReno
from rudp.ecn import ECT0, ECT1
from rudp.sim import CoDel, Datagram, Filter, Node

MBIT = 125_000
RATE = 10 * MBIT


def flow(forth: list[Node], bottleneck: list[Node] | None = None, seconds: float = 6.0) -> tuple[Run, int]:
    """A NewReno flow over 10 Mbit/s and 40 ms; returns what came of it and how many marks it was told of."""
    told = []

    class Told(NewReno):
        __slots__ = ()

        def on_ack(self, sample: AckSample) -> None:
            told.append(sample.ecn_ce)
            super().on_ack(sample)

    outcome = run(
        [Flow(Told, 0.040, forth=forth)],
        rate=RATE,
        queue_bytes=60_000,
        seconds=seconds,
        seed=1,
        bottleneck=bottleneck,
    )
    return outcome, sum(told)


def test_marks_take_the_place_of_losses() -> None:
    line = CoDel(RATE, 200_000)
    outcome, told = flow([], [line])
    (result,) = outcome.results
    assert result.stats is not None
    print(f"marked {line.marked}, told {told}, lost {result.stats.packets_lost}")
    assert line.marked >= 5
    assert line.marked - 2 <= told <= line.marked
    assert result.stats.ecn_capable
    assert result.stats.packets_lost == 0
    assert result.goodput(2.0, 6.0) > 0.7 * RATE


def bleached(datagram: Datagram) -> Datagram:
    return datagram._replace(ecn=0)


def as_ect1(datagram: Datagram) -> Datagram:
    return datagram._replace(ecn=ECT1) if datagram.ecn == ECT0 else datagram


def dropped(datagram: Datagram) -> bool:
    return datagram.ecn == 0


@pytest.mark.parametrize("start", [0.0, 2.0], ids=["always", "after 2 s"])
@pytest.mark.parametrize("fault", [bleached, as_ect1, dropped])
def test_a_path_that_gets_marks_wrong_carries_unmarked_packets(
    fault: Callable[[Datagram], Datagram | bool], start: float
) -> None:
    """RFC 9000 section 13.4.2: validation fails, and data goes on."""
    outcome, told = flow([Filter(lambda time, datagram: fault(datagram) if time >= start else True)])
    (result,) = outcome.results
    assert result.error is None
    assert result.stats is not None
    assert not result.stats.ecn_capable
    assert told == 0
    assert result.goodput(5.0, 6.0) > 0.5 * RATE
