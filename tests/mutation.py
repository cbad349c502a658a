"""Test the tests of the modules that decide: change one thing in a module, and some test should fail.

    python -m tests.mutation [MODULE...] [--jobs N] [--again FILE]

Knows: which tests answer for which module. The changes are those of mutmut (its mutation operators; extra `mutation`).
Refuses: to change text in messages, annotations and decorators, which no law of a module is about.

mutmut's own runner collects and shrinks anew for each mutant. Here pytest collects once, each mutant is a fork that
exchanges the code of the changed function and runs the tests that reach it, fastest first, until one fails.
hypothesis draws the same examples for every mutant and doesn't shrink. A mutant with which a test takes
ten times its CPU time counts as killed. What survives is printed; tests/mutation_survivors.txt says why it may.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import libcst as cst
import pytest
from _pytest.runner import runtestprotocol
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

ROOT = Path(__file__).parent.parent
SURVIVORS = Path(__file__).with_name("mutation_survivors.txt")
WANTED = 0.9
ARGUMENTS = ("-qq", "--no-header", "--tb=native", "-p", "no:cacheprovider", "-p", "no:xdist")

RECOVERY = (
    "recovery",
    "recovery_laws",
    "recovery_mtu_probes",
    "recovery_paths",
    "recovery_reports",
    "recovery_told",
    "loss_detection",
    "loss_episode",
    "delivery_rate",
    "ecn",
    "shatter",
)
TESTS: dict[str, tuple[str, ...]] = {
    "packet_number": ("packet_number",),
    "ranges": ("ranges",),
    "flow_control": ("flow_control",),
    "stream_limits": ("stream_limits",),
    "state": ("state",),
    "sent_packets": ("sent_packets",),
    "received_packets": ("received_packets",),
    "cuts": ("cuts",),
    "send_buffer": ("send_buffer",),
    "receive_buffer": ("receive_buffer",),
    "loss_detection": RECOVERY,
    "probe_timeout": ("probe_timeout", "recovery"),
    "persistent_congestion": ("persistent_congestion",),
    "unresolved": ("unresolved", *RECOVERY),
    "recovery": RECOVERY,
    "shatter": ("shatter",),
    "host_limit": ("host_limit",),
    "congestion.delay_law": ("delay_law", "congestion_model_parts"),
    "congestion.startup": ("startup",),
}
# No law is about these: text, types, and what is decided when a module is imported.
UNTOUCHED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.FormattedString, cst.SimpleString)
# Here the table decides: what others have taken from it can't be exchanged, so each mutant is a new process. Slow.
TABLES = ("state",)
PLAIN = (int, float, str, bytes, tuple, partial)
KILLED, SURVIVED = 1, 0


@dataclass
class Mutant:
    """One change, by its place (`Class.function` or `<module>`) and the line before and after."""

    where: str
    source: str
    change: str


@dataclass
class Result:
    mutants: list[Mutant] = field(default_factory=list)
    survivors: list[Mutant] = field(default_factory=list)
    seconds: float = 0.0
    failed: str = ""

    @property
    def score(self) -> float:
        return 1 - len(self.survivors) / len(self.mutants)


class Changes(cst.CSTVisitor):
    """All changes that the operators make to a module, each with the function it is in."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        self.found: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []
        self._names: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, UNTOUCHED) or (isinstance(node, cst.Call) and _is_message(node)) or _is_declaration(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
        where = ".".join(self._names) or "<module>"
        for kind, operator in mutation_operators:
            if isinstance(node, kind) and operator is not operator_string:
                self.found += [(where, node, changed) for changed in operator(node)]
        if isinstance(node, cst.Dict | cst.Set) and len(node.elements) > 1:
            for i in range(len(node.elements)):
                rest = [*node.elements[:i], *node.elements[i + 1 :]]
                self.found.append((where, node, node.with_changes(elements=rest)))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._names.pop()


def _is_message(call: cst.Call) -> bool:
    return any(isinstance(argument.value, cst.FormattedString | cst.SimpleString) for argument in call.args)


def _is_declaration(node: cst.CSTNode) -> bool:
    if not isinstance(node, cst.Assign):
        return False
    names = [target.target for target in node.targets]
    lists = [name.value for name in names if isinstance(name, cst.Name)]
    return isinstance(node.value, cst.SimpleString) or "__all__" in lists or "__slots__" in lists


def mutants_of(path: Path) -> list[Mutant]:
    text = path.read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(text))
    changes = Changes()
    wrapper.visit(changes)
    positions = wrapper.resolve(PositionProvider)
    found = []
    lines = text.splitlines(keepends=True)
    for where, node, changed in changes.found:
        start, end = positions[node].start, positions[node].end
        old = wrapper.module.code_for_node(node)
        span = lines[start.line - 1 : end.line]
        exact = "".join(span)[start.column : len("".join(span)) - len(span[-1]) + end.column]
        if old == exact:
            new = wrapper.module.code_for_node(changed)
            before = "".join(lines[: start.line - 1]) + span[0][: start.column]
            source = before + new + span[-1][end.column :] + "".join(lines[end.line :])
        else:  # Parentheses and spaces around a node are outside its position.
            source = wrapper.module.deep_replace(node, changed).code  # type: ignore[attr-defined]
        change = " ".join(
            line[0] + " " + line[1:].strip()
            for line in difflib.unified_diff(text.splitlines(), source.splitlines(), n=0, lineterm="")
            if line[:1] in "+-" and line[:3] not in ("+++", "---")
        )
        found.append(Mutant(where, source, change))
    return found


