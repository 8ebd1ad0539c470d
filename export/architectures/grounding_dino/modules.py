"""Grounding DINO as three torch modules: words and an image are encoded once each, and the detector joins them.

They call the layers of the loaded network and change nothing in it. Three parts are written anew, because the tracing
exporter turns transformers' own into graphs that fail on other prompts: the head that matches queries with words (it
writes into a padded tensor), the reference points (they loop over the values of a tensor) and the phrase mask (a loop
over tokens, which the runtime does in numpy). The encoder, in `fusion` and `deformable`, is written for speed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .deformable import deform
from .fusion import fuse

if TYPE_CHECKING:
    from transformers import GroundingDinoForObjectDetection

__all__ = ["Detector", "ImageEncoder", "TextEncoder", "level_shapes"]

_OUTSIDE = 1e4  # logit of a proposal that must not be chosen; transformers has infinity, which float16 cannot hold


def level_shapes(network: GroundingDinoForObjectDetection, size: int) -> list[tuple[int, int]]:
    """Return the height and width of each feature level, in cells, for square images of `size` pixels."""
    with torch.inference_mode():
        levels = network.model.backbone.conv_encoder(torch.zeros(1, 3, size, size), torch.ones(1, size, size))
    shapes = [(feature.shape[2], feature.shape[3]) for feature, _ in levels]
    while len(shapes) < network.config.num_feature_levels:  # further levels are convolutions with stride 2
        shapes.append(tuple((side + 1) // 2 for side in shapes[-1]))
    return shapes


class TextEncoder(nn.Module):
    """BERT and the projection to the detector's width."""

    def __init__(self, network: GroundingDinoForObjectDetection) -> None:
        super().__init__()
        self.config = network.config
        self.backbone = network.model.text_backbone
        self.projection = network.model.text_projection

    def forward(self, input_ids: Tensor, phrase_mask: Tensor, position_ids: Tensor) -> dict[str, Tensor]:
        """Encode token ids (1, length), of which `phrase_mask` (1, length, length) says what each one attends to."""
        states = self.backbone(input_ids, phrase_mask, torch.zeros_like(input_ids), position_ids)[0]
        return {"text": self.projection(states)}


class ImageEncoder(nn.Module):
    """The image backbone and the projections of its levels to the detector's width."""

    def __init__(self, network: GroundingDinoForObjectDetection) -> None:
        super().__init__()
        self.config = network.config
        self.backbone = network.model.backbone.conv_encoder
        self.projections = network.model.input_proj_vision

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> dict[str, Tensor]:
        """Encode an image (1, 3, size, size), of which `pixel_mask` (1, size, size) is 1 where it is no padding.

        Returns
        -------
        dict
            ``vision`` (1, cells, width): the levels, one after the other. ``vision_mask`` (1, cells): 1 where a cell is
            no padding.
        """
        features, masks = (list(found) for found in zip(*self.backbone(pixel_values, pixel_mask), strict=True))
        maps = [project(one) for project, one in zip(self.projections[: len(features)], features, strict=True)]
        # Further levels: one more convolution each, the first on the backbone's last level as it was.
        source = features[-1]
        for project in self.projections[len(features) :]:
            source = project(source)
            maps.append(source)
            masks.append(functional.interpolate(pixel_mask[None], size=source.shape[-2:])[0] > 0.5)
        return {
            "vision": torch.cat([one.flatten(2).transpose(1, 2) for one in maps], 1),
            "vision_mask": torch.cat([one.flatten(1) for one in masks], 1).float(),
        }


