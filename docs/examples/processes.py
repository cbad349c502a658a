"""rudp in several processes: each has its own event loop, its own socket and its own endpoint.

This is for processes of your own; for a server in several processes on one port see workers.py. Nothing of a connection
can be shared between processes or sent to another one. Here each process serves on a port of its own, and the parent
asks each. Run it: python docs/examples/processes.py
"""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection as Pipe

import rudp

PROCESSES = 2


async def serve(worker: int, parent: Pipe) -> None:
    """One process: tell the parent the port, serve until it says stop."""

    async def handle(connection: rudp.Connection) -> None:
        stream = await connection.accept_stream()
        question = await stream.receive_exactly(3)
        await stream.send(f"{question.decode()} from process {worker}".encode())
        await stream.send_eof()

    # The worker's number goes into the connection ids it draws, so that ids of several processes never collide.
    config = rudp.Config(worker=worker)
    async with await rudp.serve(handle, "127.0.0.1", 0, config=config) as server:
        parent.send(server.local_address[1])
        await asyncio.to_thread(parent.recv)


def run(worker: int, parent: Pipe) -> None:
    """What a child process does."""
    asyncio.run(serve(worker, parent))


async def ask(port: int) -> str:
    """One exchange with one process."""
    async with rudp.connect("127.0.0.1", port) as connection:
        stream = await connection.open_stream()
        await stream.send(b"hi!")
        parts = []
        while data := await stream.receive():
            parts.append(data)
        return b"".join(parts).decode()


def main() -> None:
    """Start the processes, ask each, stop them."""
    # "spawn" starts from nothing: a fork would copy sockets and loops of the parent into the child.
    context = multiprocessing.get_context("spawn")
    children = []
    for worker in range(PROCESSES):
        ours, theirs = context.Pipe()
        process = context.Process(target=run, args=(worker, theirs))
        process.start()
        theirs.close()
        children.append((process, ours))
    for _, pipe in children:
        print(asyncio.run(ask(pipe.recv())))
    for process, pipe in children:
        pipe.send("stop")
        pipe.close()
        process.join(20)
        print("exit status", process.exitcode)


if __name__ == "__main__":
    main()
