"""The parts of a server that do not depend on how it listens: authorization, the store, the operations."""

from __future__ import annotations

import asyncio

from automask.v1.mask_pb2 import MaskResponse

from .config.settings import Settings
from .core.access import Access
from .core.backend import Backend
from .core.changes import ChangeNotifier
from .core.codec import Codec
from .core.inflight import InFlight
from .core.operations import Operations
from .core.requests import Requests
from .core.store_threads import StoreThreads
from .core.worker import Worker
from .keys.factory import open_key_store
from .rpc.middleware import CallMiddleware
from .rpc.servicer import Servicer
from .store.factory import open_store
from .store.policy import StorePolicy
from .telemetry.calls import Observer
from .telemetry.metrics import Metrics
from .wire.status import public_error, to_status
from .wire.tasks import decode_task

__all__ = ["Components"]

_CODEC = Codec(decode_task=decode_task, encode_response=MaskResponse.SerializeToString, public_error=public_error)


class Components:
    """The parts of one server. They refuse every call until `open`.

    Parameters
    ----------
    settings
        Where the store and the keys are, and the limits.
    metrics
        Counts calls, requests and tasks.

    Attributes
    ----------
    observer
        Counts and logs calls.
    in_flight
        Limits the bytes of bodies and messages.
    operations
        What callers can do.
    servicer
        The operations over gRPC.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._keys = None if settings.keys is None else open_key_store(settings.keys)
        self._access = Access(self._keys)
        policy = StorePolicy(
            retention=settings.retention,
            max_bytes=round(settings.max_store_gb * 1e9),
            max_queue=settings.max_queue,
            is_fair=settings.keys is not None,
            encode_error=lambda error: to_status(error).SerializeToString(),
        )
        self._store = open_store(
            settings.store, policy, media=settings.media, media_from=round(settings.media_from_kb * 1e3)
        )
        self._threads: StoreThreads | None = None
        self._worker: Worker | None = None
        self.observer = Observer(metrics)
        self.in_flight = InFlight(settings.max_inflight_bytes)
        self.operations: Operations[MaskResponse] = Operations(self._access, max_image_bytes=settings.max_image_bytes)
        self.servicer = Servicer(CallMiddleware(self.operations, self.observer, self.in_flight), self.operations)

    def authenticate(self, text: str | None) -> None:
        """Raise `UnauthenticatedError` for an invalid API key; may wait for the keys, and needs no event loop."""
        if self._keys is not None:
            self._keys.authenticate(text)

    def open(self, backend: Backend[MaskResponse]) -> None:
        """Start to work on the requests in the store, and accept calls."""
        store, metrics, changes = self._store, self._metrics, ChangeNotifier()
        metrics.register(
            "automask_store_requests",
            "Requests in the store",
            lambda: [(state.name, count) for state, count in store.usage().counts.items()],
            "state",
        )
        metrics.register("automask_store_bytes", "Bytes of the store", lambda: [("", store.usage().size)])
        self._threads = threads = StoreThreads(store)
        self._worker = worker = Worker(
            store, threads, backend, access=self._access, codec=_CODEC, changes=changes, metrics=metrics
        )
        worker.start()
        self.operations.open(backend, Requests(store, threads, changes, worker))

    async def drain(self, seconds: float) -> bool:
        """Refuse new calls, wait up to `seconds` for running ones, and leave queued requests in the store.

        Returns
        -------
        bool
            Whether all calls have ended.
        """
        self.operations.drain()
        stopping = [] if self._worker is None else [self._worker.stop(seconds)]
        idle = asyncio.create_task(self.observer.wait_idle())
        await asyncio.gather(asyncio.wait((idle,), timeout=seconds), *stopping)
        is_idle = idle.done()
        idle.cancel()
        return is_idle

    async def close(self) -> None:
        """Close the store and the keys; all calls must have ended."""
        self._access.stop_refunding()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._threads is not None:
            self._threads.close()
        self._store.close()
        self._access.close()
