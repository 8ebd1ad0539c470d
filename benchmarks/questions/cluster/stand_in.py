"""A replica without a model that waits a fixed time: the rest of a call's time is what Ray adds to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from ray import cloudpickle, serve
from ray.serve.deployment import Application

from automask.loading import outline
from automask.outline import Outline
from automask.service.config.settings import Settings
from automask.service.core.task import Task
from automask.service.ray.api import deploy_api
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from .setup import STAND_IN_SECONDS

__all__ = ["StandIn", "stand_in_application"]

_MODEL = "default"

# Ray's workers get the class itself: they cannot import the benchmarks.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class StandIn:
    """Responds like a replica with a model, with an empty mask."""

    async def describe(self) -> Mapping[str, Outline]:
        """Describe the embedded model."""
        return {_MODEL: outline(_MODEL, device="cpu")}

    async def __call__(self, task: Task, query: object, retries: int, request_id: str) -> bytes:
        """Wait for the fixed time."""
        del task, query, retries, request_id
        await asyncio.sleep(STAND_IN_SECONDS)
        response = mask_pb2.MaskResponse(timings=mask_pb2.Timings(inference_ms=1e3 * STAND_IN_SECONDS))
        return messages.GenerateStreamResponse(response=response).SerializeToString()


def stand_in_application(settings: Settings, replicas: int) -> Application:
    """Build the service with stand-ins as replicas, each for one task at a time."""
    deployment = serve.deployment(
        StandIn, num_replicas=replicas, max_ongoing_requests=1, ray_actor_options={"num_cpus": 0}
    )
    return deploy_api(settings, {(_MODEL,): deployment.bind()})
