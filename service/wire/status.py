"""The one table of what each error is called over gRPC and HTTP, and errors in the form in which they travel.

Every error is a ``google.rpc.Status``: its ErrorInfo tells a client which class to raise again, and with what. Proxies
and the transport know nothing of that; what they say is raised by its code alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from automask.errors import (
    AutomaskError,
    BundleError,
    BundleNotFoundError,
    CancelledError,
    DeviceError,
    EmptyMaskError,
    ImageError,
    MissingDependencyError,
    ParameterError,
    UnknownPromptError,
)

from ..errors import (
    DeadlineError,
    InternalError,
    NotAllowedError,
    NotFoundError,
    OutOfCreditsError,
    QueueFullError,
    RateLimitError,
    StoreError,
    UnauthenticatedError,
    UnavailableError,
)

__all__ = [
    "DOMAIN",
    "TABLE",
    "Metadata",
    "Row",
    "error_from_rpc",
    "public_error",
    "row_of",
    "to_error",
    "to_status",
    "trailing_metadata",
]

Metadata: TypeAlias = tuple[tuple[str, bytes], ...]

DOMAIN: Final = "automask"
_KEY: Final = "grpc-status-details-bin"
# A peer takes 8 KB of metadata unless told otherwise; the status crosses twice, once percent-encoded, once as base64.
_MAX_MESSAGE, _MAX_VALUE = 1000, 300


class Row(NamedTuple):
    """What an error is called over the wire.

    Attributes
    ----------
    code
        Its gRPC code.
    http
        Its HTTP status.
    reason
        Its name in ErrorInfo.
    """

    code: grpc.StatusCode
    http: int
    reason: str


TABLE: Final[Mapping[type[AutomaskError], Row]] = MappingProxyType(
    {
        ParameterError: Row(grpc.StatusCode.INVALID_ARGUMENT, 400, "INVALID_PARAMETER"),
        ImageError: Row(grpc.StatusCode.INVALID_ARGUMENT, 400, "INVALID_IMAGE"),
        UnknownPromptError: Row(grpc.StatusCode.INVALID_ARGUMENT, 400, "UNKNOWN_PROMPT"),
        EmptyMaskError: Row(grpc.StatusCode.INVALID_ARGUMENT, 400, "EMPTY_MASK"),
        UnauthenticatedError: Row(grpc.StatusCode.UNAUTHENTICATED, 401, "UNAUTHENTICATED"),
        NotAllowedError: Row(grpc.StatusCode.PERMISSION_DENIED, 403, "NOT_ALLOWED"),
        NotFoundError: Row(grpc.StatusCode.NOT_FOUND, 404, "NOT_FOUND"),
        BundleNotFoundError: Row(grpc.StatusCode.NOT_FOUND, 404, "BUNDLE_NOT_FOUND"),
        OutOfCreditsError: Row(grpc.StatusCode.FAILED_PRECONDITION, 406, "OUT_OF_CREDITS"),
        QueueFullError: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "QUEUE_FULL"),
        RateLimitError: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "RATE_LIMIT"),
        CancelledError: Row(grpc.StatusCode.CANCELLED, 499, "CANCELLED"),
        InternalError: Row(grpc.StatusCode.INTERNAL, 500, "INTERNAL"),
        StoreError: Row(grpc.StatusCode.INTERNAL, 500, "STORE"),
        BundleError: Row(grpc.StatusCode.INTERNAL, 500, "BUNDLE"),
        MissingDependencyError: Row(grpc.StatusCode.INTERNAL, 500, "MISSING_DEPENDENCY"),
        UnavailableError: Row(grpc.StatusCode.UNAVAILABLE, 502, "UNAVAILABLE"),
        DeviceError: Row(grpc.StatusCode.UNAVAILABLE, 502, "DEVICE"),
        DeadlineError: Row(grpc.StatusCode.DEADLINE_EXCEEDED, 504, "DEADLINE"),
    }
)
"""One row for each error; of those that share a code, a bare code means the first."""

_BY_REASON = {row.reason: kind for kind, row in TABLE.items()}
_BY_CODE = {row.code.value[0]: kind for kind, row in reversed([*TABLE.items()])}


def row_of(error: BaseException) -> Row:
    """Find an error's row; what automask does not raise on purpose is an internal error."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), TABLE[InternalError])


