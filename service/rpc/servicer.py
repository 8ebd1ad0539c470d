"""The methods of `MaskService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceServicer

from ..cancellation import run_to_completion
from ..core.inflight import Held
from ..core.operations import Operations
from ..errors import release_frames
from ..store.records import Record
from ..telemetry.logs import log_bug
from ..wire.status import to_status
from ..wire.tasks import encode_message, read_task
from .messages import opened
from .middleware import Call, CallMiddleware, streaming, unary

__all__ = ["Servicer"]

_Frame: TypeAlias = tuple[messages.GenerateStreamResponse, Held]
_Frames: TypeAlias = asyncio.Queue[asyncio.Task[_Frame] | None]


class Servicer(MaskServiceServicer):
    """Implements `MaskService` with the operations of the core.

    Parameters
    ----------
    middleware
        What every call goes through.
    operations
        The operations.
    """

    def __init__(self, middleware: CallMiddleware, operations: Operations[mask_pb2.MaskResponse]) -> None:
        self.middleware = middleware
        self._operations = operations

    @unary
    async def Generate(self, request: messages.GenerateRequest, call: Call) -> messages.GenerateResponse:  # noqa: N802
        """Mask one image in one call."""
        response = await self._operations.generate(read_task(request.task), call.key)
        return messages.GenerateResponse(response=response)

    @streaming
    async def GenerateStream(  # noqa: N802
        self, requests: AsyncIterator[messages.GenerateStreamRequest], call: Call
    ) -> AsyncIterator[messages.GenerateStreamResponse]:
        """Mask frames as they arrive: some run while the next ones are read. Responses keep the order of the frames."""
        frames: _Frames = asyncio.Queue()  # unbounded, so that its end marker never waits; `room` bounds the frames
        room = asyncio.Semaphore(
            self._operations.workers + 2
        )  # one frame waits for a worker, one response for the client
        reader = asyncio.create_task(self._read_frames(requests, frames, room, call))
        frame = None
        try:
            while (frame := await frames.get()) is not None:
                response, held = await frame
                held.release()  # it counts as unsent from here on
                yield response
                room.release()
            await reader
        finally:
            reader.cancel()
            left = [frame] if frame else []
            while not frames.empty():
                if frame := frames.get_nowait():
                    frame.cancel()
                    left.append(frame)
            await run_to_completion(asyncio.wait([reader, *left]))
            for frame in left:
                if not frame.cancelled():
                    frame.result()[1].release()

    async def _read_frames(
        self,
        requests: AsyncIterator[messages.GenerateStreamRequest],
        frames: _Frames,
        room: asyncio.Semaphore,
        call: Call,
    ) -> None:
        index = 0
        try:
            while True:
                await room.acquire()
                request = await self._operations.unless_draining(anext(requests, None))
                if request is None:
                    return
                frames.put_nowait(asyncio.create_task(self._frame(index, request, call)))
                index += 1
        finally:
            frames.put_nowait(None)

    async def _frame(self, index: int, request: messages.GenerateStreamRequest, call: Call) -> _Frame:
        held = Held(self.middleware.in_flight)  # until the frames before it are sent
        try:
            with opened(request, self.middleware.in_flight) as message:
                response = await self._operations.generate(read_task(message.task), call.key)
            held.add(response.ByteSize())
            return messages.GenerateStreamResponse(index=index, response=response), held
        except Exception as error:  # noqa: BLE001 (the next frames go on)
            log_bug(error)
            release_frames(error)
            return messages.GenerateStreamResponse(index=index, error=to_status(error, call.request_id)), held

    @unary
    async def Submit(self, request: messages.SubmitRequest, call: Call) -> messages.SubmitResponse:  # noqa: N802
        """Submit a request to run later."""
        record = await self._operations.submit(
            read_task(request.task),
            call.key,
            encoded=encode_message(request.task),
            request_id=call.request_id,
            idempotency_key=request.idempotency_key,
            deadline=_seconds(request.deadline) if request.HasField("deadline") else None,
        )
        return messages.SubmitResponse(status=_write_status(record))

    @unary
    async def GetStatus(self, request: messages.GetStatusRequest, call: Call) -> messages.GetStatusResponse:  # noqa: N802
        """Return the status of a request."""
        record = await self._operations.status(request.request_id, call.key)
        return messages.GetStatusResponse(status=_write_status(record))

    @streaming
    async def WatchStatus(  # noqa: N802
        self, request: messages.WatchStatusRequest, call: Call
    ) -> AsyncIterator[messages.WatchStatusResponse]:
        """Stream the status of a request, until it has ended."""
        async for record in self._operations.watch(request.request_id, call.key):
            yield messages.WatchStatusResponse(status=_write_status(record))

    @unary
    async def GetResult(self, request: messages.GetResultRequest, call: Call) -> messages.GetResultResponse:  # noqa: N802
        """Return the result of a request."""
        record = await self._operations.result(request.request_id, call.key, _seconds(request.wait))
        response = None if record.result is None else mask_pb2.MaskResponse.FromString(record.result)
        return messages.GetResultResponse(status=_write_status(record), response=response)

    @unary
    async def Cancel(self, request: messages.CancelRequest, call: Call) -> messages.CancelResponse:  # noqa: N802
        """Cancel a request."""
        record = await self._operations.cancel(request.request_id, call.key)
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
                for name, segmenter in self._operations.models.items()
            ]
        )


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
