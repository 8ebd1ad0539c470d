"""The FastAPI application."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from automask.v1.mask_pb2 import MaskResponse

from ..config.settings import Settings
from ..core.inflight import InFlight
from ..core.operations import Operations
from ..telemetry.calls import Observer
from . import hosted, openapi, pages, playground
from .bodies import max_body_bytes
from .fetch import Fetcher
from .middleware import CallMiddleware, routing_error
from .origins import HostCheck, OriginCheck
from .proxies import ForwardedHeaders

__all__ = ["create_app"]

_DESCRIPTION: Final = (
    "The API of the hosted Automatic Mask Generator, on this server. Errors are JSON with `error`, `reason` and "
    "`request_id`. See also the [playground](.)."
)


def create_app(
    operations: Operations[MaskResponse],
    settings: Settings,
    fetcher: Fetcher,
    observer: Observer,
    in_flight: InFlight,
    *,
    grpc_port: int,
) -> FastAPI:
    """Create the application.

    Parameters
    ----------
    operations
        Operations of the server, shared with gRPC.
    settings
        Settings of the server.
    fetcher
        Fetches images that a client passes by URL.
    observer
        Counts and logs calls.
    in_flight
        Limits the bytes of bodies and messages.
    grpc_port
        Port of gRPC, for the code examples of the playground.
    """
    # FastAPI's own documentation pages load scripts from another host.
    app = FastAPI(title="automask", version="1", description=_DESCRIPTION, docs_url=None, redoc_url=None)
    app.include_router(hosted.router(operations, settings, fetcher))
    app.include_router(playground.router(operations, settings, grpc_port=grpc_port))
    app.include_router(pages.router())

    @app.get("/healthz", responses=openapi.HEALTH, response_model=None)
    async def healthz() -> dict[str, str]:
        """Return whether the server accepts calls and a model can answer; needs no key."""
        operations.check_ready()
        return {"status": "serving"}

    app.add_exception_handler(HTTPException, routing_error)
    # Each one is outside those added before it. A page can send forwarded headers to its own host but not to another,
    # so Host is checked before they are applied, and Origin afterwards.
    app.add_middleware(OriginCheck, settings=settings)
    app.add_middleware(ForwardedHeaders, trusted=settings.trusted_proxies)
    app.add_middleware(HostCheck, settings=settings)
    app.add_middleware(
        CallMiddleware,
        observer=observer,
        in_flight=in_flight,
        max_body_bytes=max_body_bytes(settings.max_image_bytes),
        timeout=settings.http_timeout,
    )
    if settings.cors_origins:  # outermost, so that errors get CORS headers as well
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["x-api-key", "content-type", "idempotency-key"],
            expose_headers=["x-request-id", "x-generation-time", "x-seed-value", "x-cost", "x-remaining-credits"],
        )
    return app
