"""A waiter as tasks see it: who waits goes on at once, can be cancelled, and never runs inside another task."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from rudp.aio.waiter import Waiter, wake
from tests.test_aio import run

pytestmark = pytest.mark.usefixtures("each_loop")


def test_who_waits_goes_on_before_wake_returns():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        seen: list[str] = []

        async def reader() -> None:
            await waiter
            seen.append("woken")
            await asyncio.sleep(0)
            seen.append("later")

        task = asyncio.create_task(reader())
        await asyncio.sleep(0)
        answers: list[Any] = []

        def from_a_callback() -> None:
            answers.extend([wake(waiter), list(seen), waiter.done(), wake(waiter)])

        loop.call_soon(from_a_callback)
        await task
        assert answers == [True, ["woken"], True, True]
        assert seen == ["woken", "later"]

    run(main())


def test_within_a_task_the_other_goes_on_in_the_next_turn():
    async def main() -> None:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        seen: list[asyncio.Task[Any] | None] = []

        async def reader() -> None:
            await waiter
            seen.append(asyncio.current_task())

        task = asyncio.create_task(reader())
        await asyncio.sleep(0)
        assert not wake(waiter)
        assert not seen
        await task
        assert seen == [task]

    run(main())


def test_context_variables_are_those_of_who_waits():
    name = contextvars.ContextVar("name", default="none")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()

        async def reader() -> str:
            name.set("reader")
            await waiter
            return name.get()

        task = asyncio.create_task(reader())
        await asyncio.sleep(0)
        loop.call_soon(wake, waiter)
        assert await task == "reader"
        assert name.get() == "none"

    run(main())


def test_a_callback_in_the_context_of_who_waits_wakes_it_in_the_next_turn():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        context = contextvars.copy_context()
        seen: list[Any] = []

        async def reader() -> None:
            await waiter
            seen.append("woken")

        task = loop.create_task(reader(), context=context)
        await asyncio.sleep(0)
        loop.call_soon(lambda: seen.extend([wake(waiter), len(seen)]), context=context)
        await asyncio.wait_for(task, 5)
        assert seen == [False, 0, "woken"]

    run(main())


@pytest.mark.parametrize("wake_too", [False, True])
def test_cancelled_it_raises_and_a_wake_changes_nothing(wake_too):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        task = asyncio.create_task(_wait(waiter))
        await asyncio.sleep(0)
        task.cancel("enough")
        assert waiter.done()
        if wake_too:
            loop.call_soon(wake, waiter)
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert not waiter.cancel()

    run(main())


def test_cancelled_before_it_began_to_wait():
    async def main() -> None:
        waiter: Waiter = asyncio.get_running_loop().create_future()

        async def reader() -> None:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
            await waiter

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(reader())
        assert waiter.done()

    run(main())


def test_woken_before_anyone_waits_it_does_not_wait():
    async def main() -> None:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        assert not wake(waiter)
        await asyncio.wait_for(_wait(waiter), 5)

    run(main())


def test_a_timeout_ends_the_wait():
    async def main() -> None:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await waiter
        assert waiter.done()

    run(main())


async def _wait(waiter: Waiter) -> None:
    await waiter
