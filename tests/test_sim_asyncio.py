"""asyncio programs in virtual time: the clock jumps, names are found, and the same seed gives the same run."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import runpy
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import rudp
import rudp.cli.echo as echo_command
from bench import virtual_hour
from rudp.sim import (
    Delay,
    Loss,
    Machine,
    Network,
    Node,
    NotSimulated,
    Rebind,
    SimulatedLoop,
    SimulationError,
    Stalled,
    TooManyEvents,
    run,
)

ROOT = Path(__file__).resolve().parent.parent
PORT = 4433


def pair_of(*, seed: int = 1, delay: float = 0.025, loss: float = 0.0) -> tuple[Network, Machine, Machine]:
    """A network with a server, a client and a link each way."""
    network = Network(seed)
    server, client = network.add_machine("server"), network.add_machine("client")
    for source, destination in ((client, server), (server, client)):
        network.add_link(source, destination, [Delay(delay), Loss(loss)])
    return network, server, client


async def echo(connection: rudp.Connection) -> None:
    """Send back whatever comes, on every stream."""
    async for stream in connection.streams():
        while data := await stream.receive():
            await stream.send(data)
        await stream.send_eof()


async def ask(connection: rudp.Connection, data: bytes = b"hello") -> None:
    """A question on a stream of its own, and its echo."""
    stream = await connection.open_stream()
    await stream.send(data)
    await stream.send_eof()
    assert await stream.receive_exactly(len(data)) == data
    assert await stream.receive() == b""


def now() -> float:
    return asyncio.get_running_loop().time()


# -- time --------------------------------------------------------------------------------------------------------------


def test_time_jumps_to_the_next_event_and_stands_still_between():
    async def main():
        assert now() == 0.0
        await asyncio.sleep(86_400)
        assert now() == 86_400.0
        await asyncio.sleep(0)
        assert now() == 86_400.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.1)
        assert now() == 86_400.1
        return asyncio.get_running_loop().turns

    network = Network()
    assert run(main(), network=network) < 20
    assert network.now == 86_400.1


def test_the_clock_goes_on_where_the_network_is():
    async def main():
        await asyncio.sleep(1)
        return now()

    network = Network(start=100.0)
    assert run(main(), network=network) == 101.0
    assert run(main(), network=network) == 102.0


def test_timers_at_one_instant_run_as_they_were_scheduled():
    async def main():
        loop = asyncio.get_running_loop()
        order = []
        for number in range(50):
            loop.call_at(5.0, order.append, number)
        loop.call_at(4.0, order.append, "before")
        loop.call_at(1.0, lambda: loop.call_at(5.0, order.append, "last"))
        await asyncio.sleep(6)
        assert order == ["before", *range(50), "last"]

    run(main())


def test_at_one_instant_packets_come_before_timers_and_events_of_the_network_before_both():
    network, server, client = pair_of(delay=1.0)

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            order.append(data)

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_at(1.0, order.append, "timer")
        receiver, _ = await server.run(loop.create_datagram_endpoint(Receiver, local_addr=("0.0.0.0", PORT)))
        sender, _ = await client.run(loop.create_datagram_endpoint(Receiver, remote_addr=("server", PORT)))
        sender.sendto(b"packet")
        network.call_at(1.0, lambda: order.append("event"))
        await asyncio.sleep(2)
        sender.close()
        receiver.close()

    order: list[object] = []
    run(main(), network=network)
    assert order == ["event", b"packet", "timer"]


def test_a_cancelled_timer_neither_fires_nor_stops_the_clock():
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            loop.call_later(10, pytest.fail).cancel()
        assert len(loop._timers) < 300
        handles = [loop.call_later(10, pytest.fail) for _ in range(3)]
        await asyncio.sleep(1)
        for handle in handles:
            handle.cancel()
        turns = loop.turns
        await asyncio.sleep(100)
        assert loop.turns - turns == 2
        loop.call_later(1000, pytest.fail).cancel()
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match=r"at 101\.000000 s"):
        run(main())


def test_a_timer_at_no_time_is_an_error_and_one_at_the_end_of_time_never_fires():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="never be due"):
            loop.call_at(float("nan"), print)
        loop.call_later(float("inf"), pytest.fail)
        await asyncio.sleep(1)

    run(main())


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_deadlock_names_the_tasks_that_wait():
    async def waiting_for_godot():
        await asyncio.Event().wait()

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(waiting_for_godot(), name="Vladimir")
            group.create_task(waiting_for_godot(), name="Estragon")

    with pytest.raises(Stalled, match=r"(?s)\(.*main, waiting at .*Vladimir \(.*godot.*:\d+\); Estragon"):
        run(main())


def test_a_task_whose_name_is_set_to_none_keeps_it():
    """As CPython 3.13.0 does with each that a factory has made."""

    async def main():
        task = asyncio.current_task()
        task.set_name("Pozzo")
        task.set_name(None)
        return task.get_name()

    assert run(main()) == "Pozzo"


def test_a_loop_that_lets_no_time_pass_is_found():
    async def main():
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stalled, match=r"time stands still at 0\.0 s.*main"):
        run(main())


def test_a_program_that_goes_on_for_ever_is_stopped():
    async def main():
        while True:
            await asyncio.sleep(1)

    with pytest.raises(TooManyEvents, match=r"1000 turns and events, at \d+\.0+ s the program hasn't ended"):
        run(main(), max_events=1000)


def test_what_is_left_is_cancelled_in_the_order_it_was_started():
    order = []

    async def stay(number):
        try:
            await asyncio.sleep(1000)
        finally:
            order.append(number)
            await asyncio.sleep(1)

    async def generate():
        try:
            yield 1
            yield 2
        finally:
            order.append("generator")

    async def main():
        tasks.extend(asyncio.create_task(stay(number)) for number in range(100))
        generators.extend(generate() for _ in range(2))
        for generator in generators:
            await anext(generator)
        await asyncio.sleep(1)
        return "done"

    tasks: list[object] = []
    generators: list[object] = []
    network = Network()
    assert run(main(), network=network) == "done"
    assert order == [*range(100), "generator", "generator"]
    assert network.now == 2.0


def test_an_exception_comes_out_and_the_loop_is_closed():
    async def main():
        loops.append(asyncio.get_running_loop())
        raise LookupError("mine")

    loops: list[SimulatedLoop] = []
    with pytest.raises(LookupError, match="mine"):
        run(main())
    assert loops[0].is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loops[0].call_later(1, print)


def test_a_real_loop_runs_afterwards():
    async def main():
        return type(asyncio.get_running_loop())

    assert run(main()) is SimulatedLoop
    assert asyncio.run(main()) is not SimulatedLoop


# -- what is not simulated ---------------------------------------------------------------------------------------------


def test_real_input_and_output_is_an_error_that_says_so():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(NotSimulated, match=r"no TCP.*rudp\.open_connection"):
            await asyncio.open_connection("localhost", 80)
        with pytest.raises(NotSimulated, match="real input or output"):
            await asyncio.create_subprocess_exec("true")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with pytest.raises(NotSimulated, match="descriptor"):
                loop.add_reader(sock, print)
            with pytest.raises(NotSimulated, match="real socket"):
                await rudp.connect("localhost", PORT, sock=sock)
            with pytest.raises(NotSimulated, match="real socket"):
                await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
        with pytest.raises(NotImplementedError, match="signals"):
            loop.add_signal_handler(1, print)

    run(main())


def test_a_simulated_socket_is_writable_in_the_next_turn():
    async def main():
        loop = asyncio.get_running_loop()
        endpoint = await rudp.Endpoint.bind()
        called = []
        loop.add_writer(endpoint.sock, called.append, 1)
        assert not called
        await asyncio.sleep(0)
        assert called == [1]
        loop.add_writer(endpoint.sock, called.append, 2)
        assert loop.remove_writer(endpoint.sock)
        assert not loop.remove_writer(endpoint.sock)
        await asyncio.sleep(1)
        assert called == [1]
        await endpoint.close()

    run(main())


def test_a_transport_left_open_warns_as_on_a_real_loop():
    async def main():
        await asyncio.get_running_loop().create_datagram_endpoint(Recorder, local_addr=("localhost", 0))

    def leave_open():
        run(main())
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed transport of <SimulatedSocket"):
        leave_open()


def test_what_goes_to_a_thread_runs_in_line_and_takes_no_time():
    async def main():
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        # No loop runs there, as in a thread, and nothing there may wait for this one.
        assert await asyncio.to_thread(asyncio._get_running_loop) is None
        loop = asyncio.get_running_loop()
        with pytest.raises(NotSimulated, match="does not wait for threads"):
            await asyncio.to_thread(loop.call_soon_threadsafe, print)
        assert now() == 0.0

    run(main())


def test_another_thread_can_not_call_into_the_loop():
    async def main():
        loop = asyncio.get_running_loop()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except NotSimulated as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(caught.append, "mine")
        await asyncio.sleep(1)

    caught: list[object] = []
    run(main())
    assert len(caught) == 2
    assert "another thread" in str(caught[0])


# -- machines and names ------------------------------------------------------------------------------------------------


def test_programs_on_two_machines_find_each_other_by_name():
    network, server, client = pair_of()

    async def serve():
        async with await rudp.serve(echo, "0.0.0.0", PORT) as running:
            assert running.local_address == ("0.0.0.0", PORT)
            assert running.sockets[0].getsockname() == ("0.0.0.0", PORT)
            await running.serve_forever()

    async def use():
        async with rudp.connect("server", PORT) as connection:
            assert connection.remote_address == (server.addresses[0], PORT)
            assert now() == pytest.approx(0.05)
            await ask(connection)
            assert now() == pytest.approx(0.1)
            assert connection.stats().min_rtt == pytest.approx(0.05)
            assert connection.local_address[0] == client.addresses[0]

    async def main():
        serving = server.create_task(serve())
        await client.run(use())
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    run(main(), network=network)


def test_a_program_may_be_on_a_machine_from_the_start():
    network, server, client = pair_of()

    async def main():
        running = await server.run(rudp.serve(echo, "", PORT))
        async with rudp.connect("SERVER", PORT) as connection:
            await ask(connection)
        running.close()
        await running.wait_closed()

    run(main(), network=network, on=client)
    assert client.datagrams_sent > 0


def test_a_loop_factory_gives_the_program_a_machine():
    async def main():
        async with await rudp.serve(echo, "127.0.0.1", 0) as running:
            async with rudp.connect("localhost", running.local_address[1]) as connection:
                await ask(connection)
        return now()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        # Nothing takes time within a machine but TIME-WAIT.
        assert runner.run(main()) < 10


def test_who_is_on_no_machine_is_told():
    network, _, _ = pair_of()

    async def main():
        with pytest.raises(SimulationError, match=r"machine\.run"):
            await rudp.connect("server", PORT)

    run(main(), network=network)


def test_a_machine_of_another_network_is_an_error():
    _, stranger, _ = pair_of()
    network, _, _ = pair_of()

    async def main():
        with pytest.raises(SimulationError, match="not part of this loop's network"):
            await stranger.run(rudp.serve(echo, "", PORT))

    run(main(), network=network)


def test_names_are_resolved_as_on_a_real_loop():
    network = Network()
    here = network.add_machine("here", "192.0.2.1", "2001:db8::1")
    network.add_machine("There", "2001:db8::2", "192.0.2.2")
    network.add_machine("old", "192.0.2.3")
    automatic = network.add_machine("any")

    async def addresses(host, **options):
        loop = asyncio.get_running_loop()
        return [info[4][:2] for info in await loop.getaddrinfo(host, 7, type=socket.SOCK_DGRAM, **options)]

    async def main():
        loop = asyncio.get_running_loop()
        assert await addresses("there") == [("2001:db8::2", 7), ("192.0.2.2", 7)]
        assert await addresses("there", family=socket.AF_INET) == [("192.0.2.2", 7)]
        assert await addresses("old") == [("192.0.2.3", 7)]
        assert await addresses("localhost") == [("::1", 7), ("127.0.0.1", 7)]
        assert await addresses("203.0.113.9") == [("203.0.113.9", 7)]
        assert await addresses(None, flags=socket.AI_PASSIVE, family=socket.AF_INET) == [("0.0.0.0", 7)]
        with pytest.raises(socket.gaierror, match="called 'nowhere'; there are here, there, old, any, localhost"):
            await addresses("nowhere")
        with pytest.raises(socket.gaierror, match="service"):
            await loop.getaddrinfo("there", "http")
        assert await loop.getnameinfo(("192.0.2.2", 80)) == ("There", "80")
        # To whom has no IPv6 address, IPv4 comes first.
        assert (await automatic.run(addresses("there")))[0] == ("192.0.2.2", 7)

    run(main(), network=network, on=here)
    assert automatic.addresses == ("10.0.0.4",)


@pytest.mark.parametrize("name", ["", "localhost", "TWICE"])
def test_a_name_that_can_not_be_a_machine_s(name):
    network = Network()
    network.add_machine("twice")
    with pytest.raises(SimulationError, match="name of a machine"):
        network.add_machine(name)


def test_an_address_belongs_to_one_machine():
    network = Network()
    network.add_machine("one", "192.0.2.1")
    with pytest.raises(SimulationError, match=r"192\.0\.2\.1"):
        network.add_machine("two", "192.0.2.1")


def test_the_next_address_is_tried_when_one_does_not_answer():
    network = Network()
    client = network.add_machine("client", "192.0.2.1", "2001:db8::1")
    server = network.add_machine("server", "2001:db8::2", "192.0.2.2")
    network.add_link(client, server, [Delay(0.01)])
    network.add_link(server, client, [Delay(0.01)])

    async def main():
        running = await server.run(rudp.serve(echo, "192.0.2.2", PORT))
        async with rudp.connect("server", PORT) as connection:
            assert connection.remote_address == ("192.0.2.2", PORT)
            await ask(connection)
        running.close()
        await running.wait_closed()

    run(main(), network=network, on=client)


def test_sockets_on_one_machine():
    network, server, client = pair_of()

    async def main():
        first = await rudp.Endpoint.bind("", PORT)
        with pytest.raises(OSError, match=f"port {PORT} on server") as in_use:
            await rudp.Endpoint.bind("10.0.0.1", PORT)
        assert isinstance(in_use.value, rudp.SocketError)
        with pytest.raises(ConnectionRefusedError):
            await client.run(rudp.connect("server", PORT + 1))
        with pytest.raises(OSError, match=r"has the addresses 10\.0\.0\.1"):
            await rudp.Endpoint.bind("10.0.0.2", PORT)
        second = await rudp.Endpoint.bind()
        third = await rudp.Endpoint.bind("127.0.0.1")
        assert second.local_address[1] >= 49_152
        assert len({first.local_address[1], second.local_address[1], third.local_address[1]}) == 3
        connection = await third.connect("localhost", second.local_address[1])
        accepted = await second.accept()
        assert accepted.remote_address == third.local_address
        assert accepted.udp.capabilities.gso
        connection.abort()
        for endpoint in (first, second, third):
            await endpoint.close()
        assert first.sock.fileno() == -1
        again = await rudp.Endpoint.bind("", PORT)
        await again.close()

    run(main(), network=network, on=server)
    assert not server.sockets._ports


def test_one_address_is_preferred_to_all_and_families_are_apart():
    network = Network()
    machine = network.add_machine("machine", "192.0.2.1", "2001:db8::1")
    sockets = machine.sockets

    def bound(host, family=0):
        return sockets.open((host, PORT), family=family, buffer_size=1000, descriptor=1, on_input=lambda _: None)

    ipv4, ipv6, one = bound("0.0.0.0"), bound("::", socket.AF_INET6), None
    assert sockets.find(("192.0.2.1", PORT)) is ipv4
    assert sockets.find(("2001:db8::1", PORT, 0, 0)) is ipv6
    for taken in ("", "::", "192.0.2.1"):
        with pytest.raises(rudp.SocketError):
            bound(taken)
    ipv4.close()
    ipv4.close()
    one = bound("192.0.2.1")
    assert sockets.find(("192.0.2.1", PORT)) is one
    assert sockets.find(("127.0.0.1", PORT)) is None
    ipv6.close()
    one.close()
    both = bound("")
    assert both.capabilities.dual_stack
    assert sockets.find(("192.0.2.1", PORT)) is sockets.find(("2001:db8::1", PORT, 0, 0)) is both


def test_nobody_listening_is_told_after_a_round_trip():
    network, _, client = pair_of(delay=0.1)

    async def main():
        with pytest.raises(ConnectionRefusedError):
            await rudp.connect("server", PORT)
        assert now() == pytest.approx(0.2)

    run(main(), network=network, on=client)


def test_no_link_is_a_timeout_as_where_packets_vanish():
    network = Network()
    client = network.add_machine("client")
    network.add_machine("server")

    async def main():
        with pytest.raises(TimeoutError):
            await rudp.connect("server", PORT, config=rudp.Config(connect_timeout=5.0))
        assert now() == pytest.approx(5.0)

    run(main(), network=network, on=client)
    assert client.unroutable > 1


def test_what_a_full_buffer_has_no_room_for_is_lost_and_what_was_kept_is_an_error():
    _, server, _ = pair_of()
    opened = server.sockets.open(("", PORT), family=0, buffer_size=10, descriptor=1, on_input=lambda _: None)
    for _ in range(3):
        opened.accept(bytearray(b"12345"), 5, ("10.0.0.2", 1), ("10.0.0.1", PORT), 0)
    assert opened.overflowed == 1
    first = opened.receive()
    assert bytes(first.data) == b"12345"
    kept = opened.receive().data[1:]
    with pytest.raises(SimulationError, match="kept a view"):
        opened.receive()
    del kept, first


def test_a_machine_that_moves_keeps_its_connection():
    network = Network()
    server, client = network.add_machine("server"), network.add_machine("client")
    nat = Rebind(1.0, ("198.51.100.1", 7777))
    network.add_link(server, client, [nat.reverse, Delay(0.01)])
    network.add_link(client, server, [nat, Delay(0.01)])

    async def main():
        seen = []

        async def handler(connection):
            async for stream in connection.streams():
                await stream.receive()
                await asyncio.sleep(1)  # the new path is tried before it is used
                seen.append(connection.remote_address)

        running = await server.run(rudp.serve(handler, "", PORT))
        async with rudp.connect("server", PORT) as connection:
            for _ in range(2):
                stream = await connection.open_stream(unidirectional=True)
                await stream.send(b"x")
                await stream.send_eof()
                await asyncio.sleep(2)
        running.close()
        await running.wait_closed()
        return seen

    first, second = run(main(), network=network, on=client)
    assert first[0] == client.addresses[0], (first, second)
    assert second == ("198.51.100.1", 7777)


# -- programs ----------------------------------------------------------------------------------------------------------


def test_megabytes_through_loss_arrive_unaltered():
    network, server, client = pair_of(delay=0.01, loss=0.02)
    data = bytes(range(251)) * 8_000

    async def main():
        running = await server.run(rudp.serve(echo, "", PORT))
        async with rudp.connect("server", PORT) as connection:
            stream = await connection.open_stream()

            async def send():
                await stream.send(data)
                await stream.send_eof()

            sending = asyncio.create_task(send())
            assert await stream.receive_exactly(len(data)) == data
            await sending
            assert connection.stats().packets_lost > 0
        running.close()
        await running.wait_closed()

    run(main(), network=network, on=client)


def test_what_asyncio_offers_works():
    network, server, client = pair_of()

    async def handler(reader, writer):
        while line := await reader.readline():
            await asyncio.sleep(float(line))
            writer.write(line)
            await writer.drain()
        writer.close()

    async def question(seconds):
        reader, writer = await rudp.open_connection("server", PORT)
        try:
            writer.write(b"%f\n" % seconds)
            return float(await reader.readline())
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def main():
        running = await server.run(rudp.start_server(handler, "", PORT))
        assert await asyncio.gather(question(20), question(10)) == [20, 10]
        assert 20 < now() < 21
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await question(29)
        queue: asyncio.Queue[float] = asyncio.Queue()

        async def put(seconds):
            queue.put_nowait(await question(seconds))

        async with asyncio.TaskGroup() as group:
            for seconds in (3, 2, 1):
                group.create_task(put(seconds))
        assert [queue.get_nowait() for _ in range(3)] == [1, 2, 3]
        tasks = [asyncio.create_task(question(seconds)) for seconds in (5, 4)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert done == {tasks[1]}
        assert pending == {tasks[0]}
        assert [await task for task in asyncio.as_completed(pending)] == [5]
        running.close()
        running.abort_clients()
        await running.wait_closed()

    run(main(), network=network, on=client, debug=True)


def test_a_peer_that_falls_silent_is_noticed_in_its_own_time():
    network, server, client = pair_of()

    async def main():
        ended = asyncio.get_running_loop().create_future()

        async def handler(connection):
            await connection.wait_closed()

        running = await server.run(rudp.serve(handler, "", PORT))
        connection = await rudp.connect("server", PORT)

        class Cut(Node):
            def process(self, batch):
                return []

        await asyncio.sleep(1)
        network.add_link(client, server, [Cut()])
        network.add_link(server, client, [Cut()])
        stream = await connection.open_stream()
        await stream.send(b"anybody there?")
        with pytest.raises(rudp.ConnectionLost):
            await connection.wait_closed()
        assert 20 < now() < 120
        ended.cancel()
        running.close()
        running.abort_clients()
        await running.wait_closed()

    run(main(), network=network, on=client)


def test_cancelling_a_program_on_a_machine_cancels_it():
    network, server, client = pair_of()

    async def main():
        async def program():
            async with rudp.connect("server", PORT) as connection:
                await asyncio.sleep(1000)
                await connection.close()

        running = await server.run(rudp.serve(echo, "", PORT))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.run(program()), 5)
        assert now() == 5.0
        await asyncio.sleep(1)
        assert running.stats().connections == 0
        running.close()
        await running.wait_closed()

    run(main(), network=network)


def test_data_left_behind_warns_as_on_a_real_loop():
    network, server, client = pair_of()

    async def main():
        async def handler(connection):
            await asyncio.Event().wait()

        await server.run(rudp.serve(handler, "", PORT, config=rudp.Config(initial_receive_window=4096)))
        _, writer = await rudp.open_connection("server", PORT)
        writer.write(bytes(100_000))
        writer.close()
        await asyncio.sleep(1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main(), network=network, on=client)
        gc.collect()
    assert [w for w in caught if w.category is ResourceWarning and "unacknowledged data" in str(w.message)]


class Recorder(asyncio.DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got: list[object] = []

    def datagram_received(self, data, addr):
        self.got.append(data)

    def error_received(self, exc):
        self.got.append(type(exc))

    def connection_lost(self, exc):
        self.got.append("lost")


def test_plain_udp_runs_beside_and_loses_what_the_link_loses():
    network, server, client = pair_of(loss=0.5)

    async def main():
        loop = asyncio.get_running_loop()
        there, received = await server.run(loop.create_datagram_endpoint(Recorder, local_addr=("0.0.0.0", PORT)))
        here, _ = await loop.create_datagram_endpoint(Recorder, remote_addr=("server", PORT))
        assert here.get_extra_info("peername") == ("10.0.0.1", PORT)
        for number in range(100):
            here.sendto(b"%d" % number)
        here.sendto(b"")
        await asyncio.sleep(1)
        assert 30 < len(received.got) < 70
        here.close()
        there.close()
        await asyncio.sleep(0)
        assert received.got[-1] == "lost"

    run(main(), network=network, on=client)


def test_plain_udp_hears_of_refusals_and_of_what_does_not_fit():
    network, _, client = pair_of()

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Recorder, remote_addr=("server", PORT))
        transport.sendto(bytes(70_000))
        transport.sendto(b"anybody?")
        with pytest.raises(ValueError, match="Invalid address"):
            transport.sendto(b"x", ("10.0.0.9", 1))
        await asyncio.sleep(1)
        assert protocol.got == [OSError, ConnectionRefusedError]
        transport.abort()
        await asyncio.sleep(0)

    run(main(), network=network, on=client)


def test_a_trace_shows_the_windows_of_programs_connections_and_changes_nothing():
    async def main():
        async with await server.run(rudp.serve(echo, "", PORT)):
            async with rudp.connect("server", PORT) as connection:
                await ask(connection)

    digests = []
    file = io.StringIO()
    for traced in (False, True):
        network, server, client = pair_of()
        with network.trace(file) if traced else contextlib.nullcontext():
            run(main(), network=network, on=client)
        digests.append(network.digest())
    assert digests[0] == digests[1]
    assert file.getvalue().count("packet_received") >= 4
    assert "congestion_window" in file.getvalue()


def test_what_a_program_raises_says_seed_and_time():
    async def main():
        await asyncio.sleep(2)
        raise LookupError("mine")

    with pytest.raises(LookupError) as caught:
        run(main(), network=Network("the seed"))
    assert caught.value.__notes__ == ["in a simulation with seed 'the seed', at 2.0 s"]


# -- the same run again ------------------------------------------------------------------------------------------------

MANY = """
import asyncio, sys
import rudp, rudp.sim
from rudp.sim import Delay, Jitter, Loss, Network

