"""What came out, to and from the wire."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from automask.encodings import Rle
from automask.instance import Instance
from automask.result import Result
from automask.v1 import mask_pb2

from .remote_result import CHOSEN, PICTURES, RemoteResult
from .tasks import Format, Task, read_parameters, write_parameters

__all__ = ["read_response", "write_response"]

_MARGIN = 3  # a sample reaches one further; the rest is for other ways to scale up


def write_response(
    results: Sequence[Result], task: Task, *, queue_ms: float = 0.0, retries: int = 0
) -> mask_pb2.MaskResponse:
    """Put results on the wire. Encoding pictures takes milliseconds: not for an event loop.

    Parameters
    ----------
    results
        One for each prompt of the task, at least one.
    task
        What they were made for.
    queue_ms
        Milliseconds from being accepted to the start of work.
    retries
        Tries after the first.
    """
    start = perf_counter()
    first = results[0]
    formats = task.formats or (CHOSEN[first.kind],)
    response = mask_pb2.MaskResponse(
        results=[_write_result(result, formats) for result in results],
        parameters=write_parameters(first.parameters),
        model=first.model,
        device=first.device,
    )
    stages = {stage: ms for stage, ms in first.timings.items() if stage != "total"}
    stages["respond"] = (perf_counter() - start) * 1000
    inference_ms = first.timings["total"] + stages["respond"]
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


def _write_result(result: Result, formats: Sequence[Format]) -> mask_pb2.MaskResult:
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
        rle=_write_rle(result.rle) if mask_pb2.OUTPUT_FORMAT_COCO_RLE in formats else None,
        polygons=_write_polygons(result.polygons) if mask_pb2.OUTPUT_FORMAT_POLYGONS in formats else None,
        instances=[_write_instance(instance, formats) for instance in result.instances],
    )


def _write_media(result: Result, formats: Sequence[Format]) -> Iterator[mask_pb2.Media]:
    for wanted in formats:
        if wanted in PICTURES:
            yield mask_pb2.Media(format=wanted, data=result.encode(*PICTURES[wanted]))
        elif wanted == mask_pb2.OUTPUT_FORMAT_MASK_RAW:
            yield mask_pb2.Media(format=wanted, data=result.mask.tobytes())


def _write_rle(rle: Rle) -> mask_pb2.CocoRle:
    height, width = rle["size"]
    return mask_pb2.CocoRle(height=height, width=width, counts=rle["counts"])


def _write_polygons(polygons: Sequence[Sequence[float]]) -> list[mask_pb2.Polygon]:
    return [mask_pb2.Polygon(points=points) for points in polygons]


def _write_instance(instance: Instance, formats: Sequence[Format]) -> mask_pb2.Instance:
    left, top, right, bottom = instance.box
    return mask_pb2.Instance(
        label=instance.label,
        score=instance.score,
        box=mask_pb2.Box(left=left, top=top, right=right, bottom=bottom),
        rle=_write_rle(instance.rle) if mask_pb2.OUTPUT_FORMAT_COCO_RLE in formats else None,
        polygons=_write_polygons(instance.polygons) if mask_pb2.OUTPUT_FORMAT_POLYGONS in formats else None,
        logits=_write_logits(instance.logits) if mask_pb2.OUTPUT_FORMAT_INSTANCE_LOGITS in formats else None,
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
) -> list[Result]:
    """Take results off the wire; pictures are decoded only when they are looked at.

    Parameters
    ----------
    response
        As a server sent it.
    image
        The photo in the form in which it was sent, None where it is not at hand: then `Result.image` cannot be told.
    base64
        As in `Parameters`; it has no meaning for the server.

    Returns
    -------
    One `Result` for each prompt. `Result.score_map` is None, and `Result.instances` holds those that came with their
    logits.
    """
    parameters = replace(read_parameters(response.parameters), base64=base64)
    timings = {**response.timings.stages_ms, "queue": response.timings.queue_ms, "total": response.timings.total_ms}
    return [
        RemoteResult.make(
            message,
            image,
            parameters=parameters,
            timings=timings,
            device=response.device,
            model=response.model,
        )
        for message in response.results
    ]
