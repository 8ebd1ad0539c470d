"""The operations of a server: what callers can do over gRPC and over HTTP, with the same keys, limits and queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from automask.errors import ParameterError
from automask.outline import ResolvedQuery

from ..cancellation import StoppedError, run_to_completion, run_until, wait_for
from ..errors import OutOfCreditsError, UnavailableError, shutting_down
from ..keys.key import Key
from ..limits import MAX_KEY_LENGTH, MAX_RESULT_WAIT
from ..store.records import Record
from ..telemetry.tracing import trace_stages
from .access import Access
from .backend import Backend, Model, ResponseT
from .lanes import is_large
from .requests import Requests
from .task import Task

__all__ = ["Operations"]

T = TypeVar("T")


class Operations(Generic[ResponseT]):
    """Generate masks now, or submit requests and follow them.

    Parameters
    ----------
    access
        Authenticates callers and authorizes tasks.
    max_image_bytes
        Maximum size of an image, in bytes.
    """

    def __init__(self, access: Access, *, max_image_bytes: int) -> None:
        self._access, self._max_image_bytes = access, max_image_bytes
        self._backend: Backend[ResponseT]
        self._requests: Requests
        self._closed: UnavailableError | None = UnavailableError("the server is loading its models", retry_after=1.0)
        self._outage: UnavailableError | None = None
        self._draining = asyncio.Event()

    def open(self, backend: Backend[ResponseT], requests: Requests) -> None:
        """Accept calls, now that the models are loaded."""
        self._backend, self._requests = backend, requests
        self._closed = None

    def drain(self) -> None:
        """Accept no more calls, and end those that only wait."""
        self._closed = shutting_down()
        self._draining.set()

    def check_open(self) -> None:
        """Raise `UnavailableError` while the server loads its models or drains."""
        if self._closed is not None:
            raise self._closed

    def set_outage(self, error: UnavailableError | None) -> None:
        """Set why no model can answer; None if one can. Calls are still accepted."""
        self._outage = error

    def check_ready(self) -> None:
        """Raise `UnavailableError` as `check_open` does, and while no model can answer."""
        self.check_open()
        if self._outage is not None:
            raise self._outage

    async def authenticate(self, api_key: str | None) -> Key:
        """Return the key of a caller.

        Raises
        ------
        UnavailableError
            The server loads its models or drains.
        UnauthenticatedError
            The server requires a key, and the API key is missing or unknown.
        """
        self.check_open()
        return await self._access.authenticate(api_key)

    async def authenticate_link(self, name: str, request_id: str, signature: str) -> Key:
        """Return the key in whose name `sign` made a link to a request; raises as `authenticate` does."""
        self.check_open()
        return await self._access.authenticate_link(name, request_id, signature)

    async def sign(self, key: Key, request_id: str) -> str:
        """Return a signature with which anyone may see this request of the key; empty on a server without keys."""
        return await self._access.sign(key, request_id)

    async def credits(self, key: Key) -> int | None:
        """Return the credits that a key has left; None if it has no limit."""
        return await self._access.credits(key)

    async def check_fetch(self, key: Key, *, idempotency_key: str) -> None:
        """Authorize the download of an image for a key; raises as `Access.check_fetch` does."""
        await self._access.check_fetch(key, may_be_paid=bool(idempotency_key))

    @property
    def workers(self) -> int:
        """Number of tasks that run at once."""
        return self._backend.workers

    @property
    def models(self) -> Mapping[str, Model]:
        """Loaded models by name, the default model first."""
        return self._backend.segmenters

    async def generate(self, task: Task, key: Key) -> ResponseT:
        """Run a task and return its response; cancelling the call stops the work."""
        query, model = self._resolve(task)
        await self._access.authorize(key, model)
        try:
            return await self._run(task, query)
        except BaseException:
            await self._access.refund(key.name)
            raise

    async def look(self, task: Task, key: Key) -> ResponseT:
        """Run a task for what it finds, and not for its mask, as `generate` does: it costs no credit."""
        query, model = self._resolve(task)
        await self._access.authorize_look(key, model)
        return await self._run(task, query)

    async def _run(self, task: Task, query: ResolvedQuery) -> ResponseT:
        work = self._backend.start(task, query)
        try:
            response = await wait_for(work.future)
        except asyncio.CancelledError:
            work.cancel()
            raise
        trace_stages(response.timings)
        return response

    def _resolve(self, task: Task) -> tuple[ResolvedQuery, str]:
        """Check all of a task except the content of its image; return its resolved query and its model's name."""
        task.check(max_image_bytes=self._max_image_bytes)
        model = self._backend.segmenter(task.model)
        return model.resolve(task.query), model.bundle.name

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
        """Store a request to run later, or return the one that was submitted before with the same idempotency key.

        Parameters
        ----------
        task
            The task.
        key
            The key of the caller.
        encoded
            The task as the store keeps it. The store recognises by these bytes a task that is submitted again.
        request_id
            The id of the request if it is new.
        idempotency_key
            At most 128 characters; may be empty.
        deadline
            Seconds after which the request fails, more than 0; None for no limit.
        """
        if len(idempotency_key) > MAX_KEY_LENGTH:
            raise ParameterError("idempotency_key", f"have at most {MAX_KEY_LENGTH} characters", len(idempotency_key))
        if deadline is not None and deadline <= 0:
            raise ParameterError("deadline", "be more than 0 s", f"{deadline:g} s")
        _, model = self._resolve(task)
        identity = {"owner": key.name, "model": model, "idempotency_key": idempotency_key}
        try:
            await self._access.authorize(key, model)
        except OutOfCreditsError:
            # The last credit may have paid for this very request, if the response to it was lost.
            record = await self._requests.find_duplicate(encoded, **identity)
            if record is None:
                raise
            return record
        large = is_large(task.image)
        return await run_to_completion(
            self._store(encoded, request_id=request_id, deadline=deadline, is_large=large, **identity)
        )

    async def _store(self, encoded: bytes, *, owner: str, request_id: str, **more: Any) -> Record:  # noqa: ANN401
        record = None
        try:
            record = await self._requests.submit(encoded, owner=owner, request_id=request_id, **more)
        finally:
            if record is None or record.request_id != request_id:
                await self._access.refund(owner)
        return record

    async def status(self, request_id: str, key: Key) -> Record:
        """Return the status of a request."""
        return await self._requests.status(request_id, key.name)

    async def watch(self, request_id: str, key: Key) -> AsyncIterator[Record]:
        """Yield the status of a request now and after every change, until it has ended."""
        async with aclosing(self._requests.watch(request_id, key.name)) as records:
            while (record := await self.unless_draining(anext(records, None))) is not None:
                yield record

    async def result(self, request_id: str, key: Key, wait: float) -> Record:
        """Return the result of a request, after waiting up to `wait` seconds, 0..60, for its end."""
        if not 0 <= wait <= MAX_RESULT_WAIT:
            raise ParameterError("wait", f"be in 0..{MAX_RESULT_WAIT:g} s", f"{wait:g} s")
        return await self.unless_draining(self._requests.result(request_id, key.name, wait))

    async def cancel(self, request_id: str, key: Key) -> Record:
        """Cancel a request."""
        return await run_to_completion(self._requests.cancel(request_id, key.name))

    async def unless_draining(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of work that may take long, unless the server drains first.

        Raises
        ------
        UnavailableError
            The server began to drain.
        """
        try:
            return await run_until(self._draining.wait(), work)
        except StoppedError:
            raise shutting_down() from None
