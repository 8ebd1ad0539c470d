"""The deployment that answers calls and holds no model: the servicer and the HTTP front, behind Ray Serve's proxies."""

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
_MOST_CALLS = 1000  # at one replica; most of them wait for a result, and cost nothing


class Api:
    """Answers calls.

    Parameters
    ----------
    settings
        Of the service.
    models
        Handles of the deployments that hold models, and which models each of them has.
    """

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, settings: Settings, models: Sequence[tuple[Sequence[str], Handle]]
    ) -> None:
        configure_logs(as_json=settings.log_json, level=settings.log_level)
        configure_tracing()
        check_nodes(settings)
        self._settings = settings
        metrics = RayMetrics()
        self._parts = Components(settings, metrics)
        self._health = health.aio.HealthServicer()
        self._engine = RayEngine(
            await _describe(models, is_pool=settings.ray.multiplex is not None),
            workers=_workers(settings),
            max_queue=settings.max_queue,
            metrics=metrics,
        )
        metrics.read("automask_queue_depth", "Tasks that wait for a replica", lambda: [("", self._engine.waiting)])
        self._parts.open(self._engine)
        await self._tell(health_pb2.HealthCheckResponse.SERVING)

    def __serve_build_asgi_app__(self) -> Any:  # noqa: ANN401 (ASGI's types differ between packages; Ray's name)
        """Make the application for HTTP; Ray asks for it once the replica is ready."""
        fetcher = Fetcher(self._settings.fetch_urls, self._settings.max_image_bytes)
        operations, observer = self._parts.operations, self._parts.observer
        return create_app(operations, self._settings, fetcher, observer, grpc_port=self._settings.port)

    async def _tell(self, status: int) -> None:
        for service in ("", _SERVICE.full_name):
            await self._health.set(service, status)

    async def Check(self, request: Message, grpc_context: RayServegRPCContext) -> Message:  # noqa: N802
        """Tell whether calls are let in."""
        return await answer(self._health.Check, request, grpc_context)

    async def Watch(  # noqa: N802
        self, request: Message, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[Message]:
        """Tell it once, and let the client ask again: a stream without an end would keep this replica from ending."""
        yield await answer(self._health.Check, request, grpc_context)

    async def tasks(self) -> int:
        """Count the tasks on their way from here."""
        return self._engine.tasks

    async def drain(self) -> None:
        """Refuse new calls, let running ones end, and put submitted requests back."""
        await self._tell(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._parts.drain(self._settings.drain)

    async def __del__(self) -> None:
        """End, after Ray has let running calls end."""
        await self._parts.drain(self._settings.drain)
        await self._parts.close()


def _unary(name: str) -> Callable[..., Any]:
    async def call(api: Api, request: Message, grpc_context: RayServegRPCContext) -> Message:
        return await answer(getattr(api._parts.servicer, name), request, grpc_context)  # noqa: SLF001 (a method of it)

    return call


def _streaming(name: str) -> Callable[..., Any]:
    async def call(api: Api, request: Any, grpc_context: RayServegRPCContext) -> AsyncIterator[Message]:  # noqa: ANN401
        async for message in answers(getattr(api._parts.servicer, name), request, grpc_context):  # noqa: SLF001
            yield message

    return call


# Ray Serve's proxy calls a method of the deployment by the name that it has in the contract.
for _method in _SERVICE.methods:
    setattr(Api, _method.name, (_streaming if _method.server_streaming else _unary)(_method.name))


async def _describe(
    models: Sequence[tuple[Sequence[str], Handle]], *, is_pool: bool
) -> Mapping[str, tuple[Outline, Handle]]:
    """Ask each deployment what its models are; it answers once they are loaded."""
    described: dict[str, tuple[Outline, Handle]] = {}
    for names, handle in models:
        outlines: Mapping[str, Outline] = await handle.describe.remote()
        for model in names:
            outline = outlines[model]
            name = outline.bundle.name
            if name in described:
                raise ParameterError("model", f"name different models; two call themselves {name!r}", model)
            one = handle.options(multiplexed_model_id=model) if is_pool else handle
            described[name] = outline, one
    return described


def _workers(settings: Settings) -> int:
    """Count what is worked on at once in the whole cluster, and take an API replica's share of it."""
    table = settings.ray
    scales = [table] if table.multiplex is not None else [table.scale(model) for model in settings.model]
    workers = sum(scale.max_replicas * (settings.workers or scale.workers) for scale in scales)
    return ceil(workers / table.api_replicas)


def check_nodes(settings: Settings) -> None:
    """Refuse files where a replica may find itself on another machine than they are.

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
    """Make the application: the API, and behind it the deployments that hold models."""
    settings = _portable(settings)
    return deploy_api(settings, deploy_models(settings))


def deploy_api(settings: Settings, models: Mapping[tuple[str, ...], Application | Handle]) -> Application:
    """Make the API alone.

    Parameters
    ----------
    settings
        Of the service.
    models
        What holds the models, by the models that it has, as the settings name them: deployments to be made, or handles
        of some that another application has.
    """
    deployment = serve.deployment(
        serve.ingress()(Api),
        name="api",
        num_replicas=settings.ray.api_replicas,
        ray_actor_options={"num_cpus": settings.ray.api_cpus},
        max_ongoing_requests=_MOST_CALLS,
        # Once for calls, once for submitted requests.
        graceful_shutdown_timeout_s=2 * settings.drain + SLACK_SECONDS,
        graceful_shutdown_wait_loop_s=LOOK_SECONDS,
    )
    return deployment.bind(_portable(settings), [*models.items()])


def _portable(settings: Settings) -> Settings:
    """Give settings that mean the same in another process: of a class that it can import, and whole paths."""
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
