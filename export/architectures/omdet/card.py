"""MODEL_CARD.md of an OmDet-Turbo bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...card import fill_card

__all__ = ["model_card"]

_ABOUT = """\
Images are stretched to {size} x {size} with Pillow's filter ({interpolation}), as the checkpoint's own processor does.
The phrases of all prompts of a call are the classes of one pass, with the task "{task}"; a phrase takes up to {length}
tokens. Boxes of one phrase that overlap by more than an IoU of {nms_iou:g} are suppressed. A raw score of 0.3, the
default threshold of transformers' processor, is a score of 0.2 here.
"""
_LIMITS = """\
Prompts of one call are read together, and change each other's scores a little. Relations ("left of") and negations
have little effect. Do not use it to judge people, nor where a wrong mask can harm somebody.
Paper: Zhao et al., "Real-time Transformer-based Open-Vocabulary Detection with Efficient Fusion Head" (arXiv
2403.06892).
"""
_PURPOSES = {
    "text_encoder": "CLIP's text encoder: phrases as classes, and the task; once for each text",
    "detector_encoder": "Swin and the encoder; once for each image",
    "detector": "the decoder: boxes and scores",
}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the card from the manifest."""
    image, text = manifest["image"]["detector_encoder"], manifest["text"]
    about = _ABOUT.format(
        size=image["size"],
        interpolation=image["interpolation"],
        task=text["task"],
        length=text["max_length"],
        nms_iou=image["nms_iou"],
    )
    return fill_card(manifest, purposes=_PURPOSES, about=about, limits=_LIMITS)
