"""Unary calls without I/O: the request message, and how to read the response."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from numpy.typing import NDArray

from automask.errors import AutomaskError
from automask.parameters import Options, Query
from automask.result import PictureKind, Result
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..core.task import CHOSEN, OutputFormat, Task
from ..wire.responses import read_response
from ..wire.tasks import write_task

__all__ = ["Call", "SentImage", "TaskTemplate", "read_each", "read_fetched", "to_duration"]

T = TypeVar("T")

SentImage: TypeAlias = bytes | NDArray[np.uint8]
"""An image as it is sent: the bytes of a file, or (H, W, 3) uint8 RGB."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A unary call.

    Attributes
    ----------
    method
        Name of the method of the service.
    request
        Its message.
    read
        Reads the response message.
    """

    method: str
    request: Message
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class TaskTemplate:
    """A task but for its image.

    Attributes
    ----------
    query
        Prompts, parameters and selection.
    model
        As in `automask.service.core.task.Task`.
    is_one
        Whether the caller passed one prompt, or none, and gets one result instead of a list.
    """

    query: Query
    model: str
    is_one: bool

    @classmethod
    def build(
        cls,
        prompt: str | Sequence[str] | None,
        exclude: str | Sequence[str],
        model: str,
        options: Options,
        *,
        return_errors: bool = False,
    ) -> TaskTemplate:
        """Check the parameters of a client's method, as far as that is possible without the model.

        Raises
        ------
        ParameterError
            A parameter is out of its range or of the wrong type.
        """
        query = Query.build(prompt, exclude, options, return_errors=return_errors)
        query.check_selection()
        return cls(query, model, prompt is None or isinstance(prompt, str))

    def task(self, image: SentImage) -> mask_pb2.MaskTask:
        """Build the task; it always asks for the mask and the instances, besides the chosen picture."""
        query, parameters = self.query, self.query.parameters
        chosen: PictureKind = "mask" if parameters.return_mask else "preview"
        if parameters.return_alpha:
            chosen = "alpha"
        formats = dict.fromkeys((CHOSEN["mask"], CHOSEN[chosen], OutputFormat.INSTANCE_LOGITS))
        if parameters.alpha == "soft":
            formats[CHOSEN["alpha"]] = None  # a soft edge cannot be computed from the mask
        return write_task(
            Task(
                image,
                query.prompts,
                query.exclude,
                parameters,
                self.model,
                (*formats,),
                query.selection,
                query.return_errors,
            )
        )

    # One result for one prompt, else a list: the overloads of the client's methods say which.
    def generate(self, image: SentImage) -> Call[Any]:
        """Build the call that masks an image."""
        return Call(
            "Generate",
            messages.GenerateRequest(task=self.task(image)),
            lambda response: self.read(response.response, image),
        )

    def submit(self, image: SentImage, idempotency_key: str | None, deadline: float | None) -> Call[str]:
        """Build the call that submits a request and returns its id; its idempotency key makes it safe to repeat."""
        request = messages.SubmitRequest(
            task=self.task(image),
            idempotency_key=idempotency_key or uuid.uuid4().hex,
            deadline=None if deadline is None else to_duration(deadline),
        )
        return Call("Submit", request, lambda response: str(response.status.request_id))

    def read(self, response: mask_pb2.MaskResponse, image: SentImage) -> Any:  # noqa: ANN401
        """Read the results: one, or a list."""
        results = read_response(response, image, base64=self.query.parameters.base64)
        return results[0] if self.is_one else results


def read_each(response: mask_pb2.MaskResponse) -> list[Result | AutomaskError]:
    """Read the result or the error of each prompt of a request whose task is not known."""
    return read_response(response, None)


def read_fetched(response: mask_pb2.MaskResponse) -> Result | list[Result]:
    """Read the results of a request whose task is not known: one alone, several as a list.

    Raises
    ------
    AutomaskError
        The first error of a prompt.
    """
    results = [_raise_error(result) for result in read_each(response)]
    return results[0] if len(results) == 1 else results


def _raise_error(result: Result | AutomaskError) -> Result:
    if isinstance(result, AutomaskError):
        raise result
    return result


def to_duration(seconds: float) -> Duration:
    """Convert seconds to a message."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
