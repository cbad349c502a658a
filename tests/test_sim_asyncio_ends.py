"""How runs of asyncio programs end that would go on for ever: what they leave behind can clean up."""

from __future__ import annotations

import asyncio
import signal

import pytest

import rudp
from rudp.sim import Datagram, Delay, Network, Stalled, Tap, TooManyEvents, run


async def clean_up(done: list[str], seconds: float) -> None:
    """Wait for ever, and take some time to end."""
    try:
        await asyncio.sleep(1e9)
    finally:
        await asyncio.sleep(seconds)
        done.append("clean")


async def look_after(done: list[str], seconds: float, *, every: float) -> None:
    """Look at that again and again until it has ended, as it never does."""
    task = asyncio.create_task(clean_up(done, seconds))
    while not task.done():
        await asyncio.sleep(every)


def test_tasks_are_cancelled_after_a_loop_that_lets_no_time_pass():
    done: list[str] = []
    with pytest.raises(Stalled, match="time stands still") as caught:
        run(look_after(done, 0.0, every=0), network=Network(7))
    assert done == ["clean"]
    assert caught.value.__notes__ == ["in a simulation with seed 7, at 0.0 s"]


def test_tasks_have_time_to_clean_up_after_too_many_events():
    done: list[str] = []
    with pytest.raises(TooManyEvents) as caught:
        run(look_after(done, 5.0, every=1), network=Network(7), max_events=1000)
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


@pytest.mark.parametrize("first", [True, False])
def test_what_a_node_raises_ends_the_run_wherever_it_is_on_the_way(first: bool):
    def fail(time: float, datagram: Datagram) -> None:
        raise ZeroDivisionError(f"{time:.2f} s, {len(datagram.data)} bytes")

    network = Network(7)
    client, server = network.add_machine("client"), network.add_machine("server")
    network.add_link(client, server, [Tap(fail), Delay(0.25)] if first else [Delay(0.25), Tap(fail)])

    async def main() -> None:
        await asyncio.sleep(1)
        await rudp.connect("server", 4433)

    with pytest.raises(ZeroDivisionError, match="1.00 s" if first else "1.25 s") as caught:
        run(main(), network=network, on=client)
    assert len(caught.value.__notes__) == 1


@pytest.mark.parametrize(("times", "goes_on"), [(1, True), (2, False)])
def test_ctrl_c_in_what_a_thread_would_do_ends_the_run(
    times: int, goes_on: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As asyncio.run has it: the first cancels the program while the thread goes on, the second ends all at once."""
    done = []

    def work() -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        done.append("work")

    async def main() -> None:
        try:
            await asyncio.to_thread(work)
        finally:
            done.append("clean")

    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert done == (["work", "clean"] if goes_on else ["clean"])
    assert not caplog.messages
