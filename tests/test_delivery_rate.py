"""Delivery-rate samples: one an ACK, raised by no burst of ACKs, marked when the application held back."""

from __future__ import annotations

import pytest

from rudp.delivery_rate import DeliveryRate
from rudp.sent_packets import SentTrain
from tests.sender import RTT, SIZE, Sender, settled_sender

sender = pytest.fixture(settled_sender)


def test_delivery_rate_of_a_steady_flow(sender: Sender) -> None:
    """A train of ten every 10 ms, each acknowledged a round trip later: 1.2 MB/s."""
    start = sender.recovery.next_packet_number
    for tick in range(40):
        sender.send(10)
        if tick >= 10:
            stop = start + (tick - 9) * 10
            sender.ack((0, stop))
            sender.want_acked((stop - 10, stop))
        sender.advance(0.010)
    rates = [sample.delivery_rate for sample in sender.recorder.samples[12:]]
    assert rates == [pytest.approx(1_200_000)] * len(rates)
    sample = sender.recorder.samples[-1]
    assert sample.delivered - sample.prior_delivered == 11 * 10 * SIZE
    assert sample.delivered == sender.recovery.delivered
    assert not sample.is_app_limited


def test_delivery_rate_does_not_believe_compressed_acks(sender: Sender) -> None:
    start = sender.recovery.next_packet_number
    for _ in range(20):
        sender.send(10)
        sender.advance(0.010)
    # All in one burst, as from a path that holds ACKs back: the send rate limits the sample.
    for index in range(1, 21):
        sender.ack((0, start + index * 10))
        sender.want_acked((start + index * 10 - 10, start + index * 10))
    rates = [sample.delivery_rate for sample in sender.recorder.samples[1:]]
    assert max(rate for rate in rates if rate is not None) <= 1_200_000 * 1.06


def test_no_delivery_rate_over_less_than_the_smallest_rtt() -> None:
    rate = DeliveryRate(0.0)
    train = SentTrain(0, 10, 1.0, SIZE, 10 * SIZE)
    train.path_state = rate.on_sent(train.size, 0, now=1.0)
    rate.on_delivered(train.size, now=1.05)
    assert rate.sample(train, 0.06, now=1.05) is None
    assert rate.sample(train, 0.05, now=1.05) == pytest.approx(train.size / 0.05)
    assert rate.sample(train, 0.0, now=1.0) is None


def test_the_longer_of_sending_and_acknowledging_counts() -> None:
    rate = DeliveryRate(0.0)
    trains = [SentTrain(number, 10, 1.0 + number, SIZE, 10 * SIZE) for number in range(3)]
    trains[0].path_state = rate.on_sent(trains[0].size, 0, now=1.0)
    trains[1].path_state = rate.on_sent(trains[1].size, 1, now=2.0)
    rate.on_delivered(trains[0].size, now=2.95)
    assert rate.sample(trains[0], 0.1, now=2.95) == pytest.approx(10 * SIZE / 1.95)
    trains[2].path_state = rate.on_sent(trains[2].size, 1, now=3.0)
    rate.on_delivered(trains[1].size, now=3.05)
    rate.sample(trains[1], 0.1, now=3.05)
    rate.on_delivered(trains[2].size, now=3.15)
    # Two trains acknowledged 0.2 s after the first one, but sent over two seconds.
    assert rate.sample(trains[2], 0.1, now=3.15) == pytest.approx(2 * 10 * SIZE / 2.0)


def test_one_sample_an_ack(sender: Sender) -> None:
    for _ in range(3):
        sender.send(5)
    sender.advance(RTT)
    sender.ack((14, 16), (8, 12), (0, 4))
    sender.want_acked((1, 4), (8, 12), (14, 16))
    sender.want_lost((4, 8), (12, 13))
    assert [sample.acked_bytes for sample in sender.recorder.samples[1:]] == [9 * SIZE]
    sample = sender.recorder.samples[-1]
    assert (sample.lost_bytes, sample.prior_in_flight, sample.bytes_in_flight) == (5 * SIZE, 15 * SIZE, SIZE)


def test_app_limited_lasts_until_what_was_in_flight_is_delivered(sender: Sender) -> None:
    assert not sender.send(5).path_state.is_app_limited
    sender.recovery.on_app_limited(sender.now)
    assert sender.recorder.others == ["app limited"]
    assert sender.send(5).path_state.is_app_limited
    sender.advance(RTT)
    sender.ack((0, 6))
    sender.want_acked((1, 6))
    assert sender.send(5).path_state.is_app_limited
    sender.ack((0, 7))
    sender.want_acked((6, 7))
    assert not sender.send(5).path_state.is_app_limited
    assert [sample.is_app_limited for sample in sender.recorder.samples[1:]] == [False, True]


def test_a_full_window_is_not_app_limited(sender: Sender) -> None:
    sender.recorder.congestion_window = 5 * SIZE
    sender.send(5)
    sender.recovery.on_app_limited(sender.now)
    assert sender.recorder.others == []
    assert sender.recovery.limited_by(sender.now) == "congestion_window"
    assert sender.recovery.send_allowance(sender.now) == 0
    assert sender.recovery.pacer.release_time(sender.now) is None
