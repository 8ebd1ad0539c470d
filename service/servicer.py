"""The methods of `MaskService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from automask import Query
from automask.errors import ParameterError
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceServicer

from .access import Access
from .calls import Call, Calls, log_bug, streaming, unary
from .engine import Engine
from .errors import OutOfCreditsError, UnavailableError
from .requests import Requests
from .status import to_status
from .store.records import Record
from .tasks import Task, read_task
from .tracing import trace_stages

__all__ = ["Servicer"]

T = TypeVar("T")

_LONGEST_WAIT = 60.0
_LONGEST_KEY = 128


class Servicer(MaskServiceServicer):
    """Answers the calls of clients.

    Parameters
    ----------
    calls
        What every call goes through; it is closed until `open` is called.
    access
        Lets tasks in.
    max_image_bytes
        Largest image.
    """

    def __init__(self, calls: Calls, access: Access, *, max_image_bytes: int) -> None:
        self.calls = calls
        self._access, self._max_image_bytes = access, max_image_bytes
        self._engine: Engine
        self._requests: Requests
        self._draining = asyncio.Event()

    def open(self, engine: Engine, requests: Requests) -> None:
        """Let calls in, now that the models are there."""
        self._engine, self._requests = engine, requests
        self.calls.closed = None

    def drain(self) -> None:
        """Let no more calls in, and end those that only wait."""
        self.calls.closed = UnavailableError("the server is shutting down", retry_after=1.0)
        self._draining.set()

    @unary
    async def Generate(self, request: messages.GenerateRequest, call: Call) -> messages.GenerateResponse:  # noqa: N802
        """Mask one photo now."""
        return messages.GenerateResponse(response=await self._generate(request.task, call))

    async def _generate(self, message: mask_pb2.MaskTask, call: Call) -> mask_pb2.MaskResponse:
        task = await self._admit(message, call)
        try:
            work = self._engine.start(task)
            try:
                response = await asyncio.wrap_future(work.future)
            except asyncio.CancelledError:
                work.cancel()
                raise
        except BaseException:
            await self._access.give_back(call.key.name)
            raise
        trace_stages(response.timings)
        return response

    async def _admit(self, message: mask_pb2.MaskTask, call: Call) -> Task:
        """Check all that can be checked without decoding the photo, then take a credit."""
        task = self._check(message)
        await self._access.enter(call.key, self._model_name(task))
        return task

    def _check(self, message: mask_pb2.MaskTask) -> Task:
        task = read_task(message, max_image_bytes=self._max_image_bytes)
        segmenter = self._engine.segmenter(task.model)
        segmenter.check(Query(task.prompts, task.exclude, task.parameters))
        return task

    def _model_name(self, task: Task) -> str:
        return task.model or next(iter(self._engine.segmenters))

    @streaming
    async def GenerateStream(  # noqa: N802
        self, requests: AsyncIterator[messages.GenerateStreamRequest], call: Call
    ) -> AsyncIterator[messages.GenerateStreamResponse]:
        """Mask frames as they come: some are worked on while the next ones are read, and answers keep the order."""
        frames: asyncio.Queue[asyncio.Task[messages.GenerateStreamResponse] | None] = asyncio.Queue(
            self._engine.workers + 1
        )
        reader = asyncio.create_task(self._read_frames(requests, frames, call))
        try:
            while (frame := await frames.get()) is not None:
                yield await frame
            await reader
        finally:
            reader.cancel()
            while not frames.empty():
                if frame := frames.get_nowait():
                    frame.cancel()

    async def _read_frames(
        self,
        requests: AsyncIterator[messages.GenerateStreamRequest],
        frames: asyncio.Queue[asyncio.Task[messages.GenerateStreamResponse] | None],
        call: Call,
    ) -> None:
        index = 0
        try:
            while (request := await self._unless_draining(anext(requests, None))) is not None:
                await frames.put(asyncio.create_task(self._frame(index, request.task, call)))
                index += 1
        finally:
            await frames.put(None)

    async def _frame(self, index: int, task: mask_pb2.MaskTask, call: Call) -> messages.GenerateStreamResponse:
        try:
            return messages.GenerateStreamResponse(index=index, response=await self._generate(task, call))
        except Exception as error:  # noqa: BLE001 (whatever it is, the next frames go on)
            log_bug(error)
            return messages.GenerateStreamResponse(index=index, error=to_status(error, call.request_id))

    @unary
    async def Submit(self, request: messages.SubmitRequest, call: Call) -> messages.SubmitResponse:  # noqa: N802
        """Keep a request for later."""
        if len(request.idempotency_key) > _LONGEST_KEY:
            raise ParameterError(
                "idempotency_key", f"have at most {_LONGEST_KEY} characters", len(request.idempotency_key)
            )
        deadline = _seconds(request.deadline) if request.HasField("deadline") else None
        if deadline is not None and deadline <= 0:
            raise ParameterError("deadline", "be more than 0 s", f"{deadline:g} s")
        model = self._model_name(self._check(request.task))
        try:
            await self._access.enter(call.key, model)
        except OutOfCreditsError:
            # The last one may have gone for this same request, whose answer got lost.
            record = await self._requests.known(
                request.task, owner=call.key.name, model=model, idempotency_key=request.idempotency_key
            )
            if record is None:
                raise
        else:
            record = await _unbroken(self._keep(request, model, deadline, call))
        return messages.SubmitResponse(status=_write_status(record))

    async def _keep(self, request: messages.SubmitRequest, model: str, deadline: float | None, call: Call) -> Record:
        record = None
        try:
            record = await self._requests.submit(
                request.task,
                owner=call.key.name,
                model=model,
                request_id=call.request_id,
                idempotency_key=request.idempotency_key,
                deadline=deadline,
            )
        finally:
            if record is None or record.request_id != call.request_id:
                await self._access.give_back(call.key.name)
        return record

    @unary
    async def GetStatus(self, request: messages.GetStatusRequest, call: Call) -> messages.GetStatusResponse:  # noqa: N802
        """Tell where a request is."""
        record = await self._requests.status(request.request_id, call.key.name)
        return messages.GetStatusResponse(status=_write_status(record))

    @streaming
    async def WatchStatus(  # noqa: N802
        self, request: messages.WatchStatusRequest, call: Call
    ) -> AsyncIterator[messages.WatchStatusResponse]:
        """Tell of every change until the end."""
        async with aclosing(self._requests.watch(request.request_id, call.key.name)) as records:
            while (record := await self._unless_draining(anext(records, None))) is not None:
                yield messages.WatchStatusResponse(status=_write_status(record))

    @unary
    async def GetResult(self, request: messages.GetResultRequest, call: Call) -> messages.GetResultResponse:  # noqa: N802
        """Give what came of a request."""
        wait = _seconds(request.wait)
        if not 0 <= wait <= _LONGEST_WAIT:
            raise ParameterError("wait", f"be in 0..{_LONGEST_WAIT:g} s", f"{wait:g} s")
        record = await self._unless_draining(self._requests.result(request.request_id, call.key.name, wait))
        response = None if record.result is None else mask_pb2.MaskResponse.FromString(record.result)
        return messages.GetResultResponse(status=_write_status(record), response=response)

    @unary
    async def Cancel(self, request: messages.CancelRequest, call: Call) -> messages.CancelResponse:  # noqa: N802
        """End a request."""
        record = await self._requests.cancel(request.request_id, call.key.name)
        return messages.CancelResponse(status=_write_status(record))

    @unary
    async def ListModels(self, request: messages.ListModelsRequest, call: Call) -> messages.ListModelsResponse:  # noqa: N802, ARG002
        """List the loaded models."""
        return messages.ListModelsResponse(
            models=[
                messages.Model(
                    name=name,
                    description=segmenter.bundle.description,
                    family=segmenter.bundle.family,
                    device=segmenter.device,
                    licence=segmenter.bundle.licence,
                    vocabulary=segmenter.vocabulary,
                )
                for name, segmenter in self._engine.segmenters.items()
            ]
        )

    async def _unless_draining(self, awaitable: Coroutine[Any, Any, T]) -> T:
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
                self.calls.check_open()
            return await waiting
        finally:
            waiting.cancel()
            draining.cancel()
            await asyncio.wait((waiting, draining))  # a generator that still runs could not be closed


async def _unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Wait for what cannot be stopped half way, such as a request being written; a cancelled call ends after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _write_status(record: Record) -> messages.RequestStatus:
    return messages.RequestStatus(
        request_id=record.request_id,
        state=messages.RequestState.Value(f"REQUEST_STATE_{record.state.name}"),
        queue_position=record.queue_position,
        error=None if record.error is None else Status.FromString(record.error),
        create_time=_timestamp(record.created),
        start_time=_timestamp(record.started),
        end_time=_timestamp(record.ended),
        expire_time=_timestamp(record.expires),
        attempts=record.attempts,
    )


def _timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromtimestamp(seconds, UTC))
    return stamp
