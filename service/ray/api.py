"""The deployment that answers calls, over gRPC and HTTP, behind Ray Serve's proxies. It holds no model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import ray
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2
from ray import serve
from ray.serve.deployment import Application
from ray.serve.grpc_util import RayServegRPCContext

from automask.errors import ParameterError
from automask.outline import Outline
from automask.v1 import mask_service_pb2

from ..assembly import Components
from ..config.settings import Settings
from ..core.backend import add_model
from ..http.app import create_app
from ..http.fetch import Fetcher
from ..telemetry.logs import configure_logs
from ..telemetry.tracing import configure_tracing
from .engine import Handle, RayEngine
from .inference import LOOK_SECONDS, SLACK_SECONDS, deploy_models
from .metrics import RayMetrics
from .proxied import answer, answers

__all__ = ["check_nodes", "deploy", "deploy_api"]

_SERVICE = mask_service_pb2.DESCRIPTOR.services_by_name["MaskService"]
_MAX_CALLS = 1000  # at one replica; most of them only wait for a result


class Api:
    """Answers calls.

    Parameters
    ----------
    settings
        Settings of the service.
    models
        The models of each deployment that holds models, and its handle.
    """

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, settings: Settings, models: Sequence[tuple[Sequence[str], Handle]]
    ) -> None:
        configure_logs(as_json=settings.log_json, level=settings.log_level)
        configure_tracing()
        check_nodes(settings)
        self._settings = settings
        metrics = RayMetrics()
        self._components = Components(settings, metrics)
        self._health = health.aio.HealthServicer()
        self._engine = RayEngine(
            await _describe(models, is_pool=settings.ray.multiplex is not None),
            workers=_workers(settings),
            max_queue=settings.max_queue,
            metrics=metrics,
        )
        metrics.register("automask_queue_depth", "Tasks that wait for a replica", lambda: [("", self._engine.waiting)])
        self._components.open(self._engine)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def __serve_build_asgi_app__(self) -> Any:  # noqa: ANN401 (ASGI's types differ between packages; Ray's name)
        """Return the application for HTTP; Ray calls this once the replica is ready."""
        fetcher = Fetcher(self._settings.fetch_urls, self._settings.max_image_bytes)
        parts = self._components
        return create_app(
            parts.operations, self._settings, fetcher, parts.observer, parts.in_flight, grpc_port=self._settings.port
        )

    async def _set_health(self, status: int) -> None:
        for service in ("", _SERVICE.full_name):
            await self._health.set(service, status)

    async def Check(self, request: Message, grpc_context: RayServegRPCContext) -> Message:  # noqa: N802
        """Return whether calls are accepted."""
        return await answer(self._health.Check, request, grpc_context)

    async def Watch(  # noqa: N802
        self, request: Message, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[Message]:
        """Yield the status once; the client calls again. An endless stream would keep this replica from stopping."""
        yield await answer(self._health.Check, request, grpc_context)

    async def tasks(self) -> int:
        """Return the number of tasks that this replica has sent."""
        return self._engine.tasks

    async def drain(self) -> None:
        """Refuse new calls, wait for running ones, and put submitted requests back into the queue."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._components.drain(self._settings.drain)

    async def __del__(self) -> None:
        """Stop; Ray has waited for running calls."""
        await self._components.drain(self._settings.drain)
        await self._components.close()


def _unary(name: str) -> Callable[..., Any]:
    async def call(api: Api, request: Message, grpc_context: RayServegRPCContext) -> Message:
        return await answer(getattr(api._components.servicer, name), request, grpc_context)  # noqa: SLF001 (a method of it)

    return call


def _streaming(name: str) -> Callable[..., Any]:
    async def call(api: Api, request: Any, grpc_context: RayServegRPCContext) -> AsyncIterator[Message]:  # noqa: ANN401
        async for message in answers(getattr(api._components.servicer, name), request, grpc_context):  # noqa: SLF001
            yield message

    return call


# Ray Serve's proxy calls the method of the deployment that has the name of the method in the contract.
for _method in _SERVICE.methods:
    setattr(Api, _method.name, (_streaming if _method.server_streaming else _unary)(_method.name))


async def _describe(
    models: Sequence[tuple[Sequence[str], Handle]], *, is_pool: bool
) -> Mapping[str, tuple[Outline, Handle]]:
    """Return the outline and the handle of each model; waits until the models are loaded."""
    described: dict[str, tuple[Outline, Handle]] = {}
    for names, handle in models:
        outlines: Mapping[str, Outline] = await handle.describe.remote()
        for model in names:
            outline = outlines[model]
            one = handle.options(multiplexed_model_id=model) if is_pool else handle
            add_model(described, outline.bundle.name, (outline, one), model)
    return described


def _workers(settings: Settings) -> int:
    """Return the share of one API replica in the tasks that the whole cluster runs at once."""
    table = settings.ray
    scales = [table] if table.multiplex is not None else [table.scale(model) for model in settings.model]
    workers = sum(scale.max_replicas * (settings.workers or scale.workers) for scale in scales)
    return ceil(workers / table.api_replicas)


def check_nodes(settings: Settings) -> None:
    """Check that the store and the keys can be reached from every node.

    Raises
    ------
    ParameterError
        The store or the keys are files, and the cluster has several nodes.
    """
    nodes = sum(node["Alive"] for node in ray.nodes())
    for name in ("store", "keys"):
        value = getattr(settings, name)
        if isinstance(value, Path) and nodes > 1:
            right = f"be a postgresql:// URL in a cluster of {nodes} nodes: a file is on one of them"
            raise ParameterError(name, right, str(value))


def deploy(settings: Settings) -> Application:
    """Return the application: the API, and the deployments that hold models."""
    settings = _portable(settings)
    return deploy_api(settings, deploy_models(settings))


def deploy_api(settings: Settings, models: Mapping[tuple[str, ...], Application | Handle]) -> Application:
    """Return the API alone.

    Parameters
    ----------
    settings
        Settings of the service.
    models
        Deployments that hold models, or handles of deployments of another application, by the names that the settings
        give to the models of each.
    """
    deployment = serve.deployment(
        serve.ingress()(Api),
        name="api",
        num_replicas=settings.ray.api_replicas,
        ray_actor_options={"num_cpus": settings.ray.api_cpus},
        max_ongoing_requests=_MAX_CALLS,
        # Calls may take that long, and then submitted requests.
        graceful_shutdown_timeout_s=2 * settings.drain + SLACK_SECONDS,
        graceful_shutdown_wait_loop_s=LOOK_SECONDS,
    )
    return deployment.bind(_portable(settings), [*models.items()])


def _portable(settings: Settings) -> Settings:
    """Return settings that mean the same in another process: with absolute paths, and of a class it can import."""
    table = settings.ray.model_copy(update={"models": {_whole(name): one for name, one in settings.ray.models.items()}})
    changed = {
        "model": tuple(map(_whole, settings.model)),
        "store": settings.store.absolute() if isinstance(settings.store, Path) else settings.store,
        "keys": settings.keys.absolute() if isinstance(settings.keys, Path) else settings.keys,
        "ray": table,
    }
    return Settings.model_construct(**{name: getattr(settings, name) for name in Settings.model_fields} | changed)


def _whole(model: str) -> str:
    return str(Path(model).absolute()) if Path(model).is_dir() else model
