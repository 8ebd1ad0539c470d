"""Overlapping boxes: their IoU, and non-maximum suppression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["overlaps", "suppress"]

_MAX_CANDIDATES = 1000  # boxes of one class that non-maximum suppression compares


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, iou: float) -> list[int]:
    """Return the indices of boxes at or above the threshold that overlap no better one by more than `iou`, best first.

    Parameters
    ----------
    boxes
        (n, 4): left, top, right, bottom.
    scores
        (n,).
    """
    indices = np.flatnonzero(scores >= threshold)
    indices = indices[np.argsort(-scores[indices], kind="stable")[:_MAX_CANDIDATES]]
    corners = boxes[indices]
    sized = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1)
    kept = cv2.dnn.NMSBoxes(sized.tolist(), scores[indices].tolist(), 0.0, iou)
    return [int(indices[i]) for i in np.array(kept, int).ravel()]


def overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU of a box with each of (n, 4) others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.asarray(shared / np.maximum(areas - shared, 1e-9), np.float32)
