"""Waiting for what cannot be stopped half way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["unbroken"]

T = TypeVar("T")


async def unbroken(work: Awaitable[T]) -> T:
    """Wait for work to its end, however often the one who waits is cancelled meanwhile; only then is it so.

    One cancellation is not all that may come: Ray Serve sends its own after the client's.

    Parameters
    ----------
    work
        What is cheap to end and wrong to leave, such as a credit being given back.

    Raises
    ------
    asyncio.CancelledError
        The one who waits was cancelled; the work has ended by then, well or not.
    """
    task = asyncio.ensure_future(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()
