"""MODEL_CARD.md of a Grounding DINO bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...card import fill_card

__all__ = ["model_card"]

_ABOUT = """\
Images keep their proportions: the longer side becomes {size} pixels, and the rest of the square is padding, which the
model leaves out. The checkpoint's own processor makes the shorter side 800 pixels and the longer one at most 1333.
All phrases of a call are read together, up to {length} tokens; more phrases take another pass of the detector, and one
that is too long by itself is cut. What is found for a phrase depends a little on the others of the same call.
Every box has the label and the score of its best phrase. A raw score of 0.25, the default threshold of transformers'
processor, is a score of 0.2 here.
"""
_LIMITS = """\
The text encoder is BERT, which knows English; negations have little effect, and a phrase for something that is not
there can find something similar. BERT and the training data have the prejudices of the web: do not use it to judge
people, nor where a wrong mask can harm somebody.
Papers: Liu et al., "Grounding DINO", ECCV 2024 (arXiv 2303.05499); Zhao et al., "An Open and Comprehensive Pipeline for
Unified Object Grounding and Detection" (MM-Grounding-DINO, arXiv 2401.02361); Fu et al., "LLMDet", CVPR 2025
(arXiv 2501.18954).
"""
_PURPOSES = {
    "text_encoder": "BERT and its projection; once for the phrases of a call",
    "detector_encoder": "the image backbone and its projections; once for each image",
    "detector": "fusion of both, and the decoder; once for each image and phrases",
}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the card from the manifest."""
    about = _ABOUT.format(size=manifest["image"]["detector_encoder"]["size"], length=manifest["text"]["max_length"])
    return fill_card(manifest, purposes=_PURPOSES, about=about, limits=_LIMITS)
