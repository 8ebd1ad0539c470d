"""MODEL_CARD.md of a CLIPSeg bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]

_TEXT = """\
# {name}

{description} Written by `automask export clipseg` from {origin}.

| graph | what it does | files |
|---|---|---|
{graphs}

Photos are stretched to {size} x {size} with Pillow's filter ({interpolation}), as the checkpoint's own processor does.
Prompts are any text, cut at {length} tokens.

## Licence

{licence}

## Parity with the checkpoint, measured when this was made

{basis}

| figure | value | limit |
|---|---|---|
{figures}

## What it cannot do

Masks are as coarse as the network's view of the photo. Words that the training photos and their captions did not
show together go wrong, without saying so, and so do relations ("left of"). CLIP learned from photos and captions of
the web, with their prejudices: do not use it to judge people, nor where a wrong mask can hurt somebody.
Paper: Lueddecke and Ecker, "Image Segmentation Using Text and Image Prompts", CVPR 2022 (arXiv 2112.10003).
"""
_DOES = {
    "image_encoder": "CLIP's image encoder, up to the last layer that the decoder reads",
    "text_encoder": "CLIP's text encoder: a prompt's embedding",
    "mask_decoder": "CLIPSeg's decoder: logits for each prompt",
}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the card from what `automask.json` says."""
    image, parity = manifest["image"]["image_encoder"], manifest["parity"]
    return _TEXT.format(
        name=manifest["name"],
        description=manifest["description"],
        origin=", ".join(f"`{s['file']}` of {s['package']} ({s['version']})" for s in manifest["sources"]),
        graphs="\n".join(
            f"| {role} | {_DOES[role]} | {', '.join(f'`{file}`' for file in graph['variants'].values())} |"
            for role, graph in manifest["graphs"].items()
        ),
        size=image["size"],
        interpolation=image["interpolation"],
        length=manifest["text"]["max_length"],
        licence=manifest["licence"],
        basis="\n".join(f"- {precision}: {said}" for precision, said in parity["judged_by"].items()),
        figures="\n".join(
            f"| {name} | {value:g} | {parity['limits'].get(name, 'told only')} |"
            for name, value in parity["figures"].items()
        ),
    )
