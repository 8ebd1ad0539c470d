"""SAM's prompt encoder and mask decoder, for boxes and points, with one mask for each prompt.

Written from the Segment Anything paper (Kirillov et al., arXiv 2304.02643) and the names and shapes in MobileSAM's
checkpoint. Of the four mask tokens, the first one is for prompts with one meaning, the other three for a single point,
which may mean a thing or a part of it; only the product of the chosen token's hypernetwork with the pixels is computed.
Both transposed convolutions are matrix products (their kernel equals their stride), so that pixels are reordered only
once, on the logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MaskDecoder", "decoder_state"]

_DIM = 256
_HEADS = 8
_MASKS = 4
_OUTPUT_TOKENS = 1 + _MASKS  # predicted IoU, then the masks


class MaskDecoder(nn.Module):
    """An image embedding and prompts to one mask for each prompt.

    Parameters
    ----------
    size
        Side in pixels of the image encoder's square input; points are in these pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.side = size, size // 16
        self.gaussian = nn.Parameter(torch.zeros(2, _DIM // 2))
        self.kinds = nn.Parameter(torch.zeros(5, _DIM))  # -1, 0, 1, 2, 3
        self.no_mask = nn.Parameter(torch.zeros(1, _DIM))
        self.output_tokens = nn.Parameter(torch.zeros(_OUTPUT_TOKENS, _DIM))
        self.transformer = _TwoWayTransformer(self.side * self.side)
        self.upscale = _Upscale(self.side)
        self.hypernetworks = nn.ModuleList([_MLP(_DIM // 8) for _ in range(_MASKS)])
        self.iou_head = _MLP(_MASKS)

    def forward(self, image_embedding: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Decode one mask for each of n prompts of p points.

        Parameters
        ----------
        image_embedding
            From `ImageEncoder`, shape (1, 256, size / 16, size / 16).
        points
            Shape (n, p, 2): x and y in pixels of the square.
        labels
            Shape (n, p), int64: 0 outside the object, 1 inside, 2 the upper left and 3 the lower right corner of a box,
            which come last, in this order; -1 for the one point at the end of a prompt without a box, whose position
            does not matter. More of them change the masks.

        Returns
        -------
        logits
            Shape (n, size / 4, size / 4); a pixel belongs to the mask above 0.
        iou
            Shape (n,): the IoU that the model predicts for its mask. Of a single point's three masks, the best one is
            returned.
        """
        tokens = self._tokens(points, labels)
        image = image_embedding.flatten(2).transpose(1, 2) + self.no_mask
        tokens, image = self.transformer(tokens, image, self._grid())
        hyper = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.hypernetworks)], dim=1)
        iou = self.iou_head(tokens[:, 0])
        chosen = _choose_mask(iou, labels)
        hyper = hyper.gather(1, chosen[:, :, None].expand(-1, -1, _DIM // 8))[:, 0]
        return self.upscale(image, hyper), iou.gather(1, chosen)[:, 0]

    def _tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        # In SAM, a coordinate is a pixel index, embedded at the centre of the pixel.
        placed = self._embed((points + 0.5) / self.size)
        prompt = torch.where(labels[:, :, None] >= 0, placed, torch.zeros_like(placed)) + self.kinds[labels + 1]
        output = self.output_tokens[None].expand(points.shape[0], -1, -1)
        return torch.cat([output, prompt], dim=1)

    def _grid(self) -> Tensor:
        axis = (torch.arange(self.side) + 0.5) / self.side
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        return self._embed(torch.stack([columns, rows], dim=-1).reshape(1, -1, 2))

    def _embed(self, xy: Tensor) -> Tensor:
        """Return random Fourier features (..., 256) of positions (..., 2) in 0..1."""
        angles = 2 * math.pi * ((2 * xy - 1) @ self.gaussian)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _choose_mask(iou: Tensor, labels: Tensor) -> Tensor:
    """Return the index of the mask to take, (n, 1): the first one, or of a single point's three the best one."""
    is_single = (labels.clamp(-1, 0) + 1).sum(dim=1, keepdim=True) == 1
    best = 1 + iou[:, 1:].argmax(dim=1, keepdim=True)
    return torch.where(is_single, best, torch.zeros_like(best))


class _TwoWayTransformer(nn.Module):
    def __init__(self, cells: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_TwoWayLayer(cells, first=first) for first in (True, False)])
        self.final_attn_token_to_image = _Attention(_DIM // 2, keys=cells)
        self.norm_final_attn = nn.LayerNorm(_DIM)

    def forward(self, tokens: Tensor, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        prompt = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompt, position)
        mixed = self.final_attn_token_to_image(tokens + prompt, image + position, image)
        return self.norm_final_attn(tokens + mixed), image


class _TwoWayLayer(nn.Module):
    """Tokens to tokens, tokens to image, MLP, image to tokens.

    Up to the last step of the first layer, the image tokens do not depend on the prompts. They keep batch 1 and
    broadcast, so that their projections are computed once for any number of prompts.
    """

    def __init__(self, cells: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = _Attention(_DIM)
        self.cross_attn_token_to_image = _Attention(_DIM // 2, keys=cells)
        self.cross_attn_image_to_token = _Attention(_DIM // 2, queries=cells)
        self.mlp = _FeedForward()
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(_DIM) for _ in range(4))

    def forward(self, tokens: Tensor, image: Tensor, prompt: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            query = tokens + prompt
            tokens = tokens + self.self_attn(query, query, tokens)
        tokens = self.norm1(tokens)
        placed = image + position
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + prompt, placed, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed, tokens + prompt, tokens))
        return tokens, image


class _Attention(nn.Module):
    """Attention with a fixed number of queries or keys (the image's cells), or any number (the tokens): None.

    A fixed number keeps the nodes that compute shapes out of the graph.
    """

    def __init__(self, inner: int, *, queries: int | None = None, keys: int | None = None) -> None:
        super().__init__()
        self.queries, self.keys, self.inner = queries, keys, inner
        self.q_proj = nn.Linear(_DIM, inner)
        self.k_proj = nn.Linear(_DIM, inner)
        self.v_proj = nn.Linear(_DIM, inner)
        self.out_proj = nn.Linear(inner, _DIM)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        depth = self.inner // _HEADS
        queries, keys = self.queries or query.shape[1], self.keys or key.shape[1]
        q = self.q_proj(query).reshape(-1, queries, _HEADS, depth).transpose(1, 2)
        k = self.k_proj(key).reshape(-1, keys, _HEADS, depth).permute(0, 2, 3, 1)
        v = self.v_proj(value).reshape(-1, keys, _HEADS, depth).transpose(1, 2)
        mixed = ((q * depth**-0.5) @ k).softmax(-1) @ v
        return self.out_proj(mixed.transpose(1, 2).reshape(-1, queries, self.inner))


class _FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(_DIM, 2048)
        self.lin2 = nn.Linear(2048, _DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(functional.relu(self.lin1(x)))


class _MLP(nn.Module):
    def __init__(self, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(_DIM, _DIM), nn.Linear(_DIM, _DIM), nn.Linear(_DIM, out)])

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.layers[0](x))
        x = functional.relu(self.layers[1](x))
        return self.layers[2](x)


class _Upscale(nn.Module):
    """Two transposed 2x2 convolutions of stride 2, then the product with a mask token's hypernetwork.

    Each convolution is one matrix product from a cell's channels to (sub-row, sub-column, channels). Tensors stay
    channels-last; only the logits are reordered into an image.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.first = nn.Linear(_DIM, 4 * 64)
        self.norm = nn.LayerNorm(64, eps=1e-6)
        self.second = nn.Linear(64, 4 * 32)

    def forward(self, image: Tensor, hyper: Tensor) -> Tensor:
        side = self.side
        x = self.first(image).reshape(-1, side * side * 4, 64)
        x = functional.gelu(self.norm(x))
        x = functional.gelu(self.second(x)).reshape(-1, side * side * 16, 32)
        logits = (x @ hyper[:, :, None]).reshape(-1, side, side, 2, 2, 2, 2)
        return logits.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, side * 4, side * 4)


def decoder_state(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the decoder's part of a MobileSAM checkpoint, for `MaskDecoder.load_state_dict`."""
    prompt, mask = "prompt_encoder.", "mask_decoder."
    state = {
        "gaussian": checkpoint[f"{prompt}pe_layer.positional_encoding_gaussian_matrix"],
        "kinds": torch.cat(
            [
                checkpoint[f"{prompt}{name}.weight"]
                for name in ("not_a_point_embed", *(f"point_embeddings.{i}" for i in range(4)))
            ]
        ),
        "no_mask": checkpoint[f"{prompt}no_mask_embed.weight"],
        "output_tokens": torch.cat([checkpoint[f"{mask}{n}.weight"] for n in ("iou_token", "mask_tokens")]),
        "upscale.norm.weight": checkpoint[f"{mask}output_upscaling.1.weight"],
        "upscale.norm.bias": checkpoint[f"{mask}output_upscaling.1.bias"],
    }
    for name, index in (("first", 0), ("second", 3)):
        weight = checkpoint[f"{mask}output_upscaling.{index}.weight"]  # (in, out, row, column)
        state[f"upscale.{name}.weight"] = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
        state[f"upscale.{name}.bias"] = checkpoint[f"{mask}output_upscaling.{index}.bias"].repeat(4)
    renamed = {
        f"{mask}transformer.": "transformer.",
        f"{mask}output_hypernetworks_mlps.": "hypernetworks.",
        f"{mask}iou_prediction_head.": "iou_head.",
    }
    for old, new in renamed.items():
        state |= {new + k.removeprefix(old): v for k, v in checkpoint.items() if k.startswith(old)}
    return state
