"""One network path to the peer: its addresses, whether it is validated, what may be sent to it.

`Path` knows the bytes that came from and went to an address, the challenge in flight, its timer. `Paths` knows the
path in use, how large its packets may be, the path that may replace it, and the answer owed to a challenge. Both refuse
to know packets and frames.

Packets go to the path in use until the new one is validated, so a replayed datagram diverts nothing; one candidate is
held, so a peer that hops (or an attacker who makes it look so) costs one small object.

Sources: RFC 9000 sections 8.1 (three times the bytes received until validated), 8.2 (path validation), 9.3.
Every operation is O(1).
"""

from __future__ import annotations

from typing import Final, Protocol

from rudp.never import NEVER_YET
from rudp.path_mtu import PathMtu
from rudp.train import Address, Source

__all__ = ["Path", "Paths", "RandomSource"]

# RFC 9000 section 8.1: bytes that may go to an unvalidated address for each byte that came from it.
AMPLIFICATION_FACTOR: Final = 3
# Challenges sent before validation fails; RFC 9000 section 8.2.4 asks for three probe timeouts at least.
MAX_CHALLENGES: Final = 5
# Probe timeouts between two moves to another host. Each brings a window that nothing has been acknowledged of yet, so a
# peer that hops between two hosts of its own would be sent one after the other.
MOVE_PAUSE: Final = 1
UNLIMITED: Final = 1 << 62


class RandomSource(Protocol):
    """What a core needs of a random generator: `random.Random` and `random.SystemRandom` have it."""

    def getrandbits(self, k: int, /) -> int:
        """`k` random bits as a non-negative int."""
        ...

    def randbytes(self, n: int, /) -> bytes:
        """`n` random bytes."""
        ...


class Path:
    """A pair of addresses that packets take. `local` may be None where the socket knows it alone."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "challenge",
        "challenge_at",
        "challenges_sent",
        "local",
        "remote",
        "validated",
    )

    def __init__(self, remote: Address, local: Address | None, *, validated: bool = False) -> None:
        self.remote = remote
        self.local = local
        self.validated = validated
        self.bytes_received = 0
        self.bytes_sent = 0
        self.challenge: bytes | None = None
        self.challenge_at: float | None = None
        self.challenges_sent = 0

    def budget(self) -> int:
        """Bytes that may be sent now without amplifying what came from this address."""
        if self.validated:
            return UNLIMITED
        return max(0, AMPLIFICATION_FACTOR * self.bytes_received - self.bytes_sent)

    def begin_validation(self, challenge: bytes, now: float) -> None:
        """Start validating by 8 unpredictable bytes; the first challenge is due at once."""
        assert len(challenge) == 8
        self.challenge = challenge
        self.challenge_at = now
        self.challenges_sent = 0

    def challenge_due(self, now: float) -> bool:
        """Whether a PATH_CHALLENGE is to be sent now."""
        return self.challenge is not None and self.challenge_at is not None and now >= self.challenge_at

    def on_challenge_sent(self, now: float, probe_timeout: float) -> None:
        """A challenge went out; the next follows after a probe timeout, doubled each time."""
        self.challenges_sent += 1
        self.challenge_at = now + probe_timeout * 2 ** (self.challenges_sent - 1)

    @property
    def failed(self) -> bool:
        """All challenges went unanswered."""
        return self.challenge is not None and self.challenges_sent >= MAX_CHALLENGES

    def on_response(self, data: bytes) -> bool:
        """Take a PATH_RESPONSE; True when it validates this path."""
        if self.challenge is None or data != self.challenge:
            return False
        self.challenge = None
        self.challenge_at = None
        self.validated = True
        return True

    def same_host(self, other: Path) -> bool:
        """Whether only the port differs: a NAT's doing, and the same network path (RFC 9000 section 9.4)."""
        return self.remote[0] == other.remote[0]


class Paths:
    """The path in use and the one that would replace it."""

    __slots__ = ("_moves_at", "_random", "active", "candidate", "mtu", "response", "usual")

    usual: Source | None
    """What comes from there (remote, local, ECN mark) changes nothing about paths, so nobody need be told of it. None
    while there is a candidate, or nothing came yet over a validated path."""

    def __init__(self, active: Path, random: RandomSource, mtu: PathMtu) -> None:
        self._random = random
        self.active = active
        self.mtu = mtu
        self.candidate: Path | None = None
        self.usual = None
        # When the next move to another host may begin.
        self._moves_at = NEVER_YET
        # The newest challenge to answer, and where it came from.
        self.response: tuple[Address, Address | None, bytes] | None = None

    def on_received(self, source: Source, size: int, newest: bool, now: float) -> None:
        """Accepted packets of `size` bytes in all came from a source; `newest`: the highest-numbered so far.

        If those came from a new address it is validated. When they came from the path in use, a candidate was a
        passing thing (RFC 9000 section 9.3.3) and is dropped.
        """
        remote, local, _ = source
        path = self.active
        candidate = self.candidate
        self.usual = None
        if remote != path.remote:
            if candidate is None or remote != candidate.remote:
                if newest and (now >= self._moves_at or remote[0] == path.remote[0]):
                    self.candidate = candidate = Path(remote, local)
                    candidate.bytes_received = size
                    candidate.begin_validation(self._random.randbytes(8), now)
                return
            path = candidate
        elif newest or candidate is None:
            self.candidate = None
            self.usual = source if path.validated else None
        path.bytes_received += size
        if local is not None:
            path.local = local

    def on_moved(self, now: float, probe_timeout: float) -> None:
        """Packets go to another host from now on."""
        self._moves_at = now + MOVE_PAUSE * probe_timeout

    def on_response(self, data: bytes) -> Path | None:
        """PATH_RESPONSE arrived; the path it makes the one in use, if it does, after the old one is given up."""
        candidate = self.candidate
        if candidate is None or not candidate.on_response(data):
            return None
        self.active, self.candidate = candidate, None
        return candidate

    def handle_timeout(self, now: float) -> None:
        """Give up a candidate that answered no challenge."""
        candidate = self.candidate
        if candidate is not None and candidate.failed and candidate.challenge_due(now):
            self.candidate = None
