"""OWL-ViT and OWLv2 as two torch modules: one for the image and one for a phrase, so that each runs once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import Owlv2ForObjectDetection, OwlViTForObjectDetection

__all__ = ["BOX_HEAD", "ImageDetector", "TextEncoder"]

BOX_HEAD = "/box_head/"
"""What the names of the box head's nodes begin with."""

_SMALL = 1e-6  # added to norms by transformers' class head


class ImageDetector(nn.Module):
    """The vision transformer and the heads: for each patch a box, an embedding, and how its score is made.

    Parameters
    ----------
    model
        The whole model.
    size
        Side of the image in pixels. transformers' own code interpolates the position embeddings for it, once.
    """

    def __init__(self, model: OwlViTForObjectDetection | Owlv2ForObjectDetection, size: int) -> None:
        super().__init__()
        vision = model.base_model.vision_model
        self.config = model.config
        self.patch_embedding = vision.embeddings.patch_embedding
        self.class_embedding = vision.embeddings.class_embedding
        self.before, self.layers, self.after = vision.pre_layernorm, vision.encoder.layers, vision.post_layernorm
        self.merged = model.layer_norm
        self.class_head, self.box_head = model.class_head, model.box_head
        self.objectness_head = getattr(model, "objectness_head", None)
        side = size // vision.embeddings.patch_size
        self.register_buffer("positions", _positions(vision.embeddings, size))
        self.register_buffer("bias", model.compute_box_bias(side, side))

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Detect in images (batch, 3, size, size).

        Returns
        -------
        dict
            ``boxes`` (batch, patches, 4): centre and size in shares of the image. ``class_embeds`` (batch, patches, d),
            of length 1, ``shift`` and ``scale`` (batch, patches, 1): the logit for an embedded phrase t is
            (class_embeds · t + shift) · scale. OWLv2: ``objectness`` (batch, patches), a logit.
        """
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(pixel_values.shape[0], 1, -1)
        states = self.before(torch.cat([first, patches], dim=1) + self.positions)
        for layer in self.layers:
            states = layer(states, attention_mask=None, causal_attention_mask=None)[0]
        states = self.after(states)
        features = self.merged(states[:, 1:] * states[:, :1])
        embeds = self.class_head.dense0(features)
        outputs = {
            # transformers adds the bias in place, which the exporter would leave out.
            "boxes": torch.sigmoid(self.box_head(features) + self.bias),
            "class_embeds": embeds / (torch.linalg.norm(embeds, dim=-1, keepdim=True) + _SMALL),
            "shift": self.class_head.logit_shift(features),
            "scale": self.class_head.elu(self.class_head.logit_scale(features)) + 1,
        }
        if self.objectness_head is not None:
            outputs["objectness"] = self.objectness_head(features)[..., 0]
        return outputs


def _positions(embeddings: nn.Module, size: int) -> Tensor:
    tokens = (size // embeddings.patch_size) ** 2 + 1
    with torch.no_grad():
        positions: Tensor = embeddings.interpolate_pos_encoding(
            torch.zeros(1, tokens, embeddings.embed_dim), size, size
        )
    return positions.detach().clone()


class TextEncoder(nn.Module):
    """CLIP's text transformer and projection."""

    def __init__(self, model: OwlViTForObjectDetection | Owlv2ForObjectDetection) -> None:
        super().__init__()
        self.config = model.config
        self.text_model = model.base_model.text_model
        self.text_projection = model.base_model.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Encode token ids and mask (texts, length) to embeddings of length 1 (texts, d)."""
        embeds = self.text_projection(self.text_model(input_ids=input_ids, attention_mask=attention_mask)[1])
        embeds = embeds / torch.linalg.norm(embeds, dim=-1, keepdim=True)
        return {"text_embeds": embeds / (torch.linalg.norm(embeds, dim=-1, keepdim=True) + _SMALL)}
