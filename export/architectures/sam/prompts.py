"""Prompts as tokens: points, and corners of boxes, in every Segment Anything model.

Sources: Segment Anything, arXiv:2304.02643; SAM 2, arXiv:2408.00714.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Prompts", "is_single_point"]


class Prompts(nn.Module):
    """Points and labels to tokens.

    Parameters
    ----------
    gaussian
        The random frequencies of positions, shape (2, hidden / 2).
    kinds
        The embeddings of the labels -1, 0, 1, 2 and 3, shape (5, hidden).
    size
        Side of the square image in pixels.
    """

    def __init__(self, gaussian: Tensor, kinds: Tensor, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("gaussian", gaussian.detach().clone())
        self.register_buffer("kinds", kinds.detach().clone())

    def forward(self, points: Tensor, labels: Tensor) -> Tensor:
        """Return the tokens (n, p, hidden) of n prompts of p points.

        Parameters
        ----------
        points
            Shape (n, p, 2): x and y in pixels of the square.
        labels
            Shape (n, p), int64: 0 outside the object, 1 inside, 2 the upper left and 3 the lower right corner of a box,
            -1 the end, whose position does not matter.
        """
        # A coordinate is the index of a pixel, embedded at its centre.
        centred = 2 * ((points + 0.5) / self.size) - 1
        # Written as two products, not as a matrix product, which int8 would round to 1/255 of the image.
        angles = 2 * math.pi * (centred[..., :1] * self.gaussian[0] + centred[..., 1:] * self.gaussian[1])
        placed = torch.cat([angles.sin(), angles.cos()], dim=-1)
        has_place = (labels >= 0)[..., None]
        return torch.where(has_place, placed, torch.zeros_like(placed)) + self.kinds[labels + 1]


def is_single_point(labels: Tensor) -> Tensor:
    """Return which prompts, (n, 1), are one point and no box: the model answers them with three masks."""
    return (labels.clamp(-1, 0) + 1).sum(dim=1, keepdim=True) == 1
