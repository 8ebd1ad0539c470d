"""Opens the request store that belongs to a place: a path, or the URL of a database."""

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
    place: Path | PostgresUrl,
    policy: StorePolicy,
    *,
    media: str | None = None,
    media_from: int = 0,
    clock: Clock | None = None,
) -> Store:
    """Open a request store, and make it if there is none.

    Parameters
    ----------
    place
        The path of an SQLite file, or the URL of a PostgreSQL database.
    policy
        How much and how long.
    media
        Folder or URL of an object store for large tasks and results; None keeps them in the database.
    media_from
        Bytes from which on they go there.
    clock
        The time; by default the machine's for a file, the database's for a database.

    Raises
    ------
    StoreError
        It cannot be opened.
    ParameterError
        `media` is no place, or comes with an SQLite file.
    MissingDependencyError
        What speaks to the database, or to the object store, is not installed.
    """
    if isinstance(place, PostgresUrl):
        require_postgres()
        from .postgres.store import PostgresStore

        return PostgresStore(place, policy, media=media, media_from=media_from, clock=clock)
    if media is not None:
        raise ParameterError("media", "come with a store in PostgreSQL", media)
    return SqliteStore(place, policy, clock=clock)
