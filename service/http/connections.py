"""The connection that a call came over: whose it is, behind which proxy, for which URL, and whether they still wait."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import structlog
from fastapi import Request
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from automask.errors import CancelledError

from ..cancellation import StoppedError, run_until
from ..core.operations import Operations
from ..keys.key import Key

__all__ = ["Forwarded", "sign_in", "while_there"]

T = TypeVar("T")

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Forwarded(ProxyHeadersMiddleware):
    """Believe the X-Forwarded-* of proxies that are trusted, and nobody else's.

    uvicorn reads -For and -Proto; this adds -Host and -Prefix, which the URLs in answers need.

    Parameters
    ----------
    app
        What is called.
    trusted
        Addresses and networks of the proxies.
    """

    def __init__(self, app: Any, trusted: Sequence[str]) -> None:  # noqa: ANN401 (uvicorn and Starlette name ASGI's types apart)
        super().__init__(app, list(trusted))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Call the application."""
        client = scope.get("client")
        if client is not None and client[0] in self.trusted_hosts:
            told = {
                name: value.decode("latin-1").partition(",")[0].strip()
                for name, value in scope["headers"]
                if name in {b"x-forwarded-host", b"x-forwarded-prefix"}
            }
            if _HOST.fullmatch(told.get(b"x-forwarded-host", "")):
                others = [(name, value) for name, value in scope["headers"] if name != b"host"]
                scope["headers"] = [*others, (b"host", told[b"x-forwarded-host"].encode("ascii"))]
            if _PREFIX.fullmatch(prefix := told.get(b"x-forwarded-prefix", "").rstrip("/")):
                scope["root_path"] = prefix
        await super().__call__(scope, receive, send)


def sign_in(operations: Operations[Any]) -> Callable[[Request], Awaitable[Key]]:
    """Make the dependency that finds out who calls, before anything of the body is read."""

    async def enter(request: Request) -> Key:
        key = await operations.authenticate(request.headers.get("x-api-key"))
        structlog.contextvars.bind_contextvars(key=key.name)
        return key

    return enter


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Work for a client that waits, and no longer than it does.

    Parameters
    ----------
    request
        Its call, whose body was read.
    work
        What it waits for.

    Raises
    ------
    CancelledError
        It went away.
    """
    try:
        return await run_until(_leave(request), work)
    except StoppedError:
        raise CancelledError("the client went away") from None


async def _leave(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass  # what is left of a body that was read already
