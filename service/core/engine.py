"""Worker threads that run the models: a bounded queue, cancellation, and batches.

A batch is a set of waiting tasks on the same image; it takes one pass of the model. Batches form by themselves while
all workers are busy. A task that finds an idle worker never waits, unless `batch_wait` is set.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import perf_counter
from typing import Any, Generic, TypeAlias

from automask import AutomaskError, DeviceError, Interrupt, Query, Result, Segmenter
from automask.outline import ResolvedQuery

from ..decoding.slots import SLOT, GiveWayError
from ..errors import shutting_down
from ..telemetry.metrics import Metrics
from .backend import ResponseT, find_model
from .backlog import Backlog
from .free_memory import return_free_memory
from .lanes import Lanes, Seat
from .lanes import is_large as looks_large
from .task import Task

__all__ = ["Engine", "Work", "Writer"]

Writer: TypeAlias = Callable[[Sequence[Result | AutomaskError], Task, float, int], ResponseT]
"""Encodes the results of a task as its response, given its milliseconds in the queue and its earlier attempts."""


@dataclass(eq=False, slots=True)
class Work(Generic[ResponseT]):
    """One task in the engine.

    Attributes
    ----------
    is_large
        Whether its image is large, or has turned out to be slow to decode.
    may_give_way
        Whether it ends with `GiveWayError` where it would be queued again as large.
    future
        Its response.
    """

    task: Task
    query: Query | ResolvedQuery
    segmenter: Segmenter
    retries: int
    accepted: float
    is_large: bool
    may_give_way: bool = False
    future: Future[ResponseT] = field(default_factory=Future)
    is_wanted: bool = True
    batch: _Batch[ResponseT] | None = None

    def cancel(self) -> None:
        """Keep it from starting, or stop it where it runs; a batch stops once none of its tasks is wanted."""
        self.is_wanted = False
        self.future.cancel()
        if self.batch:
            self.batch.stop_if_unwanted()

    def shares_image(self, other: Work[ResponseT]) -> bool:
        """Whether both mask the same file with the same model. Raw pixels come from cameras and do not repeat."""
        mine, yours = self.task.image, other.task.image
        if self.segmenter is not other.segmenter or not isinstance(mine, bytes) or not isinstance(yours, bytes):
            return False
        # Python keeps the hash of a bytes object, so most comparisons of different files cost no pass over their bytes.
        return hash(mine) == hash(yours) and mine == yours


class _Batch(Generic[ResponseT]):
    """Tasks on one image that a worker answers in one pass."""

    def __init__(self, works: Sequence[Work[ResponseT]]) -> None:
        self.works = works
        self.interrupt = Interrupt()
        for work in works:
            work.batch = self
        self.stop_if_unwanted()

    def stop_if_unwanted(self) -> None:
        if not any(work.is_wanted for work in self.works):
            self.interrupt.set()

    def answer(self) -> Sequence[list[Result | AutomaskError] | AutomaskError]:
        first = self.works[0]
        queries = [work.query for work in self.works]
        return first.segmenter.answer(first.task.image, queries, interrupt=self.interrupt)


class _Slot:
    """The slot of one batch.

    Parameters
    ----------
    works
        The batch.
    seat
        Its place in the lanes.
    changed
        Guards the seat, and is notified when the slot is given away.
    """

    def __init__(self, works: Sequence[Work[Any]], seat: Seat, changed: Condition) -> None:
        self._works, self._seat, self._changed = works, seat, changed

    @property
    def is_large(self) -> bool:
        return self._seat.is_large

    def step_aside(self) -> None:
        with self._changed:
            self._seat.is_aside = True
            self._changed.notify_all()

    def mark_slow(self) -> None:
        for work in self._works:
            work.is_large = True
        self._seat.is_large = True
        self.step_aside()

    def resume(self) -> None:
        self._seat.is_aside = False


class Engine(Generic[ResponseT]):
    """Runs tasks on loaded models.

    Parameters
    ----------
    segmenters
        Loaded models by name, the default model first; emptied when the engine is closed.
    workers
        Number of batches that are worked on in parallel.
    spare_threads
        Number of more batches whose image may still be decoded meanwhile, if that is slow.
    max_queue
        Maximum number of waiting tasks.
    max_batch
        Maximum number of tasks in a batch.
    batch_wait
        Seconds for which a worker holds a task back for others on the same image, while other workers are busy.
    write
        Encodes the results of a task, on the thread of its worker.
    metrics
        Counts waiting, batches and stages.
    on_device_loss
        Called on the thread of a worker after a task failed because its device is gone.
    """

    def __init__(
        self,
        segmenters: dict[str, Segmenter],
        *,
        workers: int,
        spare_threads: int = 0,
        max_queue: int,
        max_batch: int,
        batch_wait: float,
        write: Writer[ResponseT],
        metrics: Metrics,
        on_device_loss: Callable[[], None] | None = None,
    ) -> None:
        self._on_device_loss = on_device_loss
        self.segmenters = segmenters
        self.workers = workers
        self._max_batch, self._batch_wait = max_batch, batch_wait
        self._write, self._metrics = write, metrics
        self._backlog = Backlog(workers=workers, max_queue=max_queue)
        self._changed = Condition()
        self._queue: deque[Work[ResponseT]] = deque()
        threads = workers + max(1, spare_threads)
        # As many as the processors can work on; the other threads are for small images.
        self._lanes = Lanes(workers, most_large=min(threads - 1, max(workers, os.cpu_count() or 1)))
        self._is_open = True
        self._threads = [Thread(target=self._serve, name=f"automask-worker-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def segmenter(self, model: str) -> Segmenter:
        """Find a loaded model by name; an empty name means the default model.

        Raises
        ------
        NotFoundError
            No model of this name is loaded.
        """
        return find_model(self.segmenters, model)

    def start(
        self,
        task: Task,
        query: Query | ResolvedQuery,
        *,
        retries: int = 0,
        is_large: bool = False,
        may_give_way: bool = False,
    ) -> Work[ResponseT]:
        """Queue a task.

        Parameters
        ----------
        task
            The task.
        query
            The query of the task, resolved by its model if that was done before.
        retries
            Number of attempts before this one.
        is_large, may_give_way
            As for `Backend.start`.

        Raises
        ------
        NotFoundError
            The model of the task is not loaded.
        QueueFullError
            Too many tasks wait.
        UnavailableError
            The engine was closed.
        """
        is_large = is_large or looks_large(task.image)
        with self._changed:
            if not self._is_open:
                raise shutting_down()
            segmenter = self.segmenter(task.model)
            work: Work[ResponseT] = Work(task, query, segmenter, retries, perf_counter(), is_large, may_give_way)
            if self._backlog.is_full(self.waiting):
                self._queue = deque(one for one in self._queue if one.is_wanted or one.future.running())
            self._backlog.check(self.waiting)
            self._queue.append(work)
            self._changed.notify_all()  # notifying one could reach a worker that waits for its batch
        return work

    @property
    def waiting(self) -> int:
        """Number of tasks that wait: queued ones, without those that idle workers are about to take."""
        return max(0, len(self._queue) - (self.workers - self._lanes.busy))

    def close(self) -> None:
        """Refuse new tasks, finish queued ones, end the threads, and release the models."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.segmenters.clear()  # FastAPI's caches outlive a server, and refer through its endpoints to this engine

    def _serve(self) -> None:
        while taken := self._take():
            works, seat = taken
            SLOT.set(_Slot(works, seat, self._changed))
            try:
                self._run(works)
                if seat.is_large:  # the memory of one such image would otherwise stay, in each thread's heap
                    return_free_memory()
            finally:
                with self._changed:
                    self._lanes.leave(seat)
                    self._changed.notify_all()

    def _take(self) -> tuple[list[Work[ResponseT]], Seat] | None:
        """Wait for work and return a batch; None once the engine is closed and its queue is empty."""
        with self._changed:
            while (index := self._next()) is None:
                if not self._is_open and not self._queue:
                    return None
                self._changed.wait()
            first = self._queue[index]
            del self._queue[index]
            seat = self._lanes.enter(is_large=first.is_large)
            if self._batch_wait and self._lanes.busy > 1 and self._is_open:
                self._changed.wait_for(lambda: self._partners(first), self._batch_wait)
            partners = self._partners(first)
            # Waiting tasks are divided between the workers, so that none is idle while another one has a large batch.
            partners = partners[: min(self._max_batch - 1, len(partners) // self.workers)]
            for partner in partners:
                self._queue.remove(partner)
        return [first, *partners], seat

    def _next(self) -> int | None:
        """Return the index of the task to start next; None if there is none, or all must wait."""
        return self._lanes.choose(work.is_large for work in self._queue)

    def _partners(self, first: Work[ResponseT]) -> list[Work[ResponseT]]:
        return [work for work in self._queue if work.shares_image(first)] if self._max_batch > 1 else []

    def _run(self, works: Sequence[Work[ResponseT]]) -> None:
        works = [work for work in works if work.future.running() or work.future.set_running_or_notify_cancel()]
        if not works:
            return
        self._metrics.batch_size.observe(len(works))
        started = perf_counter()
        answers: Sequence[list[Result | AutomaskError] | BaseException]
        try:
            answers = _Batch(works).answer()
        except GiveWayError as error:
            self._put_back(works, error)
            return
        except BaseException as error:  # noqa: BLE001 (it belongs to these tasks, and the worker goes on)
            answers = [error] * len(works)
        for work, answer in zip(works, answers, strict=True):
            self._finish(work, answer, started)
            work.batch = None  # which refers to its works
        self._backlog.record((perf_counter() - started) / len(works))

    def _put_back(self, works: Sequence[Work[ResponseT]], error: GiveWayError) -> None:
        """Queue a batch again, as one on a large image; submitted requests go back to their store."""
        for work in works:
            work.batch, work.is_large = None, True
            if work.may_give_way:
                work.future.set_exception(error)
        with self._changed:
            self._queue.extend(work for work in works if not work.may_give_way)

    def _finish(
        self, work: Work[ResponseT], answer: list[Result | AutomaskError] | BaseException, started: float
    ) -> None:
        if isinstance(answer, BaseException):
            if isinstance(answer, DeviceError) and answer.is_gone and self._on_device_loss is not None:
                self._on_device_loss()
            work.future.set_exception(answer)
            return
        try:
            queue_ms = 1e3 * (started - work.accepted)
            response = self._write(answer, work.task, queue_ms, work.retries)
        except BaseException as error:  # noqa: BLE001 (as above)
            work.future.set_exception(error)
            return
        self._metrics.observe(response.timings)
        work.future.set_result(response)
