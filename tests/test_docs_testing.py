"""The page on testing: the story that it tells of a failure is the one that the code tells of that world."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import rudp
from rudp.sim import Machine
from rudp.testing import Faults, World

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "TESTING.md").read_text(encoding="utf-8")


def example() -> ModuleType:
    """docs/examples/fuzz_protocol.py, which the page is about."""
    spec = importlib.util.spec_from_file_location("fuzz_protocol", DOCS / "examples" / "fuzz_protocol.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_story_of_the_careless_client_is_what_its_world_tells() -> None:
    """Line by line, `...` standing for any lines. The world is written out here, since hypothesis draws as it likes."""
    block = re.search(r"```\ncareless: (.*?)```", TEXT, re.DOTALL)
    assert block
    kind, *lines = block[1].splitlines()
    world = World(0, Faults(delay=0.01, rate=1e7, queue=200, until=10.0), Faults(delay=0.01, until=10.0))
    assert str(world) in lines
    module = example()

    async def main(client: Machine, server: Machine) -> None:
        async with await server.run(rudp.serve(module.serve, "0.0.0.0", 7)):
            async with await client.run(rudp.connect("server", 7)) as connection:
                lengths = await module.careless(connection)
            assert lengths == [len(word) for word in module.WORDS]

    with pytest.raises(Exception) as caught:  # noqa: PT011 (which one is what the page says)
        world.run(main)
    assert type(caught.value).__name__ == kind
    told = "\n".join(caught.value.__notes__).splitlines()
    assert lines.count("    ...") == 1
    left_out = lines.index("    ...")
    start, end = lines[:left_out], lines[left_out + 1 :]
    assert told[: len(start)] == start
    at = told.index(end[0])
    assert at > len(start)
    assert told[at : at + len(end)] == end


def test_the_lines_that_are_the_whole_test_are_the_example_s() -> None:
    block = re.search(r"```python\n(from hypothesis import given.*?)```", TEXT, re.DOTALL)
    assert block
    source = (DOCS / "examples" / "fuzz_protocol.py").read_text(encoding="utf-8")
    for line in block[1].splitlines():
        if not line.startswith(("from hypothesis", "@settings")):  # the example's are fixed, and so the same each time
            assert line in source, line
