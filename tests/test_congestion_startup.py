"""The default controller's start on whole links: it doubles while the path has room, and knows when it has none."""

from __future__ import annotations

import pytest

from bench.cells import CONFIG
from bench.flows import Flow, payload_rate, run
from bench.loss import Cell, Row, goals_missed, measure
from rudp.sim import Rate


def start_up_missed(row: Row) -> list[str]:
    """Goals of the start: the goodput of a moment is none."""
    return [text for text in goals_missed(row) if "start-up" in text or "never full" in text]


@pytest.mark.parametrize("loss", [0.0, 10.0])
@pytest.mark.parametrize(("rate", "rtt"), [(10.0, 50.0), (100.0, 10.0), (100.0, 50.0), (20.0, 200.0)])
def test_the_link_is_full_within_three_round_trips_of_doubling(rate: float, rtt: float, loss: float) -> None:
    """As the goals of the loss table ask, spilling at most 2 % of a queue of one BDP meanwhile."""
    row = measure(Cell("model", rate, rtt, loss, 1.0, seconds=4.0, steady_from=3.0))
    assert not start_up_missed(row), row


@pytest.mark.parametrize("loss", [0.1, 1.0, 5.0, 10.0])
def test_a_fast_link_of_a_short_round_trip_is_full_in_time(loss: float) -> None:
    """1 Gbit/s x 10 ms took a third of a round trip too long: rounds came to 1.8 times the last, not to twice."""
    row = measure(Cell("model", 1000.0, 10.0, loss, 1.0, seconds=0.6, steady_from=0.4))
    assert not start_up_missed(row), row


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("loss", "both"), [(1.0, False), (20.0, False), (1.0, True)])
def test_a_queue_of_ten_packets_holds_the_start(seed: int, loss: float, both: bool) -> None:
    """10 Mbit/s x 10 ms: one packet too many of those fifty are 2 %. It was up to 11 %."""
    row = measure(Cell("model", 10.0, 10.0, loss, 1.0, both=both, seed=seed, seconds=4.0, steady_from=3.0))
    assert row.start_up_lost is not None
    assert row.start_up_lost < 0.02, row


@pytest.mark.parametrize(("both", "seed"), [(False, 1), (False, 10), (False, 22), (True, 10)])
def test_a_late_first_ack_floods_no_queue_of_ten_packets(both: bool, seed: int) -> None:
    """What an ACK set free came twice as fast as the link carries: 3 to 5 % were lost."""
    row = measure(Cell("model", 10.0, 10.0, 10.0, 1.0, both=both, seed=seed, seconds=2.0, steady_from=1.0))
    assert row.start_up_lost is not None
    assert row.start_up_lost < 0.02, row


@pytest.mark.parametrize(
    ("rate", "rtt", "queue", "dropped"),
    [(1000, 2e-4, 64_000, 0.03), (1000, 2e-4, 256_000, 0.03), (1000, 1e-3, 128_000, 0.2), (100, 1e-3, 12_500, 0.3)],
)
def test_a_queue_of_a_near_path_is_not_flooded(rate: int, rtt: float, queue: int, dropped: float) -> None:
    """Four milliseconds' worth of the rate were sent whatever was lost: 74, 41, 46 and 44 % of all, for good."""
    line, seen = Rate(rate * 125_000, queue), []
    note = [(at, lambda _: seen.append((line.received, line.dropped))) for at in (0.8, 1.2)]
    nodes = {"rate": 0.0, "queue_bytes": 0, "bottleneck": [line], "card": 1e-4}
    outcome = run([Flow(rtt=rtt)], seconds=1.21, config=CONFIG, at=note, **nodes)
    (came, lost), (came_later, lost_later) = seen
    assert (lost_later - lost) / (came_later - came) < dropped
    assert outcome.results[0].goodput(0.8, 1.2) > 0.9 * payload_rate(line.bytes_per_second, CONFIG, 1_200)


@pytest.mark.parametrize("loss", [0.0, 1.0])
@pytest.mark.parametrize(("rate", "rtt", "queue"), [(10.0, 200.0, 0.06), (10.0, 100.0, 0.12), (100.0, 100.0, 0.06)])
def test_a_queue_too_short_to_be_seen_is_not_flooded(rate: float, rtt: float, queue: float, loss: float) -> None:
    """A policer has next to none. The start sent up to forty times what the link carried, and later 20 to 30 % was
    lost for good, as what had overflowed was taken for the path's own loss.
    """
    row = measure(Cell("model", rate, rtt, loss, queue))
    assert row.start_up_lost is not None
    assert row.start_up_lost < 0.4
    assert row.retransmitted < 0.08
    assert row.share > 0.85
