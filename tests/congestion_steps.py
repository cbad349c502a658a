"""Drives one congestion controller in bytes: what isn't in flight can be neither acknowledged nor lost."""

from __future__ import annotations

from rudp.congestion import AckSample, CongestionController, LossEvent

SIZE = 1_200
RTT = 0.1


class Steps:
    """Send, acknowledge and lose. Times in seconds, sizes in bytes; `sent` is when the newest packet was sent."""

    def __init__(self, controller: type[CongestionController]) -> None:
        self.controller = controller(SIZE)
        self.in_flight = 0
        self.delivered = 0

    @property
    def window(self) -> int:
        return self.controller.congestion_window

    def send(self, size: int, now: float) -> None:
        self.controller.on_sent(size, self.in_flight, now)
        self.in_flight += size

    def fill(self, now: float) -> int:
        size = max(0, self.window - self.in_flight)
        if size:
            self.send(size, now)
        return size

    def ack(
        self,
        size: int,
        now: float,
        sent: float,
        *,
        lost: int = 0,
        app_limited: bool = False,
        ce: int = 0,
        oldest: float | None = None,
        rtt: float | None = RTT,
        prior_delivered: int | None = None,
        rate: float | None = None,
    ) -> int:
        """Acknowledge `size` bytes by an ACK that also reveals `lost` bytes, sent at the same time."""
        assert size + lost <= self.in_flight
        prior = self.in_flight
        if lost:
            self.in_flight -= size + lost
            self.controller.on_loss(LossEvent(now, lost, sent, self.in_flight, prior))
        else:
            self.in_flight -= size
        self.delivered += size
        self.controller.on_ack(
            AckSample(
                now=now,
                acked_bytes=size,
                lost_bytes=lost,
                bytes_in_flight=self.in_flight,
                prior_in_flight=prior,
                oldest_time_sent=sent if oldest is None else oldest,
                newest_time_sent=sent,
                latest_rtt=rtt,
                smoothed_rtt=RTT,
                min_rtt=RTT,
                delivered=self.delivered,
                prior_delivered=self.delivered - size if prior_delivered is None else prior_delivered,
                delivery_rate=rate,
                is_app_limited=app_limited,
                ecn_ce=ce,
            )
        )
        return self.window

    def lose(self, size: int, now: float, sent: float) -> int:
        """Lose `size` bytes by the loss timer."""
        assert size <= self.in_flight
        prior = self.in_flight
        self.in_flight -= size
        self.controller.on_loss(LossEvent(now, size, sent, self.in_flight, prior))
        return self.window

    def recover(self, lost: int, now: float) -> int:
        """Fill the window, lose `lost` bytes of it, and see the recovery period through; returns the window then."""
        self.fill(now)
        left = self.in_flight - SIZE - lost
        self.ack(SIZE, now + RTT, now, lost=lost)
        while left > 0:
            self.fill(now + RTT)
            self.ack(min(SIZE, left), now + RTT, now)
            left -= SIZE
        self.send(SIZE, now + 1.5 * RTT)
        self.ack(self.in_flight, now + 2.5 * RTT, now + 1.5 * RTT, oldest=now)
        return self.window