def functions(module: dict[str, Any], name: str) -> Iterator[tuple[str, FunctionType]]:
    """Every function of a module and of its classes by its place."""
    for key, value in module.items():
        # What a cache stands before.
        value = getattr(value, "__wrapped__", value)
        if isinstance(value, FunctionType) and value.__module__ == name:
            yield key, value
        elif isinstance(value, type) and value.__module__ == name:
            for attribute, member in vars(value).items():
                function = getattr(member, "fget", None) or getattr(member, "__func__", member)
                if isinstance(function, FunctionType):
                    yield f"{key}.{attribute}", function


def apply(module: ModuleType, source: str) -> None:
    """Make `module`, which others have imported from, behave as `source` says."""
    name = module.__name__
    changed: dict[str, Any] = {"__name__": name, "__file__": module.__file__}
    exec(compile(source, str(module.__file__), "exec"), changed)
    originals = dict(functions(vars(module), name))
    for place, function in functions(changed, name):
        original = originals[place]
        original.__code__ = function.__code__
        original.__defaults__ = function.__defaults__
        original.__kwdefaults__ = function.__kwdefaults__
    for key, value in changed.items():
        kept = getattr(module, key, None)
        if hasattr(kept, "cache_clear"):
            kept.cache_clear()
        if isinstance(value, type) and value.__module__ == name:
            for attribute, member in vars(value).items():
                if member is None and callable(vars(kept).get(attribute)):
                    setattr(kept, attribute, None)
        if not key.startswith("__") and (isinstance(value, PLAIN) or (value is None and kept is not None)):
            for user in [module, *(sys.modules[other] for other in sys.modules if other.startswith("rudp."))]:
                if vars(user).get(key) is kept:
                    setattr(user, key, value)


