"""Where requests and keys are kept: a path, or the URL of a database, whose password is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from automask.errors import ParameterError

__all__ = ["PostgresUrl", "parse_location"]

_SCHEMES: Final = ("postgresql://", "postgres://")
_RIGHT: Final = (
    "be a path or a URL such as postgresql://user:password@host:5432/database, with what is special in user and "
    "password written as %40 for @, %2F for / and so on"
)


class PostgresUrl:
    """The URL of a PostgreSQL database. Its text and repr tell where it is, never who comes with which password.

    Parameters
    ----------
    secret
        The URL as libpq takes it; what it leaves out libpq takes from ``PGHOST`` and its like.

    Attributes
    ----------
    secret
        As given.

    Raises
    ------
    ParameterError
        It is none. The error does not repeat it.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        try:
            _, netloc, path, query, fragment = urlsplit(secret)
        except ValueError:
            netloc, path, query, fragment = "", "", "", "?"
        # Else what is special in a password has cut it in two, and its rest would be taken for something else.
        if fragment or "@" in path + query or not secret.startswith(_SCHEMES):
            raise ParameterError("the URL of the database", _RIGHT, "another")
        self._shown = f"postgresql://{netloc.rpartition('@')[2]}{path}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresUrl) and other.secret == self.secret

    def __hash__(self) -> int:
        return hash(self.secret)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"PostgresUrl({self._shown!r})"


def parse_location(place: object) -> object:
    """Make a `PostgresUrl` of the text of one, and leave all else to be a path."""
    if isinstance(place, str) and place.startswith(_SCHEMES):
        return PostgresUrl(place)
    return place if isinstance(place, PostgresUrl) else Path(place) if isinstance(place, str) else place
