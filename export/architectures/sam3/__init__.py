"""SAM 3: checkpoints of transformers to bundles of the family `concept`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automask.bundle import Terms

from ...architecture import Entry, checkpoint_architecture
from ...checkpoint import Checkpoint, CheckpointError
from ...model import Model
from ...pipeline import requires
from .packages import EXTRA, check_packages

__all__ = ["ARCHITECTURE"]

_HELP = """\
Export SAM 3: it finds and masks every object that a short phrase describes.

\b
automask export sam3
automask mask photo.jpg "the red cup, and a spoon" --model sam3 --device cuda

It needs an environment of its own, and access to the checkpoint: docs/sam3.md. Every graph is compared with the
checkpoint before the bundle is published; the figures are printed and stored in the bundle.
"""
_URL = "https://github.com/facebookresearch/sam3/blob/main/LICENSE"
_NAME = "SAM License of 19 November 2025"
_CONDITIONS = (
    "whoever gets a copy or a derivative, such as a bundle, gets it under this licence, with a copy of it",
    "publications about results acknowledge SAM 3",
    "not for military purposes or warfare, nuclear industries, espionage, guns or illegal weapons, nor against trade "
    "controls",
    "no reverse engineering",
)
_LITE = "the text encoder (MobileCLIP) is under Apple's licence for research, which does not allow products"
# One graph after the other is exported, and slimmed without its weights; most is needed while torch traces, which keeps
# the result of each operator: 14.8 GB were measured at 1008 pixels, 10.4 GB at 672, with 3.4 GB of weights.
_COPIES = 3.0
_FORBIDS = "military, nuclear, espionage, weapons"


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    try:
        with requires(EXTRA):
            from .model import Sam3Model
    except RuntimeError as error:
        if "torchvision" not in str(error):
            raise
        raise CheckpointError(
            f"transformers cannot load {checkpoint.name}, because a torchvision is installed that was built for "
            f"another torch ({error}); the export needs none: pip uninstall torchvision"
        ) from error
    return Sam3Model.load(checkpoint, image_size)


def _terms(checkpoint: Checkpoint) -> Terms:
    if checkpoint.config["model_type"] == "sam3_lite_text":
        return Terms(f"{_NAME}, and Apple's for MobileCLIP", _URL, (*_CONDITIONS, _LITE))
    return Terms(_NAME, _URL, _CONDITIONS)


def _memory_needed(config: Mapping[str, Any], image_size: int | None) -> int:
    """Return the bytes of the attention of a layer that sees the whole picture, as scores and as probabilities."""
    found = config.get("detector_config", config).get("vision_config", {}).get("backbone_config", {})
    # transformers leaves out what is as in the published checkpoint.
    vision = {"image_size": 1008, "patch_size": 14, "num_attention_heads": 16, **found}
    patches = ((image_size or vision["image_size"]) // vision["patch_size"]) ** 2
    return int(2 * 4 * vision["num_attention_heads"] * patches**2)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("sam3", "sam3_video", "sam3_lite_text"),
    part="whole",
    catalogue=(
        Entry(
            name="sam3",
            hub_id="facebook/sam3",
            licence="SAM License, gated",
            forbids=_FORBIDS,
            image_size=1008,
            megabytes=3440,
            good_at="the best masks for any short phrase; for a GPU, and exported in an environment of its own",
        ),
        Entry(
            name="sam3-lite-text",
            hub_id="yonigozlan/sam3-litetext-s0",
            licence="SAM License and Apple's for research",
            forbids=f"{_FORBIDS}, products",
            image_size=1008,
            megabytes=2060,
            good_at="SAM 3 with a smaller text encoder",
        ),
    ),
    load=_load,
    licence=lambda checkpoint: str(_terms(checkpoint)),
    memory_needed=_memory_needed,
    check_packages=check_packages,
    terms=_terms,
    copies=_COPIES,
)
