"""SAM and SAM-HQ: checkpoints of transformers to drawers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...architecture import Entry, checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires

__all__ = ["ARCHITECTURE"]

_HELP = """\
SAM and SAM-HQ: draw masks into the boxes of a finder, by --masks.

\b
automask export d-fine --masks sam -o sharp
automask export d-fine --masks sam --masks-image-size 512
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import SamDrawer
    return SamDrawer.load(checkpoint, image_size)


def _memory_needed(config: Mapping[str, Any], image_size: int | None) -> int:
    """Return the bytes of a layer that sees the whole image, as the checkpoint itself computes it for the comparison.

    It compares every cell with every other one, and holds three copies of that. The graphs do it in parts.
    """
    vision = {"image_size": 1024, "patch_size": 16, "num_attention_heads": 12, **config.get("vision_config", {})}
    cells = ((image_size or vision["image_size"]) // vision["patch_size"]) ** 2
    return int(3 * vision["num_attention_heads"] * cells**2 * 4)


def _entry(name: str, hub_id: str, megabytes: int, good_at: str) -> Entry:
    return Entry(name, hub_id, licence="Apache-2.0", forbids="", image_size=1024, megabytes=megabytes, good_at=good_at)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("sam", "sam_hq"),
    part="drawer",
    catalogue=(
        _entry("sam", "facebook/sam-vit-base", 375, "sharp masks; slow on a CPU"),
        _entry("sam-large", "facebook/sam-vit-large", 1249, "sharper masks; for a GPU"),
        _entry("sam-huge", "facebook/sam-vit-huge", 2564, "SAM's best masks; for a GPU"),
        _entry("sam-hq", "syscv-community/sam-hq-vit-base", 379, "thin parts and fine outlines; slow on a CPU"),
    ),
    load=_load,
    licence=lambda checkpoint: checkpoint.licence,
    memory_needed=_memory_needed,
)
