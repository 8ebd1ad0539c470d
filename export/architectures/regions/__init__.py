"""Nets that give masks with labels, `AutoModelForUniversalSegmentation` of transformers: the family `regions`."""

from __future__ import annotations

from ...architecture import Entry, checkpoint_architecture
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
    part="whole",
    catalogue=(
        Entry(
            name="eomt",
            hub_id="tue-mps/coco_panoptic_eomt_small_640_2x",
            licence="MIT",
            forbids="",
            image_size=640,
            megabytes=95,
            good_at="80 kinds of object and 53 of surfaces (sky, wall, road), masks from one pass",
        ),
        Entry(
            name="mask2former",
            hub_id="facebook/mask2former-swin-tiny-coco-panoptic",
            licence='"other", says its card: ask its authors',
            forbids="",
            image_size=384,
            megabytes=190,
            good_at="the same labels as EoMT, from an older and smaller picture",
        ),
    ),
    load=_load,
    licence=lambda checkpoint: checkpoint.licence,
)
