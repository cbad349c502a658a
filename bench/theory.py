"""CUBIC and NewReno against theory: the average window over the loss rate, in the simulator.

    python -m bench.theory                    the table (ten minutes of CPU; --packets 100000 for a quick look)
    python -m bench.theory --write            the same, and keep it in bench/results/theory.{json,txt}

One flow on a line that is never full (10 Gbit/s, RTT 100 ms), so nothing is lost but what a node drops: every 1/p-th
packet, or each packet with probability p. Windows are packets. What is compared:

formula   of a sawtooth whose every tooth is 1/p packets. NewReno: sqrt(3 / 2p) (RFC 9438 figure 3 with alpha 1 and beta
          0.5). That is the square-root law for a receiver that acknowledges every packet: growth here counts bytes, so
          it makes no difference how many packets an ACK is for. CUBIC: RFC 9438 figure 6, or NewReno's window where
          that is larger (the Reno-friendly region is made to have it).
model     the same rules, but the losses of the cell: at random they come in clusters and gaps. NewReno: 1.3098 /
          sqrt(p), the mean over time of additive increase and halving at random (Ott, Kemperman and Mathis 1996).
          CUBIC: its growth in continuous time with instant reaction, run through as many losses here (`fluid`), with
          fast convergence.
measured  the mean of `congestion_window` over time; the error is that of means of ten stretches of the run.

Both are ideal: reaction is instant, every loss is one. The implementation loses a round trip to recovery (no growth,
and the window falls over it), takes several losses of a round trip for one, and has whole packets. These weigh the
more the fewer round trips there are between losses: eight of them at p = 1 %.

Sources: RFC 9438 sections 4.3, 5 and 5.1; Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP
congestion avoidance algorithm", 1997.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Final, Literal

from rudp.config import Config
from rudp.congestion import CongestionController, RandomBits
from rudp.congestion.cubic import CUBIC_BETA, CUBIC_C, RENO_ALPHA, Cubic
from rudp.congestion.new_reno import NewReno
from rudp.sim import Loss, Node
from rudp.sim.node import Batch

from .arguments import whole
from .flows import Flow, run

__all__ = ["Cell", "Row", "average_cubic", "average_reno", "fluid", "measure"]

RESULTS: Final = Path(__file__).parent / "results"
LOSSES: Final = (1e-2, 1e-3, 1e-4, 1e-5)
RTT: Final = 0.1
# Bytes a second of the line, and of its queue: enough for any window here.
LINE: Final = 1.25e9
QUEUE: Final = 1 << 30
# Losses over which a cell is measured, and packets, at least; and the packets it may take.
LOSSES_MEASURED: Final = 100
LEAST_PACKETS: Final = 30_000
PACKETS: Final = 2_000_000
# Random losses of which fewer tell nothing of an average.
LEAST_LOSSES: Final = 10
# Losses before measuring begins: the window starts where theory has it, so few are enough.
WARM_UP: Final = 2
# Stretches of a run whose means tell the error.
STRETCHES: Final = 10
# Losses that the model of CUBIC is run through.
MODEL_LOSSES: Final = 2_000
# Ott, Kemperman and Mathis: mean window over time times sqrt(p), at random loss.
RANDOM_RENO: Final = 1.3098

Spacing = Literal["every", "random"]


CONTROLLERS: Final[dict[str, type[NewReno] | type[Cubic]]] = {kind.name: kind for kind in (NewReno, Cubic)}


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: a controller by its name here, the loss rate, and how losses are spaced."""

    controller: str
    spacing: Spacing
    loss: float
    packets: int = PACKETS
    rtt: float = RTT


@dataclass(frozen=True, slots=True)
class Row:
    """What came of it, windows in packets; deviations are shares of what they deviate from."""

    controller: str
    spacing: str
    loss: float
    formula: float
    model: float
    measured: float
    error: float
    from_formula: float
    from_model: float
    losses: int


class EveryNth(Node):
    """Drops every n-th packet."""

    needs_order = True

    def __init__(self, n: int) -> None:
        super().__init__()
        self._n = n
        self._left = n

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        if len(batch) < self._left:
            self._left -= len(batch)
            return batch
        kept = []
        for entry in batch:
            self._left -= 1
            if self._left:
                kept.append(entry)
            else:
                self._left = self._n
                self.dropped += 1
        return kept


def average_reno(loss: float) -> float:
    """RFC 9438 figure 3 for AIMD(1, 0.5): packets."""
    return math.sqrt(1.5 / loss)


def average_cubic(loss: float, rtt: float) -> float:
    """RFC 9438 figure 6, or the Reno-friendly region where that is larger (section 5.1): packets."""
    cubic = math.pow(CUBIC_C * (3 + CUBIC_BETA) / (4 * (1 - CUBIC_BETA)), 0.25) * math.pow(rtt / loss, 0.75)
    return max(cubic, average_reno(loss))


