"""What a congestion controller is told, and what it answers.

Knows sizes and times of what was sent, acknowledged and lost. Refuses to know packet numbers, streams,
contents and clocks: `now` is an argument of every call. One controller serves one path; a new path gets a
new instance.

`recovery` calls, in this order:

    sending a train      on_sent
    processing an ACK    on_spurious_loss (if any), on_loss_undone (if that was the last of an event),
                         on_loss (if it revealed losses), on_persistent_congestion (if so),
                         on_ack (if it newly acknowledged bytes in flight; CE marks come with it)
    a loss timer         on_loss, on_persistent_congestion (if so)
    after a pause        on_idle_restart, before the on_sent of the first train after it

and reads `congestion_window` and `pacing_rate` whenever it wants to send. Every call costs O(1), however many
packets it speaks of, and nothing here keeps anything per packet.

Sources: RFC 9002 section 7 and appendix B; draft-ietf-ccwg-bbr (delivery-rate samples and rounds).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import ClassVar, NamedTuple, Protocol

from rudp.errors import ConfigurationError

INITIAL_WINDOW_PACKETS = 10
"""Packets of the initial window (RFC 9002 section 7.2)."""

INITIAL_WINDOW_BYTES = 14_720
"""Bytes the initial window may have at most, unless two packets are larger (RFC 9002 section 7.2)."""

MINIMUM_WINDOW_PACKETS = 2
"""Packets of the smallest window (RFC 9002 section 7.2, kMinimumWindow)."""


class RandomBits(Protocol):
    """A source of random bits: a CSPRNG from the drivers, a seeded generator from the simulator."""

    def getrandbits(self, k: int, /) -> int:
        """Return an integer of `k` random bits."""


class AckSample(NamedTuple):
    """One ACK that newly acknowledged bytes in flight. Bytes are UDP payload bytes.

    "Newest" is, of the packets newly acknowledged, the one sent last: its train's snapshot of that time
    is what the delivery-rate fields refer to (draft-cheng-iccrg-delivery-rate-estimation section 3).
    """

    now: float
    acked_bytes: int
    """Newly acknowledged by this ACK."""
    lost_bytes: int
    """Declared lost while this ACK was processed (`on_loss` has told it already)."""
    bytes_in_flight: int
    """After this ACK: acknowledged and lost bytes are gone from it."""
    prior_in_flight: int
    """Before this ACK."""
    oldest_time_sent: float
    """When the oldest of the newly acknowledged packets was sent."""
    newest_time_sent: float
    """When the newest of them was sent."""
    latest_rtt: float | None
    """RTT sample of this ACK, seconds; None if it gave none (RFC 9002 section 5.1)."""
    smoothed_rtt: float
    min_rtt: float
    """Smallest RTT of the path so far, seconds, as in RFC 9002 section 5.2: not windowed."""
    delivered: int
    """Total bytes acknowledged so far on this path, this ACK included."""
    prior_delivered: int
    """That total when the newest packet was sent: a round ends when it reaches the `delivered` of its
    start."""
    delivery_rate: float | None
    """Bytes a second, the lower of send rate and ACK rate over the newest packet's flight; None: no
    sample."""
    is_app_limited: bool
    """The newest packet was sent while the application, or the peer's credit, held the sender back."""
    ecn_ce: int = 0
    """Packets newly reported with a CE mark, from counts that passed ECN validation."""
    lost_since_sent: int = 0
    """Bytes declared lost since the newest packet was sent (draft-ietf-ccwg-bbr, RS.lost)."""
    tx_in_flight: int = 0
    """Bytes in flight just after the newest packet's train was sent (draft-ietf-ccwg-bbr, RS.tx_in_flight)."""
    ack_delay: float = 0.0
    """Seconds of `latest_rtt` for which the peer says it held the ACK back, max_ack_delay at most."""


