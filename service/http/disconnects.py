"""Disconnects of HTTP clients."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from automask.errors import CancelledError

from ..cancellation import StoppedError, run_until

__all__ = ["unless_disconnected"]

T = TypeVar("T")


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run work for a client; cancel it if the client disconnects.

    Parameters
    ----------
    request
        Request of the client, whose body has been read.
    work
        Coroutine to run.

    Raises
    ------
    CancelledError
        The client disconnected.
    """
    try:
        return await run_until(_disconnected(request), work)
    except StoppedError:
        raise CancelledError("the client disconnected") from None


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass  # the rest of a body
