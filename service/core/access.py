"""Who may do what: keys, their models, how often they come and what they may still spend."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import structlog

from ..cancellation import run_to_completion
from ..errors import OutOfCreditsError, UnauthenticatedError, UnavailableError
from ..keys.key import Key
from ..keys.protocol import KeyStore
from ..keys.rate_limits import LocalRateLimiter

__all__ = ["OPEN", "Access"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)

OPEN = Key(name="", credits=None, rate=None, models=(), created=0.0)
"""Whoever comes where there are no keys."""

_AGAIN = 1.0  # seconds between tries to give back
_COST = 1  # credits for a task, as the hosted API counts: by calls


class Access:
    """The door of a server.

    Parameters
    ----------
    keys
        None lets everybody in.
    """

    def __init__(self, keys: KeyStore | None) -> None:
        self._keys = keys
        self._limiter = LocalRateLimiter() if keys is None else keys.limiter("tasks")
        self._fetches = LocalRateLimiter() if keys is None else keys.limiter("fetches")

        self._owing: set[asyncio.Task[None]] = set()

    async def _ask(self, call: Callable[..., T], *arguments: object) -> T:
        """Ask about keys; in a thread where that takes a while."""
        if self._keys is not None and self._keys.is_remote:
            return await asyncio.to_thread(call, *arguments)
        return call(*arguments)

    async def authenticate(self, text: str | None) -> Key:
        """Find out who calls.

        Raises
        ------
        UnauthenticatedError
            Keys are wanted, and this is none.
        """
        return OPEN if self._keys is None else await self._ask(self._keys.authenticate, text)

    async def sign(self, key: Key, text: str) -> str:
        """Vouch for a text in a key's name; empty where everybody may come anyway."""
        return "" if self._keys is None else await self._ask(self._keys.sign, key.name, text)

    async def authenticate_link(self, name: str, text: str, signature: str) -> Key:
        """Take a signature for the key in whose name `sign` made it.

        Raises
        ------
        UnauthenticatedError
            It is none, of another text, or of a key that was removed.
        """
        if self._keys is None:
            return OPEN
        expected = await self._ask(self._keys.sign, name, text)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise UnauthenticatedError("the link is not one of this server's, or its key was removed")
        return replace(OPEN, name=name)

    async def credits(self, key: Key) -> int | None:
        """Count the credits that a key has left, None where it has no limit."""
        if self._keys is None or key.credits is None:
            return None
        return await self._ask(self._keys.credits, key.name)

    async def check_fetch(self, key: Key, *, may_be_paid: bool) -> None:
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
        await self._ask(self._fetches.take, key.name, key.rate)
        if not may_be_paid and await self.credits(key) == 0:
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
        await self._ask(self._limiter.take, key.name, key.rate)
        if self._keys is not None and key.credits is not None:
            charging = asyncio.ensure_future(asyncio.to_thread(self._keys.charge, key.name, _COST))
            try:
                await run_to_completion(charging)
            except asyncio.CancelledError:
                if charging.exception() is None:
                    await self.give_back(key.name)
                raise

    async def give_back(self, owner: str) -> None:
        """Return the credit of a task that no mask came of; while the keys are away, go on trying behind the scenes."""
        if self._keys is not None:
            await run_to_completion(self._give_back(self._keys, owner))

    async def _give_back(self, keys: KeyStore, owner: str) -> None:
        try:
            await asyncio.to_thread(keys.refund, owner, _COST)
        except UnavailableError as error:
            _log.error("a credit cannot be given back yet", owner=owner, problem=str(error))
            task = asyncio.create_task(self._give_back_later(keys, owner))
            self._owing.add(task)
            task.add_done_callback(self._owing.discard)

    async def _give_back_later(self, keys: KeyStore, owner: str) -> None:
        while True:
            await asyncio.sleep(_AGAIN)
            with suppress(UnavailableError):
                return await asyncio.to_thread(keys.refund, owner, _COST)

    def give_up(self) -> None:
        """Try no longer to give back what could not be given back so far."""
        for task in self._owing:
            task.cancel()
        if self._owing:
            _log.error("credits were not given back: their keys were away", credits=len(self._owing))

    def close(self) -> None:
        """Let go of the keys."""
        if self._keys is not None:
            self._keys.close()