def fluid(loss: float, rtt: float, spacing: Spacing, losses: int = MODEL_LOSSES) -> float:
    """Mean window over time of RFC 9438 sections 4.2 to 4.7 in continuous time with instant reaction: packets."""
    random = Random("fluid")
    # A sawtooth of this top has the average; from elsewhere it would take long to get there: the curve is flat.
    window = w_max = average_cubic(loss, rtt) * 4 / (3 + CUBIC_BETA)
    step = rtt / max(1.0, 200.0 * loss * window)
    area = time = 0.0
    for _ in range(losses):
        left = random.expovariate(loss) if spacing == "random" else 1.0 / loss
        prior = window
        w_max = window * (1 + CUBIC_BETA) / 2 if window < w_max else window
        window *= CUBIC_BETA
        k = ((w_max - window) / CUBIC_C) ** (1 / 3)
        reno, t = window, 0.0
        while left > 0.0:
            sent = window * step / rtt
            span = step if sent <= left else step * left / sent
            left -= sent
            area += window * span
            t += span
            reno += (RENO_ALPHA if reno < prior else 1.0) * span / rtt
            window = float(max(CUBIC_C * (t - k) ** 3 + w_max, reno))
        time += t
    return area / time


def theory(cell: Cell, rtt: float) -> tuple[float, float]:
    """Formula and model for a cell whose round trips took `rtt`: packets."""
    if cell.controller == "new_reno":
        formula = average_reno(cell.loss)
        return formula, RANDOM_RENO / math.sqrt(cell.loss) if cell.spacing == "random" else formula
    return average_cubic(cell.loss, rtt), fluid(cell.loss, rtt, cell.spacing)


def measure(cell: Cell) -> Row:
    """Run one cell."""
    config = Config()
    size = config.max_datagram_size
    spacing: Node = EveryNth(round(1 / cell.loss)) if cell.spacing == "every" else Loss(cell.loss)
    kind = CONTROLLERS[cell.controller]
    guess = average_reno(cell.loss) if kind is NewReno else average_cubic(cell.loss, cell.rtt)
    packets = min(max(LOSSES_MEASURED / cell.loss, LEAST_PACKETS), cell.packets)
    warm_up = WARM_UP / cell.loss / guess * cell.rtt + 2.0
    seconds = warm_up + packets / guess * cell.rtt
    flow = Flow(_settled(kind, guess), cell.rtt, forth=[spacing])
    outcome = run([flow], rate=LINE, queue_bytes=QUEUE, seconds=seconds, config=config)
    assert not outcome.bottleneck.dropped, "something was lost that theory doesn't know of"
    samples = [sample for sample in outcome.results[0].windows if sample[0] >= warm_up]
    windows = [window / size for _, window, _, _ in samples]
    # Network cards and timers add some milliseconds to the RTT of the cell.
    formula, model = theory(cell, mean(rtt for _, _, _, rtt in samples))
    length = len(windows) // STRETCHES
    stretches = [mean(windows[start : start + length]) for start in range(0, length * STRETCHES, length)]
    measured = mean(windows)
    return Row(
        cell.controller,
        cell.spacing,
        cell.loss,
        formula=formula,
        model=model,
        measured=measured,
        error=stdev(stretches) / math.sqrt(STRETCHES) / measured,
        from_formula=measured / formula - 1,
        from_model=measured / model - 1,
        losses=spacing.dropped,
    )


def _settled(controller: type[NewReno] | type[Cubic], window: float) -> type[CongestionController]:
    """The controller with the threshold of its first slow start where theory has the window."""

    class Settled(controller):  # type: ignore[valid-type, misc]
        __slots__ = ()

        def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
            super().__init__(max_datagram_size, random)
            self.ssthresh = int(window * max_datagram_size)  # type: ignore[misc]

    return Settled


def head(packets: int) -> str:
    """What goes above the lines."""
    return (
        f"average window in packets, RTT {RTT * 1e3:.0f} ms, at most {packets} packets a cell;"
        " deviation of what was measured from formula and model\n"
        f"{'controller':<12}{'losses':<8}{'p':>7}{'formula':>10}{'model':>9}{'measured':>10}{'error':>8}"
        f"{'formula':>10}{'model':>9}{'count':>7}"
    )


def line(row: Row) -> str:
    """One row of the table."""
    return (
        f"{row.controller:<12}{row.spacing:<8}{row.loss:>7.0e}{row.formula:>10.1f}{row.model:>9.1f}"
        f"{row.measured:>10.1f}{row.error:>8.1%}{row.from_formula:>+10.1%}{row.from_model:>+9.1%}{row.losses:>7}"
    )


def cells(packets: int) -> list[Cell]:
    """All of the table that so many packets a cell are enough for."""
    spacings: tuple[Spacing, Spacing] = ("every", "random")
    return [
        Cell(name, spacing, loss, packets)
        for name in CONTROLLERS
        for spacing in spacings
        for loss in LOSSES
        if spacing == "every" or packets * loss >= LEAST_LOSSES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Average window over loss rate, against RFC 9438 and the square root.")
    parser.add_argument("--packets", type=whole(10_000, 10**10), default=PACKETS, help=f"packets a cell ({PACKETS})")
    parser.add_argument("--jobs", type=whole(1, 1024), default=os.cpu_count() or 1, help="processes (one a core)")
    parser.add_argument("--write", action="store_true", help="keep table and figures in bench/results")
    arguments = parser.parse_args()
    rows = []
    print(head(arguments.packets))
    with ProcessPoolExecutor(arguments.jobs) as executor:
        for row in executor.map(measure, cells(arguments.packets)):
            rows.append(row)
            print(line(row), flush=True)
    if arguments.write:
        (RESULTS / "theory.txt").write_text("\n".join([head(arguments.packets), *map(line, rows)]) + "\n")
        (RESULTS / "theory.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
