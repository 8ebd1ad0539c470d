"""Buckets of tokens that servers share: rows that one statement each fills up and takes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..postgres.database import Database, Db
from .rate_limits import Rate, RateLimiter

__all__ = ["PostgresRateLimiter"]

_TIME: Final = "coalesce(%(now)s::numeric, floor(extract(epoch FROM statement_timestamp())::numeric * 1000000000))"
# A row says when a bucket is full again, counted as `RateLimiter` does.
_TAKE: Final = f"""
INSERT INTO buckets AS bucket (kind, name, rate, count, full_at)
VALUES (%(kind)s, %(name)s, %(rate)s, %(count)s, {_TIME} * %(count)s + %(span)s)
ON CONFLICT (kind, name, rate) DO UPDATE SET full_at = greatest(bucket.full_at, {_TIME} * bucket.count) + %(span)s
    WHERE greatest(bucket.full_at, {_TIME} * bucket.count) + %(span)s <= ({_TIME} + %(span)s) * bucket.count
RETURNING xmax = 0
""".encode()  # noqa: S608 (constants)
_WAIT: Final = f"""
SELECT ceil((greatest(full_at, {_TIME} * count) + %(span)s - ({_TIME} + %(span)s) * count) / count) FROM buckets
WHERE kind = %(kind)s AND name = %(name)s AND rate = %(rate)s
""".encode()  # noqa: S608 (constants)
_FORGET: Final = f"""
DELETE FROM buckets WHERE (kind, name, rate) IN (
    SELECT kind, name, rate FROM buckets WHERE full_at <= {_TIME} * count FOR UPDATE SKIP LOCKED
)
""".encode()  # noqa: S608 (constants)


class PostgresRateLimiter(RateLimiter):
    """The same as `RateLimiter`, for all servers together.

    Parameters
    ----------
    database
        Where the buckets are.
    kind
        What the keys come for: each has buckets of its own.
    clock
        Nanoseconds; by default of the database's clock.
    """

    def __init__(self, database: Database, kind: str, *, clock: Callable[[], int] = lambda: -1) -> None:
        self._database, self._kind, self._clock = database, kind, clock

    def _wait(self, name: str, rate: Rate) -> int:
        now = self._clock()
        values = {
            "kind": self._kind,
            "name": name,
            "rate": str(rate),
            "count": rate.count,
            "span": rate.nanoseconds,
            "now": None if now < 0 else now,
        }

        def take(db: Db) -> int:
            taken = db.execute(_TAKE, values).fetchone()
            if taken is None:
                row = db.execute(_WAIT, values).fetchone()
                return max(1, int(row[0])) if row else 1
            if taken[0]:  # only then, so that it is done now and then
                db.execute(_FORGET, values)
            return 0

        return self._database.run(take, twice=False)
