"""Connections to a server: the gRPC channel, the credentials, and calls with retries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from tenacity import AsyncRetrying, Retrying

from automask.errors import ParameterError
from automask.v1.mask_service_pb2_grpc import MaskServiceStub

from ..wire.status import error_from_rpc
from .calls import Call
from .retries import Deadline, retry_options

__all__ = ["DEFAULT_TARGET", "AsyncConnection", "BaseConnection", "Connection", "Credentials", "Pem"]

T = TypeVar("T")

Pem: TypeAlias = "str | PathLike[str] | bytes"

DEFAULT_TARGET: Final = "127.0.0.1:50051"
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Reconnect quickly to a server that restarts: gRPC's own pauses grow up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A machine that loses power does not close its connections.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # which gRPC waits for, a minute unless set
)
_API_KEY: Final = "AUTOMASK_API_KEY"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of a client.

    Attributes
    ----------
    metadata
        Sent with each call.
    tls
        Certificates; None for a connection without TLS.
    """

    metadata: tuple[tuple[str, str], ...]
    tls: grpc.ChannelCredentials | None

    @classmethod
    def read(cls, api_key: str | None, ca: Pem | None, cert: Pem | None, key: Pem | None) -> Credentials:
        """Check and read the parameters of a client, as `Client` documents them."""
        text = (os.environ.get(_API_KEY, "") if api_key is None else api_key).strip()
        if not (text.isascii() and text.isprintable()):
            raise ParameterError("api_key", "be one line of ASCII", "something else")  # never show a secret
        if (cert is None) != (key is None):
            raise ParameterError("cert and key", "be given together", "one of them")
        tls = None
        if ca is not None or cert is not None:
            tls = grpc.ssl_channel_credentials(_read_pem(ca), _read_pem(key), _read_pem(cert))
        return cls((("x-api-key", text),) if text else (), tls)


def _read_pem(pem: Pem | None) -> bytes | None:
    return pem if pem is None or isinstance(pem, bytes) else Path(pem).read_bytes()


class BaseConnection:
    """What both connections share: the channel's settings, and errors.

    Parameters
    ----------
    target
        ``host:port`` or ``unix:/path``.
    credentials
        API key and certificates.
    timeout
        Seconds for a call, all its attempts together.

    Raises
    ------
    ParameterError
        `target` is a URL.
    """

    _grpc: Any
    """The module whose channels it opens: `grpc` or `grpc.aio`."""

    def __init__(self, target: str, credentials: Credentials, timeout: float) -> None:
        if target.lower().startswith(("http://", "https://")):
            requirement = f"be host:port of gRPC, such as {DEFAULT_TARGET}, or unix:/path; not a URL"
            raise ParameterError("the server's address", requirement, target)
        self.target, self.metadata, self.timeout = target, credentials.metadata, timeout
        if credentials.tls is None:
            self._channel = self._grpc.insecure_channel(target, _CHANNEL_OPTIONS)
        else:
            self._channel = self._grpc.secure_channel(target, credentials.tls, _CHANNEL_OPTIONS)
        self._stub = MaskServiceStub(self._channel)

    @contextmanager
    def stream(self, method: str, *request: Any) -> Iterator[Any]:  # noqa: ANN401
        """Open a stream and cancel it at the end; errors of the RPC become `AutomaskError`.

        Parameters
        ----------
        method
            Name of a streaming method of the service.
        *request
            Its message or its iterator of messages, if they are known at the start.

        Yields
        ------
        The call of `grpc` or `grpc.aio`.
        """
        call = getattr(self._stub, method)(*request, metadata=self.metadata)
        try:
            with self._library_errors():
                yield call
        finally:
            call.cancel()

    @contextmanager
    def _library_errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.target) from error


class Connection(BaseConnection):
    """A connection whose calls block."""

    _grpc = grpc

    def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        self._channel.close()

    def send(self, call: Call[T]) -> T:
        """Make a call, with retries, and return its answer. The call must be safe to repeat."""
        deadline = Deadline(self.timeout)
        retrying = Retrying(**retry_options(deadline))
        return call.read(retrying(lambda: self.attempt(call.method, call.request, deadline.left)))

    def attempt(self, method: str, request: Message, timeout: float | None) -> Any:  # noqa: ANN401
        """Make a call once.

        Parameters
        ----------
        method
            Name of a unary method of the service.
        request
            Its message.
        timeout
            Seconds; None for no limit.

        Returns
        -------
        The response message.
        """
        with self._library_errors():
            return getattr(self._stub, method)(request, timeout=timeout, metadata=self.metadata)


class AsyncConnection(BaseConnection):
    """A connection for asyncio; create it inside the event loop that uses it."""

    _grpc = grpc.aio

    async def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        await self._channel.close()

    async def send(self, call: Call[T]) -> T:
        """Make a call, as `Connection.send` does."""
        deadline = Deadline(self.timeout)

        async def attempt() -> Any:  # noqa: ANN401
            return await self.attempt(call.method, call.request, deadline.left)

        return call.read(await AsyncRetrying(**retry_options(deadline))(attempt))

    async def attempt(self, method: str, request: Message, timeout: float | None) -> Any:  # noqa: ANN401
        """Make a call once, as `Connection.attempt` does."""
        with self._library_errors():
            return await getattr(self._stub, method)(request, timeout=timeout, metadata=self.metadata)
