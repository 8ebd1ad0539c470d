"""Locations of request and key stores: a path, or the URL of a PostgreSQL database, whose password is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from automask.errors import ParameterError

__all__ = ["PostgresUrl", "parse_location"]

_SCHEMES: Final = ("postgresql://", "postgres://")
_REQUIREMENT: Final = (
    "be a path or a URL such as postgresql://user:password@host:5432/database, with special characters of user and "
    "password percent-encoded (%40 for @, %2F for /)"
)


class PostgresUrl:
    """The URL of a PostgreSQL database. Its str and repr contain neither user nor password.

    Parameters
    ----------
    secret
        The URL in the form of libpq, which takes omitted parts from ``PGHOST`` and similar variables.

    Attributes
    ----------
    secret
        The complete URL, with user and password.

    Raises
    ------
    ParameterError
        The URL is invalid. The message does not repeat it.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        try:
            _, netloc, path, query, fragment = urlsplit(secret)
        except ValueError:
            netloc, path, query, fragment = "", "", "", "?"
        # An unencoded character in a password would split it, and its rest would be shown as host or path.
        if fragment or "@" in path + query or not secret.startswith(_SCHEMES):
            raise ParameterError("database URL", _REQUIREMENT, "<hidden>")
        self._shown = f"postgresql://{netloc.rpartition('@')[2]}{path}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresUrl) and other.secret == self.secret

    def __hash__(self) -> int:
        return hash(self.secret)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"PostgresUrl({self._shown!r})"


def parse_location(location: object) -> object:
    """Convert text to a `PostgresUrl` or a `Path`; return anything else unchanged."""
    if not isinstance(location, str):
        return location
    return PostgresUrl(location) if location.startswith(_SCHEMES) else Path(location)
