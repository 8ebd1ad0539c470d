"""Waiting for work that must end before its caller goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["StoppedError", "run_to_completion", "run_until"]

T = TypeVar("T")


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
