"""The mask decoders of SAM and SAM-HQ: one mask for each prompt.

Of the four masks of a prompt, the first one is for prompts with one meaning, the other three for a single point, which
may mean a thing or a part of it. transformers leaves the choice to the caller, by `multimask_output`. Here the graph
makes it: the first mask, and for a single point the one of the three with the best predicted IoU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .prompts import Prompts, is_single_point

__all__ = ["STRIDE", "HighQualityMaskDecoder", "MaskDecoder", "TwoWayDecoder", "best_of_three", "take"]

STRIDE = 4
"""Side of a cell of the masks, in pixels of the square image."""

_MASKS = 4


class TwoWayDecoder(nn.Module):
    """What the decoders of all Segment Anything models share.

    Parameters
    ----------
    network
        The whole network of transformers.
    prompts
        Makes tokens of prompts.
    output_tokens
        The tokens that the transformer turns into the answer, shape (tokens, hidden).
    """

    def __init__(self, network: Any, prompts: Prompts, output_tokens: list[nn.Embedding]) -> None:  # noqa: ANN401
        super().__init__()
        self.config = network.config
        self.decoder, self.prompts = network.mask_decoder, prompts
        with torch.no_grad():
            grid = network.get_image_wide_positional_embeddings()
            no_mask = network.prompt_encoder.no_mask_embed.weight
            self.register_buffer("grid", grid.clone())
            self.register_buffer("no_mask", no_mask.clone().reshape(1, -1, 1, 1))
            self.register_buffer("output_tokens", torch.cat([token.weight for token in output_tokens])[None, None])
        self.hidden, self.side = grid.shape[1], grid.shape[-1]

    def transform(self, image_embedding: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output tokens (n, tokens, hidden) and the image (n, hidden, side, side) of n prompts."""
        # Each prompt is one batch for transformers' layers, which expect (batch, prompts, tokens, hidden).
        outputs = self.output_tokens.expand(points.shape[0], -1, -1, -1)
        tokens, cells = self.decoder.transformer(
            point_embeddings=torch.cat([outputs, self.prompts(points, labels)[:, None]], dim=2),
            image_embeddings=(image_embedding + self.no_mask).expand(points.shape[0], -1, -1, -1),
            image_positional_embeddings=self.grid,
            attention_similarity=None,
        )
        return tokens[:, 0], cells[:, 0].transpose(1, 2).reshape(-1, self.hidden, self.side, self.side)

    def kernels(self, tokens: Tensor) -> Tensor:
        """Return what the pixels are multiplied by for each of the masks (n, 4, channels), from their tokens."""
        networks = self.decoder.output_hypernetworks_mlps
        return torch.stack([networks[index](tokens[:, index]) for index in range(_MASKS)], dim=1)

    def draw(self, kernel: Tensor, pixels: Tensor) -> Tensor:
        """Return the logits (n, h, w) of one mask, from its kernel (n, channels) and pixels (n, channels, h, w)."""
        return (kernel[:, None] @ pixels.flatten(2)).reshape(-1, pixels.shape[2], pixels.shape[3])

    def upscale(self, image: Tensor) -> Tensor:
        """Return the pixels (n, channels, h, w) that the kernels of SAM's masks are multiplied with."""
        decoder = self.decoder
        finer = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image)))
        pixels: Tensor = decoder.activation(decoder.upscale_conv2(finer))
        return pixels


class MaskDecoder(TwoWayDecoder):
    """SAM's prompt encoder and mask decoder."""

    def __init__(self, network: Any, size: int) -> None:  # noqa: ANN401 (transformers' networks share no typed base)
        decoder = network.mask_decoder
        super().__init__(network, _prompts(network, size), [decoder.iou_token, decoder.mask_tokens])

    def forward(self, image_embedding: Tensor, points: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Decode one mask for each of n prompts of p points.

        Parameters
        ----------
        image_embedding
            From `ImageEncoder`.
        points, labels
            As for `Prompts`. The corners of a box come last, in this order; a prompt without a box ends with one end,
            and one with a box has none: a missing or a second one changes the mask.

        Returns
        -------
        dict
            ``logits`` (n, h, w), above 0 inside, and ``iou`` (n,), the IoU that the network predicts for the mask.
        """
        tokens, image = self.transform(image_embedding, points, labels)
        iou = self.decoder.iou_prediction_head(tokens[:, 0])
        chosen = _choose(iou, labels)
        logits = self.draw(take(self.kernels(tokens[:, 1:]), chosen), self.upscale(image))
        return {"logits": logits, "iou": take(iou, chosen)}


class HighQualityMaskDecoder(TwoWayDecoder):
    """SAM-HQ's prompt encoder and mask decoder: SAM's mask, corrected by one made from finer features."""

    def __init__(self, network: Any, size: int) -> None:  # noqa: ANN401
        decoder = network.mask_decoder
        super().__init__(network, _prompts(network, size), [decoder.iou_token, decoder.mask_tokens, decoder.hq_token])

    def forward(
        self, image_embedding: Tensor, fine_features: Tensor, points: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Decode one mask for each prompt; as `MaskDecoder.forward`, with the encoder's fine features."""
        decoder = self.decoder
        tokens, image = self.transform(image_embedding, points, labels)
        iou = decoder.iou_prediction_head(tokens[:, 0])
        chosen = _choose(iou, labels)
        pixels = self.upscale(image)
        finer = decoder.activation(decoder.mask_norm(decoder.mask_conv1(pixels)))
        corrections = decoder.mask_conv2(finer) + fine_features
        logits = self.draw(take(self.kernels(tokens[:, 1:]), chosen), pixels)
        logits = logits + self.draw(decoder.hq_mask_mlp(tokens[:, 1 + _MASKS]), corrections)
        return {"logits": logits, "iou": take(iou, chosen)}


def _prompts(network: Any, size: int) -> Prompts:  # noqa: ANN401
    encoder = network.prompt_encoder
    kinds = [encoder.not_a_point_embed, *encoder.point_embed]
    gaussian = network.shared_image_embedding.positional_embedding
    return Prompts(gaussian, torch.cat([kind.weight for kind in kinds]), size)


def best_of_three(iou: Tensor) -> Tensor:
    """Return the index, (n, 1), of the best of the masks for a single point, by the predicted IoU (n, 4)."""
    return 1 + iou[:, 1:].argmax(dim=1, keepdim=True)


def take(values: Tensor, index: Tensor) -> Tensor:
    """Return ``values[i, index[i]]`` for each prompt i: (n, 4, …) and (n, 1) to (n, …)."""
    wide = index.reshape(-1, 1, *(1 for _ in values.shape[2:])).expand(-1, -1, *values.shape[2:])
    return values.gather(1, wide)[:, 0]


def _choose(iou: Tensor, labels: Tensor) -> Tensor:
    best = best_of_three(iou)
    return torch.where(is_single_point(labels), best, torch.zeros_like(best))
