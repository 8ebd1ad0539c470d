"""What parity is measured on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .figures import ParityError

__all__ = ["Image", "picture"]

Image = NDArray[np.uint8]


def picture(photo: Path | None) -> Image:
    """Read a photo, or draw smooth coloured blobs: RGB, shape (height, width, 3)."""
    if photo is None:
        coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
        return np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)
    pixels = cv2.imread(str(photo), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ParityError(f"{photo} must be an image that OpenCV can read")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
