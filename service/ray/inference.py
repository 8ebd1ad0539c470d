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

from automask import CacheInfo, Segmenter
from automask.errors import AutomaskError, DeviceError
from automask.loading import outline
from automask.outline import Outline
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..cancellation import run_to_completion
from ..config.ray import Scale
from ..config.settings import Settings
from ..core.backend import Work
from ..core.engine import Engine
from ..core.loading import load_model
from ..core.task import Task
from ..errors import InternalError
from ..telemetry.logs import configure_logs, log_bug
from ..telemetry.tracing import configure_tracing
from ..wire.responses import write_response
from ..wire.status import public_error, to_status
from .metrics import RayMetrics
from .routing import StickyRouter

__all__ = ["LOOK_SECONDS", "SLACK_SECONDS", "deploy_models", "most_ongoing"]

LOOK_SECONDS = 0.5  # between two looks whether the last call at a replica that ends is over
SLACK_SECONDS = 5.0  # beyond the time to drain, before Ray kills a replica
_MOST_FAILURES = 3  # in a row that are no caller's fault, after which a replica is replaced


@dataclass(eq=False, slots=True)
class _Asked:
    """One task that waits for others of the same moment."""

    engine: Engine[mask_pb2.MaskResponse]
    task: Task
    retries: int
    work: Work[mask_pb2.MaskResponse] | None = None
    is_wanted: bool = True

    def cancel(self) -> None:
        self.is_wanted = False
        if self.work is not None:
            self.work.cancel()


class Inference:
    """One model, in a replica of its own.

    Parameters
    ----------
    settings
        Of the service.
    scale
        What a replica has.
    models
        The models that it may be asked for; this class takes one.
    """

    def __init__(self, settings: Settings, scale: Scale, models: Sequence[str]) -> None:
        configure_logs(as_json=settings.log_json, level=settings.log_level)
        configure_tracing()
        self._settings, self._scale, self._models = settings, scale, models
        self._metrics = RayMetrics()
        self._segmenters: dict[str, Segmenter] = {}
        self._metrics.read_caches(self._segmenters)
        self._failures = 0
        self._begin.set_max_batch_size(settings.max_batch)
        self._begin.set_batch_wait_timeout_s(settings.batch_wait_ms / 1e3)
        self._open()

    def _open(self) -> None:
        self._engine = self._load(self._models[0])

    def _load(self, model: str) -> Engine[mask_pb2.MaskResponse]:
        segmenter = load_model(model, self._settings, threads=self._settings.threads or self._scale.threads)
        self._segmenters[segmenter.bundle.name] = segmenter
        return Engine(
            {segmenter.bundle.name: segmenter},
            workers=self._settings.workers or self._scale.workers,
            max_queue=2 * most_ongoing(self._settings, self._scale),  # the one that refuses stands in front
            max_batch=self._settings.max_batch,
            batch_wait=0,  # is what `serve.batch` does
            write=write_response,
            metrics=self._metrics,
        )

    async def _find(self) -> Engine[mask_pb2.MaskResponse]:
        return self._engine

    async def describe(self) -> Mapping[str, Outline]:
        """Tell what each model is, by its name in the settings."""
        (segmenter,) = self._engine.segmenters.values()
        return {self._models[0]: segmenter.outline}

    async def __call__(self, task: Task, retries: int, request_id: str) -> bytes:
        """Mask one photo; cancelling stops the work.

        Parameters
        ----------
        task
            What to do.
        retries
            How often it was tried before.
        request_id
            Under which the log tells of it.

        Returns
        -------
        bytes
            A serialized `GenerateStreamResponse`: the answer, or what went wrong. Errors of ours do not survive
            Python's own way of sending exceptions, and as a status they are what the client gets anyway.
        """
        with bound_contextvars(request_id=request_id):
            try:
                response = await self._answer(task, retries)
                outcome = messages.GenerateStreamResponse(response=response)
                self._failures = 0
            except Exception as error:  # noqa: BLE001 (whatever it is belongs to this task, and the replica goes on)
                log_bug(error)
                self._count(error)
                outcome = messages.GenerateStreamResponse(error=to_status(error, request_id))
        return outcome.SerializeToString()

    async def _answer(self, task: Task, retries: int) -> mask_pb2.MaskResponse:
        asked = _Asked(await self._find(), task, retries)
        try:
            work = await self._begin(asked)
            if isinstance(work, AutomaskError):
                raise work
            return await asyncio.wrap_future(work.future)
        except asyncio.CancelledError:
            asked.cancel()
            raise

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0)  # type: ignore[untyped-decorator]
    async def _begin(self, asked: list[_Asked]) -> list[Work[mask_pb2.MaskResponse] | AutomaskError | None]:
        """Queue what came at the same moment at one go; what of it is on the same photo becomes one pass."""
        return [self._start(one) for one in asked]

    def _start(self, one: _Asked) -> Work[mask_pb2.MaskResponse] | AutomaskError | None:
        if not one.is_wanted:
            return None
        try:
            one.work = one.engine.start(one.task, retries=one.retries)
        except AutomaskError as error:
            return error
        return one.work

    def _count(self, error: Exception) -> None:
        is_ours = isinstance(public_error(error, ""), InternalError | DeviceError)
        self._failures = self._failures + 1 if is_ours else 0

    async def cache_info(self) -> tuple[str, Mapping[str, CacheInfo]]:
        """Tell which replica this is, and what the cache of each of its models had."""
        replica = serve.get_replica_context().replica_id.unique_id
        return replica, {name: one.cache_info() for name, one in self._segmenters.items()}

    async def check_health(self) -> None:
        """Let Ray replace a replica that only fails: its device may be gone.

        Raises
        ------
        DeviceError
            It does.
        """
        if self._failures >= _MOST_FAILURES:
            raise DeviceError(f"the last {self._failures} tasks failed, and none by its caller's fault")

    async def __del__(self) -> None:
        """Let running work end."""
        await asyncio.to_thread(self._engine.close)


