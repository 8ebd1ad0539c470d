"""The client for asyncio: `AsyncClient` and `AsyncJob`, which do what `Client` and `Job` do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar, Unpack, overload

import grpc
import grpc.aio

from automask.errors import AutomaskError
from automask.images import ImageSource
from automask.result import Result
from automask.segmenter import Options
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..wire.status import error_from_rpc
from ..wire.tasks import portable
from .connections import DEFAULT_TARGET, AsyncConnection, Pem, Secrets
from .frames import AHEAD, photo_or_error, read_frame
from .questions import Photo, Question, duration, read_fetched
from .reports import LONGEST_WAIT, JobStatus, Model, has_result, read_models, read_status
from .retries import Tries

__all__ = ["AsyncClient", "AsyncJob"]

T_co = TypeVar("T_co", covariant=True)

_Images: TypeAlias = "Iterable[ImageSource] | AsyncIterable[ImageSource]"
_Stream: TypeAlias = "grpc.aio.StreamStreamCall[messages.GenerateStreamRequest, messages.GenerateStreamResponse]"


class AsyncClient:
    """A connection to a server for one event loop: make it inside that loop, and close it or use ``async with``.

    Parameters
    ----------
    target, api_key, ca, cert, key, timeout
        As in `Client`, and so is all the rest.

    Examples
    --------
    >>> async def main():
    ...     async with AsyncClient("127.0.0.1:50051") as c:
    ...         return await c.mask("room.jpg", "sofa")
    """

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
        self._connection = AsyncConnection(target, Secrets.read(api_key, ca, cert, key), timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._connection.target}>"

    async def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        await self._connection.close()

    @overload
    async def mask(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too; the first fit is meant
        self,
        image: ImageSource,
        prompt: str,
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
        **options: Unpack[Options],
    ) -> list[Result]: ...

    async def mask(
        self,
        image: ImageSource,
        prompt: str | Sequence[str],
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        **options: Unpack[Options],
    ) -> Result | list[Result]:
        """Mask what the prompt names, as `Client.mask` does. Cancelling it stops the work of the server."""
        question = Question.ask(prompt, exclude, model, options)
        photo = await asyncio.to_thread(portable, image)
        request = messages.GenerateRequest(task=question.task(photo))
        answer = await self._connection.call(self._connection.stub.Generate, request)
        result: Result | list[Result] = question.read(answer.response, photo)
        return result

    @overload
    def mask_many(
        self,
        images: _Images,
        prompt: str,
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
        prompt: str,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> AsyncIterator[Result | AutomaskError]: ...

    def mask_many(
        self,
        images: _Images,
        prompt: str,
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        return_errors: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Result | AutomaskError]:
        """Mask the same thing in many images over one stream, as `Client.mask_many` does.

        Parameters
        ----------
        images
            An iterable or an async one of what `mask` takes; read at most four ahead.
        prompt, exclude, model, return_errors, **options
            As in `Client.mask_many`.
        """
        question = Question.ask(prompt, exclude, model, options)
        return self._answers(_each(images), question, return_errors=return_errors)

    async def _answers(
        self, images: AsyncIterator[ImageSource], question: Question, *, return_errors: bool
    ) -> AsyncIterator[Result | AutomaskError]:
        stream = self._connection.stub.GenerateStream(metadata=self._connection.metadata)
        waiting: deque[Photo | AutomaskError] = deque()
        try:
            while await _send(images, question, stream, waiting):
                first = waiting.popleft()
                answer = first if isinstance(first, AutomaskError) else await _receive(stream, question, first)
                if isinstance(answer, AutomaskError) and not return_errors:
                    raise answer
                yield answer
            await stream.done_writing()
            await stream.read()  # lets it end by itself
        except grpc.RpcError as error:
            raise error_from_rpc(error, self._connection.target) from error
        finally:
            stream.cancel()

    @overload
    async def submit(  # type: ignore[overload-overlap]  # as in `mask`
        self,
        image: ImageSource,
        prompt: str,
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
        idempotency_key: str | None = ...,
        deadline: float | None = ...,
        **options: Unpack[Options],
    ) -> AsyncJob[list[Result]]: ...

    async def submit(
        self,
        image: ImageSource,
        prompt: str | Sequence[str],
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        idempotency_key: str | None = None,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob[Result] | AsyncJob[list[Result]]:
        """Leave a request with the server, as `Client.submit` does."""
        question = Question.ask(prompt, exclude, model, options)
        photo = await asyncio.to_thread(portable, image)
        request = question.submission(photo, idempotency_key, deadline)
        answer = await self._connection.call(self._connection.stub.Submit, request)
        return AsyncJob(self._connection, answer.status.request_id, lambda response: question.read(response, photo))

    def job(self, request_id: str) -> AsyncJob[Result | list[Result]]:
        """Take up a request that was submitted earlier, as `Client.job` does."""
        return AsyncJob(self._connection, request_id, read_fetched)

    async def models(self) -> list[Model]:
        """List the models of the server, the default one first."""
        return read_models(await self._connection.call(self._connection.stub.ListModels, messages.ListModelsRequest()))


async def _each(images: _Images) -> AsyncIterator[ImageSource]:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image


async def _send(
    images: AsyncIterator[ImageSource], question: Question, stream: _Stream, waiting: deque[Photo | AutomaskError]
) -> bool:
    """Send frames until enough are waiting for their answers; whether any is."""
    while len(waiting) < AHEAD:
        async for image in images:
            photo = await asyncio.to_thread(photo_or_error, image)
            waiting.append(photo)
            if not isinstance(photo, AutomaskError):
                await stream.write(messages.GenerateStreamRequest(task=question.task(photo)))
            break
        else:
            break
    return bool(waiting)


async def _receive(stream: _Stream, question: Question, photo: Photo) -> Result | AutomaskError:
    answer: Any = await stream.read()
    return read_frame(None if answer is grpc.aio.EOF else answer, question, photo)


class AsyncJob(Generic[T_co]):
    """A request that was left with a server; `AsyncClient.submit` and `AsyncClient.job` make one.

    Attributes
    ----------
    request_id
        What takes it up again later, through `AsyncClient.job`.
    """

    def __init__(
        self, connection: AsyncConnection, request_id: str, read: Callable[[mask_pb2.MaskResponse], T_co]
    ) -> None:
        self.request_id = request_id
        self._connection, self._read = connection, read

    def __repr__(self) -> str:
        return f"<AsyncJob {self.request_id} at {self._connection.target}>"

    async def status(self) -> JobStatus:
        """Ask where it is, as `Job.status` does."""
        request = messages.GetStatusRequest(request_id=self.request_id)
        return read_status((await self._connection.call(self._connection.stub.GetStatus, request)).status)

    async def result(self, timeout: float | None = None) -> T_co:
        """Wait for what comes of it, as `Job.result` does."""
        tries = Tries(timeout, most=None)
        while True:
            wait = LONGEST_WAIT if tries.left is None else min(tries.left, LONGEST_WAIT)
            try:
                answer = await self._connection.stub.GetResult(
                    messages.GetResultRequest(request_id=self.request_id, wait=duration(wait)),
                    timeout=wait + self._connection.timeout,
                    metadata=self._connection.metadata,
                )
            except grpc.RpcError as error:
                pause = tries.after(error_from_rpc(error, self._connection.target))
                await asyncio.sleep(pause)
                continue
            tries.went_well()
            if has_result(answer, is_last=tries.left == 0):
                return self._read(answer.response)

    async def cancel(self) -> JobStatus:
        """End it, if it has not ended; tells where it is then."""
        request = messages.CancelRequest(request_id=self.request_id)
        return read_status((await self._connection.call(self._connection.stub.Cancel, request)).status)

    async def watch(self) -> AsyncIterator[JobStatus]:
        """Tell where it is now and at every change until it has ended, as `Job.watch` does."""
        tries, last = Tries(None), None
        while last is None or not last.has_ended:
            request = messages.WatchStatusRequest(request_id=self.request_id)
            stream = self._connection.stub.WatchStatus(request, metadata=self._connection.metadata)
            try:
                async for message in stream:
                    tries.went_well()
                    status = read_status(message.status)
                    if status != last:
                        yield status
                    last = status
            except grpc.RpcError as error:
                pause = tries.after(error_from_rpc(error, self._connection.target))
                await asyncio.sleep(pause)
            finally:
                stream.cancel()
