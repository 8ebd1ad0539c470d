"""Limits on the size of images, and on the memory that decoding them takes."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from .errors import ImageError

__all__ = ["Limit", "decoding_memory"]

_MAX_SIDE = 1_000_000  # what PNG encoders can write, and so the longest mask
_MAX_BYTES_PER_PIXEL = 10  # of memory while decoding, for each pixel of the limit
_ALWAYS_ALLOWED = 500_000_000  # bytes, so that a lower limit on pixels refuses nothing else
_DECODER_BYTES_PER_PIXEL = {"AVIF": 10, "HEIC": 10}  # planes of up to 16 bits, and twice all pixels


class Limit(NamedTuple):
    """The most pixels that an image may have.

    Attributes
    ----------
    pixels
        Width times height.
    setting
        What sets it, for messages.
    """

    pixels: int
    setting: str

    def check_size(self, width: int, height: int) -> None:
        """Raise `ImageError` for an image of this width and height, in pixels, where it is over a limit."""
        if width < 1 or height < 1:
            raise ImageError(f"image is {width}×{height}, without a single pixel")
        if max(width, height) > _MAX_SIDE:
            raise ImageError(f"image is {width}×{height}, over the limit of {_MAX_SIDE} pixels a side")
        if width * height > self.pixels:
            raise ImageError(
                f"image is {width}×{height} ({width * height / 1e6:.1f} megapixels), "
                f"over the limit of {self.pixels / 1e6:g} megapixels ({self.setting})"
            )

    def check_memory(self, kind: str, needed: int) -> None:
        """Raise `ImageError` where decoding a file of this format needs more bytes than the limit on pixels allows."""
        allowed = max(_ALWAYS_ALLOWED, _MAX_BYTES_PER_PIXEL * self.pixels)
        if needed > allowed:
            raise ImageError(
                f"decoding this {kind} takes about {needed / 1e6:.0f} MB, over the limit of {allowed / 1e6:g} MB "
                f"({_MAX_BYTES_PER_PIXEL} bytes for each pixel of {self.setting})"
            )


def decoding_memory(kind: str, image: Image.Image, decoder_bytes: int) -> int:
    """Estimate the bytes that decoding and converting an image take at their peak."""
    pixels = image.width * image.height
    held = pixels * (1 if image.mode in {"1", "L", "P"} else 2 if image.mode.startswith("I;16") else 4)
    return held + max(decoder_bytes + pixels * _DECODER_BYTES_PER_PIXEL.get(kind, 0), 3 * pixels)
