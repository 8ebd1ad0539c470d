"""Nets that give masks with labels: `AutoModelForUniversalSegmentation` of transformers, to bundles of the family `regions`."""

from __future__ import annotations

from ...architecture import checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires

__all__ = ["ARCHITECTURE"]

_HELP = """\
Export a net that gives masks with labels: EoMT, Mask2Former, MaskFormer.
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import RegionModel
    return RegionModel.load(checkpoint, image_size)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("eomt", "mask2former", "maskformer"),
    default_model="tue-mps/coco_panoptic_eomt_small_640_2x",
    image_size="the checkpoint's own, 640 for EoMT",
    load=_load,
    licence=lambda checkpoint: checkpoint.licence,
)
