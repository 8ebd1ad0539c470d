"""What can be asked of a server, whichever way it is asked: one queue, one store, the same keys and limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from automask.errors import ParameterError

from ..cancellation import run_to_completion
from ..errors import OutOfCreditsError, UnavailableError
from ..keys.key import Key
from ..limits import MAX_RESULT_WAIT
from ..store.records import Record
from ..telemetry.tracing import trace_stages
from .access import Access
from .backend import Backend, Model, ResponseT
from .requests import Requests
from .task import Task

__all__ = ["Operations"]

T = TypeVar("T")

_LONGEST_KEY = 128


class Operations(Generic[ResponseT]):
    """Masks now, masks later, and what became of them.

    Parameters
    ----------
    access
        Lets tasks in.
    max_image_bytes
        Largest image.
    """

    def __init__(self, access: Access, *, max_image_bytes: int) -> None:
        self._access, self._max_image_bytes = access, max_image_bytes
        self._engine: Backend[ResponseT]
        self._requests: Requests[ResponseT]
        self._closed: UnavailableError | None = UnavailableError("the server is loading its models", retry_after=1.0)
        self._draining = asyncio.Event()

    def open(self, engine: Backend[ResponseT], requests: Requests[ResponseT]) -> None:
        """Let callers in, now that the models are there."""
        self._engine, self._requests = engine, requests
        self._closed = None

    def drain(self) -> None:
        """Let no more callers in, and send those away that only wait."""
        self._closed = UnavailableError("the server is shutting down", retry_after=1.0)
        self._draining.set()

    async def admit(self, api_key: str | None) -> Key:
        """Find out who calls.

        Raises
        ------
        UnavailableError
            Nobody is let in: models are being loaded, or the server drains.
        UnauthenticatedError
            Keys are wanted, and this is none.
        """
        self.check_open()
        return await self._access.authenticate(api_key)

    async def admit_link(self, name: str, request_id: str, signature: str) -> Key:
        """Let somebody in who has no key but a link that `sign` made, to see this request; raises as `admit` does."""
        self.check_open()
        return await self._access.authenticate_link(name, request_id, signature)

    async def sign(self, key: Key, request_id: str) -> str:
        """Make what lets others see a request of this key; empty where everybody may."""
        return await self._access.sign(key, request_id)

    async def credits(self, key: Key) -> int | None:
        """Count the credits that a key has left, None where it has no limit."""
        return await self._access.credits(key)

    async def check_fetch(self, key: Key, *, idempotency_key: str) -> None:
        """Let a key have a photo fetched from where it says; raises as `Access.check_fetch` does."""
        await self._access.check_fetch(key, may_be_paid=bool(idempotency_key))

    def check_open(self) -> None:
        """Raise the reason why nobody is let in, if there is one."""
        if self._closed is not None:
            raise self._closed

    @property
    def workers(self) -> int:
        """Tasks that are worked on at once."""
        return self._engine.workers

    @property
    def models(self) -> Mapping[str, Model]:
        """Loaded models by name, the default one first."""
        return self._engine.segmenters

    async def generate(self, task: Task, key: Key) -> ResponseT:
        """Mask one photo now; cancelling stops the work."""
        model = self._check(task)
        await self._access.enter(key, model)
        try:
            work = self._engine.start(task)
            try:
                response = await asyncio.wrap_future(work.future)
            except asyncio.CancelledError:
                work.cancel()
                raise
        except BaseException:
            await self._access.give_back(key.name)
            raise
        trace_stages(response.timings)
        return response

    def _check(self, task: Task) -> str:
        """Check everything that needs no decoded image, and return the name of the task's model."""
        task.check(max_image_bytes=self._max_image_bytes)
        segmenter = self._engine.segmenter(task.model)
        segmenter.check(task.query)
        return segmenter.bundle.name

    async def submit(
        self,
        task: Task,
        key: Key,
        *,
        encoded: bytes,
        request_id: str,
        idempotency_key: str,
        deadline: float | None,
    ) -> Record:
        """Keep a request for later; with an idempotency key that is known, give the one that came with it before.

        Parameters
        ----------
        task
            What to do.
        key
            Who asks.
        encoded
            The task as the store keeps it. The store also recognises by these bytes a task that is submitted again.
        request_id
            The id that it gets if it is new.
        idempotency_key
            At most 128 characters; may be empty.
        deadline
            Seconds, more than 0, in which it must be done; None for no limit.
        """
        if len(idempotency_key) > _LONGEST_KEY:
            raise ParameterError("idempotency_key", f"have at most {_LONGEST_KEY} characters", len(idempotency_key))
        if deadline is not None and deadline <= 0:
            raise ParameterError("deadline", "be more than 0 s", f"{deadline:g} s")
        model = self._check(task)
        try:
            await self._access.enter(key, model)
        except OutOfCreditsError:
            # The last one may have gone for this same request, whose answer got lost.
            record = await self._requests.known(encoded, owner=key.name, model=model, idempotency_key=idempotency_key)
            if record is None:
                raise
            return record
        known = {"owner": key.name, "model": model, "idempotency_key": idempotency_key}
        return await run_to_completion(self._keep(encoded, request_id=request_id, deadline=deadline, **known))

    async def _keep(self, encoded: bytes, *, owner: str, request_id: str, **more: Any) -> Record:  # noqa: ANN401
        record = None
        try:
            record = await self._requests.submit(encoded, owner=owner, request_id=request_id, **more)
        finally:
            if record is None or record.request_id != request_id:
                await self._access.give_back(owner)
        return record

    async def status(self, request_id: str, key: Key) -> Record:
        """Tell where a request is."""
        return await self._requests.status(request_id, key.name)

    async def watch(self, request_id: str, key: Key) -> AsyncIterator[Record]:
        """Tell of every change until the end."""
        async with aclosing(self._requests.watch(request_id, key.name)) as records:
            while (record := await self.unless_draining(anext(records, None))) is not None:
                yield record

    async def result(self, request_id: str, key: Key, wait: float) -> Record:
        """Give what came of a request, waiting up to `wait` seconds, 0..60, for its end."""
        if not 0 <= wait <= MAX_RESULT_WAIT:
            raise ParameterError("wait", f"be in 0..{MAX_RESULT_WAIT:g} s", f"{wait:g} s")
        return await self.unless_draining(self._requests.result(request_id, key.name, wait))

    async def cancel(self, request_id: str, key: Key) -> Record:
        """End a request."""
        return await run_to_completion(self._requests.cancel(request_id, key.name))

    async def unless_draining(self, awaitable: Coroutine[Any, Any, T]) -> T:
        """Wait for something that may take long, but not longer than the server lives.

        Raises
        ------
        UnavailableError
            The server began to drain first.
        """
        waiting, draining = asyncio.ensure_future(awaitable), asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((waiting, draining), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                self.check_open()
            return await waiting
        finally:
            waiting.cancel()
            draining.cancel()
            await run_to_completion(asyncio.wait((waiting, draining)))  # a running generator cannot be closed
