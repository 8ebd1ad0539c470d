"""What a server tells of its requests and models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from google.protobuf.message import Message

from automask.errors import AutomaskError, CancelledError
from automask.v1 import mask_service_pb2 as messages

from ..errors import DeadlineError
from ..states import ENDS, State
from ..wire.status import to_error

__all__ = ["LONGEST_WAIT", "JobStatus", "Model", "has_result", "read_models", "read_status"]

LONGEST_WAIT: Final = 60.0
"""Seconds that a server lets one `GetResult` wait."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a submitted request is.

    Attributes
    ----------
    request_id
        Its id.
    state
        ``QUEUED``, ``PROCESSING``, ``COMPLETED``, ``FAILED`` or ``CANCELLED``; a text, too.
    queue_position
        Requests before this one, 0 for the next; None unless ``QUEUED``.
    error
        What went wrong; None unless ``FAILED`` or ``CANCELLED``.
    attempts
        How often work on it has begun, 0..3.
    created, started, ended
        When it was accepted, when work on it last began, and when it ended, by the server's clock; None where that has
        not happened.
    expires
        When the server forgets it; None until it has ended.
    """

    request_id: str
    state: State
    queue_position: int | None
    error: AutomaskError | None
    attempts: int
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    expires: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDS


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a server has loaded.

    Attributes
    ----------
    name
        What `Client.mask` takes as `model`.
    description
        What it is, in a sentence.
    family
        How its graphs fit together: ``boxes`` or ``dense``.
    device
        Where it runs: ``cpu``, ``cuda`` or ``tensorrt``.
    licence
        Of its weights.
    vocabulary
        The kinds of object that it knows; empty where it takes any text.
    """

    name: str
    description: str
    family: str
    device: str
    licence: str
    vocabulary: tuple[str, ...]


def read_status(message: messages.RequestStatus) -> JobStatus:
    """Take a status off the wire."""
    state = State[messages.RequestState.Name(message.state).removeprefix("REQUEST_STATE_")]
    error = to_error(message.error) if message.HasField("error") else None
    if state is State.CANCELLED:
        error = CancelledError(f"request {message.request_id} was cancelled")
    return JobStatus(
        request_id=message.request_id,
        state=state,
        queue_position=message.queue_position if message.HasField("queue_position") else None,
        error=error,
        attempts=message.attempts,
        created=_time(message, "create_time"),
        started=_time(message, "start_time"),
        ended=_time(message, "end_time"),
        expires=_time(message, "expire_time"),
    )


def _time(message: Message, field: str) -> datetime | None:
    moment: datetime | None = getattr(message, field).ToDatetime(UTC) if message.HasField(field) else None
    return moment


def has_result(answer: messages.GetResultResponse, *, is_last: bool) -> bool:
    """Whether an answer carries the result.

    Parameters
    ----------
    answer
        To a `GetResult`.
    is_last
        Whether there is no time to ask again.

    Raises
    ------
    AutomaskError
        The request failed or was cancelled, or it has not ended and `is_last`.
    """
    status = read_status(answer.status)
    if status.error is not None:
        raise status.error
    if is_last and not status.has_ended:
        raise DeadlineError(f"request {status.request_id} is still {status.state}, and the time to wait for it is over")
    return status.has_ended


def read_models(message: messages.ListModelsResponse) -> list[Model]:
    """Take the loaded models off the wire, the default one first."""
    return [
        Model(
            name=model.name,
            description=model.description,
            family=model.family,
            device=model.device,
            licence=model.licence,
            vocabulary=tuple(model.vocabulary),
        )
        for model in message.models
    ]
