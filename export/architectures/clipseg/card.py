"""MODEL_CARD.md of a CLIPSeg bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]

_TEXT = """\
# {name}

{description} Written by `automask export clipseg` from {origin}.

| graph | purpose | files |
|---|---|---|
{graphs}

Images are stretched to {size} x {size} with Pillow's filter ({interpolation}), as the checkpoint's own processor does.
Prompts are any text, truncated to {length} tokens.

## Licence

{licence}

## Parity with the checkpoint, measured at export

{basis}

| figure | value | limit |
|---|---|---|
{figures}

## Limits

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
    image, parity = manifest["image"]["image_encoder"], manifest["parity"]
    return _TEXT.format(
        name=manifest["name"],
        description=manifest["description"],
        origin=", ".join(f"`{s['file']}` of {s['package']} ({s['version']})" for s in manifest["sources"]),
        graphs="\n".join(
            f"| {role} | {_PURPOSES[role]} | {', '.join(f'`{file}`' for file in graph['variants'].values())} |"
            for role, graph in manifest["graphs"].items()
        ),
        size=image["size"],
        interpolation=image["interpolation"],
        length=manifest["text"]["max_length"],
        licence=manifest["licence"],
        basis="\n".join(f"- {precision}: {criterion}" for precision, criterion in parity["judged_by"].items()),
        figures="\n".join(
            f"| {name} | {value:g} | {parity['limits'].get(name, 'none')} |"
            for name, value in parity["figures"].items()
        ),
    )
