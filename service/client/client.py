"""The client that waits for each answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import Literal, Self, Unpack, overload

import grpc

from automask.errors import AutomaskError
from automask.images import ImageSource
from automask.result import Result
from automask.segmenter import Options
from automask.v1 import mask_service_pb2 as messages

from ..wire.status import error_from_rpc
from ..wire.tasks import portable
from .connections import DEFAULT_TARGET, Connection, Pem, Secrets
from .frames import AHEAD, photo_or_error, read_frame
from .jobs import Job
from .questions import Photo, Question, read_fetched
from .reports import Model, read_models

__all__ = ["Client"]


class Client:
    """A connection to a server; share it between threads, and close it or use it in a ``with``.

    It raises the errors of the library and of `automask.service`. What passes is tried again, for some seconds and
    within `timeout`: a server that is not there, that is starting, or that says when to come again.

    Parameters
    ----------
    target
        ``host:port``, or ``unix:/path`` for a socket.
    api_key
        By default the environment variable ``AUTOMASK_API_KEY``; without one, none is sent.
    ca
        Certificate of the authority that signed the server's, a path or PEM; makes the connection use TLS.
    cert, key
        The client's own certificate and key, for servers that ask for one; they make the connection use TLS, too.
    timeout
        Seconds that a call may take, all its tries together.

    Raises
    ------
    ParameterError
        `cert` without `key`, or the other way round; or an `api_key` that is none.
    OSError
        A file cannot be read.

    Examples
    --------
    >>> with Client("127.0.0.1:50051") as c:  # doctest: +SKIP
    ...     c.mask("room.jpg", "sofa").save("sofa.png")
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
        self._connection = Connection(target, Secrets.read(api_key, ca, cert, key), timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._connection.target}>"

    def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        self._connection.close()

    @overload
    def mask(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too; the first fit is meant
        self,
        image: ImageSource,
        prompt: str,
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
        **options: Unpack[Options],
    ) -> list[Result]: ...

    def mask(
        self,
        image: ImageSource,
        prompt: str | Sequence[str],
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        **options: Unpack[Options],
    ) -> Result | list[Result]:
        """Mask what the prompt names, as `automask.Segmenter.mask` does.

        Parameters
        ----------
        image
            As in the library. Files travel as they are, pixels as pixels.
        prompt, exclude
            As in the library.
        model
            Name of a model of the server; by default its first.
        **options
            The parameters of the library's `mask`.

        Returns
        -------
        A `Result`, or a list of them in the order of the prompts. `Result.score_map` is None.

        Raises
        ------
        AutomaskError
            All that the library raises, and the errors of `automask.service`.
        """
        question = Question.ask(prompt, exclude, model, options)
        photo = portable(image)
        answer = self._connection.call(
            self._connection.stub.Generate, messages.GenerateRequest(task=question.task(photo))
        )
        result: Result | list[Result] = question.read(answer.response, photo)
        return result

    @overload
    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str,
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
        prompt: str,
        *,
        exclude: str | Sequence[str] = ...,
        model: str = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> Iterator[Result | AutomaskError]: ...

    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str,
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        return_errors: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Result | AutomaskError]:
        """Mask the same thing in many images over one stream; some travel while others are worked on.

        Parameters
        ----------
        images
            Any iterable of what `mask` takes; read at most four ahead.
        prompt, exclude, model, **options
            As in `mask`.
        return_errors
            Yield the error of an image in its place and go on, instead of raising it. An error of the connection ends
            the stream, and is raised.

        Returns
        -------
        An iterator over one `Result` for each image, in order; with `return_errors` it may be an `AutomaskError`.
        """
        question = Question.ask(prompt, exclude, model, options)
        return self._answers(images, question, return_errors=return_errors)

    def _answers(
        self, images: Iterable[ImageSource], question: Question, *, return_errors: bool
    ) -> Iterator[Result | AutomaskError]:
        outgoing: SimpleQueue[messages.GenerateStreamRequest | None] = SimpleQueue()
        stream = self._connection.stub.GenerateStream(iter(outgoing.get, None), metadata=self._connection.metadata)
        try:
            yield from _read_frames(iter(images), question, outgoing.put, stream, return_errors=return_errors)
            outgoing.put(None)
            next(stream, None)  # lets it end by itself
        except grpc.RpcError as error:
            raise error_from_rpc(error, self._connection.target) from error
        finally:
            outgoing.put(None)
            stream.cancel()

    @overload
    def submit(  # type: ignore[overload-overlap]  # as in `mask`
        self,
        image: ImageSource,
        prompt: str,
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
        idempotency_key: str | None = ...,
        deadline: float | None = ...,
        **options: Unpack[Options],
    ) -> Job[list[Result]]: ...

    def submit(
        self,
        image: ImageSource,
        prompt: str | Sequence[str],
        *,
        exclude: str | Sequence[str] = (),
        model: str = "",
        idempotency_key: str | None = None,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> Job[Result] | Job[list[Result]]:
        """Leave a request with the server. When this returns it is on the server's disk, and survives a crash.

        Parameters
        ----------
        image, prompt, exclude, model, **options
            As in `mask`.
        idempotency_key
            A name of your own for this request, 1 to 128 characters: the same again gives the same job, not a second
            one. By default one is made up, so that this call can be tried again.
        deadline
            Seconds after which a request that has not ended fails with `DeadlineError`; by default none.

        Returns
        -------
        The `Job`; its `request_id` takes it up again later, through `job`.
        """
        question = Question.ask(prompt, exclude, model, options)
        photo = portable(image)
        answer = self._connection.call(
            self._connection.stub.Submit, question.submission(photo, idempotency_key, deadline)
        )
        return Job(self._connection, answer.status.request_id, lambda response: question.read(response, photo))

    def job(self, request_id: str) -> Job[Result | list[Result]]:
        """Take up a request that was submitted earlier, by whomever. Nothing is asked of the server yet.

        One prompt gives a `Result`, several give a list. The results do not carry the photo: `Result.image` raises an
        `ImageError`.
        """
        return Job(self._connection, request_id, read_fetched)

    def models(self) -> list[Model]:
        """List the models of the server, the default one first."""
        return read_models(self._connection.call(self._connection.stub.ListModels, messages.ListModelsRequest()))


def _read_frames(
    images: Iterator[ImageSource],
    question: Question,
    send: Callable[[messages.GenerateStreamRequest], None],
    stream: Iterator[messages.GenerateStreamResponse],
    *,
    return_errors: bool,
) -> Iterator[Result | AutomaskError]:
    waiting: deque[Photo | AutomaskError] = deque()
    while True:
        for image in islice(images, AHEAD - len(waiting)):
            photo = photo_or_error(image)
            waiting.append(photo)
            if not isinstance(photo, AutomaskError):
                send(messages.GenerateStreamRequest(task=question.task(photo)))
        if not waiting:
            return
        first = waiting.popleft()
        answer = first if isinstance(first, AutomaskError) else read_frame(next(stream, None), question, first)
        if isinstance(answer, AutomaskError) and not return_errors:
            raise answer
        yield answer
