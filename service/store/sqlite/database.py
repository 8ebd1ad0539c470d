"""The open SQLite file of the request store: transactions, one thread at a time, and sizes."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ...errors import StoreError, StoreUnavailableError
from .file import explain, open_database

__all__ = ["Database"]

_LOG = logging.getLogger(__name__)
_VACUUM_PAGES: Final = 16384  # freed in one step: 64 MB

_Files: TypeAlias = list[tuple[int, int] | None]


class Database:
    """An SQLite file that threads share. Every method raises `StoreError` if SQLite fails.

    Parameters
    ----------
    path
        The file; see `open_database`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._db, self._file_lock = open_database(self._path)
        self._files: _Files | None = self._identify_files()  # None once it is closed

    @property
    def alone(self) -> bool:
        """Whether no other process can have the file open; False after `share`."""
        return self._file_lock.alone

    def share(self) -> None:
        """Let other processes open the file."""
        self._file_lock.share()

    def close(self) -> None:
        """Close the file."""
        self._check_process()
        with self._lock, self._store_errors():
            self._files = None
            self._db.close()
            self._file_lock.close()

    @contextmanager
    def transaction(self, mode: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Run a transaction; once it has ended, its changes are on disk.

        Parameters
        ----------
        mode
            ``DEFERRED`` for a transaction that only reads.
        """
        with self._guarded() as db:
            db.execute(f"BEGIN {mode}")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            self._check_files()  # what was written to a deleted file is lost

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        self._check_process()  # before the lock, which another thread may have held at the fork
        with self._lock, self._store_errors():
            self._check_files()
            yield self._db

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise StoreError(f"the request store {self._path}: a forked process must open it again")

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._check_files()  # if this fails, it says more
            raise explain(self._path, error) from error

    def _identify_files(self) -> _Files:
        # SQLite's log exists as long as a connection is open; what is written to a deleted one is lost as well.
        return [_identify(str(self._path)), _identify(f"{self._path}-wal")]

    def _check_files(self) -> None:
        """Raise `StoreUnavailableError` unless the files at the path are those that SQLite has open."""
        if self._files is None or (found := self._identify_files()) == self._files:
            return
        problem = "deleted or moved away" if None in found else "replaced by another"
        raise StoreUnavailableError(
            f"the request store {self._path}: its file, or the log beside it, was {problem} while in use; put it back, "
            "or restart the server"
        )

    def version(self) -> int:
        """Return a number that changes when another connection has written."""
        with self._guarded() as db:
            return int(db.execute("PRAGMA data_version").fetchone()[0])

    def size(self, db: sqlite3.Connection) -> int:
        """Return the bytes in use, including SQLite's log."""
        pages, free, size = (
            db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
        )
        log = self._path.with_name(f"{self._path.name}-wal")
        return int((pages - free) * size) + (log.stat().st_size if log.exists() else 0)

    def disk(self, db: sqlite3.Connection) -> tuple[int, int]:
        """Return the bytes of the file's disk: all, and those that are free once the log is part of the file."""
        pages, page_size = (db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
        usage = shutil.disk_usage(self._path.parent)
        return usage.total, usage.free - max(0, pages * page_size - self._path.stat().st_size)

    def tidy(self) -> None:
        """Free disk space, and empty SQLite's log, which still holds deleted photos."""
        try:
            with self._guarded() as db:
                # `execute` would stop after the first page: it takes a row without columns as the end.
                db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except StoreError as error:  # nothing is lost, and the next sweep tries again
            _LOG.warning("could not free disk space: %s", error)


def _identify(path: str) -> tuple[int, int] | None:
    """Return device and number of a file, None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 (twice as fast, and part of every transaction)
    except OSError:
        return None
    return found.st_dev, found.st_ino
