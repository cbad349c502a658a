"""asyncio's datagram transports in virtual time where a protocol fails: as on a real loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from rudp.sim import Machine, Network, run

HERE = ("127.0.0.1", 4433)
FIVE = [b"%d" % number for number in range(5)]


class Protocol(asyncio.DatagramProtocol):
    """Notes what comes, and then does something about it."""

    def __init__(self, then: Callable[[bytes], object] = len) -> None:
        self.got: list[bytes] = []
        self.then = then
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr
        self.got.append(data)
        self.then(data)


def merged() -> dict[str, Any]:
    """A network whose machine gets all that comes at one instant in one buffer."""
    network = Network(1)
    return {"network": network, "on": network.add_machine("machine", merging=1.0)}


async def receive_five(protocol: Protocol) -> asyncio.DatagramTransport:
    """Send five datagrams to a protocol, in one go."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: protocol, HERE)
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=HERE)
    for data in FIVE:
        sender.sendto(data)
    await asyncio.sleep(1)
    sender.close()
    return transport


def test_what_a_protocol_raises_costs_it_no_other_datagram():
    def fail(data: bytes) -> None:
        raise ValueError(data)

    problems: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        protocol = Protocol(fail)
        (await receive_five(protocol)).close()
        assert protocol.got == FIVE

    run(main(), **merged())
    assert [problem["exception"].args[0] for problem in problems] == FIVE


def test_who_closes_gets_nothing_more():
    async def main() -> None:
        protocol = Protocol(lambda data: data == b"2" and protocol.transport.close())
        await receive_five(protocol)
        assert protocol.got == FIVE[:3]

    run(main(), **merged())


def test_a_protocol_that_fails_at_once_leaves_the_port_free():
    def fail() -> asyncio.DatagramProtocol:
        raise ValueError("no protocol")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(2):
            with pytest.raises(ValueError, match="no protocol"):
                await loop.create_datagram_endpoint(fail, HERE)

    run(main())


def test_a_protocol_that_fails_when_it_is_connected_is_told_of_and_goes_on():
    class Failing(Protocol):
        def connection_made(self, transport: Any) -> None:
            raise ValueError("at once")

    problems: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        protocol = Failing()
        (await receive_five(protocol)).close()
        assert protocol.got == FIVE

    run(main(), **merged())
    assert [str(problem["exception"]) for problem in problems] == ["at once"]


def test_a_transport_that_nobody_has_any_more_leaves_its_port_free():
    network = Network(1)
    machine: Machine = network.add_machine("machine")

    async def main() -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(Protocol, HERE)

    def twice() -> None:
        for _ in range(2):
            run(main(), network=network, on=machine)
            gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed transport"):
        twice()
