"""Agreement of instances: whether the graphs of a precision find the checkpoint's objects and draw their masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .agreement import THRESHOLD
from .agreement_boxes import BoxAgreement
from .figures import Figure
from .parity import Array

__all__ = ["Detections", "InstanceAgreement"]

_IOU = 0.98
# Where masks cannot decide: error of the probabilities relative to their variation over the image.
_RELATIVE = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.1}
# A mask is comparable if it is neither empty nor full, and not flat, which would leave the outline to the last bit.
_LEAST_COVER = 0.01
_LEAST_SPREAD = 0.05
_LEAST_MASKS = 3
_BEST = 5


@dataclass(frozen=True, slots=True)
class Detections:
    """Outputs of a detector for one concept: the same queries in the same order, whatever the precision.

    Attributes
    ----------
    outputs
        ``boxes`` (n, 4) in shares of the image, ``logits`` (n,), ``presence`` (1,), ``masks`` (n, h, w) logits,
        ``semantic`` (1, h, w) logits.
    """

    outputs: Mapping[str, Array]

    @property
    def scores(self) -> Array:
        """Raw scores, (n,)."""
        return _logistic(self.outputs["logits"]) * _logistic(self.outputs["presence"])

    def boxes_in(self, size: tuple[int, int]) -> Array:
        """Return the boxes in pixels of an image of this height and width, clipped to it."""
        sides = np.array(size[::-1] * 2, np.float32)
        return np.asarray(np.clip(self.outputs["boxes"] * sides, 0, sides))

    def masks(self, rows: Array) -> Array:
        """Return probabilities of the masks of some queries and of the whole concept, (rows + 1, h, w)."""
        return _logistic(np.concatenate((self.outputs["masks"][rows], self.outputs["semantic"])))


@dataclass
class InstanceAgreement(BoxAgreement):
    """Sums over pairs of detections: an `automask.export.parity.Agreement`.

    Attributes
    ----------
    masks
        Number of masks.
    errors
        Relative error of each mask.
    mask_ious
        IoU of each comparable mask.
    """

    masks: int = 0
    errors: list[float] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)

    def add_masks(self, found: Detections, expected: Detections, scores: Array) -> None:
        """Compare the masks of the objects above the API's default threshold, at least of the five best ones.

        Parameters
        ----------
        scores
            Calibrated scores of what is expected, (n,).
        """
        best = np.argsort(-scores, kind="stable")
        rows = best[: max(_BEST, int((scores >= THRESHOLD).sum()))]
        for one, other in zip(found.masks(rows), expected.masks(rows), strict=True):
            self.masks += 1
            self.errors.append(float(np.linalg.norm(one - other) / np.linalg.norm(other - other.mean())))
            inside, expected_inside = one > 0.5, other > 0.5
            if _LEAST_COVER <= expected_inside.mean() <= 1 - _LEAST_COVER and other.std() >= _LEAST_SPREAD:
                self.mask_ious.append(float((inside & expected_inside).sum() / (inside | expected_inside).sum()))

    @property
    def decided_by_masks(self) -> bool:
        """Whether enough masks are comparable to decide by their IoU."""
        return len(self.mask_ious) >= _LEAST_MASKS

    def criterion(self, precision: str) -> str:
        """Describe the figures that decide, and why."""
        if self.decided_by_masks:
            text = f"the mean mask IoU, at least {_IOU:g}, over {len(self.mask_ious)} of {self.masks} masks"
        else:
            text = (
                f"the masks' relative error, at most {_RELATIVE[precision]:g}: {len(self.mask_ious)} of {self.masks} "
                "masks are comparable, the others are empty, full or flat"
            )
        return f"{super().criterion(precision)}; and {text}"

    def figures(self, precision: str) -> list[Figure]:
        """Return the figures; those that decide have limits."""
        by_masks = self.decided_by_masks
        relative = None if by_masks and precision != "fp32" else _RELATIVE[precision]
        figures = [
            *super().figures(precision),
            Figure(f"{precision} masks: relative error", float(np.max(self.errors)), relative),
        ]
        if self.mask_ious:
            limit = _IOU if by_masks else None
            figures += [
                Figure(f"{precision} masks: mean IoU", float(np.mean(self.mask_ious)), limit, at_least=True),
                Figure(f"{precision} masks: lowest IoU", min(self.mask_ious), None, at_least=True),
            ]
        return figures


def _logistic(logits: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits))
