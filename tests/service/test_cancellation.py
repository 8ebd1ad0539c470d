"""Work that ends although the one who waits for it is cancelled, once or more often."""

from __future__ import annotations

import asyncio

import pytest

from automask.service.cancellation import run_to_completion


async def fail() -> None:
    raise ValueError("of the work")


async def wait(event: asyncio.Event) -> str:
    await event.wait()
    return "done"


def test_what_comes_of_the_work_is_given() -> None:
    assert asyncio.run(run_to_completion(asyncio.sleep(0, "done"))) == "done"
    with pytest.raises(ValueError, match="of the work"):
        asyncio.run(run_to_completion(fail()))


@pytest.mark.parametrize("times", [1, 2, 5])
def test_it_is_waited_for_however_often_the_waiting_is_cancelled(times: int) -> None:
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


def test_an_error_of_the_work_is_the_cause_told_with_the_cancelling() -> None:
    async def main() -> None:
        waiting = asyncio.create_task(run_to_completion(fail()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        assert isinstance(caught.value.__cause__, ValueError)

    asyncio.run(main())
