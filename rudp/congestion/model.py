"""The rate model, name "model": a short queue of one's own as the sign that the path is full, whatever is lost.

Knows three things about the path, all measured: the RTT without a queue (`base_rtt`; a leap that stays however much is
taken away is that of a longer path, `longer_path`), the rate at which it delivers, and what it loses though it isn't
full (`background_loss`). Everything is paced; it works by rounds, one RTT each:

    STARTUP     doubles the window each round (`startup`), until three samples in a row show a queue, three rounds
                bring no quarter more, one that brings none has losses, or any has CE marks or loses 30 % more
    DRAIN       sends nothing until what is in flight fits the path
    STEADY      the delay law (`delay_law`): a flow holds a queue that falls with its rate, so that the queue all
                share means one rate; what is told of it is a round's mean RTT, without ACKs' delays (`rounds`)
    PROBE_RTT   every three seconds, and soon after something new: drains its own queue for a moment, to see the base
                RTT; flows that share a queue do so together (`base_rtt`)

Random loss plays no role in that. What makes it back off, besides the queue:

  - a round that loses significantly more than the background, or has CE marks: a ceiling, 0.85 of the window (of few
    packets 0.7), which rises slowly while rounds are clean; few packets are judged over eight rounds as well
  - a round that loses 30 % more: the window becomes what was delivered, or half where no rate was told
  - a queue that never gets short from one drain to the next: others fill it, and it behaves as one CUBIC flow
    (`competition`)
  - persistent congestion: the minimum window, and all is forgotten

The background is measured in rounds that could not overflow a queue: whose RTTs are those of an empty one, and which
were sent by half a flight, while the rate still doubled and less than a third was lost, after a cut that took delivery
down with it, with no more than half of a queue that was there before, or after cuts to less than half that left the
loss as it was. Every call costs O(1).

Sources: FAST TCP (Wei, Jin, Low and Hegde 2006: the law), Vegas (Brakmo 1994), Copa (NSDI 2018), Swift (SIGCOMM 2020:
a target that falls with the root of the window), draft-ietf-ccwg-bbr (rounds, STARTUP, PROBE_RTT), RFC 9002, RFC 9438,
draft-cheng-iccrg-delivery-rate-estimation. Own: the background loss and the tests of significance.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.background_loss import DEVIATIONS, FEW, SPARE_PACKETS, TOLERANCE, UNSEEN, UNTRUSTED, BackgroundLoss
from rudp.congestion.base_rtt import AGREED, BaseRtt
from rudp.congestion.ceiling import Ceiling
from rudp.congestion.competition import Competition
from rudp.congestion.controller import MINIMUM_WINDOW_PACKETS as LEAST_WINDOW_PACKETS
from rudp.congestion.controller import AckSample, CongestionController, LossEvent, RandomBits
from rudp.congestion.delay_law import DelayLaw
from rudp.congestion.drain import Drain
from rudp.congestion.longer_path import LongerPath
from rudp.congestion.loss_window import MINIMUM_WINDOW_PACKETS
from rudp.congestion.phase import Phase
from rudp.congestion.rounds import CALM, GRAIN, INFINITY, LONG_RTT, Round, network_rtt, round_trip_noise
from rudp.congestion.seen_queue import SeenQueue
from rudp.congestion.spread import Spread
from rudp.congestion.standstill import Standstill
from rudp.congestion.startup import StartUp

STEP_DOWN: Final = 0.5
"""What is left of a window at least after a round in which delay alone took away, or which tells of no rate."""
WINDOW_GAIN: Final = 2.0
BACKGROUND_TRUSTED: Final = 0.4
"""No window is above twice what was delivered in an RTT and the background made up for, up to 40 % of it."""
DIP: Final = 0.5
"""A queue of half of what it was of late: others drain, or it is short by chance."""
JUMP: Final = 1.5
"""A queue so many times the usual is something new: a flow has come, or the rate has changed."""
OVERLOAD: Final = 0.3
SHALLOW: Final = 0.5
ALLOWANCE_PACKETS: Final = 6
HOST_TIME: Final = 0.004
HOST_BYTES: Final = 4 << 20
"""The window holds three trains of two packets at least (being built, on the way, being read), and four milliseconds'
worth of the rate: so long a process may wait for its turn on a processor. On loopback, where that is most of the RTT,
hosts short of processors would be taken for a queue."""
USED: Final = 16  # a start goes on while a sixteenth of the window is used
IDLE_FORGETS: Final = 10.0
"""Seconds of silence after which the path may have another RTT: it is empty, so the next sample is a probe."""

_STARTUP, _DRAIN, _STEADY, _PROBE_RTT = Phase  # a global is read in a sixth of the time of an enumeration's member


class Model(CongestionController):
    """Delay-based, paced, loss-tolerant."""

    # fmt: off
    __slots__ = (
        "_background", "_base", "_ceiling", "_competition", "_cut_peak", "_cut_rate", "_drain", "_drained", "_law",
        "_longer", "_queue", "_rate", "_rate_before", "_round", "_round_peak", "_round_stop", "_rounds", "_seen",
        "_sent_peak", "_skip", "_spread", "_standstill", "_startup", "_usual_queue", "_window", "phase",
    )
    # fmt: on

    name = "model"
    burst_packets = 4  # ten, over and over when the window opens, overflow a short queue and blur what RTTs tell
    near_acks = 20  # drains of four flows at 1 Gbit/s x 10 ms differed by a fifth of an e-fold of the rate with eight

    phase: Phase

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self._base, self._standstill, self._round_stop = BaseRtt(), Standstill(), 0
        self._forget()

    def _forget(self) -> None:
        """Start from nothing but the base RTT and the window."""
        self.phase = _STARTUP
        self._background, self._seen = BackgroundLoss(), SeenQueue()
        self._ceiling: Ceiling | None = None  # or each connection would hold one for good
        self._competition, self._drain, self._law = Competition(), Drain(), DelayLaw()
        self._longer: LongerPath | None = None  # unless the RTT has leapt
        self._round, self._spread, self._startup = Round(), Spread(), StartUp()
        self._window = float(self.congestion_window)
        self._rate = self._rate_before = 0.0
        self._rounds = self._skip = self._sent_peak = self._round_peak = self._cut_peak = 0
        self._drained = False
        self._queue = self._usual_queue = self._cut_rate = 0.0

    @property
    def delivery_rate(self) -> float:
        """The highest rate at which the path delivered in the latest round, bytes a second."""
        return self._rate

    @property
    def min_rtt(self) -> float:
        """Lowest RTT of about the last ten seconds; infinity before the first."""
        return self._base.value

    @property
    def background_loss(self) -> float:
        """Share of packets that the path loses by itself."""
        return self._background.share

    @property
    def ceiling(self) -> float:
        """Bytes of window that congestion taught not to exceed; infinity if none."""
        return self._ceiling.value if self._ceiling is not None else INFINITY

    @property
    def minimum_window(self) -> int:
        """Bytes below which the window never falls but for persistent congestion."""
        return MINIMUM_WINDOW_PACKETS * self.max_datagram_size

    # Inputs

    def on_sent(self, sent_bytes: int, bytes_in_flight: int, now: float) -> None:  # noqa: ARG002
        """Note the peak of the flight."""
        peak = bytes_in_flight + sent_bytes
        self._sent_peak = peak if peak > self._sent_peak else self._sent_peak

    def on_loss(self, event: LossEvent) -> None:
        """Count; rounds are judged as a whole when they end."""
        self._round.lost += event.lost_bytes

    def on_spurious_loss(self, spurious_bytes: int, now: float) -> None:  # noqa: ARG002
        """Take back what was counted as lost, in this round or before: reordering is no loss."""
        told = self._round
        told.lost, earlier = max(told.lost - spurious_bytes, 0), spurious_bytes - told.lost
        if earlier > 0:
            self._seen.take_back(earlier)
            self._background.take_back(earlier, self.max_datagram_size)

    def on_persistent_congestion(self, now: float) -> None:  # noqa: ARG002
        """Start over from the least window (RFC 9002 section 7.6.2), on what may be another path (section 5.2)."""
        self._base.forget()
        self.congestion_window = LEAST_WINDOW_PACKETS * self.max_datagram_size
        self.pacing_rate = None
        self._forget()

    def on_idle_restart(self, idle_seconds: float, now: float) -> None:  # noqa: ARG002
        """Go on where sending stopped; what a long pause makes doubtful is measured anew."""
        if self.phase is _PROBE_RTT:
            self.phase, self._skip = _STEADY, 1
            self._set_rate_and_window(self._base.value + self._queue)
        self._drained, self._longer = False, None
        if idle_seconds > IDLE_FORGETS:
            self._base.forget()
            self._round.clear()  # which can't be judged without
            self._spread.forget()
            self._drain.end()
            self._queue = 0.0
            self._background, self._seen = BackgroundLoss(), SeenQueue()  # of a path that may be another

    def on_ack(self, sample: AckSample) -> None:
        """Take one ACK's sample, judge the round if this ends it, and set the rate and the window."""
        at_ease = self.phase is _STEADY or self.phase is _STARTUP
        if at_ease and self._round.passes_over(sample, self._base.value, self._rate, self.congestion_window):
            return
        sample = self._without_pause(sample)
        rtt = network_rtt(sample)
        if rtt is None and self._base.value == INFINITY:
            return  # of a path whose RTT nobody knows nothing can be judged
        if sample.prior_delivered >= self._round_stop:
            self._end_round(sample)
        self._round.add(sample, rtt, self._rate)
        if rtt is not None and (calm := self._base.update(rtt)) < self._drain.lowest:
            self._drain.lowest = calm
        if self.phase is _STARTUP:
            self._start(sample, rtt)
        elif self.phase is _DRAIN:
            self._rate = max(self._rate, self._round.rate)
            self._window = self._full_window()
            if sample.bytes_in_flight <= self._window:
                self._competition.entered(self._window / self.max_datagram_size)
                self._enter_steady(sample)
        elif self.phase is _PROBE_RTT:
            self._advance_drain(sample, rtt)
        elif self._base.is_due(sample.now, self._drain.number) and not self._round.is_app_limited:
            self._begin_drain()
        self._set_rate_and_window(sample.smoothed_rtt)

    def _without_pause(self, sample: AckSample) -> AckSample:
        """What an ACK shows beside a standstill; what follows that is spread over an RTT without it."""
        shown = self._standstill.without_pause(sample)
        if shown is not sample:
            self._spread.over(self._base.value + self._queue)
        return shown

    # Starting

    def _start(self, sample: AckSample, rtt: float | None) -> None:
        self._rate = max(self._rate, self._round.rate)
        window = max(self._window, self.congestion_window)  # which larger packets have raised
        packet = self.max_datagram_size
        background = self._background.counted(packet)
        if not sample.is_app_limited or sample.prior_in_flight > window / USED:  # RFC 9002 section 7.8
            self._window = self._startup.grow(window, sample, max(self._base.value, HOST_TIME), packet, background)
        packet_time = packet / self._rate if self._rate else INFINITY
        if rtt is not None and self._startup.sees_queue(rtt, self._base.value, packet_time):
            self._leave_startup(sample)

    def _leave_startup(self, sample: AckSample) -> None:
        self.phase, self._startup = _DRAIN, StartUp()  # what it has seen is of no more use
        self._base.want(sample.now)

    def _full_window(self) -> float:
        """What fills the path at the highest rate seen, and our own queue."""
        bdp = self._rate * self._base.value / (1.0 - self._background.share)
        return max(bdp + self._own_queue(bdp), self.minimum_window)

    def _enter_steady(self, sample: AckSample) -> None:
        self.phase = _STEADY
        self._restart_round(sample)
        self._skip = 1

    def _restart_round(self, sample: AckSample) -> None:
        self._round_stop = sample.delivered
        self._rounds = 0
        self._sent_peak = sample.bytes_in_flight

    # Rounds

    def _end_round(self, sample: AckSample) -> None:
        """Judge the round's feedback, which speaks of what was sent a round earlier."""
        told, self._rounds = self._round, self._rounds + 1
        if not self._round_stop:
            self._base.begin(sample.now)
        if told.rtt_min < INFINITY:
            self._note_queue(sample.now)
        if told.acked:
            self._judge_loss(sample.now)
        if self.phase is _STARTUP:
            self._startup.end_round(self._rate, is_app_limited=told.is_app_limited)
            if self._startup.is_full:
                self._leave_startup(sample)
        elif self.phase is _STEADY:
            self._rate_before, self._rate = self._rate, told.rate or self._rate
            if self._skip:
                self._skip -= 1
            elif told.acked and told.rtt_min < INFINITY:
                self._move(sample.now)
        self._round_stop = sample.delivered
        self._round_peak, self._sent_peak = self._sent_peak, sample.bytes_in_flight
        self._spread.end_round(told, sample.smoothed_rtt, restless=self._skip > 0 or self.phase is not _STEADY)
        told.clear()

    def _note_queue(self, now: float) -> None:
        base, told = self._base, self._round
        grain = round_trip_noise(told, base.value)
        queue_before, deepest = self._queue, max(self._seen.depth(base.value), 0.0)
        before = base.ground + queue_before + GRAIN
        queue = self._queue = max(told.rtt_mean - base.ground - grain, 0.0)
        if self._seen.passes(base.value) and self._window <= FEW * self.max_datagram_size:
            self._background.doubt(self.max_datagram_size)
        self._seen.note(told.rtt_lasting - base.value, base.value)
        if self._seen.is_deep(base.value):
            self._background.trust()
        falls = self._competition.queue_falls(queue)
        if queue > self._usual_queue + 2 * GRAIN >= queue_before and not base.is_new:
            self._longer = LongerPath(self._window, before, deepest)
        if self.phase is _STEADY:
            if queue > JUMP * self._usual_queue + 2 * GRAIN and not self._skip:
                base.want(now)
            if falls or queue < DIP * self._law.mean:
                base.join(now, self._drain.number)
        self._usual_queue += (queue - self._usual_queue) / 8

    # Losses and marks

    def _judge_loss(self, now: float) -> None:
        told, drained, self._drained = self._round, self._drained, False
        self._background.follow(self._base.value, self.max_datagram_size, begins=self.phase is _STARTUP)
        if not told.marked and self._is_background(drained=drained):
            if drained:
                self._background.check(told.acked, told.lost, self.max_datagram_size)
            self._background.add(told.acked, told.lost, self.max_datagram_size)
            self._raise_ceiling()
        elif self.phase is _STARTUP:
            is_full = self._startup.is_still and not self._startup.has_grown_to(self._rate) and self._exceeds(TOLERANCE)
            if is_full or told.marked or self._exceeds(OVERLOAD, wary=True):
                self._startup.stop()
        elif self.phase is _STEADY and not self._skip:
            self._answer_loss(now)

    def _is_background(self, *, drained: bool) -> bool:
        """Whether the round could not have overflowed a queue, so that its losses are the path's own."""
        told, base = self._round, self._base.value
        if told.rtt_min > base * CALM + GRAIN:
            return False
        if self.phase is _STARTUP:
            return self._startup.has_grown_to(told.rate) and not self._exceeds(OVERLOAD, wary=True)
        if not self._seen.is_deep(base):
            return drained
        if drained or told.rtt_lasting - base < SHALLOW * self._seen.depth(base):
            return True
        return self._round_peak <= 0.8 * self._cut_peak and told.rate <= 0.75 * self._cut_rate

    def _answer_loss(self, now: float) -> None:
        told = self._round
        if (loss_window := self._competition.loss_window) is not None:
            if told.marked or self._exceeds(0.0, DEVIATIONS / 2):
                loss_window.cut(now)
                self._window, self._skip = loss_window.window * self.max_datagram_size, 2
        elif self._exceeds(OVERLOAD):
            self._cut_peak, self._cut_rate = self._round_peak, told.rate
            least = 0.0 if told.rate and not told.is_app_limited else STEP_DOWN * self._window  # or it tells nothing
            self._window, self._skip = max(told.rate * self._base.value, least, self.minimum_window), 2
            if self._base.value < HOST_TIME:
                self._ceiling = Ceiling(self._window)  # or the allowance would be sent in place of it, whatever is lost
        elif told.marked or self._exceeds(TOLERANCE) or self._adds_up():
            self._law.overflowed(told.rtt_max - self._base.value, self._base.value)
            self._cut_ceiling(INFINITY if told.marked else told.lost / (told.acked + told.lost))
        else:
            self._raise_ceiling()
            return
        self._longer = None
        self._background.answered()

    def _cut_ceiling(self, lost: float) -> None:
        told, least, few = self._round, self.minimum_window, self._is_few()
        ceiling = self._ceiling = self._ceiling or Ceiling()
        ceiling.cut(min(self._window, self._round_peak), least, lost, few=few)
        self._window, self._skip = min(self._window, ceiling.value), 2
        if ceiling.in_vain(least, lost) and not self._queue:
            self._background.trust(UNSEEN)
            self._background.add(told.acked, told.lost, self.max_datagram_size)
            self._ceiling = None

    def _raise_ceiling(self) -> None:
        """Take a round without congestion."""
        if self._ceiling and not self._ceiling.rise(self._window, self._background.share, few=self._is_few()):
            self._ceiling = None

    def _exceeds(self, tolerance: float, deviations: float = DEVIATIONS, *, wary: bool = False) -> bool:
        told, packet = self._round, self.max_datagram_size
        lost = told.lost if self._competition.is_on else max(told.lost - SPARE_PACKETS * packet, 0)
        return self._background.exceeds(told.acked, lost, packet, tolerance=tolerance, deviations=deviations, wary=wary)

    def _is_few(self) -> bool:
        """Whether so little is under way where no queue was seen that it may be many flows' queue, always full."""
        window, base = self._window / self.max_datagram_size, self._base.value
        return window <= FEW and base < LONG_RTT and not self._seen.is_deep(base)

    def _adds_up(self) -> bool:
        return self._is_few() and self._background.adds_up(self._round.acked, self._round.lost, self.max_datagram_size)

    # The delay law

    def _own_queue(self, window: float) -> float:
        """Bytes a flow with that window is to keep queued."""
        base = self._base.value
        return window * self._law.target(window / self.max_datagram_size / base, base) / base if base else 0.0

    def _move(self, now: float) -> None:
        """One step of the delay law, or of the window that losses move."""
        told, window, packet = self._round, self._window, self.max_datagram_size
        longer, self._longer = self._longer, None
        idle = told.is_app_limited or self._round_peak < 0.7 * window
        if (loss_window := self._competition.loss_window) is not None:
            if not idle:
                loss_window.grow(now, told.rtt_min)
            self._window = loss_window.window * packet
            self._seen.restart()
            return
        factor = self._law.step(window / packet, self._queue, told.rtt_mean, self._base.value, self._rate)
        if told.is_app_limited or (factor > 1.0 and idle):
            self._law.held()
            self._seen.restart()
            return
        if longer is not None:
            wanted = self._law.target(window / packet / told.rtt_mean, self._base.ground)
            is_longer = longer.take(told.rtt_min, self._round_peak, self._base.ground, wanted)
            self._longer = longer if is_longer is False else None
            if is_longer:
                self._lengthen(longer)
                return
        is_short = self._law.is_short(self._queue, window / packet, told.rtt_mean, self._base.value)
        if self._seen.disproves(told.acked, told.lost, packet, self._base.value, self._queue, is_short=is_short):
            self._background = BackgroundLoss()
            acked, lost, rounds = self._seen.least
            self._background.add(acked, lost, packet, rounds=rounds)
            self._law.held()
            self._window, self._skip = max(self._rate * self._base.value, self.minimum_window), 2
            return
        window *= factor
        made_up = 1.0 - min(self._background.share, BACKGROUND_TRUSTED)
        rate = max(self._rate, self._rate_before) / made_up
        most = WINDOW_GAIN * rate * told.rtt_mean + self._allowance()
        self._window = max(min(window, max(most, self._window * STEP_DOWN), self.ceiling), self.minimum_window)

    def _lengthen(self, longer: LongerPath) -> None:
        """What was queue is path: know its RTT, and go on at the rate of before, as far as it is still ours."""
        self._window = longer.window(self._base.ground, self._round_peak)
        self._base.lengthen(longer.level)
        self._competition.uncontested()
        self._law.start()
        self._drain.end()
        self._seen.lengthen(longer.deepest, longer.level)
        self._queue, self._usual_queue, self._skip = 0.0, 0.0, 2

    # Draining

    def _begin_drain(self) -> None:
        self.phase = _PROBE_RTT
        base, packet, seen = self._base, self.max_datagram_size, self._seen.is_deep(self._base.value)
        rtt = self._round.rtt_min if self._round.rtt_min < INFINITY else base.value + self._queue
        flight = self._window * (base.value / rtt if rtt else 1.0)
        self._drain.begin(flight, packet, self.minimum_window, base.value, self._rate, seen=seen, is_new=base.is_new)

    def _advance_drain(self, sample: AckSample, rtt: float | None) -> None:
        """Wait for the flight to fall, then for an RTT of what was sent since, then for the others to drain too."""
        drain = self._drain
        if not drain.is_reached:
            if sample.bytes_in_flight <= drain.target:
                drain.reached(sample.now, self._base.value, in_doubt=self._competition.is_on)
                self._restart_round(sample)
            return
        if self._rounds and rtt is not None:
            drain.meet(rtt)
        if self._rounds == 1:
            self._rounds = 2
            drain.stay(sample.now + sample.smoothed_rtt / 4)
        if self._rounds >= 2 and drain.is_over(sample.now):
            self._end_drain(sample)

    def _end_drain(self, sample: AckSample) -> None:
        competition, base, drain, law = self._competition, self._base, self._drain, self._law
        competed, before, window = competition.is_on, base.value, self._window / self.max_datagram_size
        ground, wanted = base.ground, law.target(window / before if before else 0.0, before)
        competition.drained(drain.lowest - ground, law.mean, window, base=before, now=sample.now, sinks=base.sinks,
            kept=drain.mean - ground, wanted=wanted)  # fmt: skip
        if not competed and competition.loss_window is not None:
            self._ceiling, self._window = None, competition.loss_window.window * self.max_datagram_size
        elif competed > competition.is_on:
            self._window = min(self._window, self._full_window())  # the queue was ours
        mean, in_doubt = drain.mean if drain.is_sure else 0.0, competition.in_doubt
        base.drained(drain.lowest, sample.now, before / window, mean=mean, in_doubt=in_doubt)
        if drain.number >= AGREED and window > FEW / 2 and not base.is_new:
            self._background.trust(UNTRUSTED)
        if drain.number == 1 or competed > competition.is_on or base.ground > ground + GRAIN:
            law.start()  # what was queue was none, or somebody else's
        else:
            law.drained()
        self._seen.fade()
        self._spread.over(drain.lowest)
        drain.end()
        self._drained = True
        self._enter_steady(sample)

    # Answers

    def _allowance(self) -> float:
        return max(ALLOWANCE_PACKETS * self.max_datagram_size, min(HOST_TIME * self._rate, HOST_BYTES))

    def _set_rate_and_window(self, smoothed_rtt: float) -> None:
        window, phase, base = self._window, self.phase, self._base.value
        held = self._spread.held(window, self.max_datagram_size)
        if phase is _STEADY and window < (least := self._allowance()):
            window = max(window, min(least, self.ceiling))
        if smoothed_rtt > 0.0:
            if phase is _STARTUP:
                pace = self._startup.pace(window / self.max_datagram_size, base)
                self.pacing_rate = pace * window / smoothed_rtt
            elif phase is _PROBE_RTT and (
                self._drain.is_fast or (self._background.share > TOLERANCE and not self._seen.is_deep(base))
            ):
                self.pacing_rate = self._spread.rate(min(window, self._drain.target), smoothed_rtt)
            else:
                self.pacing_rate = self._spread.rate(window, smoothed_rtt)
        if phase is _STEADY:
            window += held
        elif phase is _PROBE_RTT:
            window = min(window, self._drain.target) + held / 2
        self.congestion_window = int(max(window, LEAST_WINDOW_PACKETS * self.max_datagram_size))
