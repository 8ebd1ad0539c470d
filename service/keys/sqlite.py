"""The key store in an SQLite file: shared by the servers of one machine."""

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

from ..config.locations import require_regular_file
from ..errors import StoreError, StoreUnavailableError
from .rate_limits import RateLimiter
from .sql import Execute, SqlKeyStore
from .sqlite_rate_limits import SqliteRateLimiter

__all__ = ["SqliteKeyStore"]

T = TypeVar("T")

_APPLICATION_ID = 0x616D6B79  # "amky": distinguishes a key file from any other SQLite file
# The statements from each schema version to the next. Never change a released one: files of its version exist.
_KEYS = """
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
_BUCKETS = """
    CREATE TABLE buckets (
        kind TEXT,
        name TEXT,
        rate TEXT,
        full_ns INTEGER NOT NULL,
        rest INTEGER NOT NULL,
        PRIMARY KEY (kind, name, rate)
    ) WITHOUT ROWID
"""
_MIGRATIONS = (
    (_KEYS,),
    (
        "ALTER TABLE keys ADD COLUMN expires REAL",
        "ALTER TABLE keys ADD COLUMN old_id TEXT",
        "ALTER TABLE keys ADD COLUMN old_digest BLOB",
        "ALTER TABLE keys ADD COLUMN old_until REAL",
        "CREATE UNIQUE INDEX keys_old_id ON keys (old_id)",
        _BUCKETS,
    ),
)
_SCHEMA_VERSION = len(_MIGRATIONS)


class SqliteKeyStore(SqlKeyStore):
    """The key store in an SQLite file, which several processes may have open.

    Parameters
    ----------
    path
        Path of the file.
    create
        Create a missing file, readable only by its owner.

    Raises
    ------
    StoreError
        The file is missing, damaged, not a regular file or not a key file; it is left unchanged.
    """

    is_remote = False

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self._path = Path(path).absolute()
        self._lock = Lock()
        with self._store_errors():
            require_regular_file(self._path)
            if create:
                self._create()
            self._check()
            self._connection = self._connect("rw")
            self._connections = [self._connection]
            _migrate(self._connection)
            self._inode = self._path.stat().st_ino
            self._check_values()

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()

    def limiter(self, kind: str) -> RateLimiter:
        with self._lock, self._store_errors():
            connection = self._connect("rw")
            self._connections.append(connection)
            connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may refill buckets
        return SqliteRateLimiter(connection, kind, errors=self._store_errors)

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        """Give one thread at a time the connection."""
        with self._lock, self._store_errors():
            # SQLite keeps using a file that was moved away; keys removed from its replacement would stay valid.
            if not self._path.exists() or self._path.stat().st_ino != self._inode:
                raise StoreUnavailableError(
                    f"key file {self._path} was moved or replaced while in use; put it back, or restart the server"
                )
            yield self._connection

    def _read(self, work: Callable[[Execute], T]) -> T:
        with self._locked() as connection:
            return work(connection.execute)

    def _write(self, work: Callable[[Execute], T], *, durable: bool) -> T:
        with self._locked() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return work(connection.execute)

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Raise errors of SQLite and of the file system as `StoreError`."""
        try:
            yield
        except AutomaskError:  # some of them are OSErrors
            raise
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            raise StoreError(f"key file {self._path} cannot be used: {error}") from error

    def _connect(self, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.as_uri()}?mode={mode}", uri=True, timeout=5, isolation_level=None, check_same_thread=False
        )

    def _create(self) -> None:
        """Create the file in a temporary folder and link it: no process sees half a file, and one of several wins."""
        if self._path.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._path.parent, prefix=".keys-") as folder:
            new = Path(folder, "keys")
            new.touch(0o600)
            with closing(sqlite3.connect(new)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                _migrate(connection)
            with suppress(FileExistsError):
                self._path.hardlink_to(new)

    def _check(self) -> None:
        """Raise unless it is an intact key file. Writes nothing, because the file may belong to another program."""
        if not self._path.exists():
            raise StoreError(f"no key file {self._path}; create it with `automask keys add NAME --keys {self._path}`")
        with closing(self._connect("ro")) as connection:
            ((ident,),) = connection.execute("PRAGMA application_id")
            version = _version(connection)
            if ident != _APPLICATION_ID:
                raise StoreError(f"{self._path} is not an automask key file")
            if version > _SCHEMA_VERSION:
                raise StoreError(
                    f"key file {self._path} has schema version {version}; this automask reads at most version "
                    f"{_SCHEMA_VERSION}"
                )
            ((verdict, *_), *_) = connection.execute("PRAGMA integrity_check")
            if verdict != "ok":
                raise StoreError(f"key file {self._path} is damaged: {' '.join(verdict.split())}")

    def _check_values(self) -> None:
        """Raise if a value in the file cannot be read: SQLite's own check does not know what it means."""
        try:
            self.list()
        except (TypeError, ValueError) as error:
            self.close()
            raise StoreError(f"key file {self._path} is damaged: {error}") from error


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to the newest version, in one transaction; a file that has it is only read."""
    if _version(connection) == _SCHEMA_VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for step in _MIGRATIONS[_version(connection) :]:  # another process may have been faster
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    ((version,),) = connection.execute("PRAGMA user_version")
    return int(version)
