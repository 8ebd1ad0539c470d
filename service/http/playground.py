"""The playground: one page on which the server can be tried, and the two questions that the page asks.

It goes through the same door, queue and limits as every other call.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from google.protobuf.json_format import MessageToDict

from automask.errors import ImageError
from automask.v1 import mask_pb2

from ..config.settings import Settings
from ..core.operations import Operations
from ..core.task import OutputFormat
from ..keys.key import Key
from .bodies import read_body
from .connections import sign_in, while_there

__all__ = ["router"]

_FORMATS: Final = (OutputFormat.MASK_PNG, OutputFormat.COCO_RLE, OutputFormat.POLYGONS)
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
_HEADERS: Final = {
    # A new version of the server must not meet scripts of the old one: a browser asks each time, and gets a 304.
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def router(operations: Operations[mask_pb2.MaskResponse], settings: Settings, *, grpc_port: int) -> APIRouter:
    """Make the routes of the playground.

    Parameters
    ----------
    operations
        What the page can ask for.
    settings
        Of the server.
    grpc_port
        Where gRPC clients connect to, for the examples that the page shows.
    """
    routes = APIRouter(include_in_schema=False)
    files = {file.name: _Static(file.name, file.read_bytes()) for file in _files()}

    signed_in = Depends(sign_in(operations))

    @routes.get("/")
    async def page(request: Request) -> Response:
        return files["index.html"].answer(request)

    @routes.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        return files[name].answer(request) if name in files else Response("there is no such file", 404)

    @routes.get("/playground/models")
    async def models(_: Key = signed_in) -> dict[str, Any]:
        return {"grpc_port": grpc_port, "models": _tell_models(operations)}

    @routes.post("/playground/mask")
    async def mask(request: Request, key: Key = signed_in) -> dict[str, Any]:
        form = await read_body(request, settings.max_image_bytes)
        if not isinstance(form.image, bytes):
            raise ImageError("the playground fetches no URLs: send a file in the field `image`")
        task = form.to_task(form.image, _FORMATS)
        return _tell(await while_there(request, operations.generate(task, key)))

    return routes


def _files() -> list[Any]:
    return [file for file in resources.files(__package__).joinpath("static").iterdir() if file.is_file()]


class _Static:
    """A file of the page, kept in memory: there are few, and they are small."""

    def __init__(self, name: str, data: bytes) -> None:
        self._data = data
        self._type = _TYPES[name[name.rindex(".") :]]
        self._etag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'

    def answer(self, request: Request) -> Response:
        """Send it, unless the browser has it."""
        headers = {**_HEADERS, "etag": self._etag}
        # A proxy that compresses makes the tag a weak one.
        if self._etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self._data, headers=headers, media_type=self._type)


def _tell_models(operations: Operations[Any]) -> list[dict[str, Any]]:
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


def _tell(response: mask_pb2.MaskResponse) -> dict[str, Any]:
    result = response.results[0]
    return {
        "mask": base64.b64encode(result.media[0].data).decode("ascii"),
        "width": result.width,
        "height": result.height,
        "is_empty": result.is_empty,
        "labels": list(result.labels),
        "dropped": list(result.dropped),
        "warnings": list(result.warnings),
        "instances": [_tell_instance(instance) for instance in result.instances],
        "rle": {"size": [result.rle.height, result.rle.width], "counts": result.rle.counts},
        "timings": MessageToDict(
            response.timings, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        ),
        "device": response.device,
        "model": response.model,
    }


def _tell_instance(instance: mask_pb2.Instance) -> dict[str, Any]:
    box = instance.box
    return {
        "label": instance.label,
        "score": instance.score,
        "box": [box.left, box.top, box.right, box.bottom],
        "polygons": [list(polygon.points) for polygon in instance.polygons],
    }
