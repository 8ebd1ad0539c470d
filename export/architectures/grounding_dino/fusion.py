"""The fusion layer of Grounding DINO, in which cells of the image and words attend to each other.

An image has thousands of cells and a prompt has few tokens. transformers projects every cell to queries and values of
1024 channels, and their result back. Here, the projections are multiplied into the few tokens instead, which is the
same by the associativity of the matrix product: (V W) K = V (W K). It costs cells x width x heads x tokens each time
instead of cells x width x 1024, a third of the whole detector less for short prompts, and no more at 256 tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["fuse"]

_LIMIT = 50000.0  # of the attention's logits, as in transformers


def fuse(layer: Any, vision: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Return the features of both after a `GroundingDinoFusionLayer`.

    Parameters
    ----------
    vision, text
        (1, cells, width) and (1, tokens, width).
    mask
        (1, cells): true where a cell is no padding.
    """
    attention = layer.attn
    vision, text = layer.layer_norm_vision(vision), layer.layer_norm_text(text)
    to_heads = attention.num_heads, attention.head_dim
    keys = attention.text_proj(text).view(-1, *to_heads).transpose(0, 1) * attention.scale
    # By head: (heads, tokens, width) and (heads, tokens, 1).
    queries = keys @ attention.vision_proj.weight.view(*to_heads, -1)
    shifts = keys @ attention.vision_proj.bias.view(*to_heads, 1)
    logits = vision @ queries.transpose(1, 2) + shifts.transpose(1, 2)
    logits = (logits - logits.max()).clamp(-_LIMIT, _LIMIT)
    by_token = logits.transpose(1, 2)
    by_token = (by_token - by_token.max(dim=-1, keepdim=True)[0]).clamp(-_LIMIT, _LIMIT)
    by_token = by_token.masked_fill(~mask[:, None], float("-inf")).softmax(-1)
    to_vision = _to_vision(attention, text, logits.softmax(-1))
    to_text = _to_text(attention, vision, by_token)
    return vision + layer.vision_param * to_vision, text + layer.text_param * to_text


def _to_vision(attention: Any, text: Tensor, weights: Tensor) -> Tensor:  # noqa: ANN401
    """Return what the words add to each cell, (1, cells, width), from its attention, (heads, cells, tokens)."""
    heads, size = attention.num_heads, attention.head_dim
    values = attention.values_text_proj(text).view(-1, heads, size).transpose(0, 1)
    output = attention.out_vision_proj.weight.view(-1, heads, size).permute(1, 2, 0)
    added = (values @ output).flatten(0, 1)  # (heads x tokens, width)
    return (weights.transpose(0, 1).flatten(1) @ added + attention.out_vision_proj.bias)[None]


def _to_text(attention: Any, vision: Tensor, weights: Tensor) -> Tensor:  # noqa: ANN401
    """Return what the cells add to each token, (1, tokens, width), from its attention, (heads, tokens, cells)."""
    heads, size = attention.num_heads, attention.head_dim
    values = attention.values_vision_proj.weight.view(heads, size, -1)
    # The attention of a token sums to 1, so that the bias stays as it is.
    added = torch.matmul(weights, vision) @ values.transpose(1, 2) + attention.values_vision_proj.bias.view(
        heads, 1, size
    )
    return attention.out_text_proj(added.transpose(0, 1).flatten(1))[None]
