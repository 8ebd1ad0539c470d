"""A semantic segmentation net in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from ...label_sets.model import LabelSetModel
from ...parity import Image
from .modules import LabelMapNet
from .reference import LabelMapReference

__all__ = ["LabelMapModel"]


class LabelMapModel(LabelSetModel):
    """A semantic segmentation net as one graph."""

    family = "dense"
    kinds: ClassVar[Mapping[str, str]] = {"scores": "labels"}
    task = "semantic-segmentation"
    auto_class = "AutoModelForSemanticSegmentation"
    role = "segmenter"
    fitted: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    description = "Gives each pixel one of its labels, also those of surfaces: sky, wall, road."

    def module(self) -> nn.Module:
        """Return the net; see `LabelSetModel`."""
        return LabelMapNet(self.network)

    def reference(self, photo: Image) -> LabelMapReference:
        """Run the checkpoint; see `Model`."""
        return LabelMapReference.run(self, photo)
