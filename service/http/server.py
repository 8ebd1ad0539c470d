"""Where the application listens: uvicorn, in the event loop of the server."""

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
from ..core.operations import Operations
from ..sockets import bind, format_address
from ..telemetry.calls import Observer
from .app import create_app
from .fetch import Fetcher

__all__ = ["HttpServer"]

_LAST_WORDS_SECONDS = 1  # in which the last answers leave
_IDLE_SECONDS = 5  # between two calls over one connection; up to twice that for what a call begins with


class _Protocol(H11Protocol):
    """Ends a connection over which nobody says in time what they want; uvicorn would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waited_for: object = self
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        """Look whether anything was asked since the last look, and whether that is still being answered."""
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self._waited_for is self.cycle:
            self.transport.close()
        self._waited_for = self.cycle if is_waiting else self
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._check)


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the server around it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves HTTP.

    Parameters
    ----------
    settings
        Where to listen, and what to allow; `http_port` is set.
    operations
        What can be asked for.
    observer
        Counts and logs calls.

    Attributes
    ----------
    address
        Where clients connect to, once it was started: ``host:port``.
    """

    def __init__(self, settings: Settings, operations: Operations[MaskResponse], observer: Observer) -> None:
        self._settings, self._operations, self._observer = settings, operations, observer
        self.address = ""

    async def start(self, port: int, *, grpc_port: int) -> None:
        """Listen.

        Raises
        ------
        UnavailableError
            Nothing can listen there, or something does already.
        """
        sockets = bind(self._settings.host, port, use="HTTP")
        self.address = format_address(self._settings.host, sockets[0].getsockname()[1])
        fetcher = Fetcher(self._settings.fetch_urls, self._settings.max_image_bytes)
        app = create_app(self._operations, self._settings, fetcher, self._observer, grpc_port=grpc_port)
        authority = self._settings.client_ca
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",  # what there is to say, `CallMiddleware` does
                access_log=False,
                proxy_headers=False,  # the application reads them
                server_header=False,
                timeout_keep_alive=min(_IDLE_SECONDS, ceil(self._settings.http_timeout)),
                timeout_graceful_shutdown=_LAST_WORDS_SECONDS,
                ssl_certfile=self._settings.tls_cert,
                ssl_keyfile=self._settings.tls_key,
                ssl_ca_certs=None if authority is None else str(authority),
                ssl_cert_reqs=ssl.CERT_NONE if authority is None else ssl.CERT_REQUIRED,
            )
        )
        for one in sockets:
            one.listen()  # who connects before uvicorn takes over just waits
        self._serving = asyncio.create_task(self._server.serve(sockets))

    async def stop(self) -> None:
        """Listen no more; whatever still runs then is given its last moment."""
        self._server.should_exit = True
        await self._serving
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()  # over TLS, uvicorn leaves those open whose client does not say goodbye
        await asyncio.sleep(0)
