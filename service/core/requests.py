"""Submitted requests, as their owners see them: submit, status, result, watch, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from ..states import FINAL_STATES, State
from ..store.protocol import Store
from ..store.records import Record
from .changes import ChangeNotifier
from .store_threads import StoreThreads
from .worker import Worker

__all__ = ["Requests"]


class Requests:
    """The submitted requests of one store.

    Parameters
    ----------
    store, threads
        The store, and the threads that run its calls.
    changes
        Notifies of changes, including those by other servers.
    worker
        Works on the requests.
    """

    def __init__(self, store: Store, threads: StoreThreads, changes: ChangeNotifier, worker: Worker) -> None:
        self._store, self._threads, self._changes, self._worker = store, threads, changes, worker

    async def submit(
        self,
        task: bytes,
        *,
        owner: str,
        model: str,
        request_id: str,
        idempotency_key: str,
        deadline: float | None,
        is_large: bool,
    ) -> Record:
        """Store a request, and return once it is on disk; takes, returns and raises the same as `Store.add`."""
        record = await self._threads.run(
            self._store.add,
            task,
            owner=owner,
            model=model,
            request_id=request_id,
            idempotency_key=idempotency_key,
            deadline=deadline,
            is_large=is_large,
        )
        self._worker.wake()
        return record

    async def find_duplicate(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        """Return the request that `submit` would return instead of a new one, if there is one."""
        return await self._threads.run(
            self._store.find_duplicate, task, owner=owner, model=model, idempotency_key=idempotency_key
        )

    async def status(self, request_id: str, owner: str) -> Record:
        """Return a request without its result; raise `NotFoundError` if the owner has no such request."""
        return await self._threads.run(self._store.get, request_id, owner)

    async def result(self, request_id: str, owner: str, wait: float) -> Record:
        """Return a request with its result, once it has ended or `wait` seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wait_until_ended(request_id, owner)
        return await self._threads.run(self._store.result, request_id, owner)

    async def _wait_until_ended(self, request_id: str, owner: str) -> None:
        with self._changes.watching(request_id) as changed:
            while (await self.status(request_id, owner)).state not in FINAL_STATES:
                await changed.wait()
                changed.clear()

    async def watch(self, request_id: str, owner: str) -> AsyncGenerator[Record]:
        """Yield the request now and after every change, until it has ended."""
        last = None
        with self._changes.watching() as changed:  # any request: one that ends moves the others up in the queue
            while last is None or last.state not in FINAL_STATES:
                changed.clear()
                record = await self.status(request_id, owner)
                if record != last:
                    yield record
                else:
                    await changed.wait()
                last = record

    async def cancel(self, request_id: str, owner: str) -> Record:
        """Cancel a request that has not ended, and stop the work on it."""
        record, is_new = await self._threads.run(self._store.cancel, request_id, owner)
        if is_new:
            self._worker.stop_work(request_id)
            await self._worker.settle(State.CANCELLED, request_id, owner)
        return record
