"""The backend on Ray Serve: tasks are sent to the replicas that hold models, again if a replica dies."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import structlog
from ray.exceptions import ObjectLostError, RayActorError, TaskCancelledError, WorkerCrashedError
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle
from structlog.contextvars import get_contextvars

from automask import Query
from automask.errors import CancelledError
from automask.outline import Outline, ResolvedQuery
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..core.backend import find_model
from ..core.backlog import Backlog
from ..core.task import Task
from ..errors import UnavailableError
from ..telemetry.metrics import Metrics
from ..wire.status import to_error

__all__ = ["Handle", "RayEngine", "RayWork"]

Handle: TypeAlias = "DeploymentHandle[Any]"

_ATTEMPTS = 3  # for a task whose replica dies: it may be the task that kills the replicas
_REPLICA_LOST = (
    RayActorError,
    ObjectLostError,  # the response, with its node
    WorkerCrashedError,
    ReplicaUnavailableError,
    DeploymentUnavailableError,
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RayWork:
    """One task that was sent.

    Attributes
    ----------
    future
        Its response.
    is_large
        False: only its replica knows more than its request does.
    """

    future: asyncio.Task[mask_pb2.MaskResponse]
    is_large: bool = False

    def cancel(self) -> None:
        """Stop it, wherever it is."""
        self.future.cancel()


class RayEngine:
    """Sends tasks to the deployments that hold models. It belongs to one event loop.

    Parameters
    ----------
    models
        The outline of each model, and the handle of its deployment; the default model first.
    workers
        Number of tasks that all replicas run at once; if there are several engines, this engine's share of it.
    max_queue
        Maximum number of tasks that wait beyond those.
    metrics
        Counts stages.
    """

    def __init__(
        self, models: Mapping[str, tuple[Outline, Handle]], *, workers: int, max_queue: int, metrics: Metrics
    ) -> None:
        self.segmenters = {name: outline for name, (outline, _) in models.items()}
        self.workers = workers
        self._handles = {name: handle for name, (_, handle) in models.items()}
        self._backlog, self._metrics = Backlog(workers=workers, max_queue=max_queue), metrics
        self._sending: set[asyncio.Task[mask_pb2.MaskResponse]] = set()

    @property
    def tasks(self) -> int:
        """Number of tasks that were sent and have no response yet."""
        return len(self._sending)

    @property
    def waiting(self) -> int:
        """Number of tasks that must be waiting: those beyond what the replicas run at once."""
        return max(0, self.tasks - self.workers)

    def segmenter(self, model: str) -> Outline:
        """Find a model by name; an empty name means the default model.

        Raises
        ------
        NotFoundError
            There is no model of this name.
        """
        return find_model(self.segmenters, model)

    def start(
        self,
        task: Task,
        query: Query | ResolvedQuery,
        *,
        retries: int = 0,
        is_large: bool = False,  # noqa: ARG002 (the replica finds out)
        may_give_way: bool = False,  # noqa: ARG002 (it never does)
    ) -> RayWork:
        """Send a task; takes the same as `Engine.start`.

        Raises
        ------
        NotFoundError
            There is no model of this name.
        QueueFullError
            Too many tasks wait.
        """
        handle = find_model(self._handles, task.model)
        self._backlog.check(self.waiting)
        sending = asyncio.create_task(self._send(handle, task, query, retries))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return RayWork(sending)

    async def _send(
        self, handle: Handle, task: Task, query: Query | ResolvedQuery, retries: int
    ) -> mask_pb2.MaskResponse:
        started = perf_counter()
        # Raw pixels come from cameras and do not repeat, so no replica is better for them than another.
        image = hashlib.sha256(task.image).hexdigest() if isinstance(task.image, bytes) else ""
        response = await self._attempt(handle.options(session_id=image), task, query, retries)
        self._add_timings(response, perf_counter() - started)
        return response

    async def _attempt(
        self, handle: Handle, task: Task, query: Query | ResolvedQuery, retries: int
    ) -> mask_pb2.MaskResponse:
        problem = ""
        request_id = get_contextvars().get("request_id", "")
        for attempt in range(_ATTEMPTS):
            try:
                return await _call(handle, task, query, retries + attempt, request_id)
            except TaskCancelledError as error:
                raise CancelledError("the work was stopped from elsewhere in the cluster") from error
            except _REPLICA_LOST as error:
                _log.warning("a replica was lost", attempt=attempt + 1, problem=str(error).partition("\n")[0])
                problem = type(error).__name__
        raise UnavailableError(f"{_ATTEMPTS} replicas were lost while running this task ({problem})", retry_after=1.0)

    def _add_timings(self, response: mask_pb2.MaskResponse, seconds: float) -> None:
        """Count all the time that was not work as waiting: transfers, and queues on the way."""
        timings = response.timings
        timings.queue_ms = max(0.0, 1e3 * seconds - timings.inference_ms)
        timings.total_ms = timings.queue_ms + timings.inference_ms
        self._metrics.observe(timings)
        self._backlog.record(timings.inference_ms / 1e3)


async def _call(
    handle: Handle, task: Task, query: Query | ResolvedQuery, retries: int, request_id: str
) -> mask_pb2.MaskResponse:
    call = handle.remote(task, query, retries, request_id)
    try:
        outcome = messages.GenerateStreamResponse.FromString(await call)
    except asyncio.CancelledError:
        call.cancel()
        raise
    if outcome.HasField("error"):
        raise to_error(outcome.error)
    return outcome.response
