"""Submitted requests: the store as an event loop sees it, and the loop that works them off."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any, Generic, TypeVar

import structlog

from automask import CancelledError

from ..cancellation import run_to_completion
from ..errors import DeadlineError, QueueFullError, StoreError
from ..states import FINAL_STATES, State
from ..store.protocol import Store
from ..store.records import Lease, Record
from ..telemetry.logs import log_bug
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import span, trace_stages
from .access import Access
from .backend import Backend, ResponseT, Work
from .codec import Codec
from .task import Task

__all__ = ["Requests"]

T = TypeVar("T")

_LISTEN = 60.0  # seconds in which nothing need happen
_SWEEP = 1.0
_AGAIN = 1.0  # seconds between tries, while the store fails

_log = structlog.get_logger(__name__)


class _Changes:
    """Wakes those who wait for a request to change, or for any to."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, *request_ids: str) -> None:
        """Wake those who wait for these requests, and those who wait for any."""
        for request_id in {*request_ids, ""} & self._waiting.keys():
            for event in self._waiting[request_id]:
                event.set()

    def notify_all(self) -> None:
        self.notify(*self._waiting)

    @contextmanager
    def watching(self, request_id: str = "") -> Iterator[asyncio.Event]:
        """Give an event that every change sets; clear it before looking, so that none is missed."""
        event = asyncio.Event()
        self._waiting[request_id].add(event)
        try:
            yield event
        finally:
            self._waiting[request_id].discard(event)
            if not self._waiting[request_id]:
                del self._waiting[request_id]


