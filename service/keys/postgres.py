"""The key store in PostgreSQL: servers on any number of machines share its credits and rate limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..config.locations import PostgresUrl
from ..postgres.database import Database, Db
from .postgres_rate_limits import PostgresRateLimiter
from .rate_limits import RateLimiter
from .sql import Execute, SqlKeyStore

__all__ = ["PostgresKeyStore"]

T = TypeVar("T")

_CONNECTIONS = 4


class PostgresKeyStore(SqlKeyStore):
    """The key store in a PostgreSQL database, in the same schema as requests.

    Parameters
    ----------
    url
        URL of the database; missing tables are created.

    Raises
    ------
    StoreError
        The database cannot be used. While it is only unreachable, the error is also an `UnavailableError`; then every
        method raises it.
    """

    is_remote = True
    _for_update = " FOR UPDATE"

    def __init__(self, url: PostgresUrl) -> None:
        self._database = Database(url, connections=_CONNECTIONS)

    def close(self) -> None:
        self._database.close()

    def limiter(self, kind: str) -> RateLimiter:
        return PostgresRateLimiter(self._database, kind)

    def _read(self, work: Callable[[Execute], T]) -> T:
        return self._database.run(lambda db: work(_execute_on(db)))

    def _write(self, work: Callable[[Execute], T], *, durable: bool) -> T:  # noqa: ARG002 (every commit is durable here)
        return self._database.run(lambda db: work(_execute_on(db)), twice=False)


def _execute_on(db: Db) -> Execute:
    def execute(statement: str, values: Sequence[object]) -> Any:  # noqa: ANN401 (psycopg's cursor)
        return db.execute(statement.replace("?", "%s").encode(), values)

    return execute
