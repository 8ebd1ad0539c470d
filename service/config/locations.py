"""Locations of request and key stores: a path, or the URL of a PostgreSQL database, whose password is never shown."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from automask.errors import ParameterError

from ..errors import StoreError

__all__ = ["PostgresUrl", "invalid_url", "parse_location", "require_regular_file"]

_SCHEMES: Final = ("postgresql://", "postgres://")
_REQUIREMENT: Final = (
    "be a path or a URL such as postgresql://user:password@host:5432/database, with special characters of user and "
    "password percent-encoded (%40 for @, %2F for /, %20 for a space)"
)
# Not paths: "mysql://…", "user:password@host/…", and "host=… password=…" as libpq takes it; "./user:x@y" is one.
_NOT_A_PATH: Final = re.compile(
    r"\s*(postgres(ql)?:|[a-z][a-z0-9+.-]+:/|[^/]*:[^/]*@|.*\bpassword\s*=)", re.IGNORECASE | re.DOTALL
)
_NOT_IN_A_URL: Final = re.compile(r"[\s\x00-\x1f\x7f]|%(?![0-9a-f]{2})|%00", re.IGNORECASE)
_HOST: Final = r"(\[[^\]]*\]|[^:,\[\]]*)(:\d*)?"  # with its port; one in brackets is an IPv6 address
_HOSTS: Final = re.compile(f"{_HOST}(,{_HOST})*")
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
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
        user, _, hosts = netloc.rpartition("@")
        # An unencoded character in a password would split it, and its rest would be shown as host, port or path, by
        # this class or by libpq.
        if (
            not secret.startswith(_SCHEMES)
            or _NOT_IN_A_URL.search(secret)
            or fragment
            or "@" in user + path + query
            or not _HOSTS.fullmatch(hosts)
            or not all("=" in part for part in query.split("&") if query)
        ):
            raise invalid_url()
        self._shown = f"postgresql://{hosts}{path}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresUrl) and other.secret == self.secret

    def __hash__(self) -> int:
        return hash(self.secret)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"PostgresUrl({self._shown!r})"


def parse_location(location: object) -> object:
    """Convert text to a `PostgresUrl` or a `Path`; return anything else unchanged.

    Raises
    ------
    ParameterError
        It is a URL of another kind, or an invalid one. The message does not repeat it, because it may hold a password.
    """
    if not isinstance(location, str):
        return location
    if not location.startswith(_SCHEMES) and _NOT_A_PATH.match(location):
        raise invalid_url()
    return PostgresUrl(location) if location.startswith(_SCHEMES) else Path(location)


def invalid_url() -> ParameterError:
    """Return the error for a URL that cannot be used. It does not repeat the URL."""
    return ParameterError("location", _REQUIREMENT, "<hidden>")


def require_regular_file(path: Path) -> None:
    """Raise `StoreError` if there is anything at a path but a regular file. Opening a pipe would never return."""
    if not path.exists():
        return
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise StoreError(f"{path} must be a regular file or a new one, but is {kind}")
