"""The rate model, name "model": send at the rate the path delivers, keep in flight what that rate needs.

Knows two things about the path, both measured: the highest delivery rate of this and the previous probing
cycle, and the lowest RTT of the last ten seconds. Their product (BDP) is what fills the path without a queue.
Everything is paced; the window is only a cap. It works by rounds, one round trip each:

    STARTUP     2.77 times the rate, until three rounds bring no quarter more, or one that met a queue all
                along, or a round shows congestion
    DRAIN       below the rate, until what is in flight fits the path
    BELOW       0.9 times the rate to the end of the round, only if packets were lost lately: what is lost
                while the path isn't full is no congestion of ours (the background loss)
    CRUISE      the rate, divided by the share that survives the background loss
    UP          1.25 times that for a round, to find more; then DRAIN again
    PROBE_RTT   half a BDP, when ten seconds have passed without an RTT close to the minimum

What makes it back off, since random loss does not:

  - a round, not one of DRAIN or BELOW, that loses significantly more than the background or has CE marks:
    `inflight_bound` falls to 0.85 of what was in flight, and regrows by a quarter with each probe; probes
    come less often until one does no harm;
  - a round that loses more than 30 % (two in a row without a queue): the model is disproved; the rate becomes
    what was delivered in that round, and the background must be measured anew;
  - persistent congestion: the minimum window, and all but the RTT is forgotten.

Samples taken while the application held back can raise the rate, never lower it. Every call costs O(1).

Sources: draft-ietf-ccwg-bbr; draft-cheng-iccrg-delivery-rate-estimation; RFC 9002. Own: the background loss
and its compensation, and the tests of significance, which let one rule serve rounds of ten packets and of ten
thousand.
"""

from __future__ import annotations

from enum import Enum
from math import sqrt
from typing import Final

from rudp.congestion.controller import AckSample, CongestionController, LossEvent, RandomBits

STARTUP_GAIN: Final = 2.77
"""4 ln 2: the least that doubles the delivered rate every round (draft-ietf-ccwg-bbr section 2.4)."""

UP_GAIN: Final = 1.25
DRAIN_GAIN: Final = 0.75
BELOW_GAIN: Final = 0.9
QUEUE_GAIN: Final = 0.95
"""Gain of cruising while a queue stands: the highest of many samples is a little too high."""
WINDOW_GAIN: Final = 2.0
"""BDPs the window allows: room for delayed ACKs and for losses not yet detected."""

FULL_PIPE_GROWTH: Final = 1.25
FULL_PIPE_ROUNDS: Final = 3
UP_GROWTH: Final = 1.1
"""Growth that makes the next probe follow at once."""

DRAIN_ROUNDS: Final = 4
"""Rounds that draining takes at most, if the rate is right and nobody else fills the queue."""
DRAIN_DELIVERS: Final = 0.9
"""Share of what was sent that must have been delivered for the rate to be believed."""

CRUISE_ROUNDS: Final = 5
"""Rounds between drain and the next probe, plus 0 to 3 drawn at random so that flows don't probe in step."""

HARMFUL_PROBES_MAX: Final = 2
"""Each probe that ended in congestion doubles the rounds to the next one, this many times at most."""

MIN_RTT_WINDOW: Final = 10.0
"""Seconds after which the minimum RTT must have been seen again, or is measured anew."""

MIN_RTT_CLOSE: Final = 1.02
"""An RTT within 2 % of the minimum confirms it."""

PROBE_RTT_TIME: Final = 0.2
"""Seconds for which the flight stays halved, long enough for flows to overlap; four RTTs if that is less."""

QUEUE_RTT: Final = 1.25
QUEUE_RTT_GRAIN: Final = 0.001
"""A round whose lowest RTT exceeds QUEUE_RTT minimum RTTs plus this timer grain (seconds) met a queue."""

EMPTY_QUEUE_RTT: Final = 1.1
"""Stricter, but with room for a train: only a round without anyone's queue may count as background."""

QUANTUM_TIME: Final = 0.001
QUANTUM_PACKETS: Final = 2
QUANTUM_BYTES: Final = 65_536
ALLOWANCE_TRAINS: Final = 3
"""The window also holds three trains (one being built, one on the way, one being read), each of one
millisecond's worth as the pacer lets it go, two packets at least and 64 KiB at most."""

EXCESS_LOSS: Final = 0.01
"""Loss above the background that a round may have, beyond chance."""
CHANCE_DEVIATIONS: Final = 3.0
CHANCE_PACKETS: Final = 2
"""Chance is three standard deviations, and two packets more: short rounds don't lose normally distributed."""

