"""Fetching images by URL, protected against server-side request forgery.

Every hop is checked: http and https only, no user or password, ports 80, 443 and 1024 or higher. A name is resolved
once, all its addresses are checked, and the connection goes to a checked address, so that a second answer of the name
server has no effect (DNS rebinding). TLS and the Host header use the name.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias

import httpcore
import httpx

from automask import __version__
from automask.errors import ImageError
from automask.images import SUPPORTED, identify

from .addresses import Address, Resolver, is_public, resolve

__all__ = ["Fetcher", "Policy"]

Policy: TypeAlias = Literal["public", "off", "any"]

_MAX_REDIRECTS = 5
_MAX_ADDRESSES = 4  # connection attempts for one name, which may have thousands of addresses
_MAX_CONCURRENT = 32  # each holds up to an image in memory until its timeout
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_WEB_PORTS: Final = frozenset({80, 443})
_MIN_UNPRIVILEGED_PORT, _MAX_PORT = 1024, 65535
_HEADERS: Final[list[tuple[bytes | str, bytes | str]]] = [
    (b"Accept", b"image/*"),
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", f"automask/{__version__}".encode()),
]


class Fetcher:
    """Fetches images by URL.

    Fetches share only TLS settings: no cookies, no connections. Proxies of the environment are ignored, because they
    would resolve names themselves.

    Parameters
    ----------
    policy
        ``public`` connects only to public addresses; ``any`` to all, also behind this server's firewall, so all
        clients must be trusted; ``off`` fetches nothing.
    max_bytes
        Maximum size of an image.
    timeout
        Timeout of a whole fetch, in seconds.
    resolve
        Returns the addresses of a host.
    is_allowed
        Returns whether ``public`` may connect to an address.
    """

    def __init__(
        self,
        policy: Policy,
        max_bytes: int,
        timeout: float = 10.0,
        *,
        resolve: Resolver = resolve,
        is_allowed: Callable[[Address], bool] = is_public,
    ) -> None:
        self._policy, self._max_bytes, self._timeout = policy, max_bytes, timeout
        self._network = _GuardedNetwork(resolve, is_allowed if policy == "public" else None)
        self._semaphore = asyncio.Semaphore(_MAX_CONCURRENT)

    async def fetch(self, url: str, count: Callable[[int], object] = int) -> bytes:
        """Fetch one image.

        Parameters
        ----------
        url
            ``http://`` or ``https://``; at most 5 redirects are followed.
        count
            Called with the number of bytes that arrived, each time; may raise to stop the fetch.

        Returns
        -------
        bytes
            Content of a file that starts like an image of a supported format.

        Raises
        ------
        ImageError
            The policy forbids the fetch, or it failed. The message contains the host, but no other part of the URL.
        """
        if self._policy == "off":
            raise ImageError("this server does not fetch URLs: send the image as a file or base64")
        parsed = self._parse_url(url)
        with _image_errors(parsed.host):
            try:
                async with asyncio.timeout(self._timeout), self._semaphore:
                    return await self._follow(parsed, count)
            except TimeoutError as error:
                raise ImageError(f"timeout after {self._timeout:g} s") from error

    def _parse_url(self, text: str) -> httpx.URL:
        """Check everything in a URL except the addresses of its host."""
        try:
            url = httpx.URL(text)
            _ = url.host  # decodes international names
        except (httpx.InvalidURL, UnicodeError) as error:  # whose text may contain a password
            raise ImageError("the image URL is invalid; it must look like https://host/path") from error
        if url.scheme not in {"http", "https"}:
            raise ImageError(f"the image URL must start with http:// or https://, got {url.scheme[:20]!r}")
        if url.userinfo:
            raise ImageError("the image URL must not contain a user or password")
        if not url.host:
            raise ImageError("the image URL must name a host, like https://host/path")
        self._check_port(url.port)
        return url

    def _check_port(self, port: int | None) -> None:
        if port is None or _MIN_UNPRIVILEGED_PORT <= port <= _MAX_PORT or port in _WEB_PORTS:
            return
        if self._policy == "public" or not 0 < port <= _MAX_PORT:
            raise ImageError(f"the port of the image URL must be 80, 443 or in 1024..65535, got {port}")

    async def _follow(self, url: httpx.URL, count: Callable[[int], object]) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            found = await self._get(url, count)
            if isinstance(found, bytes):
                return found
            url = found
        raise ImageError(f"more than {_MAX_REDIRECTS} redirects")

    async def _get(self, url: httpx.URL, count: Callable[[int], object]) -> bytes | httpx.URL:
        """Send one request and return the image or the target of a redirect."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [(b"Host", url.netloc), *_HEADERS]
        timeouts = {"timeout": {"connect": self._timeout}}
        async with (
            # A new pool, so that no connection is reused whose address was checked for another fetch.
            httpcore.AsyncConnectionPool(self._tls, network_backend=self._network) as pool,
            pool.stream("GET", target, headers=headers, extensions=timeouts) as response,
        ):
            location = _header(response, b"location")
            if response.status in _REDIRECTS and location:
                return self._join(url, location)
            return await self._read(response, count)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()  # reads SSL_CERT_FILE, as for a company's own authority

    def _join(self, url: httpx.URL, location: str) -> httpx.URL:
        try:
            return self._parse_url(str(url.join(location)))
        except (ImageError, httpx.InvalidURL, UnicodeError) as error:
            reason = str(error) if isinstance(error, ImageError) else "the URL is invalid"
            raise ImageError(f"it redirects, but {reason}") from error

    async def _read(self, response: httpcore.Response, count: Callable[[int], object]) -> bytes:
        if response.status != 200:
            raise ImageError(f"HTTP status {response.status}, expected 200")
        encoding = _header(response, b"content-encoding").lower()
        if encoding not in {"", "identity"}:  # a small body may decompress to any size
            raise ImageError(f"unexpected Content-Encoding {encoding[:20]!r}")
        data = bytearray()
        async for chunk in response.aiter_stream():
            count(len(chunk))
            data += chunk
            if len(data) > self._max_bytes:
                raise ImageError(f"the image is larger than {self._max_bytes / 1e6:g} MB")
        return _checked(bytes(data))


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Network backend that connects only to allowed addresses; None allows all."""

    def __init__(self, resolve: Resolver, is_allowed: Callable[[Address], bool] | None) -> None:
        self._resolve, self._is_allowed = resolve, is_allowed
        self._tcp = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = (await self._resolve_allowed(host))[:_MAX_ADDRESSES]
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._tcp.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._tcp.connect_tcp(addresses[-1], port, share, local_address, socket_options)

    async def _resolve_allowed(self, host: str) -> list[str]:
        try:
            addresses = [*dict.fromkeys(await self._resolve(host))]
        except (OSError, UnicodeError) as error:
            raise ImageError(f"unknown host {host!r}") from error
        if self._is_allowed is not None and not all(self._is_allowed(ip_address(one)) for one in addresses):
            # Without the address, which a client outside must not learn.
            raise ImageError(
                f"{host!r} resolves to an address that is not public; this server fetches only from public addresses"
            )
        return addresses


@contextmanager
def _image_errors(host: str) -> Iterator[None]:
    """Raise every network error as an `ImageError` with the host."""
    try:
        yield
    except ImageError as error:
        reason, cause = str(error), error.__cause__ or error
    except httpcore.TimeoutException as error:
        reason, cause = "no response", error
    except httpcore.ProtocolError as error:  # whose text would show the response
        reason, cause = "the response is not HTTP", error
    except (httpcore.NetworkError, OSError) as error:
        reason, cause = f"the connection failed ({error})" if str(error) else "the connection was lost", error
    else:
        return
    raise ImageError(f"cannot fetch the image from {host}: {reason}") from cause


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value for key, value in response.headers if key.lower() == name), b"").decode("utf-8", "replace")


def _checked(data: bytes) -> bytes:
    try:
        identify(data)
    except ImageError as error:  # whose text would show the start of the file
        raise ImageError(f"the file is not a supported image; it must be {SUPPORTED}") from error
    return data
