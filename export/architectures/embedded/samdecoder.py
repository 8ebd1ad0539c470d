"""SAM's prompt encoder and mask decoder, for boxes and one mask per box.

Written from the Segment Anything paper (Kirillov et al., arXiv 2304.02643) and the names and shapes in MobileSAM's
checkpoint, reduced to one mask per box: only the first of the four mask tokens' hypernetworks is kept. Both transposed
convolutions are matrix products (their kernel equals their stride), so that pixels are reordered only once, on the
logits.
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
_OUTPUT_TOKENS = 5  # predicted IoU, then four masks
_TOKENS = _OUTPUT_TOKENS + 2  # plus the two corners of a box


class MaskDecoder(nn.Module):
    """An image embedding and boxes to one mask per box.

    Parameters
    ----------
    size
        Side in pixels of the image encoder's square input; boxes are in these pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.side = size, size // 16
        self.gaussian = nn.Parameter(torch.zeros(2, _DIM // 2))
        self.corners = nn.Parameter(torch.zeros(2, _DIM))
        self.no_mask = nn.Parameter(torch.zeros(1, _DIM))
        self.output_tokens = nn.Parameter(torch.zeros(_OUTPUT_TOKENS, _DIM))
        self.transformer = _TwoWayTransformer(self.side * self.side)
        self.upscale = _Upscale(self.side)
        self.hypernetwork = _MLP(_DIM // 8)
        self.iou_head = _MLP(1)

    def forward(self, image_embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Decode one mask per box.

        Parameters
        ----------
        image_embedding
            From `ImageEncoder`, shape (1, 256, size / 16, size / 16).
        boxes
            Shape (boxes, 4): left, top, right, bottom in pixels of the square.

        Returns
        -------
        logits
            Shape (boxes, size / 4, size / 4); a pixel belongs to the mask above 0.
        iou
            Shape (boxes,): the IoU that the model predicts for its mask.
        """
        tokens = self._tokens(boxes)
        image = image_embedding.flatten(2).transpose(1, 2) + self.no_mask
        tokens, image = self.transformer(tokens, image, self._grid())
        logits = self.upscale(image, self.hypernetwork(tokens[:, 1]))
        return logits, self.iou_head(tokens[:, 0])[:, 0]

    def _tokens(self, boxes: Tensor) -> Tensor:
        # In SAM, a coordinate is a pixel index, embedded at the centre of the pixel.
        corners = self._embed((boxes.reshape(-1, 2, 2) + 0.5) / self.size) + self.corners
        output = self.output_tokens[None].expand(boxes.shape[0], -1, -1)
        return torch.cat([output, corners], dim=1)

    def _grid(self) -> Tensor:
        axis = (torch.arange(self.side) + 0.5) / self.side
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        return self._embed(torch.stack([columns, rows], dim=-1).reshape(1, -1, 2))

    def _embed(self, xy: Tensor) -> Tensor:
        """Return random Fourier features (..., 256) of positions (..., 2) in 0..1."""
        angles = 2 * math.pi * ((2 * xy - 1) @ self.gaussian)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _TwoWayTransformer(nn.Module):
    def __init__(self, cells: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_TwoWayLayer(cells, first=first) for first in (True, False)])
        self.final_attn_token_to_image = _Attention(_DIM // 2, _TOKENS, cells)
        self.norm_final_attn = nn.LayerNorm(_DIM)

    def forward(self, tokens: Tensor, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        prompt = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompt, position)
        mixed = self.final_attn_token_to_image(tokens + prompt, image + position, image)
        return self.norm_final_attn(tokens + mixed), image


class _TwoWayLayer(nn.Module):
    """Tokens to tokens, tokens to image, MLP, image to tokens.

    Up to the last step of the first layer, the image tokens do not depend on the boxes. They keep batch 1 and
    broadcast, so that their projections are computed once for any number of boxes.
    """

    def __init__(self, cells: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = _Attention(_DIM, _TOKENS, _TOKENS)
        self.cross_attn_token_to_image = _Attention(_DIM // 2, _TOKENS, cells)
        self.cross_attn_image_to_token = _Attention(_DIM // 2, cells, _TOKENS)
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
    def __init__(self, inner: int, queries: int, keys: int) -> None:
        super().__init__()
        self.queries, self.keys, self.inner = queries, keys, inner
        self.q_proj = nn.Linear(_DIM, inner)
        self.k_proj = nn.Linear(_DIM, inner)
        self.v_proj = nn.Linear(_DIM, inner)
        self.out_proj = nn.Linear(inner, _DIM)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        depth = self.inner // _HEADS
        q = self.q_proj(query).reshape(-1, self.queries, _HEADS, depth).transpose(1, 2)
        k = self.k_proj(key).reshape(-1, self.keys, _HEADS, depth).permute(0, 2, 3, 1)
        v = self.v_proj(value).reshape(-1, self.keys, _HEADS, depth).transpose(1, 2)
        mixed = ((q * depth**-0.5) @ k).softmax(-1) @ v
        return self.out_proj(mixed.transpose(1, 2).reshape(-1, self.queries, self.inner))


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
        # Embeddings 0 and 1 are for points outside and inside an object, 2 and 3 for the corners of a box.
        "corners": torch.cat([checkpoint[f"{prompt}point_embeddings.{i}.weight"] for i in (2, 3)]),
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
        f"{mask}output_hypernetworks_mlps.0.": "hypernetwork.",
        f"{mask}iou_prediction_head.": "iou_head.",
    }
    for old, new in renamed.items():
        state |= {new + k.removeprefix(old): v for k, v in checkpoint.items() if k.startswith(old)}
    # The head predicts an IoU for each of the four mask tokens; only the first token's mask is computed.
    for part in ("weight", "bias"):
        state[f"iou_head.layers.2.{part}"] = state[f"iou_head.layers.2.{part}"][:1]
    return state
