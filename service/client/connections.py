"""How a client reaches its server: the channel and its settings, the key, and calls that are made again."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import grpc
import grpc.aio

from automask.errors import ParameterError
from automask.v1.mask_service_pb2_grpc import MaskServiceStub

from ..wire.status import error_from_rpc
from .retries import Tries

if TYPE_CHECKING:
    from automask.v1.mask_service_pb2_grpc import MaskServiceAsyncStub  # only the stubs for type checkers have it

__all__ = ["DEFAULT_TARGET", "AsyncConnection", "Connection", "Pem", "Secrets"]

T = TypeVar("T")

Pem: TypeAlias = "str | PathLike[str] | bytes"

DEFAULT_TARGET: Final = "127.0.0.1:50051"
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that restarts is found again at once: gRPC's own pauses grow up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A box that lost its power closes no connection.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
_API_KEY: Final = "AUTOMASK_API_KEY"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Who the client is, and whom it trusts.

    Attributes
    ----------
    metadata
        Sent with each call.
    credentials
        None for a connection without TLS.
    """

    metadata: tuple[tuple[str, str], ...]
    credentials: grpc.ChannelCredentials | None

    @classmethod
    def read(cls, api_key: str | None, ca: Pem | None, cert: Pem | None, key: Pem | None) -> Secrets:
        """Read what a client was given; the parameters are those of `Client`."""
        text = (os.environ.get(_API_KEY, "") if api_key is None else api_key).strip()
        if not (text.isascii() and text.isprintable()):
            raise ParameterError("api_key", "be one line of ASCII", "something else")  # never show a secret
        if (cert is None) != (key is None):
            raise ParameterError("cert and key", "be given together", "one of them")
        credentials = None
        if ca is not None or cert is not None:
            credentials = grpc.ssl_channel_credentials(_read(ca), _read(key), _read(cert))
        return cls((("x-api-key", text),) if text else (), credentials)


def _read(pem: Pem | None) -> bytes | None:
    return pem if pem is None or isinstance(pem, bytes) else Path(pem).read_bytes()


class Connection:
    """A channel to a server and what each call over it needs.

    Parameters
    ----------
    target
        ``host:port`` or ``unix:/path``.
    secrets
        Who the client is, and whom it trusts.
    timeout
        Seconds for a call, all its tries together.
    """

    def __init__(self, target: str, secrets: Secrets, timeout: float) -> None:
        self.target, self.metadata, self.timeout = target, secrets.metadata, timeout
        if secrets.credentials is None:
            self._channel = grpc.insecure_channel(target, _OPTIONS)
        else:
            self._channel = grpc.secure_channel(target, secrets.credentials, _OPTIONS)
        self.stub = MaskServiceStub(self._channel)

    def close(self) -> None:
        """Cancel what still runs, and close the channel."""
        self._channel.close()

    def call(self, method: grpc.UnaryUnaryMultiCallable[Any, T], request: Any) -> T:  # noqa: ANN401
        """Make a call that is safe to make twice, and make it again where that may help.

        Parameters
        ----------
        method
            One of `stub`.
        request
            Its message.
        """
        tries = Tries(self.timeout)
        while True:
            try:
                return method(request, timeout=tries.left, metadata=self.metadata)
            except grpc.RpcError as error:
                pause = tries.after(error_from_rpc(error, self.target))
            time.sleep(pause)


class AsyncConnection:
    """The same for asyncio; made inside the event loop that it is used in."""

    stub: MaskServiceAsyncStub

    def __init__(self, target: str, secrets: Secrets, timeout: float) -> None:
        self.target, self.metadata, self.timeout = target, secrets.metadata, timeout
        if secrets.credentials is None:
            self._channel = grpc.aio.insecure_channel(target, _OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(target, secrets.credentials, _OPTIONS)
        self.stub = MaskServiceStub(self._channel)

    async def close(self) -> None:
        """Cancel what still runs, and close the channel."""
        await self._channel.close()

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Any, T], request: Any) -> T:  # noqa: ANN401
        """Make a call that is safe to make twice, as `Connection.call` does."""
        tries = Tries(self.timeout)
        while True:
            try:
                return await method(request, timeout=tries.left, metadata=self.metadata)
            except grpc.RpcError as error:
                pause = tries.after(error_from_rpc(error, self.target))
            await asyncio.sleep(pause)
