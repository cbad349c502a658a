"""How to test a program of one's own on the simulated network: minutes of waiting cost nothing, a seed finds it again.

`fetch` is the program. The tests are for pytest (`pytest docs/examples/sim_own_test.py`), and need nothing of it.
Run it: python docs/examples/sim_own_test.py
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import rudp
from rudp.sim import Delay, GilbertElliott, Loss, Machine, Network, Node, run


async def fetch(host: str, port: int, name: str, *, tries: int = 6) -> bytes:
    """The program under test: a file from a server, with patience. Waits 5, 10, 20, ... seconds between its tries."""
    for number in range(tries):
        with suppress(OSError):
            async with asyncio.timeout(60), rudp.connect(host, port) as connection:
                stream = connection.main_stream
                await stream.send(name.encode())
                await stream.send_eof()
                parts = []
                while part := await stream.receive():
                    parts.append(part)
                return b"".join(parts)
        await asyncio.sleep(5 * 2**number)
    raise TimeoutError(f"no {name} from {host} after {tries} tries")


async def answer(connection: rudp.Connection) -> None:
    """A server to test it with."""
    stream = await connection.accept_stream()
    name = b""
    while part := await stream.receive():
        name += part
    await stream.send(name.upper() * 10_000)
    await stream.send_eof()


def network_of(seed: int, *nodes: Node) -> tuple[Network, Machine, Machine]:
    """A server and a client, 20 ms apart."""
    network = Network(seed)
    server, client = network.add_machine("server"), network.add_machine("client")
    network.add_link(client, server, [Delay(0.02), *nodes])
    network.add_link(server, client, [Delay(0.02), Loss(0.02)])
    return network, server, client


def test_a_server_that_comes_up_late_is_waited_for() -> None:
    """Refused four times; the fifth try is 75 s after the first."""
    network, server, client = network_of(1)

    async def main() -> None:
        fetching = client.create_task(fetch("server", 80, "name"))
        await asyncio.sleep(60)
        async with await server.run(rudp.serve(answer, "0.0.0.0", 80)):
            assert await fetching == b"NAME" * 10_000
        assert 75 < network.now < 80

    run(main(), network=network)


def test_a_server_that_never_comes_up_is_given_up() -> None:
    """After five minutes and a quarter, which pass at once."""
    network, _, client = network_of(1)

    async def main() -> None:
        try:
            await fetch("server", 80, "name")
        except TimeoutError:
            pass
        else:
            raise AssertionError("nobody could have answered")
        assert 315 < network.now < 320

    run(main(), network=network, on=client)


def test_bursts_of_loss_do_no_harm() -> None:
    """The same with 20 seeds. A failure says its seed; `Network(seed)` is the same run again."""
    for seed in range(20):
        network, server, client = network_of(seed, GilbertElliott(0.05, 0.3))

        async def main(server: Machine = server, client: Machine = client) -> None:
            async with await server.run(rudp.serve(answer, "0.0.0.0", 80)):
                assert await client.run(fetch("server", 80, "name")) == b"NAME" * 10_000

        run(main(), network=network)


if __name__ == "__main__":
    for test in (
        test_a_server_that_comes_up_late_is_waited_for,
        test_a_server_that_never_comes_up_is_given_up,
        test_bursts_of_loss_do_no_harm,
    ):
        test()
        print(f"{test.__name__}: passed")
