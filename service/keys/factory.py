"""Opens the keys that belong to a place: a path, or the URL of a database."""

from __future__ import annotations

from pathlib import Path

from ..config.locations import PostgresUrl
from ..postgres.dependency import require_postgres
from .sqlite import SqliteKeyStore
from .store import KeyStore

__all__ = ["open_key_store"]


def open_key_store(place: Path | PostgresUrl, *, create: bool = False) -> KeyStore:
    """Open keys.

    Parameters
    ----------
    place
        The path of an SQLite file, or the URL of a PostgreSQL database.
    create
        Make the file where there is none; the tables of a database are made anyway.

    Raises
    ------
    StoreError
        It cannot be opened.
    MissingDependencyError
        What speaks to the database is not installed.
    """
    if isinstance(place, PostgresUrl):
        require_postgres()
        from .postgres import PostgresKeyStore

        return PostgresKeyStore(place)
    return SqliteKeyStore(place, create=create)
