"""What became of the packets we sent, and how many more may go: joins the parts of loss recovery.

Knows: the order in which its parts are asked, and what the congestion controller is told. The parts: `unresolved`
(what is outstanding), `rtt`, `loss_detection`, `loss_episode`, `persistent_congestion`, `probe_timeout`, `ecn`,
`delivery_rate`, `pacer`, `shatter`. Refuses to know: contents (it hands trains back, the caller frees or queues again
what they had) or the wire.

    on_train_sent            O(1)
    on_ack_received          O(new ACK ranges + pieces resolved); ranges below all unresolved are skipped
    next_timeout             O(1), computed when asked
    handle_timeout, take_back  O(pieces lost)
    send_allowance           O(1)

What an ACK tells is taken in the order in which it came about: late packets first, which teach loss detection and may
undo an earlier congestion event, then the losses this ACK shows, then what it newly acknowledged.

Sources: RFC 9002 (section and appendix cited at each use); RFC 9000 sections 9.4 and 13.4.2; RFC 8985;
draft-cheng-iccrg-delivery-rate-estimation.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from rudp.congestion import AckSample, CongestionController, LossEvent, RandomBits, usable_window
from rudp.delivery_rate import DeliveryRate
from rudp.ecn import EcnValidation
from rudp.loss_detection import LossDetection
from rudp.loss_episode import LossEpisode
from rudp.never import NEVER_YET
from rudp.pacer import Pacer
from rudp.persistent_congestion import PersistentCongestion
from rudp.probe_timeout import PROBES, probe_delay
from rudp.rtt import RttEstimator
from rudp.sent_packets import SentTrain
from rudp.shatter import LATE_CUTS, Shatter
from rudp.unresolved import Unresolved
from rudp.wire import UNKNOWN_ACK_DELAY, Ack

__all__ = ["AckResult", "Recovery", "TimeoutResult"]

# Packets without need of acknowledgement after which one should carry a PING (RFC 9000 section 13.2.4). More
# than one, or two idle peers would acknowledge each other's PINGs for ever.
QUIET_BEFORE_PING: Final = 4


class AckResult(NamedTuple):
    """What one ACK resolved; trains ascend by packet number."""

    acked: list[SentTrain]
    lost: list[SentTrain]
    spurious: list[SentTrain]
    """Declared lost earlier and acknowledged now: what they carried need not be sent again."""


class TimeoutResult(NamedTuple):
    """Trains that a timeout declared lost, or how many ack-eliciting probes to send whatever the window."""

    lost: list[SentTrain]
    probes: int


# The constructor of a named tuple is a Python function, which takes twice as long.
_new_result: Final = partial(tuple.__new__, AckResult)
_new_sample: Final = partial(tuple.__new__, AckSample)
_IN_FLIGHT: Final = attrgetter("in_flight")
# Shared by all who have nothing to say: their lists stay empty.
NOTHING_ACKED: Final = AckResult([], [], [])
NOTHING_DUE: Final = TimeoutResult([], 0)


class Recovery:
    """Loss recovery of one connection. All times in seconds, all sizes in bytes of UDP payload."""

    __slots__ = (
        "_controller",
        "_detection",
        "_episode",
        "_idle_since",
        "_last_ack_eliciting_sent",
        "_path_first",
        "_persistent",
        "_random",
        "_rate",
        "_shatter",
        "_unresolved",
        "_waiting_since",
        "app_limited",
        "congestion",
        "ecn",
        "largest_acknowledged",
        "pacer",
        "pto_count",
        "rtt",
        "sent_packets",
        "skip_at",
        "winding_up",
    )

    skip_at: int | None
    """From which packet number on `skips` is to be asked; None: never."""

    def __init__(
        self,
        max_datagram_size: int,
        controller: type[CongestionController],
        random: RandomBits | None = None,
        *,
        max_ack_delay: float = 0.0,
        ecn: bool = False,
    ) -> None:
        self._controller = controller
        self._random = random
        self.congestion = controller(max_datagram_size, random)
        self.pacer = Pacer(max_datagram_size, self.congestion.burst_packets)
        self.rtt = RttEstimator(max_ack_delay)
        self._unresolved = Unresolved()
        self.skip_at = None if random is None else self._unresolved.skip_at
        self.sent_packets = self._unresolved.outstanding
        self.pto_count = 0
        self.largest_acknowledged = -1
        self.ecn = EcnValidation(ecn)
        self._rate = DeliveryRate(0.0)
        self._shatter: Shatter | None = None  # until a train is cut
        self._detection = LossDetection()
        # Of this path; made by its first loss, or mark.
        self._episode: LossEpisode | None = None
        self._persistent: PersistentCongestion | None = None
        self._path_first = 0
        self._last_ack_eliciting_sent = NEVER_YET
        self._waiting_since = 0.0
        # Since when nothing is in flight; None when nothing ever was, on this path.
        self._idle_since: float | None = None
        # Whether `on_app_limited` has said so since anything was sent or resolved: again would change nothing.
        self.app_limited = False
        # The application has written all it will, all of that was sent once, and nothing of it waits to be sent again.
        self.winding_up = False

    def on_train_sent(self, train: SentTrain, now: float) -> None:
        """Track a train that leaves now. Packet numbers left out since the train before count as skipped.

        A probe of the path MTU (`mtu_probe`) is like any packet but for its loss, which is handed back and told
        to nobody else: no congestion controller, no count of bytes lost, no persistent congestion.
        """
        assert train.time_sent == now
        sent, congestion, pacer = self.sent_packets, self.congestion, self.pacer
        if train.ecn:
            self.ecn.on_sent(train)
        if train.in_flight:
            bytes_in_flight, size = sent.bytes_in_flight, train.size
            if not bytes_in_flight and self._idle_since is not None:
                self._restart_if_idle(now - self._idle_since, now)
            shatter = self._shatter
            if (
                shatter is not None
                and shatter.limit is not None
                and bytes_in_flight * 2 < congestion.congestion_window
            ):
                # Neither path nor window holds it back: what is measured then says nothing of them.
                self.on_app_limited(now)
            train.path_state = self._rate.on_sent(size, bytes_in_flight, now)
            self.app_limited = False
            congestion.on_sent(size, bytes_in_flight, now)
            if congestion.pacing_rate != pacer.asked:
                pacer.set_rate(self._pacing_rate(), congestion.max_datagram_size, now)
            pacer.on_sent(size, now)
        if train.ack_eliciting:
            if not sent.ack_eliciting_in_flight:
                self._waiting_since = now
            self._last_ack_eliciting_sent = now
        self._unresolved.on_sent(train)

    def on_ack_received(self, ack: Ack, now: float) -> AckResult:
        """Process one ACK frame (RFC 9002 appendix A.7).

        Raises ProtocolError when it acknowledges a packet number that was never sent.
        """
        sent = self.sent_packets
        prior_in_flight, prior_awaited = sent.bytes_in_flight, sent.ack_eliciting_in_flight
        prior_largest = self.largest_acknowledged
        acked, spurious = self._unresolved.take(ack)
        acked_bytes = prior_in_flight - sent.bytes_in_flight
        largest = ack.largest_acknowledged
        raises_largest = largest > prior_largest
        if raises_largest:
            self.largest_acknowledged = largest
        elif not (acked or spurious):
            self._judge_cuts(0)
            return NOTHING_ACKED
        if acked or spurious:
            if self.pto_count:
                self.pto_count = 0
                self.ecn.on_progress()
            self._waiting_since = now
            if spurious or acked[0].first < prior_largest:
                self._on_reordered(acked, spurious, prior_largest, now)
        has_rtt_sample = self._sample_rtt(ack, acked, now)
        if spurious:
            self._on_spurious(spurious, now)
        lost = self._detection.detect(sent, self.largest_acknowledged, self.rtt, now)
        lost_bytes = self._on_lost(lost, prior_in_flight, now) if lost else 0
        resolved = prior_awaited - sent.ack_eliciting_in_flight
        self._judge_cuts(resolved)
        # Once all has arrived and nothing follows, nobody will ask again how fast the path is.
        over = self.winding_up and not sent.bytes_in_flight
        flying = [] if over else list(filter(_IN_FLIGHT, acked))
        if flying:
            sample = self._ack_sample(
                ack, flying, resolved, acked_bytes, lost_bytes, prior_in_flight, has_rtt_sample, prior_largest, now
            )
            self.congestion.on_ack(sample)
        elif raises_largest and acked and acked[-1].first < self._path_first:
            self.ecn.on_ack_elsewhere(ack.ecn)
        self._on_resolved(prior_in_flight, now)
        if self._unresolved.remembers:
            self._unresolved.forget(now, self.rtt.probe_timeout(), self.largest_acknowledged)
        return _new_result((acked, lost, spurious))

    def take_back(self, ranges: Iterable[tuple[int, int]], now: float) -> list[SentTrain]:
        """Packets, [first, stop) of those sent last, that this machine refused to send: as if nobody had tried.

        No controller is told of a loss, as nothing got lost, nor is one of them expected to be acknowledged.
        """
        prior_in_flight = self.sent_packets.bytes_in_flight
        taken = [train for first, stop in ranges for train in self.sent_packets.take(first, stop)]
        self.winding_up = False
        self._on_resolved(prior_in_flight, now)
        return taken

    def handle_timeout(self, now: float) -> TimeoutResult:
        """Act on what is due (RFC 9002 appendix A.9); harmless when called early."""
        loss_time = self._detection.loss_time
        if loss_time is not None:
            if now < loss_time:
                return NOTHING_DUE
            prior_in_flight = self.sent_packets.bytes_in_flight
            lost = self._detection.detect(self.sent_packets, self.largest_acknowledged, self.rtt, now)
            if self._shatter is not None:
                self._shatter.on_lost(sum([train.count for train in lost]))
            self._on_lost(lost, prior_in_flight, now)
            self._on_resolved(prior_in_flight, now)
            return TimeoutResult(lost, 0)
        deadline = self.next_timeout()
        if deadline is None or now < deadline:
            return NOTHING_DUE
        self.pto_count += 1
        self.ecn.on_probe_timeout(self.pto_count)
        return TimeoutResult([], PROBES)

    def on_app_limited(self, now: float) -> None:
        """Nothing is there to send, or the peer's credit forbids it, though window and pacer allow it."""
        self.app_limited = True
        bytes_in_flight = self.sent_packets.bytes_in_flight
        if bytes_in_flight < self.congestion.congestion_window:
            self._rate.app_limited_until = self._rate.delivered + bytes_in_flight or 1
            self.congestion.on_app_limited(now)

    def on_path_changed(self, now: float, reset: bool) -> None:
        """Packets take another path from now on (RFC 9000 section 9.4).

        `reset` starts RTT, congestion control, pacing and ECN validation anew: what is outstanding is still
        tracked, but neither fills the new window nor gives samples. Without it (a new port) all stays.
        """
        if not reset:
            return
        max_datagram_size = self.congestion.max_datagram_size
        self.congestion = self._controller(max_datagram_size, self._random)
        self.pacer = Pacer(max_datagram_size, self.congestion.burst_packets)
        self.rtt.reset()
        self._unresolved.outstanding.leave_path()
        self._unresolved.remembered.leave_path()
        self._rate = DeliveryRate(now)
        self.ecn.restart()
        self._detection.restart()
        self._episode = self._persistent = None
        self._path_first = self.next_packet_number
        self._idle_since = None
        self.app_limited = False
        self.pto_count = 0

    def set_max_datagram_size(self, max_datagram_size: int, now: float) -> None:
        """Full packets have another size from now on (path MTU discovery)."""
        congestion = self.congestion
        congestion.max_datagram_size = max_datagram_size
        # Smaller than a packet, the window would let nothing go, and nothing in flight would ever let it grow.
        congestion.congestion_window = max(congestion.congestion_window, congestion.minimum_window)
        self.pacer.set_rate(self._pacing_rate(), max_datagram_size, now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` has something to do; None: never (RFC 9002 appendix A.8).

        Section 6.2.1: a probe timeout counts from the last ack-eliciting packet, while one is outstanding.
        """
        loss_time = self._detection.loss_time
        if loss_time is not None or not self.sent_packets.ack_eliciting_in_flight:
            return loss_time
        delay = self.rtt.probe_timeout()
        if self.pto_count:
            delay = probe_delay(delay, self.pto_count)
        return self._last_ack_eliciting_sent + delay

    def send_allowance(self, now: float) -> int:
        """Bytes that congestion window and pacer allow to be in flight more, now."""
        room = self.congestion.congestion_window - self.sent_packets.bytes_in_flight
        if room <= 0:
            return 0
        due = self.pacer.allowance(now)
        return due if due < room else room

    def limited_by(self, now: float) -> Literal["congestion_window", "pacer"] | None:
        """What keeps a full packet from being sent now, if one of the two does."""
        room = self.congestion.congestion_window - self.sent_packets.bytes_in_flight
        if room < self.congestion.max_datagram_size:
            return "congestion_window"
        return None if self.pacer.allowance(now) else "pacer"

    def unacknowledged_since(self) -> float | None:
        """Since when the peer has acknowledged nothing though it should; None when nothing is outstanding."""
        return self._waiting_since if self.sent_packets.ack_eliciting_in_flight else None

    def ping_due(self, now: float) -> bool:
        """Whether a packet that would only acknowledge should carry a PING (RFC 9000 section 13.2.4).

        Once a round trip while nothing else is sent: the peer then acknowledges our ACKs and they stay short.
        """
        return (
            self.sent_packets.quiet >= QUIET_BEFORE_PING
            and not self.sent_packets.ack_eliciting_in_flight
            and now - self._last_ack_eliciting_sent >= self.rtt.smoothed_rtt
        )

    def asked_lately(self, now: float) -> bool:
        """Whether something that asks for acknowledgement was sent within a probe timeout: no need to ask again."""
        return now - self._last_ack_eliciting_sent < self.rtt.probe_timeout()

    def skips(self, packet_number: int) -> bool:
        """Whether `packet_number` is to be left out, so that a peer which acknowledges it is known to lie."""
        if self._random is None:
            return False
        skips = self._unresolved.skips(packet_number, self._random)
        self.skip_at = self._unresolved.skip_at
        return skips

    @property
    def next_packet_number(self) -> int:
        """The lowest packet number that wasn't used or skipped."""
        return self._unresolved.next_packet_number

    @property
    def ack_ranges_wanted(self) -> int:
        """How many of its newest ranges the next ACK is to be read with."""
        return self._unresolved.ranges_wanted

    @property
    def delivered(self) -> int:
        """Bytes in flight that were acknowledged so far on this path."""
        return self._rate.delivered

    def _sample_rtt(self, ack: Ack, acked: list[SentTrain], now: float) -> bool:
        """Section 5.1: only from the largest acknowledged, newly so, and if some of `acked` asked for it.

        What is ack-eliciting and not in flight went another way: over an old path, or to probe a new one.
        """
        if not acked or acked[-1].stop - 1 != ack.largest_acknowledged or ack.ack_delay >= UNKNOWN_ACK_DELAY:
            return False
        newest = acked[-1]
        elsewhere = newest.first < self._path_first or (newest.ack_eliciting and not newest.in_flight)
        if elsewhere or not (newest.ack_eliciting or any(train.ack_eliciting for train in acked)):
            return False
        self.rtt.update(now - newest.time_sent, ack.ack_delay, now)
        return True

    def _ack_sample(  # noqa: PLR0917
        self,
        ack: Ack,
        flying: list[SentTrain],
        resolved: int,
        acked_bytes: int,
        lost_bytes: int,
        prior_in_flight: int,
        has_rtt_sample: bool,
        prior_largest: int,
        now: float,
    ) -> AckSample:
        oldest, newest, ack_delay = flying[0], flying[-1], ack.ack_delay
        ecn_ce = self.ecn.on_ack(ack.ecn, flying, resolved, ack.largest_acknowledged, prior_largest)
        if ecn_ce and self._known_episode().on_marked(newest.time_sent, now):
            self._detection.on_recovery()
        rate, rtt, sent = self._rate, self.rtt, newest.path_state
        rate.on_delivered(acked_bytes, now)
        sample: AckSample = _new_sample((
            now,
            acked_bytes,
            lost_bytes,
            self.sent_packets.bytes_in_flight,
            prior_in_flight,
            oldest.time_sent,
            newest.time_sent,
            rtt.latest_rtt if has_rtt_sample else None,
            rtt.smoothed_rtt,
            rtt.min_rtt,
            rate.delivered,
            sent.delivered,
            rate.sample(newest, rtt.min_rtt, now),
            sent.is_app_limited,
            ecn_ce,
            rate.lost - sent.lost,
            sent.tx_in_flight,
            ack_delay if ack_delay < rtt.max_ack_delay else rtt.max_ack_delay,
        ))
        return sample

    def _on_lost(self, lost: list[SentTrain], prior_in_flight: int, now: float) -> int:
        """Tell the controller, remember what may yet be acknowledged, return the bytes lost in flight."""
        self.winding_up = False
        if self._persistent is None:
            self._persistent = PersistentCongestion()
        persistent = self._persistent.on_lost(lost, self._unresolved.skipped, self.rtt)
        # RFC 9000 section 14.4: the loss of a probe of the path MTU says nothing of congestion.
        flying = [train for train in lost if train.in_flight and not train.mtu_probe]
        lost_bytes = 0
        if flying:
            lost_bytes = sum([train.size for train in flying])
            self.ecn.on_lost(flying)
            self._rate.lost += lost_bytes
            newest = flying[-1]
            if self._known_episode().on_lost(sum([train.count for train in flying]), newest.time_sent, now):
                self._detection.on_recovery()
            in_flight, since = self.sent_packets.bytes_in_flight, self._rate.lost - newest.path_state.lost
            was = (newest.path_state.tx_in_flight, newest.path_state.is_app_limited)
            event = LossEvent(now, lost_bytes, newest.time_sent, in_flight, prior_in_flight, since, *was)
            self.congestion.on_loss(event)
        if persistent:
            self.rtt.refresh_min_rtt()
            self._known_episode().on_persistent_congestion()
            self.congestion.on_persistent_congestion(now)
        self._unresolved.remember(lost, now)
        return lost_bytes

    def _known_episode(self) -> LossEpisode:
        self._episode = self._episode or LossEpisode()
        return self._episode

    def _on_reordered(self, acked: list[SentTrain], spurious: list[SentTrain], prior_largest: int, now: float) -> None:
        """Teach loss detection how late the latest came: the oldest of them, as trains leave in order.

        What was sent over another path, or asked for no acknowledgement, tells nothing of this one.
        """
        late = next((train for train in spurious if train.in_flight), None)
        for train in acked:
            if train.first >= prior_largest:
                break
            if train.in_flight:
                if late is None or train.first < late.first:
                    late = train
                break
        if late is not None:
            self._detection.on_reordered(late.time_sent, self.rtt, now)

    def _on_spurious(self, spurious: list[SentTrain], now: float) -> None:
        if self._persistent is not None:
            self._persistent.interrupt()
        flying = [train for train in spurious if train.in_flight]
        if not flying:
            return
        self._rate.on_delivered(sum([train.size for train in flying]), now)
        told = [train for train in flying if not train.mtu_probe]
        if told:
            self.congestion.on_spurious_loss(sum([train.size for train in told]), now)
            if self._episode is not None and self._episode.on_spurious(told):
                self.congestion.on_loss_undone(now)

    def _on_resolved(self, prior_in_flight: int, now: float) -> None:
        """What was in flight has changed, and the controller's mind may have."""
        self.app_limited = False
        self.congestion.congestion_window = usable_window(self.congestion)
        self.pacer.set_rate(self._pacing_rate(), self.congestion.max_datagram_size, now)
        if prior_in_flight and not self.sent_packets.bytes_in_flight:
            self._idle_since = now
            self.pacer.settle(now)

    def _judge_cuts(self, packets: int) -> None:
        """An ACK has resolved so many packets outstanding."""
        if cuts := self.sent_packets.cuts + self._unresolved.remembered.cuts * LATE_CUTS:
            if self._shatter is None:
                self._shatter = Shatter(max(self.largest_acknowledged + 1 - packets, 0), packets)
            self._shatter.judge(cuts, packets)

    def _pacing_rate(self) -> float | None:
        """Bytes a second: the controller's, or what a peer that shatters what it acknowledges is worth."""
        rate, size = self.congestion.pacing_rate, self.congestion.max_datagram_size
        return rate if self._shatter is None else self._shatter.bound(rate, size)

    def _restart_if_idle(self, idle_seconds: float, now: float) -> None:
        """A pause as long as a probe timeout: what was known of the path may not hold (RFC 9002 section 7.8)."""
        if idle_seconds > self.rtt.probe_timeout():
            self.congestion.on_idle_restart(idle_seconds, now)
