"""docs/DESIGN.md and its neighbours hold what they can be held to: bounds, modules, links, names."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import rudp
from rudp import errors, events, stats
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def page(name: str) -> str:
    """One page of the documentation."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    level = heading.split(" ", 1)[0]
    body = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", body, maxsplit=1)[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of the tables in a text, headers left out."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        is_rule = set(line) <= set("|- ")
        is_header = index + 1 < len(lines) and set(lines[index + 1]) <= set("|- ") and "-" in lines[index + 1]
        if line.startswith("|") and not is_rule and not is_header:
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def value(name: str) -> float:
    """What `module.CONSTANT` or `Config.field` is."""
    owner, _, attribute = name.rpartition(".")
    if owner == "Config":
        return float(getattr(Config(), attribute))
    return float(getattr(import_module(f"rudp.{owner}"), attribute))


def test_every_bound_is_what_the_code_says() -> None:
    checked = 0
    for what, amount, where, *_ in rows(section(page("DESIGN.md"), "## Bounds")):
        base, _, power = amount.replace(",", "").partition("^")
        stated, actual = float(base) ** float(power or 1), value(where.strip("`"))
        assert stated == actual, f"DESIGN.md, Bounds: {what}: {stated:g}, but {where} is {actual:g}"
        checked += 1
    assert checked > 30


def test_every_module_is_in_the_map_and_nothing_else() -> None:
    named = {cells[0].strip("`").rstrip("/") for cells in rows(section(page("DESIGN.md"), "## Modules"))}
    package = ROOT / "rudp"
    present = {path.name for path in package.glob("*.py") if not path.name.startswith("_")}
    present |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert named == present


def anchors(text: str) -> set[str]:
    """The anchors that a Markdown page has, made from its headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(source: Path) -> None:
    for target in LINK.findall(source.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = source.parent / path if path else source
        assert file.exists(), f"{source.name}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{source.name}: {target}"


def test_every_event_is_in_the_contract() -> None:
    text = page("SANS_IO.md")
    for name in events.__all__:
        kind = getattr(events, name)
        if name != "Event":
            assert f"| `{name}({', '.join(kind._fields)})`" in text, name


def test_every_error_is_in_the_reference() -> None:
    text = section(page("API.md"), "## Errors")
    for name in errors.__all__:
        assert f"`{name}`" in text, name
    for code in errors.ErrorCode:
        assert f"| 0x{code:02X} | {code.name} |" in text, code.name


@pytest.mark.parametrize("figures", [stats.Stats, stats.EndpointStats])
def test_every_figure_is_in_the_reference(figures: type[stats.Stats | stats.EndpointStats]) -> None:
    text = section(page("API.md"), "## Statistics")
    for field in fields(figures):
        assert f"`{field.name}`" in text, field.name


def members(text: str) -> list[str]:
    """The names of members in the first cells of a section's tables."""
    cells = [cells[0] for cells in rows(text)]
    calls = [call for cell in cells for call in re.findall(r"`([^`]+)`", cell)]
    return [re.sub(r"^(await|async for \w+ in|async with) ", "", call).split("(")[0].rstrip(":") for call in calls]


@pytest.mark.parametrize(
    ("heading", "owner"),
    [
        ("## Connections", rudp.Connection),
        ("## Streams", rudp.Stream),
        ("## Servers", rudp.Server),
        ("## Workers", rudp.WorkerServer),
        ("## Worker options", rudp.Workers),
        ("## Endpoints", rudp.Endpoint),
    ],
)
def test_every_member_in_the_reference_is_there(heading: str, owner: type) -> None:
    names = [name for name in members(section(page("API.md"), heading)) if name != "stream"]
    assert len(names) > 5
    for name in names:
        assert hasattr(owner, name), f"rudp.{owner.__name__}.{name}"


def test_every_command_in_the_contract_is_there() -> None:
    for name in members(section(page("SANS_IO.md"), "## Commands of a connection")):
        owner, attribute = (Endpoint, name[9:]) if name.startswith("endpoint.") else (Connection, name)
        assert hasattr(owner, attribute), name


def test_every_public_name_is_in_the_reference() -> None:
    text = page("API.md")
    for name in rudp.__all__:
        assert name.startswith("_") or re.search(rf"\b{name}\b", text), f"rudp.{name}"


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_code_in_the_pages_is_python(source: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", source.read_text(encoding="utf-8"), re.DOTALL):
        # Signatures are written as calls, with the star that makes the rest keywords.
        code = textwrap.dedent(block).replace("*, ", "")
        compile(code, source.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
