"""Checks whether the SQLite file of a request store is intact: its pages, its tables, and the values in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from ...states import State
from .header import read_header
from .schema import APPLICATION_ID, MIGRATIONS, migrate

__all__ = ["MAX_VERSION", "find_damage", "is_damage"]

MAX_VERSION: Final = 999
"""The highest version that a file of a newer automask may have; a higher number is damage."""

# What the disk, the system and other processes can cause; every other error is in the file's content.
_NOT_IN_THE_FILE: Final = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
}
_TEXTS: Final = (
    "SELECT id, owner, model, idempotency_key FROM requests",
    "SELECT id, NULL, NULL, NULL FROM tasks",
    "SELECT id, NULL, NULL, NULL FROM results",
)
_MAX_TIME: Final = 253402300799  # end of the year 9999, the last that protobuf's Timestamp holds
_TIME: Final = f"typeof({{0}}) = 'real' AND {{0}} BETWEEN 0 AND {_MAX_TIME}"
_WRONG_VALUES: Final = f"""
SELECT id FROM requests WHERE NOT (
    state IN ({", ".join(f"'{state}'" for state in State)})
    AND typeof(id) = 'text' AND typeof(owner) = 'text' AND typeof(model) = 'text' AND typeof(digest) = 'blob'
    AND typeof(position) = 'integer' AND abs(position) < 1 << 53
    AND typeof(attempts) = 'integer' AND attempts BETWEEN 0 AND 1 << 31
    AND typeof(put_backs) = 'integer' AND put_backs BETWEEN 0 AND 1 << 31
    AND typeof(is_large) = 'integer' AND is_large IN (0, 1)
    AND typeof(fence) = 'integer' AND fence BETWEEN 0 AND 1 << 53
    AND typeof(idempotency_key) IN ('text', 'null') AND typeof(error) IN ('blob', 'null')
    AND typeof(deadline) IN ('real', 'null') AND typeof(lease_until) IN ('real', 'null')
    AND {_TIME.format("created")}
    AND {" AND ".join(f"({name} IS NULL OR {_TIME.format(name)})" for name in ("started", "ended", "expires"))}
    AND (ended IS NOT NULL OR id IN (SELECT id FROM tasks))
    AND (state <> 'COMPLETED' OR id IN (SELECT id FROM results))
) LIMIT 1
"""  # noqa: S608 (constants)


def find_damage(path: Path, *, timeout: float) -> str:
    """Return what is wrong with a file; empty if nothing is. The file and its log are not changed.

    Parameters
    ----------
    path
        An SQLite file that is a store, of this version or an older one.
    timeout
        Seconds to wait for a lock.

    Raises
    ------
    sqlite3.Error
        The file cannot be read, for a reason that is not in its content.
    """
    header = read_header(path)
    if not header.is_sqlite:
        return "it does not begin as an SQLite file"
    if not set(header.formats) <= {1, 2}:
        return f"unknown versions of the file format, {header.formats}"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout)) as db:
            return " ".join(next(_problems(db), "").split())
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        return " ".join(str(error).split())


def is_damage(error: Exception) -> bool:
    """Return whether an error of SQLite comes from the file's content.

    Parameters
    ----------
    error
        An error raised while the file was read.
    """
    # Text that is no UTF-8 is an OperationalError without a code, or inside a message of SQLite a UnicodeDecodeError.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_IN_THE_FILE


def _problems(db: sqlite3.Connection) -> Iterator[str]:
    """Find problems; each check needs a file that passed the ones before."""
    ((verdict,),) = db.execute("PRAGMA integrity_check(1)")
    if verdict != "ok":
        yield verdict
    ((mark,),) = db.execute("PRAGMA application_id")
    if mark != APPLICATION_ID:
        yield f"its application id is {mark:#x}"
    ((version,),) = db.execute("PRAGMA user_version")
    if not 0 <= version <= MAX_VERSION:
        yield f"it has version {version}"
    if version > len(MIGRATIONS):
        return  # a newer server is migrating it: `migrate` refuses it
    if missing := _schema_of(version) - _schema(db):
        yield f"{min(missing)[0]} is missing or changed"
    if version == len(MIGRATIONS):
        yield from _wrong_rows(db)


def _wrong_rows(db: sqlite3.Connection) -> Iterator[str]:
    for query in _TEXTS:
        db.execute(query).fetchall()  # decodes every text
    if wrong := db.execute(_WRONG_VALUES).fetchone():
        yield f"the values of request {wrong[0]} are invalid"
    if orphan := db.execute("PRAGMA foreign_key_check").fetchone():
        yield f"a row of {orphan[0]} belongs to no request"


def _schema_of(version: int) -> set[tuple[str, str, str, str]]:
    """Return the tables and indexes of a version."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, MIGRATIONS[:version])
        return _schema(db)


def _schema(db: sqlite3.Connection) -> set[tuple[str, str, str, str]]:
    return set(db.execute("SELECT name, type, tbl_name, coalesce(sql, '') FROM sqlite_master"))
