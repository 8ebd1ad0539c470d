"""Requests that were left with a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import grpc

from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

from ..wire.status import error_from_rpc
from .connections import Connection
from .questions import duration
from .reports import LONGEST_WAIT, JobStatus, has_result, read_status
from .retries import Tries

__all__ = ["Job"]

T_co = TypeVar("T_co", covariant=True)


class Job(Generic[T_co]):
    """A request that was left with a server; `Client.submit` and `Client.job` make one.

    Attributes
    ----------
    request_id
        What takes it up again later, through `Client.job`.
    """

    def __init__(self, connection: Connection, request_id: str, read: Callable[[mask_pb2.MaskResponse], T_co]) -> None:
        self.request_id = request_id
        self._connection, self._read = connection, read

    def __repr__(self) -> str:
        return f"<Job {self.request_id} at {self._connection.target}>"

    def status(self) -> JobStatus:
        """Ask where it is.

        Raises
        ------
        NotFoundError
            The server does not know it, or no longer.
        """
        request = messages.GetStatusRequest(request_id=self.request_id)
        return read_status(self._connection.call(self._connection.stub.GetStatus, request).status)

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for what comes of it, also across restarts of the server.

        Parameters
        ----------
        timeout
            Seconds to wait, 0 or more; None for as long as it takes.

        Returns
        -------
        A `Result` for one prompt, a list of them for several.

        Raises
        ------
        DeadlineError
            It has not ended by then; or the deadline that it was submitted with has passed.
        CancelledError
            It was cancelled.
        NotFoundError
            The server does not know it, or no longer.
        AutomaskError
            What the work on it failed with.
        """
        tries = Tries(timeout, most=None)
        while True:
            wait = LONGEST_WAIT if tries.left is None else min(tries.left, LONGEST_WAIT)
            try:
                answer = self._connection.stub.GetResult(
                    messages.GetResultRequest(request_id=self.request_id, wait=duration(wait)),
                    timeout=wait + self._connection.timeout,
                    metadata=self._connection.metadata,
                )
            except grpc.RpcError as error:
                time.sleep(tries.after(error_from_rpc(error, self._connection.target)))
                continue
            tries.went_well()
            if has_result(answer, is_last=tries.left == 0):
                return self._read(answer.response)

    def cancel(self) -> JobStatus:
        """End it, if it has not ended; tells where it is then."""
        request = messages.CancelRequest(request_id=self.request_id)
        return read_status(self._connection.call(self._connection.stub.Cancel, request).status)

    def watch(self) -> Iterator[JobStatus]:
        """Tell where it is now and at every change, the place in the queue included, until it has ended.

        A server that goes away in between is asked again, for some seconds.
        """
        tries, last = Tries(None), None
        while last is None or not last.has_ended:
            request = messages.WatchStatusRequest(request_id=self.request_id)
            stream = self._connection.stub.WatchStatus(request, metadata=self._connection.metadata)
            try:
                for message in stream:
                    tries.went_well()
                    status = read_status(message.status)
                    if status != last:
                        yield status
                    last = status
            except grpc.RpcError as error:
                time.sleep(tries.after(error_from_rpc(error, self._connection.target)))
            finally:
                stream.cancel()
