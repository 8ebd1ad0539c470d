"""API keys: who may come, how often, for which models, and on how many credits.

The file is changed by `automask keys` while a server has it open; every look reads it, so that a change counts at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sqlite3
import string
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from automask.errors import AutomaskError, ParameterError

from .errors import NotAllowedError, NotFoundError, OutOfCreditsError, StoreError, UnauthenticatedError
from .limits import Rate

__all__ = ["MAX_CREDITS", "Key", "KeyFile"]

MAX_CREDITS = 10**12
_APPLICATION_ID = 0x616D6B79  # "amky", by which a key file is told from any other SQLite file
_VERSION = 1
_SCHEMA = """
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        digest BLOB NOT NULL,
        credits INTEGER,
        rate TEXT,
        models TEXT NOT NULL,
        created REAL NOT NULL
    )
"""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID_LETTERS = string.ascii_lowercase + string.digits  # a secret may hold underscores, an id none
_KEY = re.compile(r"am_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_NOBODY = bytes(32)  # what an unknown id is compared with; no secret is known to have this digest


@dataclass(frozen=True, slots=True)
class Key:
    """What a key may do.

    Parameters
    ----------
    name
        By which people know it.
    credits
        Those left; None where there is no limit.
    rate
        How often it may come; None where there is no limit.
    models
        Those it may use; empty for all.
    created
        Seconds since 1970.
    """

    name: str
    credits: int | None
    rate: Rate | None
    models: tuple[str, ...]
    created: float

    def check_model(self, model: str) -> None:
        """Raise `NotAllowedError` where the key may not use the model."""
        if self.models and model not in self.models:
            raise NotAllowedError(
                f"the key {self.name!r} may not use the model {model!r}, only {', '.join(map(repr, self.models))}"
            )


class KeyFile:
    """The file of keys. Threads may share one, and processes the file.

    Parameters
    ----------
    path
        The file.
    create
        Make the file, readable by its owner alone, where there is none.

    Raises
    ------
    StoreError
        There is no file, or it is damaged or something else than a key file; it is left as it is.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self._path = Path(path).absolute()
        self._lock = Lock()
        with self._explained():
            if create:
                self._create()
            self._check()
            self._connection = self._connect("rw")
            self._inode = self._path.stat().st_ino

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
        with self._change(durable=True) as connection:
            if connection.execute("SELECT 1 FROM keys WHERE name = ?", [name]).fetchone():
                raise ParameterError("name", "be one that no other key has", name)
            connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return f"am_{ident}_{secret}"

    def list(self) -> Sequence[Key]:
        """All keys by name, without their secrets, which nobody knows."""
        with self._look() as connection:
            rows = connection.execute("SELECT name, credits, rate, models, created FROM keys ORDER BY name").fetchall()
        return [_key(*row) for row in rows]

    def remove(self, name: str) -> None:
        """Take a key back for good; `NotFoundError` where there is none of that name."""
        with self._change(durable=True) as connection:
            _credits(connection, name)
            connection.execute("DELETE FROM keys WHERE name = ?", [name])

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
        with self._change(durable=True) as connection:
            _credits(connection, name)
            _set_credits(connection, name, count)

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
        with self._change(durable=True) as connection:
            left = _credits(connection, name)
            if left is None:
                raise ParameterError("name", "be a key whose credits are limited", name)
            _check_credits(left + count)
            _set_credits(connection, name, left + count)
        return left + count

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
        with self._look() as connection:
            row = connection.execute(
                "SELECT digest, name, credits, rate, models, created FROM keys WHERE id = ?", [ident]
            ).fetchone()
        # The same work whether or not the id is known, so that the time it takes tells nothing of either.
        expected, *columns = row or (_NOBODY,)
        if not hmac.compare_digest(_digest(secret), expected) or not columns:
            raise UnauthenticatedError(
                "the API key is not one of this server's: it is mistyped, was removed, or belongs to another server"
            )
        return _key(*columns)

    def credits(self, name: str) -> int | None:
        """Count the credits that a key has left: None where it has no limit, 0 where there is no such key any more."""
        with self._look() as connection:
            try:
                return _credits(connection, name)
            except NotFoundError:
                return 0

    def sign(self, name: str, text: str) -> str:
        """Vouch for a text in a key's name: good until the key is removed, and for this text alone."""
        with self._look() as connection:
            row = connection.execute("SELECT digest FROM keys WHERE name = ?", [name]).fetchone()
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
        with self._change(durable=False) as connection:
            try:
                left = _credits(connection, name)
            except NotFoundError:
                raise UnauthenticatedError(f"the API key {name!r} was removed") from None
            if left is None:
                return None
            if count > left:
                raise OutOfCreditsError(f"the key {name!r} has {left} credits left, and this costs {count}")
            _set_credits(connection, name, left - count)
        return left - count

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
        with self._change(durable=False) as connection:
            connection.execute(
                "UPDATE keys SET credits = min(credits + ?, ?) WHERE name = ?", [count, MAX_CREDITS, name]
            )

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _look(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to one thread."""
        with self._lock, self._explained():
            # SQLite would go on with a file that was moved away, and keys removed from the new one would stay good.
            if not self._path.exists() or self._path.stat().st_ino != self._inode:
                raise StoreError(
                    f"the key file {self._path} was moved or replaced while in use; restart what has it open"
                )
            yield self._connection

    @contextmanager
    def _change(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """All that is done inside or nothing; no other process writes between.

        A removed key must not come back after a power cut. The last charges may: to wait for the disk on every
        request would cost more than they are worth, and the file stays whole either way.
        """
        with self._look() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except AutomaskError:  # some of them are OSErrors
            raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the key file {self._path} cannot be used: {error}") from error

    def _connect(self, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.as_uri()}?mode={mode}", uri=True, timeout=5, isolation_level=None, check_same_thread=False
        )

    def _create(self) -> None:
        """Make the file elsewhere and link it, so that nobody ever sees half a file and one of several makers wins."""
        if self._path.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._path.parent, prefix=".keys-") as folder:
            new = Path(folder, "keys")
            new.touch(0o600)
            with closing(sqlite3.connect(new)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
                connection.execute(_SCHEMA)
            with suppress(FileExistsError):
                self._path.hardlink_to(new)

    def _check(self) -> None:
        """Raise unless it is a sound key file; without writing, for it may be somebody else's."""
        if not self._path.exists():
            raise StoreError(
                f"there is no key file {self._path}; `automask keys add NAME --keys {self._path}` makes one"
            )
        with closing(self._connect("ro")) as connection:
            ((ident,),) = connection.execute("PRAGMA application_id")
            ((version,),) = connection.execute("PRAGMA user_version")
            if ident != _APPLICATION_ID:
                raise StoreError(f"{self._path} is not a key file of automask")
            if version != _VERSION:
                raise StoreError(
                    f"the key file {self._path} is of version {version}, and this automask reads {_VERSION}"
                )
            ((verdict, *_), *_) = connection.execute("PRAGMA integrity_check")
            if verdict != "ok":
                raise StoreError(f"the key file {self._path} is damaged: {verdict}")


def _digest(secret: str) -> bytes:
    # Slow hashes are for passwords, which can be guessed. Nobody guesses 256 random bits, at any speed.
    return hashlib.sha256(secret.encode()).digest()


def _key(name: str, left: int | None, rate: str | None, models: str, created: float) -> Key:
    return Key(name, left, Rate.parse(rate) if rate else None, tuple(json.loads(models)), created)


def _credits(connection: sqlite3.Connection, name: str) -> int | None:
    row: tuple[int | None] | None = connection.execute("SELECT credits FROM keys WHERE name = ?", [name]).fetchone()
    if row is None:
        raise NotFoundError(f"there is no key named {name!r}; `automask keys list` names those there are")
    return row[0]


def _set_credits(connection: sqlite3.Connection, name: str, count: int | None) -> None:
    connection.execute("UPDATE keys SET credits = ? WHERE name = ?", [count, name])


def _check_credits(count: int | None) -> None:
    if count is not None and not 0 <= count <= MAX_CREDITS:
        raise ParameterError("credits", f"be a whole number from 0 to {MAX_CREDITS}", count)
