"""The `rudp` command, each of its commands really run over loopback.

Servers run as processes of their own, as users start them, read line by line; clients run in this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rudp import open_connection
from rudp.cli.app import cli
from rudp.cli.common import Failure
from rudp.cli.incoming import Incoming
from rudp.cli.receive import receive_files
from rudp.cli.send import FileSource, StandardInputSource, send_source

# Ctrl-C must reach the command even where the tests themselves run with interrupts ignored.
START = "import signal, rudp.cli; signal.signal(signal.SIGINT, signal.default_int_handler); rudp.cli.main()"
DATA = random.Random(3).randbytes(300_000)


def rudp(*arguments: str, stdin: bytes = b"") -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, arguments, input=stdin)


class Process:
    """A command in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read lines until one matches."""
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self.output += line
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"ended without {pattern!r}:\n{self.output}")

    def signal(self) -> None:
        """Press Ctrl-C."""
        self._popen.send_signal(signal.SIGINT)

    def interrupt(self) -> int:
        """Press Ctrl-C; returns the exit status."""
        self.signal()
        return self.end()

    def end(self, how: signal.Signals | None = None) -> int:
        """Wait for the end, after a signal if one is given; returns the exit status."""
        if how is not None:
            self._popen.send_signal(how)
        rest, _ = self._popen.communicate(timeout=30)
        self.output += rest
        return self._popen.returncode

    def kill(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.communicate()


@contextmanager
def running(*arguments: str) -> Iterator[Process]:
    process = Process(*arguments)
    try:
        yield process
    finally:
        process.kill()


def one_line(result: Result) -> str:
    """What a failed command said, which must be one line and no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


# Echo.


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system has no SO_REUSEPORT")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_echo_server_of_several_processes(how: signal.Signals) -> None:
    with running("echo-server", "--workers", "2", "--port", "0") as server:
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+) \(rudp, 2 workers\)")[1]
        result = rudp("echo", "--port", port, "over", "there")
        assert (result.exit_code, result.stdout) == (0, "over there\n")
        server.wait_for("11 bytes echoed")
        assert server.end(how) == 0
    # Whoever of them were left would hold the port.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", int(port)))


def test_workers_are_for_rudp() -> None:
    result = rudp("echo-server", "--workers", "2", "--transport", "tcp")
    assert result.exit_code == 2
    assert "--workers is for rudp" in result.stderr


@pytest.mark.parametrize("transport", ["rudp", "tcp", "udp"])
def test_the_echo_is_the_same_in_every_transport(transport: str) -> None:
    with running("echo-server", "--transport", transport, "--port", "0") as server:
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
        asked = ("echo", "--transport", transport, "--port", port)
        words = rudp(*asked, "hello", "world")
        assert (words.exit_code, words.stdout_bytes) == (0, b"hello world\n"), words.output
        assert "1 message, 12 bytes echoed" in words.stderr
        text = b"one\ntwo\n\n" + b"x" * 40_000 + b"\nno end of line \xff"
        lines = rudp(*asked, stdin=text)
        assert (lines.exit_code, lines.stdout_bytes) == (0, text), lines.output
        server.wait_for("12 bytes echoed")
        assert server.interrupt() == 0, server.output
    assert "Traceback" not in server.output
    assert server.output.rstrip().endswith("stopped")


@pytest.mark.parametrize("transport", ["rudp", "udp"])
def test_the_echo_runs_over_ipv6(transport: str) -> None:
    with running("echo-server", "--host", "::1", "--transport", transport, "--port", "0") as server:
        port = server.wait_for(r"listening on \[::1\]:(\d+)")[1]
        result = rudp("echo", "--host", "::1", "--transport", transport, "--port", port, "six")
        assert (result.exit_code, result.stdout) == (0, "six\n"), result.output


def test_a_server_with_a_client_ends_by_ctrl_c() -> None:
    with running("echo-server", "--port", "0") as server:
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]

        async def talk() -> bytes:
            reader, writer = await open_connection("127.0.0.1", int(port))
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            server.signal()
            try:
                return bytes(await reader.read())
            except OSError:
                return b""
            finally:
                writer.close()

        assert asyncio.run(talk()) == b""
        assert server.end() == 0, server.output
        assert "Traceback" not in server.output


@pytest.mark.parametrize("transport", ["rudp", "tcp", "udp"])
def test_a_taken_port_is_told_in_one_line(transport: str) -> None:
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        said = one_line(rudp("echo-server", "--transport", transport, "--port", port))
    assert re.search(rf"cannot listen on 127\.0\.0\.1:{port} \({transport}\): .*in use.* choose another ", said)


