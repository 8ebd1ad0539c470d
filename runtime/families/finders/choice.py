"""The objects of a prompt among boxes that have a score for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...words.meaning import Term
from ..terms import describe
from .finder import MAX_INSTANCES, Detections, left_out, most_drawn
from .overlap import overlaps, suppress

__all__ = ["choose"]

_FIRST_COMPARED = 4000  # pairs of a box and a class
_SAME_OBJECT = 0.7  # IoU above which two boxes of one union are the same object


def choose(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    terms: Sequence[Term],
    threshold: float,
    nms_iou: float | None,
) -> Detections:
    """Return the best objects of the classes that a prompt names.

    Parameters
    ----------
    boxes
        (n, 4): left, top, right, bottom in pixels of the image.
    scores
        (n, classes), calibrated.
    terms
        The prompt.
    threshold
        Least score, 0..1.
    nms_iou
        IoU above which the weaker one of two boxes of a class is left out; None for a detector that gives each object
        one box.
    """
    for least in _thresholds(scores[:, [term.index for term in terms]], threshold):
        pairs = [
            (box, term.index) for term in terms for box in _candidates(boxes, scores[:, term.index], least, nms_iou)
        ]
        pairs.sort(key=lambda pair: -scores[pair])
        found = _without_doubles(pairs, boxes, {term.index: term.union for term in terms})
        if len(found) >= MAX_INSTANCES < len(pairs):
            break
    most = most_drawn([float(scores[pair]) for pair in found[:MAX_INSTANCES]])
    prediction = describe(terms)
    if most < len(found) or len(found) == MAX_INSTANCES < len(pairs):
        prediction = replace(prediction, warnings=(*prediction.warnings, left_out(most, threshold)))
    names = {term.index: term.label for term in terms}
    at, indices = [box for box, _ in found[:most]], [index for _, index in found[:most]]
    return Detections(prediction, boxes[at], scores[at, indices], tuple(names[index] for index in indices))


def _thresholds(scores: NDArray[np.float32], threshold: float) -> Iterator[float]:
    """Yield lower and lower thresholds down to the last one, the threshold itself.

    A lower threshold adds objects only after those of a higher one. So where the best boxes are enough, the many weak
    ones, nearly all that a detector has at threshold 0, need not be compared.
    """
    count = _FIRST_COMPARED
    while count < scores.size:
        least = float(np.partition(scores, scores.size - count, axis=None)[scores.size - count])
        if least <= threshold:
            break
        yield least
        count *= 8
    yield threshold


def _candidates(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, nms_iou: float | None
) -> list[int]:
    if nms_iou is None:
        return [int(box) for box in np.flatnonzero(scores >= threshold)]
    return suppress(boxes, scores, threshold, nms_iou)


def _without_doubles(
    pairs: Sequence[tuple[int, int]], boxes: NDArray[np.float32], unions: Mapping[int, str]
) -> list[tuple[int, int]]:
    """Return the pairs of a box and a class without objects that a better one of the same union is: a car as a truck.

    Parameters
    ----------
    pairs
        Best first.
    boxes
        (n, 4): left, top, right, bottom.
    unions
        Name of the union of each class; empty for a class that was named itself.
    """
    if not any(unions.values()):
        return list(pairs)
    kept: list[tuple[int, int]] = []
    for box, index in pairs:
        others = [other for other, kind in kept if unions[kind] == unions[index] != ""]
        if not others or overlaps(boxes[box], boxes[others]).max() <= _SAME_OBJECT:
            kept.append((box, index))
        if len(kept) == MAX_INSTANCES:
            break
    return kept
