"""The box around a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["extent"]


def extent(logits: NDArray[np.float32], size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Return the box around the positive logits: left, top, right, bottom in pixels; None if there are none.

    Parameters
    ----------
    logits
        (h, w), over the whole image.
    size
        Height and width of the image, in pixels.

    Examples
    --------
    >>> extent(np.array([[-1, 1], [-1, -1]], np.float32), (40, 60))
    (30.0, 0.0, 60.0, 20.0)
    """
    inside = logits > 0
    if not inside.any():
        return None
    (top, bottom), (left, right) = (
        (float(found[0]) * scale, float(found[-1] + 1) * scale)
        for axis, scale in ((1, size[0] / inside.shape[0]), (0, size[1] / inside.shape[1]))
        for found in [np.flatnonzero(inside.any(axis=axis))]
    )
    return left, top, right, bottom