class Requests(Generic[ResponseT]):
    """Submitted requests of one server.

    Parameters
    ----------
    store
        Where they are kept.
    engine
        What works on them.
    access
        Where credits go back to.
    codec
        Decodes tasks and encodes responses for the store.
    metrics
        Where their ends are counted.
    """

    def __init__(
        self, store: Store, engine: Backend[ResponseT], access: Access, codec: Codec[ResponseT], metrics: Metrics
    ) -> None:
        self._store, self._engine, self._access, self._codec, self._metrics = store, engine, access, codec, metrics
        self._threads = ThreadPoolExecutor(store.threads, thread_name_prefix="automask-store")
        self._ears = ThreadPoolExecutor(1, thread_name_prefix="automask-listen")
        self._changes = _Changes()
        self._wake = asyncio.Event()
        self._in_doubt = asyncio.Event()  # whether all that is worked on here still should be
        self._slots = asyncio.Semaphore(engine.workers + 1)  # one is fetched while the others are worked on
        self._active: dict[str, tuple[Lease, Work[ResponseT] | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work requests off."""
        self._loops = [asyncio.create_task(loop()) for loop in (self._dispatch, self._sweep, self._renew, self._listen)]

    async def stop(self, timeout: float) -> None:
        """Take no more; let running ones end within `timeout` seconds, else put them back into the queue."""
        dispatch, *others = self._loops
        await _end(dispatch)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        for task in [*self._tasks, *others]:
            await _end(task)

    def close(self) -> None:
        """End the threads of the store, once no call needs them any more."""
        self._store.stop_listening()
        self._ears.shutdown()
        self._threads.shutdown()

    async def _in_thread(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:  # noqa: ANN401
        """Run a call of the store outside the event loop; it is not given up half way."""
        future = asyncio.wrap_future(self._threads.submit(call, *arguments, **named))
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # the caller may be gone by then
        return await asyncio.shield(future)

    async def submit(
        self,
        task: bytes,
        *,
        owner: str,
        model: str,
        request_id: str,
        idempotency_key: str,
        deadline: float | None,
    ) -> Record:
        """Keep a request; return once it is on disk, with another id if it came before."""
        record = await self._in_thread(
            self._store.add,
            task,
            owner=owner,
            model=model,
            request_id=request_id,
            idempotency_key=idempotency_key,
            deadline=deadline,
        )
        self._wake.set()
        return record

    async def known(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        """Find the request that `submit` would give instead of a new one."""
        return await self._in_thread(
            self._store.find_duplicate, task, owner=owner, model=model, idempotency_key=idempotency_key
        )

    async def status(self, request_id: str, owner: str) -> Record:
        """Look where a request is; raise `NotFoundError` where there is none of this owner's."""
        return await self._in_thread(self._store.get, request_id, owner)

    async def result(self, request_id: str, owner: str, wait: float) -> Record:
        """Give the result too, waiting up to `wait` seconds for the request to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._until_ended(request_id, owner)
        return await self._in_thread(self._store.result, request_id, owner)

    async def _until_ended(self, request_id: str, owner: str) -> None:
        with self._changes.watching(request_id) as changed:
            while (await self.status(request_id, owner)).state not in FINAL_STATES:
                await changed.wait()
                changed.clear()

    async def watch(self, request_id: str, owner: str) -> AsyncGenerator[Record]:
        """Give the record now and at every change, until the request has ended."""
        last = None
        with self._changes.watching() as changed:
            while last is None or last.state not in FINAL_STATES:
                changed.clear()
                record = await self.status(request_id, owner)
                if record != last:
                    yield record
                else:
                    await changed.wait()
                last = record

    async def cancel(self, request_id: str, owner: str) -> Record:
        """End a request that has not ended, and stop the work on it."""
        record, is_new = await self._in_thread(self._store.cancel, request_id, owner)
        if is_new:
            _, work = self._active.get(request_id, (None, None))
            if work is not None:
                work.cancel()
            else:
                self._in_doubt.set()  # it may just be on its way here
            await self._ended(State.CANCELLED, request_id, owner)
        return record

    async def _ended(self, state: State, request_id: str, owner: str) -> None:
        self._metrics.requests.labels(state.name).inc()
        self._changes.notify(request_id)
        if state is not State.COMPLETED:
            await self._access.give_back(owner)

    async def _dispatch(self) -> None:
        while True:
            await self._slots.acquire()
            self._wake.clear()
            lease = await self._lease()
            if lease is None:
                self._slots.release()
                await self._wake.wait()
                continue
            self._active[lease.request_id] = lease, None
            self._changes.notify(lease.request_id)
            task = asyncio.create_task(self._work(lease))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _lease(self) -> Lease | None:
        leasing = asyncio.ensure_future(self._in_thread(self._store.lease))
        lease = None
        try:
            with _logged():
                lease = await run_to_completion(leasing)
        except asyncio.CancelledError:
            # What was taken at the last moment goes back at once.
            if leasing.exception() is None and (lease := leasing.result()):
                await self._in_thread(self._store.release, lease)
            raise
        return lease

    async def _work(self, lease: Lease) -> None:
        structlog.contextvars.bind_contextvars(request_id=lease.request_id, key=lease.owner)
        started = perf_counter()
        try:
            with span("automask.request", {"automask.request_id": lease.request_id, "automask.model": lease.model}):
                state, error = await self._answer(lease)
        except asyncio.CancelledError:
            with _logged():
                await self._in_thread(self._store.release, lease)
            raise
        finally:
            del self._active[lease.request_id]
            self._slots.release()
        said = {"attempt": lease.attempts, "ms": round(1e3 * (perf_counter() - started), 2)}
        if state is None:
            _log.info("request was taken away", **said)
        else:
            _log.info("request", state=state.name, **({"error": str(error)} if error else {}), **said)
            await self._ended(state, lease.request_id, lease.owner)

    async def _answer(self, lease: Lease) -> tuple[State | None, Exception | None]:
        """Work on a request and write down how it ended; no state where it was taken away meanwhile."""
        try:
            response = await self._run(lease)
        except CancelledError:
            return None, None
        except Exception as error:  # noqa: BLE001 (it belongs to this request, and the next ones go on)
            log_bug(error)
            told = self._codec.public_error(error, lease.request_id)
            return await self._write(State.FAILED, self._store.fail, lease, told), told
        result = self._codec.encode_response(response)
        return await self._write(State.COMPLETED, self._store.complete, lease, result), None

    async def _run(self, lease: Lease) -> ResponseT:
        if lease.problem is not None:
            raise lease.problem
        task = self._codec.decode_task(lease.task)
        left = None if lease.deadline is None else lease.deadline - self._store.clock.now()
        try:
            async with asyncio.timeout(left):
                work = await self._start(task, lease)
                try:
                    response = await asyncio.wrap_future(work.future)
                except asyncio.CancelledError:
                    work.cancel()
                    raise
        except TimeoutError:
            raise DeadlineError("the request's deadline passed while it was worked on") from None
        trace_stages(response.timings)
        return response

    async def _start(self, task: Task, lease: Lease) -> Work[ResponseT]:
        while True:
            try:
                work = self._engine.start(task, retries=lease.attempts - 1)
            except QueueFullError as error:  # of calls that want their answer now; they go first
                await asyncio.sleep(min(1.0, error.retry_after or 1.0))
            else:
                self._active[lease.request_id] = lease, work
                return work

    async def _write(self, state: State, write: Callable[..., bool], *arguments: object) -> State | None:
        """Write an end down; while the disk is full or the database away, keep it and try again."""
        while True:
            try:
                return state if await self._in_thread(write, *arguments) else None
            except StoreError as error:
                _log.error("a result cannot be written yet", problem=str(error))
                await asyncio.sleep(_AGAIN)

    async def _renew(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._in_doubt.wait(), self._store.lease_seconds / 3)
            self._in_doubt.clear()
            held = list(self._active.values())
            with _logged():
                kept = await self._in_thread(self._store.renew, [lease for lease, _ in held])
                for lease, work in held:
                    if lease.request_id not in kept and work is not None:
                        work.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            with _logged():
                swept = await self._in_thread(self._store.sweep)
                for request_id, owner in {**swept.late, **swept.given_up}.items():
                    await self._ended(State.FAILED, request_id, owner)
                if swept.requeued or swept.expired:
                    self._changes.notify_all()
            self._wake.set()  # also where a change that nobody told of has left something in the queue

    async def _listen(self) -> None:
        """Hear what other servers do to the store."""
        while True:
            try:
                changed = await asyncio.wrap_future(self._ears.submit(self._store.listen, _LISTEN))
            except StoreError as error:
                _log.error("store", problem=str(error))
                await asyncio.sleep(_AGAIN)
                continue
            if changed is None:
                self._changes.notify_all()
            else:
                self._changes.notify(*changed)
                if changed & self._active.keys():
                    self._in_doubt.set()
            if changed is None or changed:
                self._wake.set()


@contextmanager
def _logged() -> Iterator[None]:
    """Log what is wrong with the store, or with us, and let the loop go on."""
    try:
        yield
    except StoreError as error:
        _log.error("store", problem=str(error))
    except Exception as error:  # noqa: BLE001 (a loop that ended would leave every later request waiting for ever)
        log_bug(error)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
