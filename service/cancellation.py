"""Waiting for what cannot be stopped half way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["run_to_completion"]

T = TypeVar("T")


async def run_to_completion(work: Awaitable[T]) -> T:
    """Wait until the work has ended, however often the one who waits is cancelled meanwhile.

    One cancelling is not all that may come: Ray Serve sends another after the client's.

    Parameters
    ----------
    work
        What must not be left half way, such as a credit being given back.

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
