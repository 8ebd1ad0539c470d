"""A detector in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from ...checkpoint import Checkpoint
from ...graphs import Tensor
from ...label_sets.model import LabelSetModel
from ...parity import Image
from .modules import Detector
from .reference import DetectorReference
from .timm_backbone import has_timm_backbone, load_without_timm

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["DetectorModel"]

# Networks that leave padding out of their coordinates. Their position encodings need the mask.
_MASKED = ("conditional_detr", "dab-detr", "deformable_detr", "detr", "table-transformer")


class DetectorModel(LabelSetModel):
    """A detector as one graph, for any drawer."""

    family = "boxes"
    kinds: ClassVar[Mapping[str, str]] = {"finder": "labels"}
    task = "object-detection"
    auto_class = "AutoModelForObjectDetection"
    role = "detector"
    # YOLOS' processor makes both sides multiples of 16.
    fitted: ClassVar[Mapping[str, Mapping[str, Any]]] = {**{kind: {} for kind in _MASKED}, "yolos": {"multiple": 16}}
    description = "Finds the kinds of object that its labels name."

    @staticmethod
    def load_network(checkpoint: Checkpoint, auto_class: Any) -> PreTrainedModel:  # noqa: ANN401 (no typed base)
        """Load the weights, also those of a backbone of timm; see `LabelSetModel`."""
        if has_timm_backbone(checkpoint):
            return load_without_timm(checkpoint, auto_class)
        return LabelSetModel.load_network(checkpoint, auto_class)

    def module(self) -> nn.Module:
        """Return the detector; see `LabelSetModel`."""
        return Detector(self.network)

    def more_inputs(self) -> Mapping[str, Tensor]:
        """Return the mask of the padding, for a network that reads it."""
        size = self.image_size
        masked = self.network.config.model_type in _MASKED
        return {"pixel_mask": Tensor(("batch", size, size), "int64")} if masked else {}

    def more_settings(self) -> Mapping[str, Any]:
        """Return how scores are made of the logits: with one class more than there are labels, by softmax."""
        classes = self.submodels[self.role].outputs["logits"].shape[-1]
        return {"scores": "softmax" if classes == len(self.labels) + 1 else "sigmoid"}

    def reference(self, photo: Image) -> DetectorReference:
        """Run the checkpoint; see `Model`."""
        return DetectorReference.run(self, photo)
