"""Authentication of HTTP calls by API key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import structlog
from fastapi import Security
from fastapi.security import APIKeyHeader

from ..core.operations import Operations
from ..keys.key import Key

__all__ = ["authenticator"]

_API_KEY: Final = APIKeyHeader(name="x-api-key", auto_error=False, description="Not needed if the server has no keys.")


def authenticator(operations: Operations[Any]) -> Callable[..., Awaitable[Key]]:
    """Return the dependency that authenticates a call, before its body is read."""

    async def authenticate(api_key: Annotated[str | None, Security(_API_KEY)]) -> Key:
        key = await operations.authenticate(api_key)
        structlog.contextvars.bind_contextvars(key=key.name)
        return key

    return authenticate
