"""Conversion to and from what the request store keeps, injected so that the core knows no wire format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from automask.errors import AutomaskError

from .backend import ResponseT
from .task import Task

__all__ = ["Codec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec(Generic[ResponseT]):
    """Three conversions.

    Attributes
    ----------
    decode_task
        Decodes a task that the store kept.
    encode_response
        Encodes a response for the store.
    public_error
        Returns the error that the owner of a request may see, from any error and the request's id.
    """

    decode_task: Callable[[bytes], Task]
    encode_response: Callable[[ResponseT], bytes]
    public_error: Callable[[BaseException, str], AutomaskError]
