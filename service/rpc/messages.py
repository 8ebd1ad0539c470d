"""Messages as gRPC hands them over: parsed here, so that a malformed one ends its call with a rich error.

Answers are serialized here, too, so that their bytes count until they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from automask.errors import ParameterError
from automask.v1.mask_service_pb2_grpc import MaskServiceServicer, add_MaskServiceServicer_to_server

from ..core.inflight import InFlight

__all__ = ["Incoming", "add_servicer", "opened"]


@dataclass(slots=True)
class Incoming:
    """A message of a client.

    Attributes
    ----------
    message
        The message; None if it cannot be parsed.
    size
        Its size, in bytes.
    """

    message: Message | None
    size: int


@contextmanager
def opened(request: Any, in_flight: InFlight) -> Iterator[Any]:  # noqa: ANN401 (Ray's proxies hand over parsed messages)
    """Return a message, whose bytes count as in flight until the block ends.

    Raises
    ------
    ParameterError
        It could not be parsed.
    QueueFullError
        Too many bytes are in flight.
    """
    if not isinstance(request, Incoming):
        yield request
        return
    message, request.message = request.message, None
    if message is None:
        raise ParameterError("the message", "be valid protobuf, with text in UTF-8", f"{request.size} bytes")
    with in_flight.call() as held:
        held.add(request.size)
        yield message


def add_servicer(servicer: MaskServiceServicer, server: grpc.aio.Server) -> None:
    """Register the methods of a servicer, which receive each message as `Incoming` and return answers as bytes."""
    add_MaskServiceServicer_to_server(servicer, _Registry(server))  # type: ignore[arg-type]


class _Registry:
    """Passes generated handlers on to a server, with a deserializer that never raises: gRPC would give no reason."""

    def __init__(self, server: Any) -> None:  # noqa: ANN401 (the stubs of grpc.aio lack registered methods)
        self._server = server

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: registered methods take precedence over generic handlers."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        changed = {
            name: handler._replace(
                request_deserializer=_tolerant(handler.request_deserializer), response_serializer=None
            )
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, changed),))
        self._server.add_registered_method_handlers(service, changed)


def _tolerant(parse: Callable[[bytes], Message]) -> Callable[[bytes], Incoming]:
    def receive(data: bytes) -> Incoming:
        try:
            return Incoming(parse(data), len(data))
        except (DecodeError, UnicodeDecodeError, RecursionError):
            return Incoming(None, len(data))

    return receive
