"""What the callers of a client ask for: checked, put on the wire, and its answer read."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from automask.errors import ParameterError
from automask.parameters import Parameters
from automask.result import PictureKind, Result
from automask.segmenter import Options
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..wire.remote_result import CHOSEN
from ..wire.responses import read_response
from ..wire.tasks import write_task

__all__ = ["Photo", "Question", "duration", "read_fetched"]

Photo = bytes | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Question:
    """What one call asks of a photo.

    Attributes
    ----------
    prompts, exclude, parameters, model
        As in `automask.service.tasks.Task`.
    is_one
        Whether the caller gave one prompt and wants one result, not a list.
    """

    prompts: tuple[str, ...]
    exclude: tuple[str, ...]
    parameters: Parameters
    model: str
    is_one: bool

    @classmethod
    def ask(cls, prompt: str | Sequence[str], exclude: str | Sequence[str], model: str, options: Options) -> Question:
        """Check what can be checked here, without the model.

        Raises
        ------
        ParameterError
            A parameter is out of its range or of the wrong type.
        """
        prompts = _texts("prompt", prompt)
        if not prompts:
            raise ParameterError("prompt", "name at least one thing", prompt)
        return cls(prompts, _texts("exclude", exclude), Parameters(**options), model, isinstance(prompt, str))

    def task(self, photo: Photo) -> mask_pb2.MaskTask:
        """Put it on the wire; besides the picture that is chosen, always ask for the mask and the instances."""
        chosen: PictureKind = "mask" if self.parameters.return_mask else "preview"
        if self.parameters.return_alpha:
            chosen = "alpha"
        formats = dict.fromkeys((CHOSEN["mask"], CHOSEN[chosen], mask_pb2.OUTPUT_FORMAT_INSTANCE_LOGITS))
        return write_task(
            photo,
            self.prompts,
            exclude=self.exclude,
            parameters=self.parameters,
            model=self.model,
            formats=[*formats],
        )

    def submission(self, photo: Photo, idempotency_key: str | None, deadline: float | None) -> messages.SubmitRequest:
        """Put it on the wire as a request that may be sent twice."""
        return messages.SubmitRequest(
            task=self.task(photo),
            idempotency_key=idempotency_key or uuid.uuid4().hex,
            deadline=None if deadline is None else duration(deadline),
        )

    # One result for one prompt, else a list: the overloads of those who call this tell which.
    def read(self, response: mask_pb2.MaskResponse, photo: Photo) -> Any:  # noqa: ANN401
        """Read the answer."""
        results = read_response(response, photo, base64=self.parameters.base64)
        return results[0] if self.is_one else results


def read_fetched(response: mask_pb2.MaskResponse) -> Result | list[Result]:
    """Read the answer to a question that is no longer known: one result alone, several as a list."""
    results = read_response(response, None)
    return results[0] if len(results) == 1 else results


def duration(seconds: float) -> Duration:
    """Put seconds on the wire."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def _texts(name: str, prompts: object) -> tuple[str, ...]:
    listed: list[Any] = [prompts] if isinstance(prompts, str) or not isinstance(prompts, Iterable) else [*prompts]
    for prompt in listed:
        if not isinstance(prompt, str):
            raise ParameterError(name, "be text or a sequence of texts", prompt)
    return tuple(listed)
