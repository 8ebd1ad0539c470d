"""Keys in a PostgreSQL database: for servers on any number of machines, which count credits and rates together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..config.locations import PostgresUrl
from ..postgres.database import Database, Db
from .postgres_rate_limits import PostgresRateLimiter
from .rate_limits import RateLimiter
from .store import Execute, KeyStore

__all__ = ["PostgresKeyStore"]

T = TypeVar("T")

_CONNECTIONS = 4


class PostgresKeyStore(KeyStore):
    """The keys in a database, in the schema that requests are in too.

    Parameters
    ----------
    url
        Where it is; the tables are made if there are none.

    Raises
    ------
    StoreError
        It cannot be reached or used. Where it is only away, `UnavailableError` too; every method raises it then.
    """

    is_remote = True
    _to_change = " FOR UPDATE"

    def __init__(self, url: PostgresUrl) -> None:
        self._database = Database(url, connections=_CONNECTIONS)

    def close(self) -> None:
        """Close the connections; closing again does nothing."""
        self._database.close()

    def limiter(self, kind: str) -> RateLimiter:
        """Make one that all servers share."""
        return PostgresRateLimiter(self._database, kind)

    def _look(self, work: Callable[[Execute], T]) -> T:
        return self._database.run(lambda db: work(_executing(db)))

    def _change(self, work: Callable[[Execute], T], *, durable: bool) -> T:  # noqa: ARG002 (all is, here)
        return self._database.run(lambda db: work(_executing(db)), twice=False)


def _executing(db: Db) -> Execute:
    def execute(statement: str, values: Sequence[object]) -> Any:  # noqa: ANN401 (psycopg's cursor)
        return db.execute(statement.replace("?", "%s").encode(), values)

    return execute
