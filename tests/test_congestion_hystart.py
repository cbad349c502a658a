"""HyStart++ against RFC 9406: when it takes a longer RTT for a queue, when it takes that back, when it is over."""

from __future__ import annotations

import pytest

from rudp.congestion.hystart import HyStart
from tests.congestion_steps import SIZE
from tests.test_congestion_interface import sample


class Rounds:
    """Round trips of sixteen packets, acknowledged two at a time."""

    def __init__(self) -> None:
        self.hystart = HyStart()
        self.delivered = 0

    def round(self, rtt: float, acks: int = 8, packets: int = 2) -> int:
        """One round trip whose smallest RTT is `rtt` seconds; returns the growth."""
        start, grown = self.delivered, 0
        for number in range(acks):
            self.delivered += packets * SIZE
            # The newest packet was sent when everything of the round before was delivered.
            fields = {"latest_rtt": rtt + 0.001 * number, "prior_delivered": start}
            grown += self.hystart.growth(sample(0.0, packets * SIZE, self.delivered, **fields), SIZE)
        return grown


def test_slow_start_while_the_rtt_stays() -> None:
    rounds = Rounds()
    for _ in range(20):
        assert rounds.round(0.08) == 16 * SIZE, "all that is acknowledged"
    assert not rounds.hystart.is_conservative


@pytest.mark.parametrize(
    ("rtt", "threshold"),
    [(0.010, 0.004), (0.032, 0.004), (0.080, 0.010), (0.128, 0.016), (0.400, 0.016)],
    ids=["at least 4 ms", "an eighth is 4 ms", "an eighth", "an eighth is 16 ms", "at most 16 ms"],
)
def test_threshold(rtt: float, threshold: float) -> None:
    """Section 4.2: RttThresh = max(4 ms, min(RTT / 8, 16 ms)), between the smallest RTTs of two rounds."""
    below, above = Rounds(), Rounds()
    for rounds, excess in ((below, -0.0005), (above, 0.0005)):
        rounds.round(rtt)
        rounds.round(rtt + threshold + excess)
    assert not below.hystart.is_conservative
    assert above.hystart.is_conservative


def test_growth_at_a_quarter_for_five_rounds() -> None:
    rounds = Rounds()
    rounds.round(0.08)
    rounds.round(0.1)
    assert rounds.hystart.is_conservative
    for _ in range(4):
        assert rounds.round(0.1) == 16 * SIZE // 4
        assert not rounds.hystart.is_over
    rounds.round(0.1, acks=1)
    assert rounds.hystart.is_over, "the round it began in counts: this is the sixth"


def test_an_rtt_below_the_one_it_began_with_resumes_slow_start() -> None:
    rounds = Rounds()
    rounds.round(0.08)
    rounds.round(0.1)
    rounds.round(0.1)
    rounds.round(0.09)
    assert not rounds.hystart.is_conservative
    assert rounds.round(0.085) == 16 * SIZE
    rounds.round(0.11)
    assert rounds.hystart.is_conservative, "and it may begin again"
    for _ in range(4):
        rounds.round(0.11)
        assert not rounds.hystart.is_over, "its rounds are counted anew"


def test_few_packets_or_a_single_sample_prove_nothing() -> None:
    for acks, packets in ((7, 2), (1, 40)):
        rounds = Rounds()
        for _ in range(5):
            rounds.round(0.08, acks, packets)
            rounds.round(0.2, acks, packets)
        assert not rounds.hystart.is_conservative, (acks, packets)


def test_two_samples_of_many_packets_do() -> None:
    rounds = Rounds()
    rounds.round(0.08, 8, 40)
    rounds.round(0.1, 2, 40)
    assert rounds.hystart.is_conservative


def test_acks_without_a_sample_grow_the_window_all_the_same() -> None:
    hystart = HyStart()
    assert hystart.growth(sample(0.0, 5 * SIZE, 5 * SIZE, latest_rtt=None), SIZE) == 5 * SIZE  # type: ignore[arg-type]
