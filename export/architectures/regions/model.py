"""A net that gives masks with labels, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from ...label_sets.model import LabelSetModel
from ...parity import Image
from .modules import RegionNet
from .reference import RegionReference
from .stuff import stuff_of

__all__ = ["RegionModel"]


class RegionModel(LabelSetModel):
    """Masks and labels from one graph."""

    family = "regions"
    task = "image-segmentation"
    auto_class = "AutoModelForUniversalSegmentation"
    role = "segmenter"
    # EoMT's processor pads with black before normalisation; its masks have a quarter of the input's resolution.
    fitted: ClassVar[Mapping[str, Mapping[str, Any]]] = {"eomt": {"padding": [0, 0, 0], "multiple": 4}}
    description = "Gives masks of the things and surfaces that its labels name."

    def module(self) -> nn.Module:
        """Return the net; see `LabelSetModel`."""
        return RegionNet(self.network)

    def more_text(self) -> Mapping[str, Any]:
        """Return which labels are stuff."""
        return {"stuff": stuff_of(self.labels)}

    def reference(self, photo: Image) -> RegionReference:
        """Run the checkpoint; see `Model`."""
        return RegionReference.run(self, photo)
