"""A replica that does nothing but wait a fixed time: what is left of a call then is what the engine adds to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ray import serve
from ray.serve.deployment import Application

from automask.loading import outline
from automask.outline import Outline
from automask.service.config.settings import Settings
from automask.service.ray.api import deploy_api
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from questions.cluster import STANDIN_SECONDS

__all__ = ["StandIn", "standing_in"]

_MODEL = "default"


class StandIn:
    """Answers as a replica that holds a model does, with an empty mask."""

    async def describe(self) -> Mapping[str, Outline]:
        """Pretend to be the embedded model."""
        return {_MODEL: outline(_MODEL, device="cpu")}

    async def __call__(self, task: bytes, retries: int, request_id: str) -> bytes:
        """Take as long as it always does."""
        del task, retries, request_id
        await asyncio.sleep(STANDIN_SECONDS)
        response = mask_pb2.MaskResponse(timings=mask_pb2.Timings(inference_ms=1e3 * STANDIN_SECONDS))
        return messages.GenerateStreamResponse(response=response).SerializeToString()


def standing_in(settings: Settings, replicas: int) -> Application:
    """Make the application with so many of these instead of replicas with a model, each for one task at a time."""
    waiting = serve.deployment(
        StandIn, num_replicas=replicas, max_ongoing_requests=1, ray_actor_options={"num_cpus": 0}
    )
    return deploy_api(settings, {(_MODEL,): waiting.bind()})
