"""Opens the request store at a location: a path, or the URL of a database."""

from __future__ import annotations

from pathlib import Path

from automask.errors import ParameterError

from ..config.locations import PostgresUrl
from ..postgres.dependency import require_postgres
from .clock import Clock
from .policy import StorePolicy
from .protocol import Store
from .sqlite.store import SqliteStore

__all__ = ["open_store"]


def open_store(
    location: Path | PostgresUrl,
    policy: StorePolicy,
    *,
    media: str | None = None,
    media_from: int = 0,
    clock: Clock | None = None,
) -> Store:
    """Open a request store; create it if there is none.

    Parameters
    ----------
    location
        Path of an SQLite file, or URL of a PostgreSQL database.
    policy
        Limits and retention.
    media
        Folder, or URL of an object store, for large tasks and results; None keeps them in the database.
    media_from
        Minimum size, in bytes, of what is stored there.
    clock
        The time; by default the machine's for SQLite, the database's for PostgreSQL.

    Raises
    ------
    StoreError
        The store cannot be opened.
    ParameterError
        `media` is not a folder or URL, or is set for an SQLite file.
    MissingDependencyError
        The driver of the database or of the object store is not installed.
    """
    if isinstance(location, PostgresUrl):
        require_postgres()
        from .postgres.store import PostgresStore

        return PostgresStore(location, policy, media=media, media_from=media_from, clock=clock)
    if media is not None:
        raise ParameterError("media", "come with a store in PostgreSQL", media)
    return SqliteStore(location, policy, clock=clock)
