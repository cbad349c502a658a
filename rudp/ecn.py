"""Explicit congestion notification: the marks, and whether path and peer can be believed about them.

Knows: how many packets were sent marked, how many of them were lost, and the peer's counts so far.
Refuses to know: what to do about congestion, and how a mark gets into an IP header. Every operation is O(1)
or O(trains of one ACK).

A new path is tested with its first packets (RFC 9000 section 13.4.2 and appendix A.4):

    TESTING  --`TEST_PACKETS` were sent marked-->  UNKNOWN, packets go unmarked
    TESTING, UNKNOWN  --a marked packet is acknowledged with counts that can be true-->  CAPABLE
    UNKNOWN  --all that were marked are lost-->  FAILED, for a network that drops marked packets
    any  --counts that can't be true-->  FAILED, and unmarked from then on

Whatever the state, packets go unmarked after `SUSPECT_PROBES` probe timeouts in a row until something is acknowledged,
and a capable path is tested again then: its route may have changed to one that drops marked packets.

Sources: RFC 3168 section 5 (codepoints), RFC 9000 section 13.4.2 and appendix A.4 (validation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from rudp.sent_packets import SentTrain

__all__ = ["CE", "ECT0", "ECT1", "EcnState", "EcnValidation"]

ECT1: Final = 1
ECT0: Final = 2
CE: Final = 3

# RFC 9000 section 13.4.2: marked packets that test a path. A train is marked as a whole, so they may be more.
TEST_PACKETS: Final = 10
# RFC 9000 section 13.4.2: probe timeouts for which marks are tried.
SUSPECT_PROBES: Final = 3


class EcnState(Enum):
    """What is known of a path (RFC 9000 appendix A.4)."""

    TESTING = "testing"
    UNKNOWN = "unknown"
    FAILED = "failed"
    CAPABLE = "capable"


# A global is read in a fifth of the time of an enumeration's member, and these are for each train and ACK.
_TESTING: Final = EcnState.TESTING
_CAPABLE: Final = EcnState.CAPABLE
_FAILED: Final = EcnState.FAILED


class EcnValidation:
    """Whether the path and the peer handle ECN marks. `codepoint` is what to send packets with: ECT(0), or 0."""

    __slots__ = (
        "_arrived",
        "_ce",
        "_ect0",
        "_marked",
        "_suspended",
        "_test_first",
        "_tested",
        "_tested_lost",
        "_wanted",
        "codepoint",
        "state",
    )

    def __init__(self, enabled: bool) -> None:
        self.state = EcnState.TESTING
        self._wanted = enabled
        # Counts are of the connection, tests of the path.
        self._marked = 0
        self._ect0 = 0
        self._ce = 0
        self.restart()

    def restart(self) -> None:
        """Packets take another path from now on (RFC 9000 section 13.4.2)."""
        self._test_first = 0
        self._tested = 0
        self._tested_lost = 0
        self._arrived = False
        self._suspended = False
        self._enter(EcnState.TESTING if self._wanted else EcnState.FAILED)

    def on_sent(self, train: SentTrain) -> None:
        """Count a train that was sent marked."""
        self._marked += train.count
        if self.state is _TESTING and train.in_flight:
            if not self._tested:
                self._test_first = train.first
            self._tested += train.count
            if self._tested >= TEST_PACKETS:
                self._enter(EcnState.UNKNOWN)

    def on_lost(self, lost: Iterable[SentTrain]) -> None:
        """Note packets of this path that were declared lost."""
        if self._tested and (self.state is EcnState.UNKNOWN or self.state is EcnState.TESTING):
            self._tested_lost += sum([train.count for train in lost if train.ecn and train.first >= self._test_first])
            if self.state is EcnState.UNKNOWN and self._tested_lost >= self._tested:
                self._enter(EcnState.FAILED)

    def on_probe_timeout(self, pto_count: int) -> None:
        """Nothing was acknowledged for so many probe timeouts in a row."""
        if pto_count >= SUSPECT_PROBES and not self._suspended:
            self._suspended = True
            if self.state is EcnState.CAPABLE:
                self._tested = self._tested_lost = 0
                self._arrived = False
                self.state = EcnState.TESTING
            self._enter(self.state)

    def on_progress(self) -> None:
        """Something was acknowledged."""
        if self._suspended:
            self._suspended = False
            self._enter(self.state)

    def on_ack(
        self,
        counts: tuple[int, int, int] | None,
        newly_acked: Sequence[SentTrain],
        most: int,
        largest: int,
        prior_largest: int,
    ) -> int:
        """Return how many more packets are reported with CE, 0 when marks can't be trusted (section 13.4.2.1).

        `newly_acked` are packets of this path, `most` of them or fewer. An ACK overtaken by a later one has older
        counts: only one that raises the largest acknowledged has counts to judge by. What it tells of up to
        `prior_largest` may have been counted before: an ACK counts what it has no room for, too.
        """
        self._arrived = self._arrived or _marked(newly_acked) > 0
        if largest <= prior_largest:
            return 0
        if counts is None:
            if self.state is not _FAILED and _marked(newly_acked):
                self._enter(_FAILED)
            return 0
        ect0, ect1, ce = counts
        new_ect0, new_ce = ect0 - self._ect0, ce - self._ce
        self._ect0, self._ce = ect0, ce
        plausible = new_ect0 >= 0 and new_ce >= 0 and not ect1 and ect0 + ce <= self._marked
        # What is told of all needs no look at how many of them were marked.
        if not plausible or (
            new_ect0 + new_ce < most
            and new_ect0 + new_ce < _marked([train for train in newly_acked if train.first > prior_largest])
        ):
            self._enter(_FAILED)
        elif self._arrived and self.state is not _FAILED and self.state is not _CAPABLE:
            self._enter(_CAPABLE)
        return new_ce if self.state is _CAPABLE else 0

    def on_ack_elsewhere(self, counts: tuple[int, int, int] | None) -> None:
        """An ACK that raises the largest acknowledged is about another path: what it counts isn't of this one."""
        if counts is not None:
            self._ect0, _, self._ce = counts

    def _enter(self, state: EcnState) -> None:
        self.state = state
        marks = state is _TESTING or state is _CAPABLE
        self.codepoint = ECT0 if marks and not self._suspended else 0


def _marked(trains: Sequence[SentTrain]) -> int:
    """Packets that were sent marked."""
    return sum([train.count for train in trains if train.ecn])
