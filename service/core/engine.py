"""Worker threads that run the models: a bounded queue, calls that can be stopped, and batches.

A batch is what waits for the same photo at the same moment: its tasks become one pass of the model. Batches form by
themselves while all workers are busy; when one is free, a task never waits, unless `batch_wait` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import perf_counter
from typing import Generic, TypeAlias

from automask import AutomaskError, Interrupt, Result, Segmenter

from ..errors import QueueFullError, UnavailableError
from ..telemetry.metrics import Metrics
from .backend import ResponseT, find_model
from .task import Task

__all__ = ["Engine", "Work", "Writer"]

Writer: TypeAlias = Callable[[Sequence[Result], Task, float, int], ResponseT]
"""Encodes the results of a task, its milliseconds in the queue, and its attempts after the first."""

_SECONDS_EACH = 0.1  # what a refused client is told to expect of each task before it, until some were measured


@dataclass(eq=False, slots=True)
class Work(Generic[ResponseT]):
    """One task on its way through the engine.

    Attributes
    ----------
    future
        The answer to come.
    """

    task: Task
    segmenter: Segmenter
    retries: int
    accepted: float
    future: Future[ResponseT] = field(default_factory=Future)
    is_wanted: bool = True
    batch: _Batch[ResponseT] | None = None

    def cancel(self) -> None:
        """Keep it from starting, or stop it where it runs: at once, unless others wait for the same pass."""
        self.is_wanted = False
        self.future.cancel()
        if self.batch:
            self.batch.stop_if_unwanted()

    def shares_photo(self, other: Work[ResponseT]) -> bool:
        """Whether both mask the same file with the same model; bare pixels come from cameras and do not repeat."""
        mine, yours = self.task.image, other.task.image
        if self.segmenter is not other.segmenter or not isinstance(mine, bytes) or not isinstance(yours, bytes):
            return False
        return hash(mine) == hash(yours) and mine == yours  # Python hashes each file once; files may be alike for long


class _Batch(Generic[ResponseT]):
    """Tasks that one worker answers in one pass."""

    def __init__(self, works: Sequence[Work[ResponseT]]) -> None:
        self.works = works
        self.interrupt = Interrupt()
        for work in works:
            work.batch = self
        self.stop_if_unwanted()

    def stop_if_unwanted(self) -> None:
        if not any(work.is_wanted for work in self.works):
            self.interrupt.set()

    def answer(self) -> Sequence[list[Result] | AutomaskError]:
        tasks = [work.task for work in self.works]
        queries = [task.query for task in tasks]
        return self.works[0].segmenter.answer(tasks[0].image, queries, interrupt=self.interrupt)


class Engine(Generic[ResponseT]):
    """Runs tasks on loaded models.

    Parameters
    ----------
    segmenters
        Loaded models by name, the default one first.
    workers
        Threads that each work on one batch.
    max_queue
        Tasks that may wait; one more is refused.
    max_batch
        Most tasks in a batch.
    batch_wait
        Seconds for which a worker holds a task back for others on the same photo while other workers are busy; an idle
        engine never waits.
    write
        Encodes the results of a task, on the thread of its worker.
    metrics
        Where waiting, batches and stages are counted.
    """

    def __init__(
        self,
        segmenters: Mapping[str, Segmenter],
        *,
        workers: int,
        max_queue: int,
        max_batch: int,
        batch_wait: float,
        write: Writer[ResponseT],
        metrics: Metrics,
    ) -> None:
        self.segmenters = segmenters
        self.workers = workers
        self._max_queue, self._max_batch, self._batch_wait = max_queue, max_batch, batch_wait
        self._write, self._metrics = write, metrics
        self._changed = Condition()
        self._queue: deque[Work[ResponseT]] = deque()
        self._busy = 0
        self._is_open = True
        self._seconds_each = _SECONDS_EACH
        self._threads = [Thread(target=self._serve, name=f"automask-worker-{n}", daemon=True) for n in range(workers)]
        for thread in self._threads:
            thread.start()

    def segmenter(self, model: str) -> Segmenter:
        """Find a loaded model by name; an empty name means the default one.

        Raises
        ------
        NotFoundError
            No such model is loaded.
        """
        return find_model(self.segmenters, model)

    def start(self, task: Task, *, retries: int = 0) -> Work[ResponseT]:
        """Queue a task; `retries` tells how often it was tried before.

        Raises
        ------
        NotFoundError
            Its model is not loaded.
        QueueFullError
            Too many wait already.
        UnavailableError
            The engine was closed.
        """
        work: Work[ResponseT] = Work(task, self.segmenter(task.model), retries, perf_counter())
        with self._changed:
            if not self._is_open:
                raise UnavailableError("the server is shutting down", retry_after=1.0)
            if self.waiting >= self._max_queue:
                self._queue = deque(one for one in self._queue if one.is_wanted)
            if self.waiting >= self._max_queue:
                raise QueueFullError(
                    f"{self.waiting} requests wait already, the most that this server lets wait (--max-queue)",
                    retry_after=self.waiting * self._seconds_each / self.workers,
                )
            self._queue.append(work)
            self._changed.notify_all()  # a worker that waits for a batch must not swallow it
        return work

    @property
    def waiting(self) -> int:
        """Tasks that wait for a worker: all that are queued, but for those that idle workers are about to take."""
        return max(0, len(self._queue) - (self.workers - self._busy))

    def close(self) -> None:
        """Finish what was queued, refuse what comes, and end the threads."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while works := self._take():
            try:
                self._run(works)
            finally:
                with self._changed:
                    self._busy -= 1

    def _take(self) -> list[Work[ResponseT]]:
        """Wait for work; nothing once the engine is closed and its queue is empty."""
        with self._changed:
            while self._is_open and not self._queue:
                self._changed.wait()
            if not self._queue:
                return []
            first = self._queue.popleft()
            self._busy += 1
            if self._batch_wait and self._busy > 1 and self._is_open:
                self._changed.wait_for(lambda: self._partners(first), self._batch_wait)
            partners = self._partners(first)
            # What waits is shared out, so that no worker stands idle while another one does all.
            partners = partners[: min(self._max_batch - 1, len(partners) // self.workers)]
            for partner in partners:
                self._queue.remove(partner)
        return [first, *partners]

    def _partners(self, first: Work[ResponseT]) -> list[Work[ResponseT]]:
        return [work for work in self._queue if work.shares_photo(first)] if self._max_batch > 1 else []

    def _run(self, works: Sequence[Work[ResponseT]]) -> None:
        works = [work for work in works if work.future.set_running_or_notify_cancel()]
        if not works:
            return
        self._metrics.batch_size.observe(len(works))
        started = perf_counter()
        answers: Sequence[list[Result] | BaseException]
        try:
            answers = _Batch(works).answer()
        except BaseException as error:  # noqa: BLE001 (whatever it is belongs to these tasks, and the worker goes on)
            answers = [error] * len(works)
        for work, answer in zip(works, answers, strict=True):
            self._finish(work, answer, started)
        self._seconds_each += 0.1 * ((perf_counter() - started) / len(works) - self._seconds_each)

    def _finish(self, work: Work[ResponseT], answer: list[Result] | BaseException, started: float) -> None:
        if isinstance(answer, BaseException):
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