def test_a_receiver_on_a_taken_port_says_what_to_do(folder: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        said = one_line(rudp("receive", "--output", str(folder), "--host", "127.0.0.1", "--port", port))
    assert re.search(rf"cannot listen on 127\.0\.0\.1:{port}: .*in use.* choose another ", said)


@pytest.mark.parametrize("transport", ["rudp", "tcp", "udp"])
def test_a_closed_port_is_told_in_one_line(transport: str) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as found,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
        other.bind(("127.0.0.1", port))
    said = one_line(rudp("echo", "--transport", transport, "--port", str(port), "--timeout", "5", "x"))
    assert f"127.0.0.1:{port} ({transport})" in said
    assert "refused" in said
    what = "a server listening" if transport == "rudp" else f"`rudp echo-server --transport {transport}` running"
    assert said.endswith(f"; is {what} there?")


@pytest.mark.parametrize(
    ("transport", "words"),
    [
        ("rudp", r"no answer from .* to \d+ tries in 0\.2 s: host down, wrong port, or UDP blocked$"),
        ("udp", r"timed out; .* cannot tell why; is `rudp echo-server --transport udp` running there\?$"),
    ],
)
def test_a_silent_peer_is_told_in_one_line(transport: str, words: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        said = one_line(rudp("echo", "--transport", transport, "--port", port, "--timeout", "0.2", "x"))
    assert re.search(words, said), said


@pytest.mark.parametrize("transport", ["rudp", "tcp", "udp"])
def test_an_unknown_host_is_told_in_one_line(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = one_line(rudp("echo", "--transport", transport, "--host", "nowhere.invalid", "x"))
    assert "nowhere.invalid:10000" in said
    assert "no such host" in said


def test_words_are_sent_as_they_were_typed() -> None:
    words = os.fsdecode(b"\xc3\xbc \xff")
    with running("echo-server", "--port", "0") as server:
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
        assert rudp("echo", "--port", port, words).stdout_bytes == os.fsencode(words) + b"\n"


def test_a_closed_standard_output_is_told_in_one_line() -> None:
    script = "import sys; sys.stdout = None; sys.argv = ['rudp', 'echo', 'x']; import rudp.cli; rudp.cli.main()"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "rudp: standard output is closed\n")


@pytest.mark.parametrize("transport", ["rudp", "tcp", "udp"])
def test_a_malformed_host_is_told_in_one_line(transport: str) -> None:
    said = one_line(rudp("echo", "--transport", transport, "--host", "a..b", "x"))
    assert "no such host (its name is malformed)" in said


# Files.


class Exchange:
    """A receiver and senders in one event loop."""

    def __init__(self, folder: Path, *, keep: bool = False, overwrite: bool = False) -> None:
        self._folder = folder
        self._options = {"keep": keep, "overwrite": overwrite}

    async def _run(self, sources: list[Any]) -> tuple[list[Any], int | None]:
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        receiver = asyncio.create_task(
            receive_files(
                self._folder,
                "127.0.0.1",
                0,
                ready=lambda addresses: ready.set_result(addresses[0][1]),
                **self._options,
            )
        )
        port = await ready
        outcomes: list[Any] = []
        for source in sources:
            try:
                outcomes.append(await send_source(source, "127.0.0.1", port, 5.0))
            except Failure as failure:
                outcomes.append(str(failure))
        if self._options["keep"]:
            receiver.cancel()
            await asyncio.wait([receiver])
            return outcomes, None
        return outcomes, await receiver

    def __call__(self, *sources: Any) -> tuple[list[Any], int | None]:
        """What each sender came to, and the receiver's exit status."""
        return asyncio.run(self._run(list(sources)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_arrives(file: Path, folder: Path) -> None:
    with running("receive", "--output", str(folder), "--host", "127.0.0.1", "--port", "0") as receiver:
        port = receiver.wait_for(r"waiting on 127\.0\.0\.1:(\d+)")[1]
        sent = rudp("send", str(file), f"127.0.0.1:{port}")
        assert sent.exit_code == 0, sent.output
        assert receiver.end() == 0, receiver.output
    assert contents(folder) == {"data.bin": DATA}
    digest = hashlib.sha256(DATA).hexdigest()
    assert f"SHA-256, confirmed by 127.0.0.1:{port}:\n  {digest}\n" in sent.stdout
    assert digest in receiver.output


def test_standard_input_arrives(folder: Path) -> None:
    with running("receive", "--output", str(folder), "--host", "127.0.0.1", "--port", "0") as receiver:
        port = receiver.wait_for(r"waiting on 127\.0\.0\.1:(\d+)")[1]
        command = [sys.executable, "-c", START, "send", "-", f"127.0.0.1:{port}", "--name", "typed"]
        sent = subprocess.run(command, input=DATA, capture_output=True, check=False)
        assert sent.returncode == 0, sent.stderr
        assert receiver.end() == 0, receiver.output
    assert contents(folder) == {"typed": DATA}


def test_an_empty_file_arrives(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert Exchange(folder)(FileSource(tmp_path / "empty")) == ([0], 0)
    assert contents(folder) == {"empty": b""}


def test_several_files_arrive_one_after_the_other(file: Path, folder: Path) -> None:
    second = FileSource(file)
    second.name = "second"
    assert Exchange(folder, keep=True)(FileSource(file), second) == ([0, 0], None)
    assert contents(folder) == {"data.bin": DATA, "second": DATA}


def test_an_interrupted_file_goes_on(file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data.bin.part").write_bytes(DATA[:200_000])
    assert Exchange(folder)(FileSource(file)) == ([0], 0)
    assert contents(folder) == {"data.bin": DATA}
    assert "200 kB were there already" in capsys.readouterr().out


def test_a_part_of_another_file_is_not_gone_on_with(file: Path, folder: Path) -> None:
    (folder / "data.bin.part").write_bytes(b"other" * 1000)
    assert Exchange(folder)(FileSource(file)) == ([0], 0)
    assert contents(folder) == {"data.bin": DATA}


class Breaking(FileSource):
    """A file that can't be read to its end; `part` is what the receiver has by then."""

    part: Path

    async def read(self) -> bytes:
        data = await super().read()
        if self._left:
            return data
        while not self.part.stat().st_size:
            await asyncio.sleep(0)
        raise Failure("the disk is broken")


def test_what_came_before_a_failure_is_kept_as_a_part(file: Path, folder: Path) -> None:
    source = Breaking(file)
    source.part = folder / "data.bin.part"
    outcomes, status = Exchange(folder)(source)
    assert (outcomes, status) == (["the disk is broken"], 1)
    there = contents(folder)
    assert list(there) == ["data.bin.part"]
    assert DATA.startswith(there["data.bin.part"])
    assert there["data.bin.part"]


def test_a_file_that_shrinks_is_not_sent(file: Path, folder: Path) -> None:
    source = FileSource(file)
    os.truncate(file, 1000)
    outcomes, status = Exchange(folder)(source)
    assert (outcomes, status) == (["data.bin got shorter while it was sent"], 1)
    assert "data.bin" not in contents(folder)


def test_a_name_cannot_leave_the_folder(file: Path, folder: Path) -> None:
    source = FileSource(file)
    source.name = "../../escaped"
    assert Exchange(folder)(source) == ([0], 0)
    assert contents(folder) == {"escaped": DATA}


def test_an_existing_file_is_not_replaced(file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data.bin").write_bytes(b"old")
    outcomes, status = Exchange(folder)(FileSource(file))
    assert status == 1
    assert re.fullmatch(r"the peer says: data\.bin is there already.*", outcomes[0])
    assert contents(folder) == {"data.bin": b"old"}
    assert Exchange(folder, overwrite=True)(FileSource(file)) == ([0], 0)
    assert contents(folder) == {"data.bin": DATA}


def test_a_full_disk_is_told_to_both(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    def full(*_arguments: Any) -> None:
        raise Failure("cannot write data.bin.part: no space left on device")

    monkeypatch.setattr(Incoming, "write", full)
    outcomes, status = Exchange(folder)(FileSource(file))
    assert (outcomes, status) == (["the peer says: cannot write data.bin.part: no space left on device"], 1)
    assert "no space left" in capsys.readouterr().err
    assert contents(folder) == {}


def test_damage_between_the_programs_is_noticed(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Incoming.write
    monkeypatch.setattr(Incoming, "write", lambda self, data: write(self, data[:-1] + b"?"))
    outcomes, status = Exchange(folder)(FileSource(file))
    assert status == 1
    assert "differs" in outcomes[0]
    assert contents(folder) == {}


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    said = one_line(rudp("send", str(tmp_path / "none"), "127.0.0.1:9"))
    assert re.search(r"cannot read .*none: no such file", said)
    assert "cannot read" in one_line(rudp("send", str(tmp_path), "127.0.0.1:9"))


def test_what_has_no_size_of_its_own_is_sent_as_standard_input_only() -> None:
    assert "is no plain file; rudp send -" in one_line(rudp("send", os.devnull, "127.0.0.1:9"))


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    with running("receive", "--output", str(tmp_path / "new"), "--host", "127.0.0.1", "--port", "0") as receiver:
        receiver.wait_for("waiting on")
        assert receiver.interrupt() == 130
    assert contents(tmp_path / "new") == {}


def test_what_is_no_folder_is_refused_before_anybody_sends(file: Path, tmp_path: Path) -> None:
    for wrong in (os.devnull, str(file), str(tmp_path / "none" / "new")):
        result = rudp("receive", "--output", wrong, "--port", "0")
        assert result.exit_code == 2
        assert "--output" in result.stderr


def test_a_receiver_that_is_not_there_is_told_in_one_line(file: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        said = one_line(rudp("send", str(file), f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.2"))
    assert "cannot connect to 127.0.0.1" in said


def test_an_echo_server_takes_no_files(file: Path) -> None:
    with running("echo-server", "--port", "0") as server:
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
        said = one_line(rudp("send", str(file), f"127.0.0.1:{port}"))
    assert said == f"rudp: what answers at 127.0.0.1:{port} is not `rudp receive` (it sent no valid offset)"


def test_standard_input_has_no_size_and_cannot_be_skipped() -> None:
    source = StandardInputSource("x")
    assert source.size is None
    assert asyncio.run(source.skip(5, "digest"))[0] == 0


def test_ctrl_c_keeps_what_a_receiver_has(folder: Path) -> None:
    with running("receive", "--output", str(folder), "--host", "127.0.0.1", "--port", "0") as receiver:
        port = int(receiver.wait_for(r"waiting on 127\.0\.0\.1:(\d+)")[1])

        class Stalling(FileSource):
            async def read(self) -> bytes:
                if self._left > len(DATA) - 262_144:
                    return await super().read()
                part = folder / "data.bin.part"
                while part.stat().st_size < 262_144:
                    await asyncio.sleep(0)
                receiver.signal()
                return await asyncio.Future()

        path = folder / "data.bin"
        path.write_bytes(DATA)
        source = Stalling(path)
        path.unlink()
        with pytest.raises(Failure, match="was not sent whole"):
            asyncio.run(send_source(source, "127.0.0.1", port, 5.0))
        assert receiver.end() == 130
    assert "262 kB are kept" in receiver.output
    assert receiver.output.splitlines()[-1] == "rudp: interrupted"
    assert contents(folder) == {"data.bin.part": DATA[:262_144]}


def test_a_receiver_ends_by_ctrl_c(folder: Path) -> None:
    with running("receive", "--output", str(folder), "--host", "127.0.0.1", "--port", "0") as receiver:
        receiver.wait_for("waiting on")
        assert receiver.interrupt() == 130
    assert receiver.output.splitlines()[-1] == "rudp: interrupted"


# The demo, and the command as a whole.


def test_the_demo_shows_everything() -> None:
    result = rudp(
        "demo", "--size", "1MB", "--rate", "40Mbit", "--loss", "0.1", "--delay", "0.002", "--time-limit", "30"
    )
    assert result.exit_code == 0, result.output
    for wanted in (
        r"Three-way handshake",
        r"client -> server  SYN ",
        r"server -> client  SYN_ACK ",
        r"client -> server  DATA ",
        r"rudp: .* [kM]B/s, RTT .* ms, window .*, lost \d+, resent \d",
        r"Four-way close",
        r"client -> server  (ACK \+ )?FIN",
        r"server -> client  (ACK \+ )?FIN",
        r"all 1,000,000 bytes arrived",
        r"SHA-256 +equal at both ends",
        r"came twice +\d+ packets? at the server, \d+ at the client",
        r"UDP alone +\d+ of \d+ datagrams lost",
    ):
        assert re.search(wanted, result.stdout), f"{wanted!r} is not in:\n{result.stdout}"
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_the_demo_says_so_when_not_all_arrives() -> None:
    result = rudp("demo", "--size", "1MB", "--rate", "100kbit", "--delay", "0.001", "--time-limit", "2")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "not all arrived" in result.stderr
    assert "Traceback" not in result.output


def test_the_demo_transfers_a_megabyte_at_least() -> None:
    result = rudp("demo", "--size", "100kB")
    assert result.exit_code == 2
    assert "must be 1MB or more" in result.output


@pytest.mark.parametrize("command", [[], ["demo"], ["echo"], ["echo-server"], ["send"], ["receive"]])
def test_every_command_has_help(command: list[str]) -> None:
    result = rudp(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_no_command_s_help_is_cut_off() -> None:
    assert "..." not in rudp("--help").stdout.partition("Commands:")[2]


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_extras_the_command_says_how_to_install_them(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; import rudp.cli; rudp.cli.main()"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == f"rudp: the command line needs {missing}; in a clone of rudp: pip install '.[cli]'\n"


def test_the_module_is_the_command() -> None:
    result = subprocess.run([sys.executable, "-m", "rudp", "--version"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert re.fullmatch(r"rudp, version \d+\.\d+\.\d+\n", result.stdout)
