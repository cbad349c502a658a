"""What BBR measures of a path: the bandwidth, the volume it holds, the round trips in which both are counted.

Knows: rate samples and losses of the newest round, the maxima and bounds over longer times, the minimum RTT. Refuses
to know: the states of BBR, what it does with the model (`bbr`), packets and clocks.

Everything is O(1), windowed maxima too: each keeps the maximum of the present slot and of the one before.

Source: draft-ietf-ccwg-bbr, the working group's text of August 2026; names in its pseudocode stand at each operation.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample, LossEvent

__all__ = ["INFINITY", "LOSS_THRESH", "PathModel"]

INFINITY: Final = float("inf")

LOSS_THRESH: Final = 0.02
"""Share of a round's flight that may be lost while probing (BBR.LossThresh)."""
BETA: Final = 0.7
"""Factor by which the short-term bounds fall at most in a round with loss (BBR.Beta)."""
HEADROOM: Final = 0.15
"""Share of `inflight_longterm` that cruising leaves to others (BBR.Headroom)."""
EXTRA_ACKED_ROUNDS: Final = 5
"""Rounds of one of the two slots that together remember ACK aggregation (BBR.ExtraAckedFilterLen is 10)."""
MIN_RTT_WINDOW: Final = 10.0
"""Seconds for which a minimum RTT is believed (BBR.MinRTTFilterLen)."""
PROBE_RTT_INTERVAL: Final = 5.0
"""Seconds without an RTT close to the minimum after which it is probed (BBR.ProbeRTTInterval)."""


