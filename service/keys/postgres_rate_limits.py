"""Token buckets in PostgreSQL, shared by all servers: one row each, refilled and taken from in one statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..postgres.database import Database, Db
from .rate_limits import Rate, RateLimiter

__all__ = ["PostgresRateLimiter"]

_NOW: Final = "coalesce(%(now)s::numeric, floor(extract(epoch FROM statement_timestamp())::numeric * 1000000000))"
# `full_at` is the time when a bucket is full again, in nanoseconds times the rate's count, so nothing is rounded.
_TAKE_TOKEN: Final = f"""
INSERT INTO buckets AS bucket (kind, name, rate, count, full_at)
VALUES (%(kind)s, %(name)s, %(rate)s, %(count)s, {_NOW} * %(count)s + %(period)s)
ON CONFLICT (kind, name, rate) DO UPDATE SET full_at = greatest(bucket.full_at, {_NOW} * bucket.count) + %(period)s
    WHERE greatest(bucket.full_at, {_NOW} * bucket.count) + %(period)s <= ({_NOW} + %(period)s) * bucket.count
RETURNING xmax = 0
""".encode()  # noqa: S608 (constants)
_GET_WAIT: Final = f"""
SELECT ceil((greatest(full_at, {_NOW} * count) + %(period)s - ({_NOW} + %(period)s) * count) / count) FROM buckets
WHERE kind = %(kind)s AND name = %(name)s AND rate = %(rate)s
""".encode()  # noqa: S608 (constants)
_DELETE_FULL: Final = f"""
DELETE FROM buckets WHERE (kind, name, rate) IN (
    SELECT kind, name, rate FROM buckets WHERE full_at <= {_NOW} * count FOR UPDATE SKIP LOCKED
)
""".encode()  # noqa: S608 (constants)


class PostgresRateLimiter(RateLimiter):
    """Token buckets in a database, shared by all servers.

    Parameters
    ----------
    database
        Database with the table ``buckets``.
    kind
        Kind of call; each has its own buckets.
    clock
        Time in nanoseconds; -1 for the clock of the database.
    """

    def __init__(self, database: Database, kind: str, *, clock: Callable[[], int] = lambda: -1) -> None:
        self._database, self._kind, self._clock = database, kind, clock

    def _take(self, name: str, rate: Rate) -> int:
        now = self._clock()
        values = {
            "kind": self._kind,
            "name": name,
            "rate": str(rate),
            "count": rate.count,
            "period": rate.nanoseconds,
            "now": None if now < 0 else now,
        }

        def take(db: Db) -> int:
            taken = db.execute(_TAKE_TOKEN, values).fetchone()
            if taken is None:
                row = db.execute(_GET_WAIT, values).fetchone()
                return max(1, int(row[0])) if row else 1
            (is_new,) = taken
            if is_new:  # deleting now and then is enough
                db.execute(_DELETE_FULL, values)
            return 0

        return self._database.run(take, twice=False)