class Detector(nn.Module):
    """Fusion of image and words, choice of the queries, and the decoder.

    Parameters
    ----------
    network
        The whole model.
    shapes
        As `level_shapes` returns them.
    """

    def __init__(self, network: GroundingDinoForObjectDetection, shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.config = network.config
        self.model = network.model
        self.box_head, self.class_head = network.bbox_embed[-1], network.class_embed[-1]
        self.shapes = shapes
        self.register_buffer("shape_table", torch.tensor(shapes))
        centres, sides, levels = zip(*[_cells(*shape, level) for level, shape in enumerate(shapes)], strict=True)
        self.register_buffer("centres", torch.cat(centres))
        self.register_buffer("sides", torch.cat(sides))
        self.register_buffer("levels", torch.cat(levels))

    def forward(
        self, vision: Tensor, vision_mask: Tensor, text: Tensor, phrase_mask: Tensor, position_ids: Tensor
    ) -> dict[str, Tensor]:
        """Detect objects in the image (1, cells, width) for the words (1, length, width).

        Returns
        -------
        dict
            ``logits`` (queries, length): how well each token fits each query. ``boxes`` (queries, 4): centre, width and
            height, in units of the image without its padding.
        """
        model, mask = self.model, vision_mask > 0.5
        areas = [height * width for height, width in self.shapes]
        masks = [one.view(1, *shape) for one, shape in zip(mask.split(areas, 1), self.shapes, strict=True)]
        ratios = torch.stack([model.get_valid_ratio(one) for one in masks], 1)
        # Cell centres in units of the image without its padding.
        points = self.centres / ratios[:, self.levels]
        words = model.encoder.layers[0].get_text_position_embeddings(text, None, position_ids)
        cells = {
            "positions": self._positions(masks),
            "points": points[:, :, None] * ratios[:, None],
            "mask": mask,
            "shapes": self.shapes,
        }
        for layer in model.encoder.layers:
            vision, text = fuse(layer.fusion_layer, vision, text, mask)
            text, _ = layer.text_enhancer_layer(text, attention_masks=phrase_mask > 0.5, position_embeddings=words)
            vision = deform(layer.deformable_layer, vision, **cells)
        reference = self._propose(vision, mask, points, text)
        decoded = model.decoder(
            inputs_embeds=model.query_position_embeddings.weight[None],
            vision_encoder_hidden_states=vision,
            vision_encoder_attention_mask=mask,
            text_encoder_hidden_states=text,
            reference_points=reference,
            spatial_shapes=self.shape_table,
            spatial_shapes_list=self.shapes,
            valid_ratios=ratios,
            output_attentions=False,
            output_hidden_states=False,
            return_dict=True,
        )
        states = decoded.intermediate_hidden_states
        if states.shape[1] > 1:  # the last layer starts where the one before it ended
            reference = decoded.intermediate_reference_points[:, -2]
        states = states[:, -1]
        boxes = (self.box_head(states) + torch.special.logit(reference, eps=1e-5)).sigmoid()
        return {"logits": _match(self.class_head, states, text)[0], "boxes": boxes[0]}

    def _positions(self, masks: list[Tensor]) -> Tensor:
        """Return the embeddings of position and level of the cells, (1, cells, width)."""
        embed = self.model.backbone.position_embedding
        levels = zip(masks, self.model.level_embed, strict=True)
        return torch.cat([embed(one[:, None], one).flatten(2).transpose(1, 2) + level for one, level in levels], 1)

    def _propose(self, vision: Tensor, mask: Tensor, points: Tensor, text: Tensor) -> Tensor:
        """Return the boxes, (1, queries, 4), of the cells that fit the words best: where the decoder starts."""
        model = self.model
        boxes = torch.cat([points, self.sides.expand(1, -1, -1)], -1)
        valid = ((boxes > 0.01) & (boxes < 0.99)).all(-1, keepdim=True) & mask[..., None]
        states = model.enc_output_norm(model.enc_output(vision * valid))
        scores = _match(model.encoder_output_class_embed, states, text).max(-1)[0]
        best = torch.topk(scores, self.config.num_queries, dim=1)[1][..., None]
        inside = boxes.clamp(0.01, 0.99)
        anchors = torch.where(valid, torch.log(inside / (1 - inside)), torch.tensor(_OUTSIDE))
        # Only the chosen cells need the box head.
        shifts = model.encoder_output_bbox_embed(torch.gather(states, 1, best.expand(-1, -1, states.shape[-1])))
        return (shifts + torch.gather(anchors, 1, best.expand(-1, -1, 4))).sigmoid()


def _cells(height: int, width: int, level: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres in units of the padded level, (cells, 2) x, y; sides of the proposals, (cells, 2); the level."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([columns.flatten() / width, rows.flatten() / height], -1)
    # arXiv:2203.03605 (DINO): 0.05 at the finest level, twice as much at each coarser one.
    return centres, torch.full_like(centres, 0.05 * 2.0**level), torch.full((height * width,), level)


def _match(head: nn.Module, vision: Tensor, text: Tensor) -> Tensor:
    """Return the logits of each query, (1, queries, width), for each token, (1, length, width)."""
    logits = vision @ text.transpose(-1, -2)
    # MM-Grounding-DINO scales the product and adds a learned bias; Grounding DINO's head has no weights.
    return logits / math.sqrt(vision.shape[-1]) + head.bias if hasattr(head, "bias") else logits
