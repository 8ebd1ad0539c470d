"""Reading images for a model: decoded no larger than needed, and once for the same content."""

from __future__ import annotations

import hashlib

import numpy as np

from .cache import Arrays, ByteCache
from .families.family import Picture
from .images import Decoder, ImageSource, decode, encoded_bytes, read_image, read_reduced

__all__ = ["PictureReader"]


class PictureReader:
    """Turns what a caller passes as an image into a `Picture`.

    Parameters
    ----------
    cache
        Keeps the pixels of encoded images.
    max_pixels
        Most pixels (width times height) of an image.
    shortest
        Pixels that the shorter side of an image keeps at least, where it has them.
    decoder
        What decodes image files.
    """

    def __init__(self, cache: ByteCache[Arrays], *, max_pixels: int, shortest: int, decoder: Decoder = decode) -> None:
        self._cache = cache
        self._max_pixels, self._shortest = max_pixels, shortest
        self.decoder = decoder

    def read(self, image: ImageSource) -> Picture:
        """Decode an image, or take the pixels of the same file content from the cache.

        Raises
        ------
        ImageError
            The image cannot be read, or is too large.
        """
        encoded = encoded_bytes(image)
        if encoded is None:
            return self._read_pixels(image)
        key = hashlib.sha256(encoded).digest()
        pixels, (height, width) = self._cache.get((key, "pixels"), lambda: self._decode(image, encoded))
        is_whole = pixels.shape[:2] == (height, width)
        return Picture(pixels, (int(height), int(width)), key, pixels if is_whole else encoded)

    def _read_pixels(self, image: ImageSource) -> Picture:
        pixels = read_image(image, max_pixels=self._max_pixels)
        if isinstance(image, np.ndarray) and np.may_share_memory(pixels, image):
            pixels = pixels.copy()  # cameras write the next frame into the same buffer
        key = hashlib.sha256(pixels.data).digest() + repr(pixels.shape).encode()
        return Picture(pixels, (pixels.shape[0], pixels.shape[1]), key, pixels)

    def _decode(self, image: ImageSource, encoded: bytes) -> Arrays:
        pixels, size = read_reduced(image, encoded, self._shortest, max_pixels=self._max_pixels, decoder=self.decoder)
        return pixels, np.array(size)
