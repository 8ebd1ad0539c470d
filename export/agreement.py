"""Agreement of masks: whether the graphs of a precision draw the same ones as the checkpoint in float32."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from automask.parameters import Parameters

from .figures import Figure
from .parity import Array, largest_difference

__all__ = ["THRESHOLD", "MaskAgreement"]

# The API's default. An identity calibration keeps it: a score of 0.2 is a logit of -1.39.
THRESHOLD = Parameters().threshold

_LARGEST = 1e-3
_IOU = 0.98
# Used where masks cannot decide: error of the logits relative to their variation over the image. With random weights
# at full size it is 0.04 in int8.
_RELATIVE = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.1}
# A mask is comparable if it is neither empty nor full, and its logits are not flat: in a flat map, the last bit decides
# which pixels pass the threshold. The logits of a trained CLIPSeg span about ten.
_LEAST_COVER = 0.01
_LEAST_SPREAD = 0.5
_LEAST_MASKS = 3


@dataclass
class MaskAgreement:
    """Sums over pairs of logits: an `automask.export.parity.Agreement`.

    Attributes
    ----------
    threshold
        Score above which a pixel is inside the mask, 0..1.
    largest
        Largest absolute difference.
    relative
        Largest relative error of one mask's logits.
    ious
        Mask IoU of each comparable mask.
    masks
        Number of masks.
    """

    threshold: float = THRESHOLD
    largest: float = 0.0
    relative: float = 0.0
    ious: list[float] = field(default_factory=list)
    masks: int = 0

    def add(self, found: Array, expected: Array) -> None:
        """Compare logits of shape (masks, height, width), mask by mask.

        Raises
        ------
        ValueError
            The shapes differ.
        """
        if found.shape != expected.shape:
            raise ValueError(f"logits must have shape {expected.shape}, got {found.shape}")
        for one, other in zip(found, expected, strict=True):
            self.masks += 1
            # np.maximum keeps NaN; max() would drop it.
            self.largest = float(np.maximum(self.largest, largest_difference(one, other)))
            spread = np.linalg.norm(other - other.mean())
            self.relative = float(np.maximum(self.relative, np.linalg.norm(one - other) / spread))
            inside, expected_inside = one > self._edge, other > self._edge
            if _is_comparable(other, expected_inside):
                self.ious.append(_iou(inside, expected_inside))

    @property
    def _edge(self) -> float:
        """The threshold as a logit."""
        return math.log(self.threshold / (1 - self.threshold))

    @property
    def decided_by_masks(self) -> bool:
        """Whether enough masks are comparable to decide by their IoU."""
        return len(self.ious) >= _LEAST_MASKS

    def criterion(self, precision: str) -> str:
        """Describe the figure that decides, and why."""
        if precision == "fp32":
            return f"the logits' largest difference, at most {_LARGEST:g}, and their relative error"
        if self.decided_by_masks:
            compared = f"{len(self.ious)} of {self.masks} masks"
            return f"mean mask IoU at threshold {self.threshold:g}, at least {_IOU:g}, over {compared}"
        return (
            f"the logits' relative error, at most {_RELATIVE[precision]:g}: {len(self.ious)} of {self.masks} masks are "
            "comparable, the others are empty, full or flat (untrained weights, or an image without the prompts' "
            "objects; use another one with --photo)"
        )

    def figures(self, precision: str) -> list[Figure]:
        """Return the figures; those that decide have limits."""
        exact, by_masks = precision == "fp32", self.decided_by_masks
        relative = None if by_masks and not exact else _RELATIVE[precision]
        figures = [
            Figure(f"{precision} end to end: largest difference of logits", self.largest, _LARGEST if exact else None),
            Figure(f"{precision} end to end: relative error of logits", self.relative, relative),
        ]
        if self.ious:
            limit = _IOU if by_masks and not exact else None
            figures += [
                Figure(f"{precision} end to end: mean mask IoU", float(np.mean(self.ious)), limit, at_least=True),
                Figure(f"{precision} end to end: lowest mask IoU", min(self.ious), None, at_least=True),
            ]
        return figures


def _is_comparable(logits: Array, inside: Array) -> bool:
    cover = float(inside.mean())
    return _LEAST_COVER <= cover <= 1 - _LEAST_COVER and float(logits.std()) >= _LEAST_SPREAD


def _iou(found: Array, expected: Array) -> float:
    return float((found & expected).sum() / (found | expected).sum())
