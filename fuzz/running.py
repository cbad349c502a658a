"""How every target runs: under pytest for a short while, from `python -m fuzz` for as long as one likes.

A target is a state machine or a function that makes a test of hypothesis. It is run in batches, each with a seed of its
own, so that a long run never asks hypothesis for one huge example tree, and a batch that fails is run again alone by
its seed. hypothesis shrinks what fails.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

__all__ = ["FUZZ", "Law", "Report", "Target", "default_seed", "limit_shrinking", "run"]

FUZZ: Final = settings(
    deadline=None,
    database=None,
    print_blob=False,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
Law = Callable[[], Callable[[], object]]
Target = type[RuleBasedStateMachine] | Law
BATCH: Final = 100
# Seconds that a failure is shrunk for. hypothesis gives itself five minutes, which no setting changes; what is found
# after these seconds reads hardly better.
SHRINK_SECONDS: Final = 20


class Report(NamedTuple):
    """What a run came to: batches of `BATCH` examples, and the failure of the one that ended it."""

    batches: int
    seconds: float
    failed_seed: int | None = None
    failure: BaseException | None = None


def limit_shrinking() -> None:
    """Have hypothesis tell of a failure soon, as small as it is by then."""
    assert engine.MAX_SHRINKING_SECONDS, "hypothesis calls it something else now"
    engine.MAX_SHRINKING_SECONDS = SHRINK_SECONDS


def run(
    targets: list[Target], *, first_seed: int, minutes: float = 0.0, batches: int = 0, examples: int = BATCH,
    steps: int = 60, say: Callable[[str], object] = print,
) -> Report:  # fmt: skip
    """Run the targets in turn, for `minutes` or `batches`, and stop at the first failure."""
    limit_shrinking()
    started = time.monotonic()
    for batch in count():
        seconds = time.monotonic() - started
        if (batches and batch >= batches) or (not batches and seconds >= minutes * 60):
            return Report(batch, seconds)
        for target in targets:
            try:
                _once(target, first_seed + batch, examples, steps)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    return Report(batch, seconds)
                return Report(batch, seconds, first_seed + batch, error)
        if batch % 10 == 9:
            say(f"{(batch + 1) * examples * len(targets):,} examples, {seconds / 60:.1f} minutes")
    raise AssertionError("count() never ends")


def _once(target: Target, number: int, examples: int, steps: int) -> None:
    wanted = settings(FUZZ, max_examples=examples, stateful_step_count=steps, verbosity=Verbosity.normal)
    if isinstance(target, type):
        machine: Any = seed(number)(type(target.__name__, (target,), {"__doc__": target.__doc__}))
        run_state_machine_as_test(machine, settings=wanted)
    else:
        test: Any = seed(number)(wanted(target()))
        test()


@cache
def default_seed() -> int:
    """`RUDP_SEED`, or a seed that is the commit's: each commit runs examples of its own, and always the same. 0 where
    there is neither."""
    given = os.environ.get("RUDP_SEED", "")
    if given.isdecimal():
        return int(given)
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return int(found.stdout[:7], 16)
