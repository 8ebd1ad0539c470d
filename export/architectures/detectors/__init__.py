"""Detectors with a fixed set of labels: `AutoModelForObjectDetection` of transformers, to finders of the family `boxes`."""

from __future__ import annotations

from ...architecture import checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires

__all__ = ["ARCHITECTURE"]

_HELP = """\
Export a detector with a fixed set of labels: RT-DETR, D-FINE, DETR, YOLOS and others.
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import DetectorModel
    return DetectorModel.load(checkpoint, image_size)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=(
        "conditional_detr",
        "d_fine",
        "dab-detr",
        "deformable_detr",
        "detr",
        "rt_detr",
        "rt_detr_v2",
        "table-transformer",
        "yolos",
    ),
    default_model="ustc-community/dfine-small-coco",
    image_size="the checkpoint's own, 640 for D-FINE",
    load=_load,
    licence=lambda checkpoint: checkpoint.licence,
)
