"""The examples of the documentation, run as readers run them: bounded in time, with a look at the output.

A file in docs/examples that has no entry here fails, so that no example goes untested. Examples bind port 0
of the loopback interface only.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import exampledoc
from tests.exampledoc import EXAMPLES, PAGES, output, run

# Patterns that must be found in the output, in this order.
EXPECTED: dict[str, list[str]] = {
    "handshake.py": [
        r"SYN-SENT .*LISTEN .*SYN try 1",
        r"SYN_ACK try 1",
        r"ESTABLISHED +--> SYN-RECEIVED",
        r"b'hello'",
        r"FIN-WAIT-1 .*--> .*FIN \(bytes sent in all: 5\)",
        r"FIN-WAIT-2 .*<-- LAST-ACK .*FIN \(bytes",
        r"client ends in TIME-WAIT",
        r"server ends in CLOSED",
    ],
    "timeout.py": [
        r"0\.250 s +SYN try 2",
        r"SYN try 8",
        r"ConnectTimeout: .*8 tries in 10\.0 s",
        r"PeerUnresponsive: .*20\.0 s",
    ],
    "loss.py": [
        r" X  DATA",
        r"ACK \S+,\S+",
        r"30720 of 30720 bytes arrived, SHA-256 equal: True",
        r"found lost [1-9]",
    ],
    "sockets.py": [r"UDP answer: b'HELLO'", r"TimeoutError", r"TCP answer: b'HELLO'"],
    "echo_tcp.py": [r"echo: one\necho: two\necho: three\n"],
    "echo_udp.py": [r"echo: one\necho: two\necho: three\n"],
    "echo_rudp.py": [r"echo: one\necho: two\necho: three\n"],
    "streams.py": [r"FIRST\n.*SECOND\n.*THIRD\n", r"state ESTABLISHED", r"is closed: True"],
    "threads.py": [rf"worker {number} \(on thread network\)" for number in range(4)],
    "processes.py": [r"process 0", r"process 1", r"exit status 0\nexit status 0\n"],
    "workers.py": [
        r"40 answers by 3 processes",
        r"worker 2 \(process \d+\) of .* ended: signal SIGKILL; its connections are lost, another one takes its place",
        r"worker 2 ended: signal SIGKILL, replaced: True",
        r"40 answers by 3 processes",
        r"started so far: 4\nprocesses left: 0",
    ],
    "capabilities.py": [r"at most 54", r"10 received", r"switched off", r"10 received in 2 buffers"],
    "sim_flows.py": [
        r"\n   5  +\d+\.\d  +\d+\.\d    0\.0 ",
        r"\n  10  +[1-9]\S+  +[1-9]\S+  +[1-9]\S+ ",
        r"marked \d+ packets",
    ],
    "sim_trouble.py": [
        r"MB from 198\.51\.100\.1",
        r"MB from 198\.51\.100\.2",
        r"4\.0 MB",
        r"ended, error None",
        r"SHA-256 equal: True",
        r"Freeze: .*'held': [1-9]",
        r"During: .*'dropped': [1-9]",
        r"Outage: .*'dropped': [1-9]",
        r"Mtu: ",
    ],
    "sim_trace.py": [r"dropped: .*'radio': [1-9]", r"\d\.\d{3} s  window +[1-9]\d+ B  RTT +[5-9]\d\.\d ms  queue"],
    "sim_own_test.py": [r"comes_up_late\w+: passed", r"given_up: passed", r"bursts\w+: passed"],
    "sim_hour.py": [
        r"18\d\d\.\d s west: IdleTimeout",
        r"23\d\d\.\d s west: ConnectTimeout",
        r"north: 360 readings, half of them within [34]\d ms",
        r"west: 360 readings, .* the last after 6\d\d",
        r"the clock says 60 minutes",
    ],
    "fuzz_protocol.py": [
        r"careful: right in 20 worlds",
        r"careless: (AssertionError|ValueError)",
        r"world \d+: forth delay",
        r"client -> server  SYN try 1 \(1200 B\)   \[arrives",
    ],
    "own_controller.py": [r"cubic .*delay +\d{3} ms", r"background .*delay +[12]\d ms, 0 packets lost"],
    "own_loop.py": [r"4000000 bytes came back, equal: True", r"error None"],
}


def examples() -> list[str]:
    """Every example; modules with an underscore are their helpers."""
    return sorted(path.name for path in EXAMPLES.glob("*.py") if not path.name.startswith("_"))


def test_every_example_has_an_expectation() -> None:
    assert examples() == sorted(EXPECTED)


@pytest.mark.parametrize("name", examples())
def test_the_example_says_what_it_should(name: str) -> None:
    rest = said = output(name)
    for pattern in EXPECTED[name]:
        found = re.search(pattern, rest)
        assert found, f"{name}: no {pattern!r} (in this order) in\n{said}"
        rest = rest[found.end() :]


@pytest.mark.parametrize("name", ["handshake.py", "loss.py", "timeout.py", "sim_trouble.py", "sim_hour.py"])
def test_the_simulated_ones_say_the_same_every_time(name: str) -> None:
    # The first was under a hash seed drawn at random, and in development mode, which takes three times as long.
    assert output(name) == run(name, (), PYTHONHASHSEED="4711")


@pytest.mark.parametrize("name", examples())
def test_a_page_of_the_documentation_names_the_example(name: str) -> None:
    pages = [path.read_text(encoding="utf-8") for path in PAGES]
    assert any(f"examples/{name}" in page for page in pages)


def test_over_tcp_and_over_rudp_it_is_the_same_program() -> None:
    tcp, rudp = ((EXAMPLES / f"echo_{name}.py").read_text(encoding="utf-8") for name in ("tcp", "rudp"))
    body = rudp.split('"""', 2)[2].replace("\nimport rudp\n", "").replace("rudp.", "asyncio.")
    assert body == tcp.split('"""', 2)[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_output_that_is_quoted_is_what_comes_out(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == exampledoc.render(text), "run `python -m tests.exampledoc`"


def test_a_quotation_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="prints nothing like 'no such line'"):
        exampledoc.render("<!-- output: echo_tcp.py /no such line/-/two/ -->\n<!-- /output -->")
    wanted = "<!-- output: echo_tcp.py /one/-/two/ ... /three/-/three/ -->\n"
    assert exampledoc.render(wanted + "<!-- /output -->") == (
        wanted + "\n```\necho: one\necho: two\n    ...\necho: three\n```\n\n<!-- /output -->"
    )
