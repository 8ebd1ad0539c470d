"""OpenAPI of the responses: bodies, headers and errors. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from automask.errors import AutomaskError, DeviceError, EmptyMaskError, ImageError, ParameterError, UnknownPromptError

from ..errors import (
    DeadlineError,
    InternalError,
    NotAllowedError,
    NotFoundError,
    OutOfCreditsError,
    QueueFullError,
    RateLimitError,
    UnauthenticatedError,
    UnavailableError,
)
from ..limits import MAX_KEY_LENGTH
from ..wire.status import TABLE

__all__ = [
    "GENERATE",
    "HEALTH",
    "IDEMPOTENCY_KEY",
    "OUTPUT",
    "RESULT",
    "STATUS",
    "SUBMIT",
]

Responses = dict[int | str, dict[str, Any]]

_REASONS: Final = ", ".join(dict.fromkeys(row.reason for row in TABLE.values()))


class Error(BaseModel):
    """An error."""

    error: Annotated[str, Field(description="What is wrong, and what would be right.")]
    reason: Annotated[str, Field(description=f"One of {_REASONS}; HTTP for an unknown path or method.")]
    request_id: Annotated[str, Field(description="Id of the call, as in the header x-request-id and the server's log.")]


class Picture(BaseModel):
    """The response with `base64`."""

    image: Annotated[str, Field(description="The PNG, in base64.")]
    warnings: list[str]


class Submitted(BaseModel):
    """A submitted request."""

    request_id: str
    status: Annotated[str, Field(description="QUEUED, or the state of the request with the same Idempotency-Key.")]
    status_url: Annotated[str, Field(description="URL of the status.")]
    poll_url: Annotated[str, Field(description="The same as status_url.")]
    response_url: Annotated[str, Field(description="URL of the result.")]
    warnings: list[str]


class Status(BaseModel):
    """The status of a request."""

    request_id: str
    status: Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED"]


class FailedStatus(BaseModel):
    """The status of a request that failed or was cancelled."""

    request_id: str
    status: Literal["FAILED"]
    error: str


class Metrics(BaseModel):
    """Times in seconds, cost and retries."""

    inference_time: float
    queue_time: float
    total_time: float
    cost: Annotated[float, Field(description="Always 0.")]
    remaining_credits: Annotated[int | None, Field(description="Credits of the key; null for unlimited.")]
    retry_count: int


class Result(Status):
    """The result of a request."""

    output: Annotated[str | None, Field(description="Signed URL of the picture; null while there is none.")]
    seed: Annotated[int, Field(description="The parameter seed; only if COMPLETED.")] = -1
    warnings: list[str]
    metrics: Metrics


class FailedResult(FailedStatus):
    """The result of a request that failed or was cancelled."""

    output: None
    warnings: list[str]
    metrics: Metrics


class Health(BaseModel):
    """The state of the server."""

    status: Literal["serving"]


_BINARY: Final[Mapping[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_HEADERS: Final = {
    "x-request-id": "Id of the call, as in the server's log.",
    "x-generation-time": "Seconds from acceptance to the end.",
    "x-seed-value": "The parameter seed.",
    "x-cost": "Always 0.",
    "x-remaining-credits": "Credits of the key; inf for unlimited.",
    "x-warnings": "Warnings, if there are any and the body is a picture.",
}

_ANYWHERE: Final = (InternalError, UnavailableError, DeadlineError)
_ABOUT_REQUEST: Final = (ParameterError, UnauthenticatedError, NotFoundError)  # ParameterError: a wrong Host header
_ABOUT_BODY: Final = (
    *_ABOUT_REQUEST,
    ImageError,
    UnknownPromptError,
    NotAllowedError,
    OutOfCreditsError,
    QueueFullError,
    RateLimitError,
)


def _errors(*kinds: type[AutomaskError]) -> Responses:
    """Return the responses for classes of errors, by HTTP status, with the reasons that they can have."""
    reasons: dict[int, list[str]] = {}
    for kind, row in TABLE.items():  # in the order of the statuses
        if kind in kinds or kind in _ANYWHERE:
            reasons.setdefault(row.http, []).append(row.reason)
    known: Responses = {status: {"model": Error, "description": ", ".join(names)} for status, names in reasons.items()}
    # Also keeps FastAPI from documenting its own validation errors, which this server never sends.
    return {**known, "default": {"model": Error, "description": "Any other error."}}


GENERATE: Final[Responses] = {
    200: {
        "model": Picture,
        "description": "The picture; JSON if `base64` is true.",
        "content": {"image/png": _BINARY},
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
    },
    **_errors(*_ABOUT_BODY, EmptyMaskError, DeviceError),
}
SUBMIT: Final[Responses] = {
    200: {"model": Submitted, "description": "The request is on disk."},
    **_errors(*_ABOUT_BODY),
}
STATUS: Final[Responses] = {
    200: {"model": Status, "description": "The status of the request."},
    422: {"model": FailedStatus, "description": "The request failed or was cancelled."},
    **_errors(*_ABOUT_REQUEST),
}
RESULT: Final[Responses] = {
    200: {"model": Result, "description": "The result of the request, or its status so far."},
    422: {"model": FailedResult, "description": "The request failed or was cancelled."},
    **_errors(*_ABOUT_REQUEST),
}
OUTPUT: Final[Responses] = {
    200: {"description": "The picture.", "content": {"image/png": _BINARY, "image/webp": _BINARY}},
    **_errors(*_ABOUT_REQUEST),
}
HEALTH: Final[Responses] = {
    200: {"model": Health, "description": "The server accepts calls, and a model can answer."},
    **_errors(),
}

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": MAX_KEY_LENGTH},
    "description": "The same body with the same key returns the first request. Not in the hosted API.",
}
"""The header of a submission, as a parameter."""