class PathModel:
    """BBR's network path model. Bandwidths in bytes a second, volumes in bytes, times in seconds."""

    # fmt: off
    __slots__ = (
        "_bw_before",
        "_bw_latest",
        "_bw_now",
        "_extra_before",
        "_extra_delivered",
        "_extra_now",
        "_extra_rounds",
        "_inflight_latest",
        "_loss_round_delivered",
        "_loss_round_start",
        "_min_rtt_stamp",
        "_next_round_delivered",
        "_probe_rtt_min_delay",
        "_undo",
        "bw_shortterm",
        "extra_acked_start",
        "inflight_longterm",
        "inflight_shortterm",
        "is_loss_in_round",
        "lost_in_round",
        "min_rtt",
        "probe_rtt_expired",
        "probe_rtt_min_stamp",
        "round_count",
        "round_start",
    )
    # fmt: on

    min_rtt: float
    """Lowest RTT of the last ten seconds; infinity before the first."""
    bw_shortterm: float
    inflight_shortterm: float
    """What loss in this probing cycle taught not to exceed; infinity: nothing."""
    inflight_longterm: float
    """The flight above which a probe lost too much; infinity: none did."""
    round_start: bool
    """The ACK just taken is the first that acknowledges what was sent in a new round."""

    is_loss_in_round: bool
    _inflight_latest: int
    _bw_latest: float

    def __init__(self) -> None:
        self._bw_now = self._bw_before = 0.0
        self._extra_now = self._extra_before = 0.0
        self._extra_rounds = 0
        self._extra_delivered = 0
        self.extra_acked_start = 0.0
        self.min_rtt = self._probe_rtt_min_delay = INFINITY
        self._min_rtt_stamp = self.probe_rtt_min_stamp = -INFINITY
        self.probe_rtt_expired = False
        self._next_round_delivered = 0
        self.round_count = 0
        self.round_start = False
        self.inflight_longterm = INFINITY
        self._loss_round_delivered = 0
        self._loss_round_start = False
        self.lost_in_round = 0
        self.reset_congestion_signals()
        self.reset_short_term()
        self._undo = (INFINITY, INFINITY, INFINITY)

    # -- answers ------------------------------------------------------------------------------------------------

    @property
    def max_bw(self) -> float:
        """The highest delivery rate of this and the previous probing cycle (BBR.max_bw)."""
        return max(self._bw_now, self._bw_before)

    @property
    def bw(self) -> float:
        """The bandwidth to work with (BoundBWForModel)."""
        return min(self.max_bw, self.bw_shortterm)

    @property
    def bdp(self) -> float:
        """Bytes that fill the path without a queue; 0 before the first RTT sample."""
        return self.bw * self.min_rtt if self.min_rtt < INFINITY else 0.0

    @property
    def extra_acked(self) -> float:
        """Bytes by which ACKs lately ran ahead of the bandwidth (BBR.extra_acked)."""
        return max(self._extra_now, self._extra_before)

    @property
    def inflight_latest(self) -> float:
        """The largest volume delivered in a flight of the newest round (BBR.inflight_latest)."""
        return self._inflight_latest

    @property
    def loss_round_start(self) -> bool:
        """The ACK just taken ends the round in which losses are counted together."""
        return self._loss_round_start

    def inflight_with_headroom(self, max_datagram_size: int) -> float:
        """The flight that leaves room for others to grow (InflightWithHeadroom)."""
        longterm = self.inflight_longterm
        return longterm if longterm == INFINITY else longterm - max(max_datagram_size, HEADROOM * longterm)

    # -- inputs -------------------------------------------------------------------------------------------------

    def take_rates(self, sample: AckSample, *, probing: bool, window: int) -> None:
        """UpdateLatestDeliverySignals and UpdateCongestionSignals: rounds, maxima, and what loss taught.

        `probing`: the flow is accelerating on purpose, so loss is no news of the path.
        """
        rate = sample.delivery_rate or 0.0
        self._bw_latest = max(self._bw_latest, rate)
        self._inflight_latest = max(self._inflight_latest, sample.delivered - sample.prior_delivered)
        self._loss_round_start = sample.prior_delivered >= self._loss_round_delivered
        if self._loss_round_start:
            self._loss_round_delivered = sample.delivered
        self.round_start = sample.prior_delivered >= self._next_round_delivered
        if self.round_start:
            self.start_round(sample.delivered)
            self.round_count += 1
        if rate > 0.0 and (rate >= self.max_bw or not sample.is_app_limited):
            self._bw_now = max(self._bw_now, rate)
        if self._loss_round_start:
            if self.is_loss_in_round and not probing:
                self._lower_bounds(window)
            self.is_loss_in_round = False

    def take_aggregation(self, sample: AckSample, *, window: int, starting: bool) -> None:
        """UpdateACKAggregation: how far ACKs ran ahead; while `starting` only the newest round counts."""
        expected = self.bw * (sample.now - self.extra_acked_start)
        if self._extra_delivered <= expected:
            self._extra_delivered, self.extra_acked_start, expected = 0, sample.now, 0.0
        self._extra_delivered += sample.acked_bytes
        if self.round_start:
            self._extra_rounds += 1
            if starting or self._extra_rounds >= EXTRA_ACKED_ROUNDS:
                self._extra_rounds = 0
                self._extra_before = 0.0 if starting else self._extra_now
                self._extra_now = 0.0
        self._extra_now = max(self._extra_now, min(self._extra_delivered - expected, window))

    def take_rtt(self, rtt: float | None, now: float) -> None:
        """UpdateMinRTT."""
        self.probe_rtt_expired = now > self.probe_rtt_min_stamp + PROBE_RTT_INTERVAL
        if rtt is not None and (rtt < self._probe_rtt_min_delay or self.probe_rtt_expired):
            self.probe_rtt_expired = self.probe_rtt_expired and self._probe_rtt_min_delay < INFINITY
            self._probe_rtt_min_delay, self.probe_rtt_min_stamp = rtt, now
        if self._probe_rtt_min_delay < self.min_rtt or now > self._min_rtt_stamp + MIN_RTT_WINDOW:
            self.min_rtt, self._min_rtt_stamp = self._probe_rtt_min_delay, self.probe_rtt_min_stamp

    def end_of_ack(self, sample: AckSample) -> None:
        """AdvanceLatestDeliverySignals: the newest round begins with this sample."""
        if self._loss_round_start:
            self._bw_latest = sample.delivery_rate or 0.0
            self._inflight_latest = sample.delivered - sample.prior_delivered
            self.lost_in_round = 0

    def note_congestion(self, lost_bytes: int, delivered: int) -> None:
        """NoteLoss: packets were lost, or marked (none lost). `delivered` is the total so far."""
        self.lost_in_round += lost_bytes
        if not self.is_loss_in_round:
            self._loss_round_delivered = delivered
        self.is_loss_in_round = True

    # -- changes ------------------------------------------------------------------------------------------------

    def start_round(self, delivered: int) -> None:
        """A round ends when something sent from now on is acknowledged (StartRound)."""
        self._next_round_delivered = delivered

    def advance_max_bw(self) -> None:
        """A probing cycle ends: the one before the last is forgotten (AdvanceMaxBwFilter)."""
        self._bw_before, self._bw_now = self._bw_now, 0.0

    def reset_congestion_signals(self) -> None:
        """ResetCongestionSignals."""
        self.is_loss_in_round = False
        self._bw_latest = 0.0
        self._inflight_latest = 0

    def reset_short_term(self) -> None:
        """ResetShortTermModel."""
        self.bw_shortterm = self.inflight_shortterm = INFINITY

    def save(self) -> None:
        """Keep the bounds, in case the losses that begin now prove spurious (SaveStateUponLoss)."""
        self._undo = (self.bw_shortterm, self.inflight_shortterm, self.inflight_longterm)

    def undo(self) -> None:
        """The losses were spurious: bounds are at least what they were before them (HandleSpuriousLossDetection)."""
        self.is_loss_in_round = False
        bw, inflight, longterm = self._undo
        self.bw_shortterm = max(self.bw_shortterm, bw)
        self.inflight_shortterm = max(self.inflight_shortterm, inflight)
        self.inflight_longterm = max(self.inflight_longterm, longterm)

    def _lower_bounds(self, window: int) -> None:
        """InitLowerBounds and LossLowerBounds: toward what was delivered lately, by the factor Beta a round."""
        bw = self.max_bw if self.bw_shortterm == INFINITY else self.bw_shortterm
        inflight = window if self.inflight_shortterm == INFINITY else self.inflight_shortterm
        self.bw_shortterm = max(self._bw_latest, BETA * bw)
        self.inflight_shortterm = max(self._inflight_latest, BETA * inflight)


def inflight_at_loss(event: LossEvent) -> float:
    """The flight at which losses crossed the threshold, perhaps amid the lost packets (InflightAtLoss)."""
    before = event.tx_in_flight - event.lost_bytes
    lost_before = event.lost_since_sent - event.lost_bytes
    prefix = (LOSS_THRESH * before - lost_before) / (1.0 - LOSS_THRESH)
    return max(before + prefix, 0.0)