class _Loaded:
    """A model among others; Ray calls `__del__` when it makes room for another one."""

    def __init__(self, engine: Engine[mask_pb2.MaskResponse], forget: Callable[[], object]) -> None:
        self.engine, self._forget = engine, forget

    def __del__(self) -> None:
        """Let running work end."""
        self.engine.close()
        self._forget()


def _pool(most: int) -> type[Inference]:
    """Make the class of a replica that holds up to so many models at once, those that were asked for last."""

    class Pool(Inference):
        def _open(self) -> None:
            """Load nothing before it is asked for."""

        async def describe(self) -> Mapping[str, Outline]:
            return {model: outline(model, device=self._settings.device) for model in self._models}

        async def _find(self) -> Engine[mask_pb2.MaskResponse]:
            loaded: _Loaded = await self._model(serve.get_multiplexed_model_id())
            return loaded.engine

        @serve.multiplexed(max_num_models_per_replica=most)  # type: ignore[untyped-decorator]
        async def _model(self, model: str) -> _Loaded:
            loading = asyncio.ensure_future(asyncio.to_thread(self._load, model))
            with suppress(asyncio.CancelledError):
                await run_to_completion(loading)  # it cannot be stopped, and is there for the next call
            engine = await loading
            (name,) = engine.segmenters
            return _Loaded(engine, lambda: self._segmenters.pop(name, None))

        async def __del__(self) -> None:
            """Ray lets go of each model."""

    return Pool


def most_ongoing(settings: Settings, scale: Scale) -> int:
    """Count the tasks that a replica takes: those that it works on, and a batch that waits for them."""
    return scale.max_ongoing or (settings.workers or scale.workers) + settings.max_batch


def deploy_models(settings: Settings) -> dict[tuple[str, ...], Application]:
    """Make the deployments that hold models, by the models that each of them has, as the settings name them."""
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
    # Which of a pool's replicas has a model decides more than which of them has a photo.
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
        max_queued_requests=-1,  # the API counts what waits, so that a refusal tells when to come again
        graceful_shutdown_timeout_s=settings.drain + SLACK_SECONDS,
        graceful_shutdown_wait_loop_s=LOOK_SECONDS,
        request_router_config=RequestRouterConfig(
            request_router_class=StickyRouter, request_router_kwargs={"max_waiting": min(most, 2 * workers)}
        )
        if is_sticky
        else RequestRouterConfig(),
    )
    return deployment.bind(settings, scale, models)
