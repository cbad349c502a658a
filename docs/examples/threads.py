"""rudp from a program of threads: one event loop in a thread of its own, which the other threads hand work to.

rudp's objects belong to the loop they were made on. `asyncio.run_coroutine_threadsafe` is the door from other threads;
nothing else of rudp may be called from there. Run it: python docs/examples/threads.py
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import rudp


class LoopThread:
    """An event loop in a thread, from `with` to its end."""

    def __enter__(self) -> asyncio.AbstractEventLoop:
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(started),), name="network")
        self._thread.start()
        self._loop = started.result()
        return self._loop

    async def _main(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._stop = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await self._stop.wait()

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's side of one connection."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def ask(port: int, text: str) -> str:
    """One connection, one exchange; runs on the loop's thread."""
    reader, writer = await rudp.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return f"{answer.decode()} (on thread {threading.current_thread().name})"


def main() -> None:
    """Four worker threads that block on their own exchanges while one thread does all the network's work."""
    with LoopThread() as loop:
        server = asyncio.run_coroutine_threadsafe(rudp.start_server(echo, "127.0.0.1", 0), loop).result(10)
        port = server.local_address[1]

        def work(number: int) -> str:
            return asyncio.run_coroutine_threadsafe(ask(port, f"worker {number}"), loop).result(10)

        with ThreadPoolExecutor(4) as workers:
            for line in workers.map(work, range(4)):
                print(line)

        async def stop() -> None:
            server.close()
            await server.wait_closed()

        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)


if __name__ == "__main__":
    main()
