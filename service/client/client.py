"""The blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Literal, Self, Unpack, overload

from automask.errors import AutomaskError
from automask.images import ImageSource
from automask.parameters import Options
from automask.result import Result
from automask.v1 import mask_service_pb2 as messages

from ..wire.tasks import portable
from .base import BaseClient
from .calls import TaskTemplate, read_each, read_fetched
from .connections import Connection
from .frames import FrameWindow, prepare_frame
from .jobs import Job
from .responses import Model

__all__ = ["Client"]


class Client(BaseClient[Connection]):
    """A client of a server. Share it between threads; close it, or use it in a ``with``.

    Its methods raise the errors of the library and of `automask.service`. A call that fails with a transient error is
    attempted up to 8 times within `timeout`: the server is unavailable, is starting, or says when to retry.

    Parameters
    ----------
    target
        ``host:port``, or ``unix:/path`` for a Unix socket.
    api_key
        API key; by default the environment variable ``AUTOMASK_API_KEY``, or none.
    ca
        Certificate of the authority that signed the server's certificate: a path, or PEM bytes. Turns on TLS.
    cert, key
        Certificate and private key of the client, for servers that require them: paths, or PEM bytes. Turn on TLS.
    timeout
        Seconds for a call, all its attempts together. Does not apply to `mask_many` and `Job.watch`.

    Raises
    ------
    ParameterError
        `cert` without `key`, or `key` without `cert`; or `api_key` is not one line of ASCII.
    OSError
        A file cannot be read.

    Examples
    --------
    >>> with Client("127.0.0.1:50051") as c:  # doctest: +SKIP
    ...     c.mask("room.jpg", "sofa").save("sofa.png")
    """

    _connect = Connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        self._connection.close()

    @overload
    def mask(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too; the first fit is meant
        self,
        image: ImageSource,
        prompt: str | None = ...,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        **options: Unpack[Options],
    ) -> Result: ...

    @overload
    def mask(
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
    def mask(
        self,
        image: ImageSource,
        prompt: Sequence[str],
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> list[Result | AutomaskError]: ...

    def mask(
        self,
        image: ImageSource,
        prompt: str | Sequence[str] | None = None,
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        return_errors: bool = False,
        **options: Unpack[Options],
    ) -> Result | list[Result] | list[Result | AutomaskError]:
        """Mask what the prompt names, as `automask.Segmenter.mask` does.

        Parameters
        ----------
        image
            As in the library. Files are sent as they are, pixels as pixels.
        prompt, exclude
            As in the library; `prompt` may be left out with `box` or `points`.
        model
            Name of a model of the server; by default its first one.
        return_errors
            As in the library.
        **options
            The parameters of `automask.Segmenter.mask`, also `box`, `points`, `keep` and `drop`.

        Returns
        -------
        A `Result` for one prompt or none, or a list of them in the order of the prompts. `Result.score_map` is None.

        Raises
        ------
        DeadlineError
            The call took longer than the `timeout` of the client.
        UnavailableError
            The server cannot be reached.
        AutomaskError
            Any error of the library, and the other errors of `automask.service`.
        """
        template = TaskTemplate.build(prompt, exclude, model, options, return_errors=return_errors)
        result: Result | list[Result] | list[Result | AutomaskError] = self._connection.send(
            template.generate(portable(image))
        )
        return result

    @overload
    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str | None = ...,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Iterator[Result]: ...

    @overload
    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str | None = ...,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> Iterator[Result | AutomaskError]: ...

    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str | None = None,
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        return_errors: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Result | AutomaskError]:
        """Mask the same thing in many images over one stream. Up to four images are sent ahead.

        Parameters
        ----------
        images
            Any iterable of what `mask` takes.
        prompt, exclude, model, **options
            As in `mask`.
        return_errors
            Yield the error of an image in its turn and continue, instead of raising it. An error of the connection is
            raised and ends the stream; it is not retried.

        Returns
        -------
        An iterator over one `Result` per image, in order; with `return_errors`, an item may be an `AutomaskError`.

        Raises
        ------
        ParameterError
            A parameter is out of its range; raised at once. All other errors are raised by the iterator.
        """
        template = TaskTemplate.build(prompt, exclude, model, options)
        return self._stream(images, FrameWindow(template, return_errors=return_errors))

    def _stream(self, images: Iterable[ImageSource], window: FrameWindow) -> Iterator[Result | AutomaskError]:
        outgoing: SimpleQueue[messages.GenerateStreamRequest | None] = SimpleQueue()
        images = iter(images)
        with self._connection.stream("GenerateStream", iter(outgoing.get, None)) as stream:
            try:
                while True:
                    for image in images:
                        if message := window.add(prepare_frame(image)):
                            outgoing.put(message)
                        if window.is_full:
                            break
                    if window.is_empty:
                        break
                    yield window.take(next(stream, None) if window.needs_response else None)
                outgoing.put(None)
                next(stream, None)  # waits for the end of the stream
            finally:
                outgoing.put(None)  # ends the thread of gRPC that reads this queue

    @overload
    def submit(  # type: ignore[overload-overlap]  # as in `mask`
        self,
        image: ImageSource,
        prompt: str | None = ...,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        idempotency_key: str | None = ...,
        deadline: float | None = ...,
        **options: Unpack[Options],
    ) -> Job[Result]: ...

    @overload
    def submit(
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
    ) -> Job[list[Result]]: ...

    @overload
    def submit(
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
    ) -> Job[list[Result | AutomaskError]]: ...

    def submit(
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
    ) -> Job[Result] | Job[list[Result]] | Job[list[Result | AutomaskError]]:
        """Submit a request. When this returns, the request is on the server's disk and survives a crash.

        Parameters
        ----------
        image, prompt, exclude, model, return_errors, **options
            As in `mask`.
        idempotency_key
            Your own name for this request, 1 to 128 characters: submitting the same task with the same key again
            returns the same job. By default a random one, so that this call can be retried.
        deadline
            Seconds from now, more than 0, after which a request that has not ended fails with `DeadlineError`; by
            default none.

        Returns
        -------
        The `Job`. Its `request_id` finds it again later, through `job`.

        Raises
        ------
        ParameterError
            The idempotency key was used with another task, or a parameter is out of its range.
        QueueFullError
            The server's queue or disk is full.
        AutomaskError
            Any error of the library, and the other errors of `automask.service`.
        """
        template = TaskTemplate.build(prompt, exclude, model, options, return_errors=return_errors)
        sent = portable(image)
        request_id = self._connection.send(template.submit(sent, idempotency_key, deadline))
        return Job(self._connection, request_id, lambda response: template.read(response, sent))

    @overload
    def job(self, request_id: str, *, return_errors: Literal[False] = ...) -> Job[Result | list[Result]]: ...

    @overload
    def job(self, request_id: str, *, return_errors: Literal[True]) -> Job[list[Result | AutomaskError]]: ...

    def job(
        self, request_id: str, *, return_errors: bool = False
    ) -> Job[Result | list[Result]] | Job[list[Result | AutomaskError]]:
        """Return the job of a request that was submitted earlier. Does not call the server.

        Results do not carry the photo: `Result.image` raises `ImageError`.

        Parameters
        ----------
        request_id
            `Job.request_id` of that request.
        return_errors
            Whether the result is a list with the result or the error of each prompt. By default, it is a `Result` for
            one prompt, a list of them for several, and the first error of a prompt is raised.
        """
        if return_errors:
            return Job(self._connection, request_id, read_each)
        return Job(self._connection, request_id, read_fetched)

    def models(self) -> list[Model]:
        """Return the models of the server, the default model first.

        Raises
        ------
        AutomaskError
            The errors of `automask.service`.
        """
        return self._connection.send(self._models_call())
