"""Agreement of boxes: whether the graphs of a precision find the same objects as the checkpoint in float32."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from automask.families.finders.finder import MAX_INSTANCES
from automask.families.finders.overlap import overlaps

from .agreement import THRESHOLD
from .figures import Figure
from .parity import Array, relative_error

__all__ = ["BoxAgreement", "FoundBoxes"]

# Share of objects that both sides must find. An int8 graph may lose or gain one whose score is at the threshold.
_SHARE = {"fp32": 1.0, "fp16": 0.97, "int8": 0.9}
# Errors of float32: of a score, and of a corner relative to the longer side of the image.
_LARGEST = 1e-3
# Used where no object can decide, as for masks: errors of the best raw scores and of their boxes.
_RELATIVE = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.1}
_LEAST_IOU = 0.9  # above which two boxes are the same object
_LEAST_OBJECTS = 3
# Where there are more objects than a finder returns, those that score this much above its weakest one are compared:
# others may be among its best ones on one side only.
_MARGIN = 0.05
_BEST = 5


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """What a finder, or the checkpoint's own post-processing, found for one prompt or for several.

    Attributes
    ----------
    boxes
        (n, 4): left, top, right, bottom in pixels of the image.
    scores
        (n,), calibrated, 0..1.
    labels
        The label of each box.
    """

    boxes: Array
    scores: Array
    labels: tuple[str, ...]

    def best(self, count: int) -> Array:
        """Return the indices of the best boxes, best first."""
        return np.argsort(-np.asarray(self.scores), kind="stable")[:count]


@dataclass
class BoxAgreement:
    """Sums over pairs of findings: an `automask.export.parity.Agreement`.

    Attributes
    ----------
    objects, matched
        Number of boxes above the API's default threshold, on both sides, and of those among them that have a box of the
        same label and an IoU of 0.9 on the other side.
    ious, scores, corners
        Of each pair of matching boxes: IoU, difference of the scores, and the largest difference of a coordinate,
        relative to the longer side of the image.
    raw_scores, raw_boxes
        Of each pair of findings: relative error of the best scores, and the mean distance of the best boxes to the
        nearest one on the other side, relative to the longer side of the image.
    """

    objects: int = 0
    matched: int = 0
    ious: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    corners: list[float] = field(default_factory=list)
    raw_scores: list[float] = field(default_factory=list)
    raw_boxes: list[float] = field(default_factory=list)

    def add(self, found: FoundBoxes, expected: FoundBoxes, size: tuple[int, int]) -> None:
        """Compare what a finder found with what the checkpoint found.

        Parameters
        ----------
        found, expected
            Both without a threshold, so that a box whose score is just below it on one side still has its match, and so
            that untrained weights can be compared. The same suppression of overlapping boxes belongs to both.
        size
            Height and width of the image, in pixels.
        """
        least = THRESHOLD
        if MAX_INSTANCES <= len(found.scores) < len(expected.scores):
            least = max(least, float(found.scores.min()) + _MARGIN)
        for one, other in ((expected, found), (found, expected)):
            pairs, objects = _match(one, other, least)
            self.objects += objects
            self.matched += len(pairs)
            if one is expected:
                self._add_pairs(pairs, expected, found, max(size))
        if len(expected.scores):
            self._add_raw(found, expected, max(size))

    def _add_pairs(
        self, pairs: list[tuple[int, int, float]], expected: FoundBoxes, found: FoundBoxes, side: int
    ) -> None:
        for i, j, iou in pairs:
            self.ious.append(iou)
            self.scores.append(float(abs(expected.scores[i] - found.scores[j])))
            self.corners.append(float(np.abs(expected.boxes[i] - found.boxes[j]).max()) / side)

    def _add_raw(self, found: FoundBoxes, expected: FoundBoxes, side: int) -> None:
        """Add errors that do not depend on the order of the boxes: nearly equal scores change places."""
        best, count = expected.best(_BEST), min(_BEST, len(expected.scores))
        if len(found.scores) < count:
            self.raw_scores.append(np.inf)
            self.raw_boxes.append(np.inf)
            return
        self.raw_scores.append(relative_error(found.scores[found.best(count)], expected.scores[best]))
        distances = np.abs(expected.boxes[best][:, None] - found.boxes[None]).max(axis=2).min(axis=1)
        self.raw_boxes.append(float(distances.mean()) / side)

    @property
    def decided_by_objects(self) -> bool:
        """Whether enough objects were found to decide by them."""
        return self.objects >= 2 * _LEAST_OBJECTS

    def criterion(self, precision: str) -> str:
        """Describe the figure that decides, and why."""
        if not self.decided_by_objects:
            return (
                f"the relative error of the best {_BEST} scores and the distance of their boxes, at most "
                f"{_RELATIVE[precision]:g}: {self.objects} boxes have a score of {THRESHOLD:g} or more (untrained "
                "weights, or an image without the prompts' objects; use another one with --photo)"
            )
        share = (
            f"the share of the {self.objects} boxes with a score of {THRESHOLD:g} or more that the other side has, "
            f"with the same label and an IoU of {_LEAST_IOU:g}: at least {_SHARE[precision]:g}"
        )
        return share if precision != "fp32" else f"{share}; and the largest differences, at most {_LARGEST:g}"

    def figures(self, precision: str) -> list[Figure]:
        """Return the figures; those that decide have limits."""
        by_objects, exact = self.decided_by_objects, precision == "fp32"
        raw = None if by_objects else _RELATIVE[precision]
        figures = [
            Figure(f"{precision} boxes: relative error of the best scores", _largest(self.raw_scores), raw),
            Figure(f"{precision} boxes: distance of the best boxes", _largest(self.raw_boxes), raw),
        ]
        if not self.objects:
            return figures
        share, largest = _SHARE[precision] if by_objects else None, _LARGEST if by_objects and exact else None
        figures.append(
            Figure(f"{precision} boxes: share that both found", self.matched / self.objects, share, at_least=True)
        )
        if self.ious:
            figures += [
                Figure(f"{precision} boxes: lowest IoU", min(self.ious), None, at_least=True),
                Figure(f"{precision} boxes: largest difference of scores", _largest(self.scores), largest),
                Figure(f"{precision} boxes: largest difference of corners", _largest(self.corners), largest),
            ]
        return figures


def _match(one: FoundBoxes, other: FoundBoxes, least: float) -> tuple[list[tuple[int, int, float]], int]:
    """Pair the objects of one side, of a score of at least `least`, with boxes of the other.

    Returns
    -------
    Pairs of indices with their IoU, and the number of objects.
    """
    objects = [int(i) for i in one.best(len(one.scores)) if one.scores[i] >= least]
    pairs: list[tuple[int, int, float]] = []
    free = set(range(len(other.scores)))
    for i in objects:
        same = [j for j in sorted(free) if other.labels[j] == one.labels[i]]
        if not same:
            continue
        ious = overlaps(one.boxes[i], other.boxes[same])
        best = int(ious.argmax())
        if ious[best] >= _LEAST_IOU:
            pairs.append((i, same[best], float(ious[best])))
            free.remove(same[best])
    return pairs, len(objects)


def _largest(values: list[float]) -> float:
    # np.max keeps NaN. Nothing to compare is no agreement.
    return float(np.max(values)) if values else float("nan")
