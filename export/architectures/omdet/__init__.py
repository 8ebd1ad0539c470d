"""OmDet-Turbo: checkpoints of transformers to bundles of the family `boxes`, with finder `omdet`."""

from __future__ import annotations

from operator import attrgetter

from ...architecture import Entry, checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires

__all__ = ["ARCHITECTURE"]

_HELP = """\
Export an OmDet-Turbo checkpoint: it finds what a few free words describe.

\b
automask export omdet -o omdet
automask mask photo.jpg "the red cup, and a spoon" --model omdet

Every graph is compared with the checkpoint before the bundle is published; the figures are printed and stored in the
bundle. The backbone of omlab's checkpoint is one of timm's: pip install timm (beside a CPU build of torch, take its
dependency torchvision from the same index as torch).
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import OmDetModel
    return OmDetModel.load(checkpoint, image_size)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("omdet-turbo",),
    part="finder",
    catalogue=(
        Entry(
            name="omdet",
            hub_id="omlab/omdet-turbo-swin-tiny-hf",
            licence="Apache-2.0",
            forbids="",
            image_size=640,
            megabytes=461,
            good_at="any words, many at once; the fastest that reads words and photo together",
        ),
    ),
    load=_load,
    licence=attrgetter("licence"),
)
