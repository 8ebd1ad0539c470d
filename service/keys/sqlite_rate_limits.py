"""Token buckets in an SQLite file, shared by the servers of one machine: one row each."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from typing import Final

from .rate_limits import Rate, RateLimiter

__all__ = ["SqliteRateLimiter"]

_GET: Final = "SELECT full_ns, rest FROM buckets WHERE kind = ? AND name = ? AND rate = ?"
_SET: Final = "INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)"
_DELETE_FULL: Final = "DELETE FROM buckets WHERE full_ns + (rest > 0) <= ?"


class SqliteRateLimiter(RateLimiter):
    """Token buckets in a file, shared by all processes of this machine. Thread-safe.

    Parameters
    ----------
    connection
        Connection to a file with the table ``buckets``, used by this limiter alone, so that waiting for another process
        holds up nothing else.
    kind
        Kind of call; each has its own buckets.
    errors
        Returns a context that converts errors of SQLite.
    clock
        Monotonic clock that all processes share, in nanoseconds. It may start again with the machine.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        kind: str,
        *,
        errors: Callable[[], AbstractContextManager[None]],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._connection, self._kind, self._errors, self._clock = connection, kind, errors, clock
        self._lock = Lock()

    def _take(self, name: str, rate: Rate) -> int:
        with self._lock, self._errors(), self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")  # one process at a time reads and writes a bucket
            return self._try(connection, (self._kind, name, str(rate)), rate, self._clock())

    def _try(self, connection: sqlite3.Connection, bucket: tuple[str, str, str], rate: Rate, now: int) -> int:
        row = connection.execute(_GET, bucket).fetchone()
        if row is None:  # deleting now and then is enough
            connection.execute(_DELETE_FULL, [now])
        # The time when the bucket is full again, in nanoseconds times the rate's count: a whole number, so nothing is
        # rounded. It is stored in two parts, because the product has more than 64 bits.
        full_at = row[0] * rate.count + row[1] if row else 0
        latest = (now + rate.nanoseconds) * rate.count
        if full_at > latest:  # the clock started again
            full_at = 0
        full_at = max(full_at, now * rate.count) + rate.nanoseconds
        if full_at > latest:
            return -(-(full_at - latest) // rate.count)
        connection.execute(_SET, [*bucket, *divmod(full_at, rate.count)])
        return 0
