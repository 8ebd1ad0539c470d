"""MODEL_CARD.md of an OWL-ViT or OWLv2 bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...card import fill_card

__all__ = ["model_card"]

_ABOUT = """\
Images are {resized} {size} x {size}, as the checkpoint's own processor does it. Each phrase of a prompt is read as
"{template}", as on the authors' model cards, up to {length} tokens; a phrase too long for that is read by itself.
Every box has the label and score of its best phrase. A raw score of 0.1, the default threshold of transformers'
processor, is a score of 0.2 here. {objectness}
"""
_LIMITS = """\
Relations ("left of") and negations have little effect. CLIP learned from images and captions of the web, with their
prejudices: do not use it to judge people, nor where a wrong mask can harm somebody.
Papers: Minderer et al., "Simple Open-Vocabulary Object Detection with Vision Transformers", ECCV 2022
(arXiv 2205.06230); "Scaling Open-Vocabulary Object Detection", NeurIPS 2023 (arXiv 2306.09683).
"""
_PURPOSES = {
    "detector": "boxes, and what makes their scores; once for each image",
    "text_encoder": "the embedding of a phrase; once for each phrase",
}
_RESIZED = {"stretch": "stretched to", "pad": "padded to a square with grey at the bottom or right, and resized to"}
_OBJECTNESS = (
    "The output `objectness` (a logit: is this box any object at all) is kept for other tools and does not change the "
    "score of a phrase, as in the authors' own inference."
)


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the card from the manifest."""
    image, text = manifest["image"]["detector"], manifest["text"]
    about = _ABOUT.format(
        resized=_RESIZED[image["resize"]],
        size=image["size"],
        template=text["template"],
        length=text["max_length"],
        objectness=_OBJECTNESS if "objectness" in manifest["graphs"]["detector"]["outputs"] else "",
    )
    return fill_card(manifest, purposes=_PURPOSES, about=about, limits=_LIMITS)
