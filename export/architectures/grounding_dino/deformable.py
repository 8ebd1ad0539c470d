"""Deformable attention among the cells of an image: each cell looks at a few places of every level.

Source: arXiv:2010.04159. The same as transformers' `GroundingDinoDeformableLayer`, with fewer passes over arrays of a
hundred megabytes: the levels are added up instead of joined, and the scale of the places is part of their weights.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["deform"]


def deform(
    layer: Any,  # noqa: ANN401
    vision: Tensor,
    *,
    positions: Tensor,
    points: Tensor,
    mask: Tensor,
    shapes: list[tuple[int, int]],
) -> Tensor:
    """Return the features of the cells, (1, cells, width), after a `GroundingDinoDeformableLayer`.

    Parameters
    ----------
    vision, positions
        (1, cells, width).
    points
        (1, cells, levels, 2): centres of the cells, x and y, in units of each padded level.
    mask
        (1, cells): true where a cell is no padding.
    shapes
        Height and width of each level, in cells.
    """
    attended = _attend(layer.self_attn, vision, vision + positions, points=points, mask=mask, shapes=shapes)
    vision = layer.self_attn_layer_norm(vision + attended)
    return layer.final_layer_norm(vision + layer.fc2(layer.activation_fn(layer.fc1(vision))))  # type: ignore[no-any-return]


def _attend(
    attention: Any,  # noqa: ANN401
    vision: Tensor,
    queries: Tensor,
    *,
    points: Tensor,
    mask: Tensor,
    shapes: list[tuple[int, int]],
) -> Tensor:
    heads, levels, count = attention.n_heads, attention.n_levels, attention.n_points
    cells = vision.shape[1]
    values = attention.value_proj(vision) * mask[..., None]
    values = values[0].transpose(0, 1).view(heads, -1, cells)
    weights = attention.attention_weights(queries).view(cells, heads, levels * count).softmax(-1).transpose(0, 1)
    grid = _places(attention, queries, shapes) + (2 * points[0] - 1)[:, None, :, None]
    grid = grid.transpose(0, 1)  # (heads, cells, levels, points, 2), in -1 … 1 as grid_sample has it
    levels_of_values = values.split([height * width for height, width in shapes], 2)
    sums = [
        (_sample(part.view(heads, -1, *shape), grid[:, :, level]) * weight[:, None]).sum(-1)
        for level, (part, weight, shape) in enumerate(
            zip(levels_of_values, weights.split(count, 2), shapes, strict=True)
        )
    ]
    total = reduce(torch.add, sums).flatten(0, 1)
    return attention.output_proj(total.transpose(0, 1))[None]  # type: ignore[no-any-return]


def _sample(values: Tensor, grid: Tensor) -> Tensor:
    """Return the values at some places, (heads, channels, cells, points); 0 outside."""
    return functional.grid_sample(values, grid, align_corners=False)


def _places(attention: Any, queries: Tensor, shapes: list[tuple[int, int]]) -> Tensor:  # noqa: ANN401
    """Return how far each place is from its cell, (cells, heads, levels, points, 2)."""
    sizes = torch.tensor([(width, height) for height, width in shapes], dtype=torch.float32)
    form = attention.n_heads, attention.n_levels, attention.n_points, 2
    scale = (2 / sizes)[None, :, None].expand(*form).reshape(-1)
    linear = attention.sampling_offsets
    return functional.linear(queries[0], linear.weight * scale[:, None], linear.bias * scale).view(-1, *form)
