"""The engine of a cluster: tasks go to replicas that hold the models; what dies on the way is sent again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from time import perf_counter
from typing import Any, TypeAlias

import structlog
from ray.exceptions import ObjectLostError, RayActorError, TaskCancelledError, WorkerCrashedError
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle
from structlog.contextvars import get_contextvars

from automask.errors import CancelledError
from automask.outline import Outline
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..core.backend import find_model
from ..core.task import Task
from ..errors import QueueFullError, UnavailableError
from ..telemetry.metrics import Metrics
from ..wire.status import to_error

__all__ = ["Handle", "RayEngine", "RayWork"]

Handle: TypeAlias = "DeploymentHandle[Any]"

_TRIES = 3  # of a task whose replica dies; one that kills every replica it meets must not go on for ever
_DEATHS = (
    RayActorError,
    ObjectLostError,  # the answer, with its node
    WorkerCrashedError,
    ReplicaUnavailableError,
    DeploymentUnavailableError,
)
_SECONDS_EACH = 0.1  # what a refused client is told to expect of each task before it, until some were measured


_log = structlog.get_logger(__name__)


class RayWork:
    """One task on its way.

    Attributes
    ----------
    future
        The answer to come.
    """

    def __init__(self, future: asyncio.Task[mask_pb2.MaskResponse]) -> None:
        self.future = future

    def cancel(self) -> None:
        """Stop it, wherever it is."""
        self.future.cancel()


class RayEngine:
    """Sends tasks to the deployments that hold models. It belongs to one event loop.

    Parameters
    ----------
    models
        What each model is, and the handle that leads to it; the default one first.
    workers
        Tasks that all replicas work on at once, or this engine's share of them where there are several engines.
    max_queue
        Tasks that may wait beyond those; one more is refused.
    metrics
        Where stages are counted.
    """

    def __init__(
        self, models: Mapping[str, tuple[Outline, Handle]], *, workers: int, max_queue: int, metrics: Metrics
    ) -> None:
        self.segmenters = {name: outline for name, (outline, _) in models.items()}
        self.workers = workers
        self._handles = {name: handle for name, (_, handle) in models.items()}
        self._max_queue, self._metrics = max_queue, metrics
        self._tasks: set[asyncio.Task[mask_pb2.MaskResponse]] = set()
        self._seconds_each = _SECONDS_EACH

    @property
    def tasks(self) -> int:
        """Tasks that are on their way, waiting ones included."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Tasks that wait, as far as can be told from here: more than all replicas work on at once."""
        return max(0, self.tasks - self.workers)

    def segmenter(self, model: str) -> Outline:
        """Find a model by name; an empty name means the default one.

        Raises
        ------
        NotFoundError
            There is no such model.
        """
        return find_model(self.segmenters, model)

    def start(self, task: Task, *, retries: int = 0) -> RayWork:
        """Send a task; `retries` tells how often it was tried before.

        Raises
        ------
        NotFoundError
            There is no such model.
        QueueFullError
            Too many wait already.
        """
        handle = find_model(self._handles, task.model)
        if self.waiting >= self._max_queue:
            raise QueueFullError(
                f"{self.waiting} requests wait already, the most that this server lets wait (--max-queue)",
                retry_after=self.waiting * self._seconds_each / self.workers,
            )
        sending = asyncio.create_task(self._send(handle, task, retries))
        self._tasks.add(sending)
        sending.add_done_callback(self._tasks.discard)
        return RayWork(sending)

    async def _send(self, handle: Handle, task: Task, retries: int) -> mask_pb2.MaskResponse:
        started = perf_counter()
        # What a camera sends does not come again: no replica is better for it than another.
        photo = hashlib.sha256(task.image).hexdigest() if isinstance(task.image, bytes) else ""
        handle = handle.options(session_id=photo)
        response = await self._try(handle, task, retries)
        self._time(response, perf_counter() - started)
        return response

    async def _try(self, handle: Handle, task: Task, retries: int) -> mask_pb2.MaskResponse:
        problem = ""
        request_id = get_contextvars().get("request_id", "")
        for tried in range(_TRIES):
            try:
                return await _ask(handle, task, retries + tried, request_id)
            except TaskCancelledError as error:
                raise CancelledError("the work was stopped from elsewhere in the cluster") from error
            except _DEATHS as error:
                _log.warning("a replica is gone", tries=tried + 1, problem=str(error).partition("\n")[0])
                problem = type(error).__name__
        raise UnavailableError(f"{_TRIES} replicas were lost over this task ({problem})", retry_after=1.0)

    def _time(self, response: mask_pb2.MaskResponse, seconds: float) -> None:
        """Count all that was not work as waiting: the way there and back, and the queues on it."""
        timings = response.timings
        timings.queue_ms = max(0.0, 1e3 * seconds - timings.inference_ms)
        timings.total_ms = timings.queue_ms + timings.inference_ms
        self._metrics.observe(timings)
        self._seconds_each += 0.1 * (timings.inference_ms / 1e3 - self._seconds_each)


async def _ask(handle: Handle, task: Task, retries: int, request_id: str) -> mask_pb2.MaskResponse:
    asked = handle.remote(task, retries, request_id)
    try:
        outcome = messages.GenerateStreamResponse.FromString(await asked)
    except asyncio.CancelledError:
        asked.cancel()
        raise
    if outcome.HasField("error"):
        raise to_error(outcome.error)
    return outcome.response
