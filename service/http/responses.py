"""Answers in the hosted API's words. No input or output here."""

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

__all__ = ["answer_now", "find_picture", "tell_result", "tell_state", "tell_unknown"]

_MEDIA_TYPES: Final = {".png": "image/png", ".webp": "image/webp"}
_LONGEST_HEADER: Final = 1000


def tell_unknown(names: Sequence[str]) -> list[str]:
    """Warn of parameters that mean nothing here."""
    return [f"unknown parameter, ignored: {name}" for name in names]


def answer_now(
    response: mask_pb2.MaskResponse, *, as_base64: bool, credits_left: int | None, unknown: Sequence[str]
) -> Response:
    """Answer a call that waited for its mask: with the picture, or with JSON that holds it.

    Parameters
    ----------
    response
        What came out, of one prompt and with one picture.
    as_base64
        Answer with JSON.
    credits_left
        Of the key; None where it has no limit.
    unknown
        Parameters that mean nothing here.
    """
    (result,) = response.results
    picture = result.media[0].data
    warnings = [*tell_unknown(unknown), *result.warnings]
    headers = {
        "x-generation-time": f"{response.timings.total_ms / 1e3:.4f}",
        "x-seed-value": str(response.parameters.seed),
        "x-cost": "0",
        "x-remaining-credits": "inf" if credits_left is None else str(credits_left),  # float() reads either
    }
    if as_base64:
        told = {"image": base64.b64encode(picture).decode("ascii"), "warnings": warnings}
        return JSONResponse(told, headers=headers)
    if warnings:
        headers["x-warnings"] = _header("; ".join(warnings))
    return Response(picture, headers=headers, media_type="image/png")


def _header(text: str) -> str:
    """Write a text as a header may have it: ASCII that is printed, and not too much of it."""
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)[:_LONGEST_HEADER]


def tell_state(record: Record) -> tuple[dict[str, Any], int]:
    """Tell where a request is, as a body and its HTTP status; the vendor's clients know no CANCELLED."""
    told: dict[str, Any] = {"request_id": record.request_id, "status": record.state.name}
    if record.state is State.FAILED:
        told["error"] = Status.FromString(record.error or b"").message
    if record.state is State.CANCELLED:
        told |= {"status": State.FAILED.name, "error": "the request was cancelled"}
    return told, 422 if "error" in told else 200


def tell_result(
    record: Record, *, output: str, credits_left: int | None, unknown: Sequence[str]
) -> tuple[dict[str, Any], int]:
    """Tell what came of a request, as a body and its HTTP status.

    Parameters
    ----------
    record
        With its result, if there is one.
    output
        URL of the picture, without the ending.
    credits_left
        Of the key; None where it has no limit.
    unknown
        Parameters that meant nothing here.
    """
    told, status = tell_state(record)
    response = mask_pb2.MaskResponse.FromString(record.result or b"")
    found = find_picture(response)
    told["output"] = None if found is None else output.replace("{ending}", found[1])
    if response.results:
        told["seed"] = response.parameters.seed
    told["warnings"] = [*tell_unknown(unknown), *(text for one in response.results for text in one.warnings)]
    told["metrics"] = {
        "inference_time": response.timings.inference_ms / 1e3,
        "queue_time": _span(record.created, record.started) + response.timings.queue_ms / 1e3,
        "total_time": _span(record.created, record.ended),
        "cost": 0,
        "remaining_credits": credits_left,
        "retry_count": max(0, record.attempts - 1),
    }
    return told, status


def _span(start: float, end: float | None) -> float:
    return 0.0 if end is None else max(0.0, end - start)


def find_picture(response: mask_pb2.MaskResponse) -> tuple[bytes, str, str] | None:
    """Find the first picture of a result: its bytes, its ending and its media type; None where there is none."""
    for result in response.results:
        for media in result.media:
            if media.format in PICTURES:
                ending = PICTURES[media.format][1]
                return media.data, ending, _MEDIA_TYPES[ending]
    return None
