"""How runs of asyncio programs end that would go on for ever: what they leave behind can clean up."""

from __future__ import annotations

import asyncio

import pytest

from rudp.sim import Network, Stalled, TooManyEvents, run


async def clean_up(done: list[str], seconds: float) -> None:
    """Wait for ever, and take some time to end."""
    try:
        await asyncio.sleep(1e9)
    finally:
        await asyncio.sleep(seconds)
        done.append("clean")


def test_tasks_are_cancelled_after_a_loop_that_lets_no_time_pass():
    done: list[str] = []

    async def main():
        task = asyncio.create_task(clean_up(done, 0.0))
        while not task.done():
            await asyncio.sleep(0)

    with pytest.raises(Stalled, match="time stands still") as caught:
        run(main(), network=Network(7))
    assert done == ["clean"]
    assert caught.value.__notes__ == ["in a simulation with seed 7, at 0.0 s"]


def test_tasks_have_time_to_clean_up_after_too_many_events():
    done: list[str] = []

    async def main():
        task = asyncio.create_task(clean_up(done, 5.0))
        while not task.done():
            await asyncio.sleep(1)

    with pytest.raises(TooManyEvents) as caught:
        run(main(), network=Network(7), max_events=1000)
    assert done == ["clean"]
    assert len(caught.value.__notes__) == 1


def test_a_clean_up_without_end_is_stopped_too():
    async def main():
        try:
            await asyncio.sleep(1e9)
        finally:
            while True:
                await asyncio.sleep(0)

    async def outer():
        task = asyncio.create_task(main())
        await asyncio.sleep(1)
        task.cancel()
        await task

    with pytest.raises(Stalled, match="time stands still"):
        run(outer())
