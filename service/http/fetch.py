"""Fetch the image behind a URL that a client names, without becoming the client's way into the network around us.

Every hop is checked anew: http and https only, no user or password, ports 80, 443 and from 1024 on. Names are looked
up once, every address found is checked, and the connection goes to a checked address itself, so that no second answer
of a name server can come between (DNS rebinding). TLS and the Host header stay with the name.
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
_MAX_ADDRESSES = 4  # tried of one name: a name with thousands would make us knock at all of them
_MAX_AT_ONCE = 32  # each may hold an image in memory, and a slow one holds it until its time is over
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_WEB_PORTS: Final = frozenset({80, 443})
_FIRST_FREE_PORT, _LAST_PORT = 1024, 65535
_HEADERS: Final[list[tuple[bytes | str, bytes | str]]] = [
    (b"Accept", b"image/*"),
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", f"automask/{__version__}".encode()),
]


class Fetcher:
    """Fetches images from URLs.

    Nothing is kept between two fetches but TLS settings: no cookies, no connections. Proxies that the environment
    names are not used, because they would look names up themselves.

    Parameters
    ----------
    policy
        ``public`` connects to public addresses only, ``any`` to all (others' machines behind this server's firewall
        included, so only for clients that are trusted), ``off`` fetches nothing.
    max_bytes
        Largest image.
    timeout
        Seconds that one fetch may take in all.
    resolve
        Finds the addresses of a host.
    is_allowed
        Whether an address may be connected to under ``public``.
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
        self._turns = asyncio.Semaphore(_MAX_AT_ONCE)

    async def fetch(self, url: str) -> bytes:
        """Fetch one image.

        Parameters
        ----------
        url
            ``http://`` or ``https://``; at most 5 redirects are followed.

        Returns
        -------
        bytes
            A file that starts like an image of a format that automask reads.

        Raises
        ------
        ImageError
            The policy forbids it, or it failed; names the reason and the host, nothing else of the URL.
        """
        if self._policy == "off":
            raise ImageError("this server fetches no URLs: send the image itself, as a file or base64")
        place = self._read_url(url)
        with _naming(place.host):
            try:
                async with asyncio.timeout(self._timeout), self._turns:
                    return await self._follow(place)
            except TimeoutError as error:
                raise ImageError(f"it took longer than {self._timeout:g} s") from error

    def _read_url(self, text: str) -> httpx.URL:
        """Check all of a URL but where its host is."""
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL as error:  # its text may hold a password
            raise ImageError("the image's URL cannot be read; it must be like https://host/path") from error
        if url.scheme not in {"http", "https"}:
            raise ImageError(f"the image's URL must start with http:// or https://, got {url.scheme[:20]!r}")
        if url.userinfo:
            raise ImageError("the image's URL must not carry a user or password")
        if not url.host:
            raise ImageError("the image's URL must name a host, like https://host/path")
        self._check_port(url.port)
        return url

    def _check_port(self, port: int | None) -> None:
        if port is None or _FIRST_FREE_PORT <= port <= _LAST_PORT or port in _WEB_PORTS:
            return
        if self._policy == "public" or not 0 < port <= _LAST_PORT:
            raise ImageError(f"the port of the image's URL must be 80, 443 or in 1024..65535, got {port}")

    async def _follow(self, url: httpx.URL) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            answer = await self._get(url)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise ImageError(f"more than {_MAX_REDIRECTS} redirects")

    async def _get(self, url: httpx.URL) -> bytes | httpx.URL:
        """Give what one request brought: the image, or where to look next."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [(b"Host", url.netloc), *_HEADERS]
        timeouts = {"timeout": {"connect": self._timeout}}
        async with (
            # Of its own, so that no connection is used again whose address was checked for another fetch.
            httpcore.AsyncConnectionPool(self._tls, network_backend=self._network) as pool,
            pool.stream("GET", target, headers=headers, extensions=timeouts) as response,
        ):
            location = _header(response, b"location")
            if response.status in _REDIRECTS and location:
                return self._join(url, location)
            return await self._read(response)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()  # trusts SSL_CERT_FILE where it is set, as for a company's own authority

    def _join(self, url: httpx.URL, location: str) -> httpx.URL:
        try:
            return self._read_url(str(url.join(location)))
        except (ImageError, httpx.InvalidURL) as error:
            reason = str(error) if isinstance(error, ImageError) else "cannot be read"
            raise ImageError(f"it redirects elsewhere, but {reason}") from error

    async def _read(self, response: httpcore.Response) -> bytes:
        if response.status != 200:
            raise ImageError(f"it answered with HTTP status {response.status}, not 200")
        encoding = _header(response, b"content-encoding").lower()
        if encoding not in {"", "identity"}:  # a small body may unpack to any size
            raise ImageError(f"it sent the image compressed ({encoding[:20]!r}), which was not asked for")
        data = bytearray()
        async for part in response.aiter_stream():
            data += part
            if len(data) > self._max_bytes:
                raise ImageError(f"the image is larger than {self._max_bytes / 1e6:g} MB")
        return _checked(bytes(data))


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that it has checked itself; None allows all."""

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
        addresses = (await self._look_up(host))[:_MAX_ADDRESSES]
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._tcp.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._tcp.connect_tcp(addresses[-1], port, share, local_address, socket_options)

    async def _look_up(self, host: str) -> list[str]:
        try:
            addresses = [*dict.fromkeys(await self._resolve(host))]
        except (OSError, UnicodeError) as error:
            raise ImageError(f"there is no host {host!r}") from error
        if self._is_allowed is not None and not all(self._is_allowed(ip_address(one)) for one in addresses):
            # The address is not told: it is what somebody outside cannot look up.
            raise ImageError(f"{host!r} is not at a public address, and this server fetches from those only")
        return addresses


@contextmanager
def _naming(host: str) -> Iterator[None]:
    """Put the host before the reason, and make every failure of the network an `ImageError`."""
    try:
        yield
    except ImageError as error:
        reason, cause = str(error), error.__cause__ or error
    except httpcore.TimeoutException as error:
        reason, cause = "it did not answer", error
    except httpcore.ProtocolError as error:  # its text would show what answered there
        reason, cause = "what answers there does not speak HTTP", error
    except (httpcore.NetworkError, OSError) as error:
        reason, cause = f"the connection failed ({error})" if str(error) else "the connection broke off", error
    else:
        return
    raise ImageError(f"cannot fetch the image from {host}: {reason}") from cause


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value for key, value in response.headers if key.lower() == name), b"").decode("utf-8", "replace")


def _checked(data: bytes) -> bytes:
    try:
        identify(data)
    except ImageError as error:  # its text would show how the file starts, whatever it is
        raise ImageError(f"what came is no image that can be used; it must be {SUPPORTED}") from error
    return data
