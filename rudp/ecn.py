"""Explicit congestion notification: the marks, and whether path and peer can be believed about them.

Knows: how many packets were sent marked and the peer's counts so far.
Refuses to know: what to do about congestion, and how a mark gets into an IP header. Every operation is O(1)
or O(trains of one ACK).

Sources: RFC 3168 section 5 (codepoints), RFC 9000 section 13.4.2 (validation).
"""

from __future__ import annotations

from typing import Final

from rudp.sent_packets import SentTrain

__all__ = ["CE", "ECT0", "ECT1", "EcnValidation"]

ECT1: Final = 1
ECT0: Final = 2
CE: Final = 3


class EcnValidation:
    """Whether the path and the peer handle ECN marks (RFC 9000 section 13.4.2.1)."""

    __slots__ = ("_ce", "_ect0", "_marked", "confirmed", "enabled")

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.confirmed = False
        self._marked = 0
        self._ect0 = 0
        self._ce = 0

    def on_sent(self, train: SentTrain) -> None:
        if train.ecn:
            self._marked += train.count

    def on_ack(self, counts: tuple[int, int, int] | None, newly_acked: list[SentTrain]) -> int:
        """Return how many more packets are reported with CE, 0 when marks can't be trusted."""
        needed = sum(train.count for train in newly_acked if train.ecn)
        if counts is None:
            self.enabled = self.enabled and not needed
            return 0
        ect0, ect1, ce = counts
        new_ect0, new_ce = ect0 - self._ect0, ce - self._ce
        self._ect0, self._ce = ect0, ce
        plausible = new_ect0 >= 0 and new_ce >= 0 and not ect1 and ect0 + ce <= self._marked
        if not plausible or new_ect0 + new_ce < needed:
            self.enabled = False
        if not self.enabled:
            return 0
        self.confirmed = True
        return new_ce
