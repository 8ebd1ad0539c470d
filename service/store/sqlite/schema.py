"""The tables of the request store in SQLite, and the migration of older files."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from ...errors import StoreError

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate", "newer_version"]

APPLICATION_ID: Final = int.from_bytes(b"amsk")
"""Marks an SQLite file as a request store."""

# Never change a released step: files of its version exist.
# Photos and results are in tables of their own, so that a change of state does not copy them.
_REQUESTS = """
CREATE TABLE requests (
    id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    position INTEGER NOT NULL UNIQUE,
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    fence INTEGER NOT NULL DEFAULT 0,
    lease_until REAL,
    idempotency_key TEXT,
    digest BLOB NOT NULL,
    created REAL NOT NULL,
    deadline REAL,
    started REAL,
    ended REAL,
    expires REAL,
    error BLOB,
    CHECK ((state = 'PROCESSING') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('QUEUED', 'PROCESSING')) = (ended IS NULL)),
    CHECK ((state = 'FAILED') = (error IS NOT NULL)),
    CHECK ((ended IS NULL) = (expires IS NULL))
)
"""

MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        _REQUESTS,
        "CREATE TABLE tasks (id TEXT PRIMARY KEY NOT NULL REFERENCES requests ON DELETE CASCADE, task BLOB NOT NULL)",
        "CREATE TABLE results (id TEXT PRIMARY KEY NOT NULL REFERENCES requests ON DELETE CASCADE, result BLOB "
        "NOT NULL)",
        "CREATE UNIQUE INDEX requests_key ON requests (owner, idempotency_key) WHERE idempotency_key IS NOT NULL",
        "CREATE INDEX requests_queue ON requests (state, position)",
        "CREATE INDEX requests_expires ON requests (expires) WHERE expires IS NOT NULL",
    ),
    ("ALTER TABLE requests ADD COLUMN put_backs INTEGER NOT NULL DEFAULT 0 CHECK (put_backs >= 0)",),
    ("ALTER TABLE requests ADD COLUMN is_large INTEGER NOT NULL DEFAULT 0 CHECK (is_large IN (0, 1))",),
)
"""The statements from each version to the next, starting with the empty file."""


def migrate(db: sqlite3.Connection, steps: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Migrate a file to the newest version, or leave it unchanged.

    Parameters
    ----------
    db
        A connection in autocommit mode.
    steps
        The statements from each version to the next.

    Raises
    ------
    StoreError
        The file has a newer version than this program supports.
    """
    db.execute("BEGIN IMMEDIATE")  # before the version is read: another process may be migrating it
    try:
        for statement in _missing(db, steps):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(steps)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _missing(db: sqlite3.Connection, steps: Sequence[Sequence[str]]) -> list[str]:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(steps):
        raise newer_version(version, len(steps))
    return [statement for step in steps[version:] for statement in step]


def newer_version(version: int, newest: int) -> StoreError:
    """Return the error for a file whose version is above the newest that this program supports."""
    return StoreError(
        f"its version must be at most {newest}, got {version}: a newer automask wrote it; use that version, or another "
        "file"
    )
