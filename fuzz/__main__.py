"""Fuzzing from the command line: `python -m fuzz --list`, `python -m fuzz NAME --minutes N --seed S`.

A failure is shrunk, and printed with the seed and the command that bring it back. Ends with 1 after a failure, with 2
when it can't begin.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from fuzz import coverage, swarm, worlds
from fuzz.plans import draw
from fuzz.running import default_seed, run

FOLDER = Path(__file__).parent
# Examples of each target in the short form, and worlds of the swarm.
SHORT_EXAMPLES = 40
SHORT_SEEDS = 400


def names() -> list[str]:
    """Everything that can be run."""
    return sorted(path.stem.removeprefix("test_") for path in FOLDER.glob("test_*.py"))


def module(name: str) -> ModuleType:
    """The file of a target."""
    return importlib.import_module(f"fuzz.test_{name}")


def invariant(name: str) -> str:
    """The first paragraph of its file."""
    text = (module(name).__doc__ or "").partition("\n\n")[0].removeprefix("Invariant: ")
    return " ".join(text.split())


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzzing of rudp: docs/TESTING.md")
    parser.add_argument("name", nargs="?", help="what to run; --list says what there is")
    parser.add_argument("--list", action="store_true", help="say what there is, and its invariants")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long (default 1; the swarm: all its seeds)")
    parser.add_argument("--seed", type=int, help="of the first batch of examples (default: the commit's)")
    parser.add_argument("--batches", type=int, default=0, help="so many batches of 100 examples in place of minutes")
    parser.add_argument("--ci", action="store_true", help="a short run of everything")
    parser.add_argument("--seed-from-commit", action="store_true", help="the same as without --seed, said aloud")
    group = parser.add_argument_group("codecs")
    group.add_argument("--atheris", action="store_true", help="guided by coverage")
    group.add_argument("--corpus", type=Path, help="folder that the corpus is read from and kept in")
    group = parser.add_argument_group("swarm")
    group.add_argument("--seeds", type=int, default=1000, help="how many worlds (default 1000)")
    group.add_argument("--from", dest="first", type=int, help="the first (default: the commit's)")
    group.add_argument("--processes", type=int, default=swarm.default_processes(), help="default: every core")
    group.add_argument("--replay", type=int, metavar="SEED", help="tell one world packet by packet")
    group.add_argument("--shrink", action="store_true", help="with --replay: make it smaller first")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run what is asked for; the exit status."""
    parser = arguments()
    given = parser.parse_args(argv)
    if given.list:
        for name in names():
            print(f"{name}: {invariant(name)}")
        return 0
    seed = default_seed() if given.seed is None else given.seed
    if given.ci:
        return short(seed)
    if given.name not in names():
        parser.error(f"no target is called {given.name!r}; there are {', '.join(names())}")
    if given.name == "swarm":
        return fly(given, seed)
    if given.atheris:
        return guided(given, seed)
    minutes = given.minutes or (0.0 if given.batches else 1.0)
    return machines(given.name, seed, minutes=minutes, batches=given.batches)


def machines(name: str, seed: int, *, minutes: float = 0.0, batches: int = 0, examples: int = 100) -> int:
    report = run(module(name).TARGETS, first_seed=seed, minutes=minutes, batches=batches, examples=examples)
    if report.failure is not None:
        traceback.print_exception(report.failure)
        print(f"{name} failed; again: python -m fuzz {name} --seed {report.failed_seed} --batches 1")
        return 1
    count = report.batches * examples
    print(f"{name}: {count:,} examples from seed {seed} in {report.seconds / 60:.1f} minutes, no failure")
    return 0


def guided(given: argparse.Namespace, seed: int) -> int:
    if given.name != "codecs":
        print("--atheris is for codecs")
        return 2
    if not coverage.is_there():
        print(coverage.HINT)
        return 2
    result = coverage.run(given.minutes or 1.0, seed & 0x7FFF_FFFF, given.corpus, echo=sys.stdout.isatty())
    met, total = result.lines
    print(
        f"{result.executions:,} executions in {result.seconds / 60:.1f} minutes; {result.edges} edges and "
        f"{result.features} features of rudp.wire; {met} of {total} lines of its codecs ({met / total:.0%})"
    )
    for name, lines in result.missed.items():
        print(f"  not met: {name} {', '.join(map(str, lines))}")
    if result.failure:
        print(result.failure)
    return int(bool(result.failure))


def fly(given: argparse.Namespace, seed: int) -> int:
    if given.replay is not None:
        plan = draw(given.replay)
        if given.shrink:
            plan = swarm.shrink(plan)
            print(repr(plan))
        print(worlds.tell(plan))
        return int(bool(worlds.run(plan).failure))
    first = seed if given.first is None else given.first
    total = swarm.fly(first, given.seeds, given.processes, given.minutes)
    for failed, failure in sorted(total.failures.items())[:20]:
        print(f"\nseed {failed}: python -m fuzz swarm --replay {failed} --shrink\n{failure}")
    for failed in sorted(total.failures)[:1]:
        print(f"\nseed {failed} in short:\n{worlds.tell(swarm.shrink(draw(failed)))}")
    print(f"from seed {first}: {total.line()}")
    return int(bool(total.failures))


def short(seed: int) -> int:
    """Everything for a moment, by one seed."""
    print(f"seed {seed}")
    failed = [name for name in names() if name != "swarm" and machines(name, seed, batches=1, examples=SHORT_EXAMPLES)]
    total = swarm.fly(seed, SHORT_SEEDS, 1, show=False)
    print(f"swarm: from seed {seed}: {total.line()}")
    for number, failure in list(total.failures.items())[:3]:
        print(f"\nseed {number}: python -m fuzz swarm --replay {number} --shrink\n{failure}")
    if coverage.is_there():
        failed += ["codecs --atheris"] * guided(arguments().parse_args(["codecs", "--minutes", "0.1"]), seed)
    else:
        print(coverage.HINT)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return int(bool(failed or total.failures))


if __name__ == "__main__":
    sys.exit(main())
