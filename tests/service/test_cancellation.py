"""Work that ends before its caller goes on."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from automask.service.cancellation import StoppedError, run_in_thread, run_to_completion, run_until, wait_for


async def fail() -> None:
    raise ValueError("of the work")


async def wait(event: asyncio.Event) -> str:
    await event.wait()
    return "done"


def test_the_result_or_error_of_the_work_is_returned() -> None:
    assert asyncio.run(run_to_completion(asyncio.sleep(0, "done"))) == "done"
    with pytest.raises(ValueError, match="of the work"):
        asyncio.run(run_to_completion(fail()))


@pytest.mark.parametrize("times", [1, 2, 5])
def test_the_work_ends_however_often_its_caller_is_cancelled(times: int) -> None:
    async def main() -> None:
        event = asyncio.Event()
        work = asyncio.create_task(wait(event))
        waiting = asyncio.create_task(run_to_completion(work))
        for _ in range(times):
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        event.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert work.result() == "done"

    asyncio.run(main())


def test_an_error_of_the_work_is_the_cause_of_the_cancellation() -> None:
    async def main() -> None:
        waiting = asyncio.create_task(run_to_completion(fail()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        assert isinstance(caught.value.__cause__, ValueError)

    asyncio.run(main())


def test_work_that_ends_before_the_stop_has_its_result() -> None:
    async def main() -> None:
        stop, stopping = asyncio.Event(), asyncio.Event()

        async def until_stopped() -> None:
            try:
                await stop.wait()
            finally:
                stopping.set()

        assert await run_until(until_stopped(), asyncio.sleep(0, "done")) == "done"
        assert stopping.is_set(), "the wait for the stop has ended too"
        with pytest.raises(ValueError, match="of the work"):
            await run_until(stop.wait(), fail())

    asyncio.run(main())


def test_a_stop_ends_the_work_before_the_caller_goes_on() -> None:
    async def main() -> None:
        events = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                events.append("cleaned up")

        with pytest.raises(StoppedError):
            await run_until(asyncio.sleep(0), work())
        assert events == ["cleaned up"]

    asyncio.run(main())


def test_if_work_and_stop_end_at_once_the_result_counts() -> None:
    async def main() -> None:
        event = asyncio.Event()
        running = asyncio.create_task(run_until(event.wait(), wait(event)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        event.set()
        assert await running == "done"

    asyncio.run(main())


def test_a_caller_that_is_cancelled_leaves_nothing_running() -> None:
    async def main() -> None:
        event = asyncio.Event()
        work, stop = asyncio.ensure_future(wait(event)), asyncio.ensure_future(event.wait())
        caller = asyncio.create_task(run_until(stop, work))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert work.cancelled()
        assert stop.cancelled()

    asyncio.run(main())


def test_a_call_on_a_thread_returns_or_raises_what_it_did() -> None:
    assert asyncio.run(run_in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_in_thread(divmod, 7, 0))


def test_a_future_that_is_cancelled_cancels_those_who_wait_for_it() -> None:
    async def main() -> None:
        future: Future[None] = Future()
        waiting = asyncio.create_task(wait_for(future))
        await asyncio.sleep(0)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert waiting.cancelled()

    asyncio.run(main())


def test_a_caller_that_is_cancelled_leaves_the_future_alone() -> None:
    async def main() -> None:
        future: Future[str] = Future()
        waiting = asyncio.create_task(wait_for(future))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        future.set_result("done")
        assert await wait_for(future) == "done"

    asyncio.run(main())
