"""The best objects of one prompt, out of boxes with one label and one score each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..family import Prediction
from .finder import MAX_INSTANCES, Detections, left_out, most_drawn
from .overlap import overlaps

__all__ = ["best", "distinct", "rank"]

_SAME_OBJECT = 0.7  # IoU above which boxes of two phrases are the same object


def rank(
    prediction: Prediction,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: Sequence[str],
    threshold: float,
) -> Detections:
    """Return the objects with a score at or above the threshold, best first, as many as are drawn.

    Parameters
    ----------
    prediction
        How the prompt was understood; a warning is added if objects are left out.
    boxes
        (n, 4) in pixels of the image, clipped to it. One without area is no object: it lies outside the image.
    scores
        (n,) calibrated.
    labels
        Label of each box.
    """
    found, most = best(boxes, scores, threshold)
    if most < len(found):
        prediction = replace(prediction, warnings=(*prediction.warnings, left_out(most, threshold)))
    found = found[:most]
    return Detections(prediction, boxes[found], scores[found], tuple(labels[int(index)] for index in found))


def best(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.intp], int]:
    """Return the indices of the objects with a score at or above the threshold, best first, and how many are drawn.

    Parameters
    ----------
    boxes, scores, threshold
        As for `rank`.
    """
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    found = np.flatnonzero((scores >= threshold) & has_area)
    found = found[np.argsort(-scores[found], kind="stable")]
    return found, most_drawn(scores[found[:MAX_INSTANCES]].tolist())


def distinct(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: Sequence[str], threshold: float
) -> list[int]:
    """Return the boxes at or above a threshold, best first, without objects that a better box of another label shows.

    Parameters
    ----------
    boxes, scores, labels, threshold
        As for `rank`.
    """
    order = [int(index) for index in np.argsort(-scores, kind="stable") if scores[index] >= threshold]
    if len(set(labels)) < 2:
        return order
    kept: list[int] = []
    for index in order:
        others = [other for other in kept if labels[other] != labels[index]]
        if not others or overlaps(boxes[index], boxes[others]).max() <= _SAME_OBJECT:
            kept.append(index)
        if len(kept) > MAX_INSTANCES:  # one more shows that some are left out
            break
    return kept
