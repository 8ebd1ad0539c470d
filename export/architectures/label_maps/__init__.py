"""Semantic segmentation nets, `AutoModelForSemanticSegmentation` of transformers: the family `dense`."""

from __future__ import annotations

from ...architecture import Entry, checkpoint_architecture
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
    part="whole",
    catalogue=(
        Entry(
            name="upernet",
            hub_id="openmmlab/upernet-convnext-tiny",
            licence="MIT",
            forbids="",
            image_size=512,
            megabytes=241,
            good_at="the 150 labels of ADE20K: surfaces of rooms, streets and landscapes",
        ),
        Entry(
            name="segformer",
            hub_id="nvidia/segformer-b0-finetuned-ade-512-512",
            licence="NVIDIA Source Code License",
            forbids="commercial use",
            image_size=512,
            megabytes=15,
            good_at="the 150 labels of ADE20K; very small and fast",
        ),
        Entry(
            name="beit",
            hub_id="microsoft/beit-base-finetuned-ade-640-640",
            licence="Apache-2.0",
            forbids="",
            image_size=640,
            megabytes=900,
            good_at="the 150 labels of ADE20K; more accurate, and slow",
        ),
        Entry(
            name="dpt",
            hub_id="Intel/dpt-large-ade",
            licence="Apache-2.0",
            forbids="",
            image_size=480,
            megabytes=1370,
            good_at="the 150 labels of ADE20K; more accurate, and slow",
        ),
    ),
    load=_load,
    licence=licence,
)
