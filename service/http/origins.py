"""Checks of Host and Origin: a web page of another origin cannot use a server through its visitor's browser."""

from __future__ import annotations

import ipaddress
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from automask.errors import ParameterError

from ..config.settings import Settings
from ..errors import NotAllowedError
from ..sockets import without_brackets

__all__ = ["HostCheck", "OriginCheck"]

_SAFE_METHODS: Final = {"GET", "HEAD", "OPTIONS"}
_ANY: Final = "*"


class HostCheck:
    """ASGI middleware that refuses calls to unknown host names.

    A page can let the name of its own host resolve to this machine (DNS rebinding); its calls then have the same origin
    as the server, and their Host header alone reveals them. A page cannot know a key, so a server with keys accepts
    every host, unless `allowed_hosts` is set. So does ``/healthz``, because load balancers send any Host.

    Parameters
    ----------
    app
        The wrapped application.
    settings
        Settings of the server.
    """

    def __init__(self, app: Any, settings: Settings) -> None:  # noqa: ANN401 (ASGI's own types differ between packages)
        self._app = app
        self._is_on = _ANY not in settings.allowed_hosts and (settings.keys is None or bool(settings.allowed_hosts))
        public = urlsplit(settings.public_url or "").hostname
        self._names = {*map(str.lower, settings.allowed_hosts), *([public] if public else [])}
        # Ray Serve's own configuration decides where it listens.
        self._bound = "0.0.0.0" if settings.engine == "ray" else without_brackets(settings.host).lower()  # noqa: S104 (compared)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Handle one call."""
        # Without Host it is an HTTP/1.0 client, not a browser.
        if self._is_on and scope["type"] == "http" and _path(scope) != "/healthz":
            header = Headers(scope=scope).get("host", "localhost")
            if not self._is_allowed(_hostname(header)):
                names = ", ".join(sorted(self._names | {"localhost", self._bound}))
                requirement = f"be one of {names}, or a host allowed by `automask serve --allowed-host`"
                raise ParameterError("Host", requirement, header)
        await self._app(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        if host in self._names | {self._bound, "localhost"} or host.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        # An address is not a name, so it cannot be rebound.
        return address.is_loopback or self._bound in {"", "0.0.0.0", "::"}  # noqa: S104 (compared)


class OriginCheck:
    """ASGI middleware that refuses POST calls that a browser sends for a page of another origin.

    Without CORS such a page cannot read the response, but the call would start work. Other clients send neither
    Sec-Fetch-Site nor Origin. Browsers send Sec-Fetch-Site only to loopback and https.

    Parameters
    ----------
    app
        The wrapped application.
    settings
        Settings of the server.
    """

    def __init__(self, app: Any, settings: Settings) -> None:  # noqa: ANN401
        self._app = app
        self._allowed, self._public_url = settings.cors_origins, settings.public_url or ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Handle one call."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            if not self._is_allowed(headers, scope["scheme"]):
                origin = headers.get("origin", "unknown")
                raise NotAllowedError(
                    f"pages of the origin {origin!r} must not call this server (`automask serve --cors-origin`)"
                )
        await self._app(scope, receive, send)

    def _is_allowed(self, headers: Headers, scheme: str) -> bool:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if _ANY in self._allowed or origin in self._allowed:
            return True
        if site is not None:
            return site in {"same-origin", "none"}
        if origin is None:
            return True
        own = (self._public_url, f"{scheme}://{headers.get('host', '')}")
        return (authority := _authority(origin)) is not None and authority in map(_authority, own)


def _path(scope: Any) -> str:  # noqa: ANN401
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _hostname(header: str) -> str:
    """Return the host name of a Host header, in lower case, without port; empty if invalid."""
    try:
        return (urlsplit(f"//{header}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _authority(url: str) -> tuple[str, int] | None:
    """Return host name and port of a URL, without its scheme, which a proxy that ends TLS changes; None if invalid."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None
