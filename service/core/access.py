"""Authorization: keys, models, rate limits, credits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import structlog

from ..cancellation import run_to_completion
from ..errors import OutOfCreditsError, UnauthenticatedError, UnavailableError
from ..keys.key import Key
from ..keys.protocol import KeyStore
from ..keys.rate_limits import Rate, RateLimiter

__all__ = ["OPEN", "Access"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)

OPEN = Key(name="", credits=None, rate=None, models=(), created=0.0)
"""The key of every caller on a server without keys."""

_RETRY_SECONDS = 1.0  # between attempts to refund a credit
_LOOKS = Rate(1, "s")  # of a key whose tasks cost credits but have no rate limit
_COST = 1  # credits for a task: like the hosted API, by calls and not by time


class Access:
    """Authenticates callers, and authorizes what they ask for.

    Parameters
    ----------
    keys
        The keys; None lets anyone call.
    """

    def __init__(self, keys: KeyStore | None) -> None:
        self._keys = keys
        self._tasks = None if keys is None else keys.limiter("tasks")
        self._fetches = None if keys is None else keys.limiter("fetches")
        self._looks = None if keys is None else keys.limiter("looks")
        self._refunding: set[asyncio.Task[None]] = set()

    async def _call(self, call: Callable[..., T], *arguments: object) -> T:
        """Call the keys, on a thread if they are behind a network."""
        if self._keys is not None and self._keys.is_remote:
            return await asyncio.to_thread(call, *arguments)
        return call(*arguments)

    async def _take_token(self, limiter: RateLimiter | None, key: Key, rate: Rate | None) -> None:
        if limiter is not None and rate is not None:
            await asyncio.to_thread(limiter.take, key.name, rate)  # other servers may hold the lock of the keys

    async def authenticate(self, text: str | None) -> Key:
        """Return the key with this text.

        Raises
        ------
        UnauthenticatedError
            The text is missing, or no valid key has it.
        """
        return OPEN if self._keys is None else await self._call(self._keys.authenticate, text)

    async def sign(self, key: Key, text: str) -> str:
        """Return a signature of a text by a key; empty on a server without keys."""
        return "" if self._keys is None else await self._call(self._keys.sign, key.name, text)

    async def authenticate_link(self, name: str, text: str, signature: str) -> Key:
        """Return the key in whose name `sign` made a signature of this text.

        Raises
        ------
        UnauthenticatedError
            The signature is wrong, or the key was removed, has expired or was rotated.
        """
        if self._keys is None:
            return OPEN
        if not await self._call(self._keys.verify, name, text, signature):
            raise UnauthenticatedError("the link is not one of this server's, or its key was removed or has expired")
        return replace(OPEN, name=name)

    async def credits(self, key: Key) -> int | None:
        """Return the credits that a key has left; None if it has no limit."""
        if self._keys is None or key.credits is None:
            return None
        return await self._call(self._keys.credits, key.name)

    async def check_fetch(self, key: Key, *, may_be_paid: bool) -> None:
        """Authorize the download of one image: within the rate limit, and only if the key can pay for its task.

        Parameters
        ----------
        key
            The key of the caller.
        may_be_paid
            The task may be one that was accepted and paid before, so the key needs no credits now.

        Raises
        ------
        RateLimitError
            The key exceeded its rate limit.
        OutOfCreditsError
            The key has no credits left.
        """
        await self._take_token(self._fetches, key, key.rate)
        if not may_be_paid and await self.credits(key) == 0:
            raise OutOfCreditsError(f"the key {key.name!r} has no credits left, so its photo is not fetched")

    async def authorize(self, key: Key, model: str) -> None:
        """Authorize one task: check its model, then the rate limit, then charge a credit.

        Raises
        ------
        NotAllowedError
            The key may not use this model.
        RateLimitError
            The key exceeded its rate limit.
        OutOfCreditsError
            The key has no credits left.
        """
        key.check_model(model)
        await self._take_token(self._tasks, key, key.rate)
        if self._keys is not None and key.credits is not None:
            charging = asyncio.ensure_future(asyncio.to_thread(self._keys.charge, key.name, _COST))
            try:
                await run_to_completion(charging)
            except asyncio.CancelledError:
                if charging.exception() is None:
                    await self.refund(key.name)
                raise

    async def authorize_look(self, key: Key, model: str) -> None:
        """Authorize a task that gives no mask and is free: check its model, its own rate limit, and that it could pay.

        Raises
        ------
        NotAllowedError
            The key may not use this model.
        RateLimitError
            The key exceeded its rate limit for such tasks, or one a second if it has credits but no rate limit.
        OutOfCreditsError
            The key has no credits left.
        """
        key.check_model(model)
        await self._take_token(self._looks, key, key.rate or (None if key.credits is None else _LOOKS))
        if await self.credits(key) == 0:
            raise OutOfCreditsError(f"the key {key.name!r} has no credits left")

    async def refund(self, owner: str) -> None:
        """Refund the credit of a task without a result; while the keys are away, keep trying in the background."""
        if self._keys is not None:
            await run_to_completion(self._refund(self._keys, owner))

    async def _refund(self, keys: KeyStore, owner: str) -> None:
        try:
            await asyncio.to_thread(keys.refund, owner, _COST)
        except UnavailableError as error:
            _log.error("a credit cannot be refunded yet", owner=owner, problem=str(error))
            retrying = asyncio.create_task(self._retry_refund(keys, owner))
            self._refunding.add(retrying)
            retrying.add_done_callback(self._refunding.discard)

    async def _retry_refund(self, keys: KeyStore, owner: str) -> None:
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            with suppress(UnavailableError):
                return await asyncio.to_thread(keys.refund, owner, _COST)

    def stop_refunding(self) -> None:
        """Abandon the refunds that are still being retried, and log them."""
        for retrying in self._refunding:
            retrying.cancel()
        if self._refunding:
            _log.error("credits were not refunded: their keys were away", credits=len(self._refunding))

    def close(self) -> None:
        """Close the keys."""
        if self._keys is not None:
            self._keys.close()
