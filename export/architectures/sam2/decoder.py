"""The mask decoder of SAM 2 and EdgeTAM: one mask for each prompt.

As in SAM, the first of four masks is for prompts with one meaning, and the other three for a single point. Where the
first one is unstable, so that a slightly higher threshold makes it much smaller, the best of the other three replaces
it. transformers makes that choice too, where `multimask_output` is false.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..sam.decoder import TwoWayDecoder, best_of_three, take
from ..sam.prompts import Prompts, is_single_point

__all__ = ["MaskDecoder"]

_MILLION = 1_000_000


class MaskDecoder(TwoWayDecoder):
    """SAM 2's prompt encoder and mask decoder."""

    def __init__(self, network: Any, size: int) -> None:  # noqa: ANN401 (transformers' networks share no typed base)
        encoder, decoder = network.prompt_encoder, network.mask_decoder
        kinds = torch.cat([encoder.not_a_point_embed.weight, encoder.point_embed.weight])
        prompts = Prompts(network.shared_image_embedding.positional_embedding, kinds, size)
        super().__init__(network, prompts, [decoder.obj_score_token, decoder.iou_token, decoder.mask_tokens])
        self.checks_stability = decoder.dynamic_multimask_via_stability
        self.margin = decoder.dynamic_multimask_stability_delta
        # Areas are compared as integers, which float16 cannot hold.
        self.least_stability = round(decoder.dynamic_multimask_stability_thresh * _MILLION)

    def forward(
        self, image_embedding: Tensor, medium_features: Tensor, fine_features: Tensor, points: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Decode one mask for each of n prompts of p points.

        Parameters
        ----------
        image_embedding, medium_features, fine_features
            From `ImageEncoder`.
        points, labels
            As for `Prompts`. The corners of a box come after the points, in this order, then one end in every prompt: a
            missing or a second one changes the mask.

        Returns
        -------
        dict
            ``logits`` (n, size / 4, size / 4), above 0 inside, and ``iou`` (n,), the IoU that the network predicts for
            the mask.
        """
        decoder = self.decoder
        tokens, image = self.transform(image_embedding, points, labels)
        finer = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image) + medium_features))
        pixels = decoder.activation(decoder.upscale_conv2(finer) + fine_features)
        kernels, iou = self.kernels(tokens[:, 2:]), decoder.iou_prediction_head(tokens[:, 1])
        best = best_of_three(iou)
        first = self.draw(kernels[:, 0], pixels)
        takes_best = is_single_point(labels)
        if self.checks_stability:
            takes_best = takes_best | ~self._is_stable(first)
        logits = torch.where(takes_best[:, :, None], self.draw(take(kernels, best), pixels), first)
        return {"logits": logits, "iou": torch.where(takes_best[:, 0], take(iou, best), iou[:, 0])}

    def _is_stable(self, logits: Tensor) -> Tensor:
        """Return, (n, 1), whether masks have nearly the same area at a higher and a lower threshold."""
        smaller, larger = (
            (logits > threshold).long().flatten(1).sum(dim=1, keepdim=True) for threshold in (self.margin, -self.margin)
        )
        return smaller * _MILLION >= larger * self.least_stability
