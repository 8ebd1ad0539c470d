"""Routes of the hosted API."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from automask.v1 import mask_pb2

from ..config.settings import Settings
from ..core.operations import Operations
from ..core.task import Task
from ..errors import NotFoundError
from ..keys.key import Key
from ..wire.tasks import encode_task
from . import openapi
from .authentication import authenticator
from .bodies import read_body
from .disconnects import unless_disconnected
from .fetch import Fetcher
from .forms import Form
from .responses import describe_result, describe_status, find_picture, ignored_parameters, mask_response
from .schema import SLUG, body_schema

__all__ = ["router"]

_CONTENT_TYPES: Final = ("multipart/form-data", "application/json", "application/x-www-form-urlencoded")
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {content_type: {"schema": body_schema(content_type)} for content_type in _CONTENT_TYPES},
    }
}


def router(operations: Operations[mask_pb2.MaskResponse], settings: Settings, fetcher: Fetcher) -> APIRouter:
    """Return the routes of the hosted API.

    Parameters
    ----------
    operations
        Operations of the server.
    settings
        Settings of the server.
    fetcher
        Fetches images that a client passes by URL.
    """
    routes = APIRouter()
    hosted = _Hosted(operations, settings, fetcher)
    authenticated = Depends(authenticator(operations))

    @routes.post(f"/v1/models/{SLUG}", include_in_schema=False)  # as in older documentation of the vendor
    @routes.post(f"/v1/{SLUG}", openapi_extra=_BODY, responses=openapi.GENERATE, response_class=Response)
    async def generate(request: Request, key: Key = authenticated) -> Response:
        """Mask an image and return the picture."""
        return await hosted.generate(request, key)

    @routes.post(
        f"/v2/{SLUG}",
        openapi_extra={**_BODY, "parameters": [openapi.IDEMPOTENCY_KEY]},
        responses=openapi.SUBMIT,
        response_model=None,
    )
    async def submit(request: Request, key: Key = authenticated) -> dict[str, Any]:
        """Submit a request; its status and result are available later."""
        return await hosted.submit(request, key)

    @routes.get("/v2/requests/{request_id}/status", responses=openapi.STATUS)
    async def status(request_id: str, key: Key = authenticated) -> JSONResponse:
        """Return the status of a request: QUEUED, PROCESSING, COMPLETED or FAILED."""
        return JSONResponse(*describe_status(await operations.status(request_id, key)))

    @routes.get("/v2/requests/{request_id}", responses=openapi.RESULT)
    async def result(
        request: Request,
        request_id: str,
        key: Key = authenticated,
        unknown: Annotated[list[str], Query(alias="ignored", include_in_schema=False)] = [],  # noqa: B006 (FastAPI copies it)
    ) -> JSONResponse:
        """Return the result of a request, with the URL of its picture in `output`."""
        return await hosted.result(request, request_id, key, unknown)

    @routes.get("/v2/requests/{request_id}/output.{ending}", responses=openapi.OUTPUT, response_class=Response)
    async def output(request_id: str, ending: str, key: str = "", signature: str = "") -> Response:
        """Return the picture of a request to anyone with its signed URL."""
        return await hosted.output(request_id, f".{ending}", key, signature)

    @routes.post("/v1/{slug:path}", include_in_schema=False)
    @routes.post("/v2/{slug:path}", include_in_schema=False)
    async def other(slug: str, _: Key = authenticated) -> None:
        raise NotFoundError(f"no model {slug!r}; this server has {SLUG!r}")

    return routes


class _Hosted:
    """Implementation of the routes.

    Parameters
    ----------
    operations, settings, fetcher
        As in `router`.
    """

    def __init__(self, operations: Operations[mask_pb2.MaskResponse], settings: Settings, fetcher: Fetcher) -> None:
        self._operations, self._settings, self._fetcher = operations, settings, fetcher

    async def generate(self, request: Request, key: Key) -> Response:
        """Mask an image and return the picture."""
        form, task = await self._read(request, key)
        response = await unless_disconnected(request, self._operations.generate(task, key))
        return mask_response(
            response,
            as_base64=form.parameters.base64,
            credits_left=await self._operations.credits(key),
            unknown=form.unknown,
        )

    async def submit(self, request: Request, key: Key) -> dict[str, Any]:
        """Submit a request and return its URLs."""
        form, task = await self._read(request, key)
        record = await self._operations.submit(
            task,
            key,
            encoded=encode_task(task),
            request_id=request.state.request_id,
            idempotency_key=_idempotency_key(request),
            deadline=None,
        )
        url = f"{self._base_url(request)}/v2/requests/{record.request_id}"
        # The vendor's `run` returns only the result, so the names of ignored parameters travel in its URL.
        ignored = f"?{urlencode([('ignored', name) for name in form.unknown[:20]])}" if form.unknown else ""
        return {
            "request_id": record.request_id,
            "status": record.state.name,
            "status_url": f"{url}/status",
            "poll_url": f"{url}/status",
            "response_url": f"{url}{ignored}",
            "warnings": ignored_parameters(form.unknown),
        }

    async def result(self, request: Request, request_id: str, key: Key, unknown: list[str]) -> JSONResponse:
        """Return the result of a request."""
        record = await self._operations.result(request_id, key, 0)
        signature = await self._operations.sign(key, request_id)
        signed = f"?{urlencode({'key': key.name, 'signature': signature})}" if signature else ""
        output = f"{self._base_url(request)}/v2/requests/{quote(request_id)}/output{{ending}}{signed}"
        left = await self._operations.credits(key)
        return JSONResponse(*describe_result(record, output=output, credits_left=left, unknown=unknown))

    async def output(self, request_id: str, ending: str, name: str, signature: str) -> Response:
        """Return the picture of a request."""
        key = await self._operations.authenticate_link(name, request_id, signature)
        record = await self._operations.result(request_id, key, 0)
        found = find_picture(mask_pb2.MaskResponse.FromString(record.result or b""))
        if found is None or found[1] != ending:
            raise NotFoundError(f"request {request_id!r} has no {ending} picture")
        return Response(found[0], media_type=found[2])

    async def _read(self, request: Request, key: Key) -> tuple[Form, Task]:
        form = await read_body(request, self._settings.max_image_bytes)
        image = form.image
        if isinstance(image, str):
            await self._operations.check_fetch(key, idempotency_key=_idempotency_key(request))
            image = await unless_disconnected(request, self._fetcher.fetch(image, request.state.held.add))
        return form, form.to_task(image)

    def _base_url(self, request: Request) -> str:
        return self._settings.public_url or str(request.base_url).rstrip("/")


def _idempotency_key(request: Request) -> str:
    return request.headers.get("idempotency-key", "")
