"""Frames of a stream, as both clients see them."""

from __future__ import annotations

from typing import Final

from automask.errors import AutomaskError
from automask.images import ImageSource
from automask.result import Result
from automask.v1 import mask_service_pb2 as messages

from ..errors import UnavailableError
from ..wire.status import to_error
from ..wire.tasks import portable
from .questions import Photo, Question

__all__ = ["AHEAD", "photo_or_error", "read_frame"]

AHEAD: Final = 4
"""Frames that are sent before the answer to the first of them is read."""


def photo_or_error(image: ImageSource) -> Photo | AutomaskError:
    """Give a frame the form in which it travels; one that has none is never sent, and fails in its place."""
    try:
        return portable(image)
    except AutomaskError as error:
        return error


def read_frame(
    answer: messages.GenerateStreamResponse | None, question: Question, photo: Photo
) -> Result | AutomaskError:
    """Read what came of one frame.

    Parameters
    ----------
    answer
        As the server sent it; None where it sent no more.
    question
        What was asked.
    photo
        The frame.

    Raises
    ------
    UnavailableError
        There is no answer.
    """
    if answer is None:
        raise UnavailableError("the server ended the stream before every frame was answered")
    if answer.HasField("error"):
        return to_error(answer.error)
    result: Result = question.read(answer.response, photo)
    return result
