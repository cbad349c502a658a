"""The rules of the tree, checked on its syntax: who imports whom, what the core may not touch, sizes.

Knows: the layer of every module in `rudp` (a new module must be given one here), the modules that do I/O or
bring in chance or time, the limits on functions and modules.
Refuses to know: what the code does; nothing of `rudp` is run but its `__init__`.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import rudp

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rudp"

FUNCTION_LINES = 70
MODULE_LINES = 500

# From the top down. A module imports from layers below its own, or from its own if that makes no circle.
# A package stands for all its modules.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli", "__main__"),
    ("__init__",),
    ("aio", "blocking", "testing"),
    ("sim", "udp", "udp_errors", "udp_group", "udp_options", "udp_pieces"),
    ("endpoint", "admission", "resets", "steering", "timers"),
    ("connection", "deadlines", "in_order", "inbound", "outbound", "runs", "stats"),
    (
        "handshake",
        "stream",
        "state",
        "path",
        "path_mtu",
        "recovery",
        "unresolved",
        "loss_detection",
        "loss_episode",
        "persistent_congestion",
        "probe_timeout",
        "control",
        "streams",
        "stream_limits",
        "turns",
        "closing",
        "lifecycle",
        "half_open",
        "host_limit",
        "lingering",
        "opening",
        "liveness",
        "packetizer",
    ),
    (
        "sent_packets",
        "received_packets",
        "rtt",
        "pacer",
        "congestion",
        "delivery_rate",
        "ecn",
        "shatter",
        "send_buffer",
        "receive_buffer",
        "flow_control",
        "protection",
    ),
    (
        "wire",
        "packet_number",
        "cuts",
        "ranges",
        "rate_limit",
        "never",
        "config",
        "events",
        "errors",
        "train",
        "trace",
        "_version",
    ),
)
LAYER_OF = {name: len(LAYERS) - depth for depth, names in enumerate(LAYERS) for name in names}

# Law 1: the core does no I/O and is told the time and given its chance.
IO_MODULES = {
    "asyncio", "concurrent", "logging", "multiprocessing", "os", "select", "selectors", "signal", "socket",
    "socketserver", "ssl", "subprocess", "threading", "time",
}  # fmt: skip
CHANCE_MODULES = {"random", "secrets", "uuid"}
CORE_TOP = LAYER_OF["endpoint"]
# What single modules of the simulator may import all the same.
SIM_MAY: dict[str, set[str]] = {"sim.seeds": {"os"}}

# Spelled so that this file does not break its own rule.
LEFTOVERS = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "break" + "point(", "pdb." + "set_trace")
MACHINE_PATH = re.compile(r"/(?:home|root|Users|work)/\w+")
BARE_SUPPRESSION = re.compile(r"#\s*(?:type:\s*ignore(?!\[)|noqa(?!:))")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".cfg", ".yml", ".yaml", ".sh"}


class Module(NamedTuple):
    """One module of the package: its dotted name below `rudp`, and its syntax."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def top(self) -> str:
        return self.name.split(".", 1)[0]


class Import(NamedTuple):
    """One import of a module, with the dotted name it really loads."""

    target: str
    line: int
    for_types: bool  # under TYPE_CHECKING: never run


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if path.stat().st_size)


def where(path: Path, line: int = 0) -> str:
    relative = path.relative_to(ROOT).as_posix()
    return f"{relative}:{line}" if line else relative


@cache
def modules() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if len(parts) > 1 and parts[-1] == "__init__":
            parts = parts[:-1]
        found.append(Module(".".join(parts), path, parse(path)))
    return found


@cache
def imports(module: Module) -> list[Import]:
    """All imports anywhere in the module, relative ones resolved."""
    found = []
    for_types = {
        id(inner)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for inner in ast.walk(node)
    }
    package = ["rudp", *module.name.split(".")]
    if module.path.name != "__init__.py" or module.name == "__init__":
        package = package[:-1]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.append(Import(alias.name, node.lineno, id(node) in for_types))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            only = id(node) in for_types
            found += [Import(f"{base}.{alias.name}", node.lineno, only) for alias in node.names]
    return found


