"""SAM 3 as torch modules: picture, text, and the detector, which reads both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.sam3.modeling_sam3 import box_cxcywh_to_xyxy, inverse_sigmoid

__all__ = ["LEVELS", "Detector", "TextEncoder", "VisionEncoder", "encode_positions"]

LEVELS = ("fpn_0", "fpn_1", "fpn_2")
"""Levels of features of a picture, from fine to coarse."""


def encode_positions(network: Any) -> Tensor:  # noqa: ANN401 (Sam3Model or Sam3LiteTextModel)
    """Return the encoding of the positions of the coarsest level, (1, d, h, w)."""
    neck = network.vision_encoder.neck
    backbone = neck.config.backbone_config
    side = backbone.image_size // backbone.patch_size
    shape = torch.Size((1, neck.config.fpn_hidden_size, side, side))
    positions: Tensor = neck.position_encoding(shape, torch.device("cpu"), torch.float32)
    return positions.clone()


class VisionEncoder(nn.Module):
    """The vision encoder, without the level that the detector does not read."""

    def __init__(self, network: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.config = network.config
        self.encoder = network.vision_encoder

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Encode images (batch, 3, size, size): each level (batch, d, h, w)."""
        levels = self.encoder(pixel_values).fpn_hidden_states
        return dict(zip(LEVELS, levels, strict=False))


class TextEncoder(nn.Module):
    """The text encoder and the projection to the detector's features.

    CLIP's is causal: what follows a text changes nothing in it, so that it needs no padding and no mask. MobileCLIP's
    mixes neighbouring tokens, padding included, and is built for one length.
    """

    def __init__(self, network: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.config = network.config
        self.encoder, self.projection = network.text_encoder, network.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Encode token ids (texts, length): ``features`` (texts, length, d)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return {"features": self.projection(states)}


class Detector(nn.Module):
    """Encoder, decoder and mask head, for one picture and any number of concepts."""

    def __init__(self, network: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.config = network.config
        self.encoder, self.decoder = network.detr_encoder, network.detr_decoder
        self.scoring, self.mask_decoder = network.dot_product_scoring, network.mask_decoder
        self.register_buffer("positions", encode_positions(network), persistent=False)

    def forward(self, fpn_0: Tensor, fpn_1: Tensor, fpn_2: Tensor, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Detect.

        Parameters
        ----------
        fpn_0, fpn_1, fpn_2
            Levels of one picture, as `VisionEncoder` returns them.
        features
            (prompts, length, d): of texts and of examples.
        mask
            (prompts, length) int64: 0 where the features are padding.

        Returns
        -------
        dict
            ``boxes`` (prompts, queries, 4): left, top, right, bottom in shares of the picture. ``logits`` (prompts,
            queries) and ``presence`` (prompts, 1): the score is the product of both probabilities. ``masks`` (prompts,
            queries, h, w) and ``semantic`` (prompts, 1, h, w): logits.
        """
        count, valid = features.shape[0], mask.bool()
        coarse, positions = fpn_2.expand(count, -1, -1, -1), self.positions.expand(count, -1, -1, -1)
        encoded = self.encoder(
            vision_features=[coarse], text_features=features, vision_pos_embeds=[positions], text_mask=valid
        )
        decoded = self.decoder(
            vision_features=encoded.last_hidden_state,
            text_features=features,
            vision_pos_encoding=encoded.pos_embeds_flattened,
            text_mask=valid,
            spatial_shapes=encoded.spatial_shapes,
        )
        states = decoded.intermediate_hidden_states[-1:]
        boxes = (inverse_sigmoid(decoded.reference_boxes[-1]) + self.decoder.box_head(states[0])).sigmoid()
        masks = self.mask_decoder(
            decoder_queries=states[0],
            backbone_features=[fpn_0.expand(count, -1, -1, -1), fpn_1.expand(count, -1, -1, -1), coarse],
            encoder_hidden_states=encoded.last_hidden_state,
            prompt_features=features,
            prompt_mask=valid,
        )
        return {
            "boxes": box_cxcywh_to_xyxy(boxes),
            "logits": self.scoring(decoder_hidden_states=states, text_features=features, text_mask=valid)[0, ..., 0],
            "presence": decoded.presence_logits[-1],
            "masks": masks.pred_masks,
            "semantic": masks.semantic_seg,
        }
