"""Submitted requests: `Job` and `AsyncJob`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from tenacity import AsyncRetrying, Retrying

from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..errors import DeadlineError, UnavailableError
from ..limits import MAX_RESULT_WAIT
from .calls import Call, to_duration
from .connections import AsyncConnection, BaseConnection, Connection
from .responses import JobStatus, read_status
from .retries import Deadline, count_anew, retry_options

__all__ = ["AsyncJob", "BaseJob", "Job"]

C = TypeVar("C", bound=BaseConnection)
T_co = TypeVar("T_co", covariant=True)


class BaseJob(Generic[C, T_co]):
    """What both jobs share: requests and responses, without I/O."""

    def __init__(self, connection: C, request_id: str, read: Callable[[mask_pb2.MaskResponse], T_co]) -> None:
        self.request_id = request_id
        self._connection, self._read = connection, read

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request_id} at {self._connection.target}>"

    def _status_call(self) -> Call[JobStatus]:
        request = messages.GetStatusRequest(request_id=self.request_id)
        return Call("GetStatus", request, lambda response: read_status(response.status))

    def _cancel_call(self) -> Call[JobStatus]:
        request = messages.CancelRequest(request_id=self.request_id)
        return Call("Cancel", request, lambda response: read_status(response.status))

    def _poll_arguments(self, deadline: Deadline) -> tuple[str, messages.GetResultRequest, float]:
        """Return method, request and timeout of an attempt to get the result."""
        wait = MAX_RESULT_WAIT if deadline.left is None else min(deadline.left, MAX_RESULT_WAIT)
        request = messages.GetResultRequest(request_id=self.request_id, wait=to_duration(wait))
        return "GetResult", request, wait + self._connection.timeout

    def _has_result(self, response: messages.GetResultResponse, deadline: Deadline) -> bool:
        """Return whether the response carries the result; raise the error of a request that failed or is late."""
        status = read_status(response.status)
        if status.error is not None:
            raise status.error
        if deadline.left == 0 and not status.has_ended:
            raise DeadlineError(f"request {status.request_id} is still {status.state} after the timeout")
        return status.has_ended

    def _watch_arguments(self) -> tuple[str, messages.WatchStatusRequest]:
        return "WatchStatus", messages.WatchStatusRequest(request_id=self.request_id)

    @staticmethod
    def _check_ended(last: JobStatus | None) -> None:
        """Raise an error that is retried if the server ends a stream of statuses before the request ends."""
        if last is None or not last.has_ended:
            raise UnavailableError("the server ended the stream before the request ended")


class Job(BaseJob[Connection, T_co], Generic[T_co]):
    """A submitted request. `Client.submit` and `Client.job` make one.

    Attributes
    ----------
    request_id
        Id of the request; `Client.job` takes it.
    """

    def status(self) -> JobStatus:
        """Return the current status.

        Raises
        ------
        NotFoundError
            The server has no such request, or has deleted it after its retention.
        """
        return self._connection.send(self._status_call())

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for the result, also across restarts of the server.

        Parameters
        ----------
        timeout
            Seconds to wait, 0 or more; None for no limit.

        Returns
        -------
        A `Result` for one prompt, a list of them for several.

        Raises
        ------
        DeadlineError
            The request has not ended within `timeout`, or it missed the deadline that it was submitted with.
        CancelledError
            The request was cancelled.
        NotFoundError
            The server has no such request, or has deleted it after its retention.
        AutomaskError
            The request failed with this error, or the server cannot be reached.
        """
        deadline = Deadline(timeout)
        retrying = Retrying(**retry_options(deadline, max_attempts=None))
        while True:
            response = retrying(lambda: self._connection.attempt(*self._poll_arguments(deadline)))
            if self._has_result(response, deadline):
                return self._read(response.response)

    def cancel(self) -> JobStatus:
        """Cancel the request unless it has ended, and return its status.

        Raises
        ------
        NotFoundError
            The server has no such request, or has deleted it after its retention.
        """
        return self._connection.send(self._cancel_call())

    def watch(self) -> Iterator[JobStatus]:
        """Yield the current status, then each change of state or queue position, until the request has ended.

        If the connection breaks, it is opened again; the error is raised after 8 failures in a row.

        Raises
        ------
        NotFoundError
            The server has no such request, or has deleted it after its retention.
        """
        last: JobStatus | None = None
        for attempt in Retrying(**retry_options(Deadline(None))):
            with attempt, self._connection.stream(*self._watch_arguments()) as stream:
                for message in stream:
                    count_anew(attempt)
                    if (status := read_status(message.status)) != last:
                        yield (last := status)
                self._check_ended(last)


class AsyncJob(BaseJob[AsyncConnection, T_co], Generic[T_co]):
    """A submitted request, for asyncio. `AsyncClient.submit` and `AsyncClient.job` make one.

    Attributes
    ----------
    request_id
        Id of the request; `AsyncClient.job` takes it.
    """

    async def status(self) -> JobStatus:
        """Return the current status; see `Job.status`."""
        return await self._connection.send(self._status_call())

    async def result(self, timeout: float | None = None) -> T_co:
        """Wait for the result, also across restarts of the server; see `Job.result`."""
        deadline = Deadline(timeout)
        retrying = AsyncRetrying(**retry_options(deadline, max_attempts=None))

        async def poll() -> Any:  # noqa: ANN401
            return await self._connection.attempt(*self._poll_arguments(deadline))

        while True:
            response: messages.GetResultResponse = await retrying(poll)
            if self._has_result(response, deadline):
                return self._read(response.response)

    async def cancel(self) -> JobStatus:
        """Cancel the request unless it has ended, and return its status; see `Job.cancel`."""
        return await self._connection.send(self._cancel_call())

    async def watch(self) -> AsyncIterator[JobStatus]:
        """Yield the current status, then each change, until the request has ended; see `Job.watch`."""
        last: JobStatus | None = None
        async for attempt in AsyncRetrying(**retry_options(Deadline(None))):
            with attempt, self._connection.stream(*self._watch_arguments()) as stream:
                async for message in stream:
                    count_anew(attempt)
                    if (status := read_status(message.status)) != last:
                        yield (last := status)
                self._check_ended(last)
