"""SAM 3's exemplars: boxes around examples of what is looked for, or of what is not, as a torch module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers.models.sam3.modeling_sam3 import box_cxcywh_to_xyxy

__all__ = ["ExemplarEncoder", "roi_align", "without_torchvision"]


class ExemplarEncoder(nn.Module):
    """The geometry encoder, with ONNX's own operator for what it takes from torchvision."""

    def __init__(self, network: Any, positions: Tensor) -> None:  # noqa: ANN401 (Sam3Model or Sam3LiteTextModel)
        super().__init__()
        self.config = network.config
        self.encoder = network.geometry_encoder
        self.register_buffer("positions", positions.flatten(2).transpose(1, 2), persistent=False)

    def forward(self, fpn_2: Tensor, boxes: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Encode examples.

        Parameters
        ----------
        fpn_2
            The coarsest level of one picture, (1, d, h, w).
        boxes
            (boxes, 4): centre and size in shares of the picture.
        labels
            (boxes,) int64: 1 for an example of what is looked for, 0 for one of what is not.

        Returns
        -------
        dict
            ``features`` (boxes + 1, d), which the detector takes behind those of a text.
        """
        encoder, (height, width) = self.encoder, fpn_2.shape[-2:]
        level = encoder.vision_layer_norm(fpn_2.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        corners = box_cxcywh_to_xyxy(boxes) * torch.tensor([width, height, width, height], dtype=boxes.dtype)
        pooled = _RoiAlign.apply(level, corners, torch.zeros_like(labels), encoder.roi_size)
        places = encoder._encode_box_coordinates(*boxes.unbind(-1))  # noqa: SLF001
        features = (
            encoder.boxes_direct_project(boxes)
            + encoder.boxes_pool_project(pooled)[:, :, 0, 0]
            + encoder.boxes_pos_enc_project(places)
            + encoder.label_embed(labels)
        )
        features = torch.cat((features, encoder.cls_embed.weight))[None]
        features = encoder.prompt_layer_norm(encoder.final_proj(features))
        cells = fpn_2.flatten(2).transpose(1, 2)
        for layer in encoder.layers:
            features = layer(features, cells, self.positions, prompt_mask=None)
        return {"features": encoder.output_layer_norm(features)[0]}


class _RoiAlign(torch.autograd.Function):
    """`roi_align` of boxes in one picture; in ONNX, the operator of this name."""

    @staticmethod
    def forward(_: Any, level: Tensor, boxes: Tensor, _pictures: Tensor, size: int) -> Tensor:  # noqa: ANN401
        return roi_align(level, [boxes], size)

    @staticmethod
    def symbolic(graph: Any, level: Any, boxes: Any, pictures: Any, size: int) -> Any:  # noqa: ANN401
        return graph.op(
            "RoiAlign",
            level,
            boxes,
            pictures,
            coordinate_transformation_mode_s="output_half_pixel",
            output_height_i=size,
            output_width_i=size,
            sampling_ratio_i=0,
        )


def roi_align(features: Tensor, boxes: Any, size: int) -> Tensor:  # noqa: ANN401 (a sequence of tensors)
    """Return the mean features in the cells of a grid over each box, (boxes, d, size, size).

    The same as `torchvision.ops.roi_align` with its defaults, which cannot be imported beside every build of torch.

    Parameters
    ----------
    features
        (n, d, h, w).
    boxes
        For each of the n pictures (k, 4): left, top, right, bottom in cells of the features.
    size
        Rows and columns of the grid.
    """
    height, width = features.shape[-2:]
    pooled = [
        torch.einsum("ph,dhw,qw->dpq", _shares(top, bottom, size, height), level, _shares(left, right, size, width))
        for level, inside in zip(features, boxes, strict=True)
        for left, top, right, bottom in inside.tolist()
    ]
    return torch.stack(pooled)


def _shares(start: float, stop: float, size: int, length: int) -> Tensor:
    """Return how much of each of `length` cells is in each of `size` parts of an interval, (size, length).

    A part has as many samples as it spans cells; a sample lies between two cells, or counts as 0 outside.
    """
    span = max(stop - start, 1.0)
    samples = max(-int(-span // size), 1)
    at = start + (torch.arange(size * samples, dtype=torch.float32) + 0.5) * span / (size * samples)
    clamped = at.clamp(0, length - 1)
    low = clamped.floor().long()
    share = clamped - low
    rows = torch.zeros(len(at), length)
    rows.scatter_add_(1, low[:, None], (1 - share)[:, None])
    rows.scatter_add_(1, (low + 1).clamp(max=length - 1)[:, None], share[:, None])
    rows[(at < -1) | (at > length)] = 0
    return rows.view(size, samples, length).mean(dim=1)


@contextmanager
def without_torchvision(network: Any) -> Iterator[None]:  # noqa: ANN401
    """Let transformers' own network call `roi_align` where it would call torchvision's."""
    stand_in = SimpleNamespace(ops=SimpleNamespace(roi_align=roi_align))
    with patch.object(import_module(type(network).__module__), "torchvision", stand_in, create=True):
        yield
