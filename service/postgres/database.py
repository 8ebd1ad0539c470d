"""A PostgreSQL database that threads share: transactions that outlive a broken connection, and clear errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from ..config.locations import PostgresUrl
from ..errors import StoreError, UnavailableError
from .schema import SCHEMA, migrate

__all__ = ["Database", "Db", "StoreUnavailableError", "connect"]

T = TypeVar("T")
Db: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_PATIENCE: Final = 3.0  # seconds that a call waits for a connection
_AGAIN: Final = 2.0  # seconds after which a client may try again
_PASSING: Final = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.ReadOnlySqlTransaction,  # it was the primary until now
    errors.IdleInTransactionSessionTimeout,
)
# Where one server freezes half way, the others shall not wait for it for ever.
_LIMITS: Final = (
    "SET lock_timeout = '5s'",
    "SET statement_timeout = '30s'",
    "SET idle_in_transaction_session_timeout = '10s'",
    f"SET search_path = {SCHEMA}",
)

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it tells of every try; the store's callers say it once


class StoreUnavailableError(UnavailableError, StoreError):
    """The database, or what keeps its large objects, cannot be reached; that passes."""


class Database:
    """A pool of connections. Every method raises `StoreError` where the database fails, without its password.

    Parameters
    ----------
    url
        Where it is.
    connections
        How many to keep at most.
    greet
        Is given each new connection first.

    Raises
    ------
    StoreError
        It cannot be reached or used.
    """

    def __init__(self, url: PostgresUrl, *, connections: int, greet: Callable[[Db], None] = lambda _: None) -> None:
        self._url = url
        with self._explained(), closing(connect(url)) as connection:
            try:
                migrate(connection)
            except StoreError as error:
                raise StoreError(f"the database {url}: {error}") from error
            greet(connection)

        def configure(connection: Db) -> None:
            _set_up(connection)
            greet(connection)

        self._pool: ConnectionPool[Db] = ConnectionPool(
            url.secret,
            kwargs=_options(url),
            min_size=1,
            max_size=connections,
            configure=configure,
            timeout=_PATIENCE,
            reconnect_timeout=_PATIENCE,  # then it begins anew with the next call, not minutes later
            open=True,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def run(self, work: Callable[[Db], T], *, twice: bool = True) -> T:
        """Do everything inside or nothing; what is done is on the database's disk afterwards.

        Where the connection breaks, it is done once more on a fresh one.

        Parameters
        ----------
        work
            What to do with a connection.
        twice
            Also where it breaks at the very end, when nobody knows whether the first time counted.
        """
        is_at_end = False

        def noting(connection: Db) -> T:
            nonlocal is_at_end
            result = work(connection)
            is_at_end = True
            return result

        with self._explained():
            try:
                return self._run(noting)
            except (psycopg.OperationalError, errors.ReadOnlySqlTransaction) as error:
                if isinstance(error, PoolTimeout | errors.QueryCanceled | errors.LockNotAvailable | errors.DiskFull):
                    raise
                if is_at_end and not twice:
                    raise
                self._pool.check()  # a restart breaks all connections; the others shall not be tried one by one
                return self._run(work)

    def _run(self, work: Callable[[Db], T]) -> T:
        with self._pool.connection() as connection:
            try:
                with connection.transaction():
                    return work(connection)
            except errors.ReadOnlySqlTransaction:
                connection.close()  # the next one may lead to the new primary
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise self._away(f"no connection within {_PATIENCE:g} s") from error
        except PoolClosed as error:
            raise StoreError(f"the database {self._url}: it was closed by this program") from error
        except psycopg.Error as error:
            raise self.explain(error) from error

    def explain(self, error: psycopg.Error) -> StoreError:
        """Say what an error means for the one who runs the server."""
        text = " ".join(str(error).split())
        gone = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
        if gone or isinstance(error, (*_PASSING, TooManyRequests)) or (error.sqlstate or "").startswith("08"):
            return self._away(text)
        return StoreError(f"the database {self._url}: {text}")

    def _away(self, text: str) -> StoreUnavailableError:
        return StoreUnavailableError(f"the database {self._url} is away: {text}", retry_after=_AGAIN)


def connect(url: PostgresUrl) -> Db:
    """Open a connection that leaves transactions to its user; raises what psycopg raises."""
    connection = psycopg.connect(url.secret, **_options(url))
    try:
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _options(url: PostgresUrl) -> dict[str, Any]:
    # A machine that vanishes says nothing; without these, one would wait for it for hours.
    said: dict[str, Any] = {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "application_name": "automask",
    }
    given = psycopg.conninfo.conninfo_to_dict(url.secret)
    return {name: value for name, value in said.items() if name not in given} | {"autocommit": True}


def _set_up(connection: Db) -> None:
    connection.execute("; ".join(_LIMITS).encode())
