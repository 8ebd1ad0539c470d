"""Detectors with a fixed set of labels, `AutoModelForObjectDetection`: finders of the family `boxes`."""

from __future__ import annotations

from ...architecture import Entry, checkpoint_architecture
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
    part="finder",
    catalogue=(
        Entry(
            name="d-fine",
            hub_id="ustc-community/dfine-small-coco",
            licence="Apache-2.0",
            forbids="",
            image_size=640,
            megabytes=42,
            good_at="the 80 kinds of object of COCO; fast and accurate",
        ),
        Entry(
            name="rt-detr-v2",
            hub_id="PekingU/rtdetr_v2_r18vd",
            licence="Apache-2.0",
            forbids="",
            image_size=640,
            megabytes=81,
            good_at="the 80 kinds of object of COCO",
        ),
        Entry(
            name="yolos",
            hub_id="hustvl/yolos-tiny",
            licence="Apache-2.0",
            forbids="",
            image_size=512,
            megabytes=26,
            good_at="the 80 kinds of object of COCO; the smallest download",
        ),
        Entry(
            name="detr",
            hub_id="facebook/detr-resnet-50",
            licence="Apache-2.0",
            forbids="",
            image_size=800,
            megabytes=167,
            good_at="the 80 kinds of object of COCO; the base of many fine-tunes",
        ),
    ),
    load=_load,
    licence=lambda checkpoint: checkpoint.licence,
)
