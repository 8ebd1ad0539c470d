"""The pages of the server and their files: the playground, and Swagger UI for the HTTP API."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

import fastapi_offline  # ships the files of Swagger UI, which FastAPI itself loads from another host
from fastapi import APIRouter, Request, Response

__all__ = ["router"]

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
_SWAGGER_UI: Final = ("swagger-ui.css", "swagger-ui-bundle.js")
_HEADERS: Final = {
    # Scripts of an old version must not run on a new page: browsers ask every time, and usually get a 304.
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def router() -> APIRouter:
    """Return the routes of the pages and of their files."""
    routes = APIRouter(include_in_schema=False)
    files = _load_files()

    @routes.get("/")
    async def playground(request: Request) -> Response:
        return files["index.html"].respond(request)

    @routes.get("/docs")
    async def docs(request: Request) -> Response:
        return files["docs.html"].respond(request)

    @routes.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        return files[name].respond(request) if name in files else Response("no such file", 404)

    return routes


class _File:
    """A file in memory.

    Not Starlette's StaticFiles: its ETags come from modification times, which images built reproducibly share.
    """

    def __init__(self, name: str, data: bytes) -> None:
        self._data = data
        self._type = _TYPES[name[name.rindex(".") :]]
        self._etag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'

    def respond(self, request: Request) -> Response:
        """Return the file, or 304 if the browser has it."""
        headers = {**_HEADERS, "etag": self._etag}
        # `in`, because a proxy that compresses weakens the tag: W/"…".
        if self._etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self._data, headers=headers, media_type=self._type)


def _load_files() -> dict[str, _File]:
    own = resources.files(__package__).joinpath("static")
    swagger_ui = resources.files(fastapi_offline).joinpath("static")
    paths = [*own.iterdir(), *map(swagger_ui.joinpath, _SWAGGER_UI)]
    return {path.name: _File(path.name, path.read_bytes()) for path in paths if path.is_file()}
