"""Semantic segmentation nets: `AutoModelForSemanticSegmentation` of transformers, to bundles of the family `dense`."""

from __future__ import annotations

from ...architecture import checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires
from .licence import licence

__all__ = ["ARCHITECTURE"]

_HELP = """\
Export a semantic segmentation net, which gives each pixel one label: SegFormer, UperNet, BEiT, DPT.
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import LabelMapModel
    return LabelMapModel.load(checkpoint, image_size)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("beit", "dpt", "segformer", "upernet"),
    default_model="openmmlab/upernet-convnext-tiny",
    image_size="the checkpoint's own, 512 for UperNet",
    load=_load,
    licence=licence,
)
