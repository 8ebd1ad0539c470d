"""MODEL_CARD.md of a SAM 3 bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...card import fill_card

__all__ = ["model_card"]

_ABOUT = """\
Images are stretched to {size} x {size} with Pillow's filter ({interpolation}). A phrase takes up to {length} tokens,
and is a concept of its own. The score of an object is the probability that the concept is in the picture times that of
the object; a raw score of 0.5, the threshold of the authors' own processor, is a score of 0.2 here.
"""
_LIMITS = """\
SAM 3 reads short noun phrases ("red cup"), not sentences. Do not use it to judge people, nor where a wrong mask can
harm somebody. Paper: Carion et al., "SAM 3: Segment Anything with Concepts" (arXiv 2511.16719).
"""
_PURPOSES = {
    "vision_encoder": "features of a picture; once for each picture",
    "text_encoder": "features of a phrase; once for each phrase",
    "exemplar_encoder": "features of an example: a box in the picture",
    "detector": "boxes, scores and masks of a concept in a picture",
}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the card from the manifest."""
    image = manifest["image"]["vision_encoder"]
    about = _ABOUT.format(
        size=image["size"], interpolation=image["interpolation"], length=manifest["text"]["max_length"]
    )
    return fill_card(manifest, purposes=_PURPOSES, about=about, limits=_LIMITS)
