"""A PostgreSQL database that threads share: a connection pool, transactions with a retry, and errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from ..config.locations import PostgresUrl, invalid_url
from ..errors import StoreError, StoreUnavailableError
from .schema import SCHEMA, migrate

__all__ = ["Database", "Db", "connect"]

T = TypeVar("T")
Db: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_POOL_TIMEOUT: Final = 3.0  # seconds that a call waits for a connection
_RETRY_AFTER: Final = 2.0  # seconds
_TRANSIENT: Final = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.ReadOnlySqlTransaction,  # a failover: it was the primary until now
    errors.IdleInTransactionSessionTimeout,
)
# A server that freezes inside a transaction must not block the others for ever.
_LIMITS: Final = (
    "SET lock_timeout = '5s'",
    "SET statement_timeout = '30s'",
    "SET idle_in_transaction_session_timeout = '10s'",
    f"SET search_path = {SCHEMA}",
)

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it logs every attempt to connect; callers log once


class Database:
    """A pool of connections. Every method raises `StoreError` if the database fails; no error shows the password.

    Parameters
    ----------
    url
        URL of the database.
    connections
        Maximum number of connections.
    greet
        Called with each new connection.

    Raises
    ------
    StoreError
        The database cannot be reached or used, or its tables have a newer version.
    ParameterError
        The URL is invalid.
    """

    def __init__(self, url: PostgresUrl, *, connections: int, greet: Callable[[Db], None] | None = None) -> None:
        self._url = url
        with self._store_errors(), closing(connect(url)) as connection:
            try:
                migrate(connection)
            except StoreError as error:
                raise StoreError(f"the database {url}: {error}") from error
            if greet is not None:
                greet(connection)

        def configure(connection: Db) -> None:
            _set_up(connection)
            if greet is not None:
                greet(connection)

        self._pool: ConnectionPool[Db] = ConnectionPool(
            url.secret,
            kwargs=_options(url),
            min_size=1,
            max_size=connections,
            configure=configure,
            timeout=_POOL_TIMEOUT,
            reconnect_timeout=_POOL_TIMEOUT,  # then the next call tries again, instead of pauses of minutes
            open=True,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def run(self, work: Callable[[Db], T], *, twice: bool = True) -> T:
        """Run a transaction; once it has ended, its changes are on the database's disk.

        If the connection breaks, it is repeated once, on a fresh connection.

        Parameters
        ----------
        work
            What to do inside the transaction.
        twice
            Whether to repeat it also if the connection breaks during COMMIT: the first attempt may have been committed.
        """
        # One repetition at once, which depends on where the first attempt broke: a retry library adds nothing here.
        is_at_end = False

        def first(connection: Db) -> T:
            nonlocal is_at_end
            result = work(connection)
            is_at_end = True
            return result

        with self._store_errors():
            try:
                return self._run(first)
            except (psycopg.OperationalError, errors.ReadOnlySqlTransaction) as error:
                if isinstance(error, PoolTimeout | errors.QueryCanceled | errors.LockNotAvailable | errors.DiskFull):
                    raise
                if is_at_end and not twice:
                    raise
                self._pool.check()  # a restart breaks all connections: drop them together
                return self._run(work)

    def _run(self, work: Callable[[Db], T]) -> T:
        with self._pool.connection() as connection:
            try:
                with connection.transaction():
                    return work(connection)
            except errors.ReadOnlySqlTransaction:
                connection.close()  # the next connection may lead to the new primary
                raise

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise self._unavailable(f"no connection within {_POOL_TIMEOUT:g} s") from error
        except PoolClosed as error:
            raise StoreError(f"the database {self._url}: the connection pool is closed") from error
        except psycopg.Error as error:
            raise self.explain(error) from error

    def explain(self, error: psycopg.Error) -> StoreError:
        """Return the error to raise instead of one of psycopg: an `UnavailableError` if it is transient."""
        text = " ".join(str(error).split())
        gone = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
        if gone or isinstance(error, (*_TRANSIENT, TooManyRequests)) or (error.sqlstate or "").startswith("08"):
            return self._unavailable(text)
        return StoreError(f"the database {self._url}: {text}")

    def _unavailable(self, text: str) -> StoreUnavailableError:
        return StoreUnavailableError(f"the database {self._url} is unavailable: {text}", retry_after=_RETRY_AFTER)


def connect(url: PostgresUrl) -> Db:
    """Open a connection in autocommit mode; raises `psycopg.Error`."""
    connection = psycopg.connect(url.secret, **_options(url))
    try:
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _options(url: PostgresUrl) -> dict[str, Any]:
    # Without these, a machine that loses power is waited for for hours.
    defaults: dict[str, Any] = {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "application_name": "automask",
    }
    try:
        chosen = psycopg.conninfo.conninfo_to_dict(url.secret)
    except psycopg.ProgrammingError:  # it repeats the part that it cannot read, which may be of the password
        raise invalid_url() from None
    return {name: value for name, value in defaults.items() if name not in chosen} | {"autocommit": True}


def _set_up(connection: Db) -> None:
    connection.execute("; ".join(_LIMITS).encode())
