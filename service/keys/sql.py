"""The key store in SQL, shared by SQLite and PostgreSQL."""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from automask.errors import ParameterError

from ..errors import NotFoundError, OutOfCreditsError, UnauthenticatedError
from .key import Key, Secret
from .protocol import MAX_CREDITS, KeyStore
from .rate_limits import Rate

__all__ = ["Execute", "SqlKeyStore"]

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_COLUMNS = "name, credits, rate, models, created, expires, old_until"  # in the order of `Key`
_INSERT = """
    INSERT INTO keys (id, name, digest, credits, rate, models, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO NOTHING
"""
_ROTATE = """
    UPDATE keys SET old_id = id, old_digest = digest, old_until = ?, id = ?, digest = ?, expires = coalesce(?, expires)
    WHERE name = ?
"""
_NO_DIGEST = bytes(32)  # compared where the id is unknown; no known token has this digest


class Cursor(Protocol):
    """The part of a DB-API cursor that both drivers share."""

    @property
    def rowcount(self) -> int:
        """Number of changed rows."""

    def fetchone(self) -> Any:  # noqa: ANN401 (a row of any columns)
        """Return the next row, or None."""

    def fetchall(self) -> Any:  # noqa: ANN401
        """Return all rows."""


Execute: TypeAlias = Callable[[str, Sequence[object]], Cursor]
"""Executes a statement with ``?`` for each of its values."""


class SqlKeyStore(KeyStore, ABC):
    """A key store in the table ``keys`` of a database.

    A subclass provides the transactions, `_read` and `_write`.
    """

    _for_update: ClassVar[str] = ""
    """Appended to a SELECT whose row the transaction then changes."""

    @abstractmethod
    def _read(self, work: Callable[[Execute], T]) -> T:
        """Run read-only statements."""

    @abstractmethod
    def _write(self, work: Callable[[Execute], T], *, durable: bool) -> T:
        """Run statements in one transaction, isolated from other writers.

        A removed key must not come back after a power cut, so its change is durable. The last charges may be lost:
        waiting for the disk at every request would cost more than they are worth.
        """

    def add(
        self,
        name: str,
        *,
        credits: int | None = None,  # noqa: A002 (the name of `automask keys add --credits`)
        rate: Rate | None = None,
        models: Sequence[str] = (),
        expires_in: float | None = None,
    ) -> str:
        if not _NAME.fullmatch(name):
            raise ParameterError("name", "be 1 to 64 letters, digits, dots, underscores or hyphens", name)
        _check_credits(credits)
        if isinstance(models, str) or not all(models):
            raise ParameterError("models", "be a sequence of names", models)
        secret, now = Secret.generate(), time.time()
        row = (secret.id, name, secret.digest, credits, rate and str(rate), json.dumps([*models]), now)
        expires = _expiry(now, expires_in)

        def insert(execute: Execute) -> None:
            if not execute(_INSERT, [*row, expires]).rowcount:
                raise ParameterError("name", "be unused by other keys", name)

        self._write(insert, durable=True)
        return str(secret)

    def list(self) -> Sequence[Key]:
        query = f"SELECT {_COLUMNS} FROM keys ORDER BY name"  # noqa: S608 (constants)
        rows = self._read(lambda execute: execute(query, ()).fetchall())
        return [_key(*row) for row in rows]

    def remove(self, name: str) -> None:
        def delete(execute: Execute) -> None:
            if not execute("DELETE FROM keys WHERE name = ?", [name]).rowcount:
                raise _not_found(name)

        self._write(delete, durable=True)

    def rotate(self, name: str, *, grace: float = 0, expires_in: float | None = None) -> str:
        if grace < 0:
            raise ParameterError("grace", "be 0 s or more", grace)
        secret, now = Secret.generate(), time.time()
        values = (now + grace, secret.id, secret.digest, _expiry(now, expires_in), name)

        def update(execute: Execute) -> None:
            if not execute(_ROTATE, values).rowcount:
                raise _not_found(name)

        self._write(update, durable=True)
        return str(secret)

    def set_credits(self, name: str, count: int | None) -> None:
        _check_credits(count)
        self._write(lambda execute: _set_credits(execute, name, count), durable=True)

    def top_up(self, name: str, count: int) -> int:
        _check_credits(count)

        def add(execute: Execute) -> int:
            left = _get_credits(execute, name, self._for_update)
            if left is None:
                raise ParameterError("name", "be a key with limited credits", name)
            _check_credits(left + count)
            _set_credits(execute, name, left + count)
            return left + count

        return self._write(add, durable=True)

    def authenticate(self, text: str | None) -> Key:
        if not text:
            raise UnauthenticatedError("this server requires an API key: send it as x-api-key")
        secret = Secret.parse(text)
        query = f"SELECT id, digest, old_digest, {_COLUMNS} FROM keys WHERE id = ? OR old_id = ?"  # noqa: S608 (constants)
        row = self._read(lambda execute: execute(query, [secret.id, secret.id]).fetchone())
        # An unknown id costs the same work as a known one, so that the response time reveals neither.
        newest, digest, old_digest, *columns = row or (secret.id, _NO_DIGEST, _NO_DIGEST)
        is_newest = newest == secret.id
        if not hmac.compare_digest(secret.digest, digest if is_newest else old_digest) or not columns:
            raise UnauthenticatedError("invalid API key: it is mistyped, was removed, or belongs to another server")
        key = _key(*columns)
        _check_time("expired", key.name, key.expires)
        if not is_newest:
            _check_time("was rotated, and its old secret expired", key.name, key.old_secret_until)
        return key

    def credits(self, name: str) -> int | None:
        try:
            return self._read(lambda execute: _get_credits(execute, name))
        except NotFoundError:
            return 0

    def sign(self, name: str, text: str) -> str:
        return next(self._signatures(name, text), secrets.token_hex(32))  # without a key, one that nothing equals

    def verify(self, name: str, text: str, signature: str) -> bool:
        return any(hmac.compare_digest(one.encode(), signature.encode()) for one in self._signatures(name, text))

    def _signatures(self, name: str, text: str) -> Iterator[str]:
        """Yield the signatures of a text by the valid secrets of a key, the newest first."""
        row = None
        if _NAME.fullmatch(name):  # anybody can put any name into a link
            query = "SELECT digest, expires, old_digest, old_until FROM keys WHERE name = ?"
            row = self._read(lambda execute: execute(query, [name]).fetchone())
        digest, expires, old_digest, old_until = row or (None, None, None, None)
        now = time.time()
        for one, until in ((digest, expires), (old_digest, old_until)):
            if one is not None and (until is None or now < until) and (expires is None or now < expires):
                yield hmac.digest(one, text.encode(), "sha256").hex()

    def charge(self, name: str, count: int) -> int | None:
        _check_credits(count)

        def subtract(execute: Execute) -> int | None:
            try:
                left = _get_credits(execute, name, self._for_update)
            except NotFoundError:
                raise UnauthenticatedError(f"API key {name!r} was removed") from None
            if left is None:
                return None
            if count > left:
                raise OutOfCreditsError(f"key {name!r} has {left} credits left, but this request costs {count}")
            _set_credits(execute, name, left - count)
            return left - count

        return self._write(subtract, durable=False)

    def refund(self, name: str, count: int) -> None:
        _check_credits(count)
        total = f"CASE WHEN credits < {MAX_CREDITS} - ? THEN credits + ? ELSE {MAX_CREDITS} END"
        update = f"UPDATE keys SET credits = {total} WHERE name = ? AND credits IS NOT NULL"  # noqa: S608 (constants)
        self._write(lambda execute: execute(update, [count, count, name]), durable=False)


