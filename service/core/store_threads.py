"""The request store as an event loop uses it: each call blocks a thread instead of the loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ..cancellation import wait_for
from ..store.protocol import Store

__all__ = ["StoreThreads"]

P = ParamSpec("P")
T = TypeVar("T")


class StoreThreads:
    """Threads that run the calls of one store.

    Parameters
    ----------
    store
        The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(store.threads, thread_name_prefix="automask-store")
        self._listener = ThreadPoolExecutor(1, thread_name_prefix="automask-listen")

    async def run(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run a call of the store. It runs to its end even if the caller is cancelled."""
        return await wait_for(self._threads.submit(call, *arguments, **named))

    async def listen(self, timeout: float) -> frozenset[str] | None:
        """Return what `Store.listen` returns."""
        return await wait_for(self._listener.submit(self._store.listen, timeout))

    def close(self) -> None:
        """End the threads; nothing may call the store any more."""
        self._store.stop_listening()
        self._listener.shutdown()
        self._threads.shutdown()