elsewhere = [object() for _ in range(int(sys.argv[2]))]  # objects made from here on lie at other addresses
network = Network(seed=int(sys.argv[1]))
server = network.add_machine("server")
clients = [network.add_machine(f"client{number}") for number in range(3)]
for client in clients:
    for source, destination in ((client, server), (server, client)):
        network.add_link(source, destination, [Jitter(0.02), Delay(0.02), Loss(0.05)])
log = []

async def handler(connection):
    async for stream in connection.streams():
        data = await stream.receive()
        log.append((asyncio.get_running_loop().time(), connection.remote_address, data))
        await stream.send(data.upper())
        await stream.send_eof()

async def ask(connection, text):
    async with await connection.open_stream() as stream:  # reset when cancelled
        await stream.send(text.encode())
        await stream.send_eof()
        try:
            while await stream.receive():
                pass
        finally:
            log.append(text)

async def use(number):
    async with rudp.connect("server", 4433) as connection:
        for turn in range(5):
            async with asyncio.TaskGroup() as group:
                for part in "abcd":
                    group.create_task(ask(connection, f"{number} {turn} {part}"))
            await asyncio.sleep(0.5)
        async with asyncio.TaskGroup() as group:
            for part in "abcdefghijklmnop":
                group.create_task(asyncio.wait_for(ask(connection, f"late {part}"), 0.001 if part == "a" else 100))

