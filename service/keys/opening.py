"""Opens the keys that belong to a place: a path, or the URL of a database."""

from __future__ import annotations

from pathlib import Path

from ..config.database_url import PostgresUrl
from ..postgres.needed import need_postgres
from .keys import Keys
from .sqlite import KeyFile

__all__ = ["open_keys"]


def open_keys(place: Path | PostgresUrl, *, create: bool = False) -> Keys:
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
        need_postgres()
        from .postgres import KeyTable

        return KeyTable(place)
    return KeyFile(place, create=create)
