"""Agreement of whole results: masks of the runtime beside those of transformers' own post-processing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..agreement import THRESHOLD, MaskAgreement
from ..figures import Figure
from ..parity import Array

__all__ = ["ResultAgreement", "overlap"]

# `MaskAgreement` compares logits at the API's default threshold; these nets draw a mask where a logit is above 0.
_SHIFT = math.log(THRESHOLD / (1 - THRESHOLD))
# The two interpolate masks in different orders, so they may differ by a pixel along an edge.
_LEAST_SHARE = 0.95
_LARGEST_SCORE = 0.05


@dataclass
class ResultAgreement:
    """Sums over pairs of results: an `automask.export.parity.Agreement`.

    Attributes
    ----------
    masks
        Compares the logits of masks; decides about int8 and fp16.
    shares
        Of each pair of results, IoU of the masks, or the share of the pixels with the same label; decides about float32
        with the logits.
    scores
        Of each pair of results that have a score, the difference of the scores.
    """

    masks: MaskAgreement = field(default_factory=MaskAgreement)
    shares: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add_logits(self, found: Array, expected: Array) -> None:
        """Compare logits of masks, (masks, height, width)."""
        self.masks.add(found + _SHIFT, expected + _SHIFT)

    def criterion(self, precision: str) -> str:
        """Describe the figure that decides, and why."""
        text = self.masks.criterion(precision)
        return f"{text}; and the masks of transformers' own post-processing" if precision == "fp32" else text

    def figures(self, precision: str) -> list[Figure]:
        """Return the figures; those that decide have limits."""
        exact = precision == "fp32"
        name = f"{precision} beside transformers' post-processing"
        figures = [*self.masks.figures(precision)]
        if self.shares:
            limit = _LEAST_SHARE if exact else None
            figures += [
                Figure(f"{name}: mean agreement of masks", float(np.mean(self.shares)), limit, at_least=True),
                Figure(f"{name}: lowest agreement of masks", min(self.shares), None, at_least=True),
            ]
        if self.scores:
            limit = _LARGEST_SCORE if exact else None
            figures.append(Figure(f"{name}: largest difference of scores", max(self.scores), limit))
        return figures


def overlap(found: Array, expected: Array) -> float:
    """Return the IoU of two masks; 1 for two empty ones."""
    either = (found | expected).sum()
    return float((found & expected).sum() / either) if either else 1.0
