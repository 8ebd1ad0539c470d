"""One object that a model found, its mask kept small until somebody looks at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

from .encodings import Rle, polygons, rle

__all__ = ["Instance"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One object in a photo.

    Attributes
    ----------
    label
        What the model calls it.
    score
        Calibrated score, 0..1.
    box
        Left, top, right, bottom in pixels of the photo.
    size
        Height and width of the photo in pixels.
    logits
        (h, w) float32, the mask as the model drew it over the whole photo, at its own resolution; positive inside.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    logits: NDArray[np.float32] = field(repr=False, compare=False)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(H, W) uint8, 0 or 255, at the photo's own size; made anew at each call."""
        canvas = np.zeros(self.size, np.uint8)
        self.paint(canvas)
        return canvas

    @property
    def rle(self) -> Rle:
        """The mask as COCO run lengths."""
        return rle(self.mask)

    @property
    def polygons(self) -> list[list[float]]:
        """The mask as COCO polygons."""
        return polygons(self.mask)

    def paint(self, canvas: NDArray[np.uint8]) -> None:
        """Set this object's pixels in `canvas`, (H, W) uint8, to 255; only its own surroundings are touched."""
        inside = self.logits > 0
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if rows.size == 0:
            return
        (height, width), (low_height, low_width) = self.size, self.logits.shape
        scale_x, scale_y = low_width / width, low_height / height
        # A sample reaches half way to its neighbours; one whole sample around the object is enough.
        top, bottom = _span(rows[0], rows[-1], scale_y, height)
        left, right = _span(columns[0], columns[-1], scale_x, width)
        # Pixel centres lie at +0.5 in both frames.
        to_logits = np.array(
            [
                [scale_x, 0, (left + 0.5) * scale_x - 0.5],
                [0, scale_y, (top + 0.5) * scale_y - 0.5],
            ]
        )
        part = cv2.warpAffine(
            self.logits,
            to_logits,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        canvas[top:bottom, left:right][part > 0] = 255


def _span(first: int, last: int, scale: float, size: int) -> tuple[int, int]:
    return max(0, floor((first - 1) / scale)), min(size, ceil((last + 2) / scale))
