"""A semantic segmentation net as one graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .pooling import fixed_pools

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LabelMapNet"]


class LabelMapNet(nn.Module):
    """Pixels to the logits of each label, (batch, labels, height, width), at the resolution of the last layer."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network."""
        with fixed_pools(self.network):
            if self.config.model_type == "upernet":
                return {"logits": _upernet(self.network, pixel_values)}
            return {"logits": self.network(pixel_values=pixel_values, return_dict=True).logits}


def _upernet(network: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    """Return UperNet's logits before it enlarges them to the size of its input: a sixteenth of the numbers."""
    features = network.backbone.forward_with_filtered_kwargs(pixels).feature_maps
    logits: torch.Tensor = network.decode_head(features)
    return logits
