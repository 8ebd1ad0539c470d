"""Who may do what: keys, their models, how often they come and what they may still spend."""

from __future__ import annotations

import asyncio

from .keys import Key, KeyFile
from .limits import RateLimiter

__all__ = ["OPEN", "Access"]

OPEN = Key(name="", credits=None, rate=None, models=(), created=0.0)
"""Whoever comes where there are no keys."""

_COST = 1  # credits for a task, as the hosted API counts: by calls


class Access:
    """The door of a server.

    Parameters
    ----------
    keys
        None lets everybody in.
    """

    def __init__(self, keys: KeyFile | None) -> None:
        self._keys = keys
        self._limiter = RateLimiter()

    def authenticate(self, text: str | None) -> Key:
        """Find out who calls.

        Raises
        ------
        UnauthenticatedError
            Keys are wanted, and this is none.
        """
        return OPEN if self._keys is None else self._keys.authenticate(text)

    async def enter(self, key: Key, model: str) -> None:
        """Let one task in: check the model, then the rate, then take a credit.

        Raises
        ------
        NotAllowedError
            The key may not use this model.
        RateLimitError
            It comes too often.
        OutOfCreditsError
            It has none left.
        """
        key.check_model(model)
        self._limiter.take(key.name, key.rate)
        if self._keys is not None and key.credits is not None:
            charging = asyncio.ensure_future(asyncio.to_thread(self._keys.charge, key.name, _COST))
            try:
                await asyncio.shield(charging)
            except asyncio.CancelledError:
                await charging  # it cannot be stopped any more
                await self.give_back(key.name)
                raise

    async def give_back(self, owner: str) -> None:
        """Return the credit of a task that no mask came of."""
        if self._keys is not None:
            await asyncio.to_thread(self._keys.refund, owner, _COST)

    def close(self) -> None:
        """Close the file of keys."""
        if self._keys is not None:
            self._keys.close()
