"""A detector as one graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Detector"]


class Detector(nn.Module):
    """Pixels to the logits of each box's classes, and the boxes: centre, width and height, relative to the image."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Run the network; the mask, (batch, height, width), is 1 where the image is and 0 in the padding."""
        mask = {} if pixel_mask is None else {"pixel_mask": pixel_mask}
        outputs = self.network(pixel_values=pixel_values, return_dict=True, **mask)
        return {"logits": outputs.logits, "boxes": outputs.pred_boxes}
