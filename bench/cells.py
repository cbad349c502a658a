"""What the simulated benchmarks share: the link of a cell, its controllers, its figures rounded for people and files.

Knows: rates in Mbit/s, RTTs in ms, loss in %, queues in BDP, as the tables have them, and how to turn them into what
`flows` takes. Refuses to know: what is measured.

Figures: C is the rate of payload that full packets carry over the link (`flows.payload_rate`), p the loss probability
of the data direction. One BDP is link rate times RTT, in bytes of IP packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log2, log10

from rudp.config import Config
from rudp.congestion import by_name, initial_window

from .flows import Result, payload_rate

__all__ = [
    "CONFIG",
    "CONTROLLERS",
    "bdp",
    "bytes_a_second",
    "capacity",
    "config_text",
    "known",
    "percentile",
    "queue_size",
    "rounded",
    "slow_start_rounds",
]

CONTROLLERS = ("new_reno", "cubic", "bbr", "model")
CONFIG = Config(receive_window=256 << 20)
"""What the flows are configured with, but for the controller. With the default of 64 MiB the window would limit
1 Gbit/s at 200 ms under loss: a gap is open for as many round trips as its packet is lost times."""


def known(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names of controllers that there are, and those that there are not."""
    there, missing = [], []
    for name in names:
        try:
            by_name(name)
        except ValueError:
            missing.append(name)
        else:
            there.append(name)
    return there, missing


def bytes_a_second(rate: float) -> float:
    """A rate in Mbit/s."""
    return rate * 125_000


def bdp(rate: float, rtt: float) -> float:
    """Bytes that a link of `rate` Mbit/s carries in `rtt` ms."""
    return bytes_a_second(rate) * rtt / 1000


def queue_size(rate: float, rtt: float, queue: float) -> int:
    """Bytes of a queue of `queue` BDP, at least one packet."""
    return max(int(bdp(rate, rtt) * queue), 1500)


def capacity(rate: float, result: Result) -> float:
    """C of a link of `rate` Mbit/s, in bytes a second, with the size of packets that the flow came to."""
    size = None if result.stats is None else result.stats.max_datagram_size
    return payload_rate(bytes_a_second(rate), CONFIG, size)


def slow_start_rounds(rate: float, rtt: float) -> float:
    """How often the initial window has to double to fill the link."""
    return max(0.0, log2(bdp(rate, rtt) / initial_window(CONFIG.max_datagram_size)))


def config_text() -> str:
    """The configuration that bounds what a flow can have on its way."""
    mib = 1 << 20
    return (
        f"protection {CONFIG.protection}, datagrams of {CONFIG.max_datagram_size} bytes throughout, "
        f"receive window up to {CONFIG.receive_window / mib:g} MiB, send buffer {CONFIG.send_buffer / mib:g} MiB"
    )


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value that `share` of a sorted sequence does not exceed; 0 of an empty one."""
    return ascending[min(int(len(ascending) * share), len(ascending) - 1)] if ascending else 0.0


def rounded(value: float | None, digits: int = 4) -> float | None:
    """`value` to so many significant digits."""
    if value is None or value == 0:
        return value
    return round(value, digits - 1 - int(log10(abs(value)) // 1))
