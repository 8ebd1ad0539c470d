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
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from automask.errors import ParameterError
from automask.v1.mask_service_pb2_grpc import MaskServiceServicer, add_MaskServiceServicer_to_server

from ..core.inflight import InFlight
from ..wire.sizes import MAX_FIELDS, MAX_OTHER_BYTES, is_small

__all__ = ["Incoming", "add_servicer", "opened"]


@dataclass(slots=True)
class Incoming:
    """A message of a client.

    Attributes
    ----------
    message
        The message, until it is taken; an error if it cannot be parsed, or is too large besides its image.
    size
        Its size, in bytes.
    """

    message: Message | ParameterError | None
    size: int


@contextmanager
def opened(request: Any, in_flight: InFlight) -> Iterator[Any]:  # noqa: ANN401 (Ray's proxies hand over parsed messages)
    """Return a message, whose bytes count as in flight until the block ends.

    Raises
    ------
    ParameterError
        It could not be parsed, or is too large besides its image.
    QueueFullError
        Too many bytes are in flight.
    """
    if not isinstance(request, Incoming):
        yield request
        return
    message, request.message = request.message, None
    if isinstance(message, ParameterError):
        raise message
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
        kinds = descriptor_pool.Default().FindServiceByName(service).methods_by_name
        changed = {
            name: handler._replace(
                request_deserializer=_tolerant(handler.request_deserializer, kinds[name].input_type),
                response_serializer=None,
            )
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, changed),))
        self._server.add_registered_method_handlers(service, changed)


def _tolerant(parse: Callable[[bytes], Message], kind: Descriptor) -> Callable[[bytes], Incoming]:
    def receive(data: bytes) -> Incoming:
        size = len(data)
        try:
            return Incoming(parse(data) if is_small(data, kind) else _too_large(size), size)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            valid = "be valid protobuf, with text in UTF-8"
            return Incoming(ParameterError("the message", valid, f"{size} bytes"), size)

    return receive


def _too_large(size: int) -> ParameterError:
    most = f"have at most {MAX_OTHER_BYTES:,} bytes and {MAX_FIELDS:,} fields besides the image"
    return ParameterError("the message", most, f"{size:,} bytes in all")
