"""One side's loss recovery under test: verbs (send, ack, advance), and wants for what they bring.

Every event must be wanted before the next verb, so one that nobody expected fails the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rudp.congestion import AckSample, CongestionController, LossEvent
from rudp.recovery import Recovery
from rudp.sent_packets import SentTrain
from rudp.wire import Ack

SIZE = 1200
RTT = 0.100
MAX_ACK_DELAY = 0.025

Range = tuple[int, int]


class Recorder(CongestionController):
    """A controller with a fixed window that writes down what it is told."""

    __slots__ = ("idles", "latest", "losses", "others", "random", "samples", "sent")

    name = "recorder"

    def __init__(self, max_datagram_size: int, random: Any = None) -> None:
        super().__init__(max_datagram_size, random)
        self.congestion_window = 1000 * max_datagram_size
        self.random = random
        self.latest = float("-inf")
        self.sent: list[tuple[int, int]] = []
        self.samples: list[AckSample] = []
        self.losses: list[LossEvent] = []
        self.others: list[str] = []
        self.idles: list[tuple[float, int]] = []

    def at(self, now: float) -> None:
        """Time is told each time, and never goes back."""
        assert now >= self.latest
        self.latest = now

    def on_sent(self, sent_bytes: int, bytes_in_flight: int, now: float) -> None:
        self.at(now)
        self.sent.append((sent_bytes, bytes_in_flight))

    def on_ack(self, sample: AckSample) -> None:
        self.at(sample.now)
        self.samples.append(sample)

    def on_loss(self, event: LossEvent) -> None:
        self.at(event.now)
        self.losses.append(event)

    def on_persistent_congestion(self, now: float) -> None:
        self.at(now)
        self.others.append("persistent congestion")

    def on_spurious_loss(self, spurious_bytes: int, now: float) -> None:
        self.at(now)
        self.others.append(f"spurious {spurious_bytes}")

    def on_loss_undone(self, now: float) -> None:
        self.at(now)
        self.others.append("undone")

    def on_app_limited(self, now: float) -> None:
        self.at(now)
        self.others.append("app limited")

    def on_idle_restart(self, idle_seconds: float, now: float) -> None:
        self.at(now)
        self.idles.append((idle_seconds, len(self.sent)))


class Sender:
    """One side's recovery on a virtual clock. Every event must be wanted before the next verb."""

    def __init__(self, controller: type[CongestionController] = Recorder, ecn: bool = False) -> None:
        self.recovery = Recovery(SIZE, controller, max_ack_delay=MAX_ACK_DELAY, ecn=ecn)
        self.now = 1.0
        self.events: list[tuple[str, Any]] = []

    # Verbs.

    def send(
        self,
        count: int = 1,
        *,
        skip: int = 0,
        quiet: bool = False,
        mtu_probe: bool = False,
        frames: tuple[Any, ...] = (),
    ) -> SentTrain:
        self.want_nothing()
        first = self.recovery.next_packet_number + skip
        train = SentTrain(
            first,
            count,
            self.now,
            SIZE,
            SIZE * count,
            not quiet,
            not quiet,
            frames=frames,
            ecn=self.recovery.ecn.codepoint,
            mtu_probe=mtu_probe,
            stream_id=0,
            offset=first * 1000,
            payload_size=1000,
            end_offset=(first + count) * 1000,
        )
        self.recovery.on_train_sent(train, self.now)
        return train

    def ack(self, *ranges: Range, delay: float = 0.0, ecn: tuple[int, int, int] | None = None) -> None:
        self.want_nothing()
        result = self.recovery.on_ack_received(Ack(ranges[0][1] - 1, delay, ranges, ecn), self.now)
        self._note("acked", result.acked)
        self._note("lost", result.lost)
        self._note("spurious", result.spurious)

    def advance(self, seconds: float) -> None:
        """Let time pass; a timer that comes due in it fires, and time stops there to see what it brought."""
        self.want_nothing()
        end = self.now + seconds
        timeout = self.recovery.next_timeout()
        if timeout is None or timeout > end:
            self.now = end
            return
        self.now = max(self.now, timeout)
        result = self.recovery.handle_timeout(self.now)
        self._note("lost", result.lost)
        if result.probes:
            self.events.append(("probes", result.probes))

    def _note(self, kind: str, trains: list[SentTrain]) -> None:
        ranges: list[Range] = []
        for train in trains:
            assert train.offset == train.first * 1000
            assert train.end_offset == train.stop * 1000
            if ranges and ranges[-1][1] == train.first:
                ranges[-1] = (ranges[-1][0], train.stop)
            else:
                ranges.append((train.first, train.stop))
        if ranges:
            self.events.append((kind, ranges))

    # Checks.

    def _want(self, kind: str, value: Any) -> None:
        assert self.events, f"wanted {kind} {value}, nothing happened"
        assert self.events.pop(0) == (kind, value)

    def want_acked(self, *ranges: Range) -> None:
        self._want("acked", list(ranges))

    def want_lost(self, *ranges: Range) -> None:
        self._want("lost", list(ranges))

    def want_spurious(self, *ranges: Range) -> None:
        self._want("spurious", list(ranges))

    def want_probes(self, number: int = 2) -> None:
        self._want("probes", number)

    def want_nothing(self) -> None:
        assert not self.events, f"nobody wanted {self.events}"

    def want_timeout(self, at: float | None) -> None:
        assert self.recovery.next_timeout() == (None if at is None else pytest.approx(at))

    def want_in_flight(self, packets: int) -> None:
        assert self.recovery.sent_packets.bytes_in_flight == packets * SIZE

    @property
    def recorder(self) -> Recorder:
        assert isinstance(self.recovery.congestion, Recorder)
        return self.recovery.congestion

    def settle(self) -> None:
        """One round trip of exactly RTT, so that the estimate is known: PTO 325 ms, loss delay 112.5 ms."""
        self.send()
        self.advance(RTT)
        self.ack((self.recovery.next_packet_number - 1, self.recovery.next_packet_number))
        self.events.clear()


def settled_sender() -> Iterator[Sender]:
    """For a fixture: a settled sender: packet 0 is acknowledged, packet 1 is next, it is 1.1 s."""
    sender = Sender()
    sender.settle()
    yield sender
    sender.want_nothing()
