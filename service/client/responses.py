"""Responses of a server: the status of a request, and its models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import Message

from automask.errors import AutomaskError, CancelledError
from automask.v1 import mask_service_pb2 as messages

from ..states import FINAL_STATES, State
from ..wire.status import to_error

__all__ = ["JobStatus", "Model", "read_models", "read_status"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of a submitted request. Times are by the server's clock.

    Attributes
    ----------
    request_id
        Id of the request.
    state
        ``QUEUED``, ``PROCESSING``, ``COMPLETED``, ``FAILED`` or ``CANCELLED``; also a `str`.
    queue_position
        Number of requests before this one, 0 for the next; None unless ``QUEUED``.
    error
        Why it ended; None unless ``FAILED`` or ``CANCELLED``.
    attempts
        How often a worker has started on it, 0..3.
    created
        When it was accepted.
    started
        When a worker last started on it; None before.
    ended
        When it ended; None before.
    expires
        When the server deletes it; None until it has ended.
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
        """Whether the state is final."""
        return self.state in FINAL_STATES


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a server has loaded.

    Attributes
    ----------
    name
        Value of the parameter `model` of `Client.mask`.
    description
        One sentence.
    family
        How its graphs fit together: ``boxes``, ``regions``, ``dense`` or ``concept``.
    device
        Where it runs, such as ``cpu`` or ``cuda``.
    licence
        Licence of its weights.
    vocabulary
        The names of the objects that it knows; empty if it takes any text.
    """

    name: str
    description: str
    family: str
    device: str
    licence: str
    vocabulary: tuple[str, ...]


def read_status(message: messages.RequestStatus) -> JobStatus:
    """Convert the message of a status."""
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


def read_models(message: messages.ListModelsResponse) -> list[Model]:
    """Convert the message of the models, the default model first."""
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
