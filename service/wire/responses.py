"""Conversion of results to a response message and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from automask.encodings import Rle
from automask.errors import AutomaskError, ParameterError
from automask.instance import Instance
from automask.result import Result
from automask.v1 import mask_pb2

from ..core.task import CHOSEN, PICTURES, OutputFormat, Task
from ..limits import MAX_RAW_BYTES
from .remote_result import RemoteResult
from .status import to_error, to_status
from .tasks import read_parameters, write_formats, write_parameters

__all__ = ["read_response", "write_response"]

_MARGIN = 3  # bilinear scaling reads one sample further; two more allow for other filters


def write_response(
    results: Sequence[Result | AutomaskError], task: Task, queue_ms: float = 0.0, retries: int = 0
) -> mask_pb2.MaskResponse:
    """Convert the results of a task to a message. Encoding takes milliseconds: do not call it on an event loop.

    Parameters
    ----------
    results
        One for each prompt of the task, at least one: its result, or its error.
    task
        The task they belong to.
    queue_ms
        Milliseconds from acceptance to the start of work.
    retries
        Attempts after the first.

    Raises
    ------
    ParameterError
        The raw masks together are larger than a response may be.
    """
    start = perf_counter()
    first = next((result for result in results if isinstance(result, Result)), None)
    formats = task.formats or (CHOSEN[first.kind],) if first else ()
    if OutputFormat.MASK_RAW in formats:
        _check_raw(sum(result.mask.size for result in results if isinstance(result, Result)))
    response = mask_pb2.MaskResponse(
        results=[
            _write_error(prompt, result) if isinstance(result, AutomaskError) else _write_result(result, formats)
            for prompt, result in zip(task.prompts or ("",), results, strict=True)
        ],
        parameters=write_parameters((first or task).parameters),
        model=first.model if first else task.model,
        device=first.device if first else "",
    )
    timings = first.timings if first else {}
    stages = {stage: ms for stage, ms in timings.items() if stage != "total"}
    stages["respond"] = (perf_counter() - start) * 1000
    inference_ms = timings.get("total", 0.0) + stages["respond"]
    response.timings.CopyFrom(
        mask_pb2.Timings(
            queue_ms=queue_ms,
            inference_ms=inference_ms,
            total_ms=queue_ms + inference_ms,
            stages_ms=stages,
            retries=retries,
        )
    )
    return response


def _check_raw(size: int) -> None:
    if size > MAX_RAW_BYTES:
        wanted = f"not be MASK_RAW for masks of more than {MAX_RAW_BYTES // 1_000_000} MB together"
        raise ParameterError("formats", wanted, f"{size / 1e6:.0f} MB")


def _write_error(prompt: str, error: AutomaskError) -> mask_pb2.MaskResult:
    return mask_pb2.MaskResult(prompt=prompt, error=to_status(error))


def _write_result(result: Result, formats: Sequence[OutputFormat]) -> mask_pb2.MaskResult:
    height, width = result.mask.shape
    return mask_pb2.MaskResult(
        prompt=result.prompt,
        labels=result.labels,
        dropped=result.dropped,
        warnings=result.warnings,
        is_empty=result.is_empty,
        width=width,
        height=height,
        media=list(_write_media(result, formats)),
        rle=_write_rle(result.rle) if OutputFormat.COCO_RLE in formats else None,
        polygons=_write_polygons(result.polygons) if OutputFormat.POLYGONS in formats else None,
        instances=[_write_instance(instance, formats) for instance in result.instances],
    )


def _write_media(result: Result, formats: Sequence[OutputFormat]) -> Iterator[mask_pb2.Media]:
    for wanted, number in zip(formats, write_formats(formats), strict=True):
        if wanted in PICTURES:
            yield mask_pb2.Media(format=number, data=result.encode(*PICTURES[wanted]))
        elif wanted is OutputFormat.MASK_RAW:
            yield mask_pb2.Media(format=number, data=result.mask.tobytes())


def _write_rle(rle: Rle) -> mask_pb2.CocoRle:
    height, width = rle["size"]
    return mask_pb2.CocoRle(height=height, width=width, counts=rle["counts"])


def _write_polygons(polygons: Sequence[Sequence[float]]) -> list[mask_pb2.Polygon]:
    return [mask_pb2.Polygon(points=points) for points in polygons]


def _write_instance(instance: Instance, formats: Sequence[OutputFormat]) -> mask_pb2.Instance:
    left, top, right, bottom = instance.box
    return mask_pb2.Instance(
        label=instance.label,
        score=instance.score,
        box=mask_pb2.Box(left=left, top=top, right=right, bottom=bottom),
        rle=_write_rle(instance.rle) if OutputFormat.COCO_RLE in formats else None,
        polygons=_write_polygons(instance.polygons) if OutputFormat.POLYGONS in formats else None,
        logits=_write_logits(instance.logits) if OutputFormat.INSTANCE_LOGITS in formats else None,
    )


def _write_logits(logits: NDArray[np.float32]) -> mask_pb2.Logits:
    inside = logits > 0
    rows, columns = _window(inside.any(axis=1)), _window(inside.any(axis=0))
    window = logits[rows, columns].astype("<f4", copy=False)
    return mask_pb2.Logits(
        rows=logits.shape[0],
        columns=logits.shape[1],
        top=rows.start,
        left=columns.start,
        window_rows=window.shape[0],
        window_columns=window.shape[1],
        data=window.tobytes(),
    )


def _window(inside: NDArray[np.bool_] | np.bool_) -> slice:
    found = np.flatnonzero(inside)
    if found.size == 0:
        return slice(0, 0)
    return slice(max(0, int(found[0]) - _MARGIN), min(inside.size, int(found[-1]) + 1 + _MARGIN))


def read_response(
    response: mask_pb2.MaskResponse, image: bytes | NDArray[np.uint8] | None, *, base64: bool = False
) -> list[Result | AutomaskError]:
    """Convert a response to results. Their pictures are decoded only when they are read.

    Parameters
    ----------
    response
        The response as the server sent it.
    image
        The image in the form in which it was sent; None if it is not known: then `Result.image` raises.
    base64
        As in `Parameters`; the server does not use it.

    Returns
    -------
    One `Result` for each prompt, or its error. `Result.score_map` is None, and `Result.instances` holds those that were
    sent with their logits.
    """
    parameters = replace(read_parameters(response.parameters), base64=base64)
    timings = {**response.timings.stages_ms, "queue": response.timings.queue_ms, "total": response.timings.total_ms}
    return [
        to_error(message.error)
        if message.HasField("error")
        else RemoteResult.make(
            message,
            image,
            parameters=parameters,
            timings=timings,
            device=response.device,
            model=response.model,
        )
        for message in response.results
    ]
