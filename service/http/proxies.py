"""Forwarded headers of trusted proxies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

__all__ = ["ForwardedHeaders"]

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class ForwardedHeaders(ProxyHeadersMiddleware):
    """ASGI middleware that applies the X-Forwarded-* headers of trusted proxies and ignores all others.

    uvicorn applies -For and -Proto; this adds -Host and -Prefix, which the URLs in responses need.

    Parameters
    ----------
    app
        The wrapped application.
    trusted
        Addresses and networks of the proxies.
    """

    def __init__(self, app: Any, trusted: Sequence[str]) -> None:  # noqa: ANN401 (uvicorn and Starlette name ASGI's types apart)
        super().__init__(app, list(trusted))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Call the application."""
        client = scope.get("client")
        if client is not None and client[0] in self.trusted_hosts:
            forwarded = {
                name: value.decode("latin-1").partition(",")[0].strip()
                for name, value in scope["headers"]
                if name in {b"x-forwarded-host", b"x-forwarded-prefix"}
            }
            if _HOST.fullmatch(host := forwarded.get(b"x-forwarded-host", "")):
                others = [(name, value) for name, value in scope["headers"] if name != b"host"]
                scope["headers"] = [*others, (b"host", host.encode("ascii"))]
            if _PREFIX.fullmatch(prefix := forwarded.get(b"x-forwarded-prefix", "").rstrip("/")):
                scope["root_path"] = prefix
        await super().__call__(scope, receive, send)