async def main():
    await server.run(rudp.serve(handler, "", 4433))
    done, _ = await asyncio.wait([client.create_task(use(n)) for n, client in enumerate(clients)])
    log.extend(sorted(repr(task.exception()) for task in done))

rudp.sim.run(main(), network=network)
print(network.digest(), network.now, log)
"""


def outcome(seed: int, hash_seed: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(seed), str(hash_seed * 101)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_seed_gives_the_same_bytes_at_the_same_instants_under_any_hash_seed():
    first = outcome(1, 1)
    assert "TimeoutError" in first
    assert first == outcome(1, 2) == outcome(1, 3)
    assert first.split()[0] != outcome(2, 1).split()[0]


def test_an_idle_hour_with_keepalive_costs_its_keepalives():
    network, server, client = pair_of()

    async def main():
        running = await server.run(rudp.serve(echo, "", PORT))
        async with rudp.connect("server", PORT, config=rudp.Config(keepalive=10.0)):
            await asyncio.sleep(3600)
            assert running.stats().connections == 1
            turns = asyncio.get_running_loop().turns
        running.close()
        await running.wait_closed()
        return turns

    turns = run(main(), network=network, on=client)
    # 360 keepalives and their acknowledgements.
    assert 360 < turns < 360 * 12
    assert network.events < 360 * 12


def test_an_hour_of_a_small_request_every_second_costs_its_requests():
    network, server, client = pair_of(loss=0.01)

    async def main():
        running = await server.run(rudp.serve(echo, "", PORT))
        async with rudp.connect("server", PORT) as connection:
            stream = await connection.open_stream()
            while now() < 3600:
                await stream.send(b"request")
                assert await stream.receive_exactly(7) == b"request"
                await asyncio.sleep(1)
            await stream.send_eof()
            assert await stream.receive() == b""
        running.close()
        await running.wait_closed()
        return asyncio.get_running_loop().turns

    turns = run(main(), network=network, on=client)
    assert 3400 < turns < 3600 * 20
    assert network.events < 3600 * 10


def test_the_benchmark_of_an_hour_runs(capsys):
    virtual_hour.main(["--seconds", "30", "--bulk-seconds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:24].strip() for line in lines[1:]] == ["idle, keepalive 10 s", "a request a second", "10 Mbit/s"]


# -- programs that know nothing of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["echo_rudp.py", "echo_udp.py", "streams.py"])
def test_an_example_runs_as_it_is(name, monkeypatch, capsys):
    monkeypatch.setattr(asyncio, "run", run)
    runpy.run_path(str(ROOT / "docs" / "examples" / name), run_name="__main__")
    output = capsys.readouterr().out
    assert "echo: one\necho: two\necho: three\n" in output or "answer: FIRST" in output


@pytest.mark.parametrize("transport", ["rudp", "udp"])
def test_the_command_s_echo_runs_between_machines(transport, capfd):
    network, server, client = pair_of(delay=1.0)

    async def main():
        serving = server.create_task(echo_command._serve(transport, "0.0.0.0", PORT))
        words = ("across", "the", "network")
        await client.run(echo_command._echo(transport, "server", PORT, 10.0, words))
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    run(main(), network=network)
    output = capfd.readouterr()
    assert "across the network\n" in output.out
    assert "1 message, 19 bytes echoed by server:4433" in output.err
    assert "2.0 s each" in output.err or "2.00 s each" in output.err
