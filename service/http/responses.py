"""Responses in the format of the hosted API. No I/O."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

from fastapi import Response
from fastapi.responses import JSONResponse
from google.rpc.status_pb2 import Status

from automask.v1 import mask_pb2

from ..core.task import PICTURES
from ..states import State
from ..store.records import Record

__all__ = ["describe_result", "describe_status", "find_picture", "ignored_parameters", "mask_response"]

_MEDIA_TYPES: Final = {".png": "image/png", ".webp": "image/webp"}
_MAX_HEADER_LENGTH: Final = 1000


def ignored_parameters(names: Sequence[str]) -> list[str]:
    """Return a warning for each unknown parameter."""
    return [f"unknown parameter, ignored: {name}" for name in names]


def mask_response(
    response: mask_pb2.MaskResponse, *, as_base64: bool, credits_left: int | None, unknown: Sequence[str]
) -> Response:
    """Return the response to a synchronous call: the picture, or JSON that contains it.

    Parameters
    ----------
    response
        Response with one result and one picture.
    as_base64
        Return JSON.
    credits_left
        Credits left of the key; None for unlimited.
    unknown
        Names of unknown parameters.
    """
    (result,) = response.results
    picture = result.media[0].data
    warnings = [*ignored_parameters(unknown), *result.warnings]
    headers = {
        "x-generation-time": f"{response.timings.total_ms / 1e3:.4f}",
        "x-seed-value": str(response.parameters.seed),
        "x-cost": "0",
        "x-remaining-credits": "inf" if credits_left is None else str(credits_left),  # float() parses both
    }
    if as_base64:
        body = {"image": base64.b64encode(picture).decode("ascii"), "warnings": warnings}
        return JSONResponse(body, headers=headers)
    if warnings:
        headers["x-warnings"] = _header("; ".join(warnings))
    return Response(picture, headers=headers, media_type="image/png")


def _header(text: str) -> str:
    """Return a text as a header value: printable ASCII, of limited length, without blanks around it."""
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)[:_MAX_HEADER_LENGTH].strip()


def describe_status(record: Record) -> tuple[dict[str, Any], int]:
    """Return the status of a request, as a body and an HTTP status."""
    body: dict[str, Any] = {"request_id": record.request_id, "status": record.state.name}
    if record.state is State.FAILED:
        body["error"] = Status.FromString(record.error or b"").message
    if record.state is State.CANCELLED:  # unknown to the vendor's clients
        body |= {"status": State.FAILED.name, "error": "the request was cancelled"}
    return body, 422 if "error" in body else 200


def describe_result(
    record: Record, *, output: str, credits_left: int | None, unknown: Sequence[str]
) -> tuple[dict[str, Any], int]:
    """Return the result of a request, as a body and an HTTP status.

    Parameters
    ----------
    record
        Record of the request, with its result if there is one.
    output
        URL of the picture, with ``{ending}`` for its file name extension.
    credits_left
        Credits left of the key; None for unlimited.
    unknown
        Names of unknown parameters.
    """
    body, status = describe_status(record)
    response = mask_pb2.MaskResponse.FromString(record.result or b"")
    found = find_picture(response)
    body["output"] = None if found is None else output.replace("{ending}", found[1])
    if response.results:
        body["seed"] = response.parameters.seed
    body["warnings"] = [*ignored_parameters(unknown), *(text for one in response.results for text in one.warnings)]
    body["metrics"] = {
        "inference_time": response.timings.inference_ms / 1e3,
        "queue_time": _seconds(record.created, record.started) + response.timings.queue_ms / 1e3,
        "total_time": _seconds(record.created, record.ended),
        "cost": 0,
        "remaining_credits": credits_left,
        "retry_count": max(0, record.attempts - 1),
    }
    return body, status


def _seconds(start: float, end: float | None) -> float:
    return 0.0 if end is None else max(0.0, end - start)


def find_picture(response: mask_pb2.MaskResponse) -> tuple[bytes, str, str] | None:
    """Return the first picture of a result: its bytes, extension and media type; None if there is none."""
    for result in response.results:
        for media in result.media:
            if media.format in PICTURES:
                ending = PICTURES[media.format][1]
                return media.data, ending, _MEDIA_TYPES[ending]
    return None
