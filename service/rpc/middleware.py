"""What every gRPC call goes through: request id, authentication, log, metrics, span, rich errors."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import grpc
import grpc.aio
import structlog

from ..core.inflight import InFlight
from ..core.operations import Operations
from ..errors import release_frames
from ..keys.key import Key
from ..telemetry.calls import Observer
from ..telemetry.logs import log_bug
from ..telemetry.tracing import span
from ..wire.status import row_of, to_status, trailing_metadata
from .messages import opened
from .unsent import UnsentAnswers

__all__ = ["Call", "CallMiddleware", "streaming", "unary"]

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes
    ----------
    request_id
        Its id in the log; sent back in the metadata ``x-request-id``.
    key
        The key of the caller.
    """

    request_id: str
    key: Key


class CallMiddleware:
    """Authenticates, counts and logs calls, and sends their errors.

    Parameters
    ----------
    operations
        Authenticate callers.
    observer
        Counts and logs calls.
    in_flight
        Limits the bytes of messages.

    Attributes
    ----------
    unsent
        Serializes answers, and counts them until they are sent. None: methods return messages, as Ray's proxies expect.
    """

    def __init__(self, operations: Operations[Any], observer: Observer, in_flight: InFlight) -> None:
        self._operations, self._observer = operations, observer
        self.in_flight = in_flight
        self.unsent: UnsentAnswers | None = None

    @asynccontextmanager
    async def handle(self, method: str, context: Context) -> AsyncIterator[Call]:
        """Authenticate one call; end it with a rich error if anything raises."""
        request_id = uuid.uuid4().hex
        trailing: tuple[tuple[str, str | bytes], ...] = (("x-request-id", request_id),)
        context.set_trailing_metadata(trailing)
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        with self._observer.observe(method, request_id) as outcome:
            try:
                with span(f"automask.v1.MaskService/{method}", {"automask.request_id": request_id}, metadata):
                    key = await self._operations.authenticate(metadata.get("x-api-key"))
                    structlog.contextvars.bind_contextvars(key=key.name)
                    yield Call(request_id, key)
            except (asyncio.CancelledError, GeneratorExit):
                left = context.time_remaining()
                is_late = left is not None and left <= 0
                outcome.code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
                raise
            except Exception as error:  # noqa: BLE001 (nothing above this catches it)
                outcome.code, outcome.error = row_of(error).code, error
                log_bug(error)
                release_frames(error)
        if outcome.error is not None:
            status = to_status(outcome.error, request_id)
            await context.abort(outcome.code, status.message, (*trailing, *trailing_metadata(status)))


def unary(
    method: Callable[[Any, Request, Call], Awaitable[Response]],
) -> Callable[[Any, Request, Context], Awaitable[Response]]:
    """Pass a method with one response through the servicer's `middleware`."""

    @functools.wraps(method)
    async def handle(servicer: Any, request: Request, context: Context) -> Response:  # noqa: ANN401
        try:
            async with servicer.middleware.handle(method.__name__, context) as call:
                with opened(request, servicer.middleware.in_flight) as message:
                    response: Any = await method(servicer, message, call)
                    if servicer.middleware.unsent is not None:
                        response = servicer.middleware.unsent.send_until_done(response, context.peer())
                    return cast("Response", response)
        except grpc.aio.AbortError as error:
            release_frames(error)  # gRPC keeps this error in a reference cycle
            raise
        finally:
            del request
            message = None
        raise AssertionError  # not reached: `abort` raises

    return handle


def streaming(
    method: Callable[[Any, Request, Call], AsyncIterator[Response]],
) -> Callable[[Any, Request, Context], AsyncIterator[Response]]:
    """Pass a method with a stream of responses through the servicer's `middleware`."""

    @functools.wraps(method)
    async def handle(servicer: Any, request: Request, context: Context) -> AsyncIterator[Response]:  # noqa: ANN401
        try:
            async with servicer.middleware.handle(method.__name__, context) as call:
                with opened(request, servicer.middleware.in_flight) as message:
                    async for response in method(servicer, message, call):
                        with _sending(response, servicer.middleware.unsent, context) as data:
                            del response
                            yield data
        except grpc.aio.AbortError as error:
            release_frames(error)  # gRPC keeps this error in a reference cycle
            raise
        finally:
            del request
            message = None

    return handle


def _sending(response: Any, unsent: UnsentAnswers | None, context: Context) -> AbstractContextManager[Any]:  # noqa: ANN401
    return nullcontext(response) if unsent is None else unsent.sending(response, context.peer())
