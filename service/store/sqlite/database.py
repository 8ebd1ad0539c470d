"""The open file of the request store: transactions, one thread at a time, and its room on disk."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from ...errors import StoreError
from .file import explain, open_database

__all__ = ["Database"]

_LOG = logging.getLogger(__name__)
_VACUUM_PAGES: Final = 16384  # given back at once: 64 MB


class Database:
    """An SQLite file that threads share. Every method raises `StoreError` where SQLite fails.

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

    @property
    def alone(self) -> bool:
        """Whether this is sure to be the only one that has the file open; not after `share`."""
        return self._file_lock.alone

    def share(self) -> None:
        """Let other processes open the file too."""
        self._file_lock.share()

    def close(self) -> None:
        """Close the file."""
        with self._guarded() as db:
            db.close()
            self._file_lock.close()

    @contextmanager
    def transaction(self, mode: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Do everything inside or nothing; what is done is on disk afterwards.

        Parameters
        ----------
        mode
            ``DEFERRED`` if nothing is written.
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

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:  # before the lock, which may have been held at the fork
            raise StoreError(f"the request store {self._path}: a forked process must open it for itself")
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise explain(self._path, error) from error

    def version(self) -> int:
        """Return a number that changes when another connection has written something."""
        with self._guarded() as db:
            return int(db.execute("PRAGMA data_version").fetchone()[0])

    def size(self, db: sqlite3.Connection) -> int:
        """Bytes in use, SQLite's log included, as seen inside a transaction."""
        pages, free, size = (
            db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
        )
        log = self._path.with_name(f"{self._path.name}-wal")
        return int((pages - free) * size) + (log.stat().st_size if log.exists() else 0)

    def disk(self, db: sqlite3.Connection) -> tuple[int, int]:
        """Bytes of the disk that the file lies on: all, and those that are free once the log is part of the file."""
        pages, page_size = (db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
        usage = shutil.disk_usage(self._path.parent)
        return usage.total, usage.free - max(0, pages * page_size - self._path.stat().st_size)

    def tidy(self) -> None:
        """Give disk back, and empty SQLite's log, which still holds photos that were dropped."""
        try:
            with self._guarded() as db:
                # `execute` would stop after the first page: it takes a row without columns for the end.
                db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except StoreError as error:  # nothing is lost by it, and the next time may go better
            _LOG.warning("could not tidy up: %s", error)
