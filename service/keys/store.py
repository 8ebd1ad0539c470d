"""API keys: who may come, how often, for which models, and on how many credits.

They are changed by `automask keys` while servers have them open; every look reads them, so a change counts at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import string
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from automask.errors import ParameterError

from ..errors import NotFoundError, OutOfCreditsError, UnauthenticatedError
from .key import Key
from .rate_limits import Rate, RateLimiter

__all__ = ["MAX_CREDITS", "Execute", "KeyStore"]

T = TypeVar("T")

MAX_CREDITS = 10**12
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID_LETTERS = string.ascii_lowercase + string.digits  # a secret may hold underscores, an id none
_KEY = re.compile(r"am_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_NOBODY = bytes(32)  # what an unknown id is compared with; no secret is known to have this digest


class Cursor(Protocol):
    """What both kinds of database answer with."""

    @property
    def rowcount(self) -> int:
        """Rows that were changed."""

    def fetchone(self) -> Any:  # noqa: ANN401 (a row of whatever was asked for)
        """Give the next row, or None."""

    def fetchall(self) -> Any:  # noqa: ANN401
        """Give all rows."""


Execute: TypeAlias = Callable[[str, Sequence[object]], Cursor]
"""Runs a statement with ``?`` for each of its values."""


class KeyStore(ABC):
    """All keys, wherever they are kept. Threads may share one.

    Every method raises `StoreError` where what keeps them fails.
    """

    is_remote: ClassVar[bool]
    """Whether to ask takes so long that an event loop should not wait for it."""
    _to_change: ClassVar[str] = ""
    """What is added to a question whose answer decides about a change."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it; closing again does nothing."""

    @abstractmethod
    def limiter(self, kind: str) -> RateLimiter:
        """Make what holds the keys to their rates, for one kind of thing that they come for."""

    @abstractmethod
    def _look(self, work: Callable[[Execute], T]) -> T:
        """Read."""

    @abstractmethod
    def _change(self, work: Callable[[Execute], T], *, durable: bool) -> T:
        """All that is done inside or nothing; nobody else writes between.

        A removed key must not come back after a power cut. The last charges may: to wait for the disk on every
        request would cost more than they are worth, and the rest stays whole either way.
        """

    def add(
        self,
        name: str,
        *,
        credits: int | None = None,  # noqa: A002 (the word of `automask keys add --credits`)
        rate: Rate | None = None,
        models: Sequence[str] = (),
    ) -> str:
        """Make a key.

        Parameters
        ----------
        name
            1 to 64 letters, digits, dots, underscores and hyphens; no other key has it.
        credits
            0 to 10¹²; None for no limit.
        rate
            How often it may come; None for no limit.
        models
            Those it may use; empty for all.

        Returns
        -------
        str
            The key's text. It is kept nowhere, so this is the only time that it is seen.

        Raises
        ------
        ParameterError
            The name is taken, or one of them is not as said above.
        """
        if not _NAME.fullmatch(name):
            raise ParameterError("name", "be 1 to 64 letters, digits, dots, underscores or hyphens", name)
        _check_credits(credits)
        if isinstance(models, str) or not all(models):
            raise ParameterError("models", "be a sequence of names", models)
        ident = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
        secret = secrets.token_urlsafe(32)
        row = (ident, name, _digest(secret), credits, rate and str(rate), json.dumps([*models]), time.time())

        def add(execute: Execute) -> None:
            if not execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING", row).rowcount:
                raise ParameterError("name", "be one that no other key has", name)

        self._change(add, durable=True)
        return f"am_{ident}_{secret}"

    def list(self) -> Sequence[Key]:
        """All keys by name, without their secrets, which nobody knows."""
        every = "SELECT name, credits, rate, models, created FROM keys ORDER BY name"
        rows = self._look(lambda execute: execute(every, ()).fetchall())
        return [_key(*row) for row in rows]

    def remove(self, name: str) -> None:
        """Take a key back for good; `NotFoundError` where there is none of that name."""

        def remove(execute: Execute) -> None:
            if not execute("DELETE FROM keys WHERE name = ?", [name]).rowcount:
                raise _unknown(name)

        self._change(remove, durable=True)

    def set_credits(self, name: str, count: int | None) -> None:
        """Give a key so many credits from now on, None for no limit.

        Raises
        ------
        NotFoundError
            There is no key of that name.
        ParameterError
            The credits are not 0 to 10¹².
        """
        _check_credits(count)
        self._change(lambda execute: _set_credits(execute, name, count), durable=True)

    def top_up(self, name: str, count: int) -> int:
        """Add credits to what a key has.

        Returns
        -------
        int
            Those it has now.

        Raises
        ------
        NotFoundError
            There is no key of that name.
        ParameterError
            The key has no limit that could be raised, or would have more than 10¹² credits.
        """
        _check_credits(count)

        def top_up(execute: Execute) -> int:
            left = self._credits(execute, name, self._to_change)
            if left is None:
                raise ParameterError("name", "be a key whose credits are limited", name)
            _check_credits(left + count)
            _set_credits(execute, name, left + count)
            return left + count

        return self._change(top_up, durable=True)

    def authenticate(self, text: str | None) -> Key:
        """Find the key that a text is.

        Raises
        ------
        UnauthenticatedError
            There is no text, or no key of it.
        """
        if not text:
            raise UnauthenticatedError("this server wants an API key: send it as x-api-key")
        match = _KEY.fullmatch(text)
        ident, secret = match.groups() if match else ("", "")
        known = "SELECT digest, name, credits, rate, models, created FROM keys WHERE id = ?"
        row = self._look(lambda execute: execute(known, [ident]).fetchone())
        # The same work whether or not the id is known, so that the time it takes tells nothing of either.
        expected, *columns = row or (_NOBODY,)
        if not hmac.compare_digest(_digest(secret), expected) or not columns:
            raise UnauthenticatedError(
                "the API key is not one of this server's: it is mistyped, was removed, or belongs to another server"
            )
        return _key(*columns)

    def credits(self, name: str) -> int | None:
        """Count the credits that a key has left: None where it has no limit, 0 where there is no such key any more."""
        try:
            return self._look(lambda execute: self._credits(execute, name))
        except NotFoundError:
            return 0

    def sign(self, name: str, text: str) -> str:
        """Vouch for a text in a key's name: good until the key is removed, and for this text alone."""
        row = None
        if _NAME.fullmatch(name):  # it comes with a link, from anybody
            row = self._look(lambda execute: execute("SELECT digest FROM keys WHERE name = ?", [name]).fetchone())
        digest = row[0] if row else secrets.token_bytes()  # nobody's signature, which nothing equals
        return hmac.digest(digest, text.encode(), "sha256").hex()

    def charge(self, name: str, count: int) -> int | None:
        """Take credits from a key, all or none of them.

        Parameters
        ----------
        name
            The key's name.
        count
            Credits, 0 or more.

        Returns
        -------
        int or None
            Those left; None where the key has no limit.

        Raises
        ------
        OutOfCreditsError
            Fewer are left; nothing is taken.
        UnauthenticatedError
            The key was removed meanwhile.
        """
        _check_credits(count)

        def charge(execute: Execute) -> int | None:
            try:
                left = self._credits(execute, name, self._to_change)
            except NotFoundError:
                raise UnauthenticatedError(f"the API key {name!r} was removed") from None
            if left is None:
                return None
            if count > left:
                raise OutOfCreditsError(f"the key {name!r} has {left} credits left, and this costs {count}")
            _set_credits(execute, name, left - count)
            return left - count

        return self._change(charge, durable=False)

    def refund(self, name: str, count: int) -> None:
        """Give back what `charge` took; nothing where the key has no limit or is gone.

        Parameters
        ----------
        name
            The key's name.
        count
            Credits, 0 or more.
        """
        _check_credits(count)
        most = f"CASE WHEN credits < {MAX_CREDITS} - ? THEN credits + ? ELSE {MAX_CREDITS} END"
        give = f"UPDATE keys SET credits = {most} WHERE name = ? AND credits IS NOT NULL"  # noqa: S608 (constants)
        self._change(lambda execute: execute(give, [count, count, name]), durable=False)

    @staticmethod
    def _credits(execute: Execute, name: str, more: str = "") -> int | None:
        row = execute(f"SELECT credits FROM keys WHERE name = ?{more}", [name]).fetchone()  # noqa: S608 (constants)
        if row is None:
            raise _unknown(name)
        credits: int | None = row[0]  # noqa: A001 (the word of `automask keys`)
        return credits


def _digest(secret: str) -> bytes:
    # Slow hashes are for passwords, which can be guessed. Nobody guesses 256 random bits, at any speed.
    return hashlib.sha256(secret.encode()).digest()


def _key(name: str, left: int | None, rate: str | None, models: str, created: float) -> Key:
    return Key(name, left, Rate.parse(rate) if rate else None, tuple(json.loads(models)), created)


def _set_credits(execute: Execute, name: str, count: int | None) -> None:
    if not execute("UPDATE keys SET credits = ? WHERE name = ?", [count, name]).rowcount:
        raise _unknown(name)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no key named {name!r}; `automask keys list` names those there are")


def _check_credits(count: int | None) -> None:
    if count is not None and not 0 <= count <= MAX_CREDITS:
        raise ParameterError("credits", f"be a whole number from 0 to {MAX_CREDITS}", count)
