"""Web sites for the tests, well-behaved or not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias, cast

__all__ = ["Site", "SiteResponse", "http_response", "site"]

SiteResponse: TypeAlias = "bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]"


@dataclass
class Site:
    """A running site: its address, and the head of every request that it received."""

    address: str
    requests: list[bytes] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


def http_response(body: bytes = b"", *, status: str = "200 OK", **headers: str) -> bytes:
    """Build the bytes of an HTTP response."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@asynccontextmanager
async def site(
    response: SiteResponse, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    """Respond to every request in the same way until the block ends."""
    running: set[asyncio.Task[None]] = set()
    found = Site("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = cast("asyncio.Task[None]", asyncio.current_task())
        running.add(current)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            found.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(response, bytes):
                writer.write(response)
                await writer.drain()
            else:
                await response(writer)
        writer.close()
        running.discard(current)

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    found.address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
    try:
        yield found
    finally:
        server.close()
        for connection in running:
            connection.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()
