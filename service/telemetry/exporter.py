"""The HTTP server that Prometheus scrapes, with TLS and keys."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from automask.errors import AutomaskError

from ..errors import UnauthenticatedError

__all__ = ["Exporter"]

_TIMEOUT = 10.0  # seconds for one read or write, also of the TLS handshake


class Exporter:
    """Serves metrics in a thread. The constructor listens; `close` ends it.

    Parameters
    ----------
    host, port
        Address to listen on; port 0 picks a free one.
    registry
        The metrics.
    tls
        TLS context; None for plain HTTP.
    authenticate
        Raises `UnauthenticatedError` for an invalid API key or None; None lets anyone scrape.

    Attributes
    ----------
    port
        The port.

    Raises
    ------
    OSError
        The address cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        tls: ssl.SSLContext | None = None,
        authenticate: Callable[[str | None], object] | None = None,
    ) -> None:
        export = make_wsgi_app(registry)
        self._server = _Server(host, port, tls)
        self._server.set_app(export if authenticate is None else _authenticated(export, authenticate))
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 (the names of the base class)
        """Log nothing: a scrape is no event."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family, self._tls = family, tls
        super().__init__((str(address[0]), port), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Handle one connection, in its own thread: a client that is slow to encrypt delays no other one."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(_TIMEOUT)
        with self._tls.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors of a connection: the client is gone, or speaks no TLS."""


def _authenticated(export: Any, authenticate: Callable[[str | None], object]) -> Any:  # noqa: ANN401 (WSGI applications)
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        try:
            authenticate(_credentials(environ))
        except AutomaskError as error:
            is_refused = isinstance(error, UnauthenticatedError)
            status = "401 Unauthorized" if is_refused else "503 Service Unavailable"
            headers = [("content-type", "text/plain; charset=utf-8"), ("www-authenticate", "Bearer")]
            start_response(status, headers)
            return [f"{error if is_refused else 'the keys cannot be read'}\n".encode()]
        answer: Iterable[bytes] = export(environ, start_response)
        return answer

    return application


def _credentials(environ: dict[str, Any]) -> str | None:
    """Return the API key of a call, from ``x-api-key`` or ``Authorization: Bearer``."""
    kind, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    key: str | None = environ.get("HTTP_X_API_KEY") or (token.strip() if kind.lower() == "bearer" else None)
    return key
