"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Literal, Self, TypeAlias, Unpack, overload

import grpc.aio

from automask.errors import AutomaskError
from automask.images import ImageSource
from automask.parameters import Options
from automask.result import Result

from ..wire.tasks import portable
from .base import BaseClient
from .calls import TaskTemplate, read_each, read_fetched
from .connections import AsyncConnection
from .frames import FrameWindow, prepare_frame
from .jobs import AsyncJob
from .responses import Model

__all__ = ["AsyncClient"]

_Images: TypeAlias = "Iterable[ImageSource] | AsyncIterable[ImageSource]"


class AsyncClient(BaseClient[AsyncConnection]):
    """A client of a server for one event loop. Create it inside that loop; close it, or use it in an ``async with``.

    Parameters, retries and errors are those of `Client`.

    Examples
    --------
    >>> async def main():
    ...     async with AsyncClient("127.0.0.1:50051") as c:
    ...         return await c.mask("room.jpg", "sofa")
    """

    _connect = AsyncConnection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        await self._connection.close()

    @overload
    async def mask(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too; the first fit is meant
        self,
        image: ImageSource,
        prompt: str | None = ...,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        **options: Unpack[Options],
    ) -> Result: ...

    @overload
    async def mask(
        self,
        image: ImageSource,
        prompt: Sequence[str],
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[Result]: ...

    @overload
    async def mask(
        self,
        image: ImageSource,
        prompt: Sequence[str],
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> list[Result | AutomaskError]: ...

    async def mask(
        self,
        image: ImageSource,
        prompt: str | Sequence[str] | None = None,
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        return_errors: bool = False,
        **options: Unpack[Options],
    ) -> Result | list[Result] | list[Result | AutomaskError]:
        """Mask what the prompt names; see `Client.mask`. Cancelling the call stops the work on the server."""
        template = TaskTemplate.build(prompt, exclude, model, options, return_errors=return_errors)
        sent = await asyncio.to_thread(portable, image)
        result: Result | list[Result] | list[Result | AutomaskError] = await self._connection.send(
            template.generate(sent)
        )
        return result

    @overload
    def mask_many(
        self,
        images: _Images,
        prompt: str | None = ...,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> AsyncIterator[Result]: ...

    @overload
    def mask_many(
        self,
        images: _Images,
        prompt: str | None = ...,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> AsyncIterator[Result | AutomaskError]: ...

    def mask_many(
        self,
        images: _Images,
        prompt: str | None = None,
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        return_errors: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Result | AutomaskError]:
        """Mask the same thing in many images over one stream; see `Client.mask_many`.

        Parameters
        ----------
        images
            An iterable or an asynchronous iterable of what `mask` takes.
        prompt, exclude, model, return_errors, **options
            As in `Client.mask_many`.
        """
        template = TaskTemplate.build(prompt, exclude, model, options)
        return self._stream(_as_async(images), FrameWindow(template, return_errors=return_errors))

    async def _stream(
        self, images: AsyncIterator[ImageSource], window: FrameWindow
    ) -> AsyncIterator[Result | AutomaskError]:
        with self._connection.stream("GenerateStream") as stream:
            while True:
                async for image in images:
                    if message := window.add(await asyncio.to_thread(prepare_frame, image)):
                        await stream.write(message)
                    if window.is_full:
                        break
                if window.is_empty:
                    break
                response = await stream.read() if window.needs_response else None
                yield window.take(None if response is grpc.aio.EOF else response)
            await stream.done_writing()
            await stream.read()  # waits for the end of the stream

    @overload
    async def submit(  # type: ignore[overload-overlap]  # as in `mask`
        self,
        image: ImageSource,
        prompt: str | None = ...,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        idempotency_key: str | None = ...,
        deadline: float | None = ...,
        **options: Unpack[Options],
    ) -> AsyncJob[Result]: ...

    @overload
    async def submit(
        self,
        image: ImageSource,
        prompt: Sequence[str],
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: Literal[False] = ...,
        idempotency_key: str | None = ...,
        deadline: float | None = ...,
        **options: Unpack[Options],
    ) -> AsyncJob[list[Result]]: ...

    @overload
    async def submit(
        self,
        image: ImageSource,
        prompt: Sequence[str],
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: bool,
        idempotency_key: str | None = ...,
        deadline: float | None = ...,
        **options: Unpack[Options],
    ) -> AsyncJob[list[Result | AutomaskError]]: ...

    async def submit(
        self,
        image: ImageSource,
        prompt: str | Sequence[str] | None = None,
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        return_errors: bool = False,
        idempotency_key: str | None = None,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob[Result] | AsyncJob[list[Result]] | AsyncJob[list[Result | AutomaskError]]:
        """Submit a request; see `Client.submit`."""
        template = TaskTemplate.build(prompt, exclude, model, options, return_errors=return_errors)
        sent = await asyncio.to_thread(portable, image)
        request_id = await self._connection.send(template.submit(sent, idempotency_key, deadline))
        return AsyncJob(self._connection, request_id, lambda response: template.read(response, sent))

    @overload
    def job(self, request_id: str, *, return_errors: Literal[False] = ...) -> AsyncJob[Result | list[Result]]: ...

    @overload
    def job(self, request_id: str, *, return_errors: Literal[True]) -> AsyncJob[list[Result | AutomaskError]]: ...

    def job(
        self, request_id: str, *, return_errors: bool = False
    ) -> AsyncJob[Result | list[Result]] | AsyncJob[list[Result | AutomaskError]]:
        """Return the job of a request that was submitted earlier; see `Client.job`."""
        if return_errors:
            return AsyncJob(self._connection, request_id, read_each)
        return AsyncJob(self._connection, request_id, read_fetched)

    async def models(self) -> list[Model]:
        """Return the models of the server, the default model first."""
        return await self._connection.send(self._models_call())


async def _as_async(images: _Images) -> AsyncIterator[ImageSource]:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image
