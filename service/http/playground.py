"""Routes of the playground page. Its calls have the same authentication, queue and limits as all others."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from google.protobuf.json_format import MessageToDict

from automask import Parameters
from automask.errors import ImageError
from automask.v1 import mask_pb2

from ..config.settings import Settings
from ..core.backend import find_model
from ..core.operations import Operations
from ..core.task import OutputFormat, Task
from ..keys.key import Key
from ..limits import MAX_PROMPT_LENGTH, MAX_PROMPTS
from .authentication import authenticator
from .bodies import read_body
from .disconnects import unless_disconnected

__all__ = ["router"]

_FORMATS: Final = (OutputFormat.MASK_PNG, OutputFormat.COCO_RLE, OutputFormat.POLYGONS)


def router(operations: Operations[mask_pb2.MaskResponse], settings: Settings, *, grpc_port: int) -> APIRouter:
    """Return the routes that the playground calls.

    Parameters
    ----------
    operations
        Operations of the server.
    settings
        Settings of the server.
    grpc_port
        Port of gRPC, for the code examples on the page.
    """
    routes = APIRouter(include_in_schema=False)
    authenticated = Depends(authenticator(operations))

    @routes.get("/playground/models")
    async def models(_: Key = authenticated) -> dict[str, Any]:
        return {"grpc_port": grpc_port, "models": _describe_models(operations)}

    @routes.post("/playground/mask")
    async def mask(request: Request, key: Key = authenticated) -> dict[str, Any]:
        form = await read_body(request, settings.max_image_bytes)
        if not isinstance(form.image, bytes):
            raise ImageError("the playground does not fetch URLs: upload a file in the field `image`")
        is_soft = form.parameters.alpha == "soft"  # the page cannot compute a soft edge from the mask
        task = form.to_task(form.image, (*_FORMATS, OutputFormat.ALPHA_PNG) if is_soft else _FORMATS)
        return _describe(await unless_disconnected(request, operations.generate(task, key)))

    @routes.post("/playground/objects")
    async def objects(request: Request, key: Key = authenticated) -> dict[str, Any]:
        """List what a model with a fixed vocabulary finds in a photo, the kind with the best score first: no credit."""
        form = await read_body(request, settings.max_image_bytes, needs_prompt=False)
        if not isinstance(form.image, bytes):
            raise ImageError("the playground does not fetch URLs: upload a file in the field `image`")
        prompts = _name_all(find_model(operations.models, form.model).vocabulary)
        if not prompts:
            return {"objects": []}
        parameters = Parameters(threshold=form.parameters.threshold, grow_mask=0, edges="model")
        task = Task(form.image, prompts, parameters=parameters, model=form.model)
        return _describe_objects(await unless_disconnected(request, operations.look(task, key)))

    return routes


def _describe_models(operations: Operations[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": segmenter.bundle.description,
            "device": segmenter.device,
            "licence": segmenter.bundle.licence,
            "vocabulary": segmenter.vocabulary,
        }
        for name, segmenter in operations.models.items()
    ]


def _name_all(labels: Sequence[str]) -> tuple[str, ...]:
    """Return as few prompts as possible that name every label; those that would be too many are left out."""
    prompts: list[str] = []
    for label in labels:
        longer = f"{prompts[-1]} and {label}" if prompts else label
        if prompts and len(longer) <= MAX_PROMPT_LENGTH:
            prompts[-1] = longer
        else:
            prompts.append(label)
    return tuple(prompts[:MAX_PROMPTS])


def _describe_objects(response: mask_pb2.MaskResponse) -> dict[str, Any]:
    instances = [instance for result in response.results for instance in result.instances]
    best = {one.label: one.score for one in sorted(instances, key=lambda one: one.score)}
    labels = sorted(best, key=lambda label: -best[label])
    counts = Counter(one.label for one in instances)
    return {"objects": [{"label": one, "score": best[one], "count": counts[one]} for one in labels]}


def _describe(response: mask_pb2.MaskResponse) -> dict[str, Any]:
    result = response.results[0]
    mask, *cutout = (base64.b64encode(media.data).decode("ascii") for media in result.media)
    return {
        "mask": mask,
        "cutout": next(iter(cutout), None),
        "width": result.width,
        "height": result.height,
        "is_empty": result.is_empty,
        "labels": list(result.labels),
        "dropped": list(result.dropped),
        "warnings": list(result.warnings),
        "instances": [_describe_instance(instance) for instance in result.instances],
        "rle": {"size": [result.rle.height, result.rle.width], "counts": result.rle.counts},
        "timings": MessageToDict(
            response.timings, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        ),
        "device": response.device,
        "model": response.model,
    }


def _describe_instance(instance: mask_pb2.Instance) -> dict[str, Any]:
    box = instance.box
    return {
        "label": instance.label,
        "score": instance.score,
        "box": [box.left, box.top, box.right, box.bottom],
        "polygons": [list(polygon.points) for polygon in instance.polygons],
    }
