"""Adapter from calls through Ray Serve's gRPC proxy to those that the servicer takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from ray.serve.grpc_util import RayServegRPCContext

__all__ = ["ProxiedContext", "answer", "answers"]


class _RefusedError(Exception):
    """The call has ended with the status in its context."""


class ProxiedContext:
    """The part of `grpc.aio.ServicerContext` that the servicer uses.

    Parameters
    ----------
    context
        The context of the proxy, to which it is returned with the response.
    """

    def __init__(self, context: RayServegRPCContext) -> None:
        self._context = context

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Return the metadata of the call."""
        metadata: Sequence[tuple[str, str | bytes]] = self._context.invocation_metadata()
        return metadata

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Set the metadata to send after the response."""
        self._context.set_trailing_metadata(list(metadata))

    def time_remaining(self) -> None:
        """Return None: the proxy does not pass the deadline on, and cancels the call when it passes."""

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
    """Answer a unary call. The context carries an error, with its details, back to the client."""
    try:
        return await method(request, ProxiedContext(context))
    except _RefusedError:
        return Empty()  # never sent: gRPC sends a message only with status OK


async def answers(
    method: Callable[[Any, Any], AsyncIterator[Message]], request: object, context: RayServegRPCContext
) -> AsyncIterator[Message]:
    """Answer a call with a stream of responses.

    The context of a stream is sent only with its messages. Of an error, the proxy sends code and text, but neither
    the details nor the request id.
    """
    async for message in method(request, ProxiedContext(context)):
        yield message
