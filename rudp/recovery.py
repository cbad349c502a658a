"""What became of the packets we sent, and how many more may go: ACKs, loss detection, probe timeout.

Knows: which trains are outstanding and since when, the RTT, what was declared lost lately, when to ask again.
Joins `rtt`, `sent_packets`, `pacer` and one congestion controller, and tells the controller sizes and times.
Refuses to know: contents (it hands trains back, the caller frees or queues again what they had) or the wire.

    on_train_sent            O(1)
    on_ack_received          O(new ACK ranges + pieces resolved); ranges below all unresolved are skipped
    next_timeout             O(1), computed when asked
    handle_timeout           O(pieces lost)
    send_allowance           O(1)

Losses are always a prefix of what is outstanding: both thresholds (RFC 9002 section 6.1) hold for every
packet older than one they hold for. So loss detection cuts the front off, and lost trains come in order.

Sources: RFC 9002 (section and appendix cited at each use); RFC 9000 sections 9.4, 13.4.2, 21.4;
draft-cheng-iccrg-delivery-rate-estimation.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from rudp.congestion import AckSample, CongestionController, LossEvent, RandomBits
from rudp.delivery_rate import DeliveryRate
from rudp.ecn import ECT0, EcnValidation
from rudp.errors import ErrorCode, ProtocolError
from rudp.pacer import Pacer
from rudp.persistent_congestion import PersistentCongestion
from rudp.ranges import RangeSet
from rudp.rtt import RttEstimator
from rudp.sent_packets import SentPackets, SentTrain
from rudp.wire import UNKNOWN_ACK_DELAY, Ack

__all__ = ["AckResult", "Recovery", "TimeoutResult"]

# RFC 9002 section 6.1.1: packets by which a later one must be ahead (kPacketThreshold).
PACKET_THRESHOLD: Final = 3
# RFC 9002 section 6.2.4: a second probe saves another timeout when the first is lost.
PROBES: Final = 2
# RFC 8961 section 4 asks for a minute or more. But then an idle timeout of 30 s holds seven tries, and at 50 % loss one
# transfer in fifty ends undecided; and a path that comes back after half a minute stands idle for half a minute more.
# RFC 8085 section 3.1.1 lets who knows nothing of a path send a datagram every three seconds: here it is a pair.
MAX_PROBE_TIMEOUT: Final = 3.0
# Trains declared lost are remembered for this many probe timeouts, and no more of them than this, fewer when
# nothing is outstanding: an idle connection should be small.
REMEMBERED_PROBE_TIMEOUTS: Final = 3
MAX_REMEMBERED: Final = 512
MAX_REMEMBERED_IDLE: Final = 16
# Runs of skipped packet numbers the peer is checked against (RFC 9000 section 21.4).
MAX_SKIPPED: Final = 32
# Packets without need of acknowledgement after which one should carry a PING (RFC 9000 section 13.2.4). More
# than one, or two idle peers would acknowledge each other's PINGs for ever.
QUIET_BEFORE_PING: Final = 4
# Probe timeouts in a row without any mark confirmed after which ECN is suspected (RFC 9000 section 13.4.2).
ECN_SUSPECT_PROBES: Final = 3

_NO_RANGES: Final[frozenset[tuple[int, int]]] = frozenset()


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


class Recovery:
    """Loss recovery of one connection. All times in seconds, all sizes in bytes of UDP payload."""

    __slots__ = (
        "_controller",
        "_ecn",
        "_ecn_wanted",
        "_last_ack_eliciting_sent",
        "_loss_time",
        "_path_first",
        "_persistent",
        "_random",
        "_rate",
        "_remembered",
        "_seen_ranges",
        "_skipped",
        "_waiting_since",
        "congestion",
        "largest_acknowledged",
        "next_packet_number",
        "pacer",
        "pto_count",
        "rtt",
        "sent_packets",
    )

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
        self.pacer = Pacer(max_datagram_size)
        self.rtt = RttEstimator(max_ack_delay)
        self.sent_packets = SentPackets()
        self.pto_count = 0
        self.largest_acknowledged = -1
        self.next_packet_number = 0
        self._ecn_wanted = ecn
        self._ecn = EcnValidation(ecn)
        self._rate = DeliveryRate(0.0)
        self._remembered = SentPackets()
        self._skipped = RangeSet()
        self._seen_ranges = _NO_RANGES
        self._path_first = 0
        self._loss_time: float | None = None
        self._last_ack_eliciting_sent = float("-inf")
        self._waiting_since = 0.0
        self._persistent = PersistentCongestion()

    def on_train_sent(self, train: SentTrain, now: float) -> None:
        """Track a train that leaves now. Packet numbers left out since the train before count as skipped.

        A probe of the path MTU (`mtu_probe`) is like any packet but for its loss, which is handed back and told
        to nobody else: no congestion controller, no count of bytes lost, no persistent congestion.
        """
        assert train.first >= self.next_packet_number, "packet numbers are never reused"
        assert train.time_sent == now
        if train.first > self.next_packet_number:
            self._skipped.add(self.next_packet_number, train.first)
            if len(self._skipped) > MAX_SKIPPED:
                self._skipped.remove_below(self._skipped.first()[1])
        self.next_packet_number = train.stop
        sent = self.sent_packets
        self._ecn.on_sent(train)
        if train.in_flight:
            bytes_in_flight = sent.bytes_in_flight
            self._rate.on_sent(train, bytes_in_flight, now)
            self.congestion.on_sent(train.size, bytes_in_flight, now)
            self.pacer.set_rate(self.congestion.pacing_rate, self.congestion.max_datagram_size, now)
            self.pacer.on_sent(train.size, now)
        if train.ack_eliciting:
            if not sent.ack_eliciting_in_flight:
                self._waiting_since = now
            self._last_ack_eliciting_sent = now
        sent.add(train)

    def on_ack_received(self, ack: Ack, now: float) -> AckResult:
        """Process one ACK frame (RFC 9002 appendix A.7).

        Raises ProtocolError when it acknowledges a packet number that was never sent.
        """
        prior_in_flight = self.sent_packets.bytes_in_flight
        acked, spurious = self._take_acknowledged(ack)
        raises_largest = ack.largest_acknowledged > self.largest_acknowledged
        if not (acked or spurious or raises_largest):
            return AckResult([], [], [])
        if raises_largest:
            self.largest_acknowledged = ack.largest_acknowledged
        if acked or spurious:
            self.pto_count = 0
            self._waiting_since = now
        has_rtt_sample = self._sample_rtt(ack, acked, now)
        lost = self._detect_lost(now)
        lost_bytes = self._on_lost(lost, prior_in_flight, now)
        self._on_spurious(spurious, now)
        flying = [train for train in acked if train.in_flight]
        if flying:
            sample = self._ack_sample(
                flying,
                now,
                lost_bytes=lost_bytes,
                prior_in_flight=prior_in_flight,
                has_rtt_sample=has_rtt_sample,
                # RFC 9000 section 13.4.2.1: an ACK overtaken by a later one has older counts.
                ecn_ce=self._ecn.on_ack(ack.ecn, flying) if raises_largest else 0,
            )
            self.congestion.on_ack(sample)
        self.pacer.set_rate(self.congestion.pacing_rate, self.congestion.max_datagram_size, now)
        self._forget_resolved(now)
        return AckResult(acked, lost, spurious)

    def handle_timeout(self, now: float) -> TimeoutResult:
        """Act on what is due (RFC 9002 appendix A.9); harmless when called early."""
        if self._loss_time is not None:
            if now < self._loss_time:
                return TimeoutResult([], 0)
            prior_in_flight = self.sent_packets.bytes_in_flight
            lost = self._detect_lost(now)
            self._on_lost(lost, prior_in_flight, now)
            self.pacer.set_rate(self.congestion.pacing_rate, self.congestion.max_datagram_size, now)
            return TimeoutResult(lost, 0)
        deadline = self._probe_deadline()
        if deadline is None or now < deadline:
            return TimeoutResult([], 0)
        self.pto_count += 1
        if self.pto_count >= ECN_SUSPECT_PROBES and not self._ecn.confirmed:
            self._ecn.enabled = False
        return TimeoutResult([], PROBES)

    def on_app_limited(self, now: float) -> None:
        """Nothing is there to send, or the peer's credit forbids it, though window and pacer allow it."""
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
        self.pacer = Pacer(max_datagram_size)
        self.rtt.reset()
        self.sent_packets.leave_path()
        self._remembered.leave_path()
        self._rate = DeliveryRate(now)
        self._ecn.enabled = self._ecn_wanted
        self._ecn.confirmed = False
        self._path_first = self.next_packet_number
        self._persistent.interrupt()
        self.pto_count = 0

    def set_max_datagram_size(self, max_datagram_size: int, now: float) -> None:
        """Full packets have another size from now on (path MTU discovery)."""
        self.congestion.max_datagram_size = max_datagram_size
        self.pacer.set_rate(self.congestion.pacing_rate, max_datagram_size, now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` has something to do; None: never (RFC 9002 appendix A.8)."""
        return self._probe_deadline() if self._loss_time is None else self._loss_time

    def send_allowance(self, now: float) -> int:
        """Bytes that congestion window and pacer allow to be in flight more, now."""
        room = self.congestion.congestion_window - self.sent_packets.bytes_in_flight
        return min(room, self.pacer.allowance(now)) if room > 0 else 0

    def limited_by(self, now: float) -> Literal["congestion_window", "pacer"] | None:
        """What keeps a full packet from being sent now, if one of the two does."""
        room = self.congestion.congestion_window - self.sent_packets.bytes_in_flight
        if room < self.congestion.max_datagram_size:
            return "congestion_window"
        return None if self.pacer.allowance(now) else "pacer"

    def pacing_release_time(self, now: float) -> float | None:
        """When the pacer lets more go; None when it doesn't hold anything back, or the window does too."""
        if self.congestion.congestion_window <= self.sent_packets.bytes_in_flight:
            return None
        return self.pacer.release_time(now)

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

    def oldest_unacknowledged(self, packets: int) -> list[SentTrain]:
        """The oldest ack-eliciting packets outstanding, at most so many: what probes may repeat. All stay.

        Probes of the path MTU are left out: whoever sends them repeats them when they are due.
        """
        found = []
        for train in self.sent_packets:
            if packets <= 0:
                break
            if train.ack_eliciting and not train.mtu_probe:
                found.append(train.piece(train.first, min(train.stop, train.first + packets)))
                packets -= train.count
        return found

    @property
    def delivered(self) -> int:
        """Bytes in flight that were acknowledged so far on this path."""
        return self._rate.delivered

    @property
    def ecn(self) -> int:
        """The ECN codepoint to send trains with: 2, ECT(0), or 0 when ECN is off or failed validation."""
        return ECT0 if self._ecn.enabled else 0

    def _take_acknowledged(self, ack: Ack) -> tuple[list[SentTrain], list[SentTrain]]:
        """Remove what `ack` covers from the outstanding and from the remembered trains."""
        if ack.largest_acknowledged >= self.next_packet_number:
            raise _never_sent(ack.largest_acknowledged)
        floor = self._lowest_unresolved()
        seen = self._seen_ranges
        fresh = []
        for item in ack.ranges:
            if item[1] <= floor:
                break
            if item not in seen:
                fresh.append(item)
        if self._skipped:
            for start, stop in fresh:
                if skipped := self._skipped.overlap(start, stop):
                    raise _never_sent(skipped[0][0])
        acked: list[SentTrain] = []
        spurious: list[SentTrain] = []
        for start, stop in reversed(fresh):
            acked += self.sent_packets.take(start, stop)
            spurious += self._remembered.take(start, stop)
        # The next ACK repeats most of these ranges; what they cover is resolved.
        repeats = len(ack.ranges) > 1 and len(self.sent_packets) > 0
        self._seen_ranges = frozenset(ack.ranges) if repeats else _NO_RANGES
        return acked, spurious

    def _lowest_unresolved(self) -> int:
        """The lowest packet number an ACK could still tell something about."""
        lowest = self.next_packet_number
        for train in (self.sent_packets.oldest, self._remembered.oldest):
            if train is not None and train.first < lowest:
                lowest = train.first
        if self._skipped and self._skipped.starts[0] < lowest:
            lowest = self._skipped.starts[0]
        return lowest

    def _sample_rtt(self, ack: Ack, acked: list[SentTrain], now: float) -> bool:
        """Section 5.1: only from the largest acknowledged, newly so, and if some of `acked` asked for it.

        What is ack-eliciting and not in flight went another way: over an old path, or to probe a new one.
        """
        if not acked or acked[-1].stop - 1 != ack.largest_acknowledged or ack.ack_delay >= UNKNOWN_ACK_DELAY:
            return False
        newest = acked[-1]
        if newest.first < self._path_first or (newest.ack_eliciting and not newest.in_flight):
            return False
        if not any(train.ack_eliciting for train in acked):
            return False
        self.rtt.update(now - newest.time_sent, ack.ack_delay, now)
        return True

    def _ack_sample(
        self,
        flying: list[SentTrain],
        now: float,
        *,
        lost_bytes: int,
        prior_in_flight: int,
        has_rtt_sample: bool,
        ecn_ce: int,
    ) -> AckSample:
        acked_bytes = sum([train.size for train in flying])
        oldest, newest = flying[0], flying[-1]
        self._rate.on_delivered(acked_bytes, now)
        return AckSample(
            now=now,
            acked_bytes=acked_bytes,
            lost_bytes=lost_bytes,
            bytes_in_flight=self.sent_packets.bytes_in_flight,
            prior_in_flight=prior_in_flight,
            oldest_time_sent=oldest.time_sent,
            newest_time_sent=newest.time_sent,
            latest_rtt=self.rtt.latest_rtt if has_rtt_sample else None,
            smoothed_rtt=self.rtt.smoothed_rtt,
            min_rtt=self.rtt.min_rtt,
            delivered=self._rate.delivered,
            prior_delivered=newest.delivered,
            delivery_rate=self._rate.sample(newest, self.rtt.min_rtt, now),
            is_app_limited=newest.is_app_limited,
            ecn_ce=ecn_ce,
            lost_since_sent=self._rate.lost - newest.lost,
            tx_in_flight=newest.tx_in_flight,
        )

    def _detect_lost(self, now: float) -> list[SentTrain]:
        """Remove and return what is lost by either threshold; set when the rest would be (appendix A.10)."""
        self._loss_time = None
        sent = self.sent_packets
        oldest = sent.oldest
        largest = self.largest_acknowledged
        if oldest is None or oldest.first > largest:
            return []
        delay = self.rtt.loss_delay()
        stop = largest - PACKET_THRESHOLD + 1
        for train in sent:
            if train.first > largest:
                break
            if train.time_sent + delay <= now:
                stop = max(stop, train.stop)
            elif train.stop > stop:
                # The same sum as above, or rounding could have the timer fire and find nothing.
                self._loss_time = train.time_sent + delay
                break
        return sent.take(oldest.first, stop) if stop > oldest.first else []

    def _on_lost(self, lost: list[SentTrain], prior_in_flight: int, now: float) -> int:
        """Tell the controller, remember what may yet be acknowledged, return the bytes lost in flight."""
        if not lost:
            return 0
        persistent = self._persistent.on_lost(lost, self._skipped, self.rtt)
        # RFC 9000 section 14.4: the loss of a probe of the path MTU says nothing of congestion.
        flying = [train for train in lost if train.in_flight and not train.mtu_probe]
        lost_bytes = sum([train.size for train in flying])
        if flying:
            self._rate.lost += lost_bytes
            newest = flying[-1]
            in_flight, since = self.sent_packets.bytes_in_flight, self._rate.lost - newest.lost
            was = (newest.tx_in_flight, newest.is_app_limited)
            event = LossEvent(now, lost_bytes, newest.time_sent, in_flight, prior_in_flight, since, *was)
            self.congestion.on_loss(event)
        if persistent:
            self.rtt.refresh_min_rtt()
            self.congestion.on_persistent_congestion(now)
        for train in lost:
            if train.ack_eliciting:
                train.time_lost = now
                self._remembered.add(train)
        return lost_bytes

    def _on_spurious(self, spurious: list[SentTrain], now: float) -> None:
        if not spurious:
            return
        self._persistent.interrupt()
        flying = [train for train in spurious if train.in_flight]
        if flying:
            self._rate.on_delivered(sum([train.size for train in flying]), now)
            if size := sum([train.size for train in flying if not train.mtu_probe]):
                self.congestion.on_spurious_loss(size, now)

    def _forget_resolved(self, now: float) -> None:
        """Drop remembered trains that are too many or too old, and skipped numbers no ACK will meet."""
        remembered = self._remembered
        if len(remembered):
            excess = len(remembered) - (MAX_REMEMBERED if len(self.sent_packets) else MAX_REMEMBERED_IDLE)
            expiry = now - REMEMBERED_PROBE_TIMEOUTS * self.rtt.probe_timeout()
            number = 0
            for train in remembered:
                if number >= excess and train.time_lost >= expiry:
                    break
                number += 1
            remembered.drop_oldest(number)
        if self._skipped:
            oldest = self.sent_packets.oldest
            below = self.largest_acknowledged + 1
            for entry in (oldest, remembered.oldest):
                if entry is not None and entry.first < below:
                    below = entry.first
            self._skipped.remove_below(below)

    def _probe_deadline(self) -> float | None:
        """Section 6.2.1: counts from the last ack-eliciting packet, while one is outstanding."""
        if not self.sent_packets.ack_eliciting_in_flight:
            return None
        # 2^16 times any probe timeout is over the cap.
        backoff = 1 << min(self.pto_count, 16)
        probe_timeout = self.rtt.probe_timeout()
        return self._last_ack_eliciting_sent + min(probe_timeout * backoff, max(probe_timeout, MAX_PROBE_TIMEOUT))


def _never_sent(packet_number: int) -> ProtocolError:
    return ProtocolError(
        ErrorCode.PROTOCOL_VIOLATION, f"the peer acknowledged packet {packet_number}, which was never sent"
    )
