"""The table of error codes, and conversion of errors to `google.rpc.Status` and back.

The ErrorInfo of a status names the class of the error and holds its attributes, so that a client raises the same error.
Errors of proxies and of the transport have no ErrorInfo: their class comes from the gRPC code alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
# A peer takes 8 KB of metadata by default. The message is sent twice: percent-encoded, and in the status as base64.
_MAX_MESSAGE, _MAX_VALUE, _MAX_LIST = 1000, 300, 800


class Row(NamedTuple):
    """The codes of an error.

    Attributes
    ----------
    code
        Its gRPC code.
    http
        Its HTTP status.
    reason
        Its reason in ErrorInfo.
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
"""The row of each error. A code without ErrorInfo means the first error with this code."""

_BY_REASON = {row.reason: kind for kind, row in TABLE.items()}
_BY_CODE = {row.code.value[0]: kind for kind, row in reversed([*TABLE.items()])}


def row_of(error: BaseException) -> Row:
    """Return the row of an error; an error that is not in the table is an internal error."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), TABLE[InternalError])


def public_error(error: BaseException, request_id: str) -> AutomaskError:
    """Return the error itself if it is in the table, else an internal error that names only the request id."""
    if isinstance(error, AutomaskError) and any(kind in TABLE for kind in type(error).__mro__):
        return error
    return InternalError(f"the server failed on this; its log has more{f' under {request_id}' * bool(request_id)}")


def to_status(error: BaseException, request_id: str = "") -> Status:
    """Convert an error to a status.

    Parameters
    ----------
    error
        Any error. The status of one that is not in the table does not say what happened.
    request_id
        The id under which the log has more about the error.

    Returns
    -------
    google.rpc.status_pb2.Status
        With ErrorInfo and, if they apply, BadRequest and RetryInfo. Long texts lose their middle, so that the status
        fits into metadata.
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
            fields = {"parameter": error.parameter, "requirement": error.requirement, "value": str(error.value)}
            violation.field, violation.description = _shorten(error.parameter), _shorten(f"must {error.requirement}")
        case UnknownPromptError():
            fields = {"prompt": error.prompt}
            info.metadata.update({"nearest": _write_list(error.nearest), "parts": _write_list(error.parts)})
            violation.field, violation.description = "prompts", _shorten(str(error))
        case ImageError():
            fields = {}
            violation.field, violation.description = "image", _shorten(str(error))
        case DeviceError():
            fields = {"gone": "true"} if error.is_gone else {}
        case _:
            fields = {}
    info.metadata.update({key: _shorten(text) for key, text in fields.items()})
    yield info
    if violation.field:
        yield BadRequest(field_violations=[violation])
    if (seconds := getattr(error, "retry_after", None)) is not None:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(round(seconds * 1e9))
        yield retry


def _shorten(text: str, limit: int = _MAX_VALUE) -> str:
    """Cut the middle out of a text that is too long; escape what is not Unicode, as in the names of files."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    half = limit // 2 - 2
    return f"{data[:half].decode(errors='ignore')} … {data[-half:].decode(errors='ignore')}"


def _write_list(texts: Sequence[str]) -> str:
    """Return the first texts that fit, as JSON, which nobody could read without its middle."""
    written = json.dumps(texts, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return written.decode() if len(written) <= _MAX_LIST else _write_list(texts[:-1])


def _read_list(text: str) -> tuple[str, ...]:
    """Read what `_write_list` returned; empty where an older server left it out, or cut it."""
    try:
        return tuple(json.loads(text))
    except ValueError:
        return ()


def to_error(status: Status) -> AutomaskError:
    """Convert a status to the error that `to_status` converted: the same class, message and attributes.

    Parameters
    ----------
    status
        A status of any server; without automask's ErrorInfo, the class comes from the code.
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


def _rebuild(kind: type[AutomaskError], message: str, fields: Mapping[str, str]) -> Any:  # noqa: ANN401 (some take attributes)
    attributes: dict[str, object]
    if kind is ParameterError:
        attributes = {name: fields.get(name, "") for name in ("parameter", "requirement", "value")}
    elif kind is UnknownPromptError:
        prompt, parts = fields.get("prompt", ""), _read_list(fields.get("parts", ""))
        nearest = _read_list(fields.get("nearest", ""))
        attributes = {"prompt": prompt, "nearest": nearest, "parts": parts or (prompt,)}
    else:
        error = kind(message)
        if isinstance(error, DeviceError) and fields.get("gone") == "true":
            error.is_gone = True
        return error
    # The constructors of these two build the message, which is complete here.
    error = kind.__new__(kind)
    ValueError.__init__(error, message)
    vars(error).update(attributes)
    return error


def error_from_rpc(error: grpc.RpcError, target: str) -> AutomaskError:
    """Convert what a call raised to the error of the server.

    Parameters
    ----------
    error
        What `grpc` or `grpc.aio` raised.
    target
        The server; named in errors of the connection.
    """
    # The type stubs of grpc lack the methods of a call that its errors have; those of grpc.aio have them.
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == _KEY:
            return to_error(Status.FromString(value))
    text = f"{target}: {call.details() or call.code().name}"
    if call.code() is grpc.StatusCode.INTERNAL:
        # An internal error of the server has a status. This one is from a proxy that lost the server.
        return UnavailableError(text.partition("\n")[0])
    return to_error(Status(code=call.code().value[0], message=text))


def trailing_metadata(status: Status) -> Metadata:
    """Return a status as metadata, for ``await context.abort(code, message, trailing_metadata)``."""
    return ((_KEY, status.SerializeToString()),)
