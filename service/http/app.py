"""The application: the hosted API's calls, the playground, and what tells of them."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from automask.v1.mask_pb2 import MaskResponse

from ..config.settings import Settings
from ..core.operations import Operations
from ..telemetry.calls import Observer
from . import hosted, playground
from .bodies import max_body_bytes
from .connections import Forwarded
from .docs import HEADERS, write_page
from .fetch import Fetcher
from .middleware import CallMiddleware, refuse_path

__all__ = ["create_app"]


def create_app(
    operations: Operations[MaskResponse], settings: Settings, fetcher: Fetcher, observer: Observer, *, grpc_port: int
) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    operations
        What can be asked for: the same as over gRPC.
    settings
        Of the server.
    fetcher
        Fetches photos that come as a URL.
    observer
        Counts and logs calls.
    grpc_port
        Where gRPC clients connect to, for the examples that the playground shows.
    """
    # FastAPI's own pages of documentation load scripts from elsewhere.
    app = FastAPI(title="automask", version="1", docs_url=None, redoc_url=None)
    app.include_router(hosted.router(operations, settings, fetcher))
    app.include_router(playground.router(operations, settings, grpc_port=grpc_port))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Tell whether calls are let in; needs no key."""
        operations.check_open()
        return {"status": "serving"}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(write_page(app.openapi()), headers=HEADERS)

    app.add_exception_handler(HTTPException, refuse_path)
    # The last one added is the outermost: errors, which `CallMiddleware` tells, are for other origins as well.
    app.add_middleware(
        CallMiddleware,
        observer=observer,
        max_body_bytes=max_body_bytes(settings.max_image_bytes),
        timeout=settings.http_timeout,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["x-api-key", "content-type", "idempotency-key"],
            expose_headers=["x-request-id", "x-generation-time", "x-seed-value", "x-cost", "x-remaining-credits"],
        )
    app.add_middleware(Forwarded, trusted=settings.trusted_proxies)
    return app
