"""Opening the key store at a location."""

from __future__ import annotations

from pathlib import Path

from ..config.locations import PostgresUrl
from ..postgres.dependency import require_postgres
from .protocol import KeyStore
from .sqlite import SqliteKeyStore

__all__ = ["open_key_store"]


def open_key_store(location: Path | PostgresUrl, *, create: bool = False) -> KeyStore:
    """Open a key store.

    Parameters
    ----------
    location
        Path of an SQLite file, or URL of a PostgreSQL database.
    create
        Create a missing SQLite file. Missing tables of a database are always created.

    Raises
    ------
    StoreError
        It cannot be opened.
    MissingDependencyError
        The PostgreSQL driver is not installed.
    """
    if isinstance(location, PostgresUrl):
        require_postgres()
        from .postgres import PostgresKeyStore

        return PostgresKeyStore(location)
    return SqliteKeyStore(location, create=create)