def _key(name: str, left: int | None, rate: str | None, models: str, *times: Any) -> Key:  # noqa: ANN401 (of a row)
    return Key(name, left, Rate.parse(rate) if rate else None, tuple(json.loads(models)), *times)


def _expiry(now: float, expires_in: float | None) -> float | None:
    if expires_in is not None and expires_in <= 0:
        raise ParameterError("expires", "be more than 0 s", expires_in)
    return None if expires_in is None else now + expires_in


def _check_time(event: str, name: str, until: float | None) -> None:
    if until is not None and time.time() >= until:
        raise UnauthenticatedError(
            f"API key {name!r} {event} on {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
        )


def _get_credits(execute: Execute, name: str, suffix: str = "") -> int | None:
    row = execute(f"SELECT credits FROM keys WHERE name = ?{suffix}", [name]).fetchone()  # noqa: S608 (constants)
    if row is None:
        raise _not_found(name)
    left: int | None = row[0]
    return left


def _set_credits(execute: Execute, name: str, count: int | None) -> None:
    if not execute("UPDATE keys SET credits = ? WHERE name = ?", [count, name]).rowcount:
        raise _not_found(name)


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(f"no key named {name!r}; `automask keys list` shows all keys")


def _check_credits(count: int | None) -> None:
    if count is not None and not 0 <= count <= MAX_CREDITS:
        raise ParameterError("credits", f"be a whole number from 0 to {MAX_CREDITS}", count)
