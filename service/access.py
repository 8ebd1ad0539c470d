"""Who may do what: keys, their models, how often they come and what they may still spend."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import replace

from .errors import OutOfCreditsError, UnauthenticatedError
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
        self._limiter, self._fetches = RateLimiter(), RateLimiter()

    def authenticate(self, text: str | None) -> Key:
        """Find out who calls.

        Raises
        ------
        UnauthenticatedError
            Keys are wanted, and this is none.
        """
        return OPEN if self._keys is None else self._keys.authenticate(text)

    def sign(self, key: Key, text: str) -> str:
        """Vouch for a text in a key's name; empty where everybody may come anyway."""
        return "" if self._keys is None else self._keys.sign(key.name, text)

    def authenticate_link(self, name: str, text: str, signature: str) -> Key:
        """Take a signature for the key in whose name `sign` made it.

        Raises
        ------
        UnauthenticatedError
            It is none, of another text, or of a key that was removed.
        """
        if self._keys is None:
            return OPEN
        if not hmac.compare_digest(self._keys.sign(name, text).encode(), signature.encode()):
            raise UnauthenticatedError("the link is not one of this server's, or its key was removed")
        return replace(OPEN, name=name)

    def credits(self, key: Key) -> int | None:
        """Count the credits that a key has left, None where it has no limit."""
        return None if self._keys is None or key.credits is None else self._keys.credits(key.name)

    def check_fetch(self, key: Key, *, may_be_paid: bool) -> None:
        """Let a key have one photo fetched: as often as it may come, and not when it could not pay for the task.

        Parameters
        ----------
        key
            Who asks.
        may_be_paid
            The task may be one that was taken in before, whose answer got lost.

        Raises
        ------
        RateLimitError
            It has photos fetched too often.
        OutOfCreditsError
            It has no credits left.
        """
        self._fetches.take(key.name, key.rate)
        if not may_be_paid and self.credits(key) == 0:
            raise OutOfCreditsError(f"the key {key.name!r} has no credits left, and no photo is fetched for it")

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
