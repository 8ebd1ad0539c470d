"""Specks: small parts and pinholes of a mask, removed as Segment Anything's own tool does (arXiv:2304.02643)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["remove_specks"]

# Of the area of an object's largest part. Nearly all smaller parts are dust and scraps of the background inside the
# box; holes are kept at a much smaller size, because they may be real. Mean IoU on 74 pairs is the same without either
# (within 0.001), but a cut-out shows the difference.
_LEAST_PART, _LEAST_HOLE = 0.1, 0.01


def remove_specks(
    logits: NDArray[np.float32],
    points: NDArray[np.float32] | None = None,
    labels: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Remove the small parts of a mask, then fill its pinholes, as SAM's own tool does.

    Parameters
    ----------
    logits
        (h, w) float32, positive inside. Parts below 10 % of the area of the largest one are removed, holes below 1 %
        are filled.
    points, labels
        (p, 2) float32: x and y in the frame of the logits; (p,) int64. A part with a point of label 1, or a hole with a
        point of label 0, stays as it is.

    Returns
    -------
    A new array of the same shape; the logits of what was removed or filled have changed their sign.
    """
    clean = logits.copy()
    largest = 0
    for sign, least in ((1, _LEAST_PART), (-1, _LEAST_HOLE)):
        _, parts, facts, _ = cv2.connectedComponentsWithStats((sign * clean > 0).astype(np.uint8), connectivity=4)
        areas = np.asarray(facts)[:, cv2.CC_STAT_AREA]
        largest = largest or max(areas[1:], default=0)
        small = areas < least * largest
        small[0] = False  # component 0 is everything of the other sign
        if points is not None:
            small[_components_at(np.asarray(parts), points[labels == max(sign, 0)])] = False
        np.negative(clean, out=clean, where=small[parts])
    return clean


def _components_at(parts: NDArray[Any], points: NDArray[np.float32]) -> NDArray[Any]:
    """Return the component at each point (x, y)."""
    last = np.array(parts.shape[::-1]) - 1
    columns, rows = np.clip(points.astype(int), 0, last).T
    return np.asarray(parts[rows, columns])
