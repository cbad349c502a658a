"""A server in several processes: real ones, on loopback.

Handlers are functions of this module, as pickle needs them. Processes come from a fork server that has imported it, so
that a worker starts in milliseconds; one test each starts them the other ways. Nothing sleeps: tests wait for answers,
for reports, or on a process's own descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import rudp
from rudp.aio import workers as supervision
from rudp.aio.process import WorkerProcess
from rudp.udp_group import attach_program, open_group
from rudp.udp_options import open_socket

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system has no SO_REUSEPORT")

HOST = "127.0.0.1"
TREE = Path(__file__).parent.parent
multiprocessing.set_forkserver_preload(["tests.test_workers"])


def kernel_steers() -> bool:
    with open_socket((HOST, 0), 0, reuse_port=False) as sock:
        pair = open_group(sock, 2)
        with pair[1]:
            return attach_program(sock, [b"\x06\0\0\0\0\0\0\0"])


STEERINGS = [
    pytest.param(
        "auto",
        marks=[] if kernel_steers() else pytest.mark.skip(reason="this kernel takes no program for a group of sockets"),
    ),
    "forwarding",
]


# -- handlers, and what runs in workers ----------------------------------------------------------------------------


async def where(connection: rudp.Connection) -> None:
    """Answer each message by this process's id and the port it came from."""
    stream = await connection.accept_stream()
    while await stream.receive():
        await stream.send(f"{os.getpid()} {connection.remote_address[1]}".encode())