class LossEvent(NamedTuple):
    """Packets declared lost in one go, by an ACK or by the loss timer; whether that is a new congestion event
    is for the controller to say."""

    now: float
    lost_bytes: int
    newest_time_sent: float
    """When the newest of the lost packets was sent: tells if all were sent before a recovery period began."""
    bytes_in_flight: int
    """After the lost bytes were taken out."""
    prior_in_flight: int
    """Before this ACK or timer."""
    lost_since_sent: int = 0
    """Bytes declared lost since the newest of the lost packets was sent, this event included."""
    tx_in_flight: int = 0
    """Bytes in flight just after the train of the newest lost packet was sent."""
    is_app_limited: bool = False
    """The newest lost packet was sent while the application held the sender back."""


class CongestionController(ABC):
    """One path's answer to "how much may be in flight" and "how fast may it leave"."""

    __slots__ = ("congestion_window", "max_datagram_size", "pacing_rate", "ssthresh")

    name: ClassVar[str]
    """What `stats()` and traces call it; by default the name of the class."""
    burst_packets: ClassVar[int] = 10
    """Packets that may leave at once while others are in flight (RFC 9002 section 7.7: at most the initial window)."""
    near_acks: ClassVar[int] = 0
    """ACKs in a round trip of some 4 to 30 ms, 20 for example, of which a window of 160 packets and more is to be told,
    one in 0.65 ms at most; 0: no more than for others, eight."""

    congestion_window: int
    """Bytes that may be in flight."""
    ssthresh: float
    """Slow start threshold in bytes; infinity until there is one."""
    pacing_rate: float | None
    """Bytes a second at which the pacer lets packets go; None: not paced."""
    max_datagram_size: int
    """UDP payload bytes of a full packet; path MTU discovery may set it at any time."""

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:  # noqa: ARG002
        self.max_datagram_size = max_datagram_size
        self.congestion_window = initial_window(max_datagram_size)
        self.ssthresh = inf
        self.pacing_rate = None

    @property
    def minimum_window(self) -> int:
        """Bytes below which the congestion window never falls (RFC 9002 section 7.2)."""
        return MINIMUM_WINDOW_PACKETS * self.max_datagram_size

    def on_sent(self, sent_bytes: int, bytes_in_flight: int, now: float) -> None:  # noqa: B027
        """Note a train of `sent_bytes` that counts as in flight; `bytes_in_flight` is what was before it."""

    @abstractmethod
    def on_ack(self, sample: AckSample) -> None:
        """Take one ACK's sample."""

    @abstractmethod
    def on_loss(self, event: LossEvent) -> None:
        """Take packets declared lost."""

    @abstractmethod
    def on_persistent_congestion(self, now: float) -> None:
        """Answer persistent congestion (RFC 9002 section 7.6), which `recovery` has established."""

    def on_spurious_loss(self, spurious_bytes: int, now: float) -> None:  # noqa: B027
        """Note that bytes declared lost earlier were acknowledged after all."""

    def on_loss_undone(self, now: float) -> None:  # noqa: B027
        """Note that all packets lost since the latest congestion event began were acknowledged after all.

        The event was none, and what it cost may be restored (RFC 4015; RFC 9002 section 7.3.2 has what begins an
        event). The next loss begins another, whenever its packets were sent. Not called when a CE mark was
        reported during the event.
        """

    def on_app_limited(self, now: float) -> None:  # noqa: B027
        """Note that there is nothing to send although window and pacer would allow it."""

    def on_idle_restart(self, idle_seconds: float, now: float) -> None:  # noqa: B027
        """Note that sending starts again after nothing was in flight for that long (RFC 9002 section 7.8)."""


def usable_window(controller: CongestionController) -> int:
    """Return the controller's window as whole bytes, two packets at least (RFC 9002 section 7.2, kMinimumWindow).

    A controller's own `minimum_window` may be more. Raises ConfigurationError for what is no number.
    """
    window, least = controller.congestion_window, MINIMUM_WINDOW_PACKETS * controller.max_datagram_size
    if type(window) is int and window >= least:
        return window
    try:
        return max(int(window), least)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"congestion={controller.name}: its congestion_window is {window!r}, not bytes"
        ) from None


def initial_window(max_datagram_size: int) -> int:
    """Return the bytes of the initial window (RFC 9002 section 7.2)."""
    return min(INITIAL_WINDOW_PACKETS * max_datagram_size, max(INITIAL_WINDOW_BYTES, 2 * max_datagram_size))
