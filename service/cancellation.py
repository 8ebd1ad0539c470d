"""Waiting for work on other threads, and for work that must end before its caller goes on.

`asyncio.to_thread` and `asyncio.wrap_future` leave each result in a reference cycle, with an image in it until the
garbage collector runs; `run_in_thread` and `wait_for` do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import ParamSpec, TypeVar

__all__ = ["StoppedError", "run_in_thread", "run_to_completion", "run_until", "wait_for"]

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 8  # that decode bodies


class StoppedError(Exception):
    """Work was stopped before it ended."""


async def run_to_completion(work: Awaitable[T]) -> T:
    """Wait until the work has ended, however often the caller is cancelled meanwhile.

    A caller can be cancelled more than once: Ray Serve cancels again after the client did.

    Parameters
    ----------
    work
        Work that must not be left half done, such as the refund of a credit.

    Raises
    ------
    asyncio.CancelledError
        The caller was cancelled. The work has ended, with a result or an error.
    """
    running = asyncio.ensure_future(work)
    cancelled = None
    while not running.done():
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if running.cancelled() else running.exception())
    return running.result()


async def run_until(stop: Awaitable[object], work: Awaitable[T]) -> T:
    """Return the result of the work, unless `stop` ends first. Both have ended when this returns or raises.

    Parameters
    ----------
    stop
        Ends the work by ending itself. It is cancelled once the work has ended.
    work
        The work. It is cancelled once `stop` has ended; if both end at once, its result counts.

    Raises
    ------
    StoppedError
        `stop` ended first.
    """
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop)
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise StoppedError
        return await working
    finally:
        working.cancel()
        stopping.cancel()
        await run_to_completion(asyncio.wait((working, stopping)))  # an async generator cannot be closed while it runs


async def wait_for(future: Future[T] | asyncio.Future[T]) -> T:
    """Return the result of a future; cancelling the caller does not cancel one of another thread."""
    if isinstance(future, asyncio.Future):
        return await future
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wake(_: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nothing waits any more
            loop.call_soon_threadsafe(ended.set)

    future.add_done_callback(wake)
    await ended.wait()
    if future.cancelled():
        raise asyncio.CancelledError
    return future.result()


async def run_in_thread(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run a call on a thread and return its result; cancelling the caller does not stop the thread."""
    return await wait_for(_threads().submit(call, *arguments, **named))


@cache
def _threads() -> Executor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="automask-body")
