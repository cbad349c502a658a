"""BBR, name "bbr": paced at the measured bandwidth, probing for more in cycles, bounded by what probes lost.

Knows: the state machine and what each state allows; the path is measured by `bbr_model`. Refuses to know: packets,
clocks, what was in them.

    STARTUP   2.77 times the bandwidth, until it stops growing or a round loses too much
    DRAIN     half of it, until the flight fits the path
    DOWN, CRUISE, REFILL, UP   a probing cycle of 2 to 3 seconds, or of as many rounds as Reno would take
    PROBE_RTT half a BDP for 200 ms, when no low RTT was seen for 5 seconds

Every call is O(1).

Source: draft-ietf-ccwg-bbr, the working group's text of August 2026 (BBRv3); the names of its pseudocode stand at each
operation. Departures: the draft leaves ECN open: a CE mark counts as a loss does, and ends a probe or Startup. Startup
counts lost packets where the draft counts lost ranges, which trains make few of. In PROBE_RTT samples are not marked
as limited by the application, but the two estimators that could mistake them are not asked. State is saved for undo
once a loss episode (RFC 9002 section 7.3.2), not once a round, or the second round would save what the first one cut.
After persistent congestion (the draft's RTO) the window is RFC 9002's minimum and grows by what is acknowledged.
A cautious probe compares the flight before an ACK with its bound, not the one after: an ACK is of many packets.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from rudp.congestion.bbr_model import BETA, INFINITY, LOSS_THRESH, PathModel, inflight_at_loss
from rudp.congestion.controller import AckSample, CongestionController, LossEvent, RandomBits, initial_window

__all__ = ["Bbr", "State"]

STARTUP_PACING_GAIN: Final = 2.77
DRAIN_PACING_GAIN: Final = 0.5
DOWN_PACING_GAIN: Final = 0.9
UP_PACING_GAIN: Final = 1.25
DEFAULT_CWND_GAIN: Final = 2.0
UP_CWND_GAIN: Final = 2.25
PROBE_RTT_CWND_GAIN: Final = 0.5
PACING_MARGIN: Final = 0.99
"""One percent below the bandwidth, for short queues (BBR.PacingMarginPercent)."""

FULL_BW_GROWTH: Final = 1.25
FULL_BW_ROUNDS: Final = 3
STARTUP_FULL_LOSSES: Final = 6
"""Packets a round must lose in Startup, besides the share, to end it (BBRStartupFullLossCnt)."""
DRAIN_ROUNDS: Final = 3
PROBE_RTT_DURATION: Final = 0.2
"""Seconds (BBR.ProbeRTTDuration)."""
PROBE_WAIT: Final = 2.0
"""Seconds between probes, and up to one more drawn at random (PickProbeWait)."""
RENO_ROUNDS: Final = 63
"""Rounds after which a flow with a small BDP probes anyway, as Reno would (IsRenoCoexistenceProbeTime)."""
MIN_PIPE_PACKETS: Final = 4
"""Packets of the least window (BBR.MinPipeCwnd)."""
MAX_SLOPE_ROUNDS: Final = 30
QUANTUM_TIME: Final = 0.001
QUANTUM_BYTES: Final = 65_536
QUANTUM_PACKETS: Final = 2
"""What the sender lets go at once: a millisecond's worth, two packets at least, 64 KiB at most (SetSendQuantum)."""


class State(Enum):
    """States of BBR; four of them make a probing cycle."""

    STARTUP = "startup"
    DRAIN = "drain"
    DOWN = "probe_bw_down"
    CRUISE = "probe_bw_cruise"
    REFILL = "probe_bw_refill"
    UP = "probe_bw_up"
    PROBE_RTT = "probe_rtt"


class AckPhase(Enum):
    """What the ACKs that come now say about the last probe."""

    INIT = 0
    REFILLING = 1
    STARTING = 2
    FEEDBACK = 3
    STOPPING = 4


_PACING_GAIN: Final = {
    State.STARTUP: STARTUP_PACING_GAIN,
    State.DRAIN: DRAIN_PACING_GAIN,
    State.DOWN: DOWN_PACING_GAIN,
    State.UP: UP_PACING_GAIN,
}
_CYCLE: Final = (State.DOWN, State.CRUISE, State.REFILL, State.UP)
_PROBING: Final = (State.STARTUP, State.REFILL, State.UP)


