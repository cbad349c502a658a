"""An echo server and its client over UDP, with asyncio. Compare echo_tcp.py and echo_rudp.py.

There is no connection and no stream: the server sees datagrams and their senders, and what is lost stays lost. So the
client has to bring what TCP and rudp have built in: a number for each message, a timeout, and a limit of tries.

Run it: python docs/examples/echo_udp.py
"""

from __future__ import annotations

import asyncio

Address = tuple[str, int]
TRIES = 5
SECONDS = 0.5


class Echo(asyncio.DatagramProtocol):
    """The server: every datagram goes back to where it came from."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the transport to answer on."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """One datagram."""
        self.transport.sendto(data, addr)


class Answers(asyncio.DatagramProtocol):
    """The client's side: a queue of what came."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """One datagram."""
        del addr
        self.queue.put_nowait(data)


async def exchange(transport: asyncio.DatagramTransport, answers: Answers, message: bytes) -> bytes:
    """Send until the answer comes. Answers to earlier messages may still arrive: they are passed over."""
    for _ in range(TRIES):
        transport.sendto(message)
        try:
            async with asyncio.timeout(SECONDS):
                while (answer := await answers.queue.get()) != message:
                    pass
            return answer
        except TimeoutError:
            continue
    raise TimeoutError(f"no echo after {TRIES} tries")


async def client(port: int) -> None:
    """Send three lines, one after the other, and print what comes back."""
    loop = asyncio.get_running_loop()
    transport, answers = await loop.create_datagram_endpoint(Answers, remote_addr=("127.0.0.1", port))
    for number, text in enumerate(("one", "two", "three")):
        answer = await exchange(transport, answers, f"{number} {text}".encode())
        print("echo:", answer.decode().split()[1])
    transport.close()


async def main() -> None:
    """Server and client in one loop."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    await client(transport.get_extra_info("sockname")[1])
    transport.close()


asyncio.run(main())
