"""What is behind every front, on one box or on many: the door, the store, its requests, and the operations on them."""

from __future__ import annotations

import asyncio

from automask.v1.mask_pb2 import MaskResponse

from .config.settings import Settings
from .core.access import Access
from .core.backend import Backend
from .core.codec import Codec
from .core.operations import Operations
from .core.requests import Requests
from .keys.factory import open_key_store
from .rpc.calls import Calls
from .rpc.servicer import Servicer
from .store.factory import open_store
from .store.policy import StorePolicy
from .telemetry.calls import Observer
from .telemetry.metrics import Metrics
from .wire.status import public_error, to_status
from .wire.tasks import decode_task

__all__ = ["Components"]


class Components:
    """The parts of one server, put together; until `open`, they refuse every call.

    Parameters
    ----------
    settings
        Where the store and the keys are, and what to allow.
    metrics
        Where all is counted.

    Attributes
    ----------
    observer
        Counts and logs calls.
    operations
        What can be asked for.
    servicer
        The same over gRPC.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._access = Access(None if settings.keys is None else open_key_store(settings.keys))
        rules = StorePolicy(
            retention=settings.retention,
            max_bytes=round(settings.max_store_gb * 1e9),
            max_queue=settings.max_queue,
            encode_error=lambda error: to_status(error).SerializeToString(),
        )
        self._store = open_store(
            settings.store, rules, media=settings.media, media_from=round(settings.media_from_kb * 1e3)
        )
        self._requests: Requests[MaskResponse] | None = None
        self.observer = Observer(metrics)
        self.operations: Operations[MaskResponse] = Operations(self._access, max_image_bytes=settings.max_image_bytes)
        self.servicer = Servicer(Calls(self.operations, self.observer), self.operations)

    def open(self, engine: Backend[MaskResponse]) -> None:
        """Take up what the store holds, and let callers in."""
        store = self._store
        self._metrics.read(
            "automask_store_requests",
            "Requests in the store",
            lambda: [(state.name, count) for state, count in store.usage().counts.items()],
            "state",
        )
        self._metrics.read("automask_store_bytes", "Bytes of the store", lambda: [("", store.usage().size)])
        codec: Codec[MaskResponse] = Codec(
            decode_task=decode_task,
            encode_response=lambda response: response.SerializeToString(),
            public_error=public_error,
        )
        self._requests = Requests(store, engine, self._access, codec, self._metrics)
        self._requests.start()
        self.operations.open(engine, self._requests)

    async def drain(self, seconds: float) -> bool:
        """Refuse new calls, let running ones end within so many seconds, leave queued requests in the store.

        Returns
        -------
        bool
            Whether all calls have ended.
        """
        self.operations.drain()
        requests = [] if self._requests is None else [self._requests.stop(seconds)]
        idle = asyncio.create_task(self.observer.wait_idle())
        await asyncio.gather(asyncio.wait((idle,), timeout=seconds), *requests)
        is_idle = idle.done()
        idle.cancel()
        return is_idle

    async def close(self) -> None:
        """Close the store and the keys, once no call needs them any more."""
        self._access.give_up()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._requests is not None:
            self._requests.close()
        self._store.close()
        self._access.close()
