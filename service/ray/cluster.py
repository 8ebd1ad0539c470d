"""`automask serve --engine ray`: a cluster that is started or joined, the application on it, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import structlog

from automask.errors import MissingDependencyError

from ..errors import UnavailableError
from ..settings import Settings

__all__ = ["FUNCTIONS", "NAME", "SLACK", "run"]

NAME = "automask"
"""Of the application."""

FUNCTIONS = (
    "automask.v1.mask_service_pb2_grpc.add_MaskServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)
"""What Ray Serve's gRPC proxy is told of."""

SLACK = 16 << 20  # beyond the limit on images, so that it is automask that refuses them, and says why

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second one ends it at once.

    Raises
    ------
    AutomaskError
        It cannot start.
    """
    # Before Ray is imported: it reads these once. Nothing is told to its makers unless somebody says so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_GRPC_MAX_MESSAGE_SIZE", str(settings.max_image_bytes + SLACK))
    try:
        import ray

        from .api import deploy_api
    except ImportError as error:
        raise MissingDependencyError(f"{error}; for Ray Serve: pip install 'automask[ray]'") from error
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ...
