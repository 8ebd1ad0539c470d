"""Middleware of all HTTP calls: request id, size and time limits, logs, metrics, spans and errors."""

from __future__ import annotations

import asyncio
import math
import uuid
from typing import Any, Final

import grpc
import structlog
from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from automask.errors import CancelledError

from ..core.inflight import InFlight
from ..errors import DeadlineError, release_frames, shutting_down
from ..telemetry.calls import Observer, Outcome
from ..telemetry.logs import log_bug
from ..telemetry.tracing import span
from ..wire.status import row_of, to_status
from .bodies import limit_body

__all__ = ["CallMiddleware", "error_response", "routing_error"]

_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_RETRY_SECONDS: Final = 1  # for temporary errors without a time to retry
_CODES: Final = {404: grpc.StatusCode.NOT_FOUND, 405: grpc.StatusCode.UNIMPLEMENTED}


class CallMiddleware:
    """ASGI middleware around the whole application.

    Parameters
    ----------
    app
        The wrapped application.
    observer
        Counts and logs calls.
    in_flight
        Limits the bytes of all bodies together.
    max_body_bytes
        Maximum size of a body, in bytes.
    timeout
        Timeout of a call, in seconds.
    """

    def __init__(
        self,
        app: Any,  # noqa: ANN401 (ASGI's own types differ between packages)
        *,
        observer: Observer,
        in_flight: InFlight,
        max_body_bytes: int,
        timeout: float,
    ) -> None:
        self._app, self._observer, self._in_flight = app, observer, in_flight
        self._max_body_bytes, self._timeout = max_body_bytes, timeout

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Handle one call."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        headers = Request(scope).headers
        response = _Response(send, request_id)
        structlog.contextvars.clear_contextvars()  # of the previous call on this connection
        with (
            self._in_flight.call() as held,
            self._observer.observe(scope["method"], request_id) as outcome,
            span("automask.http", {"automask.request_id": request_id}, dict(headers)),
        ):
            scope["state"]["held"] = held
            body = limit_body(receive, headers.get("content-length", ""), self._max_body_bytes, held)
            try:
                async with asyncio.timeout(self._timeout):
                    await self._app(scope, body, response.send)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (nothing above handles errors)
                await self._respond(error, outcome, response, scope, receive)
            else:
                outcome.code = _code(response.status)
            finally:
                outcome.method = f"{scope['method']} {getattr(scope.get('route'), 'path', 'elsewhere')}"

    async def _respond(
        self,
        error: BaseException,
        outcome: Outcome,
        response: _Response,
        scope: Any,  # noqa: ANN401
        receive: Any,  # noqa: ANN401
    ) -> None:
        converted = self._convert(error)
        outcome.code, outcome.error = row_of(converted).code, converted
        if isinstance(converted, Exception):
            log_bug(converted)
        release_frames(error)
        if response.status:
            raise converted  # part of a response is sent already: close the connection
        await error_response(converted, response.request_id)(scope, receive, response.send)

    def _convert(self, error: BaseException) -> BaseException:
        if isinstance(error, TimeoutError) and not isinstance(error, DeadlineError):
            return DeadlineError(f"not finished within {self._timeout:g} s (`automask serve --http-timeout`)")
        if isinstance(error, ClientDisconnect):
            return CancelledError("the client disconnected")
        if isinstance(error, asyncio.CancelledError):
            return shutting_down()
        return error


class _Response:
    """Sends a response, with the headers of every response."""

    def __init__(self, send: Any, request_id: str) -> None:  # noqa: ANN401
        self._send, self.request_id, self.status = send, request_id, 0

    async def send(self, message: Any) -> None:  # noqa: ANN401
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _code(status: int) -> grpc.StatusCode:
    if status < 400 or status == 422:  # 422 is a successful call about a FAILED request
        return grpc.StatusCode.OK
    return _CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT)


def error_response(error: BaseException, request_id: str) -> JSONResponse:
    """Return the response for an error."""
    row = row_of(error)
    body = {"error": to_status(error, request_id).message, "reason": row.reason, "request_id": request_id}
    headers = {}
    if row.http in {429, 502}:
        headers["retry-after"] = str(math.ceil(getattr(error, "retry_after", None) or _RETRY_SECONDS))
    return JSONResponse(body, row.http, headers)


async def routing_error(request: Request, error: Exception) -> JSONResponse:
    """Return the response for an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for nothing else)
    message = f"{request.method} {request.url.path}: {error.detail}; see /docs"
    body = {"error": message, "reason": "HTTP", "request_id": request.state.request_id}
    return JSONResponse(body, error.status_code, error.headers)
