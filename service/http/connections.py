"""Connections of the HTTP server: timeouts for idle clients and slow readers, and a reserve of file descriptors."""

from __future__ import annotations

import asyncio
import os
import resource
from typing import ClassVar, Final

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["ACCEPTS", "Connection", "Limits", "limited"]

ACCEPTS: Final = 4
"""Connections that are accepted in one pass of the event loop; the first is closed a few passes later."""

_RESERVE: Final = 32  # file descriptors for the rest of the server: store, keys, gRPC, decoders, fetches
_ALWAYS: Final = 16  # connections, however few descriptors there are
_LOG_SECONDS: Final = 10.0

_log = structlog.get_logger(__name__)


class Limits:
    """Limits of all connections of one server.

    Parameters
    ----------
    write_timeout
        Seconds that a client has to read what is sent to it.
    """

    def __init__(self, write_timeout: float) -> None:
        self.write_timeout = write_timeout
        self._open: dict[Connection, None] = {}  # oldest first
        self._logged, self._closed = -_LOG_SECONDS, 0

    def add(self, connection: Connection) -> None:
        """Add a connection; close the oldest idle one if only the reserve of file descriptors is left."""
        self._open[connection] = None
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(self._open) <= _ALWAYS or limit == resource.RLIM_INFINITY:
            return
        if len(os.listdir("/dev/fd")) < limit - _RESERVE:  # noqa: PTH208 (only their number counts)
            return
        oldest = next((one for one in self._open if one.is_idle), connection)
        self.remove(oldest)
        oldest.transport.abort()
        self._closed += 1
        now = connection.loop.time()
        if now - self._logged >= _LOG_SECONDS:
            _log.warning("file descriptors run out, so idle connections are closed", closed=self._closed, limit=limit)
            self._logged, self._closed = now, 0

    def remove(self, connection: Connection) -> None:
        """Remove a connection that was closed."""
        self._open.pop(connection, None)


class Connection(H11Protocol):
    """Closes a connection without a complete request in time, or whose client does not read; uvicorn waits forever."""

    limits: ClassVar[Limits]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to watch the connection."""
        super().connection_made(transport)
        self._last_cycle: object = self
        self._unread_since: float | None = None
        self._check()
        self.limits.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to watch the connection."""
        self._timer.cancel()
        self.limits.remove(self)
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress."""
        return self.cycle is None or self.cycle.response_complete

    def _check(self) -> None:
        """Close the connection if no request came since the last check and none is in progress."""
        if self.is_idle and self._last_cycle is self.cycle:
            self.transport.close()  # sends the rest of a response first
        self._last_cycle = self.cycle if self.is_idle else self
        self._abort_if_unread()
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._check)

    def _abort_if_unread(self) -> None:
        """Abort the connection if its client has not read what waits for it in time."""
        if not (self.transport.is_closing() or self.flow.write_paused):
            self._unread_since = None
            return
        now = self.loop.time()
        self._unread_since = now if self._unread_since is None else self._unread_since
        if now - self._unread_since >= self.limits.write_timeout:
            self.transport.abort()


def limited(limits: Limits) -> type[Connection]:
    """Return the class of the connections with these limits; uvicorn takes a class."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
