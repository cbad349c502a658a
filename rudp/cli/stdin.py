"""Standard input without blocking the event loop, on every platform.

Knows: that a terminal, a pipe and a file are read alike by a thread, and that the thread must never hold the
program up at its end. Refuses to know: what is read. Reads only when asked, and no more than asked for.
"""

from __future__ import annotations

import asyncio
import io
import os
import queue
import sys
import threading

__all__ = ["StandardInput"]

CHUNK = 65536


class StandardInput:
    """Read chunks, or lines, of standard input."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[asyncio.Future[bytes]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._rest = bytearray()
        self._ended = False

    async def read(self) -> bytes:
        """Return what there is, up to 64 KiB, and b"" at the end. Raises OSError."""
        if self._thread is None:
            # os.read takes no lock that the interpreter would wait for when it ends in mid-read.
            self._thread = threading.Thread(target=self._serve, name="stdin", daemon=True)
            self._thread.start()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._requests.put(answer)
        return await answer

    async def readline(self, limit: int) -> bytes:
        """Return a line with its end, or `limit` bytes of a longer one, and b"" at the end of input."""
        while b"\n" not in self._rest and len(self._rest) < limit and not self._ended:
            chunk = await self.read()
            self._rest += chunk
            self._ended = not chunk
        stop = self._rest.find(b"\n", 0, limit) + 1 or min(limit, len(self._rest))
        line = bytes(self._rest[:stop])
        del self._rest[:stop]
        return line

    def _serve(self) -> None:
        while True:
            answer = self._requests.get()
            loop = answer.get_loop()
            try:
                data, error = self._read_blocking(), None
            except (OSError, ValueError) as problem:
                data, error = b"", problem if isinstance(problem, OSError) else OSError(str(problem))
            try:
                loop.call_soon_threadsafe(_settle, answer, data, error)
            except RuntimeError:
                return

    @staticmethod
    def _read_blocking() -> bytes:
        if sys.stdin is None:
            return b""
        try:
            descriptor = sys.stdin.fileno()
        except io.UnsupportedOperation:
            return sys.stdin.buffer.read(CHUNK)
        return os.read(descriptor, CHUNK)


def _settle(answer: asyncio.Future[bytes], data: bytes, error: OSError | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(data)
