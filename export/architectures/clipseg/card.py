"""MODEL_CARD.md of a CLIPSeg bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...card import fill_card

__all__ = ["model_card"]

_ABOUT = """\
Images are stretched to {size} x {size} with Pillow's filter ({interpolation}), as the checkpoint's own processor does.
Prompts are any text, truncated to {length} tokens.
"""
_LIMITS = """\
Masks are as coarse as the network's input. Words that the training images and their captions did not show together
give wrong masks without a warning, and so do relations ("left of"). CLIP learned from images and captions of the web,
with their prejudices: do not use it to judge people, nor where a wrong mask can harm somebody.
Paper: Lueddecke and Ecker, "Image Segmentation Using Text and Image Prompts", CVPR 2022 (arXiv 2112.10003).
"""
_PURPOSES = {
    "image_encoder": "CLIP's image encoder, up to the last layer that the decoder reads",
    "text_encoder": "CLIP's text encoder: a prompt's embedding",
    "mask_decoder": "CLIPSeg's decoder: logits for each prompt",
}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the card from the manifest."""
    image = manifest["image"]["image_encoder"]
    about = _ABOUT.format(
        size=image["size"], interpolation=image["interpolation"], length=manifest["text"]["max_length"]
    )
    return fill_card(manifest, purposes=_PURPOSES, about=about, limits=_LIMITS)
