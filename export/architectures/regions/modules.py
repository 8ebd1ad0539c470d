"""A net that gives masks with labels, as one graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["RegionNet"]


class RegionNet(nn.Module):
    """Pixels to the logits of each mask's classes, the last one for "no object", and the logits of the masks."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network."""
        outputs = self.network(pixel_values=pixel_values, return_dict=True)
        return {"class_logits": outputs.class_queries_logits, "mask_logits": outputs.masks_queries_logits}
