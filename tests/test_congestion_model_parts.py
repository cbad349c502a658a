"""Laws of the parts of the rate model: background loss, the window that losses move, base RTT, competition."""

from __future__ import annotations

import pytest

from rudp.congestion.background_loss import BackgroundLoss
from rudp.congestion.base_rtt import BaseRtt
from rudp.congestion.competition import Competition
from rudp.congestion.loss_window import LossWindow

PACKET = 1_400


def exceeds(background: BackgroundLoss, packets: int, lost: int) -> bool:
    return background.exceeds((packets - lost) * PACKET, lost * PACKET, PACKET, tolerance=0.01, deviations=4.0)


def test_background_is_the_mean_of_what_was_counted() -> None:
    background = BackgroundLoss()
    for _ in range(100):
        background.add(95 * PACKET, 5 * PACKET, PACKET)
    assert background.share == pytest.approx(0.05, rel=0.02)


def test_much_is_believed_only_of_a_path_whose_queue_was_seen() -> None:
    background = BackgroundLoss()
    for _ in range(100):
        background.add(60 * PACKET, 40 * PACKET, PACKET)
    assert background.share == pytest.approx(0.1)
    background.trust()
    background.add(60 * PACKET, 40 * PACKET, PACKET)
    assert background.share == pytest.approx(0.4, rel=0.02)


@pytest.mark.parametrize("packets", [100, 1_000, 10_000])
def test_a_round_like_the_background_does_not_exceed_it(packets: int) -> None:
    background = BackgroundLoss()
    for _ in range(100):
        background.add(95 * PACKET, 5 * PACKET, PACKET)
    assert not exceeds(background, packets, packets * 6 // 100)
    assert exceeds(background, packets, packets // 4)


def test_without_a_background_few_losses_are_many() -> None:
    background = BackgroundLoss()
    assert not exceeds(background, 100, 1)
    assert exceeds(background, 100, 2)


def test_a_round_with_less_loss_disproves_the_background() -> None:
    background = BackgroundLoss()
    background.trust()
    for _ in range(100):
        background.add(60 * PACKET, 40 * PACKET, PACKET)
    background.check(100 * PACKET, 0, PACKET)
    background.add(100 * PACKET, 0, PACKET)
    assert background.share == 0.0


def test_the_loss_window_returns_to_where_it_was_in_the_time_of_the_cubic_function() -> None:
    """RFC 9438 section 4.2: from 70 % of 1,000 packets the cube root of 300 / 0.4 seconds, nine, to the plateau."""
    window = LossWindow()
    window.start(1_000.0, 1_000.0, 0.0)
    window.cut(0.0)
    assert window.window == pytest.approx(700.0)
    now = 0.0
    while window.window < 999.0:
        now += 0.1
        window.grow(now, 0.1)
    assert now == pytest.approx(9.0, abs=1.5)


def test_a_second_cut_below_the_plateau_leaves_room() -> None:
    window = LossWindow()
    window.start(100.0, 100.0, 0.0)
    window.cut(0.0)
    window.cut(1.0)
    assert window.window == pytest.approx(49.0)


def test_the_base_rtt_forgets_after_two_epochs() -> None:
    base = BaseRtt()
    now = 0.0
    base.update(0.05, now)
    for _ in range(5):
        now += 4.0
        base.update(0.1, now)
        base.drained(0.1, now)
    assert base.value == pytest.approx(0.1)


def test_an_empty_queue_puts_a_drain_off() -> None:
    base = BaseRtt()
    base.update(0.05, 0.0)
    base.drained(0.05, 0.0)
    assert not base.is_due(2.9)
    assert base.is_due(3.1)
    base.update(0.0502, 2.0)
    assert not base.is_due(3.1)
    assert base.is_due(5.1)
    base.want(5.2)
    assert not base.is_due(5.3)
    assert base.is_due(6.3)


def drain(competition: Competition, left: float) -> None:
    competition.queue_falls(0.03)
    competition.drained(left, 0.03, 100.0, 5_000.0, base=0.05, now=0.0)


def test_two_drains_that_leave_a_queue_begin_a_competition_and_three_that_do_not_end_it() -> None:
    competition = Competition()
    drain(competition, 0.0)
    drain(competition, 0.02)
    assert competition.in_doubt
    assert not competition.is_on
    drain(competition, 0.02)
    assert competition.is_on
    assert competition.loss_window.window == pytest.approx(100.0)
    for _ in range(2):
        drain(competition, 0.0)
    assert competition.is_on
    drain(competition, 0.0)
    assert not competition.is_on


def test_one_drain_that_leaves_a_queue_is_none() -> None:
    competition = Competition()
    for left in (0.02, 0.0, 0.02, 0.0, 0.02):
        drain(competition, left)
    assert not competition.is_on


def test_a_fall_of_the_queue_is_a_drain_of_others_only_in_doubt() -> None:
    competition = Competition()
    competition.queue_falls(0.03)
    assert not competition.queue_falls(0.02)
    drain(competition, 0.02)
    assert competition.queue_falls(0.02)
    assert not competition.queue_falls(0.0195)
