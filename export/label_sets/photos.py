"""The images on which a checkpoint with a fixed set of labels is compared."""

from __future__ import annotations

import cv2
import numpy as np

from ..parity import Image

__all__ = ["parity_images"]

_SIZE = (320, 640)


def parity_images(photo: Image) -> list[Image]:
    """Return the photo, mirrored, and noise: (320, 640, 3).

    Processors round the smaller side of a fitted image in different ways. At this size all of them are exact.
    """
    height, width = _SIZE
    resized = np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, resized.shape).astype(np.uint8)
    return [resized, np.ascontiguousarray(resized[:, ::-1]), noise]
