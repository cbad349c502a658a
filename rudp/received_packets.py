"""What arrived, and when to tell the peer.

Knows: received packet numbers as ranges, when the largest arrived, how many packets wait to be acknowledged.
Refuses to know: what packets carried and how an ACK frame is laid out.

Per run of packets that arrived, in this order: `filter_new` (what of it is no duplicate), then `on_received`
for each part that was accepted. When what a received buffer held of this connection, one run upon another,
has been taken: `end_of_buffer`, which decides whether an ACK is due at once. Nothing is sent before the whole buffer is
taken; so it asks for one ACK at most. Before sending: `deadline` (from then on an ACK goes, even alone) or
`ack_wanted` (let one ride along), `build_ack`, `on_ack_sent`. When a packet of ours that carried an ACK is
acknowledged: `on_ack_acked`.

The policy: an ACK goes out at the end of a buffer when packets are seen to be missing or late (eight times a
round trip at most, once the sender has asked for few ACKs), when as many ranges are news as fill a quarter of one, when
a CE mark came, when enough ack-eliciting packets wait, or when waiting would be shorter than a timer's grain
and the sender didn't ask for few; otherwise after a quarter of a round trip, max_ack_delay at most. It rides
along before, when something is sent, but for small packets that come one upon another, as requests and their
answers do: there the same few ACKs serve, and to make, send, read and reckon one took a third of what a
request costs. Where an RTT is too short for timers, those that carry nothing but data wait longest. So long after
the first ACK, if that was of several packets, it goes once more, unless another went meanwhile.

Adding in order is O(1); filter_new and adding elsewhere are O(log n), n being 256 ranges at most. `ranges`,
`floor` and which of the ranges the peer is known to know are all that is remembered: every number below `floor` counts
as received; a packet that late is dropped. `on_ack_acked` is O(ranges of the ACK), of one O(1).

Sources: RFC 9000 sections 13.2 (ACK generation), 13.4.1 (ECN); draft-ietf-quic-ack-frequency (thresholds).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Final

from rudp.ecn import CE, ECT0, ECT1
from rudp.never import NEVER_YET
from rudp.ranges import RangeSet
from rudp.rtt import GRANULARITY, RttEstimator
from rudp.wire import MAX_ACK_RANGES, UNKNOWN_ACK_DELAY, Ack, AckFrequency

__all__ = ["ReceivedPackets"]

# The constructor of a named tuple is a Python function, which takes twice as long.
_new_ack: Final = partial(tuple.__new__, Ack)

# Ranges remembered; when there are more, the lowest is forgotten (RFC 9000 section 13.2.3).
MAX_RANGES: Final = 256
# Ack-eliciting packets that bring forth an ACK: as RFC 9000 section 13.2.2 until the sender has had enough
# ACKs to leave the initial window behind, fewer ACKs afterwards.
INITIAL_ACK_ELICITING_THRESHOLD: Final = 2
INITIAL_PACKETS: Final = 100
ACK_ELICITING_THRESHOLD: Final = 10
# The ACK of several packets among the first is sent once more if nothing follows it: they came in one buffer, so it was
# the only one, and were it lost their sender would wait for a probe timeout, three round trips and more.
FIRST_PACKETS: Final = 10
SEVERAL: Final = 3
# At least this many ACKs a round trip while packets arrive.
ACKS_PER_RTT: Final = 4
# Seconds for which an ACK of small packets waits at least while they come one upon another, and the pause between two
# of them that is too long for that. Rare enough for a wake-up, if it must be sent alone.
PATIENCE: Final = 0.004
LONGEST_PAUSE: Final = PATIENCE / 2
# The same where a quarter of an RTT is below a timer's grain, so that no timer goes by the RTT. A loop that waits with
# a timer sooner than the kernel's next tick takes 4 to 6 % longer for a request (12 ms gain half of that). Below
# max_ack_delay, which probe timeouts allow for (25 ms). On longer paths a small window's growth would wait.
NEAR_PATIENCE: Final = 0.02
NEAR_RTT: Final = ACKS_PER_RTT * GRANULARITY
# Bytes since the last ACK that are few: a packet that every path carries. Who has sent no more isn't held back by its
# congestion window, which is two of them at least.
FEW_BYTES: Final = 1_200
# And no more than this for one gap after another, once the sender has asked for few.
GAP_ACKS_PER_RTT: Final = 8
# Ranges that no ACK has told of after which one is due at once: what doesn't fit into an ACK is lost to the sender,
# though it arrived. A quarter of what fits, so that the fourth still tells what the three before did, if all are lost.
# With half of it 6 % of all packets were sent again in vain at 1 Gbit/s, 200 ms and 20 % lost both ways, now none.
MAX_UNTOLD_RANGES: Final = MAX_ACK_RANGES // 4
# ACKs that tell of a range, the first among them, and ranges that each has whatever they told: a range is lost to the
# sender with all of them, and what only later ones tell comes too late to keep it from being sent again. With half of
# all ACKs lost four left 4 % to be sent again in vain, eight 0.1 %. To tell all that may be told, every time, was a
# tenth of what 10 % of loss costs both sides; eight in place of four make no difference there.
TELLINGS: Final = 8
LEAST_RANGES: Final = 32


class ReceivedPackets:
    """Received packet numbers of one connection.

    `rtt` is the connection's estimator, read only; `max_ack_delay` is ours, seconds. `largest` is the largest
    packet number accepted, -1 before the first. `deadline` is when an ACK becomes due, or became; None: none waits.
    """

    __slots__ = (
        "_ack_eliciting_threshold",
        "_answered",
        "_ce",
        "_changed",
        "_ect0",
        "_ect1",
        "_frequency_sequence",
        "_gap_seen",
        "_largest_acked",
        "_last_buffer",
        "_last_sent",
        "_latest_told",
        "_lowest_new",
        "_patient",
        "_pause",
        "_reordering_threshold",
        "_rtt",
        "_settled",
        "_told",
        "_urgent",
        "_waiting",
        "deadline",
        "floor",
        "largest",
        "largest_time",
        "max_ack_delay",
        "next",
        "ranges",
        "undecided",
    )

    def __init__(self, rtt: RttEstimator, max_ack_delay: float) -> None:
        self._rtt = rtt
        self.max_ack_delay = max_ack_delay
        self.ranges = RangeSet()
        # Of those, what acknowledged ACKs told of, once that isn't all there was.
        self._told: RangeSet | None = None
        self.floor = 0
        # The number that comes next, if its coming is no news of a gap; -1 when it may be, or nothing came yet.
        self.next = -1
        self.largest = -1
        self.largest_time = 0.0
        self._largest_acked = -1
        # Ack-eliciting packets up to when the last ACK was sent, and since; whether anything at all came since.
        self._answered = self._waiting = 0
        self._changed = False
        self._urgent = False
        self._gap_seen = False
        self._last_sent = NEVER_YET
        # From which number on an ACK would tell news, and so each of the last ones did.
        self._lowest_new = 0
        self._latest_told: tuple[int, ...] = ()
        # When something to acknowledge came last, and how long after what came before; whether it waits though
        # something else is sent.
        self._last_buffer = NEVER_YET
        self._pause = 0.0
        self._patient = False
        # What more comes before the next ACK won't bring its deadline nearer, unless it tells of a gap or is enough.
        self._settled = False
        # Whether something came that `end_of_buffer` has to look at.
        self.undecided = False
        self.deadline: float | None = None
        # The sender's wish; without one it rises when it has had enough ACKs.
        self._ack_eliciting_threshold = INITIAL_ACK_ELICITING_THRESHOLD
        self._reordering_threshold = 1
        self._frequency_sequence = -1
        self._ect0 = self._ect1 = self._ce = 0

    def filter_new(self, first: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of [first, stop) not received before, ascending."""
        if first > self.largest:
            return [(first, stop)] if first < stop else []
        return self.ranges.missing(max(first, self.floor), stop)

    def on_received(self, first: int, stop: int, now: float, ack_eliciting: bool, ecn: int) -> None:
        """Note that packets [first, stop), all new, were accepted with the ECN mark `ecn` (0 to 3)."""
        assert first < stop
        if first == self.next and (ecn == ECT0 or not ecn):
            # As nearly always, so there is nothing but to count.
            self.ranges.stops[-1] = self.next = stop
            self.largest = stop - 1
            self.largest_time = now
            self._changed = True
            if ecn:
                self._ect0 += stop - first
            if ack_eliciting:
                self._waiting = waiting = self._waiting + stop - first
                deadline = self.deadline
                if (
                    self._settled and waiting < self._ack_eliciting_threshold
                    and deadline is not None and now < deadline
                ):
                    if now > self._last_buffer:
                        self._pause, self._last_buffer = now - self._last_buffer, now
                    return
            self.undecided = True
            return
        # Frames of these very packets may have raised the floor since `filter_new`.
        if first < self.floor:
            first = self.floor
            if first >= stop:
                return
        late = first < self.largest
        self._lowest_new = min(self._lowest_new, first)
        self.ranges.add(first, stop)
        self._note(stop - first, stop, late, now, ack_eliciting, ecn)

    def on_received_with_gaps(self, numbers: Sequence[tuple[int, int]], now: float, ecn: int) -> None:
        """The same of ack-eliciting packets in ascending ranges, all above `largest`."""
        self._note(self.ranges.extend(numbers), numbers[-1][1], False, now, True, ecn)

    def _note(self, count: int, stop: int, late: bool, now: float, ack_eliciting: bool, ecn: int) -> None:  # noqa: PLR0917
        if stop > self.largest:
            self.largest = stop - 1
            self.largest_time = now
        starts = self.ranges.starts
        if len(starts) > MAX_RANGES:
            self._forget_lowest()
        # No gap, or none that the last ACK couldn't show yet (as `_has_news_of_gap`) and none to be counted as untold.
        known = starts[-1] <= self.floor or starts[-1] <= self._largest_acked - self._reordering_threshold + 2
        self.next = self.largest + 1 if known else -1
        self._changed = self.undecided = True
        if ecn == ECT0:
            self._ect0 += count
        elif ecn:
            self._count_ecn(count, ecn)
        if not ack_eliciting:
            return
        self._waiting += count
        # RFC 9000 section 13.2.1: what the sender wants to know soon.
        if ecn == CE:
            self._urgent, self._settled = True, False
        # One range that begins at the floor has no gap, and needs no search for one.
        may_have_gap = late or len(starts) > 1 or starts[0] > self.floor
        if may_have_gap and self._reordering_threshold and (late or self._has_news_of_gap()):
            self._gap_seen, self._patient, self._settled = True, False, False
        if len(starts) > MAX_UNTOLD_RANGES and self._untold_ranges() >= MAX_UNTOLD_RANGES:
            self._urgent, self._settled = True, False

    def end_of_buffer(self, now: float, size: int) -> None:
        """Decide when what arrived is acknowledged, if anything is `undecided`.

        Call it once after what a received buffer held of this connection, one run upon another.
        `size` is how many bytes of packets have arrived since the last ACK was sent.
        """
        self.undecided = False
        if not self._waiting:
            return
        pause = now - self._last_buffer
        if pause > 0.0:
            # What comes at one instant may have come in one buffer.
            self._pause, self._last_buffer = pause, now
        else:
            pause = self._pause
        if self._gap_seen and self._last_sent + self._gap_spacing() <= now:
            self._urgent = True
        if self._urgent or self._waiting >= self._ack_eliciting_threshold:
            self._patient = False
            self.deadline = now
            return
        if self._settled:
            return
        deadline = self.deadline
        if (
            self._patient
            and size < FEW_BYTES
            and pause < LONGEST_PAUSE
            and deadline is not None
            and now + pause < deadline <= now + (NEAR_PATIENCE if self._rtt.smoothed_rtt < NEAR_RTT else PATIENCE)
        ):
            return  # it waits on: what would be found now is no sooner
        self._set_deadline(now, size)

    def _set_deadline(self, now: float, size: int) -> None:
        """Work out how long an ACK that isn't due at once may wait."""
        deadline, pause = self.deadline, self._pause
        rtt, most = self._rtt.smoothed_rtt, self.max_ack_delay
        delay = rtt / ACKS_PER_RTT
        delay = delay if delay < most else most
        patient = size < FEW_BYTES and pause < LONGEST_PAUSE and most >= GRANULARITY
        if patient:
            least = NEAR_PATIENCE if rtt < NEAR_RTT else PATIENCE
            delay = delay if delay >= least else least if most > least else most
        elif delay < GRANULARITY <= most and self._frequency_sequence >= 0:
            # Who asks for few has a large window, and no use for one with each train of a path that is so short.
            delay = GRANULARITY
        elif delay < GRANULARITY:
            self._patient, self.deadline = False, now
            return
        if self._gap_seen:
            delay = min(delay, self._last_sent + self._gap_spacing() - now)
        if deadline is None or now + delay < deadline:
            self.deadline = deadline = now + delay
        # What comes next, and is answered, may come too late to take it along.
        self._patient = patient and now + pause < deadline
        self._settled = size >= FEW_BYTES and not self._gap_seen

    def on_ack_frequency(self, frame: AckFrequency) -> None:
        """Take the peer's wishes; an older frame than the newest changes nothing."""
        if frame.sequence <= self._frequency_sequence:
            return
        self._frequency_sequence = frame.sequence
        self._patient = False
        self._ack_eliciting_threshold = max(1, frame.ack_eliciting_threshold)
        self._reordering_threshold = frame.reordering_threshold
        self.max_ack_delay = frame.max_ack_delay
        self._settled = False
        self.undecided = True
        self.next = -1  # what is news of a gap is another question now

    def request_soon(self, now: float) -> None:
        """The sender may wait for the ACK of what just came: on a near path, too, it takes `PATIENCE` at most."""
        if self._rtt.smoothed_rtt < NEAR_RTT:
            soon = now + min(PATIENCE, self.max_ack_delay)
            if self.deadline is None or soon < self.deadline:
                self.deadline, self.undecided = soon, True

    def request_immediate(self) -> None:
        """The peer sent IMMEDIATE_ACK: acknowledge at the end of this buffer."""
        self._urgent = self.undecided = True
        self._settled = False

    @property
    def ack_pending(self) -> bool:
        """Whether an ACK would tell the peer anything new; it may ride along with other frames."""
        return self._changed

    @property
    def ack_wanted(self) -> bool:
        """Whether packets wait whose sender asked for acknowledgement, and an ACK should ride along with what is sent.

        For packets that only acknowledge ours none does, or a bulk sender would open every train with one; their
        sender asks by a PING once a round trip.
        """
        return self._waiting > 0 and not self._patient

    def build_ack(self, now: float, most: int = MAX_ACK_RANGES) -> Ack:
        """Return the ACK frame for now: the `most` newest ranges and how long ago the largest number arrived.

        Only when something was received. Nothing is noted until `on_ack_sent`.
        """
        assert self.largest >= 0, "nothing was received"
        starts, stops = self.ranges.starts, self.ranges.stops
        if len(starts) == 1:
            ranges: tuple[tuple[int, int], ...] = ((starts[0], stops[0]),)
        else:
            most = min(most, MAX_ACK_RANGES)
            if self._changed and most > LEAST_RANGES:
                news = len(stops) - bisect_right(stops, min((self._lowest_new, *self._latest_told)))
                most = min(most, max(news, LEAST_RANGES))
            newest = slice(None, -most - 1, -1)
            ranges = tuple(zip(starts[newest], stops[newest], strict=True))
        counts = None
        if self._ect0 or self._ect1 or self._ce:
            counts = (self._ect0, self._ect1, self._ce)
        # What is repeated by a probe answers nothing, so nothing should be measured by it.
        delay = now - self.largest_time if self._changed else UNKNOWN_ACK_DELAY
        ack: Ack = _new_ack((self.largest, delay if delay > 0.0 else 0.0, ranges, counts))
        return ack

    def on_ack_sent(self, now: float) -> None:
        """Note that the ACK just built was sent: nothing waits any more, but perhaps to be told again."""
        repeats = self._answered < FIRST_PACKETS and self._waiting >= SEVERAL
        self._answered += self._waiting
        if self._answered >= INITIAL_PACKETS and self._frequency_sequence < 0:
            self._ack_eliciting_threshold = ACK_ELICITING_THRESHOLD
        self._waiting = 0
        self._urgent = self._gap_seen = self._patient = self._settled = False
        # What is repeated still answers them, and tells how long ago they came.
        self._changed = repeats
        self.deadline = None
        if repeats:
            self.deadline = now + max(min(self._rtt.smoothed_rtt / ACKS_PER_RTT, self.max_ack_delay), GRANULARITY)
        self._last_sent = now
        self._largest_acked = self.largest
        self._latest_told = (*self._latest_told[2 - TELLINGS :], self._lowest_new)
        self._lowest_new = self.largest + 1

    def on_ack_acked(self, ranges: Sequence[tuple[int, int]]) -> None:
        """The peer has an ACK of `ranges`, newest first, and needs no reminder of them (RFC 9000 section 13.2.4).

        The floor rises to the largest number up to which the peer knows of all that arrived; that one stays, so that
        there is always a range to report. What an ACK didn't carry isn't passed over: late packets that came after it
        was sent, and what there was no room for.
        """
        largest, lowest = ranges[0][1] - 1, ranges[-1][0]
        assert largest <= self.largest
        if largest < self.floor:
            return
        held, told = self.ranges, self._told
        if len(ranges) == 1 and lowest <= held.starts[0] and (not told or told.stops[-1] <= largest):
            self._raise_floor(largest)  # all there was, as nearly always
            return
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        while stops[-1] <= self.floor:
            del starts[-1], stops[-1]
        starts[-1] = max(starts[-1], self.floor)
        if told is None:
            told = self._told = RangeSet()
        told.unite(starts, stops)
        known, missed = self.floor, lowest
        for (start, stop), (first, end) in zip(told, held, strict=False):
            if start != first:
                missed = first
                break
            known = stop - 1
            if stop != end:
                missed = stop
                break
        self._raise_floor(known)
        if missed < lowest:
            # Whatever told of it is lost, as this came and was sent later: it is told anew.
            self._lowest_new = min(self._lowest_new, missed)

    def _raise_floor(self, floor: int) -> None:
        """Every number below counts as received from now on."""
        self.floor = floor
        self.ranges.remove_below(floor)
        if self._told:
            self._told.remove_below(floor)

    def _untold_ranges(self) -> int:
        """Ranges above what the last ACK told of. Those that came late below it are few."""
        starts = self.ranges.starts
        return len(starts) - bisect_right(starts, self._largest_acked)

    def _gap_spacing(self) -> float:
        """Seconds between ACKs that only tell of further gaps.

        None until the sender of a large window asks for few ACKs. Then under scattered loss every buffer has a gap,
        and what it costs to be told of each at once is more than the part of a round trip that waiting takes.
        """
        if self._frequency_sequence < 0:
            return 0.0
        spacing = self._rtt.smoothed_rtt / GAP_ACKS_PER_RTT
        return spacing if spacing >= GRANULARITY else 0.0

    def _has_news_of_gap(self) -> bool:
        """Whether a number is missing that the last ACK couldn't yet show as overtaken by the threshold."""
        start = max(self.floor, self._largest_acked - self._reordering_threshold + 2)
        return not self.ranges.covers(start, self.largest - self._reordering_threshold + 1)

    def _forget_lowest(self) -> None:
        ranges = self.ranges
        while len(ranges.starts) > MAX_RANGES:
            self._raise_floor(ranges.first()[1])

    def _count_ecn(self, packets: int, ecn: int) -> None:
        if ecn == CE:
            self._ce += packets
        elif ecn == ECT1:
            self._ect1 += packets
