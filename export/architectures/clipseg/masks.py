"""Whether two sets of logits mean the same masks, and when masks can say that at all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automask.parameters import Parameters

from ...figures import Figure

__all__ = ["THRESHOLD", "Agreement"]

Array = NDArray[Any]

# The API's default, which identity calibration leaves where it is: a score of 0.2 is a logit of -1.39.
THRESHOLD = Parameters().threshold
_LOGIT = math.log(THRESHOLD / (1 - THRESHOLD))

_LARGEST = 1e-3
_IOU = 0.98
# When masks say nothing: error of the logits, relative to how much they vary over the picture. With random weights at
# full size it is 0.04 in int8.
_RELATIVE = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.1}
# A mask can be compared when it is neither all nor nothing, and does not come of logits that are flat: what stands
# next to the threshold in a flat map is decided by the last bit. Trained CLIPSeg spreads its logits over about ten.
_LEAST_COVER = 0.01
_LEAST_SPREAD = 0.5
_LEAST_MASKS = 3


@dataclass
class Agreement:
    """Collects pairs of logits and sums them up."""

    largest: float = 0.0
    relative: float = 0.0
    ious: list[float] = field(default_factory=list)
    masks: int = 0

    def add(self, found: Array, expected: Array) -> None:
        """Compare logits (masks, height, width), one mask at a time."""
        if found.shape != expected.shape:
            raise ValueError(f"logits must have shape {expected.shape}, got {found.shape}")
        for one, other in zip(found, expected, strict=True):
            self.masks += 1
            # Written so that not-a-number stays: max() would drop it.
            self.largest = float(np.maximum(self.largest, np.abs(one - other).max()))
            spread = np.linalg.norm(other - other.mean())
            self.relative = float(np.maximum(self.relative, np.linalg.norm(one - other) / spread))
            if _can_be_compared(other):
                self.ious.append(_iou(one > _LOGIT, other > _LOGIT))

    @property
    def masks_count(self) -> bool:
        """Whether enough masks can be compared to decide by them."""
        return len(self.ious) >= _LEAST_MASKS

    def basis(self, precision: str) -> str:
        """Say which figure decides, and why."""
        if precision == "fp32":
            return f"the logits' largest difference, at most {_LARGEST:g}, and their relative error"
        if self.masks_count:
            compared = f"{len(self.ious)} of {self.masks} masks"
            return f"mean mask IoU at threshold {THRESHOLD:g}, at least {_IOU:g}, over {compared}"
        return (
            f"the logits' relative error, at most {_RELATIVE[precision]:g}: {len(self.ious)} of {self.masks} masks "
            "can be compared, the others are empty, full or flat (weights that are not trained, or a picture without "
            "what the prompts name; --photo gives another)"
        )

    def figures(self, precision: str) -> list[Figure]:
        """Turn the sums into figures; those that decide have limits."""
        exact, by_masks = precision == "fp32", self.masks_count
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


def _can_be_compared(logits: Array) -> bool:
    cover = float((logits > _LOGIT).mean())
    return _LEAST_COVER <= cover <= 1 - _LEAST_COVER and float(logits.std()) >= _LEAST_SPREAD


def _iou(found: Array, expected: Array) -> float:
    return float((found & expected).sum() / (found | expected).sum())
