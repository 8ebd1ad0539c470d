"""Opening the SQLite file of the request store: checks that it is a whole store, and sets it up."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ...config.locations import require_regular_file
from ...errors import StoreError
from .damage import MAX_VERSION, find_damage
from .file_lock import FileLock
from .header import Header, read_header
from .schema import APPLICATION_ID, MIGRATIONS, migrate, newer_version

__all__ = ["explain", "is_full", "open_database"]

_LOG = logging.getLogger(__name__)
_BUSY_SECONDS: Final = 10.0
_TABLES: Final = {"requests", "tasks", "results"}
# An exceeded quota (EDQUOT) is an I/O error to SQLite; only a full disk (ENOSPC) is SQLITE_FULL.
_FULL: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SETTINGS: Final = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # has no effect after the first table
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # photos are private: deleted bytes are overwritten
    f"PRAGMA journal_size_limit = {16 << 20}",
)


def open_database(path: Path) -> tuple[sqlite3.Connection, FileLock]:
    """Open the file of a store; create it if there is none.

    A damaged file is renamed, and an empty one takes its place.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    A connection in autocommit mode, and the lock; it is still `alone` if no other process has the file open.

    Raises
    ------
    StoreError
        The file is not a store or not a regular file, has a newer version, is damaged while another process has it
        open, or cannot be opened. It is left unchanged.
    """
    lock = None
    try:
        for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
            require_regular_file(path.with_name(path.name + suffix))
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_path = path.with_name(f"{path.name}.lock")
        is_store = _check_ours(path, was_open=lock_path.exists())
        lock = FileLock(lock_path)
        damage = find_damage(path, timeout=_BUSY_SECONDS) if is_store else ""
        if damage and not lock.alone:
            raise StoreError(
                f"it is damaged ({damage}) and another process has it open: stop that process, then start again"
            )
        if damage:
            _rename_damaged(path, damage)
        return _connect(path), lock
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        if lock:
            lock.close()
        raise explain(path, error) from error


def is_full(error: BaseException | None) -> bool:
    """Return whether an error of SQLite means that the disk or its quota is full."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in _FULL


def explain(path: Path, error: Exception) -> StoreError:
    """Return the error to raise instead of one of SQLite or the system; it says what to do.

    Parameters
    ----------
    path
        The file of the store.
    error
        The error that was raised.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    not_text = isinstance(error, UnicodeDecodeError) or (isinstance(error, sqlite3.Error) and "UTF-8" in str(error))
    if is_full(error):
        hint = "; free some space on its disk"
    elif not_text or code & 0xFF in _DAMAGED:
        hint = "; it is damaged: restart the server, which renames it and starts with an empty one"
    elif code & 0xFF == sqlite3.SQLITE_BUSY:
        hint = f"; another process locked it for {_BUSY_SECONDS:g} s"
    else:
        hint = ""
    return StoreError(f"the request store {path}: {error}{hint}")


def _check_ours(path: Path, *, was_open: bool) -> bool:
    """Return whether the file is a store, possibly a damaged one; False if it is new or empty.

    Writes nothing to the file or beside it.

    Parameters
    ----------
    path
        The file.
    was_open
        Whether a store was open at this path before.

    Raises
    ------
    StoreError
        It is not a store, or has a newer version.
    """
    header = read_header(path) if path.exists() else Header(b"")
    if not header.content:
        return False
    if header.is_sqlite and header.application_id == APPLICATION_ID:
        _check_version(header.user_version)
        return True
    tables = _find_tables(path) if header.is_sqlite else None
    if header.is_sqlite and tables == set() and header.application_id == 0:
        return False  # a new file without tables
    # Damage may have changed the mark, or anything else.
    if was_open and (not tables or tables >= _TABLES):
        return True
    raise StoreError("it must be a store of automask or a new file, but holds something else; left unchanged")


def _check_version(version: int) -> None:
    if len(MIGRATIONS) < version <= MAX_VERSION:
        raise newer_version(version, len(MIGRATIONS))


def _find_tables(path: Path) -> set[str] | None:
    """Return the names of the tables, None if they cannot be read."""
    # immutable: reads without creating a lock or a log beside a file that may not be ours
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as db:
        try:
            return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return None


def _rename_damaged(path: Path, damage: str) -> None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    _LOG.error("the request store %s is damaged (%s): renamed to %s, starting with an empty one", path, damage, aside)


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite creates its log with the same mode
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
    # Again, through SQLite: a table may so far be in the log only.
    mark = db.execute("PRAGMA application_id").fetchone()[0]
    if mark != APPLICATION_ID and db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError("it must be a store of automask or a new file, but holds something else")
