"""Codecs by coverage: atheris (libFuzzer) changes bytes so that they reach further into `rudp.wire`.

The law is that of `codecs`; a process of its own, as libFuzzer ends its process. `run` starts it and says what came
out: executions, libFuzzer's coverage, and which lines of `rudp.wire` the corpus meets.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

HINT = "coverage-guided fuzzing needs atheris, which is not installed: pip install 'rudp-transport[fuzz]'"
# Bytes of the longest input: a SYN and the two bytes before it.
LONGEST = 1300
_RUNS = re.compile(r"#(\d+)\s")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")


class Result(NamedTuple):
    """What a run came to; `failure` is what it printed of one, or empty."""

    executions: int
    seconds: float
    edges: int
    features: int
    lines: tuple[int, int]
    missed: dict[str, list[int]]
    failure: str


def is_there() -> bool:
    """Whether atheris is installed."""
    try:
        import atheris  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def run(minutes: float, seed: int, folder: Path | None = None, *, echo: bool = False) -> Result:
    """Fuzz for so long; the corpus goes into `folder`, or is thrown away. Needs atheris."""
    with tempfile.TemporaryDirectory() as temporary:
        corpus = folder or Path(temporary) / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        seconds = max(1, round(minutes * 60))
        command = [sys.executable, "-m", "fuzz.coverage", str(corpus), f"-max_total_time={seconds}", f"-seed={seed}",
                   f"-max_len={LONGEST}", "-timeout=20", f"-artifact_prefix={corpus.parent}/failed-"]  # fmt: skip
        executions = edges = features = 0
        tail: list[str] = []
        with subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if echo:
                    print(line, end="", flush=True)
                tail = [*tail[-60:], line]
                if found := _RUNS.match(line):
                    executions = int(found[1])
                if found := _COVERAGE.search(line):
                    edges, features = int(found[1]), int(found[2])
        failed = process.returncode != 0
        inputs = [path.read_bytes() for path in sorted(corpus.iterdir())]
        total, missed = lines_met(inputs)
        met = total - sum(map(len, missed.values()))
        failure = "".join(tail) if failed else ""
        for path in sorted(corpus.parent.glob("failed-*")):
            failure += f"\n{path.name}: {path.read_bytes().hex()}"
        return Result(executions, float(seconds), edges, features, (met, total), missed, failure)


def lines_met(inputs: list[bytes]) -> tuple[int, dict[str, list[int]]]:
    """Lines in functions of the codecs, and by module those that no input runs."""
    from fuzz import codecs  # noqa: PLC0415 (rudp.wire must not be imported before atheris has hooked in)
    from rudp.wire import data, frames, opening  # noqa: PLC0415

    modules = (data, frames, opening)
    wanted = {str(module.__file__): set[int]() for module in modules}
    for name in wanted:
        wanted[name] = set(_function_lines(compile(Path(name).read_text(encoding="utf-8"), name, "exec")))
    met: dict[str, set[int]] = {name: set() for name in wanted}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        seen = met.get(frame.f_code.co_filename)
        if seen is None:
            return None
        if event == "line":
            seen.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for data_ in inputs:
            codecs.check(data_)
    finally:
        sys.settrace(before)
    missed = {Path(name).name: sorted(wanted[name] - met[name]) for name in wanted}
    return sum(map(len, wanted.values())), {name: lines for name, lines in missed.items() if lines}


def _function_lines(code: CodeType) -> Iterator[int]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from (line for _, _, line in inner.co_lines() if line and line != inner.co_firstlineno)
            yield from _function_lines(inner)


def main() -> None:
    """The process that libFuzzer runs in: arguments are its own."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["rudp.wire"]):
        import rudp.wire  # noqa: PLC0415
    from fuzz import codecs  # noqa: PLC0415

    assert rudp.wire
    folder = Path(sys.argv[1])
    for number, seed in enumerate(codecs.seeds()):
        (folder / f"seed-{number:02}").write_bytes(seed)
    atheris.Setup(sys.argv, codecs.check)
    atheris.Fuzz()


if __name__ == "__main__":
    assert threading.active_count() == 1
    main()
