"""Bulk over paths that are nothing but trouble of one kind: what passes as a share of the line, what is sent in vain.

Knows: the paths, and how goodput and spurious loss are measured on them. Refuses to know: what is good enough
(`bench.scenarios` holds the bounds).

Goodput counts from `since` (seconds), when the start is over, until the last byte is read, as a share of C: the
payload that full packets carry at the line's rate. A packet is lost in vain when the sender declared it lost and
no node dropped it: what was declared less what was dropped, so what is lost and never declared hides some.
Hosts' cards gather packets for a millisecond, as in `bench.flows`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter

from rudp.config import Config
from rudp.sim import Delay, During, Freeze, Jitter, Loss, Node, Rate, Reorder

from .flows import CARD, payload_rate
from .simulated import Outcome, Pair

CRC32 = Config(protection="crc32")
MEGABIT = 125_000  # bytes a second


def transfer(seed: int, *, forth: list[Node], back: list[Node], rate: float, size: int, since: float = 0.0) -> Outcome:
    """`size` bytes forth; `rate` is the line's in that direction, in bytes a second."""
    pair = Pair(seed, forth=forth, back=back, size=size, config=CRC32, window=CARD)
    outcome = pair.run()
    stats = outcome.stats
    if stats is None or not pair.received_at:
        return outcome
    last, total = pair.received_at[-1]
    index = bisect_right(pair.received_at, since, key=itemgetter(0))
    before = pair.received_at[index - 1][1] if index else 0
    capacity = payload_rate(rate, CRC32, stats.max_datagram_size)
    lost = stats.packets_lost - sum(node.dropped for node in forth)
    return outcome._replace(
        goodput=(total - before) / (last - since) / capacity if last > since else 0.0,
        spurious=max(lost, stats.packets_spurious, 0) / stats.packets_sent,
    )


def asymmetric(seed: int) -> Outcome:
    """10 Mbit/s down, 100 kbit/s up, 25 ms each way; 10 MB down."""
    rate = 10 * MEGABIT
    return transfer(
        seed,
        forth=[Rate(rate, queue_bytes=62_500), Delay(0.025)],
        back=[Rate(MEGABIT / 10, queue_bytes=12_500), Delay(0.025)],
        rate=rate,
        size=10_000_000,
        since=1.0,
    )


def satellite(seed: int) -> Outcome:
    """250 Mbit/s down, 3 Mbit/s up, 300 ms each way, a queue of one BDP; 100 MB down."""
    rate = 250 * MEGABIT
    return transfer(
        seed,
        forth=[Rate(rate, queue_bytes=int(rate * 0.6)), Delay(0.3)],
        back=[Rate(3 * MEGABIT, queue_bytes=225_000), Delay(0.3)],
        rate=rate,
        size=100_000_000,
    )


def line(rate: float, node: Callable[[], Node]) -> list[Node]:
    """One way: a line with a queue of one BDP, 25 ms, and a node behind it."""
    return [Rate(rate, queue_bytes=int(rate * 0.05)), Delay(0.025), node()]


def both_ways(seed: int, node: Callable[[], Node], rate: float, size: int, since: float) -> Outcome:
    """`size` bytes over 50 ms with the node in either direction."""
    return transfer(seed, forth=line(rate, node), back=line(rate, node), rate=rate, size=size, since=since)


def freezing(seed: int) -> Outcome:
    """100 Mbit/s, 50 ms; nothing moves either way for 250 ms, six times, half a second apart; 30 MB."""

    def frozen() -> Node:
        return Freeze(0.4, 0.65, queue_bytes=1_250_000, every=0.75, times=6)

    return both_ways(seed, frozen, 100 * MEGABIT, 30_000_000, 0.0)


def half_lost(seed: int) -> Outcome:
    """100 Mbit/s, 50 ms; from 0.5 s on for 20 s half of the packets are lost either way; 30 MB."""
    return both_ways(seed, lambda: During(Loss(0.5), 0.5, 20.5), 100 * MEGABIT, 30_000_000, 0.0)


def a_tenth(seed: int) -> Outcome:
    """100 Mbit/s, 50 ms; from 1 s to 4 s the line has a tenth of its rate; 40 MB."""
    rate = 100 * MEGABIT
    return transfer(
        seed,
        forth=[Rate(rate, queue_bytes=int(rate * 0.05), changes=[(1.0, rate / 10), (4.0, rate)]), Delay(0.025)],
        back=[Rate(rate, queue_bytes=int(rate * 0.05)), Delay(0.025)],
        rate=rate,
        size=40_000_000,
        since=4.0,
    )


def jittery(seed: int) -> Outcome:
    """20 Mbit/s, 30 ms each way and 0 to 30 ms more for each packet, which overtake each other; 20 MB."""
    rate = 20 * MEGABIT
    return transfer(
        seed,
        forth=[Rate(rate, queue_bytes=int(rate * 0.09)), Delay(0.03), Jitter(0.03)],
        back=[Rate(rate, queue_bytes=int(rate * 0.09)), Delay(0.03), Jitter(0.03)],
        rate=rate,
        size=20_000_000,
        since=1.0,
    )


def reordered(seed: int, share: float) -> Outcome:
    """100 Mbit/s, 50 ms; a share of the packets is 5 ms late either way, none is lost; 60 MB."""
    return both_ways(seed, lambda: Reorder(share, 0.005), 100 * MEGABIT, 60_000_000, 1.5)
