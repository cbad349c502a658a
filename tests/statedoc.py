"""Draws the states of a connection from the table that the code runs by, for docs/DESIGN.md.

`python -m tests.statedoc` writes the block between the two marks; `tests/test_state.py` fails when it is out of date.
Knows: the table's shape and Mermaid's. Refuses to know: what a state means.
"""

from __future__ import annotations

from pathlib import Path

from rudp.state import CLOSED_STATES, TRANSITIONS, Input, State

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "DESIGN.md"
BEGIN, END = "<!-- states -->", "<!-- /states -->"

# Ways out that every state with a connection has are drawn once, below the diagram, or it would be all arrows.
ENDINGS = (Input.ABORT, Input.CLOSE_RECEIVED, Input.TIMEOUT)


def name(state: State) -> str:
    """A state's name as Mermaid takes it."""
    return "[*]" if state is State.CLOSED else state.name


def diagram() -> str:
    """The diagram in Mermaid, without the endings."""
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {state.name}: {state.value}" for state in State if state is not State.CLOSED]
    for state, row in TRANSITIONS.items():
        lines += [
            f"    {name(state)} --> {name(target)}: {cause.value}"
            for cause, target in row.items()
            if cause not in ENDINGS or state in CLOSED_STATES
        ]
    lines.append("```")
    return "\n".join(lines)


def table() -> str:
    """Every entry of the table, endings too."""
    lines = ["| state | " + " | ".join(cause.value for cause in Input) + " |", "|---" * (len(Input) + 1) + "|"]
    for state, row in TRANSITIONS.items():
        cells = [row[cause].value if cause in row else "" for cause in Input]
        lines.append(f"| {state.value} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def block() -> str:
    """What stands between the marks."""
    return f"{BEGIN}\n{diagram()}\n\n{table()}\n{END}"


def rewritten(text: str) -> str:
    """`text` with the block brought up to date. Raises ValueError when a mark is missing."""
    start, stop = text.index(BEGIN), text.index(END) + len(END)
    return text[:start] + block() + text[stop:]


if __name__ == "__main__":
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{DOCUMENT.name} written")
