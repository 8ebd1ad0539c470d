"""SAM 2 and EdgeTAM: checkpoints of transformers to drawers."""

from __future__ import annotations

from ...architecture import Entry, checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires

__all__ = ["ARCHITECTURE"]

_HELP = """\
SAM 2 and EdgeTAM: draw masks into the boxes of a finder, by --masks.

\b
automask export d-fine --masks sam2 -o sharp
automask export d-fine --masks edgetam
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import Sam2Drawer
    return Sam2Drawer.load(checkpoint, image_size)


def _entry(name: str, hub_id: str, megabytes: int, good_at: str) -> Entry:
    return Entry(name, hub_id, licence="Apache-2.0", forbids="", image_size=1024, megabytes=megabytes, good_at=good_at)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("sam2", "sam2_video", "edgetam", "edgetam_video"),
    part="drawer",
    catalogue=(
        _entry("sam2", "facebook/sam2.1-hiera-tiny", 156, "SAM 2.1 tiny: sharp masks at half the time of SAM"),
        _entry("sam2-small", "facebook/sam2.1-hiera-small", 184, "SAM 2.1 small"),
        _entry("sam2-base-plus", "facebook/sam2.1-hiera-base-plus", 323, "SAM 2.1 base plus; for a GPU"),
        _entry("sam2-large", "facebook/sam2.1-hiera-large", 898, "SAM 2.1 large: the best masks; for a GPU"),
        _entry("edgetam", "yonigozlan/EdgeTAM-hf", 56, "masks at 1024 pixels on a CPU; the smallest download"),
    ),
    load=_load,
    licence=lambda checkpoint: checkpoint.licence,
)
