"""Keys in an SQLite file: for the servers of one machine."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar

from automask.errors import AutomaskError

from ..errors import StoreError
from .rate_limits import RateLimiter
from .store import Execute, KeyStore

__all__ = ["SqliteKeyStore"]

T = TypeVar("T")

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


class SqliteKeyStore(KeyStore):
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

    is_remote = False

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self._path = Path(path).absolute()
        self._lock = Lock()
        with self._explained():
            if create:
                self._create()
            self._check()
            self._connection = self._connect("rw")
            self._inode = self._path.stat().st_ino

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        with self._lock:
            self._connection.close()

    def limiter(self, kind: str) -> RateLimiter:  # noqa: ARG002 (each has its own memory)
        """Make one for this process."""
        return RateLimiter()

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to one thread."""
        with self._lock, self._explained():
            # SQLite would go on with a file that was moved away, and keys removed from the new one would stay good.
            if not self._path.exists() or self._path.stat().st_ino != self._inode:
                raise StoreError(
                    f"the key file {self._path} was moved or replaced while in use; restart what has it open"
                )
            yield self._connection

    def _look(self, work: Callable[[Execute], T]) -> T:
        with self._lent() as connection:
            return work(connection.execute)

    def _change(self, work: Callable[[Execute], T], *, durable: bool) -> T:
        with self._lent() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return work(connection.execute)

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
