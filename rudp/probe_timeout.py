"""When to ask again because nothing was heard: the probe timeout.

Knows: how long to wait, and how many packets to send then. Refuses to know: what is outstanding, what a probe
carries, and what was lost: a probe timeout declares nothing lost, the acknowledgement it brings about does. O(1).

It is also what RFC 8985 section 7 calls a tail loss probe: when the last packets of a flight are lost nothing is
acknowledged after them, so only a packet more can show it. There a probe goes after two smoothed RTTs and a longer
timeout stands behind it; here one timer has both parts (RFC 9002 section 6.2): a first wait of
`smoothed_rtt + 4 rttvar + max_ack_delay`, shorter than two RTTs as soon as they are steady, and twice as long each
time after. Two probes go: both repeat what the oldest outstanding packets carried, which repairs the loss that they
ask about, but when there is more to send the second carries that, which is no waste when nothing was lost. As there,
they may exceed the congestion window and reduce nothing: that is for the loss that they reveal.

The timer isn't set while loss detection waits for a packet's time (RFC 9002 section 6.2.1): something later was
acknowledged, so it is no tail.
"""

from __future__ import annotations

from typing import Final

__all__ = ["probe_delay"]

# RFC 9002 section 6.2.4: a second probe saves another timeout when the first is lost.
PROBES: Final = 2
# RFC 8961 section 4 asks for a minute or more. But then an idle timeout of 30 s holds seven tries, and at 50 % loss one
# transfer in fifty ends undecided; and a path that comes back after half a minute stands idle for half a minute more.
# RFC 8085 section 3.1.3 lets who knows nothing of a path send a datagram every three seconds: here it is a pair.
MAX_PROBE_TIMEOUT: Final = 3.0


def probe_delay(probe_timeout: float, pto_count: int) -> float:
    """Seconds from the last ack-eliciting packet to the next probe, after `pto_count` in vain.

    `probe_timeout` is the one without backoff, in seconds; the cap never goes below it.
    """
    # 2^16 times any probe timeout is over the cap.
    return min(probe_timeout * (1 << min(pto_count, 16)), max(probe_timeout, MAX_PROBE_TIMEOUT))
