"""Grounding DINO, MM-Grounding-DINO and LLMDet: checkpoints of transformers to finders that read free text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...architecture import Entry, checkpoint_architecture
from ...checkpoint import Checkpoint
from ...model import Model
from ...pipeline import requires

__all__ = ["ARCHITECTURE"]

_HELP = """\
Export a Grounding DINO, MM-Grounding-DINO or LLMDet checkpoint: it finds what phrases describe.

\b
automask export grounding-dino-tiny
automask export llmdet-tiny --image-size 800 --name llmdet
automask export my-fine-tune/ -o mine
automask mask photo.jpg "the red cup on the left, and a spoon" --model grounding-dino-tiny

Images keep their proportions inside a square; its side must be a multiple of 32. The checkpoint's own processor makes
the shorter side 800 pixels and the longer one at most 1333: a larger square finds smaller objects and takes longer,
about as its area. Every graph is compared with the checkpoint before the bundle is published; the figures are printed
and stored in the bundle.
"""


def _load(checkpoint: Checkpoint, image_size: int | None) -> Model:
    with requires("export"):
        from .model import GroundingDinoModel
    return GroundingDinoModel.load(checkpoint, image_size)


def _memory_needed(config: Mapping[str, Any], image_size: int | None) -> int:
    """Return the bytes that the export of the text encoder takes: 6.2 GB with BERT base, 14 times its weights.

    The other graphs take less, at 640 pixels.
    """
    del image_size
    defaults = {"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
    bert = {**defaults, **(config.get("text_config") or {})}
    width, inner = bert["hidden_size"], bert["intermediate_size"]
    weights = bert["vocab_size"] * width + bert["num_hidden_layers"] * (4 * width**2 + 2 * width * inner)
    return int(14 * 4 * weights)


def _entry(name: str, hub_id: str, megabytes: int, good_at: str) -> Entry:
    return Entry(name, hub_id, "Apache-2.0", "", 640, megabytes, good_at)


ARCHITECTURE = checkpoint_architecture(
    help=_HELP,
    model_types=("grounding-dino", "mm-grounding-dino"),
    part="finder",
    catalogue=(
        _entry(
            "grounding-dino-tiny", "IDEA-Research/grounding-dino-tiny", 690, "phrases with attributes and relations"
        ),
        _entry("grounding-dino-base", "IDEA-Research/grounding-dino-base", 940, "as tiny, more accurate and slower"),
        _entry(
            "mm-grounding-dino-tiny",
            "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
            690,
            "as grounding-dino-tiny, more kinds of objects (LVIS minival AP 41.4 against 28.8)",
        ),
        _entry(
            "mm-grounding-dino-base",
            "openmmlab-community/mm_grounding_dino_base_all",
            930,
            "as mm-grounding-dino-tiny, more accurate and slower",
        ),
        _entry("llmdet-tiny", "iSEE-Laboratory/llmdet_tiny", 690, "rare kinds of objects (LVIS minival AP 44.7)"),
        _entry("llmdet-base", "iSEE-Laboratory/llmdet_base", 930, "as llmdet-tiny, more accurate and slower"),
    ),
    load=_load,
    licence=lambda checkpoint: checkpoint.licence,
    memory_needed=_memory_needed,
)
