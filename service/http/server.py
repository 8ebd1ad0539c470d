"""The HTTP server: uvicorn in the event loop of the gRPC server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import uvicorn

from automask.v1.mask_pb2 import MaskResponse

from ..config.settings import Settings
from ..core.inflight import InFlight
from ..core.operations import Operations
from ..sockets import bind, format_address
from ..telemetry.calls import Observer
from .app import create_app
from .connections import ACCEPTS, Limits, limited
from .fetch import Fetcher

__all__ = ["HttpServer"]

_GRACE_SECONDS = 1  # for the last responses at shutdown
_BACKLOG = 2048
_IDLE_SECONDS = 5  # between two calls on a connection; the headers of a call may take up to twice as long


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that installs no signal handlers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(_BACKLOG)  # connections that wait for the server; asyncio would accept as many at once

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
                http=limited(Limits(self._settings.http_timeout)),
                backlog=ACCEPTS,
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
