"""What a format's module returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["CheckSize", "Trim", "Trimmed"]

CheckSize: TypeAlias = Callable[[int, int], None]
"""Raises `ImageError` for a width and height, in pixels, that are over the caller's limits."""


class Trimmed(NamedTuple):
    """A file as its decoder gets it.

    Attributes
    ----------
    data
        The file without what decoding does not need.
    exif
        Its EXIF block; empty where it has none, or where the decoder reports it.
    decoder_bytes
        Bytes that the decoder holds beside the image while it decodes, as far as the file's structure shows.
    """

    data: bytes
    exif: bytes = b""
    decoder_bytes: int = 0


Trim: TypeAlias = Callable[[bytes, CheckSize], Trimmed]
"""Checks a file's structure and returns it trimmed; raises `ImageError`, or anything on a damaged file."""