async def where_reader(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same for asyncio's streams."""
    await reader.read(100)
    writer.write(f"{os.getpid()} 0".encode())
    writer.close()


async def echo(connection: rudp.Connection) -> None:
    """Send back whatever comes."""
    stream = await connection.accept_stream()
    while data := await stream.receive():
        await stream.send(data)
    await stream.send_eof()


async def fails(connection: rudp.Connection) -> None:
    """As handlers do."""
    await connection.accept_stream()
    raise RuntimeError("handlers fail")


async def hangs(connection: rudp.Connection) -> None:
    """Never return."""
    stream = await connection.accept_stream()
    await stream.send(b"hanging")
    await asyncio.get_running_loop().create_future()


async def blocks(connection: rudp.Connection) -> None:
    """Block the worker's loop for good, once the answer is out."""
    stream = await connection.accept_stream()
    await stream.send(b"blocking")
    asyncio.get_running_loop().call_later(0.01, partial(time.sleep, 1000))
    await connection.wait_closed()


@asynccontextmanager
async def announced(index: int) -> AsyncIterator[None]:
    """A lifespan that leaves traces."""
    os.environ["RUDP_TEST_WORKER"] = str(index)
    yield


async def announcement(connection: rudp.Connection) -> None:
    """Answer by the trace."""
    stream = await connection.accept_stream()
    await stream.send(os.environ["RUDP_TEST_WORKER"].encode())
    await stream.send_eof()


@asynccontextmanager
async def no_database(index: int) -> AsyncIterator[None]:
    """A lifespan that fails in one of the workers."""
    if index == 1:
        raise LookupError("no database")
    yield


# -- helpers -------------------------------------------------------------------------------------------------------


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run, and fail on what tasks and callbacks raise unseen."""
    problems: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        await coroutine

    asyncio.run(main())
    assert not problems, problems


def options(count: int = 2, **settings: Any) -> rudp.Workers:
    return rudp.Workers(count, **{"start_method": "forkserver", **settings})


@asynccontextmanager
async def serving(handler: Any = where, count: int = 2, **settings: Any) -> AsyncIterator[rudp.WorkerServer]:
    server = await rudp.serve(handler, HOST, 0, workers=options(count, **settings))
    pids = server.pids
    try:
        yield server
    finally:
        pids += server.pids
        try:
            await server.aclose(2.0)
        finally:
            assert_gone(pids)
            assert server.pids == (None,) * count
            assert not server.sockets


def assert_gone(pids: Sequence[int | None]) -> None:
    for pid in pids:
        if pid is not None:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def await_end(pid: int) -> None:
    """Wait until a process that need not be a child of this one has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    readable, _, _ = select.select([descriptor], [], [], 60)
    os.close(descriptor)
    assert readable, f"process {pid} goes on"


async def ask(connection: rudp.Connection) -> tuple[int, int]:
    """Which process serves a connection, and from which port it sees it come."""
    stream = connection.main_stream
    await stream.send(b"?")
    pid, port = (await stream.receive()).split()
    return int(pid), int(port)


async def connect_to(server: rudp.WorkerServer, index: int) -> rudp.Connection:
    """A connection to a certain worker."""
    while True:
        connection = await rudp.connect(HOST, server.local_address[1])
        if connection.core.peer_id >> 56 == index:
            return connection
        await ask(connection)
        await connection.main_stream.send_eof()
        await connection.close()


class Relay(asyncio.DatagramProtocol):
    """Between a client and the server, as a NAT: `move` gives the client another address there."""

    @classmethod
    async def open(cls, server: Any) -> Relay:
        relay = cls()
        loop = asyncio.get_running_loop()
        relay._server = server
        relay._loop = loop
        relay._client: Any = None
        relay._front, _ = await loop.create_datagram_endpoint(lambda: relay, local_addr=(HOST, 0))
        relay.port = relay._front.get_extra_info("sockname")[1]
        relay._backs: list[Any] = []
        await relay.move()
        return relay

    async def move(self) -> int:
        relay = self

        class Back(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                relay._front.sendto(data, relay._client)

        back, _ = await self._loop.create_datagram_endpoint(Back, remote_addr=self._server)
        self._backs.append(back)
        return int(back.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._client = addr
        self._backs[-1].sendto(data)

    def close(self) -> None:
        for transport in (self._front, *self._backs):
            transport.close()


# -- connections find their workers --------------------------------------------------------------------------------


@pytest.mark.parametrize("steering", STEERINGS)
def test_workers_share_the_handshakes_and_ids_name_them(steering: str) -> None:
    async def main() -> None:
        async with serving(steering=steering) as server:
            assert server.steering == ("kernel" if steering == "auto" else "forwarding")
            port = server.local_address[1]
            connections = await asyncio.gather(*(rudp.connect(HOST, port) for _ in range(24)))
            indices = [connection.core.peer_id >> 56 for connection in connections]
            # Of 24 openings to one of two workers: chance is 1 in 8 million.
            assert set(indices) == {0, 1}
            found = [await ask(connection) for connection in connections]
            assert [pid for pid, _ in found] == [server.pids[index] for index in indices]
            stats = await server.stats()
            assert [worker.endpoint.connections for worker in stats.workers] == [indices.count(0), indices.count(1)]
            assert stats.total.connections == 24
            assert stats.silent == ()
            handed = sum(worker.handed_on for worker in stats.workers)
            assert (handed > 0) is (steering == "forwarding")
            # A message may have several datagrams.
            assert stats.total.strays >= handed
            for connection in connections:
                connection.abort()

    run(main())


@pytest.mark.parametrize("steering", STEERINGS)
def test_a_client_whose_address_changes_keeps_its_worker(steering: str) -> None:
    async def main() -> None:
        async with serving(steering=steering) as server:
            relay = await Relay.open(server.local_address)
            async with rudp.connect(HOST, relay.port) as connection:
                home, _ = await ask(connection)
                for _ in range(6):
                    port = await relay.move()
                    while True:
                        pid, seen = await ask(connection)
                        assert pid == home
                        # The new address counts once it is validated.
                        if seen == port:
                            break
                await connection.main_stream.send_eof()
            stats = await server.stats()
            assert stats.total.resets_sent == 0
            # By a hash of the addresses alone one of six moves comes to the other worker, but for 1 in 64 runs.
            if steering == "auto":
                assert stats.total.strays == 0
        # The last acknowledgements go through it, too.
        relay.close()

    run(main())


def test_much_data_arrives_through_the_wrong_worker() -> None:
    async def main() -> None:
        data = os.urandom(3_000_000)
        async with serving(echo, 3, steering="forwarding") as server:

            async def exchange() -> None:
                async with rudp.connect(HOST, server.local_address[1]) as connection:
                    stream = await connection.open_stream()
                    sending = asyncio.ensure_future(stream.send(data))
                    back = await stream.receive_exactly(len(data))
                    await sending
                    await stream.send_eof()
                    assert await stream.receive() == b""
                    assert back == data

            # A hash of the addresses brings one connection in three to its worker.
            while True:
                await exchange()
                stats = await server.stats()
                if sum(worker.handed_in for worker in stats.workers) > 50:
                    break

    run(main())


def test_a_busy_server_asks_for_a_cookie_and_knows_it_again() -> None:
    async def main() -> None:
        config = rudp.Config(retry="always")
        server = await rudp.serve(where, HOST, 0, config=config, workers=options())
        for _ in range(6):
            async with rudp.connect(HOST, server.local_address[1]) as connection:
                await ask(connection)
                await connection.main_stream.send_eof()
        assert (await server.stats()).total.retries_sent >= 6
        await server.aclose()

    run(main())


def test_start_server_has_workers_too() -> None:
    async def main() -> None:
        async with await rudp.start_server(where_reader, HOST, 0, workers=options()) as server:
            reader, writer = await rudp.open_connection(HOST, server.local_address[1])
            writer.write(b"?")
            assert int((await reader.read()).split()[0]) in server.pids
            writer.close()
            await writer.wait_closed()

    run(main())


def test_ipv6_and_ipv4_find_the_same_workers() -> None:
    async def main() -> None:
        server = await rudp.serve(where, None, 0, workers=options())
        hosts = [HOST] if server.sockets[0].family == socket.AF_INET else [HOST, "::1"]
        for host in hosts:
            async with rudp.connect(host, server.local_address[1]) as connection:
                pid, _ = await ask(connection)
                assert server.pids[connection.core.peer_id >> 56] == pid
                await connection.main_stream.send_eof()
        await server.aclose()

    run(main())


def test_a_socket_of_ones_own_is_the_first_of_the_group() -> None:
    async def main() -> None:
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.bind((HOST, 0))
        address = own.getsockname()
        async with await rudp.serve(where, sock=own, workers=options()) as server:
            assert server.local_address == address
            async with rudp.connect(*address) as connection:
                assert (await ask(connection))[0] in server.pids
                await connection.main_stream.send_eof()

    run(main())


# -- handlers ------------------------------------------------------------------------------------------------------


def test_a_handler_that_fails_is_as_in_one_process() -> None:
    async def end_of(server: Any) -> tuple[type, int]:
        connection = await rudp.connect(HOST, server.local_address[1])
        await connection.main_stream.send(b"?")
        with pytest.raises(rudp.ConnectionReset) as caught:
            await connection.main_stream.receive()
        return type(caught.value), caught.value.code

    async def main() -> None:
        logging.getLogger("rudp").setLevel(logging.CRITICAL)
        try:
            async with await rudp.serve(fails, HOST, 0) as single:
                expected = await end_of(single)
        finally:
            logging.getLogger("rudp").setLevel(logging.NOTSET)
        async with serving(fails) as server:
            pids = server.pids
            assert [await end_of(server) for _ in range(4)] == [expected] * 4
            assert server.pids == pids

    run(main())


def test_a_lifespan_surrounds_each_worker() -> None:
    async def main() -> None:
        async with serving(announcement, lifespan=announced) as server:
            for _ in range(6):
                async with rudp.connect(HOST, server.local_address[1]) as connection:
                    await connection.main_stream.send_eof()
                    index = int(await connection.main_stream.receive())
                    assert index == connection.core.peer_id >> 56

    run(main())


# -- workers that end ----------------------------------------------------------------------------------------------


def test_a_killed_worker_is_reported_and_replaced_and_the_others_live_on(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        exits: asyncio.Queue[rudp.WorkerExit] = asyncio.Queue()
        async with serving(on_exit=exits.put_nowait) as server:
            lost, kept = await connect_to(server, 0), await connect_to(server, 1)
            (victim, _), (survivor, _) = await ask(lost), await ask(kept)
            os.kill(victim, signal.SIGKILL)
            report = await exits.get()
            assert (report.index, report.pid, report.exit_code, report.replaced) == (0, victim, -signal.SIGKILL, True)
            assert (await ask(kept))[0] == survivor
            # The next worker has the socket, its queue and the key: so it answers by a reset.
            with pytest.raises(rudp.ConnectionReset):
                await ask(lost)
            anew = await connect_to(server, 0)
            assert (await ask(anew))[0] == server.pids[0] != victim
            assert (await ask(kept))[0] == survivor
            assert [worker.starts for worker in (await server.stats()).workers] == [2, 1]
            for connection in (anew, kept):
                await connection.main_stream.send_eof()
                await connection.close()

    run(main())
    assert "ended: signal SIGKILL" in caplog.text


def test_a_worker_told_to_end_by_somebody_else_closes_well_and_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        exits: asyncio.Queue[rudp.WorkerExit] = asyncio.Queue()
        async with serving(on_exit=exits.put_nowait) as server:
            connection = await connect_to(server, 1)
            pid, _ = await ask(connection)
            os.kill(pid, signal.SIGTERM)
            with suppress(rudp.ConnectionClosed):
                assert await connection.main_stream.receive() == b""
            await connection.close()
            assert (await exits.get()).exit_code == 0

    run(main())


def test_after_too_many_ends_at_once_the_server_gives_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "SETTLED", 3600.0)
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.001)

    async def main() -> None:
        exits: asyncio.Queue[rudp.WorkerExit] = asyncio.Queue()
        server = await rudp.serve(where, HOST, 0, workers=options(max_failures=2, on_exit=exits.put_nowait))
        pids = list(server.pids)
        for number in range(3):
            connection = await connect_to(server, 1)
            pid, _ = await ask(connection)
            pids.append(pid)
            os.kill(pid, signal.SIGKILL)
            assert (await exits.get()).replaced is (number < 2)
            connection.abort()
        with pytest.raises(rudp.WorkerError, match=r"worker 1 ended 3 times in a row.*SIGKILL"):
            await server.serve_forever()
        with pytest.raises(ChildProcessError):
            await server.aclose()
        assert not server.is_serving()
        assert_gone(pids)

    run(main())


def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = WorkerProcess._start
    refusals = [OSError(errno.EAGAIN, "no more processes")] * 2

    def refusing(process: WorkerProcess) -> None:
        if not refusals:
            start(process)
            return
        process._plan.control.close()
        raise refusals.pop()

    async def main() -> None:
        exits: asyncio.Queue[rudp.WorkerExit] = asyncio.Queue()
        async with serving(on_exit=exits.put_nowait) as server:
            monkeypatch.setattr(WorkerProcess, "_start", refusing)
            os.kill(server.pids[1] or 0, signal.SIGKILL)
            reports = [await exits.get() for _ in range(3)]
            assert [report.exit_code for report in reports] == [-signal.SIGKILL, None, None]
            assert all(report.replaced for report in reports)
            assert "no more processes" in reports[1].reason
            connection = await connect_to(server, 1)
            assert (await ask(connection))[0] == server.pids[1]
            connection.abort()

    run(main())


def test_what_else_keeps_a_process_from_being_started_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program without `if __name__ == "__main__"`, or where there can't be another thread."""

    def refusing(process: WorkerProcess) -> None:
        process._plan.control.close()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(WorkerProcess, "_start", refusing)

    async def main() -> None:
        with pytest.raises(rudp.WorkerError, match=r"worker \d did not start: no process: can't start new thread"):
            await rudp.serve(where, HOST, 0, workers=options())

    run(main())


def test_a_callback_that_fails_keeps_no_worker_from_being_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        problems: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.put_nowait(context))

        def failing(report: rudp.WorkerExit) -> None:
            raise LookupError(f"no page for worker {report.index}")

        async with serving(on_exit=failing) as server:
            victim = server.pids[0]
            os.kill(victim or 0, signal.SIGKILL)
            assert isinstance((await problems.get())["exception"], LookupError)
            connection = await connect_to(server, 0)
            assert (await ask(connection))[0] != victim
            connection.abort()

    run(main())


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_workers_that_do_not_start_are_an_error(start_method: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        with pytest.raises(rudp.WorkerError, match=r"worker 1 did not start: LookupError: no database \(exit code 1\)"):
            await rudp.serve(where, HOST, 0, workers=options(lifespan=no_database, start_method=start_method))
        assert len(asyncio.all_tasks()) == 1

    run(main())
    if start_method == "spawn":  # a fork server has the standard error of when it was started
        assert "LookupError" in capfd.readouterr().err


def test_a_worker_that_is_not_ready_in_time_is_killed() -> None:
    async def main() -> None:
        with pytest.raises(rudp.WorkerError, match=r"not ready within 0 s .*SIGKILL"):
            await rudp.serve(where, HOST, 0, workers=options(start_timeout=0))

    run(main())


# -- the end -------------------------------------------------------------------------------------------------------


def test_close_lets_connections_go_on_and_ends_after_the_last() -> None:
    async def main() -> None:
        server = await rudp.serve(where, HOST, 0, workers=options())
        connection = await rudp.connect(HOST, server.local_address[1])
        home, _ = await ask(connection)
        server.close()
        assert not server.is_serving()
        pids = server.pids
        assert await ask(connection) == (home, connection.local_address[1])
        await connection.main_stream.send_eof()
        await connection.close()
        await server.wait_closed()
        assert_gone(pids)

    run(main())


def test_a_worker_that_is_killed_while_the_server_closes_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        exits: list[rudp.WorkerExit] = []
        async with serving(on_exit=exits.append) as server:
            connection = await connect_to(server, 1)
            pid, _ = await ask(connection)
            server.close()
            os.kill(pid, signal.SIGKILL)
            await server.wait_closed()
            connection.abort()
        assert [(report.index, report.exit_code, report.replaced) for report in exits] == [(1, -signal.SIGKILL, False)]

    run(main())


def test_aclose_gives_up_handlers_that_go_on() -> None:
    async def main() -> None:
        server = await rudp.serve(hangs, HOST, 0, workers=options())
        pids = server.pids
        connections = [await connect_only(server) for _ in range(4)]
        await server.aclose(0.05)
        assert_gone(pids)
        for connection in connections:
            with pytest.raises((rudp.ConnectionReset, rudp.ConnectionClosed)):
                await connection.main_stream.receive()
                await connection.main_stream.receive()
                await connection.wait_closed()
                connection.check()

    run(main())


async def connect_only(server: rudp.WorkerServer) -> rudp.Connection:
    connection = await rudp.connect(HOST, server.local_address[1])
    await connection.main_stream.send(b"?")
    await connection.main_stream.receive()
    return connection


def test_a_worker_that_does_not_listen_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "GRACE", 0.1)

    async def main() -> None:
        exits: list[rudp.WorkerExit] = []
        server = await rudp.serve(blocks, HOST, 0, workers=options(1, on_exit=exits.append))
        pids = server.pids
        connection = await connect_only(server)
        # What it answers to this it may send before it blocks; then not any more.
        while not (await server.stats(0.1)).silent:
            pass
        await server.aclose(0.1)
        assert_gone(pids)
        assert [(end.index, end.replaced) for end in exits] == [(0, False)]
        connection.abort()

    run(main())
    assert "killed" in caplog.text


def test_a_loop_that_ends_leaves_no_worker() -> None:
    pids: list[int | None] = []

    async def main() -> None:
        server = await rudp.serve(where, HOST, 0, workers=options())
        pids.extend(server.pids)

    run(main())
    assert_gone(pids)


PARENT = """
import asyncio, os, signal, sys
import rudp

# What a shell starts in the background ignores interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def where(connection):
    pass

async def main():
    server = await rudp.serve(where, "127.0.0.1", 0, workers=rudp.Workers(2, start_method="fork"))
    if sys.argv[1] == "KILL":
        print(*server.pids, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    # Once it serves forever.
    asyncio.get_running_loop().call_soon(lambda: print(*server.pids, flush=True))
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.mark.parametrize(("name", "status"), [("KILL", -9), ("TERM", 0), ("INT", -2)])
def test_a_parent_that_ends_leaves_no_worker(name: str, status: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TREE)}
    command = [sys.executable, "-c", PARENT, name]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        if name != "KILL":
            parent.send_signal(getattr(signal, f"SIG{name}"))
        _, errors = parent.communicate(timeout=60)
        for pid in pids:
            await_end(pid)
        assert parent.returncode == status, errors


# -- what it can't do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"workers": 0}, "from 1 to 256"),
        ({"workers": 257}, "from 1 to 256"),
        ({"workers": 2, "config": rudp.Config(worker=3)}, "leave it out"),
    ],
)
def test_wrong_arguments_are_told(wrong: dict[str, Any], text: str) -> None:
    async def main() -> None:
        with pytest.raises(rudp.ConfigurationError, match=text):
            await rudp.serve(where, HOST, 0, **wrong)

    run(main())


@pytest.mark.parametrize(
    "wrong", [{"start_method": "thread"}, {"steering": "luck"}, {"max_failures": 0}, {"shutdown_timeout": -1.0}]
)
def test_wrong_options_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(rudp.ConfigurationError, match=next(iter(wrong))):
        rudp.Workers(2, **wrong)


def test_a_handler_that_cannot_be_sent_is_told() -> None:
    async def main() -> None:
        async def local(connection: rudp.Connection) -> None:
            """Not to be found by name."""

        with pytest.raises(rudp.ConfigurationError, match="make it a function of a module"):
            await rudp.serve(local, HOST, 0, workers=2)

    run(main())


def test_fork_takes_any_handler() -> None:
    async def main() -> None:
        async def local(connection: rudp.Connection) -> None:
            await where(connection)

        # The loop has looked up a host in a thread, which is idle.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            server = await rudp.serve(local, HOST, 0, workers=options(start_method="fork"))
        pids = server.pids
        async with rudp.connect(HOST, server.local_address[1]) as connection:
            assert (await ask(connection))[0] in pids
            await connection.main_stream.send_eof()
        await server.aclose()
        assert_gone(pids)

    run(main())


def test_a_port_in_use_is_told_even_by_another_group() -> None:
    async def main() -> None:
        async with serving() as server:
            with pytest.raises(rudp.SocketError, match="in use"):
                await rudp.serve(where, HOST, server.local_address[1], workers=2)

    run(main())


def test_without_shared_ports_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")

    async def main() -> None:
        with pytest.raises(rudp.SocketError, match="SO_REUSEPORT"):
            await rudp.serve(where, HOST, 0, workers=2)

    run(main())


def test_the_simulated_network_has_no_processes() -> None:
    from rudp.sim import run as simulate  # noqa: PLC0415

    async def main() -> None:
        with pytest.raises(rudp.ConfigurationError, match="simulated"):
            await rudp.serve(where, None, 0, workers=2)

    simulate(main())
