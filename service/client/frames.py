"""Frames of a stream without I/O: which are sent, and which wait for their answers."""

from __future__ import annotations

from collections import deque
from typing import Final

from automask.errors import AutomaskError
from automask.images import ImageSource
from automask.result import Result
from automask.v1 import mask_service_pb2 as messages

from ..errors import UnavailableError
from ..wire.status import to_error
from ..wire.tasks import portable
from .calls import SentImage, TaskTemplate

__all__ = ["FrameWindow", "prepare_frame"]

_MAX_AHEAD: Final = 4


def prepare_frame(image: ImageSource) -> SentImage | AutomaskError:
    """Return a frame as it is sent, or the error of one that cannot be read: it fails in its turn."""
    try:
        return portable(image)
    except AutomaskError as error:
        return error


class FrameWindow:
    """The frames that wait for their answers, at most four.

    Parameters
    ----------
    template
        What to mask in each frame.
    return_errors
        Return the error of a frame instead of raising it.
    """

    def __init__(self, template: TaskTemplate, *, return_errors: bool) -> None:
        self._template, self._return_errors = template, return_errors
        self._frames: deque[SentImage | AutomaskError] = deque()

    @property
    def is_full(self) -> bool:
        """Whether an answer must be taken before the next frame."""
        return len(self._frames) >= _MAX_AHEAD

    @property
    def is_empty(self) -> bool:
        """Whether no answer is due."""
        return not self._frames

    @property
    def needs_response(self) -> bool:
        """Whether the next answer comes from the server: its frame was sent."""
        return not isinstance(self._frames[0], AutomaskError)

    def add(self, frame: SentImage | AutomaskError) -> messages.GenerateStreamRequest | None:
        """Add a frame and return the message to send; None for one that cannot be sent."""
        self._frames.append(frame)
        if isinstance(frame, AutomaskError):
            return None
        return messages.GenerateStreamRequest(task=self._template.task(frame))

    def take(self, response: messages.GenerateStreamResponse | None) -> Result | AutomaskError:
        """Remove the first frame and return its answer.

        Parameters
        ----------
        response
            Message of the server if the frame `needs_response`; None if the stream has ended.

        Raises
        ------
        UnavailableError
            The stream has ended too early.
        AutomaskError
            The frame failed, unless errors are returned.
        """
        answer = self._read(self._frames.popleft(), response)
        if isinstance(answer, AutomaskError) and not self._return_errors:
            raise answer
        return answer

    def _read(
        self, frame: SentImage | AutomaskError, response: messages.GenerateStreamResponse | None
    ) -> Result | AutomaskError:
        if isinstance(frame, AutomaskError):
            return frame
        if response is None:
            raise UnavailableError("the server ended the stream before it answered every frame")
        if response.HasField("error"):
            return to_error(response.error)
        result: Result = self._template.read(response.response, frame)
        return result