class Bbr(CongestionController):
    """BBR version 3."""

    # fmt: off
    __slots__ = (
        "_ack_phase", "_app_limited", "_cycle_stamp", "_delivered", "_drain_start_round",
        "_episode_start", "_full_bw",
        "_full_bw_count", "_full_bw_now", "_idle_restart", "_inflight", "_is_probe_sample", "_precautionary",
        "_prior_window", "_probe_rtt_done_stamp", "_probe_rtt_round_done", "_probe_up_acked", "_probe_up_per_inc",
        "_probe_up_rounds", "_probe_wait", "_random", "_rounds_since_probe", "_undo_state",
        "_window_filled", "_window_filled_before", "full_bw_reached", "path", "probed_too_high", "state",
    )
    # fmt: on

    name = "bbr"

    full_bw_reached: bool
    """Startup found the path's bandwidth."""
    probed_too_high: bool
    """The last probe lost too much (BBR.prev_probe_too_high)."""

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self._random = random
        self.path = PathModel()
        self.state = State.STARTUP
        self.full_bw_reached = False
        self._app_limited = self._idle_restart = False
        self._window_filled = self._window_filled_before = False
        self._delivered = self._inflight = 0
        self._prior_window = 0
        self._drain_start_round = 0
        self._episode_start = -INFINITY
        self._probe_rtt_done_stamp: float | None = None
        self._probe_rtt_round_done = False
        self._ack_phase = AckPhase.INIT
        self._is_probe_sample = self.probed_too_high = self._precautionary = False
        self._probe_up_per_inc = INFINITY
        self._probe_up_acked = self._probe_up_rounds = 0
        self._rounds_since_probe = 0
        self._probe_wait = 0.0
        self._cycle_stamp = 0.0
        self._undo_state: State | None = None
        self._reset_full_bw()

    @property
    def minimum_window(self) -> int:
        """Bytes below which the window never falls but for persistent congestion (BBR.MinPipeCwnd)."""
        return MIN_PIPE_PACKETS * self.max_datagram_size

    # -- inputs -------------------------------------------------------------------------------------------------

    def on_sent(self, sent_bytes: int, bytes_in_flight: int, now: float) -> None:
        """Note whether the window is filled; leave idleness at the bandwidth itself (HandleRestartFromIdle)."""
        if bytes_in_flight == 0 and self._app_limited:
            self._idle_restart = True
            self.path.extra_acked_start = now
            if self.state in _CYCLE:
                self._set_pacing_rate(1.0)
            elif self.state is State.PROBE_RTT:
                self._check_probe_rtt_done(now)
        self._app_limited = False
        if bytes_in_flight + sent_bytes + self.max_datagram_size > self.congestion_window:
            self._window_filled = True

    def on_app_limited(self, now: float) -> None:  # noqa: ARG002
        """Note that the flight may run empty for want of data."""
        self._app_limited = True

    def on_loss(self, event: LossEvent) -> None:
        """HandleLostPacket, for a run of packets."""
        if event.newest_time_sent > self._episode_start:
            self._episode_start = event.now
            self._save_state()
        self.path.note_congestion(event.lost_bytes, self._delivered)
        if self._is_probe_sample and event.lost_since_sent > event.tx_in_flight * LOSS_THRESH:
            self._on_inflight_too_high(inflight_at_loss(event), event.is_app_limited, event.now)

    def on_persistent_congestion(self, now: float) -> None:  # noqa: ARG002
        """OnEnterRTO: begin again from the least window; the model stays."""
        self._episode_start = -INFINITY
        self._save_state()
        self.congestion_window = super().minimum_window

    def on_loss_undone(self, now: float) -> None:  # noqa: ARG002
        """HandleSpuriousLossDetection."""
        self._episode_start = -INFINITY
        self.congestion_window = max(self.congestion_window, self._prior_window)
        self.path.undo()
        self._reset_full_bw()
        undo_state, self._undo_state = self._undo_state, None
        if undo_state is None or undo_state is self.state:
            return
        if undo_state is State.STARTUP:
            self.full_bw_reached = False
            if self.state is not State.PROBE_RTT:
                self.state = State.STARTUP
        elif self.state is not State.PROBE_RTT:
            self._start_refill()
        self._bound_window()

    def on_ack(self, sample: AckSample) -> None:
        """UpdateModelAndState, then UpdateControlParameters."""
        path = self.path
        self._delivered, self._inflight = sample.delivered, sample.bytes_in_flight
        path.take_rates(sample, probing=self.state in _PROBING, window=self.congestion_window)
        if path.round_start:
            self._rounds_since_probe += 1
            self._window_filled_before, self._window_filled = self._window_filled, False
        if sample.ecn_ce:
            self._on_marked(sample)
        path.take_aggregation(sample, window=self.congestion_window, starting=not self.full_bw_reached)
        self._check_full_bw(sample)
        self._check_startup_done(sample)
        self._check_drain_done(sample)
        self._update_cycle(sample)
        path.take_rtt(sample.latest_rtt, sample.now)
        self._check_probe_rtt(sample)
        path.end_of_ack(sample)
        if self.pacing_rate is None and sample.smoothed_rtt > 0.0:
            self.pacing_rate = STARTUP_PACING_GAIN * initial_window(self.max_datagram_size) / sample.smoothed_rtt
        self._set_pacing_rate(_PACING_GAIN.get(self.state, 1.0))
        self._set_window(sample)

    # -- Startup and Drain --------------------------------------------------------------------------------------

    def _reset_full_bw(self) -> None:
        self._full_bw = 0.0
        self._full_bw_count = 0
        self._full_bw_now = False

    def _check_full_bw(self, sample: AckSample) -> None:
        """CheckFullBWReached."""
        rate = sample.delivery_rate or 0.0
        if self._full_bw_now or not self.path.round_start or sample.is_app_limited:
            return
        if self.state is State.PROBE_RTT:
            return
        if rate >= self._full_bw * FULL_BW_GROWTH:
            self._reset_full_bw()
            self._full_bw = rate
            return
        self._full_bw_count += 1
        self._full_bw_now = self._full_bw_count >= FULL_BW_ROUNDS
        if self._full_bw_now:
            self.full_bw_reached = True

    def _check_startup_done(self, sample: AckSample) -> None:
        """CheckStartupDone, with CheckStartupHighLoss at the end of each round of losses."""
        if self.state is not State.STARTUP:
            return
        path = self.path
        enough = path.lost_in_round >= STARTUP_FULL_LOSSES * self.max_datagram_size
        if path.loss_round_start and enough and _too_much_lost(sample):
            self._leave_startup()
        if self.full_bw_reached:
            self.state = State.DRAIN
            self._drain_start_round = path.round_count

    def _leave_startup(self) -> None:
        """Congestion says that the path is full."""
        self._undo_state = State.STARTUP
        self.full_bw_reached = True
        self.path.inflight_longterm = max(self.path.bdp, self.path.inflight_latest)

    def _check_drain_done(self, sample: AckSample) -> None:
        if self.state is State.DRAIN and (
            self._inflight <= self._inflight_for(1.0) or self.path.round_count > self._drain_start_round + DRAIN_ROUNDS
        ):
            self._start_down(sample.now)

    # -- the probing cycle --------------------------------------------------------------------------------------

    def _start_down(self, now: float) -> None:
        self.path.reset_congestion_signals()
        self._probe_up_per_inc = INFINITY
        self._rounds_since_probe = self._draw(1)
        self._probe_wait = PROBE_WAIT + self._draw(16) / 65_536
        self._cycle_stamp = now
        self._ack_phase = AckPhase.STOPPING
        self.path.start_round(self._delivered)
        self.state = State.DOWN

    def _start_refill(self) -> None:
        self.path.reset_short_term()
        self._probe_up_rounds = self._probe_up_acked = 0
        self._precautionary = False
        self._ack_phase = AckPhase.REFILLING
        self.path.start_round(self._delivered)
        self.state = State.REFILL

    def _start_up(self, sample: AckSample) -> None:
        self._ack_phase = AckPhase.STARTING
        self.path.start_round(self._delivered)
        self._reset_full_bw()
        self._full_bw = sample.delivery_rate or 0.0
        self.state = State.UP
        self._raise_slope()

    def _update_cycle(self, sample: AckSample) -> None:
        """UpdateProbeBWCyclePhase."""
        if not self.full_bw_reached or self._adapt_long_term(sample):
            return
        state = self.state
        if state is State.DOWN or state is State.CRUISE:
            if self._is_time_to_probe(sample.now):
                self._start_refill()
            elif state is State.DOWN and self._is_time_to_cruise():
                self.state = State.CRUISE
        elif state is State.REFILL:
            if self.path.round_start:
                self._is_probe_sample = True
                self._start_up(sample)
        elif state is State.UP and self._is_time_to_go_down(sample):
            self.probed_too_high = False
            self._start_down(sample.now)

    def _is_time_to_probe(self, now: float) -> bool:
        target = min(self.path.bdp, self.congestion_window)
        rounds = min(target / self.max_datagram_size, RENO_ROUNDS)
        return now > self._cycle_stamp + self._probe_wait or self._rounds_since_probe >= rounds

    def _is_time_to_cruise(self) -> bool:
        headroom = max(self.path.inflight_with_headroom(self.max_datagram_size), self.minimum_window)
        full = self._quantized(self.path.max_bw * self.path.min_rtt)
        return self._inflight <= headroom and self._inflight <= full

    def _is_time_to_go_down(self, sample: AckSample) -> bool:
        longterm = self.path.inflight_longterm
        if self.probed_too_high and sample.prior_in_flight + self.max_datagram_size > longterm:
            self._precautionary = True
            return True
        if self._is_window_limited and self.congestion_window >= longterm:
            self._reset_full_bw()
            self._full_bw = sample.delivery_rate or 0.0
            return False
        return self._full_bw_now

    @property
    def _is_window_limited(self) -> bool:
        return self._window_filled or self._window_filled_before

    def _adapt_long_term(self, sample: AckSample) -> bool:
        """AdaptLongTermModel; whether it began another state."""
        path = self.path
        if self._ack_phase is AckPhase.STARTING and path.round_start:
            self._ack_phase = AckPhase.FEEDBACK
        if self._ack_phase is AckPhase.STOPPING and path.round_start:
            self._is_probe_sample = False
            self._ack_phase = AckPhase.INIT
            if self.state in _CYCLE:
                if not sample.is_app_limited:
                    path.advance_max_bw()
                if self._precautionary and not self.probed_too_high:
                    self._start_refill()
                    return True
        if not _too_much_lost(sample) and path.inflight_longterm < INFINITY:
            path.inflight_longterm = max(path.inflight_longterm, sample.tx_in_flight)
            if self.state is State.UP:
                self._probe_longterm_upward(sample)
        return False

    def _raise_slope(self) -> None:
        """RaiseInflightLongtermSlope: twice as steep each round."""
        growth = 1 << self._probe_up_rounds
        self._probe_up_rounds = min(self._probe_up_rounds + 1, MAX_SLOPE_ROUNDS)
        self._probe_up_per_inc = max(self.congestion_window / growth, self.max_datagram_size)

    def _probe_longterm_upward(self, sample: AckSample) -> None:
        """ProbeInflightLongtermUpward."""
        if not self._is_window_limited or self.congestion_window < self.path.inflight_longterm:
            return
        self._probe_up_acked += sample.acked_bytes
        steps = int(self._probe_up_acked / self._probe_up_per_inc)
        if steps:
            self._probe_up_acked -= int(steps * self._probe_up_per_inc)
            self.path.inflight_longterm += steps * self.max_datagram_size
        if self.path.round_start:
            self._raise_slope()

    def _on_inflight_too_high(self, inflight: float, is_app_limited: bool, now: float) -> None:
        """HandleInflightTooHigh: once a probe."""
        self.probed_too_high = True
        self._is_probe_sample = False
        if not is_app_limited:
            target = min(self.path.bdp, self.congestion_window)
            self.path.inflight_longterm = max(inflight, target * BETA)
        if self.state is State.UP:
            self._undo_state = State.UP
            self._start_down(now)

    def _on_marked(self, sample: AckSample) -> None:
        """CE marks: congestion, as a loss is (RFC 9002 section 7.1)."""
        self.path.note_congestion(0, sample.delivered)
        if self.state is State.STARTUP:
            self._leave_startup()
        elif self._is_probe_sample:
            self._on_inflight_too_high(sample.tx_in_flight, sample.is_app_limited, sample.now)

    # -- the minimum RTT ----------------------------------------------------------------------------------------

    def _check_probe_rtt(self, sample: AckSample) -> None:
        """CheckProbeRTT and HandleProbeRTT."""
        path = self.path
        if self.state is not State.PROBE_RTT and path.probe_rtt_expired and not self._idle_restart:
            self._save_window()
            self.state = State.PROBE_RTT
            self._probe_rtt_done_stamp = None
            self._ack_phase = AckPhase.STOPPING
            path.start_round(self._delivered)
        if self.state is State.PROBE_RTT:
            if self._probe_rtt_done_stamp is None:
                if self._inflight <= self._probe_rtt_window():
                    self._probe_rtt_done_stamp = sample.now + PROBE_RTT_DURATION
                    self._probe_rtt_round_done = False
                    path.start_round(self._delivered)
            else:
                self._probe_rtt_round_done = self._probe_rtt_round_done or path.round_start
                if self._probe_rtt_round_done:
                    self._check_probe_rtt_done(sample.now)
        if sample.acked_bytes:
            self._idle_restart = False

    def _check_probe_rtt_done(self, now: float) -> None:
        if self._probe_rtt_done_stamp is None or now <= self._probe_rtt_done_stamp:
            return
        self.path.probe_rtt_min_stamp = now
        self.congestion_window = max(self.congestion_window, self._prior_window)
        self.path.reset_short_term()
        if self.full_bw_reached:
            self._start_down(now)
            self.state = State.CRUISE
        else:
            self.state = State.STARTUP

    def _probe_rtt_window(self) -> float:
        return max(PROBE_RTT_CWND_GAIN * self.path.bdp, self.minimum_window)

    # -- what is allowed ----------------------------------------------------------------------------------------

    def _set_pacing_rate(self, gain: float) -> None:
        """SetPacingRateWithGain."""
        rate = gain * self.path.bw * PACING_MARGIN
        if rate > 0.0 and (self.full_bw_reached or rate > (self.pacing_rate or 0.0)):
            self.pacing_rate = rate

    def _quantized(self, inflight: float) -> float:
        """QuantizationBudget: no less than what sender and receiver need to work with trains."""
        quantum = min((self.pacing_rate or 0.0) * QUANTUM_TIME, QUANTUM_BYTES)
        quantum = max(quantum, QUANTUM_PACKETS * self.max_datagram_size)
        inflight = max(inflight, quantum, self.minimum_window)
        return inflight + QUANTUM_PACKETS * self.max_datagram_size if self.state is State.UP else inflight

    def _inflight_for(self, gain: float) -> float:
        if self.path.min_rtt == INFINITY:
            return initial_window(self.max_datagram_size)
        return self._quantized(gain * self.path.bdp)

    def _set_window(self, sample: AckSample) -> None:
        """SetCwnd."""
        gain = UP_CWND_GAIN if self.state is State.UP else DEFAULT_CWND_GAIN
        most = self._quantized(gain * self.path.bdp + self.path.extra_acked)
        window = self.congestion_window + sample.acked_bytes
        if self.full_bw_reached:
            self.congestion_window = int(min(window, most))
        elif self.congestion_window < most or sample.delivered < initial_window(self.max_datagram_size):
            self.congestion_window = window
        self._bound_window()

    def _bound_window(self) -> None:
        """BoundCwndForProbeRTT and BoundCwndForModel."""
        state, path = self.state, self.path
        cap = INFINITY
        if state is State.PROBE_RTT or state is State.CRUISE:
            cap = path.inflight_with_headroom(self.max_datagram_size)
            if state is State.PROBE_RTT:
                cap = min(cap, self._probe_rtt_window())
        elif state in _CYCLE:
            cap = path.inflight_longterm
        cap = max(min(cap, path.inflight_shortterm), self.minimum_window)
        self.congestion_window = int(min(max(self.congestion_window, self.minimum_window), cap))

    def _save_window(self) -> None:
        """SaveCwnd."""
        in_recovery = self.path.is_loss_in_round or self.state is State.PROBE_RTT
        self._prior_window = max(self._prior_window, self.congestion_window) if in_recovery else self.congestion_window

    def _save_state(self) -> None:
        """SaveStateUponLoss."""
        self._save_window()
        self.path.save()
        self._undo_state = None

    def _draw(self, bits: int) -> int:
        return self._random.getrandbits(bits) if self._random is not None else 0


def _too_much_lost(sample: AckSample) -> bool:
    """IsInflightTooHigh."""
    return sample.lost_since_sent > sample.tx_in_flight * LOSS_THRESH