OVERLOAD_LOSS: Final = 0.30
BACKGROUND_MAX: Final = 0.25
BACKGROUND_PACKETS: Final = 1_000
"""Packets over which the background loss is averaged."""
BACKGROUND_PRIOR_PACKETS: Final = 10
"""Packets assumed not lost before any was counted: a short round doesn't make a background."""

BACK_OFF: Final = 0.85
QUEUELESS_FLOOR: Final = 0.5
CLEAN_GROWTH: Final = 1.02
"""Growth of a bound below the BDP in each round without congestion."""
MINIMUM_WINDOW_PACKETS: Final = 4
"""Fewer in flight can't carry an ACK clock past delayed ACKs (draft-ietf-ccwg-bbr section 2.8)."""

INFINITY: Final = float("inf")


class Phase(Enum):
    """Where the controller is in its cycle; see the module's docstring."""

    STARTUP = "startup"
    DRAIN = "drain"
    BELOW = "below"
    CRUISE = "cruise"
    UP = "up"
    PROBE_RTT = "probe_rtt"


class Model(CongestionController):
    """Model-based, paced, loss-tolerant."""

    # fmt: off
    __slots__ = (
        "_app_limited", "_background_acked", "_background_lost", "_cruise_rounds", "_cycle_lost",
        "_cycle_proven", "_epoch_acked", "_epoch_start", "_extra_before", "_extra_now",
        "_full_rate", "_full_rounds", "_gain", "_harmful_probes", "_measured", "_min_rtt_time", "_overloads",
        "_path_min_rtt", "_probe_min_rtt", "_probe_stop", "_random", "_rate_before", "_rate_now",
        "_round_acked", "_round_ce", "_round_gain", "_round_lost", "_round_min_rtt", "_round_peak",
        "_round_rate", "_round_stop", "_rounds", "_sent_gain", "_sent_peak", "background_loss",
        "inflight_bound", "min_rtt", "phase",
    )
    # fmt: on

    name = "model"

    phase: Phase
    min_rtt: float
    """Lowest RTT of about the last ten seconds; infinity before the first."""
    background_loss: float
    """Share of packets lost though the path wasn't full, 0 to BACKGROUND_MAX."""
    inflight_bound: float
    """Bytes in flight that congestion taught not to exceed; infinity if none."""
    _rounds: int
    _round_acked: int
    _round_lost: int
    _round_ce: int
    _round_rate: float
    _round_min_rtt: float

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self._random = random
        self._app_limited = False
        self.min_rtt = INFINITY
        self._path_min_rtt = INFINITY
        self._min_rtt_time = 0.0
        self._probe_min_rtt = INFINITY
        self._probe_stop = INFINITY
        self._round_stop = 0
        self._forget()

    def _forget(self) -> None:
        """Start from nothing but the minimum RTT."""
        self._rate_now = self._rate_before = 0.0
        self._extra_now = self._extra_before = 0.0
        self._epoch_acked = 0
        self._epoch_start = 0.0
        self._full_rate = 0.0
        self._full_rounds = 0
        self._overloads = 0
        self._cruise_rounds = CRUISE_ROUNDS
        self._harmful_probes = 0
        self._cycle_proven = False
        self._cycle_lost = 0
        self._background_acked = self._background_lost = 0.0
        self.background_loss = 0.0
        self._measured = False
        self.inflight_bound = INFINITY
        self._sent_gain = self._round_gain = STARTUP_GAIN
        self._sent_peak = self._round_peak = 0
        self._clear_round()
        self._enter(Phase.STARTUP, STARTUP_GAIN)

    @property
    def delivery_rate(self) -> float:
        """The highest rate at which the path delivered in this and the previous cycle, bytes a second."""
        return max(self._rate_now, self._rate_before)

    @property
    def minimum_window(self) -> int:
        """Bytes below which the window never falls but for persistent congestion."""
        return MINIMUM_WINDOW_PACKETS * self.max_datagram_size

    # Inputs

    def on_sent(self, sent_bytes: int, bytes_in_flight: int, now: float) -> None:
        """Note the peak of the flight; restart from idle at the rate itself, neither above nor below it."""
        self._sent_peak = max(self._sent_peak, bytes_in_flight + sent_bytes)
        if bytes_in_flight == 0 and self._app_limited:
            self._epoch_start, self._epoch_acked = now, 0
            if now - self._min_rtt_time > MIN_RTT_WINDOW:
                self.min_rtt = INFINITY  # the path is empty: the next sample is as good as a probe
            if self.phase in (Phase.UP, Phase.DRAIN, Phase.BELOW):
                self._enter_cruise()
                self._set_rate_and_window(0)
        self._app_limited = False

    def on_app_limited(self, now: float) -> None:  # noqa: ARG002
        """Note that the flight may run empty for want of data."""
        self._app_limited = True

    def on_loss(self, event: LossEvent) -> None:
        """Count; rounds are judged as a whole when they end."""
        self._round_lost += event.lost_bytes
        self._cycle_lost += event.lost_bytes

    def on_spurious_loss(self, spurious_bytes: int, now: float) -> None:  # noqa: ARG002
        """Take back what was counted as lost, in this round or the one before: reordering is no loss."""
        self._round_lost, earlier = max(self._round_lost - spurious_bytes, 0), spurious_bytes - self._round_lost
        if self._measured and earlier > 0:  # the last round counted as background
            self._background_lost = max(self._background_lost - earlier, 0.0)

    def on_persistent_congestion(self, now: float) -> None:  # noqa: ARG002
        """Start over from the least window (RFC 9002 section 7.6.2)."""
        self._forget()
        self.congestion_window = super().minimum_window
        self.pacing_rate = None

    def on_ack(self, sample: AckSample) -> None:
        """Take one ACK's sample, judge the round if this ends it, and set the rate and the window."""
        if sample.prior_delivered >= self._round_stop:
            self._end_round(sample)
        self._round_acked += sample.acked_bytes
        self._round_ce += sample.ecn_ce
        rate = sample.delivery_rate
        if rate is not None:
            if not sample.is_app_limited:
                self._cycle_proven = True
                self._round_rate = max(self._round_rate, rate)
                self._rate_now = max(self._rate_now, rate)
            elif rate > self.delivery_rate:
                self._rate_now = rate
        self._measure_aggregation(sample)
        self._update_min_rtt(sample)
        self._advance(sample)
        self._set_rate_and_window(sample.acked_bytes, sample.smoothed_rtt)

    # Measuring

    def _measure_aggregation(self, sample: AckSample) -> None:
        """How far ACKs ran ahead of the rate: the flight must cover the silence before them."""
        expected = self.delivery_rate * (sample.now - self._epoch_start)
        if self._epoch_acked <= expected:
            self._epoch_start, self._epoch_acked, expected = sample.now, 0, 0.0
        self._epoch_acked += sample.acked_bytes
        self._extra_now = max(self._extra_now, min(self._epoch_acked - expected, self._inflight(1.0)))

    def _update_min_rtt(self, sample: AckSample) -> None:
        rtt = sample.latest_rtt
        if rtt is None:
            return
        self._path_min_rtt = sample.min_rtt
        self._round_min_rtt = min(self._round_min_rtt, rtt)
        self._probe_min_rtt = min(self._probe_min_rtt, rtt)
        if rtt <= self.min_rtt * MIN_RTT_CLOSE:
            self.min_rtt = min(self.min_rtt, rtt)
            self._min_rtt_time = sample.now

    def _end_round(self, sample: AckSample) -> None:
        """Judge the round's feedback, which speaks of what was sent a round earlier at `_round_gain`."""
        self._measured = self._round_gain <= BELOW_GAIN and self._round_min_rtt <= self._empty_queue_rtt()
        if self._measured:
            self._measure_background()
        self._judge_loss()
        self._rounds += 1
        sent_gain = self._sent_gain
        self._next_phase(sample)
        self._round_stop = sample.delivered
        self._round_gain, self._sent_gain = sent_gain, self._gain
        self._round_peak, self._sent_peak = self._sent_peak, sample.bytes_in_flight
        self._clear_round()

    def _clear_round(self) -> None:
        self._round_acked = self._round_lost = self._round_ce = 0
        self._round_rate = 0.0
        self._round_min_rtt = INFINITY

    def _queue_stands(self) -> bool:
        return INFINITY > self._round_min_rtt > self.min_rtt * QUEUE_RTT + QUEUE_RTT_GRAIN

    def _empty_queue_rtt(self) -> float:
        """The RTT up to which nobody, we or others, keeps a queue that could overflow.

        The path's RTT, not the window's, which a queue that stands long enough makes its own.
        """
        own = self._quantum() / self.delivery_rate if self.delivery_rate else 0.0
        return self._path_min_rtt * EMPTY_QUEUE_RTT + QUEUE_RTT_GRAIN + own

    def _measure_background(self) -> None:
        self._background_acked += self._round_acked
        self._background_lost += self._round_lost
        total = self._background_acked + self._background_lost
        prior = BACKGROUND_PRIOR_PACKETS * self.max_datagram_size
        self.background_loss = min(self._background_lost / (total + prior), BACKGROUND_MAX)
        if total > BACKGROUND_PACKETS * self.max_datagram_size:
            self._background_acked /= 2
            self._background_lost /= 2

    # Backing off

    def _judge_loss(self) -> None:
        queue_stands = self._queue_stands()
        if self._lost_more_than(OVERLOAD_LOSS):
            self._overloads += 1
            if queue_stands or self._overloads >= 2:
                self._back_off_rate()
                return
        else:
            self._overloads = 0
        if self._round_gain <= BELOW_GAIN:
            return  # what we still see is the queue that this round was sent to drain
        excessive = self._lost_more_than(self.background_loss + EXCESS_LOSS)
        if self._round_ce or excessive:
            self._back_off_flight(queue_stands)
        elif self._round_gain > 1.0:
            self._harmful_probes = 0
        elif self.inflight_bound < self._bdp() + self._quantum():
            self.inflight_bound *= CLEAN_GROWTH

    def _lost_more_than(self, share: float) -> bool:
        """Whether the round lost more packets than chance explains if `share` of all are lost on average."""
        expected = share * (self._round_acked + self._round_lost) / self.max_datagram_size
        chance = CHANCE_DEVIATIONS * sqrt(expected * (1.0 - share)) + CHANCE_PACKETS
        return self._round_lost / self.max_datagram_size > expected + chance

    def _back_off_rate(self) -> None:
        """More is lost than the model may make up for: believe what was delivered now, and nothing older."""
        rate = self._round_rate or self.delivery_rate / 2
        self._rate_now = min(rate, self.delivery_rate)
        self._rate_before = 0.0
        self._background_acked = self._background_lost = 0.0
        self.background_loss = 0.0
        self._enter(Phase.DRAIN, DRAIN_GAIN)

    def _back_off_flight(self, queue_stands: bool) -> None:
        """Hold the flight below what it was, with a floor that depends on how plain the evidence is.

        What only a probe did, without a queue that others would feel, never asks for less than a BDP. Loss
        without a queue, which bursts into a short buffer cause at any rate, asks for no less than half a BDP,
        and the background is measured anew at once.
        """
        if self.phase is Phase.STARTUP:
            self._full_rounds = FULL_PIPE_ROUNDS if self._full_rounds else self._full_rounds
            return
        probe_only = self._round_gain > 1.0 and (self._round_ce or not queue_stands)
        floor: float = self.minimum_window
        if probe_only:
            floor = self._bdp() + self._quantum()
        elif not queue_stands and not self._round_ce:
            floor = max(self._bdp() * QUEUELESS_FLOOR, floor)
        bound = min(self.inflight_bound, max(self._round_peak, self.minimum_window)) * BACK_OFF
        self.inflight_bound = max(bound, floor)
        self._harmful_probes = min(self._harmful_probes + 1, HARMFUL_PROBES_MAX)
        if self.phase is Phase.UP or (self.phase is Phase.CRUISE and not self._round_ce):
            self._enter(Phase.DRAIN, DRAIN_GAIN)

    # The cycle

    def _next_phase(self, sample: AckSample) -> None:
        """Leave a phase that lasts whole rounds."""
        phase = self.phase
        if phase is Phase.STARTUP:
            self._check_full_pipe(sample)
        elif phase is Phase.UP:
            self._enter(Phase.DRAIN, DRAIN_GAIN)
        elif self._round_gain == UP_GAIN and self._probe_found_more():
            self._enter_up()
        elif phase is Phase.DRAIN and self._rounds >= DRAIN_ROUNDS:
            self._give_up_draining()
        elif phase is Phase.BELOW:
            self._enter_cruise()
        elif phase is Phase.CRUISE:
            if self._rounds >= self._cruise_rounds:
                self._enter_up()
            else:
                self._gain = QUEUE_GAIN if self._queue_stands() else 1.0

    def _give_up_draining(self) -> None:
        """Somebody keeps the queue full: others, or we, if the path doesn't deliver even the lower rate."""
        if 0.0 < self._round_rate < self._gain * self.delivery_rate * DRAIN_DELIVERS:
            self._rate_now, self._rate_before = self._round_rate, 0.0
            self._rounds = 0
        else:
            self._enter_cruise()

    def _probe_found_more(self) -> bool:
        found = self.delivery_rate >= self._full_rate * UP_GROWTH
        return found and not self._harmful_probes and not self._queue_stands()

    def _check_full_pipe(self, sample: AckSample) -> None:
        if self._full_rounds < FULL_PIPE_ROUNDS:
            if self.delivery_rate >= self._full_rate * FULL_PIPE_GROWTH:
                self._full_rate, self._full_rounds = self.delivery_rate, 0
            elif self._queue_stands():
                self._full_rounds = FULL_PIPE_ROUNDS  # no growth but the queue's; what follows would be loss
            elif not sample.is_app_limited:
                self._full_rounds += 1
        if self._full_rounds >= FULL_PIPE_ROUNDS:
            self._enter(Phase.DRAIN, 1.0 / STARTUP_GAIN)

    def _advance(self, sample: AckSample) -> None:
        """Leave a phase that lasts until the flight or the clock says so."""
        if self.phase is Phase.PROBE_RTT:
            self._advance_probe_rtt(sample)
        elif sample.now - self._min_rtt_time > MIN_RTT_WINDOW and self.phase is not Phase.STARTUP:
            self._probe_min_rtt = INFINITY
            self._probe_stop = INFINITY
            self._enter(Phase.PROBE_RTT, 1.0)
        elif self.phase is Phase.DRAIN and sample.bytes_in_flight <= self._bdp() + self._quantum():
            if self._cycle_lost:
                self._enter(Phase.BELOW, BELOW_GAIN)
            else:
                self._enter_cruise()

    def _advance_probe_rtt(self, sample: AckSample) -> None:
        if self._probe_stop == INFINITY:
            if sample.bytes_in_flight <= self._probe_rtt_window():
                self._rounds = 0
                self._probe_min_rtt = INFINITY if sample.latest_rtt is None else sample.latest_rtt
                self._probe_stop = sample.now + min(PROBE_RTT_TIME, 4 * sample.smoothed_rtt)
        elif sample.now >= self._probe_stop and self._rounds >= 1:
            self.min_rtt = min(self._probe_min_rtt, sample.smoothed_rtt)
            self._min_rtt_time = sample.now
            self._enter_cruise()

    def _enter(self, phase: Phase, gain: float) -> None:
        self.phase = phase
        self._gain = gain
        self._rounds = 0
        self._sent_gain = max(self._sent_gain, gain)

    def _enter_cruise(self) -> None:
        draw = self._random.getrandbits(2) if self._random is not None else 1
        self._cruise_rounds = (CRUISE_ROUNDS << self._harmful_probes) + draw
        self._enter(Phase.CRUISE, 1.0)

    def _enter_up(self) -> None:
        """Begin a cycle. Only one that proved the path's rate may push an older one out of the filter."""
        if self._cycle_proven:
            self._rate_before, self._rate_now = self._rate_now, 0.0
        self._full_rate = self.delivery_rate
        self._extra_before, self._extra_now = self._extra_now, 0.0
        self._cycle_proven = False
        self._cycle_lost = 0
        self.inflight_bound *= UP_GAIN
        if self.inflight_bound > self._inflight(WINDOW_GAIN):
            self.inflight_bound = INFINITY
        self._enter(Phase.UP, UP_GAIN)

    # Answers

    def _send_rate(self) -> float:
        """The rate that delivers `delivery_rate` after background loss."""
        return self.delivery_rate / (1.0 - self.background_loss)

    def _bdp(self) -> float:
        return self._send_rate() * self.min_rtt if self.min_rtt < INFINITY else 0.0

    def _quantum(self) -> float:
        least = QUANTUM_PACKETS * self.max_datagram_size
        return max(least, min(self._send_rate() * QUANTUM_TIME, QUANTUM_BYTES))

    def _inflight(self, gain: float) -> float:
        return gain * self._bdp() + ALLOWANCE_TRAINS * self._quantum()

    def _probe_rtt_window(self) -> float:
        return max(self._bdp() / 2, self._quantum(), self.minimum_window)

    def _set_rate_and_window(self, acked_bytes: int, smoothed_rtt: float = 0.0) -> None:
        starting = self.phase is Phase.STARTUP
        rate = self._gain * (self.delivery_rate if self._gain < 1.0 else self._send_rate())
        if starting:
            if self.pacing_rate is None and smoothed_rtt > 0.0:
                self.pacing_rate = STARTUP_GAIN * self.congestion_window / smoothed_rtt
            self.pacing_rate = max(rate, self.pacing_rate or 0.0) or None
            if self.congestion_window < self._inflight(WINDOW_GAIN):
                self.congestion_window += acked_bytes
            return
        if rate > 0.0:
            self.pacing_rate = rate
        if self.phase is Phase.PROBE_RTT:
            window = self._probe_rtt_window()
        else:
            window = self._inflight(WINDOW_GAIN) + max(self._extra_now, self._extra_before)
        self.congestion_window = int(max(min(window, self.inflight_bound), self.minimum_window))
