"""The tables in PostgreSQL, and the migration of older ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg import Connection, sql

from ..errors import StoreError

__all__ = ["MIGRATIONS", "SCHEMA", "migrate"]

SCHEMA: Final = "automask"
"""The schema of the tables, so that the database can hold other tables too."""

_LOCK: Final = int.from_bytes(b"automask")  # a number that no other program is likely to lock
_OLDEST: Final = 13  # supported version of PostgreSQL

# Never change a released step: tables of its version exist.
_REQUESTS = """
CREATE TABLE requests (
    id text PRIMARY KEY,
    owner text NOT NULL,
    model text NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    position bigint NOT NULL UNIQUE DEFAULT nextval('positions'),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    fence bigint NOT NULL DEFAULT 0,
    lease_until double precision,
    idempotency_key bytea,
    digest bytea NOT NULL,
    size bigint NOT NULL,
    created double precision NOT NULL,
    deadline double precision,
    started double precision,
    ended double precision,
    ended_by text,
    expires double precision,
    error bytea,
    CHECK ((state = 'PROCESSING') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('QUEUED', 'PROCESSING')) = (ended IS NULL)),
    CHECK ((state = 'FAILED') = (error IS NOT NULL)),
    CHECK ((ended IS NULL) = (expires IS NULL))
)
"""
_PAYLOADS = """
CREATE TABLE {} (
    id text PRIMARY KEY REFERENCES requests ON DELETE CASCADE,
    data bytea,
    object text UNIQUE REFERENCES objects,
    CHECK ((data IS NULL) <> (object IS NULL))
)
"""
_KEYS = """
CREATE TABLE keys (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    digest bytea NOT NULL,
    credits bigint,
    rate text,
    models text NOT NULL,
    created double precision NOT NULL
)
"""

MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        "CREATE SEQUENCE positions",
        _REQUESTS,
        # The foreign keys to this table protect objects in use from being deleted.
        "CREATE TABLE objects (path text PRIMARY KEY, collect_after double precision)",
        _PAYLOADS.format("tasks"),
        _PAYLOADS.format("results"),
        # Photos and masks are compressed already.
        "ALTER TABLE tasks ALTER data SET STORAGE EXTERNAL",
        "ALTER TABLE results ALTER data SET STORAGE EXTERNAL",
        "CREATE UNIQUE INDEX requests_key ON requests (owner, idempotency_key) WHERE idempotency_key IS NOT NULL",
        "CREATE INDEX requests_queue ON requests (position) WHERE state = 'QUEUED'",
        "CREATE INDEX requests_leases ON requests (lease_until) WHERE state = 'PROCESSING'",
        "CREATE INDEX requests_deadlines ON requests (deadline) WHERE ended IS NULL AND deadline IS NOT NULL",
        "CREATE INDEX requests_expires ON requests (expires) WHERE expires IS NOT NULL",
        "CREATE INDEX objects_unused ON objects (collect_after) WHERE collect_after IS NOT NULL",
        _KEYS,
        "CREATE TABLE buckets (kind text, name text, rate text, count numeric NOT NULL, full_at numeric NOT NULL, "
        "PRIMARY KEY (kind, name, rate))",
    ),
    (
        "ALTER TABLE keys ADD COLUMN expires double precision, ADD COLUMN old_id text UNIQUE, "
        "ADD COLUMN old_digest bytea, ADD COLUMN old_until double precision",
    ),
    ("ALTER TABLE requests ADD COLUMN put_backs integer NOT NULL DEFAULT 0 CHECK (put_backs >= 0)",),
    ("ALTER TABLE requests ADD COLUMN is_large boolean NOT NULL DEFAULT false",),
)
"""The statements from each version to the next, starting with the empty schema."""


def migrate(connection: Connection, steps: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Migrate the tables to the newest version, or leave them unchanged. Concurrent calls are safe.

    Parameters
    ----------
    connection
        A connection in autocommit mode, with `SCHEMA` first in its search path.
    steps
        The statements from each version to the next.

    Raises
    ------
    StoreError
        The tables have a newer version than this program supports, the schema holds other tables, or PostgreSQL is
        too old.
    """
    found = connection.info.server_version // 10000
    if found < _OLDEST:
        raise StoreError(f"it must be PostgreSQL {_OLDEST} or newer, got {found}")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        version = _version(connection)
        if version > len(steps):
            raise StoreError(
                f"the version of the schema {SCHEMA} must be at most {len(steps)}, got {version}: a newer automask "
                "wrote it; use that version, or another database"
            )
        for step in steps[version:]:
            for statement in step:
                connection.execute(statement.encode())
        if version < len(steps):
            connection.execute("DELETE FROM version")
            connection.execute("INSERT INTO version VALUES (%s)", [len(steps)])


def _version(connection: Connection) -> int:
    """Return the version of the tables, 0 if there are none."""
    if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [SCHEMA]).fetchone():
        connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
    found = {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [SCHEMA])}
    if not found:
        connection.execute("CREATE TABLE version (version integer NOT NULL)")
        return 0
    if "version" not in found:
        raise StoreError(f"the schema {SCHEMA} must be automask's own, but holds the tables {', '.join(sorted(found))}")
    # Qualified, so that a missing permission is reported as such, not as a missing table.
    table = sql.Identifier(SCHEMA, "version")
    row = connection.execute(sql.SQL("SELECT max(version) FROM {}").format(table)).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
