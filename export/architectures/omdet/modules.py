"""OmDet-Turbo as three torch modules: text, image, and what needs both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import OmDetTurboForObjectDetection

__all__ = ["Detector", "ImageEncoder", "TextEncoder", "detector_heads", "image_heads"]

# An anchor at the border is infinite in transformers, so that its box is 1 after the sigmoid. float16 and some
# execution providers know no infinity; the sigmoid of this is 1 as well.
_FAR = 1e4
_LEAST = 1e-12  # of a norm
_TEMPERATURE = 0.07
_EDGE = 1e-5  # as in transformers' inverse sigmoid


class TextEncoder(nn.Module):
    """CLIP's text transformer, for classes and tasks. It is causal: unpadded texts give the same as padded ones."""

    def __init__(self, model: OmDetTurboForObjectDetection) -> None:
        super().__init__()
        self.config = model.config
        self.text_model = model.language_backbone.model
        self.text_projection = model.language_backbone.text_projection

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Encode token ids (texts, length): ``class_embeds`` (texts, d); ``features``, of tasks (texts, length, d)."""
        features = self.text_model(input_ids)[0]
        ends = features[torch.arange(features.shape[0]), input_ids.argmax(dim=-1)]
        return {"class_embeds": ends @ self.text_projection, "features": features}


class ImageEncoder(nn.Module):
    """Backbone, encoder, and the part of the decoder that reads the image alone.

    Parameters
    ----------
    model
        The whole model.
    shapes
        Height and width of each level of features.
    """

    def __init__(self, model: OmDetTurboForObjectDetection, shapes: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        decoder = model.decoder
        self.config = model.config
        self.backbone, self.encoder = model.vision_backbone, model.encoder
        self.projections = decoder.channel_projection_layers
        self.cell_features, self.box_head = decoder.encoder_vision_features, decoder.encoder_bbox_head
        anchors, valid = decoder.generate_anchors(shapes)
        self.register_buffer("anchors", torch.where(valid, anchors, torch.tensor(_FAR)))
        self.register_buffer("valid", valid.float())

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Encode images (batch, 3, size, size).

        Returns
        -------
        dict
            ``vision`` and ``cells`` (batch, cells, d): features, and what a query begins with. ``anchors`` (batch,
            cells, 4): the first box of each cell, before the sigmoid.
        """
        states = self.encoder(self.backbone(pixel_values), return_dict=True).extracted_states
        flat = [layer(state).flatten(2).permute(0, 2, 1) for layer, state in zip(self.projections, states, strict=True)]
        vision = torch.cat(flat, dim=1)
        cells = self.cell_features(vision * self.valid)
        return {"vision": vision, "cells": cells, "anchors": self.box_head(cells) + self.anchors}


class Detector(nn.Module):
    """The decoder, for one image, any number of classes and a task of any length.

    Parameters
    ----------
    model
        The whole model.
    shapes
        Height and width of each level of features.
    """

    def __init__(self, model: OmDetTurboForObjectDetection, shapes: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        decoder = model.decoder
        self.config = model.config
        self.task_encoder, self.task_project = decoder.task_encoder, decoder.task_project
        self.first_class_head, self.last_class_head = decoder.encoder_class_head, decoder.decoder_class_head[-1]
        self.box_heads, self.position_head = decoder.decoder_bbox_head, decoder.query_position_head
        self.layers = decoder.layers
        self.queries = decoder.tgt_embed.weight if decoder.learn_initial_query else None
        self.shapes = shapes
        self.register_buffer("shape_table", torch.tensor(shapes))

    def forward(
        self, vision: Tensor, cells: Tensor, anchors: Tensor, class_embeds: Tensor, task: Tensor
    ) -> dict[str, Tensor]:
        """Detect.

        Parameters
        ----------
        vision, cells, anchors
            Of one image, as `ImageEncoder` returns them.
        class_embeds
            (classes, d).
        task
            (length, d), without padding: so no mask is needed.

        Returns
        -------
        dict
            ``boxes`` (queries, 4): centre and size in shares of the image. ``logits`` (queries, classes).
        """
        classes = class_embeds[:, None]
        words = self.task_project(self.task_encoder(task[:, None]))
        first = self._compare(cells, self.first_class_head(classes))
        count = self.config.num_queries
        best = torch.topk(first.amax(dim=-1), count, dim=1).indices
        if self.queries is None:
            # In the order of the cells: where two scores are nearly equal, the last bit would decide which query comes
            # first. Their order has no other effect, unless each has learned a content of its own.
            best = torch.topk(best.float(), count, dim=1, largest=False).values.long()
        # `gather` instead of an index for each axis, which would be traced for a batch of one.
        best = best[..., None]
        boxes = torch.gather(anchors, 1, best.expand(-1, -1, 4)).sigmoid()
        states = torch.gather(cells, 1, best.expand(-1, -1, cells.shape[-1]))
        if self.queries is not None:
            states = self.queries[None]
        for layer, box_head in zip(self.layers, self.box_heads, strict=True):
            states, words, _, _ = layer(
                states,
                words,
                boxes,
                vision,
                self.shape_table,
                self.shapes,
                query_position=self.position_head(boxes),
                output_attentions=False,
                output_hidden_states=False,
            )
            boxes = torch.sigmoid(box_head(states) + _inverse_sigmoid(boxes))
        return {"boxes": boxes[0], "logits": self._compare(states, self.last_class_head(classes))[0]}

    def _compare(self, states: Tensor, classes: Tensor) -> Tensor:
        """Return logits (1, n, classes) of states (1, n, d) and classes (classes, 1, d)."""
        classes = classes.permute(1, 2, 0)
        if self.config.class_distance_type == "dot":
            return torch.bmm(states, classes)
        states = states / states.norm(dim=2, keepdim=True).clamp_min(_LEAST)
        classes = classes / classes.norm(dim=1, keepdim=True).clamp_min(_LEAST)
        return torch.bmm(states, classes) / _TEMPERATURE


def _inverse_sigmoid(boxes: Tensor) -> Tensor:
    return torch.log(boxes.clamp(min=_EDGE) / (1 - boxes).clamp(min=_EDGE))


def image_heads() -> tuple[str, ...]:
    """Return what the names of the nodes begin with that choose among the image's cells."""
    return ("/box_head/",)


def detector_heads(layers: int) -> tuple[str, ...]:
    """Return what the names of the detector's nodes begin with that make classes, boxes and places to look at."""
    offsets = tuple(f"/layers.{index}/cross_attn/sampling_offsets/" for index in range(layers))
    return ("/first_class_head/", "/last_class_head/", "/box_heads.", *offsets)
