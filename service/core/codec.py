"""Conversions to and from the bytes in the request store; injected, so that the core knows no wire format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from automask.errors import AutomaskError

from .task import Task

__all__ = ["Codec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """What a worker needs to know of stored tasks and results.

    Attributes
    ----------
    decode_task
        Decodes a stored task.
    encode_response
        Encodes a response of the backend as a result.
    public_error
        Returns the error to store for any error and a request id: nothing that only the log may show.
    """

    decode_task: Callable[[bytes], Task]
    encode_response: Callable[[Any], bytes]
    public_error: Callable[[BaseException, str], AutomaskError]
