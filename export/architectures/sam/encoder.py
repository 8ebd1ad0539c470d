"""The image encoders of SAM and SAM-HQ: a vision transformer, most of whose layers see windows of the image.

The four layers that see the whole image compare each of its cells with every other one: 4096 × 4096 numbers for each
head at 1024 pixels, 0.8 GB in SAM ViT-B and several times that with the positions' share and the softmax. They are
computed for some rows of cells at a time, which changes no number and takes a fraction of the memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["HighQualityImageEncoder", "ImageEncoder"]

_LARGEST_SCORES = 2**24  # numbers, 64 MB; of one layer, held at a time


class ImageEncoder(nn.Module):
    """SAM's image encoder, for one image of the network's size."""

    def __init__(self, network: Any) -> None:  # noqa: ANN401 (transformers' networks share no typed base)
        super().__init__()
        vision = network.vision_encoder
        self.config = network.config
        self.patches, self.neck = vision.patch_embed.projection, vision.neck
        self.positions = vision.pos_embed
        side = vision.config.image_size // vision.config.patch_size
        self.layers = nn.ModuleList(
            [layer if layer.window_size > 0 else _GlobalLayer(layer, side) for layer in vision.layers]
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Encode an image (1, 3, size, size): ``image_embedding`` (1, hidden, size / 16, size / 16)."""
        _, embedding = self.encode(image)
        return {"image_embedding": embedding}

    def encode(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the activations after each global layer, channels last, and the embedding."""
        cells = self.patches(image).permute(0, 2, 3, 1)
        if self.positions is not None:
            cells = cells + self.positions
        activations = []
        for layer in self.layers:
            cells = layer(cells)
            if isinstance(layer, _GlobalLayer):
                activations.append(cells)
        return activations, self.neck(cells)


class HighQualityImageEncoder(ImageEncoder):
    """SAM-HQ's image encoder, and the part of its mask decoder that depends on the image alone."""

    def __init__(self, network: Any) -> None:  # noqa: ANN401
        super().__init__(network)
        self.decoder = network.mask_decoder

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Encode an image: ``image_embedding`` as SAM's, ``fine_features`` (1, channels, size / 4, size / 4)."""
        activations, embedding = self.encode(image)
        decoder = self.decoder
        early = decoder.compress_vit_conv1(activations[0].permute(0, 3, 1, 2))
        early = decoder.compress_vit_conv2(decoder.activation(decoder.compress_vit_norm(early)))
        late = decoder.encoder_conv2(decoder.activation(decoder.encoder_norm(decoder.encoder_conv1(embedding))))
        return {"image_embedding": embedding, "fine_features": early + late}


class _GlobalLayer(nn.Module):
    """A layer that sees the whole image of side × side cells."""

    def __init__(self, layer: Any, side: int) -> None:  # noqa: ANN401
        super().__init__()
        self.norm1, self.norm2, self.mlp = layer.layer_norm1, layer.layer_norm2, layer.mlp
        self.attention = _GlobalAttention(layer.attn, side)

    def forward(self, cells: Tensor) -> Tensor:
        cells = cells + self.attention(self.norm1(cells))
        added: Tensor = self.mlp(self.norm2(cells))
        return cells + added


class _GlobalAttention(nn.Module):
    """Attention with relative positions, some rows of cells at a time; the result is that of all at once."""

    def __init__(self, attention: Any, side: int) -> None:  # noqa: ANN401
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.heads, self.scale, self.side = attention.num_attention_heads, attention.scale, side
        self.rows = max(1, _LARGEST_SCORES // (self.heads * side**3))
        self.relative = attention.use_rel_pos
        if self.relative:
            with torch.no_grad():  # embeddings of relative positions, (from, to, depth)
                self.register_buffer("down", attention.get_rel_pos(side, side, attention.rel_pos_h).clone())
                self.register_buffer("across", attention.get_rel_pos(side, side, attention.rel_pos_w).clone())

    def forward(self, cells: Tensor) -> Tensor:
        side, heads = self.side, self.heads
        query, key, value = self.qkv(cells).reshape(side * side, 3, heads, -1).permute(1, 2, 0, 3)
        key = key.transpose(1, 2)
        parts = [
            self._attend(query[:, first * side : (first + self.rows) * side], key, value, first)
            for first in range(0, side, self.rows)
        ]
        mixed = torch.cat(parts, dim=1).transpose(0, 1).reshape(1, side, side, -1)
        output: Tensor = self.proj(mixed)
        return output

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, first: int) -> Tensor:
        """Return the mixed values (heads, cells, depth) of the rows from the first one on."""
        side, heads = self.side, self.heads
        scores = (query * self.scale) @ key
        if self.relative:
            rows = min(self.rows, side - first)
            placed = query.reshape(heads, rows, side, -1)
            down = placed @ self.down[first : first + rows].transpose(1, 2)  # (heads, rows, columns, to a row)
            across = (placed.transpose(1, 2) @ self.across.transpose(1, 2)).transpose(1, 2)
            scores = scores.reshape(heads, rows, side, side, side) + down[..., None] + across[..., None, :]
            scores = scores.reshape(heads, rows * side, side * side)
        return scores.softmax(-1) @ value
