"""CLIPSeg: checkpoints of transformers to bundles of the family `dense`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...architecture import Entry, checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires
from .licence import licence

__all__ = ["ARCHITECTURE"]

_HELP = """\
Export a CLIPSeg checkpoint: a bundle that takes free text.

\b
automask export clipseg -o clipseg
automask export clipseg --model my-fine-tune/ -o mine --precision fp16
automask mask photo.jpg "the cushion on the left" --model clipseg

Every graph is compared with the checkpoint before the bundle is published; the figures are printed and stored in the
bundle. An export takes a minute or two. A Hub id needs 600 MB of download.
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import CLIPSegModel
    return CLIPSegModel.load(checkpoint, image_size)


def _memory_needed(config: Mapping[str, Any], image_size: int | None) -> int:
    """Return the bytes of two copies of a layer's attention over three images, which the comparison runs at once."""
    vision = {"image_size": 352, "patch_size": 16, "num_attention_heads": 12, **config.get("vision_config", {})}
    tokens = ((image_size or vision["image_size"]) // vision["patch_size"]) ** 2 + 1
    return int(2 * 3 * vision["num_attention_heads"] * tokens**2 * 4)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("clipseg",),
    part="whole",
    catalogue=(
        Entry(
            name="clipseg",
            hub_id="CIDAS/clipseg-rd64-refined",
            licence="Apache-2.0 by its card, an open question by its authors",
            forbids="",
            image_size=352,
            megabytes=603,
            good_at="any words in one fast pass, things and stuff; coarse outlines",
        ),
    ),
    load=_load,
    licence=licence,
    memory_needed=_memory_needed,
)
