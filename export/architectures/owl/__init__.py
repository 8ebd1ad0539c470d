"""OWL-ViT and OWLv2: checkpoints of transformers to bundles of the family `boxes`, with finder `owl`."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from ...architecture import Entry, checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires

__all__ = ["ARCHITECTURE"]

_HELP = """\
Export an OWL-ViT or OWLv2 checkpoint: it finds what a few free words describe.

\b
automask export owl -o owlvit
automask export owl --model google/owlv2-base-patch16-ensemble -o owlv2
automask mask photo.jpg "the red cup, and a spoon" --model owlvit

Every graph is compared with the checkpoint before the bundle is published; the figures are printed and stored in the
bundle.
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import OwlModel
    return OwlModel.load(checkpoint, image_size)


def _memory_needed(config: Mapping[str, Any], image_size: int | None) -> int:
    """Return the bytes of three copies of the attention of one layer, which transformers holds at once."""
    defaults = {"image_size": 768, "patch_size": 16 if config["model_type"] == "owlv2" else 32}
    vision = {"num_attention_heads": 12, **defaults, **(config.get("vision_config") or {})}
    tokens = ((image_size or vision["image_size"]) // vision["patch_size"]) ** 2 + 1
    return int(3 * vision["num_attention_heads"] * tokens**2 * 4)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("owlvit", "owlv2"),
    part="finder",
    catalogue=(
        Entry(
            name="owlvit",
            hub_id="google/owlvit-base-patch32",
            licence="Apache-2.0",
            forbids="",
            image_size=768,
            megabytes=613,
            good_at="any words; a photo is read once, new words cost almost nothing",
        ),
        Entry(
            name="owlv2",
            hub_id="google/owlv2-base-patch16-ensemble",
            licence="Apache-2.0",
            forbids="",
            image_size=960,
            megabytes=620,
            good_at="any words, rare and small things; ten times slower than owlvit",
        ),
        Entry(
            name="owlv2-self-trained",
            hub_id="google/owlv2-base-patch16",
            licence="Apache-2.0",
            forbids="",
            image_size=960,
            megabytes=620,
            good_at="as owlv2, from its self-training alone",
        ),
    ),
    load=_load,
    licence=attrgetter("licence"),
    memory_needed=_memory_needed,
)
