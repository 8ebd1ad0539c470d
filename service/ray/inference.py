"""The deployment that holds models: it takes tasks and returns encoded responses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.deployment import Application
from structlog.contextvars import bound_contextvars

from automask import CacheInfo, Query, Segmenter
from automask.errors import AutomaskError, DeviceError
from automask.loading import outline
from automask.outline import Outline, ResolvedQuery
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..cancellation import run_to_completion
from ..config.ray import Scale
from ..config.settings import Settings
from ..core.backend import Work
from ..core.engine import Engine
from ..core.loading import load_model, open_decoder
from ..core.task import Task
from ..errors import InternalError
from ..telemetry.logs import configure_logs, log_bug
from ..telemetry.tracing import configure_tracing
from ..wire.responses import write_response
from ..wire.status import public_error, to_status
from .metrics import RayMetrics
from .routing import StickyRouter

__all__ = ["LOOK_SECONDS", "SLACK_SECONDS", "deploy_models", "most_ongoing"]

LOOK_SECONDS = 0.5  # between two checks whether the calls at a stopping replica have ended
SLACK_SECONDS = 5.0  # after the time to drain, before Ray kills a replica
_MAX_FAILURES = 3  # in a row, none through a caller's fault; then the replica is replaced


@dataclass(eq=False, slots=True)
class _Call:
    """One task that waits for others that arrive at the same moment."""

    engine: Engine[mask_pb2.MaskResponse]
    task: Task
    query: Query | ResolvedQuery
    retries: int
    work: Work[mask_pb2.MaskResponse] | None = None
    is_wanted: bool = True

    def cancel(self) -> None:
        self.is_wanted = False
        if self.work is not None:
            self.work.cancel()


class Inference:
    """A replica with one model.

    Parameters
    ----------
    settings
        Settings of the service.
    scale
        Resources of a replica.
    models
        The models that it serves; exactly one.
    """

    def __init__(self, settings: Settings, scale: Scale, models: Sequence[str]) -> None:
        configure_logs(as_json=settings.log_json, level=settings.log_level)
        configure_tracing()
        self._settings, self._scale, self._models = settings, scale, models
        self._metrics = RayMetrics()
        self._segmenters: dict[str, Segmenter] = {}
        self._metrics.register_caches(self._segmenters)
        self._failures = 0
        self._decoder = open_decoder(settings)
        self._begin.set_max_batch_size(settings.max_batch)
        self._begin.set_batch_wait_timeout_s(settings.batch_wait_ms / 1e3)
        self._open()

    def _open(self) -> None:
        self._engine = self._load(self._models[0])

    def _load(self, model: str) -> Engine[mask_pb2.MaskResponse]:
        threads = self._settings.threads or self._scale.threads
        segmenter = load_model(model, self._settings, threads=threads, decoder=self._decoder)
        self._segmenters[segmenter.bundle.name] = segmenter
        return Engine(
            {segmenter.bundle.name: segmenter},
            workers=self._settings.workers or self._scale.workers,
            spare_threads=self._settings.decode_processes,
            max_queue=2 * most_ongoing(self._settings, self._scale),  # never reached: the API refuses tasks before
            max_batch=self._settings.max_batch,
            batch_wait=0,  # `serve.batch` waits
            write=write_response,
            metrics=self._metrics,
        )

    async def _find(self) -> Engine[mask_pb2.MaskResponse]:
        return self._engine

    async def describe(self) -> Mapping[str, Outline]:
        """Return the outline of each model, by its name in the settings."""
        (segmenter,) = self._engine.segmenters.values()
        return {self._models[0]: segmenter.outline}

    async def __call__(self, task: Task, query: Query | ResolvedQuery, retries: int, request_id: str) -> bytes:
        """Run a task; cancelling the call stops the work.

        Parameters
        ----------
        task, query, retries
            As for `Engine.start`.
        request_id
            The id of the request, for the log.

        Returns
        -------
        bytes
            A serialized `GenerateStreamResponse` with the response or the error. Errors with attributes cannot be
            pickled as exceptions; a status carries all that the client gets.
        """
        with bound_contextvars(request_id=request_id):
            try:
                response = await self._run(task, query, retries)
                outcome = messages.GenerateStreamResponse(response=response)
                self._failures = 0
            except Exception as error:  # noqa: BLE001 (it belongs to this task, and the replica goes on)
                log_bug(error)
                self._count(error)
                outcome = messages.GenerateStreamResponse(error=to_status(error, request_id))
        return outcome.SerializeToString()

    async def _run(self, task: Task, query: Query | ResolvedQuery, retries: int) -> mask_pb2.MaskResponse:
        call = _Call(await self._find(), task, query, retries)
        try:
            work = await self._begin(call)
            if isinstance(work, AutomaskError):
                raise work
            return await asyncio.wrap_future(work.future)
        except asyncio.CancelledError:
            call.cancel()
            raise

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0)  # type: ignore[untyped-decorator]
    async def _begin(self, calls: list[_Call]) -> list[Work[mask_pb2.MaskResponse] | AutomaskError | None]:
        """Queue all tasks that arrive at the same moment together, so that those on one image can form a batch."""
        return [self._start(call) for call in calls]

    def _start(self, call: _Call) -> Work[mask_pb2.MaskResponse] | AutomaskError | None:
        if not call.is_wanted:
            return None
        try:
            call.work = call.engine.start(call.task, call.query, retries=call.retries)
        except AutomaskError as error:
            return error
        return call.work

    def _count(self, error: Exception) -> None:
        is_ours = isinstance(public_error(error, ""), InternalError | DeviceError)
        self._failures = self._failures + 1 if is_ours else 0

    async def cache_info(self) -> tuple[str, Mapping[str, CacheInfo]]:
        """Return the id of this replica, and the cache statistics of each of its models."""
        replica = serve.get_replica_context().replica_id.unique_id
        return replica, {name: one.cache_info() for name, one in self._segmenters.items()}

    async def check_health(self) -> None:
        """Report a replica that only fails to Ray, which replaces it: its device may be lost.

        Raises
        ------
        DeviceError
            The last tasks failed.
        """
        if self._failures >= _MAX_FAILURES:
            raise DeviceError(f"the last {self._failures} tasks failed, none through its caller's fault")

    async def __del__(self) -> None:
        """Wait for running work to end."""
        await asyncio.to_thread(self._engine.close)
        self._close_decoder()

    def _close_decoder(self) -> None:
        if self._decoder is not None:
            self._decoder.close()


class _Loaded:
    """A model of a pool; Ray calls `__del__` to make room for another one."""

    def __init__(self, engine: Engine[mask_pb2.MaskResponse], forget: Callable[[], object]) -> None:
        self.engine, self._forget = engine, forget

    def __del__(self) -> None:
        """Wait for running work to end."""
        self.engine.close()
        self._forget()


def _pool(most: int) -> type[Inference]:
    """Return the class of a replica that holds up to `most` models at once, those that were used last."""

    class Pool(Inference):
        def _open(self) -> None:
            """Load no model before its first task."""

        async def describe(self) -> Mapping[str, Outline]:
            return {model: outline(model, device=self._settings.device) for model in self._models}

        async def _find(self) -> Engine[mask_pb2.MaskResponse]:
            loaded: _Loaded = await self._model(serve.get_multiplexed_model_id())
            return loaded.engine

        @serve.multiplexed(max_num_models_per_replica=most)  # type: ignore[untyped-decorator]
        async def _model(self, model: str) -> _Loaded:
            loading = asyncio.ensure_future(asyncio.to_thread(self._load, model))
            with suppress(asyncio.CancelledError):
                await run_to_completion(loading)  # loading cannot be stopped, and the next call can use the model
            engine = await loading
            (name,) = engine.segmenters
            return _Loaded(engine, lambda: self._segmenters.pop(name, None))

        async def __del__(self) -> None:
            """Ray ends each model."""
            self._close_decoder()

    return Pool


def most_ongoing(settings: Settings, scale: Scale) -> int:
    """Return how many tasks a replica takes: those that it runs, and a batch that waits."""
    return scale.max_ongoing or (settings.workers or scale.workers) + settings.max_batch


def deploy_models(settings: Settings) -> dict[tuple[str, ...], Application]:
    """Return the deployments that hold models, by the names that the settings give to the models of each."""
    if settings.ray.multiplex is not None:
        return {
            settings.model: _deploy(_pool(settings.ray.multiplex), settings, settings.ray, settings.model, "models")
        }
    return {
        (model,): _deploy(Inference, settings, settings.ray.scale(model), (model,), _slug(number, model))
        for number, model in enumerate(settings.model)
    }


def _slug(number: int, model: str) -> str:
    return f"model-{number}-{re.sub('[^a-z0-9]+', '-', model.lower()).strip('-')}"


def _deploy(kind: type[Inference], settings: Settings, scale: Scale, models: tuple[str, ...], name: str) -> Application:
    most = most_ongoing(settings, scale)
    workers = settings.workers or scale.workers
    # In a pool, routing to the replica that has loaded the model matters more than its cached images.
    is_sticky = settings.ray.sticky and settings.ray.multiplex is None
    deployment = serve.deployment(
        kind,
        name=name,
        ray_actor_options={"num_cpus": scale.num_cpus, "num_gpus": scale.num_gpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=scale.min_replicas,
            max_replicas=scale.max_replicas,
            target_ongoing_requests=scale.target_ongoing,
        ),
        max_ongoing_requests=most,
        max_queued_requests=-1,  # the API limits what waits: its refusal says when to retry
        graceful_shutdown_timeout_s=settings.drain + SLACK_SECONDS,
        graceful_shutdown_wait_loop_s=LOOK_SECONDS,
        request_router_config=RequestRouterConfig(
            request_router_class=StickyRouter, request_router_kwargs={"max_waiting": min(most, 2 * workers)}
        )
        if is_sticky
        else RequestRouterConfig(),
    )
    return deployment.bind(settings, scale, models)