class Trial:
    """A pytest plugin that runs the collected tests against every mutant of a module."""

    def __init__(self, module: str, jobs: int, only: set[str]) -> None:
        self.module = importlib.import_module(f"rudp.{module}")
        self.jobs = jobs
        self.result = Result(chosen(module, only))

    def pytest_configure(self) -> None:
        # Here, as pytest warns of plugins that were imported before it could rewrite them.
        from hypothesis import HealthCheck, Phase, settings  # noqa: PLC0415

        settings.register_profile(
            "mutation", deadline=None, derandomize=True, database=None, report_multiple_bugs=False,
            phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reach, cost = self.rehearse(session.items)
        if self.result.failed:
            return True
        began = time.monotonic()
        running: dict[int, Mutant] = {}
        for number, mutant in enumerate(self.result.mutants):
            print(f"{number} of {len(self.result.mutants)}", end="\r", file=sys.stderr, flush=True)
            while len(running) >= self.jobs:
                self.reap(running)
            touched = [item for item in session.items if mutant.where in reach[item.nodeid]]
            items = sorted(touched or session.items, key=lambda item: cost[item.nodeid])
            child = os.fork()
            if not child:
                try:
                    verdict = self.judge(mutant, items, cost)
                except BaseException:  # what breaks pytest itself shows as well
                    verdict = KILLED
                os._exit(verdict)
            running[child] = mutant
        while running:
            self.reap(running)
        self.result.seconds = time.monotonic() - began
        return True

    def rehearse(self, items: list[pytest.Item]) -> tuple[dict[str, set[str]], dict[str, float]]:
        """What each test reaches, and its CPU time, without a change."""
        places = {function.__code__: place for place, function in functions(vars(self.module), self.module.__name__)}
        reach: dict[str, set[str]] = {}
        cost: dict[str, float] = {}
        for item in items:
            reached = reach[item.nodeid] = set()

            def profile(frame: FrameType, event: str, _: Any, reached: set[str] = reached) -> None:
                if event == "call" and frame.f_code in places:
                    reached.add(places[frame.f_code])

            sys.setprofile(profile)
            began = time.process_time()
            reports = runtestprotocol(item, log=False, nextitem=None)
            cost[item.nodeid] = time.process_time() - began
            sys.setprofile(None)
            if any(report.failed for report in reports):
                self.result.failed = f"{item.nodeid} fails without a change"
        return reach, cost

    def judge(self, mutant: Mutant, items: list[pytest.Item], cost: dict[str, float]) -> int:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            apply(self.module, mutant.source)
        except Exception:  # a module that doesn't load is no test of the tests, but no test would miss it
            return KILLED
        for item in items:
            most = int(time.process_time() + cost[item.nodeid] * 10) + 2
            resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
            if any(report.failed for report in runtestprotocol(item, log=False, nextitem=None)):
                return KILLED
        return SURVIVED

    def reap(self, running: dict[int, Mutant]) -> None:
        child, status = os.wait()
        mutant = running.pop(child)
        if status == SURVIVED:
            self.result.survivors.append(mutant)


def run_table(module: str, only: set[str]) -> Result:
    """Each mutant in a process that imports it as if it were the file."""
    began = time.monotonic()
    result = Result(chosen(module, only))
    for mutant in result.mutants:
        child = os.fork()
        if not child:
            os._exit(judge_table(module, mutant))
        if os.waitpid(child, 0)[1] == SURVIVED:
            result.survivors.append(mutant)
    result.seconds = time.monotonic() - began
    return result


class LastFirst:
    """The table as a whole is looked at last, and soonest tells."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.reverse()


def judge_table(module: str, mutant: Mutant) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (60, 61))
    get_code = SourceFileLoader.get_code

    def changed(self: SourceFileLoader, name: str) -> Any:
        if name == f"rudp.{module}":
            return compile(mutant.source, self.path, "exec")
        return get_code(self, name)

    SourceFileLoader.get_code = changed  # type: ignore[assignment, method-assign]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    return KILLED if pytest.main([*ARGUMENTS, "-x", *files(module)], plugins=[LastFirst()]) else SURVIVED


def chosen(module: str, only: set[str]) -> list[Mutant]:
    mutants = mutants_of(ROOT / f"rudp/{module.replace('.', '/')}.py")
    return [mutant for mutant in mutants if not only or f"{module} {mutant.where} {mutant.change}" in only]


def files(module: str) -> list[str]:
    return [str(ROOT / f"tests/test_{name}.py") for name in TESTS[module]]


def reasons() -> dict[str, str]:
    """Of every survivor that may stay: `module place change`, and why."""
    if not SURVIVORS.exists():
        return {}
    lines = [line for line in SURVIVORS.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return dict(line.rsplit(" | ", 1) for line in lines)


def run(module: str, jobs: int, only: set[str]) -> bool:
    """Print a module's score and survivors; whether enough were killed."""
    if module in TABLES:
        result = run_table(module, only)
    else:
        trial = Trial(module, jobs, only)
        if pytest.main([*ARGUMENTS, *files(module)], plugins=[trial]) not in (0, 1):
            trial.result.failed = "its tests don't load"
        result = trial.result
    if result.failed or not result.mutants:
        print(f"{module}: {result.failed or 'nothing to change'}")
        return not result.failed
    killed = len(result.mutants) - len(result.survivors)
    print(f"{module}: {killed} of {len(result.mutants)} killed, {result.score:.1%}, {result.seconds:.0f} s")
    known = reasons()
    for mutant in result.survivors:
        key = f"{module} {mutant.where} {mutant.change}"
        print(f"    {key} | {known.get(key, '?')}")
    return result.score >= WANTED


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="of rudp; all that decide, if none is named")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only what this earlier output says survived")
    options = parser.parse_args()
    only = set()
    if options.again:
        lines = options.again.read_text("utf-8").splitlines()
        only = {line.rsplit(" | ", 1)[0].strip() for line in lines if " | " in line}
    low = []
    for module in options.modules or TESTS:
        # pytest and its plugins want a process that has imported nothing yet.
        child = os.fork()
        if not child:
            enough = run(module, options.jobs, only)
            sys.stdout.flush()
            os._exit(not enough)
        if os.waitpid(child, 0)[1]:
            low.append(module)
    if low:
        sys.exit(f"under {WANTED:.0%}: {', '.join(low)}")


if __name__ == "__main__":
    main()
