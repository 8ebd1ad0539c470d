"""Calls that come through Ray Serve's gRPC proxy, in the form in which the servicer takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from ray.serve.grpc_util import RayServegRPCContext

__all__ = ["ProxiedContext", "answer", "answers"]


class _RefusedError(Exception):
    """The call has ended with a status that its context holds."""


class ProxiedContext:
    """What the servicer uses of `grpc.aio.ServicerContext`.

    Parameters
    ----------
    context
        What the proxy sent along; it goes back with the answer.
    """

    def __init__(self, context: RayServegRPCContext) -> None:
        self._context = context

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Tell what the client sent beside its request."""
        metadata: Sequence[tuple[str, str | bytes]] = self._context.invocation_metadata()
        return metadata

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Send this after the answer."""
        self._context.set_trailing_metadata(list(metadata))

    def time_remaining(self) -> None:
        """Tell nothing: the proxy keeps the client's deadline to itself, and cancels when it passes."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        """End the call with a status."""
        self._context.set_code(code)
        self._context.set_details(details)
        self.set_trailing_metadata(trailing_metadata)
        raise _RefusedError(details)


async def answer(
    method: Callable[[Any, Any], Awaitable[Message]], request: Message, context: RayServegRPCContext
) -> Message:
    """Answer a call that has one answer; the context takes a refusal, with all that it says, back to the client."""
    try:
        return await method(request, ProxiedContext(context))
    except _RefusedError:
        return Empty()  # never sent: gRPC sends no message with another status than OK


async def answers(
    method: Callable[[Any, Any], AsyncIterator[Message]], request: object, context: RayServegRPCContext
) -> AsyncIterator[Message]:
    """Answer a call that has many answers.

    A stream's context travels only with its messages. Of a refusal, the proxy tells code and text, and drops the
    details and the request's id.
    """
    async for message in method(request, ProxiedContext(context)):
        yield message
