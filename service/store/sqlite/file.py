"""The file of the request store: whether it is ours and whole, who has it open, how it is set up."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from weakref import WeakSet

from ...errors import StoreError
from .schema import APPLICATION_ID, migrate

if sys.platform != "win32":
    import fcntl

__all__ = ["FileLock", "explain", "is_full", "open_database"]

_LOG = logging.getLogger(__name__)
_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_ID_AT: Final = slice(68, 72)
_HEADER_BYTES: Final = 100
_BUSY_SECONDS: Final = 10.0
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# A quota answers EDQUOT where a disk answers ENOSPC; SQLite calls only the second one "full".
_FULL: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
_SETTINGS: Final = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # only before the first table, hence before anything else
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # photos are private: what is dropped is overwritten
    f"PRAGMA journal_size_limit = {16 << 20}",
)


class FileLock:
    """Tells whether other processes have the store open; held from opening to closing.

    A lock of the kernel, so it ends with its process, however that dies. The file stays: deleting it would let two
    processes hold "the" lock.

    Parameters
    ----------
    path
        The file to lock; made if there is none.

    Attributes
    ----------
    alone
        Nobody else has the store open, and nobody can open it until `share` is called. False where the system has no
        such locks.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.alone = False
        _LOCKS.add(self)
        if sys.platform != "win32":
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.alone = True
            except BlockingIOError:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def share(self) -> None:
        """Let others open the store too."""
        if sys.platform != "win32" and self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self.alone = False

    def close(self) -> None:
        """Let go of it. In a forked child this leaves the parent's hold as it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_LOCKS: Final[WeakSet[FileLock]] = WeakSet()


def _close_inherited() -> None:
    # A child that outlives its parent would otherwise keep looking like a server with the store open.
    for lock in list(_LOCKS):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def open_database(path: Path) -> tuple[sqlite3.Connection, FileLock]:
    """Open the file of a store, or make one.

    A damaged one is put aside under another name, and an empty one takes its place.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    A connection that leaves transactions to its user, and the lock, still `alone` if nobody else has the file open.

    Raises
    ------
    StoreError
        The file is no store, is of a newer version, is damaged while another process has it open, or cannot be
        opened. It is left as it is.
    """
    lock = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.lock")
        _check_ours(path, was_open=beside.exists())
        lock = FileLock(beside)
        damage = _damage(path)
        if damage and not lock.alone:
            raise StoreError(
                f"it is damaged ({damage}) and another process has it open: stop that one, then start again"
            )
        if damage:
            _put_aside(path, damage)
        return _connect(path), lock
    except (OSError, sqlite3.Error) as error:
        if lock:
            lock.close()
        raise explain(path, error) from error


def is_full(error: BaseException | None) -> bool:
    """Whether an error of SQLite says that the disk, or the share of it that one may use, is full."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in _FULL


def explain(path: Path, error: Exception) -> StoreError:
    """Say what an error means for the one who runs the server.

    Parameters
    ----------
    path
        The file of the store.
    error
        What SQLite or the system said.

    Returns
    -------
    The error to raise instead.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    if is_full(error):
        hint = "; free some space on its disk"
    elif code & 0xFF in _DAMAGED:
        hint = "; it is damaged: start the server again, which puts it aside and begins an empty one"
    elif code & 0xFF == sqlite3.SQLITE_BUSY:
        hint = f"; another process held it for {_BUSY_SECONDS:g} s"
    else:
        hint = ""
    return StoreError(f"the request store {path}: {error}{hint}")


def _check_ours(path: Path, *, was_open: bool) -> None:
    """Refuse a file that is no store, before anything is written to it or beside it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not header or (was_open and not header.startswith(_MAGIC)):
        return  # nothing there to lose, or a store whose beginning was overwritten
    mark = int.from_bytes(header[_APPLICATION_ID_AT])
    if (
        not header.startswith(_MAGIC)
        or mark not in {0, APPLICATION_ID}
        or (mark == 0 and _has_tables(path, unreadable=not was_open))
    ):
        raise StoreError("it must be a store of automask or a new file, but holds something else; it was left as it is")


def _has_tables(path: Path, *, unreadable: bool) -> bool:
    # immutable: reads without leaving a lock or a log beside somebody else's file
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as db:
        try:
            return db.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
        except sqlite3.DatabaseError:
            return unreadable


def _damage(path: Path) -> str:
    """Say what is wrong with the file; empty if nothing is."""
    if not path.exists() or not path.stat().st_size:
        return ""
    # Read-only: a damaged file, with its log, goes aside as it was found.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
        try:
            found: str = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
            return str(error) if damaged else ""
    return "" if found == "ok" else found.replace("\n", " ")


def _put_aside(path: Path, damage: str) -> None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    _LOG.error("the request store %s is damaged (%s): kept as %s, an empty one takes its place", path, damage, aside)


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its log the same mode
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _check_mark(db)
        for setting in _SETTINGS:
            db.execute(setting)
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _check_mark(db: sqlite3.Connection) -> None:
    # Once more, because a table may so far have been written to the log only.
    mark = db.execute("PRAGMA application_id").fetchone()[0]
    if mark != APPLICATION_ID and db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError("it must be a store of automask or a new file, but holds something else")