def target_within(target: str, names: set[str]) -> str | None:
    """The module of `rudp` that a dotted name lands in, or None for one from outside."""
    head, _, rest = target.partition(".")
    if head != "rudp":
        return None
    while rest and rest not in names:
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def graph(*, with_types: bool) -> dict[str, dict[str, str]]:
    """Module -> module it imports -> where; `with_types` counts imports that never run too."""
    found = modules()
    names = {module.name for module in found}
    edges: dict[str, dict[str, str]] = {module.name: {} for module in found}
    for module in found:
        for item in imports(module):
            target = target_within(item.target, names)
            counts = with_types or not item.for_types
            if counts and target is not None and target != module.name:
                edges[module.name].setdefault(target, where(module.path, item.line))
    return edges


def report(rule: str, violations: list[str]) -> None:
    if violations:
        pytest.fail(f"{rule}\n  " + "\n  ".join(violations), pytrace=False)


def test_every_module_has_a_layer() -> None:
    unknown = [where(module.path) for module in modules() if module.top not in LAYER_OF]
    report("modules without a layer; give each one a place in LAYERS of tests/test_tidy.py:", unknown)


def test_imports_point_downward() -> None:
    wrong = []
    for name, targets in graph(with_types=True).items():
        own = LAYER_OF.get(name.split(".", 1)[0], len(LAYERS))
        for target, place in targets.items():
            if LAYER_OF.get(target.split(".", 1)[0], 0) > own:
                wrong.append(f"{place}: rudp.{name} imports rudp.{target}, which lies above it")
    report("imports must point downward (the layers are in tests/test_tidy.py):", wrong)


def test_imports_make_no_circle() -> None:
    edges = graph(with_types=False)
    done: set[str] = set()
    circles = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circles.append(" -> ".join((*trail[trail.index(name) :], name)))
        elif name not in done:
            for target in edges[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())
    report("modules that import each other in a circle:", circles)


def test_the_core_does_no_io_and_has_no_chance_of_its_own() -> None:
    wrong = []
    for module in modules():
        layer = LAYER_OF.get(module.top, 0)
        forbidden: set[str] = set()
        if layer <= CORE_TOP:
            forbidden = IO_MODULES | CHANCE_MODULES
        elif module.top == "sim":
            forbidden = (IO_MODULES | {"secrets", "uuid"}) - SIM_MAY.get(module.name, set())
            if module.name.startswith("sim.aio"):
                # The loop is asyncio's to its programs; of `socket` it has constants and errors.
                forbidden = forbidden - {"asyncio", "socket"}
        for item in imports(module):
            if item.target.split(".", 1)[0] in forbidden:
                wrong.append(f"{where(module.path, item.line)}: imports {item.target}")
    report("law 1: time, chance and I/O are arguments in the core (endpoint and below, and in sim):", wrong)


def test_only_wire_imports_construct() -> None:
    wrong = [
        f"{where(module.path, item.line)}: imports {item.target}"
        for module in modules()
        if module.top != "wire"
        for item in imports(module)
        if item.target.split(".", 1)[0] == "construct"
    ]
    report("law 3: rudp/wire.py alone knows the layout and imports construct:", wrong)


def test_the_simulator_opens_no_socket() -> None:
    wrong = [
        f"{where(module.path, node.lineno)}: {ast.unparse(node.func)}"
        for module in modules()
        if module.top == "sim"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).startswith("socket.")
        and ast.unparse(node.func) != "socket.gaierror"
    ]
    report("of the socket module the simulator may use constants and errors only:", wrong)


def test_nothing_iterates_over_a_set() -> None:
    """The order of a set hangs on PYTHONHASHSEED; this finds the plain cases."""
    wrong = []
    for module in modules():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.For | ast.comprehension):
                continue
            source = node.iter
            made_by_call = (
                isinstance(source, ast.Call)
                and isinstance(source.func, ast.Name)
                and source.func.id in {"set", "frozenset"}
            )
            if made_by_call or isinstance(source, ast.Set | ast.SetComp):
                wrong.append(where(module.path, source.lineno))
    report("the order of a set is not the same in every run; sort it or use a dict:", wrong)


