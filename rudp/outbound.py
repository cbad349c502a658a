"""From parts to packets: what the next train carries, and where it goes.

Knows: the order in which things go out: answers and challenges for paths, then ACK, control frames and stream
data on the path in use. Refuses to know: the connection's state and its opening; how a train is filled
(packetizer), how much may go (recovery). A call makes a train, or several of which the next calls get the others;
costs are the packetizer's.

A train is handed out first and accounted for afterwards, when it is on its way: by the next call, or by whoever needs
the accounts before that (`account`). Nobody waits for what is noted of a packet, but for the packet its receiver does.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from rudp import wire
from rudp.closing import Closing
from rudp.control import ControlQueue
from rudp.liveness import Liveness
from rudp.packetizer import Packetizer, Packets
from rudp.path import Path, Paths
from rudp.path_mtu import SearchState
from rudp.received_packets import ReceivedPackets
from rudp.recovery import Recovery
from rudp.rtt import GRANULARITY
from rudp.sent_packets import SentTrain
from rudp.stats import Counters
from rudp.streams import Streams
from rudp.train import Address, Train, new_train

__all__ = ["Outbound"]

# A sender with a window of many packets asks for about this many ACKs a round trip (docs/DESIGN.md,
# ACK_FREQUENCY), and says so again when its window has doubled or halved.
ACKS_PER_WINDOW: Final = 8
# On a short path for one in a grain of a timer, as many as these at least: an ACK is a wake-up of this side's, which
# costs as much as ten packets of 65,507 bytes cost it beside the kernel's work. There is no jump from one number to the
# other: an RTT that wavers about it would be told each time.
SHORT_ACKS_PER_WINDOW: Final = 4
# On a long path for more, one in so many seconds, up to this many a round trip, but none for fewer packets than these.
# What an ACK tells of at once left the path some time ago, twice as long if the one before was lost. At eight in 200 ms
# the sender stood still for want of one: 1 Gbit/s, of which 10 % was lost both ways, carried 90 % of what it could.
# At one in 3 ms 1 Gbit/s at 50 ms carried 94.7 % where 5 % was lost both ways, and carries 97.
ACK_SPACING: Final = 0.0015
MOST_ACKS_PER_WINDOW: Final = 32
LEAST_PACKETS_PER_ACK: Final = 32
# On a near path for more, too, if the controller says up to how many, one in so many seconds, and for fewer packets
# from so many seconds of RTT down, but for these at least.
NEAR_ACK_SPACING: Final = 0.00065
NEAR_PATH: Final = 0.025
NEAR_PACKETS_PER_ACK: Final = 10
# Below this many packets a window the receiver's own pace of acknowledging serves.
LEAST_WINDOW_PACKETS: Final = 160
# The most that the frame can say. A window may be any number where a controller is the user's own.
LARGEST_THRESHOLD: Final = 2**32 - 1
# A probe of the path MTU may exceed what window and pacer allow by a packet or by this part of the window. It counts
# as in flight, so what follows waits.
PROBE_SHARE: Final = 8


# Ranges of an ACK that are told again whatever came, and bytes received since the last one for each further range. The
# least packet has 18 bytes, so what is new is always told, and an ACK (8 bytes a range) is no weapon: to tiny packets
# with a gap before each, 128 ranges every time were 53 times the bytes.
LEAST_ACK_RANGES: Final = 8
BYTES_FOR_ACK_RANGE: Final = 16

# What asks for an acknowledgement, in a probe and otherwise.
_ASKS_NOW: Final[tuple[wire.Frame, ...]] = (wire.ImmediateAck(),)
_ASKS: Final[tuple[wire.Frame, ...]] = (wire.Ping(),)

# A global is read in half the time of an enumeration's member, and this is for each train.
_BASE: Final = SearchState.BASE

UNKNOWN: Final = float("-inf")
NEVER: Final = float("inf")


def ack_threshold(packets: int, rtt: float, near_acks: int = 0) -> int:
    """How many packets of a window of so many the peer is to acknowledge at once; `rtt` in seconds."""
    least = int(min(max(rtt / GRANULARITY, SHORT_ACKS_PER_WINDOW), ACKS_PER_WINDOW))
    often, few = rtt / ACK_SPACING, LEAST_PACKETS_PER_ACK
    if often < near_acks:  # never, for most controllers, and this is for each train
        often = min(rtt / NEAR_ACK_SPACING, near_acks)
        few = max(int(few * min(rtt / NEAR_PATH, 1.0)), NEAR_PACKETS_PER_ACK)
    share = packets // least
    if share >= few:
        share = max(packets // int(min(max(often, least), MOST_ACKS_PER_WINDOW)), few)
    return min(max(2, share), LARGEST_THRESHOLD)


class Outbound:
    """The way out of one connection."""

    __slots__ = (
        "_ack_threshold",
        "_closing",
        "_control",
        "_counters",
        "_frequency_sequence",
        "_liveness",
        "_paths",
        "_received",
        "_recovery",
        "_streams",
        "bytes_answered",
        "made",
        "packetizer",
        "ping",
        "probes",
        "quiet_until",
        "unaccounted",
    )

    def __init__(
        self,
        *,
        packetizer: Packetizer,
        streams: Streams,
        control: ControlQueue,
        recovery: Recovery,
        received: ReceivedPackets,
        paths: Paths,
        closing: Closing,
        liveness: Liveness,
        counters: Counters,
    ) -> None:
        self.packetizer = packetizer
        self._streams = streams
        self._control = control
        self._recovery = recovery
        self._received = received
        self._paths = paths
        self._closing = closing
        self._liveness = liveness
        self._counters = counters
        self._frequency_sequence = 0
        self._ack_threshold = 0
        # Bytes received when the last ACK was sent.
        self.bytes_answered = 0
        self.ping = False
        self.probes = 0
        # Before then nothing goes but an ACK, a PING and probes: the pacer or the window holds back what waits, or
        # nothing does. Whoever changes what that was reckoned from sets it to minus infinity.
        self.quiet_until = UNKNOWN
        # Trains that were made with the one before and wait to be taken.
        self.made: deque[Train] | None = None
        # What was handed out and is yet to be accounted for: records' fields, packets, bytes, ECN mark, path, and when.
        self.unaccounted: tuple[list[tuple[Any, ...]], int, int, int, Path, float] | None = None

    def next_train(self, now: float) -> Train | None:
        """The next train, or None when nothing is due or nothing may go now."""
        if self.unaccounted is not None:
            self.account()
        if self.made:
            return self.made.popleft()
        deadline = self._received.deadline
        ack_due = now >= deadline if deadline is not None else False
        due = ack_due or self.ping or self.probes
        if now < self.quiet_until and not due:
            return None
        paths, turns = self._paths, self._streams.turns
        if (
            (paths.response is not None or paths.candidate is not None)
            and (train := self._path_train(now)) is not None
        ):
            return train
        mtu = paths.mtu
        if mtu.size != self.packetizer.datagram_size:
            self.packetizer.resize(mtu.size)
            self._recovery.set_max_datagram_size(mtu.size, now)
        # Where only the opening has shown that packets pass, who has little to send isn't asked further.
        if (
            mtu.ready
            and mtu.size < mtu.bound
            and not (self.probes or (mtu.state is _BASE and turns.unsent < mtu.bound))
            and (train := self._mtu_probe(now)) is not None
        ):
            return train
        if self._closing.finished:
            self._finish_when_sent()
        waiting = self._control.pending is not None or turns.ready is not None
        if due or waiting:
            allowance = self._recovery.send_allowance(now)
            # Else window or pacer holds it back.
            if (due or allowance) and (train := self._fill_train(ack_due, waiting, allowance, now)) is not None:
                return train
        self._note_quiet(now)
        return None

    def _note_quiet(self, now: float) -> None:
        """Work out for how long there is nothing to look for here; who has nothing to send is limited by that."""
        until = UNKNOWN
        if self._control.pending or self._streams.turns.ready:
            until = self._release_time(now)
        else:
            recovery = self._recovery
            if not recovery.app_limited and recovery.send_allowance(now) >= self.packetizer.datagram_size:
                recovery.on_app_limited(now)
            if recovery.app_limited:  # else that is yet to be said, as soon as the pacer allows a packet
                until = NEVER
        closing = self._closing
        if self._paths.candidate is not None or (closing.finished and not closing.fin_queued):
            until = UNKNOWN
        self.quiet_until = until

    def _fill_train(self, ack_due: bool, waiting: bool, allowance: int, now: float) -> Train | None:
        """Make the train, of at most `allowance` bytes where window and pacer count."""
        recovery, received, packetizer = self._recovery, self._received, self.packetizer
        skip_at = recovery.skip_at
        if skip_at is not None and packetizer.next_packet_number >= skip_at:
            packetizer.next_packet_number += recovery.skips(packetizer.next_packet_number)
            skip_at = recovery.skip_at
        size, pings, probes = packetizer.datagram_size, self.ping, self.probes
        if probes and allowance < size:
            allowance = size
        if self._ack_threshold or recovery.congestion.congestion_window >= LEAST_WINDOW_PACKETS * size:
            self._ask_for_acks()
        ack = None
        # A probe repeats the ACK: all sent so far may be lost, and the peer may have backed off for long.
        probing = probes and received.largest >= 0
        if ack_due or probing or ((pings or (waiting and allowance >= size)) and received.ack_wanted):
            fresh = self._counters.bytes_received - self.bytes_answered
            most = LEAST_ACK_RANGES + fresh // BYTES_FOR_ACK_RANGE
            ack = received.build_ack(now) if probing else received.build_ack(now, most)
        asks = pings or (ack is not None and not waiting and recovery.ping_due(now))
        urgent = _ASKS_NOW if probes else _ASKS if asks else ()
        packets = packetizer.fill(now, ack, urgent, allowance, skip_at)
        if packets is None:
            if allowance >= size:
                recovery.on_app_limited(now)
            return None
        self.ping = False
        if probes:
            self.probes = max(0, probes - packets[1])
        if ack is not None:
            received.on_ack_sent(now)
            self.bytes_answered = self._counters.bytes_received
        return self._send(packets, self._paths.active, now)

    def _mtu_probe(self, now: float) -> Train | None:
        """A probe of the path MTU, just ahead of stream data that may go: what follows tells soon if it is lost."""
        mtu, turns = self._paths.mtu, self._streams.turns
        size = mtu.next_probe(now)
        if not size or turns.next_ready() is None:
            return None
        least = self.packetizer.datagram_size
        allowance = self._recovery.send_allowance(now)
        # It takes the place of data. Were it to wait for room of its size, data would always come first.
        overdraft = max(least, self._recovery.congestion.congestion_window // PROBE_SHARE)
        fits = allowance >= least and size <= allowance + overdraft
        # On loopback one packet is hardly ever too much, but there must be data to fill it.
        if not fits and not (mtu.may_overdraw and turns.unsent >= size):
            return None
        mtu.on_probe_sent(size)
        return self._send(self.packetizer.probe(size, now), self._paths.active, now)

    def _finish_when_sent(self) -> None:
        """Queue the FIN once every byte was handed out and every reset is known to the peer.

        Were a RESET_STREAM lost and the FIN complete without it, the peer would take a stream given up for
        one that ended.
        """
        closing, streams = self._closing, self._streams
        if closing.finished and not (closing.fin_queued or streams.turns.unsent or streams.resets_unacknowledged):
            closing.fin_queued = True
            self._recovery.winding_up = not streams.turns.mends
            bidi, uni = streams.limits.opened_by_me
            self._control.put(wire.Fin(bidi, uni, streams.turns.send_window.used))

    def _ask_for_acks(self) -> None:
        """Tell the receiver of a large window to acknowledge a share of it at a time."""
        rtt = self._recovery.rtt
        congestion = self._recovery.congestion
        packets = congestion.congestion_window // self.packetizer.datagram_size
        old = self._ack_threshold
        threshold = ack_threshold(packets, rtt.smoothed_rtt, congestion.near_acks)
        if old and old < threshold * 2 and threshold < old * 2:
            return
        self._ack_threshold = threshold
        self._frequency_sequence += 1
        self._control.put(wire.AckFrequency(self._frequency_sequence, threshold, rtt.max_ack_delay, 1))

    def _path_train(self, now: float) -> Train | None:
        """An answer to a challenge, from where it came to where it came from; or a challenge of ours."""
        if self._paths.response is not None:
            remote, local, data = self._paths.response
            self._paths.response = None
            packets = self.packetizer.single([wire.PathResponse(data)], now, in_flight=False)
            return self._send(packets, self._path_to(remote, local), now)
        candidate = self._paths.candidate
        if candidate is None or candidate.failed or not candidate.challenge_due(now):
            return None
        assert candidate.challenge is not None
        if candidate.budget() < self.packetizer.smallest:
            # A try without the means is a try, or an address that falls silent would never be given up.
            candidate.on_challenge_sent(now, self._recovery.rtt.probe_timeout())
            return None
        packets = self.packetizer.single([wire.PathChallenge(candidate.challenge)], now, in_flight=False)
        candidate.on_challenge_sent(now, self._recovery.rtt.probe_timeout())
        return self._send(packets, candidate, now)

    def _path_to(self, remote: Address, local: Address | None) -> Path:
        candidate = self._paths.candidate
        if candidate is not None and candidate.remote == remote:
            return candidate
        return self._paths.active if remote == self._paths.active.remote else Path(remote, local)

    def account(self) -> None:
        """Note what was handed out last, if that is yet to be done."""
        if (unaccounted := self.unaccounted) is None:
            return
        records, number, size, ecn, path, now = unaccounted
        self.unaccounted = None
        liveness, counters = self._liveness, self._counters
        for fields in records:
            record = SentTrain(*fields)
            record.ecn = ecn
            self._recovery.on_train_sent(record, now)
            if liveness.sent_since is None and record.ack_eliciting:
                liveness.sent_since = now
        counters.packets_sent += number
        counters.bytes_sent += size
        path.bytes_sent += size
        self._note_quiet(now)

    def _send(self, packets: Packets, path: Path, now: float) -> Train:
        """Address a train; it is accounted for by `account`."""
        trains, number, left, records = packets
        ecn = self._recovery.ecn.codepoint
        self.unaccounted = records, number, left, ecn, path, now
        if number == 1:
            return new_train((trains[0], left, left, path.local, path.remote, ecn))
        size = self.packetizer.datagram_size
        if len(trains) == 1:
            return new_train((trains[0], size, left, path.local, path.remote, ecn))
        address = (path.local, path.remote, ecn)
        whole = self.packetizer.packets_per_train * size
        made = [new_train((buffers, size, whole, *address)) for buffers in trains[:-1]]
        left -= whole * len(made)
        self.made = deque([*made[1:], new_train((trains[-1], size, left, *address))])
        return made[0]

    def take_back(self, train: Train) -> list[tuple[int, int]]:
        """Ranges of the packets not sent of `train`, handed out last and refused for its size, and of those made with
        it: all but a shorter one at its end, which may have passed. The others are handed out no more.
        """
        self.account()
        stop = self.packetizer.next_packet_number
        made, self.made = self.made or (), None
        after = stop - sum(-(-other.size // other.segment_size) for other in made)
        whole, shorter = divmod(train.size, train.segment_size)
        first = after - whole - (shorter > 0)
        return [(first, first + whole), (after, stop)]

    def next_timeout(self, now: float) -> float | None:
        """When something held back by time alone can go: an ACK, a paced train, a challenge. None: nothing."""
        if self.unaccounted is not None:
            self.account()
        due, release = self._received.deadline, self.quiet_until
        if release <= now and (self._control.pending or self._streams.turns.ready):
            release = self._release_time(now)
        if now < release < NEVER and (due is None or release < due):
            due = release
        candidate = self._paths.candidate
        if candidate is not None:
            challenge = candidate.challenge_at
            if challenge is not None and (due is None or challenge < due):
                due = challenge
        return due

    def _release_time(self, now: float) -> float:
        """When the pacer lets go what waits: UNKNOWN if it may go now, NEVER if the window is too full for it."""
        recovery, packetizer = self._recovery, self.packetizer
        room = recovery.congestion.congestion_window - recovery.sent_packets.bytes_in_flight
        if room < packetizer.datagram_size and not packetizer.small_fits(room):
            return NEVER  # of what is left of the window nothing will be taken, however late
        release = recovery.pacer.release_time(now)
        return UNKNOWN if release is None else release
