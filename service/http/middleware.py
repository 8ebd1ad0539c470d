"""What every call over HTTP goes through: an id, a limit of size and time, the log, numbers, a span, and its errors."""

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

from ..errors import DeadlineError, shutting_down
from ..telemetry.calls import Observer, Outcome
from ..telemetry.logs import log_bug
from ..telemetry.tracing import span
from ..wire.status import row_of, to_status
from .bodies import limit_body

__all__ = ["CallMiddleware", "refuse", "refuse_path"]

_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_RETRY: Final = 1  # second, where an error that passes does not know when
_CODES: Final = {404: grpc.StatusCode.NOT_FOUND, 405: grpc.StatusCode.UNIMPLEMENTED}


class CallMiddleware:
    """ASGI middleware around the whole application.

    Parameters
    ----------
    app
        What is behind it.
    observer
        Counts and logs calls.
    max_body_bytes
        Most bytes of a body.
    timeout
        Seconds that a call may take.
    """

    def __init__(self, app: Any, *, observer: Observer, max_body_bytes: int, timeout: float) -> None:  # noqa: ANN401 (ASGI's own types differ between packages)
        self._app, self._observer = app, observer
        self._max_body_bytes, self._timeout = max_body_bytes, timeout

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """See one call through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        headers = Request(scope).headers
        answer = _Answer(send, request_id)
        body = limit_body(receive, headers.get("content-length", ""), self._max_body_bytes)
        structlog.contextvars.clear_contextvars()  # those of the call before on the same connection
        with (
            self._observer.observe(scope["method"], request_id) as outcome,
            span("automask.http", {"automask.request_id": request_id}, dict(headers)),
        ):
            try:
                async with asyncio.timeout(self._timeout):
                    await self._app(scope, body, answer.send)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (the last catcher there is)
                await self._refuse(error, outcome, answer, scope, receive)
            else:
                outcome.code = _code(answer.status)
            finally:
                outcome.method = f"{scope['method']} {getattr(scope.get('route'), 'path', 'elsewhere')}"

    async def _refuse(self, error: BaseException, outcome: Outcome, answer: _Answer, scope: Any, receive: Any) -> None:  # noqa: ANN401
        told = self._explain(error)
        outcome.code, outcome.error = row_of(told).code, told
        if isinstance(told, Exception):
            log_bug(told)
        if answer.status:
            raise told  # half an answer is out: all that is left is to end the connection
        await refuse(told, answer.request_id)(scope, receive, answer.send)

    def _explain(self, error: BaseException) -> BaseException:
        if isinstance(error, TimeoutError) and not isinstance(error, DeadlineError):
            return DeadlineError(f"not done within {self._timeout:g} s (`automask serve --http-timeout`)")
        if isinstance(error, ClientDisconnect):
            return CancelledError("the client went away")
        if isinstance(error, asyncio.CancelledError):
            return shutting_down()
        return error


class _Answer:
    """Sends an answer, and with it what every answer carries."""

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
    if status < 400 or status == 422:  # a request that FAILED was told so, and that went well
        return grpc.StatusCode.OK
    return _CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT)


def refuse(error: BaseException, request_id: str) -> JSONResponse:
    """Make the answer that tells of an error."""
    row = row_of(error)
    told = {"error": to_status(error, request_id).message, "reason": row.reason, "request_id": request_id}
    headers = {}
    if row.http in {429, 502}:
        headers["retry-after"] = str(math.ceil(getattr(error, "retry_after", None) or _RETRY))
    return JSONResponse(told, row.http, headers)


async def refuse_path(request: Request, error: Exception) -> JSONResponse:
    """Make the answer where the path or its method leads nowhere."""
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for nothing else)
    what = f"{request.method} {request.url.path}: {error.detail}; /docs tells what there is"
    told = {"error": what, "reason": "HTTP", "request_id": request.state.request_id}
    return JSONResponse(told, error.status_code, error.headers)