def test_functions_are_short() -> None:
    wrong = []
    for path in python_files("rudp", "tests", "fuzz", "bench", "docs"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    wrong.append(f"{where(path, node.lineno)}: {node.name} has {length} lines")
    report(f"functions of more than {FUNCTION_LINES} lines:", wrong)


def test_modules_are_short() -> None:
    wrong = []
    for path in python_files("rudp", "fuzz", "bench"):
        length = len(path.read_text(encoding="utf-8").splitlines())
        if length > MODULE_LINES:
            wrong.append(f"{where(path)}: {length} lines")
    report(f"modules of more than {MODULE_LINES} lines:", wrong)


def test_every_module_says_what_it_is_for() -> None:
    wrong = [where(path) for path in python_files("rudp", "tests", "fuzz", "bench", "docs")
             if not ast.get_docstring(parse(path))]  # fmt: skip
    report("modules without a docstring:", wrong)


def test_annotations_are_never_evaluated() -> None:
    wrong = []
    for module in modules():
        with_annotations = (ast.FunctionDef, ast.AsyncFunctionDef, ast.AnnAssign)
        annotated = any(isinstance(node, with_annotations) for node in ast.walk(module.tree))
        if annotated and not any(item.target == "__future__.annotations" for item in imports(module)):
            wrong.append(where(module.path))
    report("modules with annotations need `from __future__ import annotations`:", wrong)


def test_suppressions_name_what_they_suppress() -> None:
    wrong = []
    for path in python_files("rudp", "tests", "fuzz", "bench", "docs"):
        source = path.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT and BARE_SUPPRESSION.search(token.string):
                wrong.append(f"{where(path, token.start[0])}: {token.string}")
    report("a suppression must name the rule, as in `# noqa: X123` or `# type: ignore[code]`:", wrong)


def text_files() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXT_SUFFIXES)
    for folder in ("rudp", "tests", "fuzz", "bench", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in TEXT_SUFFIXES and path.is_file():
                yield path
    yield from (path for path in (ROOT / ".ci").iterdir() if path.is_file())


def test_benchmarks_import_each_other_by_relative_names() -> None:
    """Installed, they are `rudp._bench`, and there is no `bench`."""
    wrong = [
        f"{where(path, node.lineno)}: {ast.unparse(node)}"
        for path in sorted((ROOT / "bench").rglob("*.py"))
        for node in ast.walk(parse(path))
        if (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "bench")
        or (isinstance(node, ast.Import) and any(item.name.split(".")[0] == "bench" for item in node.names))
    ]
    report("a benchmark imports the folder `bench` by name:", wrong)


def test_nothing_is_left_over() -> None:
    wrong = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            marks = [word for word in LEFTOVERS if re.search(rf"(?<!\w){re.escape(word)}(?!X)", line)]
            if line.startswith(("<" * 7, ">" * 7)) or line == "=" * 7:
                marks.append("conflict marker")
            wrong.extend(f"{where(path, number)}: {mark}" for mark in marks)
    report("left over from work in progress:", wrong)


def test_no_path_of_one_machine_is_named() -> None:
    wrong = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if found := MACHINE_PATH.search(line):
                wrong.append(f"{where(path, number)}: {found.group()}")
    report("paths that exist on one machine only:", wrong)


def test_public_names_are_explicit_and_there() -> None:
    tree = parse(PACKAGE / "__init__.py")
    assigned = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and "__all__" in [getattr(name, "id", "") for name in node.targets]
    ]
    assert len(assigned) == 1, "rudp/__init__.py must assign __all__ exactly once"
    names = ast.literal_eval(assigned[0].value)
    report("names in rudp.__all__ twice:", sorted({name for name in names if names.count(name) > 1}))
    report("names in rudp.__all__ that are not there:", [name for name in names if not hasattr(rudp, name)])


def test_public_names_are_documented() -> None:
    undocumented = []
    for name in rudp.__all__:
        thing = getattr(rudp, name)
        if isinstance(thing, str | int | float | tuple):
            continue
        text = (getattr(thing, "__doc__", None) or "").strip()
        # dataclass and NamedTuple put the signature where no docstring was written.
        if not text or text.startswith(f"{getattr(thing, '__name__', name)}("):
            undocumented.append(f"rudp.{name}")
    report("public names without a docstring:", undocumented)


def test_public_methods_are_documented() -> None:
    undocumented = []
    for name in rudp.__all__:
        thing = getattr(rudp, name)
        if not isinstance(thing, type) or not thing.__module__.startswith("rudp"):
            continue
        for attribute, value in vars(thing).items():
            inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if attribute.startswith("_") or not hasattr(inner, "__code__"):
                continue
            if not (inner.__doc__ or "").strip():
                undocumented.append(f"rudp.{name}.{attribute}")
    report("public methods without a docstring:", undocumented)
