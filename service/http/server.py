"""The HTTP server: uvicorn in the event loop of the gRPC server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from automask.v1.mask_pb2 import MaskResponse

from ..config.settings import Settings
from ..core.inflight import InFlight
from ..core.operations import Operations
from ..sockets import bind, format_address
from ..telemetry.calls import Observer
from .app import create_app
from .fetch import Fetcher

__all__ = ["HttpServer"]

_GRACE_SECONDS = 1  # for the last responses at shutdown
_IDLE_SECONDS = 5  # between two calls on a connection; the headers of a call may take up to twice as long


class _Protocol(H11Protocol):
    """Closes a connection without a complete request in time; uvicorn would wait forever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._last_cycle: object = self
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        """Close the connection if no request came since the last check and none is in progress."""
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self._last_cycle is self.cycle:
            self.transport.close()
        self._last_cycle = self.cycle if is_waiting else self
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._check)


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that installs no signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """The HTTP server.

    Parameters
    ----------
    settings
        Settings of the server.
    operations
        Operations of the server, shared with gRPC.
    observer
        Counts and logs calls.
    in_flight
        Limits the bytes of bodies and messages.

    Attributes
    ----------
    address
        ``host:port`` for clients; empty until the server is started.
    """

    def __init__(
        self, settings: Settings, operations: Operations[MaskResponse], observer: Observer, in_flight: InFlight
    ) -> None:
        self._settings, self._operations = settings, operations
        self._observer, self._in_flight = observer, in_flight
        self.address = ""

    async def start(self, port: int, *, grpc_port: int) -> None:
        """Listen on a port.

        Raises
        ------
        UnavailableError
            The port cannot be used, or is already in use.
        """
        sockets = bind(self._settings.host, port, use="HTTP")
        self.address = format_address(self._settings.host, sockets[0].getsockname()[1])
        fetcher = Fetcher(self._settings.fetch_urls, self._settings.max_image_bytes)
        app = create_app(
            self._operations, self._settings, fetcher, self._observer, self._in_flight, grpc_port=grpc_port
        )
        client_ca = self._settings.client_ca
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",  # `CallMiddleware` logs
                access_log=False,
                proxy_headers=False,  # `ForwardedHeaders` applies them
                server_header=False,
                timeout_keep_alive=min(_IDLE_SECONDS, ceil(self._settings.http_timeout)),
                timeout_graceful_shutdown=_GRACE_SECONDS,
                ssl_certfile=self._settings.tls_cert,
                ssl_keyfile=self._settings.tls_key,
                ssl_ca_certs=None if client_ca is None else str(client_ca),
                ssl_cert_reqs=ssl.CERT_NONE if client_ca is None else ssl.CERT_REQUIRED,
            )
        )
        for one in sockets:
            one.listen()  # connections wait until uvicorn accepts them
        self._serving = asyncio.create_task(self._server.serve(sockets))

    async def stop(self) -> None:
        """Stop listening; running calls have one second to finish."""
        self._server.should_exit = True
        await self._serving
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()  # uvicorn leaves TLS connections open whose client does not close them
        await asyncio.sleep(0)