def public_error(error: BaseException, request_id: str) -> AutomaskError:
    """Give an error itself if it is for its client's eyes, else one that tells only where the log has more."""
    if isinstance(error, AutomaskError) and any(kind in TABLE for kind in type(error).__mro__):
        return error
    return InternalError(f"the server failed on this; its log tells more{f' under {request_id}' * bool(request_id)}")


def to_status(error: BaseException, request_id: str = "") -> Status:
    """Put an error into the form in which it travels.

    Parameters
    ----------
    error
        Any error. Of one that automask does not raise on purpose nothing is told but that it happened.
    request_id
        Under which the log tells more about it.

    Returns
    -------
    google.rpc.status_pb2.Status
        With ErrorInfo and, where they fit, BadRequest and RetryInfo; small enough for metadata, for which a very long
        text loses its middle.
    """
    error = public_error(error, request_id)
    row = row_of(error)
    status = Status(code=row.code.value[0], message=_shorten(str(error), _MAX_MESSAGE))
    for detail in _details(error, row.reason):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(error: BaseException, reason: str) -> Iterator[Message]:
    info = ErrorInfo(reason=reason, domain=DOMAIN)
    violation = BadRequest.FieldViolation(reason=reason)
    match error:
        case ParameterError():
            told = {"parameter": error.parameter, "requirement": error.requirement, "value": str(error.value)}
            violation.field, violation.description = _shorten(error.parameter), _shorten(f"must {error.requirement}")
        case UnknownPromptError():
            told = {"prompt": error.prompt, "nearest": json.dumps(error.nearest)}
            violation.field, violation.description = "prompts", _shorten(str(error))
        case ImageError():
            told = {}
            violation.field, violation.description = "image", _shorten(str(error))
        case _:
            told = {}
    info.metadata.update({key: _shorten(text) for key, text in told.items()})
    yield info
    if violation.field:
        yield BadRequest(field_violations=[violation])
    if (seconds := getattr(error, "retry_after", None)) is not None:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(round(seconds * 1e9))
        yield retry


def _shorten(text: str, limit: int = _MAX_VALUE) -> str:
    """Keep both ends of a text that is too long; a name of a file may hold what is no Unicode."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    half = limit // 2 - 2
    return f"{data[:half].decode(errors='ignore')} … {data[-half:].decode(errors='ignore')}"


def to_error(status: Status) -> AutomaskError:
    """Make the error again that `to_status` was given: the same class, message and attributes.

    Parameters
    ----------
    status
        From any server; without automask's ErrorInfo, the class comes from the code.
    """
    info, retry = ErrorInfo(), RetryInfo()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(retry)
    kind = _BY_REASON.get(info.reason) if info.domain == DOMAIN else None
    kind = kind or _BY_CODE.get(status.code, InternalError)
    error: AutomaskError = _rebuild(kind, status.message, info.metadata)
    if retry.HasField("retry_delay") and hasattr(error, "retry_after"):
        error.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return error


def _rebuild(kind: type[AutomaskError], message: str, told: Mapping[str, str]) -> Any:  # noqa: ANN401 (some take attributes)
    attributes: dict[str, object]
    if kind is ParameterError:
        attributes = {name: told.get(name, "") for name in ("parameter", "requirement", "value")}
    elif kind is UnknownPromptError:
        attributes = {"prompt": told.get("prompt", ""), "nearest": tuple(json.loads(told.get("nearest", "[]")))}
    else:
        return kind(message)
    # These two put their sentence together themselves; here it is whole already.
    error = kind.__new__(kind)
    ValueError.__init__(error, message)
    vars(error).update(attributes)
    return error


def error_from_rpc(error: grpc.RpcError, target: str) -> AutomaskError:
    """Make the error again that a server ended a call with.

    Parameters
    ----------
    error
        What `grpc` or `grpc.aio` raised.
    target
        The server, to be named where it is not the server but the connection to it that ended the call.
    """
    # grpc's own stubs do not tell that what a call raises is also that call; grpc.aio's says the same by itself.
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == _KEY:
            return to_error(Status.FromString(value))
    text = f"{target}: {call.details() or call.code().name}"
    if call.code() is grpc.StatusCode.INTERNAL:
        # A server's own comes with its status; this is of what is between, such as a proxy that lost the server.
        return UnavailableError(text.partition("\n")[0])
    return to_error(Status(code=call.code().value[0], message=text))


def trailing_metadata(status: Status) -> Metadata:
    """Give a status the form in which a server sends it: ``await context.abort(code, message, trailing_metadata)``."""
    return ((_KEY, status.SerializeToString()),)
