"""The service: the gRPC and HTTP server behind `automask serve`, and its clients.

>>> from automask.service import Client
>>> with Client("127.0.0.1:50051") as c:  # doctest: +SKIP
...     c.mask("room.jpg", "sofa").save("sofa.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from automask.errors import MissingDependencyError

from .errors import (
    DeadlineError,
    InternalError,
    NotAllowedError,
    NotFoundError,
    OutOfCreditsError,
    QueueFullError,
    RateLimitError,
    StoreError,
    UnauthenticatedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from .client.async_client import AsyncClient
    from .client.client import Client
    from .client.jobs import AsyncJob, Job
    from .client.responses import JobStatus, Model

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "DeadlineError",
    "InternalError",
    "Job",
    "JobStatus",
    "Model",
    "NotAllowedError",
    "NotFoundError",
    "OutOfCreditsError",
    "QueueFullError",
    "RateLimitError",
    "StoreError",
    "UnauthenticatedError",
    "UnavailableError",
]

_MODULES = {
    "AsyncClient": "client.async_client",
    "AsyncJob": "client.jobs",
    "Client": "client.client",
    "Job": "client.jobs",
    "JobStatus": "client.responses",
    "Model": "client.responses",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (any class of the package)
    # Lazy: keys, settings and errors work without gRPC, and a client without what only the server needs.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{error}; for the service: pip install 'automask[service]'") from error
