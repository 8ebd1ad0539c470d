"""The worker of submitted requests: it leases them from the store, runs them, renews its leases and sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any

import structlog

from automask import CancelledError, DeviceError

from ..cancellation import run_to_completion, wait_for
from ..decoding.slots import GiveWayError
from ..errors import DeadlineError, QueueFullError, StoreError, release_frames
from ..states import State
from ..store.protocol import Store
from ..store.records import Lease
from ..telemetry.logs import log_bug
from ..telemetry.metrics import Metrics
from ..telemetry.outages import OutageLog
from ..telemetry.redaction import describe_error
from ..telemetry.tracing import span, trace_stages
from .access import Access
from .back_off import BackOff
from .backend import Backend, Work
from .changes import ChangeNotifier
from .codec import Codec
from .store_threads import StoreThreads
from .task import Task

__all__ = ["Worker"]

_LISTEN_SECONDS = 60.0  # at most, until the store is polled for changes
_SWEEP_SECONDS = 1.0
_RETRY_SECONDS = 1.0  # while the store fails

_log = structlog.get_logger(__name__)


class Worker:
    """Works on the submitted requests of one store; other servers may work on the same store.

    Parameters
    ----------
    store, threads
        The store, and the threads that run its calls.
    backend
        Runs the tasks.
    access
        Refunds the credits of requests that fail or are cancelled.
    codec
        Decodes tasks and encodes responses.
    changes
        Is notified of every change that this worker makes or hears of.
    metrics
        Counts ended requests.
    """

    def __init__(
        self,
        store: Store,
        threads: StoreThreads,
        backend: Backend[Any],
        *,
        access: Access,
        codec: Codec,
        changes: ChangeNotifier,
        metrics: Metrics,
    ) -> None:
        self._store, self._threads, self._backend, self._access = store, threads, backend, access
        self._codec, self._changes, self._metrics = codec, changes, metrics
        self._work_may_wait = asyncio.Event()
        self._leases_may_be_lost = asyncio.Event()
        self._most = backend.workers + 1  # in each lane: one request is read from the store while others run
        self._active: dict[str, tuple[Lease, Work[Any] | None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._back_off = BackOff()
        self._outage, self._write_outage = OutageLog("store"), OutageLog("a result cannot be stored yet")

    def start(self) -> None:
        """Start to work on requests."""
        self._loops = [asyncio.create_task(loop()) for loop in (self._dispatch, self._sweep, self._renew, self._listen)]

    async def stop(self, timeout: float) -> None:
        """Lease no more requests, wait up to `timeout` seconds for running ones, and put the others back."""
        dispatch, *others = self._loops
        await _end(dispatch)
        if self._running:
            await asyncio.wait(self._running, timeout=timeout)
        for job in [*self._running, *others]:
            await _end(job)

    def wake(self) -> None:
        """Look for queued requests."""
        self._work_may_wait.set()

    def stop_work(self, request_id: str) -> None:
        """Stop the work on a request that was cancelled."""
        _, work = self._active.get(request_id, (None, None))
        if work is not None:
            work.cancel()
        else:
            self._leases_may_be_lost.set()  # its lease may be on the way here

    async def settle(self, state: State, request_id: str, owner: str) -> None:
        """Count a request that has ended, notify those who wait for it, and refund its credit if it has no result."""
        self._metrics.requests.labels(state.name).inc()
        self._changes.notify(request_id)
        if state is not State.COMPLETED:
            await self._access.refund(owner)

    async def _dispatch(self) -> None:
        while True:
            while left := self._back_off.left:
                await asyncio.sleep(left)
            self._work_may_wait.clear()
            lease = await self._lease()
            if lease is None:
                await self._work_may_wait.wait()
                continue
            self._active[lease.request_id] = lease, None
            self._changes.notify(lease.request_id)
            job = asyncio.create_task(self._process(lease))
            self._running.add(job)
            job.add_done_callback(self._running.discard)

    async def _lease(self) -> Lease | None:
        """Lease a request; None if there is none, or none in a lane with room.

        Large images and small ones have a lane each, so that large ones never keep small ones from being leased.
        """
        large = sum(lease.is_large or (work is not None and work.is_large) for lease, work in self._active.values())
        if len(self._active) - large >= self._most:
            return None
        leasing = asyncio.ensure_future(self._threads.run(self._store.lease, only_small=large >= self._most))
        lease = None
        try:
            with self._logged():
                lease = await run_to_completion(leasing)
        except asyncio.CancelledError:
            # A request that was leased just before the worker stopped goes back at once.
            if leasing.exception() is None and (lease := leasing.result()):
                await self._threads.run(self._store.release, lease)
            raise
        return lease

    async def _process(self, lease: Lease) -> None:
        structlog.contextvars.bind_contextvars(request_id=lease.request_id, key=lease.owner)
        started = perf_counter()
        try:
            with span("automask.request", {"automask.request_id": lease.request_id, "automask.model": lease.model}):
                state, error = await self._run_and_store(lease)
        except GiveWayError as slow:
            release_frames(slow)
            await self._put_back_as_large(lease)
            return
        except asyncio.CancelledError:
            with self._logged():
                await self._put_back(lease)
            raise
        finally:
            del self._active[lease.request_id]
            self.wake()
        problem = {} if error is None else {"error": describe_error(error)}
        fields = {"attempt": lease.attempts, "ms": round(1e3 * (perf_counter() - started), 2)}
        if state is None:
            _log.info("request was taken away", **fields)
        elif state is State.QUEUED:
            _log.warning("request is queued again, its device is gone", **problem, **fields)
            self._changes.notify(lease.request_id)
        else:
            _log.info("request", state=state.name, **problem, **fields)
            await self.settle(state, lease.request_id, lease.owner)

    async def _put_back_as_large(self, lease: Lease) -> None:
        """Return the request of a lease to the queue, because its image turned out to be slow to decode."""
        with self._logged():
            await self._threads.run(self._store.release, lease, is_large=True)
        self._changes.notify(lease.request_id)
        _log.info("request waits: its image is slow to decode", attempt=lease.attempts)

    async def _put_back(self, lease: Lease) -> None:
        """Return the request of a lease to the queue, because the worker stops."""
        _, work = self._active[lease.request_id]
        if work is None:
            await self._threads.run(self._store.release, lease)
        elif await self._threads.run(self._store.put_back, lease) is State.FAILED:
            _log.warning("request was given up: drains interrupted it too often", attempt=lease.attempts)
            await self.settle(State.FAILED, lease.request_id, lease.owner)

    async def _run_and_store(self, lease: Lease) -> tuple[State | None, Exception | None]:
        """Run a request and store its result or error; return its state, None if the lease was lost meanwhile.

        A request whose device is gone is QUEUED again, in its place and without counting the attempt.
        """
        try:
            response = await self._run(lease)
        except CancelledError:
            return None, None
        except GiveWayError:
            raise
        except Exception as error:  # noqa: BLE001 (it belongs to this request, and the worker goes on)
            if isinstance(error, DeviceError) and error.is_gone:
                self._back_off.fail()
                release_frames(error)
                return await self._write(State.QUEUED, self._store.release, lease), error
            log_bug(error)
            release_frames(error)
            public = self._codec.public_error(error, lease.request_id)
            return await self._write(State.FAILED, self._store.fail, lease, public), public
        self._back_off.succeed()
        result = self._codec.encode_response(response)
        return await self._write(State.COMPLETED, self._store.complete, lease, result), None

    async def _run(self, lease: Lease) -> Any:  # noqa: ANN401 (only the codec knows responses)
        if lease.problem is not None:
            raise lease.problem
        task = self._codec.decode_task(lease.task)
        left = None if lease.deadline is None else lease.deadline - self._store.clock.now()
        try:
            async with asyncio.timeout(left):
                work = await self._start(task, lease)
                try:
                    response = await wait_for(work.future)
                except asyncio.CancelledError:
                    work.cancel()
                    raise
        except TimeoutError:
            raise DeadlineError("the request's deadline passed while it was worked on") from None
        trace_stages(response.timings)
        return response

    async def _start(self, task: Task, lease: Lease) -> Work[Any]:
        while True:
            try:
                work = self._backend.start(
                    task, task.query, retries=lease.attempts - 1, is_large=lease.is_large, may_give_way=True
                )
            except QueueFullError as error:  # of calls that wait for their result; they have priority
                await asyncio.sleep(min(1.0, error.retry_after or 1.0))
            else:
                self._active[lease.request_id] = lease, work
                return work

    async def _write(self, state: State, write: Callable[..., bool], *arguments: object) -> State | None:
        """Store how a request ended; while the disk is full or the database is away, keep it and retry."""
        while True:
            try:
                is_written = await self._threads.run(write, *arguments)
            except StoreError as error:
                self._write_outage.failed(error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._write_outage.worked()
                return state if is_written else None

    async def _renew(self) -> None:
        """Renew the leases, and stop the work on those that were lost."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leases_may_be_lost.wait(), self._store.lease_seconds / 3)
            self._leases_may_be_lost.clear()
            held = list(self._active.values())
            with self._logged():
                kept = await self._threads.run(self._store.renew, [lease for lease, _ in held])
                for lease, work in held:
                    if lease.request_id not in kept and work is not None:
                        work.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            with self._logged():
                swept = await self._threads.run(self._store.sweep)
                for request_id, owner in {**swept.late, **swept.given_up}.items():
                    await self.settle(State.FAILED, request_id, owner)
                if swept.requeued or swept.expired:
                    self._changes.notify_all()
            self.wake()  # a request may have been queued without a notification

    async def _listen(self) -> None:
        """Follow what other servers change in the store."""
        while True:
            try:
                changed = await self._threads.listen(_LISTEN_SECONDS)
            except StoreError as error:
                self._outage.failed(error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if changed is None:
                self._changes.notify_all()
            else:
                self._changes.notify(*changed)
                if changed & self._active.keys():
                    self._leases_may_be_lost.set()
            if changed is None or changed:
                self.wake()

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Log an error instead of raising it."""
        try:
            yield
        except StoreError as error:
            self._outage.failed(error)
        except Exception as error:  # noqa: BLE001 (a loop that ended would leave every later request waiting for ever)
            log_bug(error)
        else:
            self._outage.worked()


async def _end(job: asyncio.Task[None]) -> None:
    job.cancel()
    with suppress(asyncio.CancelledError):
        await job
