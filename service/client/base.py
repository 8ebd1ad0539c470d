"""What both clients share, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from automask.v1 import mask_service_pb2 as messages

from .calls import Call
from .connections import DEFAULT_TARGET, BaseConnection, Credentials, Pem
from .responses import Model, read_models

__all__ = ["BaseClient"]

C = TypeVar("C", bound=BaseConnection)


class BaseClient(Generic[C]):
    """A client, but for the calls that wait. The parameters are documented by `Client`."""

    _connect: Callable[[str, Credentials, float], C]

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        api_key: str | None = None,
        ca: Pem | None = None,
        cert: Pem | None = None,
        key: Pem | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._connection = self._connect(target, Credentials.read(api_key, ca, cert, key), timeout)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._connection.target}>"

    @staticmethod
    def _models_call() -> Call[list[Model]]:
        return Call("ListModels", messages.ListModelsRequest(), read_models)
